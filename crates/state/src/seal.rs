//! Admits a prepared command onto the newest state and seals it into a record.

use std::sync::Arc;

use plane_model::{Digest, DocumentKey, TenantId, Timestamp, limits};

use crate::command::Expect;
use crate::prepare::Prepared;
use crate::record::{BodyRef, OpKind, RECORD_FORMAT, Record, RecordOp, salted_digest};
use crate::state::State;

/// The format that bodies of this version have.
const BODY_FORMAT: u32 = 1;

/// Whether a decision that was made on an older state still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Admitted,
    /// Something that it rests on changed: prepare the command again, on this state.
    Stale,
}

/// A commit ready to be appended.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// What the record says.
    pub record: Record,
    /// The record's bytes.
    pub bytes: Arc<[u8]>,
    /// Their hash.
    pub hash: Digest,
    /// The digest of the request.
    pub request: Digest,
    /// What is stored of it.
    pub mark: RequestMark,
    /// The erasable bodies.
    pub bodies: Vec<SealedBody>,
    /// The bodies that are too large to lie in the log, and the blobs that documents refer to.
    pub blobs: Vec<(Digest, Arc<[u8]>)>,
    /// What happens to each document.
    pub changes: Vec<(DocumentKey, Option<BodyRef>)>,
    /// The tenants whose documents change.
    pub tenants: Vec<TenantId>,
}

/// What is stored of a request, to tell a repeated one from another with the same key: half of its digest, and a salt.
///
/// A record names the digest of both, so that neither is altered unnoticed; without the salt, which is not in the
/// record, that digest tells nothing about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestMark([u8; 32]);

impl RequestMark {
    fn of(request: &Digest, salt: [u8; 16]) -> Self {
        let mut mark = *request.as_bytes();
        if let Some(half) = mark.last_chunk_mut() {
            *half = salt;
        }
        Self(mark)
    }

    /// Takes a mark back as it was stored.
    pub fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest that the record names.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Says whether this is the mark of a request with this digest.
    pub fn is_of(&self, request: &Digest) -> bool {
        self.0.first_chunk::<16>() == request.as_bytes().first_chunk()
    }
}

/// An erasable body.
#[derive(Debug, Clone)]
pub struct SealedBody {
    /// The digest of salt and bytes.
    pub digest: Digest,
    /// Sixteen random bytes.
    pub salt: [u8; 16],
    /// The document in canonical JSON.
    pub bytes: Arc<[u8]>,
}

/// Says whether what `prepared` rests on is the same in `state`; quick.
pub fn admit(state: &State, prepared: &Prepared) -> Admission {
    let unchanged = prepared.reads.holds(state)
        && prepared.command.ops.iter().all(|op| match op.expect {
            Expect::Any => true,
            Expect::Absent => state.entry(&op.key).is_none(),
            Expect::Revision(revision) => state
                .entry(&op.key)
                .is_some_and(|entry| entry.revision == revision),
        });
    if unchanged {
        Admission::Admitted
    } else {
        Admission::Stale
    }
}

/// Makes the record that follows the state's head.
///
/// `now` is moved up to the head's time if the clock was set back; `salt` gives fresh random bytes.
pub fn seal(
    state: &State,
    prepared: &Prepared,
    now: Timestamp,
    salt: &mut dyn FnMut() -> [u8; 16],
) -> Sealed {
    let head = state.head();
    let mut bodies = Vec::new();
    let mut blobs = prepared.blobs.clone();
    let mut ops = Vec::with_capacity(prepared.ops.len());
    let mut changes = Vec::with_capacity(prepared.ops.len());
    let mut tenants: Vec<TenantId> = Vec::new();
    for op in &prepared.ops {
        let digest = op.document.as_ref().map(|_| {
            if op.bytes.len() > limits::BODY_INLINE_BYTES_MAX {
                let digest = Digest::of(&op.bytes);
                blobs.push((digest, op.bytes.clone()));
                return BodyRef::Blob(digest);
            }
            let salt = salt();
            let digest = salted_digest(&salt, &op.bytes);
            bodies.push(SealedBody {
                digest,
                salt,
                bytes: op.bytes.clone(),
            });
            BodyRef::Salted(digest)
        });
        ops.push(RecordOp {
            op: if digest.is_some() {
                OpKind::Put
            } else {
                OpKind::Delete
            },
            kind: op.key.kind().as_str().to_owned(),
            scope: op.key.scope().to_owned(),
            name: op.key.name().to_owned(),
            digest,
            before: state.entry(&op.key).map(|entry| entry.body),
            format: BODY_FORMAT,
            blobs: op.blobs.clone(),
        });
        changes.push((op.key.clone(), digest));
        tenants.extend(op.key.tenant_id());
    }
    tenants.sort();
    tenants.dedup();
    let command = &prepared.command;
    let mark = RequestMark::of(&prepared.request, salt());
    let record = Record {
        format: RECORD_FORMAT,
        log: state.log().to_owned(),
        revision: head.revision + 1,
        parent: head.hash,
        id: command.id.clone(),
        request: Some(mark.digest()),
        at: now.max(head.at),
        actor: command.actor.clone(),
        action: command.action.as_str().to_owned(),
        reason: command.reason.clone(),
        source: command.source.clone(),
        ops,
    };
    let bytes: Arc<[u8]> = record.encode().into();
    let hash = Digest::of(&bytes);
    Sealed {
        record,
        bytes,
        hash,
        request: prepared.request,
        mark,
        bodies,
        blobs,
        changes,
        tenants,
    }
}
