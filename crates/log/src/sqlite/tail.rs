//! The end of the log that is in the journal and not yet in the tables.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Body, Entry, Hash, Head, StoredEntry};

/// Shares the tail between the thread that writes and those who read.
///
/// Whoever reads looks here first, and into the tables after: an entry leaves the tail only once it is in the tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedTail(Arc<Mutex<Tail>>);

impl SharedTail {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tail> {
        // Nothing in here panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the entries of the journal's rows, in the order of their revisions, which are dense.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Arc<Entry>>,
    /// How many entries each row has, and how many bytes.
    rows: VecDeque<(usize, usize)>,
    bytes: usize,
    revisions: HashMap<String, u64>,
    bodies: HashMap<Hash, Body>,
}

/// The oldest rows of a tail.
#[derive(Debug, Default)]
pub(crate) struct Oldest {
    pub(crate) entries: Vec<Arc<Entry>>,
    rows: usize,
}

impl Tail {
    /// Adds the entries of a row of so many bytes.
    pub(crate) fn push(&mut self, run: Vec<Entry>, bytes: usize) {
        self.rows.push_back((run.len(), bytes));
        self.bytes += bytes;
        for entry in run {
            self.revisions.insert(entry.id.clone(), entry.revision);
            for body in &entry.bodies {
                self.bodies.insert(body.digest, body.clone());
            }
            self.entries.push_back(Arc::new(entry));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes its rows have.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The head and its time.
    pub(crate) fn head(&self) -> Option<(Head, i64)> {
        self.entries.back().map(|last| (last.head(), last.at_ms))
    }

    /// The revision after which the tail begins; none if it is empty.
    pub(crate) fn after(&self) -> Option<u64> {
        self.entries.front().map(|first| first.revision - 1)
    }

    pub(crate) fn get(&self, revision: u64) -> Option<&Arc<Entry>> {
        let index = revision.checked_sub(self.entries.front()?.revision)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// At most `limit` entries after a revision.
    pub(crate) fn read(&self, after: u64, limit: usize) -> Vec<Arc<Entry>> {
        let skipped = self
            .entries
            .partition_point(|entry| entry.revision <= after);
        self.entries
            .iter()
            .skip(skipped)
            .take(limit)
            .cloned()
            .collect()
    }

    pub(crate) fn revision_of(&self, id: &str) -> Option<u64> {
        self.revisions.get(id).copied()
    }

    pub(crate) fn find(&self, id: &str) -> Option<StoredEntry> {
        self.get(self.revision_of(id)?).map(|entry| stored(entry))
    }

    pub(crate) fn body(&self, digest: &Hash) -> Option<&Body> {
        self.bodies.get(digest)
    }

    /// The last revision at or before a time, if it is in the tail.
    pub(crate) fn revision_at(&self, at_ms: i64) -> Option<u64> {
        let later = self.entries.partition_point(|entry| entry.at_ms <= at_ms);
        self.entries
            .get(later.checked_sub(1)?)
            .map(|entry| entry.revision)
    }

    /// The oldest rows, until they have so many entries or bytes.
    pub(crate) fn oldest(&self, entries_max: usize, bytes_max: usize) -> Oldest {
        let (mut entries, mut bytes, mut rows) = (0, 0, 0);
        for (row_entries, row_bytes) in &self.rows {
            if entries >= entries_max || bytes >= bytes_max {
                break;
            }
            entries += row_entries;
            bytes += row_bytes;
            rows += 1;
        }
        let entries = self.entries.iter().take(entries).cloned().collect();
        Oldest { entries, rows }
    }

    /// All rows.
    pub(crate) fn all(&self) -> Oldest {
        self.oldest(usize::MAX, usize::MAX)
    }

    /// Lets go of rows that are in the tables.
    pub(crate) fn posted(&mut self, oldest: &Oldest) {
        for _ in 0..oldest.rows {
            let Some((entries, bytes)) = self.rows.pop_front() else {
                return;
            };
            self.bytes -= bytes;
            for entry in self.entries.drain(..entries) {
                self.revisions.remove(&entry.id);
                for body in &entry.bodies {
                    self.bodies.remove(&body.digest);
                }
            }
        }
    }
}

/// Gives an entry as it is read.
pub(crate) fn stored(entry: &Entry) -> StoredEntry {
    StoredEntry {
        revision: entry.revision,
        parent: entry.parent,
        hash: entry.hash,
        id: entry.id.clone(),
        request: entry.request,
        at_ms: entry.at_ms,
        record: entry.record.clone(),
    }
}
