//! Proves a whole store: the chain, and every body, blob and checkpoint, in bounded memory.

use plane_log::{ChangeLog, ReadError, ReadLimit};
use plane_state::State;
use plane_state::verify::{ChainCheck, Damage, StoredRecord};
use serde::Serialize;

use crate::convert::digest;

/// What was verified, and what is damaged.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// The log's id.
    pub log: String,
    /// The revision of the last record.
    pub revision: u64,
    /// Its hash.
    pub head: plane_model::Digest,
    /// How many records were checked.
    pub records: u64,
    /// How many bodies were checked, erased ones included.
    pub bodies: u64,
    /// How many of them were erased.
    pub erased: u64,
    /// How many blobs were checked.
    pub blobs: u64,
    /// How many checkpoints were checked.
    pub checkpoints: u64,
    /// Everything that is not as it was written; empty if all is well.
    pub damages: Vec<Damage>,
}

/// Reads everything in the store and checks it; `progress` is told how many things were checked.
///
/// # Errors
/// The store cannot be read at all; what can be read and is damaged is in the result.
pub async fn verify(
    log: &dyn ChangeLog,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Verification, ReadError> {
    let limit = ReadLimit::default();
    let mut check = ChainCheck::new(log.id().as_str());
    let (mut records, mut bodies, mut erased, mut blobs, mut checkpoints) = (0, 0, 0, 0, 0);
    let mut after = 0;
    loop {
        let page = log.read(after, limit).await?;
        let Some(last) = page.last() else { break };
        after = last.revision;
        for entry in &page {
            check.record(&StoredRecord {
                revision: entry.revision,
                parent: digest(&entry.parent),
                hash: digest(&entry.hash),
                id: &entry.id,
                at_ms: entry.at_ms,
                bytes: &entry.record,
            });
        }
        records += page.len() as u64;
        progress(records);
    }
    let mut from = None;
    loop {
        let page = log.bodies_page(from, limit).await?;
        let Some(last) = page.last() else { break };
        from = Some(last.digest);
        for stored in &page {
            erased += u64::from(stored.body.is_none());
            let content = stored.body.as_ref().map(|body| (&body.salt, &*body.bytes));
            check.body(digest(&stored.digest), content);
        }
        bodies += page.len() as u64;
        progress(records + bodies);
    }
    from = None;
    loop {
        let page = log.blobs_page(from, limit).await?;
        let Some(last) = page.last() else { break };
        from = Some(last.digest);
        for stored in &page {
            check.blob(digest(&stored.digest), stored.bytes.as_deref());
        }
        blobs += page.len() as u64;
        progress(records + bodies + blobs);
    }
    for meta in log.checkpoints().await? {
        checkpoints += 1;
        match log.checkpoint(meta.revision).await? {
            Some(stored) => {
                check.checkpoint(stored.revision, digest(&stored.digest), &stored.bytes);
            }
            None => check.note(
                format!("checkpoint of revision {}", meta.revision),
                "it is gone",
            ),
        }
    }
    let (revision, head) = check.head();
    let stored = log.head().await?;
    if (stored.revision, digest(&stored.hash)) != (revision, head) {
        check.note(
            "head",
            format!("the store names revision {}", stored.revision),
        );
    }
    Ok(Verification {
        log: log.id().to_string(),
        revision,
        head,
        records,
        bodies,
        erased,
        blobs,
        checkpoints,
        damages: check.finish(),
    })
}

/// The state as bytes, and the digest that they are stored with.
pub(crate) fn checkpoint_of(state: &State) -> plane_log::Checkpoint {
    let bytes = plane_state::checkpoint::encode(state);
    plane_log::Checkpoint {
        revision: state.head().revision,
        head: crate::convert::hash(&state.head().hash),
        digest: crate::convert::hash(&plane_model::Digest::of(&bytes)),
        bytes: bytes.into(),
    }
}
