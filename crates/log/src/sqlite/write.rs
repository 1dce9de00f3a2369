//! What the one connection that writes does, and has another one do: fold the write-ahead log in.
//!
//! A run is stored as one row of the journal, which dirties a page or two, and its entries are *posted* to the tables
//! later, many at a time, in one transaction that also deletes the row. Both transactions are flushed: a page that a
//! failed flush has lost would otherwise be believed to be on the disk.
//!
//! INVARIANT: each entry is in the journal or in the tables, never in both; what is in the journal is in the tail.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use super::fault::{Abort, read_error, transact};
use super::insert::{insert, insert_blobs};
use super::lane::{Lane, Wake, Worker};
use super::schema::{Digest, INSTALLATION_PREFIX, Revision, State};
use super::tail::SharedTail;
use super::{journal, read};
use crate::change_log::CHECKPOINTS_KEPT;
use crate::haste::Hastened;
use crate::run::check_link;
use crate::{
    AppendError, Appended, Bytes, CheckpointMeta, Entry, Hash, Head, ReadError, WriteError,
};

/// After how many bytes of writing the write-ahead log is folded into the file: 8 MiB.
///
/// Large, so that a page that many commits wrote is folded in once.
const UNFOLDED_BYTES: usize = 8 << 20;

/// The same while nothing was written but the journal: 2 MiB.
///
/// Few pages are written more than once then, and the log file is soon used again in place: a commit that makes a file
/// longer waits for its length to be written too.
const UNFOLDED_JOURNAL_BYTES: usize = 2 << 20;

/// What a run writes besides its payload, by guess: the page of the journal that it ends on, and the next.
const RUN_OVERHEAD_BYTES: usize = 8 << 10;

/// What an entry writes besides its payload when it is posted, by guess: its share of a page of each tree.
const POST_OVERHEAD_BYTES: usize = 6 << 10;

/// How many entries or bytes in the journal make it worth posting some: a start reads no more than these again.
const TAIL_ENTRIES: usize = 1_024;
const TAIL_BYTES: usize = 2 << 20;

/// How many entries or bytes are posted at once: many, because they share pages.
const POST_ENTRIES: usize = 512;
const POST_BYTES: usize = 1 << 20;

/// The same while something urgent is about to be appended, which would wait behind them.
const POST_ENTRIES_IN_HASTE: usize = 64;
const POST_BYTES_IN_HASTE: usize = 128 << 10;

/// How many entries or bytes may wait in the journal where they cannot be posted, before appends are refused.
const TAIL_ENTRIES_MAX: usize = 16 << 10;
const TAIL_BYTES_MAX: usize = 32 << 20;

/// The largest run that goes through the journal: a larger one is posted at once, because it shares pages with itself
/// as it is, and would only be written twice.
const JOURNALED_BYTES_MAX: usize = 256 << 10;

/// How long emptying the write-ahead log waits for readers before it is put off.
const SCRUB_TIMEOUT: Duration = Duration::from_millis(50);

/// Why a slice of the journal was not posted.
enum Unposted {
    /// Something urgent came meanwhile.
    GaveWay,
    Failed(WriteError),
}

impl From<WriteError> for Unposted {
    fn from(error: WriteError) -> Self {
        Self::Failed(error)
    }
}

/// Owns the only connection that writes and checkpoints.
#[derive(Debug)]
pub(crate) struct Writer {
    // Before the other connection: the last one to close folds in what is left.
    folder: Lane<Connection>,
    /// Ends once the folder has done what it was told.
    folding: Option<Receiver<Infallible>>,
    wake: Option<Wake<Self>>,
    db: Connection,
    told: watch::Sender<u64>,
    tail: SharedTail,
    /// Whether the tail may be another than the journal's, because nobody said what became of a transaction.
    tail_doubtful: bool,
    hastened: Hastened,
    /// How many bytes the write-ahead log has gained since it was last folded in, by guess.
    unfolded: usize,
    /// Whether the journal was posted since.
    has_posted: bool,
    /// Whether the write-ahead log may still hold bytes that were erased.
    scrub_due: bool,
    /// Whether dropped checkpoints may still have rows.
    purge_due: bool,
}

