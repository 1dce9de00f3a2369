//! Where a view gets the bytes of manifests and locks from, and what changed.

use std::sync::Arc;

use plane_model::{ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey};

/// What is known of the publisher's signatures on a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// As many trusted keys as the namespace asks for have signed.
    Verified {
        /// The keys.
        keys: Vec<String>,
    },
    /// Nobody has signed, and the namespace allows that.
    Unsigned,
    /// The signatures do not hold.
    Invalid {
        /// Why.
        detail: String,
    },
}

/// Where a view gets bytes and verdicts from while it is built; it keeps what it needs.
pub trait Source: Send + Sync {
    /// The bytes that a digest names; whether they match it is checked by the view.
    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>>;

    /// Whether the publisher's signatures on a version hold under the trust of its namespace.
    fn signature(&self, kind: ArtifactKind, version: &ArtifactVersion) -> Signature;
}

/// A change of one document.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which document.
    pub key: DocumentKey,
    /// The revision of the change.
    pub revision: u64,
    /// What it holds now; none if it is gone.
    pub document: Option<Arc<Document>>,
}
