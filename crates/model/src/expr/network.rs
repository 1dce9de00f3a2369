//! Networks of Internet addresses, as `10.0.0.0/8` and `2001:db8::/32` write them.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A block of Internet addresses.
///
/// An IPv4 address and the IPv6 address that maps it are the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The bits that all addresses of the block begin with.
    prefix: u128,
    mask: u128,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NetworkError(String);

impl Network {
    /// Says whether the block has the address.
    pub fn has(self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.prefix
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads an address with the length of its prefix; an address alone is a block of one.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let read = || {
            let (address, length) = match text.split_once('/') {
                Some((address, length)) => (address, Some(length)),
                None => (text, None),
            };
            let address = IpAddr::from_str(address).ok()?;
            let longest: u32 = if address.is_ipv4() { 32 } else { 128 };
            let length = match length {
                Some(text) if text.bytes().all(|it| it.is_ascii_digit()) => text.parse().ok()?,
                Some(_) => return None,
                None => longest,
            };
            let wild = longest.checked_sub(length)?;
            let mask = u128::MAX.checked_shl(wild).unwrap_or(0);
            Some(Self {
                prefix: bits(address) & mask,
                mask,
            })
        };
        read().ok_or_else(|| NetworkError(text.chars().take(64).collect()))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_share_its_prefix() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "203.0.113.9", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::1/128", "::1", true),
        ] {
            let block: Network = network.parse().unwrap();
            assert_eq!(
                block.has(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "a/8",
            "10.0.0.0/8/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