impl Writer {
    /// Takes over `db`, and `folder` to fold the write-ahead log in beside it; checkpoints that were being written when
    /// the process ended are dropped.
    ///
    /// # Errors
    /// The inner one names a row of the journal that is not as it was written.
    pub(crate) fn new(
        db: Connection,
        folder: Lane<Connection>,
    ) -> rusqlite::Result<Result<Self, String>> {
        db.execute(
            "UPDATE checkpoint SET state = ?1 WHERE state = ?2",
            params![State::Dropped as i64, State::Writing as i64],
        )?;
        let mut writer = Self {
            folder,
            folding: None,
            wake: None,
            db,
            told: watch::Sender::new(0),
            tail: SharedTail::default(),
            tail_doubtful: false,
            hastened: Hastened::default(),
            unfolded: 0,
            has_posted: false,
            scrub_due: false,
            purge_due: true,
        };
        if let Err(detail) = writer.read_tail()? {
            return Ok(Err(detail));
        }
        let (head, _) = writer.head()?;
        writer.told.send_replace(head.revision);
        Ok(Ok(writer))
    }

    /// The tail, for those who read.
    pub(crate) fn tail(&self) -> SharedTail {
        self.tail.clone()
    }

    /// Has upkeep give way, for those who ask.
    pub(crate) fn hastened(&self) -> Hastened {
        self.hastened.clone()
    }

