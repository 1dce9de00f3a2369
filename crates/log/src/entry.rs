//! What a commit brings to the log, and what the log gives back.

use crate::{Bytes, Hash, Head};

/// How many bytes of salt a body carries.
pub const SALT_BYTES: usize = 16;

/// Carries one commit, which becomes one revision.
///
/// The log stores `record` and the chain columns as given; `changes`, `actor`, `action` and `tenants` feed indexes
/// only, and must say what the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// One more than the revision of the entry before it.
    pub revision: u64,
    /// The hash of the entry before it.
    pub parent: Hash,
    /// The hash of `record`, computed by the caller.
    pub hash: Hash,
    /// The idempotency key, unique in the store.
    pub id: String,
    /// The digest of the request that made this commit: the same `id` with another request is the caller's to refuse.
    pub request: Hash,
    /// When it was committed, in milliseconds since 1970; never less than in the entry before it.
    pub at_ms: i64,
    /// The record as it is hashed; at most [`RECORD_BYTES_MAX`](crate::RECORD_BYTES_MAX).
    pub record: Bytes,
    /// Erasable bytes that the record points to by salted digest.
    pub bodies: Vec<Body>,
    /// Content-addressed bytes that the record points to.
    pub blobs: Vec<Blob>,
    /// What the commit does to each document; the last change of a document stands.
    pub changes: Vec<Change>,
    /// Who committed, as an opaque principal id.
    pub actor: String,
    /// What the commit was, as a word.
    pub action: String,
    /// The tenants that the commit touches.
    pub tenants: Vec<String>,
}

impl Entry {
    /// Returns the head of a log that ends with this entry.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            revision: self.revision,
            hash: self.hash,
        }
    }
}

/// Carries erasable bytes: `digest` is sha256 over salt, then bytes, so that erasing both leaves nothing to guess by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The salted digest, computed by the caller.
    pub digest: Hash,
    /// Random bytes drawn by the caller.
    pub salt: [u8; SALT_BYTES],
    /// The body itself; at most [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX).
    pub bytes: Bytes,
}

/// Carries bytes addressed by their plain sha256; the same bytes are stored once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The digest of `bytes`, computed by the caller.
    pub digest: Hash,
    /// The blob itself; at most [`BLOB_BYTES_MAX`](crate::BLOB_BYTES_MAX).
    pub bytes: Bytes,
}

/// Says what a commit does to one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The document.
    pub key: DocumentKey,
    /// Where its new bytes are; `None` deletes it.
    pub digest: Option<DigestRef>,
}

/// Names a document within a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    /// The kind of document.
    pub kind: String,
    /// Where the name is unique; empty for the whole installation.
    pub scope: String,
    /// The name within kind and scope.
    pub name: String,
}

impl DocumentKey {
    /// Names the document `name` of `kind` in `scope`.
    pub fn new(kind: impl Into<String>, scope: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            scope: scope.into(),
            name: name.into(),
        }
    }
}

/// Points to a document's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestRef {
    /// A [`Body`], by salted digest.
    Body(Hash),
    /// A [`Blob`], by plain digest.
    Blob(Hash),
}

impl DigestRef {
    /// Returns the digest, salted or plain.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Body(hash) | Self::Blob(hash) => *hash,
        }
    }
}

/// Gives one stored commit back, without the bytes it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place in the order, from 1.
    pub revision: u64,
    /// The hash of the entry before it.
    pub parent: Hash,
    /// The hash stored beside the record; whoever reads checks it.
    pub hash: Hash,
    /// The idempotency key.
    pub id: String,
    /// The digest of the request.
    pub request: Hash,
    /// When it was committed, in milliseconds since 1970.
    pub at_ms: i64,
    /// The record, byte for byte as appended.
    pub record: Bytes,
}

impl StoredEntry {
    /// Returns the head of a log that ends with this entry.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            revision: self.revision,
            hash: self.hash,
        }
    }
}
