//! Proves a whole store: the chain, every body, blob and checkpoint, and the indexes that answers come from.
//!
//! Memory is bounded by the number of documents, tenants and digests, not by the number of commits.

mod index;

use std::collections::BTreeSet;

use plane_log::{ChangeLog, ReadError, ReadLimit, StoredEntry};
use plane_model::DocumentKey;
use plane_state::verify::{ChainCheck, Damage, StoredRecord};
use plane_state::{Bodies as _, Entry, RequestMark};
use serde::Serialize;

use self::index::{Changes, Facets};
use crate::convert::{body_ref, digest};
use crate::load::fetch;

/// How many documents of a checkpoint are compared with the log at a time.
const PAGE: usize = 4_000;

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
        let what = format!("checkpoint of revision {}", meta.revision);
        match log.checkpoint(meta.revision).await {
            Ok(Some(stored)) => {
                check.checkpoint(stored.revision, digest(&stored.digest), &stored.bytes);
                if let Some(detail) = contradiction(log, &stored).await? {
                    check.note(what, detail);
                }
            }
            Ok(None) => check.note(what, "it is gone"),
            // The rest can still be read.
            Err(ReadError::Damaged { detail }) => check.note(what, detail),
            Err(error) => return Err(error),
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
    let blobs = fetch(log, &BTreeSet::new(), &blobs).await?;
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
    let at_head = log
        .read(stored.revision.saturating_sub(1), ReadLimit::records(1))
        .await?;
    let names_head = |entry: &StoredEntry| digest(&entry.hash) == state.head().hash;
    if !at_head.first().is_some_and(names_head) {
        return Ok(Some("it names another hash than the log".to_owned()));
    }
    let mut documents = 0;
    for rows in log.snapshot_at(stored.revision, None).await?.chunks(PAGE) {
        let known = rows.iter().filter_map(|row| {
            let kind = row.key.kind.parse().ok()?;
            let key = DocumentKey::stored(kind, &row.key.scope, &row.key.name);
            Some((key, row.revision, body_ref(&row.digest)))
        });
        let known: Vec<_> = known.collect();
        let bodies = known.iter().map(|(_, _, body)| *body).collect();
        let fetched = fetch(log, &bodies, &BTreeSet::new()).await?;
        let differs = known.iter().find(|(key, revision, body)| {
            // Nothing is decoded: equal bytes are equal documents.
            let bytes = fetched.body(body).unwrap_or_default();
            let said = |entry: &Entry| (entry.revision, entry.body) == (*revision, *body);
            !state
                .entry(key)
                .is_some_and(|entry| said(entry) && entry.bytes == bytes)
        });
        if let Some((key, ..)) = differs {
            return Ok(Some(format!("it contradicts the log at {key}")));
        }
        documents += known.len();
    }
    let others = documents != state.len();
    Ok(others.then(|| "it has other documents than the log".to_owned()))
}
