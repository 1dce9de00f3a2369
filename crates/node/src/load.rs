//! How a node starts: the newest good checkpoint, then the tail of the log.

use std::collections::BTreeSet;

use plane_log::{ChangeLog, ReadError, ReadLimit, StoredEntry};
use plane_model::{Digest, DocumentKey, Kind, PrincipalId, Timestamp};
use plane_state::delivery::Changed;
use plane_state::{BodyRef, Head, Record, State, checkpoint, salted_digest};

use crate::checkpoints::Pace;
use crate::convert::{Fetched, body_ref, digest, hash};
use crate::error::StartError;
use crate::parallel::side_by_side;

/// How many records are read and folded at a time.
const PAGE: ReadLimit = ReadLimit {
    records: 1_000,
    bytes: 16 << 20,
};

/// What a node starts with.
pub(crate) struct Loaded {
    /// The newest state.
    pub(crate) state: State,
    /// How much of it no checkpoint covers.
    pub(crate) pace: Pace,
}

/// Reads the newest state that the log gives.
pub(crate) async fn load(log: &dyn ChangeLog) -> Result<Loaded, StartError> {
    let (mut state, checkpoint_bytes) = from_checkpoint(log)
        .await?
        .unwrap_or_else(|| (State::genesis(log.id().as_str()), 0));
    let mut tail_bytes = 0;
    loop {
        let page = log.read(state.head().revision, PAGE).await?;
        if page.is_empty() {
            let pace = Pace::new(tail_bytes, checkpoint_bytes);
            return Ok(Loaded { state, pace });
        }
        tail_bytes += page
            .iter()
            .map(|entry| entry.record.len() as u64)
            .sum::<u64>();
        state = fold(log, state, &page).await?.0;
    }
}

/// The newest checkpoint that is whole, and its size; a damaged one is passed over, loudly.
async fn from_checkpoint(log: &dyn ChangeLog) -> Result<Option<(State, u64)>, ReadError> {
    for meta in log.checkpoints().await? {
        let stored = match log.checkpoint(meta.revision).await {
            Ok(Some(stored)) => stored,
            Ok(None) => continue,
            // All of it is in the log too.
            Err(ReadError::Damaged { detail }) => {
                tracing::error!(
                    revision = meta.revision,
                    detail,
                    "a checkpoint is damaged and passed over"
                );
                continue;
            }
            Err(error) => return Err(error),
        };
        let at_head = log
            .read(meta.revision.saturating_sub(1), ReadLimit::records(1))
            .await?;
        if Digest::of(&stored.bytes) != digest(&stored.digest) {
            tracing::error!(
                revision = meta.revision,
                "a checkpoint is damaged and passed over"
            );
            continue;
        }
        let named = checkpoint::open(&stored.bytes).map(|opened| opened.blobs().to_vec());
        let blobs = match named {
            Ok(blobs) => fetch(log, &BTreeSet::new(), &blobs.into_iter().collect()).await?,
            Err(error) => {
                tracing::error!(revision = meta.revision, %error, "a checkpoint is passed over");
                continue;
            }
        };
        match decode(&stored.bytes, &blobs) {
            Ok(state)
                if state.log() == log.id().as_str()
                    && at_head.first().is_some_and(|entry| {
                        entry.revision == state.head().revision
                            && digest(&entry.hash) == state.head().hash
                    }) =>
            {
                return Ok(Some((state, stored.bytes.len() as u64)));
            }
            Ok(_) => tracing::error!(
                revision = meta.revision,
                "a checkpoint does not fit the log and is passed over"
            ),
            Err(error) => {
                tracing::error!(revision = meta.revision, %error, "a checkpoint is passed over");
            }
        }
    }
    Ok(None)
}

/// Reads a checkpoint, its parts side by side.
fn decode(bytes: &[u8], fetched: &Fetched) -> Result<State, checkpoint::CheckpointError> {
    let opened = checkpoint::open(bytes)?;
    let parts = side_by_side(opened.parts(), |part| opened.read(part));
    let parts = parts.into_iter().collect::<Result<_, _>>()?;
    opened.finish(parts, &|digest| fetched.blobs.get(digest).cloned())
}

/// What folding one record told.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) head: Head,
    /// None if the record cannot be read.
    pub(crate) actor: Option<PrincipalId>,
    pub(crate) changes: Vec<Changed>,
}

