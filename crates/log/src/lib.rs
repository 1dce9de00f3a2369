//! Keeps the change log of an installation: commits in one total order, the bytes they point to, and observations.
//!
//! This crate must never interpret what it stores: it knows bytes, strings and digests that the caller computed, not
//! flags, manifests or the record format, and it depends on no other crate of this workspace. It reads no clock and
//! draws no randomness: times, ids and salts come in as values.
//!
//! Start reading at [`ChangeLog`], the one seam between the product and its storage, then [`settle()`] for what to do
//! when an append's outcome is unknown. [`SqliteLog`] is the durable backend, [`MemoryLog`] the one for tests and
//! trials; with the feature `conformance` both pass the suite in `conformance`. [`ObservationStore`] keeps what is
//! counted and pruned, not replayed.
//!
//! INVARIANT: revisions are dense and start at 1; an entry is stored only as the successor of the head that its
//! writer named by revision *and* hash, and a stored entry never changes. Bodies and blobs may be erased.

mod bytes;
mod change_log;
#[cfg(feature = "conformance")]
pub mod conformance;
mod entry;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod haste;
mod head;
pub mod memory;
pub mod observations;
mod query;
mod run;
mod settle;
pub mod sqlite;

pub use bytes::Bytes;
pub use change_log::{
    Appended, ChangeLog, ChangeRow, Checkpoint, CheckpointMeta, SnapshotRow, StoredBlob,
    StoredBody, StoredChange, StoredFacet,
};
pub use entry::{Blob, Body, Change, DigestRef, DocumentKey, Entry, SALT_BYTES, StoredEntry};
pub use error::{AppendError, LimitExceeded, OpenError, ReadError, WriteError};
pub use hash::{Hash, HashParseError};
pub use haste::Haste;
pub use head::{Head, HeadWatch, LogId, LogIdError};
pub use memory::MemoryLog;
pub use observations::ObservationStore;
pub use query::{Facet, Order, Point, Query, ReadLimit};
pub use run::{BLOB_BYTES_MAX, BODY_BYTES_MAX, RECORD_BYTES_MAX, RUN_BYTES_MAX};
pub use settle::{Settled, append_settled, settle};
pub use sqlite::SqliteLog;
