//! A fast hash for tables that are looked up on every evaluation.
//!
//! The keys of these tables are written by operators; callers only look up. The hash is therefore
//! not keyed, and every table compares whole keys.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`FastHasher`]s.
pub(crate) type FastState = BuildHasherDefault<FastHasher>;

/// A set that is fast to look up.
pub(crate) type FastSet<T> = std::collections::HashSet<T, FastState>;

/// A map that is fast to look up.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, FastState>;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// Multiplies and folds eight bytes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FastHasher(u64);

impl Default for FastHasher {
    fn default() -> Self {
        Self(SEED)
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of the product are folded into one"
)]
fn fold(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(FACTOR);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for FastHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let ends = Ends::of(bytes);
        let mut state = self.0 ^ u64::from(ends.length);
        if bytes.len() > 16 {
            let (words, _) = bytes.as_chunks::<8>();
            for word in words {
                state = fold(state, u64::from_le_bytes(*word));
            }
        } else {
            state = fold(state, ends.first);
        }
        self.0 = fold(state, ends.last);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(8) ^ u64::from(byte);
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.0 = fold(self.0, u64::from(word));
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.0 = fold(self.0, u64::from(word));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0, word);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.0 = fold(self.0, word as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The length, the first eight and the last eight bytes of a text: all of it, up to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ends {
    first: u64,
    /// Zero for texts that are shorter than eight bytes.
    last: u64,
    length: u32,
}

impl Ends {
    const WHOLE_MAX: u32 = 16;

    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => (few(bytes), 0),
        };
        Self {
            first,
            last,
            length,
        }
    }

    /// Says whether the ends are the whole text, so that equal ends are equal texts.
    #[inline]
    pub(crate) fn are_whole(self) -> bool {
        self.length <= Self::WHOLE_MAX
    }

    /// The text, if the ends are all of it.
    pub(crate) fn whole(self) -> Option<String> {
        let (length, first) = (self.length as usize, self.first.to_le_bytes());
        let mut bytes = first.get(..length.min(8))?.to_vec();
        if let Some(more) = length.checked_sub(8) {
            let last = self.last.to_le_bytes();
            bytes.extend_from_slice(last.get(8_usize.checked_sub(more)?..)?);
        }
        String::from_utf8(bytes).ok()
    }

    /// Says whether the text starts with one of at most eight bytes.
    #[inline]
    pub(crate) fn starts_with(self, head: Self) -> bool {
        let bits = 8 * head.length.min(8);
        let mask = u64::MAX.checked_shr(64 - bits).unwrap_or(0);
        self.length >= head.length && self.first & mask == head.first
    }

    /// One of 64 bits, the same for equal texts: what a set has no such bit of, it does not have.
    #[inline]
    pub(crate) fn bit(self) -> u64 {
        let word = self.first ^ self.last.rotate_left(32) ^ u64::from(self.length);
        1 << (word.wrapping_mul(FACTOR) >> 58)
    }

    #[inline]
    pub(crate) fn length(self) -> u32 {
        self.length
    }
}

/// What comes after the first and before the last eight bytes of a text of 17 to 32 bytes; with its ends, all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Middle {
    second: u64,
    last_but_one: u64,
}

impl Middle {
    /// None for texts of another length.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if !(17..=32).contains(&bytes.len()) {
            return None;
        }
        let (_, second) = bytes.first_chunk::<16>()?.split_last_chunk::<8>()?;
        let (last_but_one, _) = bytes.last_chunk::<16>()?.split_first_chunk::<8>()?;
        Some(Self {
            second: u64::from_le_bytes(*second),
            last_but_one: u64::from_le_bytes(*last_but_one),
        })
    }
}

/// Reads fewer than eight bytes as one word, the rest of which is zero.
#[inline]
fn few(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The bytes that both halves hold are equal, so that joining them changes nothing.
        let last = u64::from(u32::from_le_bytes(*last));
        return u64::from(u32::from_le_bytes(*first)) | last << (8 * (length - 4));
    }
    match *bytes {
        [] => 0,
        [a] => u64::from(a),
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a, b, c, ..] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
    }
}

/// Hashes a text.
#[inline]
pub(crate) fn hash_text(text: &str) -> u64 {
    let mut hasher = FastHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_whole_ends_are_equal_texts(a in "[ab]{0,18}", b in "[ab]{0,18}") {
            let (ends_a, ends_b) = (Ends::of(a.as_bytes()), Ends::of(b.as_bytes()));
            if ends_a.are_whole() {
                prop_assert_eq!(ends_a == ends_b, a == b);
            } else if a == b {
                prop_assert_eq!(ends_a, ends_b);
            }
        }

        #[test]
        fn ends_and_middle_are_all_of_a_text(a in "[ab]{17,32}", at: prop::sample::Index, same: bool) {
            let mut b = a.clone().into_bytes();
            let at = at.index(b.len());
            b[at] ^= u8::from(!same);
            let parts = |bytes: &[u8]| (Ends::of(bytes), Middle::of(bytes).unwrap());
            prop_assert_eq!(parts(a.as_bytes()) == parts(&b), a.as_bytes() == b);
        }

        #[test]
        fn whole_ends_give_the_text_back(text in "[a-cé]{0,20}") {
            let ends = Ends::of(text.as_bytes());
            let expected = (text.len() <= 16).then_some(text);
            prop_assert_eq!(ends.whole(), expected);
        }

        #[test]
        fn equal_texts_have_the_same_bit(a in "[ab]{0,18}", b in "[ab]{0,18}") {
            let (bit_a, bit_b) = (Ends::of(a.as_bytes()).bit(), Ends::of(b.as_bytes()).bit());
            prop_assert_eq!(bit_a.count_ones(), 1);
            prop_assert!(a != b || bit_a == bit_b);
        }

        #[test]
        fn a_short_head_is_found_by_the_ends(text in "[ab\0]{0,18}", head in "[ab\0]{0,8}") {
            let (ends, of_head) = (Ends::of(text.as_bytes()), Ends::of(head.as_bytes()));
            prop_assert_eq!(ends.starts_with(of_head), text.starts_with(&head));
        }

        #[test]
        fn the_hash_of_a_text_depends_on_every_byte(text in "[a-c]{1,40}", at: prop::sample::Index) {
            let mut other = text.clone().into_bytes();
            let at = at.index(other.len());
            other[at] ^= 1;
            let other = String::from_utf8(other).unwrap();
            prop_assert_ne!(hash_text(&text), hash_text(&other));
        }
    }
}
