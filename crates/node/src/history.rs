//! The log as people read it: who changed what, when and why.

use std::collections::BTreeSet;

use plane_log::{ChangeLog, DocumentKey as LogKey, Order, Point, Query, ReadError, ReadLimit};
use plane_model::{DocumentKey, PrincipalId, TenantId};
use plane_state::{BodyRef, OpKind, Record};
use serde_json::Value;

use crate::load::fetch;
use crate::past::At;

/// Which commits to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// From this moment on, itself included.
    pub since: Option<At>,
    /// Up to this moment, itself included.
    pub until: Option<At>,
    /// Only by this principal.
    pub actor: Option<PrincipalId>,
    /// Only those that touch this tenant.
    pub tenant: Option<TenantId>,
    /// Only those that touch this kind.
    pub kind: Option<plane_model::Kind>,
    /// Only those that touch this document.
    pub document: Option<DocumentKey>,
    /// Only before this revision, which continues a list.
    pub before: Option<u64>,
    /// How many.
    pub limit: usize,
}

/// A commit with what it changed.
#[derive(Debug, Clone)]
pub struct CommitDetail {
    /// The record.
    pub record: Record,
    /// Its hash.
    pub hash: plane_model::Digest,
    /// What became of each document, in the order of the record's operations.
    pub changes: Vec<DocumentChange>,
}

/// What a commit did to one document.
#[derive(Debug, Clone)]
pub struct DocumentChange {
    /// Which; none if its kind is not known to this version.
    pub key: Option<DocumentKey>,
    /// What was there before, unless nothing was or it was erased.
    pub before: Option<Value>,
    /// What was there afterwards, unless nothing was or it was erased.
    pub after: Option<Value>,
}

fn point(at: At) -> Point {
    match at {
        At::Revision(revision) => Point::Revision(revision),
        At::Time(time) => Point::AtMs(time.as_ms()),
    }
}

/// Lists commits; one that cannot be read is left out, for `log verify` to name.
pub(crate) async fn list(
    log: &dyn ChangeLog,
    query: &HistoryQuery,
) -> Result<Vec<(plane_model::Digest, Record)>, ReadError> {
    let query = Query {
        since: query.since.map(point),
        until: query.until.map(point),
        actor: query.actor.as_ref().map(ToString::to_string),
        action: None,
        tenant: query.tenant.as_ref().map(ToString::to_string),
        kind: query.kind.map(|kind| kind.as_str().to_owned()),
        document: query
            .document
            .as_ref()
            .map(|key| LogKey::new(key.kind().as_str(), key.scope(), key.name())),
        order: Order::NewestFirst,
        cursor: query.before,
        limit: ReadLimit::records(query.limit),
    };
    let entries = log.query(&query).await?;
    Ok(entries
        .iter()
        .filter_map(|entry| {
            Some((
                crate::convert::digest(&entry.hash),
                Record::decode(&entry.record).ok()?,
            ))
        })
        .collect())
}

/// One commit with its documents before and after.
pub(crate) async fn detail(
    log: &dyn ChangeLog,
    revision: u64,
) -> Result<Option<CommitDetail>, ReadError> {
    let Some(before) = revision.checked_sub(1) else {
        return Ok(None);
    };
    let entries = log.read(before, ReadLimit::records(1)).await?;
    let Some(entry) = entries.first() else {
        return Ok(None);
    };
    let record = Record::decode(&entry.record).map_err(|detail| ReadError::Damaged { detail })?;
    let named: BTreeSet<BodyRef> = record
        .ops
        .iter()
        .flat_map(|op| op.digest.into_iter().chain(op.before))
        .collect();
    let fetched = fetch(log, &named, &BTreeSet::new()).await?;
    let read = |body: Option<BodyRef>| {
        let bytes = plane_state::Bodies::body(&fetched, &body?)?;
        serde_json::from_slice(&bytes).ok()
    };
    let changes = record
        .ops
        .iter()
        .map(|op| DocumentChange {
            key: op.key(),
            before: read(op.before),
            after: if op.op == OpKind::Put {
                read(op.digest)
            } else {
                None
            },
        })
        .collect();
    Ok(Some(CommitDetail {
        hash: crate::convert::digest(&entry.hash),
        record,
        changes,
    }))
}
