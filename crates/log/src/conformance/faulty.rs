//! A log that fails on command.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Mutex as Gate, MutexGuard};

use crate::{
    AppendError, Appended, Body, Bytes, ChangeLog, ChangeRow, Checkpoint, CheckpointMeta,
    DocumentKey, Entry, Hash, Haste, Head, HeadWatch, LogId, Query, ReadError, ReadLimit,
    SnapshotRow, StoredBlob, StoredBody, StoredChange, StoredEntry, StoredFacet, WriteError,
};

/// Says how one append fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The run is stored, and the acknowledgement is lost.
    LoseAcknowledgement,
    /// The run never reaches the store, and nobody says so.
    LoseRequest,
    /// Nothing is stored, for this reason.
    Refuse(AppendError),
}

/// Wraps a log so that the next appends fail as planned; everything else passes through.
#[derive(Debug)]
pub struct FaultyLog {
    inner: Arc<dyn ChangeLog>,
    faults: Mutex<VecDeque<Fault>>,
    gate: Gate<()>,
    waiting: AtomicUsize,
}

impl FaultyLog {
    /// Wraps `inner` with no fault planned.
    #[must_use]
    pub fn new(inner: Arc<dyn ChangeLog>) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            gate: Gate::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Has appends wait for as long as what this gives is kept.
    pub async fn hold(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().await
    }

    /// How many appends wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Plans a fault for the next append that has none yet.
    pub fn plan(&self, fault: Fault) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(fault);
    }

    fn next_fault(&self) -> Option<Fault> {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

#[async_trait]
impl ChangeLog for FaultyLog {
    fn id(&self) -> &LogId {
        self.inner.id()
    }

    async fn append(&self, expected: Head, run: &[Entry]) -> Result<Appended, AppendError> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _passing = self.gate.lock().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match self.next_fault() {
            None => self.inner.append(expected, run).await,
            Some(Fault::LoseAcknowledgement) => {
                self.inner.append(expected, run).await?;
                Err(AppendError::Unknown)
            }
            Some(Fault::LoseRequest) => Err(AppendError::Unknown),
            Some(Fault::Refuse(error)) => Err(error),
        }
    }

    fn hasten(&self) -> Haste {
        self.inner.hasten()
    }

    async fn head(&self) -> Result<Head, ReadError> {
        self.inner.head().await
    }

    async fn read(&self, after: u64, limit: ReadLimit) -> Result<Vec<StoredEntry>, ReadError> {
        self.inner.read(after, limit).await
    }

    async fn find(&self, id: &str) -> Result<Option<StoredEntry>, ReadError> {
        self.inner.find(id).await
    }

    async fn bodies(&self, digests: &[Hash]) -> Result<Vec<Option<Body>>, ReadError> {
        self.inner.bodies(digests).await
    }

    async fn blobs(&self, digests: &[Hash]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.inner.blobs(digests).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<StoredEntry>, ReadError> {
        self.inner.query(query).await
    }

    async fn snapshot_at(
        &self,
        revision: u64,
        kind: Option<&str>,
    ) -> Result<Vec<SnapshotRow>, ReadError> {
        self.inner.snapshot_at(revision, kind).await
    }

    async fn revision_at(&self, at_ms: i64) -> Result<u64, ReadError> {
        self.inner.revision_at(at_ms).await
    }

    async fn history(
        &self,
        key: &DocumentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ChangeRow>, ReadError> {
        self.inner.history(key, before, limit).await
    }

    async fn changes_page(
        &self,
        after: Option<(DocumentKey, u64)>,
        records: usize,
    ) -> Result<Vec<StoredChange>, ReadError> {
        self.inner.changes_page(after, records).await
    }

    async fn facets_page(
        &self,
        after: Option<StoredFacet>,
        records: usize,
    ) -> Result<Vec<StoredFacet>, ReadError> {
        self.inner.facets_page(after, records).await
    }

    async fn erase(&self, digest: &Hash) -> Result<bool, WriteError> {
        self.inner.erase(digest).await
    }

    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), WriteError> {
        self.inner.put_checkpoint(checkpoint).await
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointMeta>, ReadError> {
        self.inner.checkpoints().await
    }

    async fn checkpoint(&self, revision: u64) -> Result<Option<Checkpoint>, ReadError> {
        self.inner.checkpoint(revision).await
    }

    fn watch(&self) -> HeadWatch {
        self.inner.watch()
    }

    async fn meta_get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        self.inner.meta_get(key).await
    }

    async fn meta_put(&self, key: &str, value: &[u8]) -> Result<(), WriteError> {
        self.inner.meta_put(key, value).await
    }

    async fn bodies_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBody>, ReadError> {
        self.inner.bodies_page(after, limit).await
    }

    async fn blobs_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBlob>, ReadError> {
        self.inner.blobs_page(after, limit).await
    }

    async fn check(&self) -> Result<Vec<String>, ReadError> {
        self.inner.check().await
    }
}
