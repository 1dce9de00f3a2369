//! Percent-encoding: how names that file systems do not take stand in file names.

use std::fmt::Write as _;

/// Writes everything but letters, digits and `_.-~` as `%XX`.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Reads `%XX` as the byte that it stands for; nothing if a `%` starts no such thing.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percent_sign_that_encodes_nothing_is_refused() {
        for text in ["%", "a%4", "%zz", "%+1", "%é", "%ff"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("a%40b%3a"), Some("a@b:".to_owned()));
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_same_text(text in ".*") {
            let encoded = encode(&text);
            prop_assert!(!encoded.contains(['/', '\\', ':', '@', '=']));
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
