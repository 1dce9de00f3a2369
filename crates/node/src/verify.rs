//! Proves a whole store: the chain, and every body, blob and checkpoint, in bounded memory.

use std::collections::BTreeMap;

use plane_log::{ChangeLog, DigestRef, DocumentKey as LogKey, ReadError, ReadLimit};
use plane_model::Digest;
use plane_state::verify::{ChainCheck, Damage, StoredRecord};
use plane_state::{Entry, Record, State};
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
    let mut index = Index::default();
    loop {
        let page = log.read(after, limit).await?;
        let Some(last) = page.last() else { break };
        after = last.revision;
        for entry in &page {
            index.add(entry.revision, &entry.record);
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
                if let Some(detail) = contradiction(log, &stored).await? {
                    check.note(
                        format!("checkpoint of revision {}", stored.revision),
                        detail,
                    );
                }
            }
            None => check.note(
                format!("checkpoint of revision {}", meta.revision),
                "it is gone",
            ),
        }
    }
    index.compare(log, &mut check).await?;
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

/// What the records say about each document, to compare the index of changes with, which answers
/// questions about the past.
#[derive(Debug, Default)]
struct Index(BTreeMap<LogKey, (u64, [u8; 32])>);

impl Index {
    fn add(&mut self, revision: u64, record: &[u8]) {
        // A record that cannot be read is named where the chain is followed.
        let Ok(record) = Record::decode(record) else {
            return;
        };
        for op in record.ops {
            let key = LogKey::new(op.kind, op.scope, op.name);
            let digest = op.digest.as_ref().map(crate::convert::digest_ref);
            let (count, sum) = self.0.entry(key).or_default();
            *count += 1;
            fold_in(sum, revision, digest.as_ref());
        }
    }

    async fn compare(&self, log: &dyn ChangeLog, check: &mut ChainCheck) -> Result<(), ReadError> {
        for (key, expected) in &self.0 {
            let mut found = (0, [0; 32]);
            let mut before = None;
            loop {
                let page = log.history(key, before, 1_000).await?;
                let Some(last) = page.last() else { break };
                before = Some(last.revision);
                found.0 += page.len() as u64;
                for row in &page {
                    fold_in(&mut found.1, row.revision, row.digest.as_ref());
                }
            }
            if found != *expected {
                check.note(
                    format!("index of {} `{}` `{}`", key.kind, key.scope, key.name),
                    "it does not say what the records say",
                );
            }
        }
        let revision = log.head().await?.revision;
        for row in log.snapshot_at(revision).await? {
            if !self.0.contains_key(&row.key) {
                let key = row.key;
                check.note(
                    format!("index of {} `{}` `{}`", key.kind, key.scope, key.name),
                    "no record names the document",
                );
            }
        }
        Ok(())
    }
}

/// Adds one change to a sum that does not depend on the order of the changes.
fn fold_in(sum: &mut [u8; 32], revision: u64, digest: Option<&DigestRef>) {
    let text = match digest {
        Some(DigestRef::Body(hash)) => format!("{revision} body {hash}"),
        Some(DigestRef::Blob(hash)) => format!("{revision} blob {hash}"),
        None => format!("{revision} gone"),
    };
    for (byte, other) in sum.iter_mut().zip(Digest::of(text.as_bytes()).as_bytes()) {
        *byte ^= other;
    }
}

/// How a checkpoint contradicts the documents that the log has at its revision, if it does.
async fn contradiction(
    log: &dyn ChangeLog,
    stored: &plane_log::Checkpoint,
) -> Result<Option<String>, ReadError> {
    let blobs = match plane_state::checkpoint::open(&stored.bytes) {
        Ok(opened) => opened.blobs().iter().copied().collect(),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let blobs = crate::load::fetch(log, &std::collections::BTreeSet::new(), &blobs).await?;
    let read =
        plane_state::checkpoint::decode(&stored.bytes, &|digest| blobs.blobs.get(digest).cloned());
    let state = match read {
        Ok(state) => state,
        Err(error) => return Ok(Some(error.to_string())),
    };
    if state.head().revision != stored.revision || state.head().hash != digest(&stored.head) {
        return Ok(Some(
            "it is not of the revision that it is stored for".to_owned(),
        ));
    }
    // Nothing is shared: what the log says is compared with what the checkpoint says.
    let nothing = State::genesis(log.id().as_str());
    let of_log = crate::load::state_at(log, stored.revision, &nothing).await?;
    if of_log.head().hash != state.head().hash {
        return Ok(Some("it names another hash than the log".to_owned()));
    }
    let differs = of_log.entries().zip(state.entries()).find(|(a, b)| {
        let stored = |entry: &Entry| (entry.revision, entry.body, entry.bytes.clone());
        a.0 != b.0 || stored(a.1) != stored(b.1)
    });
    Ok(match differs {
        Some(((key, _), _)) => Some(format!("it contradicts the log at {key}")),
        None if of_log.len() != state.len() => {
            Some("it has other documents than the log".to_owned())
        }
        None => None,
    })
}
