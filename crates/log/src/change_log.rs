//! The seam between the product and its storage.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::{
    AppendError, Body, Bytes, DigestRef, DocumentKey, Entry, Facet, Hash, Haste, Head, HeadWatch,
    LogId, Query, ReadError, ReadLimit, StoredEntry, WriteError,
};

/// Stores commits in one total order, together with the bytes they point to.
///
/// Every method that writes is atomic, and durable when it returns `Ok`. None is cancel-safe in the sense that
/// dropping its future undoes it: the write may still happen. Reads see every append that was acknowledged before
/// they began.
#[async_trait]
pub trait ChangeLog: Send + Sync + Debug {
    /// Returns the id that this log was created with.
    fn id(&self) -> &LogId;

    /// Appends `run` if nobody has written since `expected`: all of it in one transaction, or nothing.
    ///
    /// Durable when it returns [`Appended::Committed`]. The head is compared by revision and by hash; an empty run
    /// only compares. Not cancel-safe: after a drop the outcome is unknown, as with [`AppendError::Unknown`].
    ///
    /// # Errors
    /// [`AppendError::Unknown`]: [`settle`](crate::settle()), then send the same bytes again.
    /// [`AppendError::DuplicateId`]: answer with the entry that [`find`](Self::find) gives. The others: nothing was
    /// stored; [`AppendError::is_retryable`] says whether to try again.
    async fn append(&self, expected: Head, run: &[Entry]) -> Result<Appended, AppendError>;

    /// Has upkeep give way while the guard is held: something urgent is about to be appended.
    ///
    /// A hint. A store without upkeep of its own has nothing to do.
    fn hasten(&self) -> Haste {
        Haste::default()
    }

    /// Reads the head.
    async fn head(&self) -> Result<Head, ReadError>;

    /// Reads the entries after revision `after`, oldest first; an empty answer means that there are none.
    async fn read(&self, after: u64, limit: ReadLimit) -> Result<Vec<StoredEntry>, ReadError>;

    /// Finds the entry with this idempotency key.
    async fn find(&self, id: &str) -> Result<Option<StoredEntry>, ReadError>;

    /// Reads bodies, in the order asked; `None` stands for an erased or a missing one.
    async fn bodies(&self, digests: &[Hash]) -> Result<Vec<Option<Body>>, ReadError>;

    /// Reads blobs, in the order asked; `None` stands for an erased or a missing one.
    async fn blobs(&self, digests: &[Hash]) -> Result<Vec<Option<Bytes>>, ReadError>;

    /// Reads the entries that `query` selects.
    ///
    /// A query by document, tenant, actor or action walks only the entries that match it; one by kind alone, those
    /// of the kind.
    async fn query(&self, query: &Query) -> Result<Vec<StoredEntry>, ReadError>;

    /// Lists every document, or those of one kind, as it was at `revision`, deleted ones left out, in the order of
    /// their keys.
    ///
    /// Linear in the number of changes the log holds of those documents.
    async fn snapshot_at(
        &self,
        revision: u64,
        kind: Option<&str>,
    ) -> Result<Vec<SnapshotRow>, ReadError>;

    /// Finds the last revision that was committed at or before `at_ms`; 0 if there is none.
    async fn revision_at(&self, at_ms: i64) -> Result<u64, ReadError>;

    /// Lists the changes of one document before revision `before` (all of them without it), newest first.
    async fn history(
        &self,
        key: &DocumentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ChangeRow>, ReadError>;

    /// Erases the body (bytes and salt) or the blob with this digest, and every checkpoint in the same transaction.
    ///
    /// Returns whether there was anything to erase; if not, nothing changes. The digest itself stays known as erased. A writer that holds a
    /// state in memory forgets the bytes before it writes its next checkpoint, or they would come back in that.
    /// What entries hold of their requests stays (ADR 0014).
    async fn erase(&self, digest: &Hash) -> Result<bool, WriteError>;

    /// Stores a checkpoint, in place of one at the same revision, and keeps the three newest.
    ///
    /// # Errors
    /// [`WriteError::Refused`] if the log has no such entry, or if an erasure came between: build it again.
    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), WriteError>;

    /// Lists the checkpoints, newest first.
    async fn checkpoints(&self) -> Result<Vec<CheckpointMeta>, ReadError>;

