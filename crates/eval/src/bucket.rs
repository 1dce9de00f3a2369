//! Which slot of a split a unit falls into, equal in every language.
//!
//! `flagd-v3` hashes the CBOR text string of salt and unit, `flagd-v2` their bare UTF-8 bytes; both
//! with `MurmurHash3` (x86, 32 bits, seed 0), and scale the hash to the slots by multiplication.

use plane_model::SLOTS;
use plane_model::documents::Bucketing;

/// Returns the slot, from 0 to before [`SLOTS`], of `unit` in a split with `salt`.
///
/// Does not allocate; linear in the length of both texts.
#[inline]
pub fn slot(bucketing: Bucketing, salt: &str, unit: &str) -> u32 {
    scale(hash(bucketing, salt, unit))
}

/// Returns the hash that [`slot`] scales.
#[inline]
pub fn hash(bucketing: Bucketing, salt: &str, unit: &str) -> u32 {
    let mut murmur = Murmur::default();
    if bucketing == Bucketing::FlagdV3 {
        murmur.begin_text(salt.len() + unit.len());
    }
    murmur.write(salt.as_bytes());
    murmur.write(unit.as_bytes());
    murmur.finish()
}

/// Returns the `MurmurHash3` (x86, 32 bits) of `bytes` with seed 0.
pub fn murmur3(bytes: &[u8]) -> u32 {
    let mut murmur = Murmur::default();
    murmur.write(bytes);
    murmur.finish()
}

/// Scales a hash to a slot.
#[inline]
fn scale(hash: u32) -> u32 {
    ((u64::from(hash) * u64::from(SLOTS)) >> 32) as u32
}

/// The major type of a CBOR text string.
const TEXT: u8 = 3 << 5;

/// The head of a CBOR text string of `length` bytes, and how long the head is.
fn text_head(length: usize) -> ([u8; 9], usize) {
    let length = length as u64;
    let mut head = [0; 9];
    let (first, argument): (u8, usize) = match length {
        0..24 => (0, 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    let [initial, rest @ ..] = &mut head;
    if argument == 0 {
        *initial = TEXT | length.to_le_bytes()[0];
    } else {
        *initial = TEXT | first;
        let bytes = length.to_be_bytes();
        for (to, from) in rest.iter_mut().zip(bytes.iter().skip(8 - argument)) {
            *to = *from;
        }
    }
    (head, 1 + argument)
}

/// A `MurmurHash3` that takes its input in parts.
#[derive(Debug, Clone, Copy, Default)]
struct Murmur {
    state: u32,
    /// Up to three bytes that do not fill a block yet, the first in the lowest bits.
    carry: u32,
    carried: u32,
    length: u32,
}

impl Murmur {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;

    #[inline]
    fn mix(block: u32) -> u32 {
        block
            .wrapping_mul(Self::C1)
            .rotate_left(15)
            .wrapping_mul(Self::C2)
    }

    #[inline]
    fn block(&mut self, block: u32) {
        self.state = (self.state ^ Self::mix(block))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }

    /// Begins with the head of a CBOR text string of `length` bytes.
    ///
    /// The heads of nearly all texts fit into the carry, and need not go through memory.
    #[inline]
    fn begin_text(&mut self, length: usize) {
        let (carry, carried) = match u8::try_from(length) {
            Ok(length @ ..24) => (u32::from(TEXT | length), 1),
            Ok(length) => (u32::from(TEXT | 0x18) | u32::from(length) << 8, 2),
            Err(_) => {
                let (head, length) = text_head(length);
                self.write(head.get(..length).unwrap_or_default());
                return;
            }
        };
        (self.carry, self.carried, self.length) = (carry, carried, carried);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the length enters the hash modulo 2^32, and blocks are taken 32 bits at a time"
    )]
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u32);
        let (words, rest) = bytes.as_chunks::<4>();
        // A block that begins in the carry is completed from the next word, without a branch.
        let shift = 8 * self.carried;
        let mut carry = u64::from(self.carry);
        for word in words {
            carry |= u64::from(u32::from_le_bytes(*word)) << shift;
            self.block(carry as u32);
            carry >>= 32;
        }
        let (last, count) = match *rest {
            [] => (0, 0),
            [a] => (u64::from(a), 1),
            [a, b] => (u64::from(a) | u64::from(b) << 8, 2),
            [a, b, c, ..] => (u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16, 3),
        };
        carry |= last << shift;
        self.carried += count;
        if self.carried >= 4 {
            self.block(carry as u32);
            carry >>= 32;
            self.carried -= 4;
        }
        self.carry = carry as u32;
    }

    #[inline]
    fn finish(self) -> u32 {
        let mut hash = self.state;
        if self.carried > 0 {
            hash ^= Self::mix(self.carry);
        }
        hash ^= self.length;
        hash ^= hash >> 16;
        hash = hash.wrapping_mul(0x85eb_ca6b);
        hash ^= hash >> 13;
        hash = hash.wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_vectors_of_murmur3_hold() {
        for (text, expected) in [
            ("", 0),
            ("hello", 0x248b_fa47),
            ("hello, world", 0x149b_bb7f),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
            ("ejOoVL", 0),
            ("bY9fO-", 1),
            ("SI7p-", 2_147_483_647),
            ("6LvT0", 2_147_483_648),
            ("ceQdGm", 4_294_967_295),
        ] {
            assert_eq!(murmur3(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_head_of_a_text_is_the_one_of_rfc_8949() {
        for (length, expected) in [
            (0, vec![0x60]),
            (23, vec![0x77]),
            (24, vec![0x78, 24]),
            (255, vec![0x78, 255]),
            (256, vec![0x79, 1, 0]),
            (65_535, vec![0x79, 255, 255]),
            (65_536, vec![0x7a, 0, 1, 0, 0]),
        ] {
            let (head, count) = text_head(length);
            assert_eq!(head[..count], expected, "{length}");
        }
    }

    #[test]
    fn the_largest_hash_falls_into_the_last_slot() {
        assert_eq!(scale(u32::MAX), SLOTS - 1);
        assert_eq!(scale(0), 0);
    }

    proptest! {
        #[test]
        fn a_hash_does_not_depend_on_how_the_input_is_cut(bytes: Vec<u8>, cuts in prop::collection::vec(0_usize..64, 0..4)) {
            let mut murmur = Murmur::default();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                murmur.write(part);
                rest = after;
            }
            murmur.write(rest);
            prop_assert_eq!(murmur.finish(), murmur3(&bytes));
        }

        #[test]
        fn v3_hashes_the_cbor_text_of_salt_and_unit(salt in ".{0,40}", unit in ".{0,300}") {
            let text = format!("{salt}{unit}");
            let (head, count) = text_head(text.len());
            let mut bytes = head[..count].to_vec();
            bytes.extend_from_slice(text.as_bytes());
            prop_assert_eq!(hash(Bucketing::FlagdV3, &salt, &unit), murmur3(&bytes));
            prop_assert_eq!(hash(Bucketing::FlagdV2, &salt, &unit), murmur3(text.as_bytes()));
        }
    }
}
