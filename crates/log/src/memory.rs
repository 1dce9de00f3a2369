//! A log in memory: for tests and for trying things out. It is gone with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::change_log::{CHECKPOINTS_KEPT, check_meta};
use crate::query::Gathered;
use crate::run::{check_link, check_run};
use crate::{
    AppendError, Appended, Body, Bytes, ChangeLog, ChangeRow, Checkpoint, CheckpointMeta,
    DigestRef, DocumentKey, Entry, Facet, Hash, Head, HeadWatch, LogId, Order, Point, Query,
    ReadError, ReadLimit, SnapshotRow, StoredBlob, StoredBody, StoredChange, StoredEntry,
    StoredFacet, WriteError,
};

/// Keeps a log in memory, with the semantics of a durable one up to the end of the process.
#[derive(Debug)]
pub struct MemoryLog {
    id: LogId,
    tables: Mutex<Tables>,
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Tables {
    rows: Vec<Row>,
    ids: BTreeMap<String, u64>,
    bodies: BTreeMap<Hash, Option<Body>>,
    blobs: BTreeMap<Hash, Option<Bytes>>,
    changes: BTreeMap<DocumentKey, BTreeMap<u64, Option<DigestRef>>>,
    checkpoints: BTreeMap<u64, Checkpoint>,
    meta: BTreeMap<String, Bytes>,
}

#[derive(Debug)]
struct Row {
    entry: StoredEntry,
    actor: String,
    action: String,
    tenants: Vec<String>,
    documents: Vec<DocumentKey>,
}

impl MemoryLog {
    /// Makes an empty log named `id`.
    #[must_use]
    pub fn new(id: LogId) -> Self {
        Self {
            id,
            tables: Mutex::default(),
            told: watch::Sender::new(0),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic elsewhere leaves the tables whole: every change of them follows all checks.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChangeLog for MemoryLog {
    fn id(&self) -> &LogId {
        &self.id
    }

    async fn append(&self, expected: Head, run: &[Entry]) -> Result<Appended, AppendError> {
        check_run(expected, run)?;
        let mut tables = self.tables();
        let head = tables.head();
        if head != expected {
            return Ok(Appended::Conflict { head });
        }
        if let (Some(first), Some(last)) = (run.first(), tables.rows.last()) {
            check_link(head, last.entry.at_ms, first)?;
        }
        for entry in run {
            if let Some(revision) = tables.ids.get(&entry.id).copied() {
                let id = entry.id.clone();
                return Err(AppendError::DuplicateId {
                    id,
                    revision: Some(revision),
                });
            }
        }
        for entry in run {
            tables.push(entry);
        }
        let head = tables.head();
        drop(tables);
        // A run of another writer may have been told first: the watch never goes back.
        self.told.send_if_modified(|told| {
            let grown = head.revision > *told;
            *told = head.revision.max(*told);
            grown
        });
        Ok(Appended::Committed { head })
    }

    async fn head(&self) -> Result<Head, ReadError> {
        Ok(self.tables().head())
    }

    async fn read(&self, after: u64, limit: ReadLimit) -> Result<Vec<StoredEntry>, ReadError> {
        let mut gathered = Gathered::new(limit);
        let tables = self.tables();
        let rows = tables
            .rows
            .iter()
            .skip(usize::try_from(after).unwrap_or(usize::MAX));
        Ok(rows
            .map(|row| &row.entry)
            .take_while(|entry| gathered.admits(entry.record.len()))
            .cloned()
            .collect())
    }

    async fn find(&self, id: &str) -> Result<Option<StoredEntry>, ReadError> {
        let tables = self.tables();
        Ok(tables
            .ids
            .get(id)
            .and_then(|revision| tables.row(*revision))
            .map(|r| r.entry.clone()))
    }

    async fn bodies(&self, digests: &[Hash]) -> Result<Vec<Option<Body>>, ReadError> {
        let tables = self.tables();
        Ok(digests
            .iter()
            .map(|digest| tables.bodies.get(digest).cloned().flatten())
            .collect())
    }

    async fn blobs(&self, digests: &[Hash]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let tables = self.tables();
        Ok(digests
            .iter()
            .map(|digest| tables.blobs.get(digest).cloned().flatten())
            .collect())
    }

    async fn query(&self, query: &Query) -> Result<Vec<StoredEntry>, ReadError> {
        let tables = self.tables();
        let selected = tables.rows.iter().filter(|row| row.matches(query));
        let rows: Box<dyn Iterator<Item = &Row>> = match query.order {
            Order::OldestFirst => Box::new(selected),
            Order::NewestFirst => Box::new(selected.rev()),
        };
        let mut gathered = Gathered::new(query.limit);
        Ok(rows
            .map(|row| &row.entry)
            .take_while(|entry| gathered.admits(entry.record.len()))
            .cloned()
            .collect())
    }

    async fn snapshot_at(
        &self,
        revision: u64,
        kind: Option<&str>,
    ) -> Result<Vec<SnapshotRow>, ReadError> {
        let tables = self.tables();
        let documents = tables.changes.iter();
        let documents = documents.filter(|(key, _)| kind.is_none_or(|kind| key.kind == kind));
        let latest = documents.filter_map(|(key, changes)| {
            let (changed, digest) = changes.range(..=revision).next_back()?;
            Some(SnapshotRow {
                key: key.clone(),
                revision: *changed,
                digest: (*digest)?,
            })
        });
        Ok(latest.collect())
    }

    async fn revision_at(&self, at_ms: i64) -> Result<u64, ReadError> {
        let before = self
            .tables()
            .rows
            .partition_point(|row| row.entry.at_ms <= at_ms);
        Ok(u64::try_from(before).unwrap_or(u64::MAX))
    }

    async fn history(
        &self,
        key: &DocumentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ChangeRow>, ReadError> {
        let tables = self.tables();
        let Some(changes) = tables.changes.get(key) else {
            return Ok(Vec::new());
        };
        let rows = changes
            .range(..before.unwrap_or(u64::MAX))
            .rev()
            .take(limit);
        let rows = rows.filter_map(|(revision, digest)| {
            let at_ms = tables.row(*revision)?.entry.at_ms;
            Some(ChangeRow {
                revision: *revision,
                at_ms,
                digest: *digest,
            })
        });
        Ok(rows.collect())
    }

    async fn changes_page(
        &self,
        after: Option<(DocumentKey, u64)>,
        records: usize,
    ) -> Result<Vec<StoredChange>, ReadError> {
        let tables = self.tables();
        let (first, above) = after.map_or((Bound::Unbounded, 0), |(key, revision)| {
            (Bound::Included(key), revision)
        });
        let same = match &first {
            Bound::Included(key) => Some(key.clone()),
            _ => None,
        };
        let documents = tables.changes.range((first, Bound::Unbounded));
        let changes = documents.flat_map(|(key, changes)| {
            let from = if same.as_ref() == Some(key) {
                above + 1
            } else {
                0
            };
            changes
                .range(from..)
                .map(move |(revision, digest)| StoredChange {
                    key: key.clone(),
                    revision: *revision,
                    digest: *digest,
                })
        });
        Ok(changes.take(records.max(1)).collect())
    }

    async fn facets_page(
        &self,
        after: Option<StoredFacet>,
        records: usize,
    ) -> Result<Vec<StoredFacet>, ReadError> {
        let tables = self.tables();
        let facets: BTreeSet<_> = tables.rows.iter().flat_map(Row::facets).collect();
        let rest = facets
            .into_iter()
            .filter(|facet| after.as_ref() < Some(facet));
        Ok(rest.take(records.max(1)).collect())
    }

    async fn erase(&self, digest: &Hash) -> Result<bool, WriteError> {
        let mut tables = self.tables();
        let body = tables
            .bodies
            .get_mut(digest)
            .and_then(Option::take)
            .is_some();
        let blob = tables
            .blobs
            .get_mut(digest)
            .and_then(Option::take)
            .is_some();
        if body || blob {
            tables.checkpoints.clear();
        }
        Ok(body || blob)
    }

    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), WriteError> {
        let mut tables = self.tables();
        let hash = match checkpoint.revision {
            0 => Some(Hash::GENESIS),
            revision => tables.row(revision).map(|row| row.entry.hash),
        };
        if hash != Some(checkpoint.head) {
            return Err(WriteError::Refused {
                detail: format!(
                    "no entry {} with hash {}",
                    checkpoint.revision, checkpoint.head
                ),
            });
        }
        tables.checkpoints.insert(checkpoint.revision, checkpoint);
        while tables.checkpoints.len() > CHECKPOINTS_KEPT {
            tables.checkpoints.pop_first();
        }
        Ok(())
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointMeta>, ReadError> {
        let tables = self.tables();
        let newest_first = tables.checkpoints.values().rev();
        Ok(newest_first
            .map(|checkpoint| CheckpointMeta {
                revision: checkpoint.revision,
                head: checkpoint.head,
                digest: checkpoint.digest,
                bytes_len: checkpoint.bytes.len() as u64,
            })
            .collect())
    }

    async fn checkpoint(&self, revision: u64) -> Result<Option<Checkpoint>, ReadError> {
        Ok(self.tables().checkpoints.get(&revision).cloned())
    }

    fn watch(&self) -> HeadWatch {
        HeadWatch::new(self.told.subscribe())
    }

    async fn meta_get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        Ok(self.tables().meta.get(key).cloned())
    }

    async fn meta_put(&self, key: &str, value: &[u8]) -> Result<(), WriteError> {
        check_meta(key, value)?;
        self.tables().meta.insert(key.to_owned(), value.into());
        Ok(())
    }

    async fn bodies_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBody>, ReadError> {
        let mut gathered = Gathered::new(limit);
        let tables = self.tables();
        let rows = tables
            .bodies
            .iter()
            .filter(|(digest, _)| Some(**digest) > after);
        Ok(rows
            .take_while(|(_, body)| gathered.admits(body.as_ref().map_or(0, |b| b.bytes.len())))
            .map(|(digest, body)| StoredBody {
                digest: *digest,
                body: body.clone(),
            })
            .collect())
    }

    async fn blobs_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBlob>, ReadError> {
        let mut gathered = Gathered::new(limit);
        let tables = self.tables();
        let rows = tables
            .blobs
            .iter()
            .filter(|(digest, _)| Some(**digest) > after);
        Ok(rows
            .take_while(|(_, bytes)| gathered.admits(bytes.as_ref().map_or(0, |b| b.len())))
            .map(|(digest, bytes)| StoredBlob {
                digest: *digest,
                bytes: bytes.clone(),
            })
            .collect())
    }

    async fn check(&self) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }
}

impl Tables {
    fn head(&self) -> Head {
        self.rows
            .last()
            .map_or(Head::GENESIS, |row| row.entry.head())
    }

    fn row(&self, revision: u64) -> Option<&Row> {
        self.rows
            .get(usize::try_from(revision.checked_sub(1)?).ok()?)
    }

    fn push(&mut self, entry: &Entry) {
        self.ids.insert(entry.id.clone(), entry.revision);
        for body in &entry.bodies {
            self.bodies
                .entry(body.digest)
                .or_default()
                .get_or_insert_with(|| body.clone());
        }
        for blob in &entry.blobs {
            self.blobs
                .entry(blob.digest)
                .or_default()
                .get_or_insert_with(|| blob.bytes.clone());
        }
        for change in &entry.changes {
            let changes = self.changes.entry(change.key.clone()).or_default();
            changes.insert(entry.revision, change.digest);
        }
        self.rows.push(Row {
            entry: StoredEntry {
                revision: entry.revision,
                parent: entry.parent,
                hash: entry.hash,
                id: entry.id.clone(),
                request: entry.request,
                at_ms: entry.at_ms,
                record: entry.record.clone(),
            },
            actor: entry.actor.clone(),
            action: entry.action.clone(),
            tenants: entry.tenants.clone(),
            documents: entry
                .changes
                .iter()
                .map(|change| change.key.clone())
                .collect(),
        });
    }
}

impl Row {
    fn facets(&self) -> Vec<StoredFacet> {
        let facet = |facet, value: &String| StoredFacet {
            facet,
            value: value.clone(),
            revision: self.entry.revision,
        };
        let mut facets = vec![
            facet(Facet::Actor, &self.actor),
            facet(Facet::Action, &self.action),
        ];
        facets.extend(self.tenants.iter().map(|it| facet(Facet::Tenant, it)));
        facets.extend(self.documents.iter().map(|it| facet(Facet::Kind, &it.kind)));
        facets
    }

    fn matches(&self, query: &Query) -> bool {
        let is =
            |wanted: &Option<String>, value: &String| wanted.as_ref().is_none_or(|w| w == value);
        let revision = self.entry.revision;
        let after_since = match query.since {
            None => true,
            Some(Point::Revision(since)) => revision >= since,
            Some(Point::AtMs(since)) => self.entry.at_ms >= since,
        };
        let before_until = match query.until {
            None => true,
            Some(Point::Revision(until)) => revision <= until,
            Some(Point::AtMs(until)) => self.entry.at_ms <= until,
        };
        let beyond_cursor = match (query.cursor, query.order) {
            (None, _) => true,
            (Some(cursor), Order::NewestFirst) => revision < cursor,
            (Some(cursor), Order::OldestFirst) => revision > cursor,
        };
        let touches = query
            .tenant
            .as_ref()
            .is_none_or(|tenant| self.tenants.contains(tenant));
        let kind = query.kind.as_ref();
        let of_kind = kind.is_none_or(|kind| self.documents.iter().any(|key| key.kind == *kind));
        let document = query.document.as_ref();
        let of_document = document.is_none_or(|key| self.documents.contains(key));
        after_since
            && before_until
            && beyond_cursor
            && is(&query.actor, &self.actor)
            && is(&query.action, &self.action)
            && touches
            && of_kind
            && of_document
    }
}