    /// Reads the checkpoint at `revision`.
    async fn checkpoint(&self, revision: u64) -> Result<Option<Checkpoint>, ReadError>;

    /// Watches the head.
    fn watch(&self) -> HeadWatch;

    /// Reads a small value that belongs to the installation.
    async fn meta_get(&self, key: &str) -> Result<Option<Bytes>, ReadError>;

    /// Stores a small value that belongs to the installation, of at most 64 KiB.
    async fn meta_put(&self, key: &str, value: &[u8]) -> Result<(), WriteError>;

    /// Pages through the changes of all documents in the order of their keys, the oldest of each first.
    ///
    /// `after` is where the page before ended: a document and the revision of its change.
    async fn changes_page(
        &self,
        after: Option<(DocumentKey, u64)>,
        records: usize,
    ) -> Result<Vec<StoredChange>, ReadError>;

    /// Pages through the facets by which commits are found, in their order.
    ///
    /// `after` is where the page before ended.
    async fn facets_page(
        &self,
        after: Option<StoredFacet>,
        records: usize,
    ) -> Result<Vec<StoredFacet>, ReadError>;

    /// Pages through all bodies in the order of their digests, erased ones included.
    async fn bodies_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBody>, ReadError>;

    /// Pages through all blobs in the order of their digests, erased ones included.
    async fn blobs_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBlob>, ReadError>;

    /// Asks the engine to check its own structures, and lists what it finds wrong; an empty answer is a sound store.
    ///
    /// Reads the whole store. It proves nothing about the chain or the digests: whoever knows the format does that.
    async fn check(&self) -> Result<Vec<String>, ReadError>;
}

/// Tells what became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The run is stored, durably.
    Committed {
        /// The head after the run.
        head: Head,
    },
    /// Nothing was stored: the head is not the one expected.
    Conflict {
        /// The head as it is.
        head: Head,
    },
}

/// Tells which bytes a document had at the revision of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The document.
    pub key: DocumentKey,
    /// The revision that last changed it.
    pub revision: u64,
    /// Where its bytes are.
    pub digest: DigestRef,
}

/// Tells one change of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// The revision that made it.
    pub revision: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Where the new bytes are; `None` deleted the document.
    pub digest: Option<DigestRef>,
}

/// Gives one change of one document, as the index of changes has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// The document.
    pub key: DocumentKey,
    /// The revision that made it.
    pub revision: u64,
    /// Where the new bytes are; `None` deleted the document.
    pub digest: Option<DigestRef>,
}

/// Says that a commit is found by a facet, as the index of facets has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredFacet {
    /// By what it is found.
    pub facet: Facet,
    /// The actor, the action, the tenant or the kind.
    pub value: String,
    /// The revision of the commit.
    pub revision: u64,
}

/// Carries a state, as bytes that only the caller understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The revision that the state has.
    pub revision: u64,
    /// The hash of the entry at that revision.
    pub head: Hash,
    /// The digest of `bytes`, computed by the caller.
    pub digest: Hash,
    /// The state.
    pub bytes: Bytes,
}

/// Describes a stored checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointMeta {
    /// The revision that the state has.
    pub revision: u64,
    /// The hash of the entry at that revision.
    pub head: Hash,
    /// The digest of the bytes.
    pub digest: Hash,
    /// How many bytes the state has.
    pub bytes_len: u64,
}

/// Gives a body of the store, or its place if it was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The digest it is known by.
    pub digest: Hash,
    /// The body; `None` if it was erased.
    pub body: Option<Body>,
}

/// Gives a blob of the store, or its place if it was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// The digest it is known by.
    pub digest: Hash,
    /// The bytes; `None` if it was erased.
    pub bytes: Option<Bytes>,
}

/// How many checkpoints are kept.
pub(crate) const CHECKPOINTS_KEPT: usize = 3;

/// How many bytes a small value of the installation may have.
pub(crate) const META_BYTES_MAX: usize = 64 << 10;

/// Refuses a small value that is not small.
pub(crate) fn check_meta(key: &str, value: &[u8]) -> Result<(), WriteError> {
    if value.len() > META_BYTES_MAX {
        return Err(WriteError::TooLarge(crate::LimitExceeded {
            what: format!("the value of `{key}`"),
            bytes: value.len(),
            bytes_max: META_BYTES_MAX,
        }));
    }
    Ok(())
}