    /// Tells the head.
    pub(crate) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// Appends `run`, which was checked and has `bytes` of payload.
    pub(crate) fn append(
        &mut self,
        expected: Head,
        run: Vec<Entry>,
        bytes: usize,
    ) -> Result<Appended, AppendError> {
        self.trust_tail()?;
        let (head, at_ms) = self.head().map_err(super::fault::write_error)?;
        if head != expected {
            return Ok(Appended::Conflict { head });
        }
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(Appended::Committed { head });
        };
        check_link(head, at_ms, first)?;
        let head = last.head();
        if self.tail_is_at_its_end() {
            // As much as comes, so that it does not grow beyond.
            self.post(POST_ENTRIES.max(run.len()), POST_BYTES.max(bytes))?;
        }
        if bytes > JOURNALED_BYTES_MAX {
            self.store_posted(run)?;
        } else {
            self.store(run)?;
        }
        self.unfolded += bytes.saturating_add(RUN_OVERHEAD_BYTES);
        self.told
            .send_if_modified(|told| std::mem::replace(told, head.revision) != head.revision);
        Ok(Appended::Committed { head })
    }

    /// Stores a run as a row of the journal. Its blobs go to their table: they are large, and known by their digest.
    fn store(&mut self, run: Vec<Entry>) -> Result<(), AppendError> {
        let row = journal::encode(&run);
        let first = run.first().map_or(0, |entry| entry.revision);
        let stored = transact(&self.db, |db| {
            self.check_ids(&run)?;
            for entry in &run {
                insert_blobs(db, &entry.blobs)?;
            }
            db.prepare_cached("INSERT INTO journal (revision, entries) VALUES (?, ?)")?
                .execute(params![Revision(first), row])?;
            Ok(())
        });
        self.doubt(&stored, |error| matches!(error, AppendError::Unknown));
        stored?;
        let mut run = run;
        for entry in &mut run {
            entry.blobs = Vec::new();
        }
        self.tail.lock().push(run, row.len());
        Ok(())
    }

    /// Stores a run in the tables, together with everything that is in the journal.
    fn store_posted(&mut self, run: Vec<Entry>) -> Result<(), AppendError> {
        let oldest = self.tail.lock().all();
        let run: Vec<_> = run.into_iter().map(Arc::new).collect();
        let stored = transact(&self.db, |db| {
            self.check_ids(&run)?;
            for entry in &run {
                insert_blobs(db, &entry.blobs)?;
            }
            let entries: Vec<_> = oldest.entries.iter().chain(&run).cloned().collect();
            insert(db, &entries)?;
            db.execute("DELETE FROM journal", [])?;
            Ok(())
        });
        self.doubt(&stored, |error| matches!(error, AppendError::Unknown));
        stored?;
        self.tail.lock().posted(&oldest);
        self.unfolded += (oldest.entries.len() + run.len()) * POST_OVERHEAD_BYTES;
        self.has_posted = true;
        Ok(())
    }

    /// Refuses ids that are taken, in the journal or in the tables.
    fn check_ids(&self, run: &[impl std::borrow::Borrow<Entry>]) -> Result<(), Abort<AppendError>> {
        let mut statement = self
            .db
            .prepare_cached("SELECT revision FROM entry WHERE id = ?")?;
        for entry in run {
            let id = &entry.borrow().id;
            let waiting = self.tail.lock().revision_of(id);
            let taken = match waiting {
                Some(revision) => Some(Revision(revision)),
                None => statement.query_row([id], |row| row.get(0)).optional()?,
            };
            if let Some(Revision(revision)) = taken {
                return Err(Abort::Own(AppendError::DuplicateId {
                    id: id.clone(),
                    revision: Some(revision),
                }));
            }
        }
        Ok(())
    }

    /// Posts the oldest rows of the journal, until they have so many entries or bytes; says whether more are left.
    fn post(&mut self, entries_max: usize, bytes_max: usize) -> Result<bool, WriteError> {
        self.post_unless(entries_max, bytes_max, || false)
    }

    /// Posts a slice of the journal, and says whether more is left: a small one if something urgent is about to be
    /// appended, and nothing of a large one if that comes meanwhile.
    pub(crate) fn post_slice(&mut self) -> Result<bool, WriteError> {
        let hastened = self.hastened.clone();
        if hastened.is_asked() {
            return self.post(POST_ENTRIES_IN_HASTE, POST_BYTES_IN_HASTE);
        }
        self.post_unless(POST_ENTRIES, POST_BYTES, || hastened.is_asked())
    }

    pub(crate) fn post_unless(
        &mut self,
        entries_max: usize,
        bytes_max: usize,
        gives_way: impl Fn() -> bool,
    ) -> Result<bool, WriteError> {
        self.trust_tail()?;
        let oldest = self.tail.lock().oldest(entries_max, bytes_max);
        let Some(last) = oldest.entries.last() else {
            return Ok(false);
        };
        let posted = transact::<_, Unposted>(&self.db, |db| {
            for entries in oldest.entries.chunks(POST_ENTRIES_IN_HASTE) {
                if gives_way() {
                    return Err(Abort::Own(Unposted::GaveWay));
                }
                insert(db, entries)?;
            }
            db.prepare_cached("DELETE FROM journal WHERE revision <= ?")?
                .execute([Revision(last.revision)])?;
            Ok(())
        });
        let posted = match posted {
            Err(Unposted::GaveWay) => return Ok(true),
            Err(Unposted::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        self.doubt(&posted, |error| matches!(error, WriteError::Unknown));
        posted?;
        tracing::trace!(revision = last.revision, "posted");
        self.unfolded += oldest.entries.len() * POST_OVERHEAD_BYTES;
        self.has_posted = true;
        let mut tail = self.tail.lock();
        tail.posted(&oldest);
        Ok(!tail.is_empty())
    }

    /// Posts a slice of the journal, and says whether everything up to `revision` is in the tables.
    pub(crate) fn post_up_to(&mut self, revision: u64) -> Result<bool, WriteError> {
        let more = self.post_slice()?;
        let after = self.tail.lock().after();
        Ok(!more || after.is_none_or(|after| after >= revision))
    }

    /// Reads from the tables as they would be with the journal posted, where it cannot be: on a full disk, for one.
    pub(crate) fn read_unposted<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let oldest = self.tail.lock().all();
        let look = || {
            self.db.pragma_update(None, "cache_spill", "OFF")?;
            // Dropped, the transaction is rolled back: nothing of it reaches the disk.
            let transaction = self.db.unchecked_transaction()?;
            insert(&transaction, &oldest.entries)?;
            read(&transaction)
        };
        let looked = look();
        if let Err(error) = self.db.pragma_update(None, "cache_spill", "ON") {
            tracing::warn!(%error, "the cache of the store does not spill any more");
        }
        looked.map_err(read_error)
    }

    #[cfg(test)]
    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> &Lane<Connection> {
        &self.folder
    }

    #[cfg(test)]
    pub(crate) fn is_folding(&self) -> bool {
        self.folding.is_some()
    }

    fn fold_is_due(&self) -> bool {
        let unfolded_max = if self.has_posted {
            UNFOLDED_BYTES
        } else {
            UNFOLDED_JOURNAL_BYTES
        };
        self.unfolded >= unfolded_max
    }

    fn post_is_due(&self) -> bool {
        let tail = self.tail.lock();
        tail.len() >= TAIL_ENTRIES || tail.bytes() >= TAIL_BYTES
    }

    fn tail_is_at_its_end(&self) -> bool {
        let tail = self.tail.lock();
        tail.len() >= TAIL_ENTRIES_MAX || tail.bytes() >= TAIL_BYTES_MAX
    }

    fn head(&self) -> rusqlite::Result<(Head, i64)> {
        let waiting = self.tail.lock().head();
        waiting.map_or_else(|| read::head(&self.db), Ok)
    }

    fn hash_at(&self, revision: u64) -> rusqlite::Result<Option<Hash>> {
        let waiting = self.tail.lock().get(revision).map(|entry| entry.hash);
        waiting.map_or_else(|| read::hash_at(&self.db, revision), |hash| Ok(Some(hash)))
    }

    /// Remembers that the tail may be wrong, after a transaction of which nobody knows.
    fn doubt<T, E>(&mut self, outcome: &Result<T, E>, is_unknown: impl Fn(&E) -> bool) {
        self.tail_doubtful |= outcome.as_ref().is_err_and(is_unknown);
        if self.tail_doubtful
            && let Err(error) = self.trust_tail()
        {
            tracing::warn!(%error, "the journal could not be read again yet");
        }
    }

    /// Reads the journal again if the tail may be another.
    fn trust_tail(&mut self) -> Result<(), WriteError> {
        if self.tail_doubtful {
            self.read_tail()
                .map_err(super::fault::write_error)?
                .map_err(|detail| WriteError::Damaged { detail })?;
            self.tail_doubtful = false;
        }
        Ok(())
    }

    fn read_tail(&mut self) -> rusqlite::Result<Result<(), String>> {
        let rows = read::journal(&self.db)?;
        let mut tail = super::tail::Tail::default();
        for (Revision(revision), row) in rows {
            match journal::decode(&row) {
                Ok(run) if run.first().is_some_and(|first| first.revision == revision) => {
                    tail.push(run, row.len());
                }
                Ok(_) => {
                    return Ok(Err(format!(
                        "row {revision} of the journal is of another revision"
                    )));
                }
                Err(detail) => return Ok(Err(format!("row {revision} of the journal: {detail}"))),
            }
        }
        *self.tail.lock() = tail;
        Ok(Ok(()))
    }

    /// Erases a body or a blob, and with it every checkpoint.
    pub(crate) fn erase(&mut self, digest: Hash) -> Result<bool, WriteError> {
        // Erased bytes must not come back from the journal.
        self.post(usize::MAX, usize::MAX)?;
        let erased = transact::<_, WriteError>(&self.db, |db| {
            let digest = [Digest(digest)];
            let bodies = db.execute(
                "UPDATE body SET salt = NULL, bytes = NULL WHERE digest = ? AND bytes IS NOT NULL",
                digest,
            )?;
            let blobs = db.execute(
                "UPDATE blob SET bytes = NULL WHERE digest = ? AND bytes IS NOT NULL",
                digest,
            )?;
            if bodies + blobs > 0 {
                db.execute("DELETE FROM checkpoint_chunk", [])?;
                db.execute("DELETE FROM checkpoint", [])?;
            }
            Ok(bodies + blobs > 0)
        })?;
        self.scrub_due |= erased;
        Ok(erased)
    }

    /// Opens a checkpoint for writing and returns its row.
    pub(crate) fn begin_checkpoint(&mut self, meta: CheckpointMeta) -> Result<i64, WriteError> {
        transact(&self.db, |db| {
            let found = match meta.revision {
                0 => Some(Hash::GENESIS),
                revision => self.hash_at(revision)?,
            };
            if found != Some(meta.head) {
                let detail = format!("no entry {} with hash {}", meta.revision, meta.head);
                return Err(Abort::Own(WriteError::Refused { detail }));
            }
            db.execute(
                "INSERT INTO checkpoint (revision, head, digest, bytes_len, state)
                 VALUES (?, ?, ?, ?, ?)",
                params![
                    Revision(meta.revision),
                    Digest(meta.head),
                    Digest(meta.digest),
                    Revision(meta.bytes_len),
                    State::Writing as i64
                ],
            )?;
            Ok(db.last_insert_rowid())
        })
    }

    /// Writes one chunk of a checkpoint.
    pub(crate) fn write_chunk(
        &mut self,
        id: i64,
        seq: usize,
        bytes: &[u8],
    ) -> Result<(), WriteError> {
        transact::<_, WriteError>(&self.db, |db| {
            let written = db.execute(
                "INSERT INTO checkpoint_chunk (checkpoint, seq, bytes)
                 SELECT id, ?, ? FROM checkpoint WHERE id = ? AND state = ?",
                params![Revision(seq as u64), bytes, id, State::Writing as i64],
            )?;
            if written == 0 {
                Err(Abort::Own(superseded()))
            } else {
                Ok(())
            }
        })?;
        self.unfolded += bytes.len();
        Ok(())
    }

    /// Makes a whole checkpoint count, and drops those that no longer do.
    pub(crate) fn finish_checkpoint(&mut self, id: i64) -> Result<(), WriteError> {
        transact::<_, WriteError>(&self.db, |db| {
            let kept = db.execute(
                "UPDATE checkpoint SET state = ?2 WHERE id = ?1 AND state = ?3 AND bytes_len =
                 (SELECT coalesce(sum(length(bytes)), 0) FROM checkpoint_chunk WHERE checkpoint = ?1)",
                params![id, State::Kept as i64, State::Writing as i64],
            )?;
            if kept == 0 {
                return Err(Abort::Own(superseded()));
            }
            db.execute(
                "UPDATE checkpoint SET state = ?2 WHERE id <> ?1 AND (id < ?1 AND state = ?4
                 OR state = ?3 AND revision = (SELECT revision FROM checkpoint WHERE id = ?1))",
                params![
                    id,
                    State::Dropped as i64,
                    State::Kept as i64,
                    State::Writing as i64
                ],
            )?;
            db.execute(
                "UPDATE checkpoint SET state = ?1 WHERE state = ?2 AND id NOT IN
                 (SELECT id FROM checkpoint WHERE state = ?2 ORDER BY revision DESC LIMIT ?3)",
                params![
                    State::Dropped as i64,
                    State::Kept as i64,
                    Revision(CHECKPOINTS_KEPT as u64)
                ],
            )?;
            Ok(())
        })?;
        self.purge_due = true;
        Ok(())
    }

    /// Stores a small value of the installation.
    pub(crate) fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), WriteError> {
        transact(&self.db, |db| {
            db.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![format!("{INSTALLATION_PREFIX}{key}"), value],
            )?;
            Ok(())
        })
    }

    /// Deletes one chunk of a dropped checkpoint, and says whether there may be more.
    fn purge_chunk(&self) -> Result<bool, WriteError> {
        transact::<_, WriteError>(&self.db, |db| {
            let purged = db.execute(
                "DELETE FROM checkpoint_chunk WHERE (checkpoint, seq) IN
                 (SELECT chunk.checkpoint, chunk.seq
                  FROM checkpoint JOIN checkpoint_chunk AS chunk ON chunk.checkpoint = checkpoint.id
                  WHERE checkpoint.state = ? LIMIT 1)",
                [State::Dropped as i64],
            )?;
            if purged == 0 {
                db.execute(
                    "DELETE FROM checkpoint WHERE state = ?",
                    [State::Dropped as i64],
                )?;
            }
            Ok(purged > 0)
        })
    }

    /// Has the write-ahead log folded in while commits go on.
    fn begin_fold(&mut self) {
        self.unfolded = 0;
        self.has_posted = false;
        let (folding, folded) = mpsc::channel();
        let wake = self.wake.clone();
        let begun = self.folder.begin(move |db| {
            fold(db);
            drop(folding);
            if let Some(wake) = wake {
                wake.wake();
            }
        });
        match begun {
            Ok(()) => self.folding = Some(folded),
            Err(_) => fold(&self.db),
        }
    }

    /// Folds the write-ahead log into the file and empties it; says whether no reader stood in the way.
    fn scrub(&self) -> rusqlite::Result<bool> {
        self.db.busy_timeout(SCRUB_TIMEOUT)?;
        let busy = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, bool>(0)
            });
        self.db.busy_timeout(super::file::BUSY_TIMEOUT)?;
        busy.map(|busy| !busy)
    }
}

