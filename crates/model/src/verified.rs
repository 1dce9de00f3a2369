//! A value whose bytes were hashed and found to be the ones that were named.

use crate::{Code, Digest, Violation};

/// A value read from bytes that match their digest; there is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    digest: Digest,
    value: T,
}

impl<T> Verified<T> {
    /// Hashes `bytes`, and reads the value only if they are the ones that `expected` names.
    ///
    /// # Errors
    /// [`Code::DigestMismatch`] if the bytes are others, or what `read` returns.
    pub fn check(
        bytes: &[u8],
        expected: Digest,
        read: impl FnOnce(&[u8]) -> Result<T, Violation>,
    ) -> Result<Self, Violation> {
        let digest = Digest::of(bytes);
        if digest != expected {
            return Err(Violation::new(
                Code::DigestMismatch,
                "",
                format!("the bytes have the digest {digest}, not {expected}"),
            )
            .next("restore the store from a backup; the altered bytes are not served"));
        }
        Ok(Self {
            digest,
            value: read(bytes)?,
        })
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