/// Folds consecutive entries, each checked against the chain.
///
/// # Errors
/// An entry is not the successor of the one before, or does not have its hash.
pub(crate) async fn fold(
    log: &dyn ChangeLog,
    mut state: State,
    page: &[StoredEntry],
) -> Result<(State, Vec<Folded>), StartError> {
    let (mut bodies, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    let mut actors = Vec::with_capacity(page.len());
    for entry in page {
        let record = Record::decode(&entry.record).ok();
        let (actor, ops) = record.map(|it| (it.actor, it.ops)).unzip();
        actors.push(actor);
        for op in ops.into_iter().flatten() {
            bodies.extend(op.digest);
            blobs.extend(op.blobs);
        }
    }
    let fetched = fetch(log, &bodies, &blobs).await?;
    let mut folded = Vec::with_capacity(page.len());
    for (entry, actor) in page.iter().zip(actors) {
        check_link(&state, entry)?;
        let (next, applied) =
            state.apply(entry.revision, digest(&entry.hash), &entry.record, &fetched);
        for anomaly in &applied.anomalies {
            tracing::warn!(revision = anomaly.revision, detail = %anomaly.detail, "passed over");
        }
        state = next;
        let changes = applied.changes.into_iter();
        let changes = changes.map(|change| Changed::of(&state, change));
        folded.push(Folded {
            head: state.head(),
            actor,
            changes: changes.collect(),
        });
    }
    Ok((state, folded))
}

fn check_link(state: &State, entry: &StoredEntry) -> Result<(), StartError> {
    let head = state.head();
    let broken = |detail: String| {
        Err(StartError::Broken {
            revision: entry.revision,
            detail,
        })
    };
    if entry.revision != head.revision + 1 {
        return broken(format!("revision {} was expected", head.revision + 1));
    }
    if digest(&entry.parent) != head.hash {
        return broken("its parent is not the record before it".to_owned());
    }
    if Digest::of(&entry.record) != digest(&entry.hash) {
        return broken("the record does not have its hash".to_owned());
    }
    Ok(())
}

/// Reads bodies and blobs, and passes over those whose bytes are not the ones that were named.
pub(crate) async fn fetch(
    log: &dyn ChangeLog,
    bodies: &BTreeSet<BodyRef>,
    blobs: &BTreeSet<Digest>,
) -> Result<Fetched, ReadError> {
    let mut fetched = Fetched::default();
    let mut salted = Vec::new();
    let mut plain: BTreeSet<Digest> = blobs.clone();
    for body in bodies {
        match body {
            BodyRef::Salted(it) => salted.push(*it),
            BodyRef::Blob(it) => {
                plain.insert(*it);
            }
        }
    }
    let hashes: Vec<_> = salted.iter().map(hash).collect();
    for (named, body) in salted.iter().zip(log.bodies(&hashes).await?) {
        let Some(body) = body else { continue };
        if salted_digest(&body.salt, &body.bytes) == *named {
            fetched
                .bodies
                .insert(BodyRef::Salted(*named), body.bytes.into());
        } else {
            tracing::error!(body = %named.hex(), "a body is damaged and not used");
            fetched.damaged.insert(BodyRef::Salted(*named));
        }
    }
    let plain: Vec<_> = plain.into_iter().collect();
    let hashes: Vec<_> = plain.iter().map(hash).collect();
    for (named, bytes) in plain.iter().zip(log.blobs(&hashes).await?) {
        let Some(bytes) = bytes else { continue };
        if Digest::of(&bytes) == *named {
            fetched.blobs.insert(*named, bytes.into());
        } else {
            tracing::error!(blob = %named, "a blob is damaged and not used");
            fetched.damaged.insert(BodyRef::Blob(*named));
        }
    }
    Ok(fetched)
}

/// Puts the state of a past revision together from the index of changes, or what it has of one kind; what is the same
/// in `now` is shared.
pub(crate) async fn state_at(
    log: &dyn ChangeLog,
    revision: u64,
    kind: Option<Kind>,
    now: &State,
) -> Result<State, ReadError> {
    let head = if revision == 0 {
        Head::genesis()
    } else {
        let entry = log.read(revision - 1, ReadLimit::records(1)).await?;
        let Some(entry) = entry.first() else {
            return Err(ReadError::Damaged {
                detail: format!("revision {revision} is missing"),
            });
        };
        Head {
            revision,
            hash: digest(&entry.hash),
            at: Timestamp(entry.at_ms),
        }
    };
    let mut documents = Vec::new();
    for row in log.snapshot_at(revision, kind.map(Kind::as_str)).await? {
        if let Ok(kind) = row.key.kind.parse() {
            let key = DocumentKey::stored(kind, &row.key.scope, &row.key.name);
            documents.push((key, row.revision, body_ref(&row.digest)));
        }
    }
    let others = || {
        documents
            .iter()
            .filter(|(key, revision, _)| now.entry(key).is_none_or(|it| it.revision != *revision))
    };
    let bodies: BTreeSet<BodyRef> = others().map(|(_, _, body)| *body).collect();
    let mut fetched = fetch(log, &bodies, &BTreeSet::new()).await?;
    let mut blobs = BTreeSet::new();
    for (key, _, body) in others().filter(|(key, ..)| plane_state::may_name_blobs(key.kind())) {
        if let Some(bytes) = plane_state::Bodies::body(&fetched, body)
            && let Ok(document) = plane_model::Document::decode(key.kind(), &bytes)
        {
            blobs.extend(plane_state::named_blobs(&document));
        }
    }
    let more: Fetched = fetch(log, &BTreeSet::new(), &blobs).await?;
    fetched.blobs.extend(more.blobs);
    Ok(State::assemble(head, documents, now, &fetched))
}
