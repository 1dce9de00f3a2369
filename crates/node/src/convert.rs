//! Between the names of plane-state and those of plane-log, which depends on nothing of ours.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use plane_log::{Blob, Body, Change, DigestRef, DocumentKey as LogKey, Entry, Hash};
use plane_model::{Digest, DocumentKey};
use plane_state::{Bodies, BodyRef, Sealed, SealedBody};

pub(crate) fn hash(digest: &Digest) -> Hash {
    Hash(*digest.as_bytes())
}

pub(crate) fn digest(hash: &Hash) -> Digest {
    Digest::from_bytes(*hash.as_bytes())
}

pub(crate) fn digest_ref(body: &BodyRef) -> DigestRef {
    match body {
        BodyRef::Salted(digest) => DigestRef::Body(hash(digest)),
        BodyRef::Blob(digest) => DigestRef::Blob(hash(digest)),
    }
}

pub(crate) fn body_ref(digest_ref: &DigestRef) -> BodyRef {
    match digest_ref {
        DigestRef::Body(hash) => BodyRef::Salted(digest(hash)),
        DigestRef::Blob(hash) => BodyRef::Blob(digest(hash)),
    }
}

pub(crate) fn log_key(key: &DocumentKey) -> LogKey {
    LogKey::new(key.kind().as_str(), key.scope(), key.name())
}

/// The entry that stores a sealed commit.
pub(crate) fn entry(sealed: &Sealed) -> Entry {
    let record = &sealed.record;
    Entry {
        revision: record.revision,
        parent: hash(&record.parent),
        hash: hash(&sealed.hash),
        id: record.id.clone(),
        request: Hash(*sealed.mark.as_bytes()),
        at_ms: record.at.as_ms(),
        record: sealed.bytes.clone().into(),
        bodies: sealed
            .bodies
            .iter()
            .map(|body| Body {
                digest: hash(&body.digest),
                salt: body.salt,
                bytes: body.bytes.clone().into(),
            })
            .collect(),
        blobs: sealed
            .blobs
            .iter()
            .map(|(digest, bytes)| Blob {
                digest: hash(digest),
                bytes: bytes.clone().into(),
            })
            .collect(),
        changes: sealed
            .changes
            .iter()
            .map(|(key, body)| Change {
                key: log_key(key),
                digest: body.as_ref().map(digest_ref),
            })
            .collect(),
        actor: record.actor.to_string(),
        action: record.action.clone(),
        tenants: sealed.tenants.iter().map(ToString::to_string).collect(),
    }
}

/// Bytes that were fetched, by what names them; each was checked against its digest.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) bodies: HashMap<BodyRef, Arc<[u8]>>,
    pub(crate) blobs: HashMap<Digest, Arc<[u8]>>,
    /// Bodies whose bytes are not the ones that were named.
    pub(crate) damaged: HashSet<BodyRef>,
}

impl Fetched {
    /// The bytes that a sealed commit brings itself.
    pub(crate) fn of(sealed: &Sealed) -> Self {
        let salted = |body: &SealedBody| (BodyRef::Salted(body.digest), body.bytes.clone());
        Self {
            bodies: sealed.bodies.iter().map(salted).collect(),
            blobs: sealed.blobs.iter().cloned().collect(),
            damaged: HashSet::new(),
        }
    }
}

impl Bodies for Fetched {
    fn body(&self, body: &BodyRef) -> Option<Arc<[u8]>> {
        match body {
            BodyRef::Salted(_) => self.bodies.get(body).cloned(),
            BodyRef::Blob(digest) => self.blobs.get(digest).cloned(),
        }
    }

    fn is_damaged(&self, body: &BodyRef) -> bool {
        self.damaged.contains(body)
    }

    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.blobs.get(digest).cloned()
    }
}
