//! Proves a whole store: the chain, every body, blob and checkpoint, and the indexes that answers come from.
//!
//! Memory is bounded by the number of documents, tenants and digests, not by the number of commits.

mod index;

use plane_log::{ChangeLog, ReadError, ReadLimit};
use plane_state::verify::{ChainCheck, Damage, StoredRecord};
use plane_state::{Entry, RequestMark, State};
use serde::Serialize;

use self::index::{Changes, Facets};
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
    /// How many of them do not name their request, which could not be checked: an earlier version wrote them.
    pub requests_unnamed: u64,
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
    let (mut changes, mut facets) = (Changes::default(), Facets::default());
    let mut page = log.read(0, limit).await?;
    while let Some(last) = page.last() {
        page = meanwhile(log.read(last.revision, limit), || {
            for entry in &page {
                let record = check.record(&StoredRecord {
                    revision: entry.revision,
                    parent: digest(&entry.parent),
                    hash: digest(&entry.hash),
                    id: &entry.id,
                    request: RequestMark::stored(*entry.request.as_bytes()),
                    at_ms: entry.at_ms,
                    bytes: &entry.record,
                });
                // One that cannot be read is named where the chain is followed.
                if let Some(record) = record {
                    changes.expect(entry.revision, &record);
                    facets.expect(entry.revision, &record);
                }
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
    changes.compare(log, &mut check).await?;
    facets.compare(log, &mut check).await?;
    for fault in log.check().await? {
        check.note("structure of the store", fault);
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
        requests_unnamed: check.requests_unnamed(),
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
    let of_log = crate::load::state_at(log, stored.revision, None, &nothing).await?;
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