impl Worker for Writer {
    fn upkeep(&mut self) -> bool {
        // Before anything that lets the write-ahead log grow: it is used from its beginning again only once all of it
        // is folded in.
        if let Some(folded) = &self.folding {
            if folded.try_recv() == Err(TryRecvError::Empty) {
                return false;
            }
            self.folding = None;
            // What was committed meanwhile.
            fold(&self.db);
            return true;
        }
        if self.fold_is_due() {
            self.begin_fold();
            return true;
        }
        if self.post_is_due() {
            match self.post_slice() {
                Ok(_) => return true,
                // The next job's upkeep tries again.
                Err(error) => tracing::warn!(%error, "the journal could not be posted yet"),
            }
        }
        if self.purge_due {
            self.purge_due = self.purge_chunk().unwrap_or_else(|error| {
                tracing::warn!(%error, "dropped checkpoints could not be removed yet");
                false
            });
            return true;
        }
        if self.scrub_due {
            // Where a reader is in the way, the next job's upkeep tries again, and closing the store at last.
            match self.scrub() {
                Ok(emptied) => self.scrub_due = !emptied,
                Err(error) => {
                    tracing::warn!(%error, "erased bytes are still in the write-ahead log");
                }
            }
            return false;
        }
        false
    }

    fn woken_by(&mut self, wake: Wake<Self>) {
        self.wake = Some(wake);
    }

    fn finish(&mut self) {
        if let Err(error) = self.post(usize::MAX, usize::MAX) {
            tracing::warn!(%error, "the journal was not posted; the next start reads it again");
        }
    }
}

/// Folds the write-ahead log into the file as far as no reader stands in the way.
fn fold(db: &Connection) {
    if let Err(error) = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the write-ahead log could not be folded in yet");
    }
}

fn superseded() -> WriteError {
    WriteError::Refused {
        detail: "an erasure or a newer checkpoint came between: build the checkpoint again"
            .to_owned(),
    }
}

/// Cuts a checkpoint into what one transaction writes.
pub(crate) fn chunks(bytes: &Bytes) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    const CHUNK_BYTES: usize = 1 << 20;
    let len = bytes.len();
    (0..len.div_ceil(CHUNK_BYTES))
        .map(move |seq| (seq, seq * CHUNK_BYTES..len.min((seq + 1) * CHUNK_BYTES)))
}
