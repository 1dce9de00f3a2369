//! Proves a whole store: the chain, and every body, blob and checkpoint, in bounded memory.

use std::collections::BTreeMap;

use plane_log::{ChangeLog, DigestRef, DocumentKey as LogKey, ReadError, ReadLimit};
use plane_model::Digest;
use plane_state::verify::{ChainCheck, Damage, StoredRecord};
use plane_state::{Entry, Record, State};
use serde::Serialize;

use crate::convert::digest;

/// How many rows of the index of changes are compared at a time.
const CHANGES_PAGE: usize = 1_000;

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
    let mut index = Index::default();
    let mut page = log.read(0, limit).await?;
    while let Some(last) = page.last() {
        page = meanwhile(log.read(last.revision, limit), || {
            for entry in &page {
                let record = check.record(&StoredRecord {
                    revision: entry.revision,
                    parent: digest(&entry.parent),
                    hash: digest(&entry.hash),
                    id: &entry.id,
                    at_ms: entry.at_ms,
                    bytes: &entry.record,
                });
                index.add(entry.revision, record);
            }
            records += page.len() as u64;
            progress(records);
        })
        .await?;
    }
    let mut page = log.bodies_page(None, limit).await?;
    while let Some(last) = page.last() {
        page = meanwhile(log.bodies_page(Some(last.digest), limit), || {
            for stored in &page {
                erased += u64::from(stored.body.is_none());
                let content = stored.body.as_ref().map(|body| (&body.salt, &*body.bytes));
                check.body(digest(&stored.digest), content);
            }
            bodies += page.len() as u64;
            progress(records + bodies);
        })
        .await?;
    }
    let mut from = None;
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

/// Does `work` on one page while the store reads the next, on a thread of its own.
async fn meanwhile<T>(
    next: impl Future<Output = Result<T, ReadError>>,
    work: impl FnOnce(),
) -> Result<T, ReadError> {
    let work = async { work() };
    tokio::join!(biased; next, work).0
}

/// What the records say about each document, to compare the index of changes with, which answers
/// questions about the past.
#[derive(Debug, Default)]
struct Index(BTreeMap<LogKey, (u64, [u8; 32])>);

impl Index {
    /// Takes a record in; one that cannot be read is named where the chain is followed.
    fn add(&mut self, revision: u64, record: Option<Record>) {
        for op in record.into_iter().flat_map(|it| it.ops) {
            let key = LogKey::new(op.kind, op.scope, op.name);
            let digest = op.digest.as_ref().map(crate::convert::digest_ref);
            let (count, sum) = self.0.entry(key).or_default();
            *count += 1;
            fold_in(sum, revision, digest.as_ref());
        }
    }

    async fn compare(
        mut self,
        log: &dyn ChangeLog,
        check: &mut ChainCheck,
    ) -> Result<(), ReadError> {
        let place = |key: &LogKey| format!("index of {} `{}` `{}`", key.kind, key.scope, key.name);
        let differs = "it does not say what the records say";
        let mut settle = |key: &LogKey, found: (u64, [u8; 32])| match self.0.remove(key) {
            None => check.note(place(key), "no record names the document"),
            Some(expected) if expected != found => check.note(place(key), differs),
            Some(_) => {}
        };
        let mut current: Option<(LogKey, (u64, [u8; 32]))> = None;
        let mut page = log.changes_page(None, CHANGES_PAGE).await?;
        while let Some(last) = page.last() {
            let after = Some((last.key.clone(), last.revision));
            page = meanwhile(log.changes_page(after, CHANGES_PAGE), || {
                for row in page.drain(..) {
                    if let Some((key, found)) = current.take_if(|(key, _)| *key != row.key) {
                        settle(&key, found);
                    }
                    let (_, found) = current.get_or_insert_with(|| (row.key, Default::default()));
                    found.0 += 1;
                    fold_in(&mut found.1, row.revision, row.digest.as_ref());
                }
            })
            .await?;
        }
        if let Some((key, found)) = current {
            settle(&key, found);
        }
        for key in self.0.keys() {
            check.note(place(key), differs);
        }
        Ok(())
    }
}

/// Adds one change to a sum that does not depend on the order of the changes.
fn fold_in(sum: &mut [u8; 32], revision: u64, digest: Option<&DigestRef>) {
    let (what, hash) = match digest {
        Some(DigestRef::Body(hash)) => (1, *hash.as_bytes()),
        Some(DigestRef::Blob(hash)) => (2, *hash.as_bytes()),
        None => (0, [0; 32]),
    };
    let mut change = [what; 41];
    change[1..9].copy_from_slice(&revision.to_le_bytes());
    change[9..].copy_from_slice(&hash);
    for (byte, other) in sum.iter_mut().zip(Digest::of(&change).as_bytes()) {
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
