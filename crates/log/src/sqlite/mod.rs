//! The durable log of one node: a `SQLite` file in write-ahead mode.
//!
//! Exactly one connection writes, on a thread of its own, and one folds the write-ahead log in beside it; two more only
//! read, so that a read never waits behind a disk flush, and a point read never behind a scan. A lock file keeps other
//! processes out. The file is `log.db` in the data directory; to copy a log, stop the process, or use `SQLite`'s own
//! backup.
//!
//! What was appended last is in the journal, and in memory as the tail: reads by revision, id and digest look there
//! first. The other reads have it posted to the tables before they begin.
//!
//! INVARIANT: no connection but the writer's can change a row, and none but those two can checkpoint.

mod fault;
mod file;
mod insert;
pub(crate) mod journal;
mod lane;
mod lock;
mod read;
mod schema;
mod tail;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;

use self::schema::{LOG, LOG_ID_KEY};
use self::tail::SharedTail;
use self::write::{Writer, chunks};
use crate::change_log::check_meta;
use crate::haste::Hastened;
use crate::run::check_run;
use crate::{
    AppendError, Appended, Body, Bytes, ChangeLog, ChangeRow, Checkpoint, CheckpointMeta,
    DocumentKey, Entry, Hash, Haste, Head, HeadWatch, LogId, OpenError, Query, ReadError,
    ReadLimit, SnapshotRow, StoredBlob, StoredBody, StoredChange, StoredEntry, StoredFacet,
    WriteError,
};

pub(crate) use self::fault::{Abort, open_error, read_error, transact};
pub(crate) use self::file::{Schema, check_engine, create_if_absent, open_writer};
pub(crate) use self::lane::Lane;
pub(crate) use self::lock::DirLock;

/// Keeps a log in a `SQLite` file.
///
/// Dropping it finishes what was sent, folds the write-ahead log into the file and lets go of the directory; that
/// takes a moment of the dropping thread.
#[derive(Debug)]
pub struct SqliteLog {
    id: LogId,
    dir: PathBuf,
    told: watch::Receiver<u64>,
    tail: SharedTail,
    hastened: Hastened,
    // In the order of closing: readers, then the writer, which checkpoints as the last, then the lock.
    points: Lane<Connection>,
    scans: Lane<Connection>,
    writer: Lane<Writer>,
    _lock: DirLock,
}

/// Makes the data directory, for its owner alone: it holds what tenants are and how they are served.
fn private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

impl SqliteLog {
    /// Opens the log in `dir`, and creates both if they are not there, the log with the id `id_if_new`.
    ///
    /// Blocks the thread while it recovers what an ended process left in the write-ahead log.
    pub fn open(dir: &Path, id_if_new: &LogId) -> Result<Self, OpenError> {
        check_engine()?;
        private_dir(dir).map_err(|error| OpenError::Io {
            path: dir.to_owned(),
            detail: error.to_string(),
        })?;
        let lock = DirLock::acquire(dir, LOCK)?;
        create_if_absent(dir, &LOG, |db| {
            let id = id_if_new.as_str().as_bytes();
            db.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?)",
                (LOG_ID_KEY, id),
            )
            .map(drop)
        })?;
        Self::start(dir, lock)
    }

    /// Opens the log in `dir`, which must be there.
    pub fn open_existing(dir: &Path) -> Result<Self, OpenError> {
        check_engine()?;
        let path = dir.join(LOG.file);
        if let Err(error) = fs::metadata(&path) {
            return Err(OpenError::Io {
                path,
                detail: error.to_string(),
            });
        }
        let lock = DirLock::acquire(dir, LOCK)?;
        Self::start(dir, lock)
    }

    /// Returns the data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn start(dir: &Path, lock: DirLock) -> Result<Self, OpenError> {
        let path = dir.join(LOG.file);
        let failed = |error| open_error(&path, error);
        // The writer comes first: it recovers the write-ahead log, which readers cannot.
        let db = open_writer(dir, &LOG)?;
        let id = read::log_id(&db)
            .map_err(failed)?
            .and_then(|id| LogId::new(id).ok());
        let Some(id) = id else {
            return Err(OpenError::Damaged {
                path,
                detail: "the log's id is missing".to_owned(),
            });
        };
        let folder = Lane::start("log-folder", file::open_folder(dir, &LOG)?)?;
        let writer =
            Writer::new(db, folder)
                .map_err(failed)?
                .map_err(|detail| OpenError::Damaged {
                    path: path.clone(),
                    detail,
                })?;
        let points = file::open_reader(dir, &LOG)?;
        let scans = file::open_reader(dir, &LOG)?;
        Ok(Self {
            id,
            dir: dir.to_owned(),
            told: writer.told(),
            tail: writer.tail(),
            hastened: writer.hastened(),
            points: Lane::start("log-points", points)?,
            scans: Lane::start("log-scans", scans)?,
            writer: Lane::start("log-writer", writer)?,
            _lock: lock,
        })
    }

    /// Runs a scan over the tables once what was appended before is in them.
    async fn scan<T: Send + 'static>(
        &self,
        scan: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let head = self.tail.lock().head();
        if let Some((head, _)) = head {
            // In slices, between which commits go on.
            loop {
                let post = move |writer: &mut Writer| writer.post_up_to(head.revision);
                match self.writer.run(post).await? {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the journal could not be posted for a read");
                        return self.writer.run(move |it| it.read_unposted(scan)).await?;
                    }
                }
            }
        }
        read(&self.scans, scan).await
    }
}

const LOCK: &str = "log.lock";

/// Runs a read in a lane and says what a failure means.
async fn read<T: Send + 'static>(
    lane: &Lane<Connection>,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    lane.run(|db| read(db)).await?.map_err(read_error)
}

#[async_trait]
impl ChangeLog for SqliteLog {
    fn id(&self) -> &LogId {
        &self.id
    }

    async fn append(&self, expected: Head, run: &[Entry]) -> Result<Appended, AppendError> {
        let bytes = check_run(expected, run)?;
        let run = run.to_vec();
        self.writer
            .run(move |writer| writer.append(expected, run, bytes))
            .await?
    }

    fn hasten(&self) -> Haste {
        self.hastened.ask()
    }

    async fn head(&self) -> Result<Head, ReadError> {
        let waiting = self.tail.lock().head();
        match waiting {
            Some((head, _)) => Ok(head),
            None => read(&self.points, |db| read::head(db).map(|(head, _)| head)).await,
        }
    }

    async fn read(&self, after: u64, limit: ReadLimit) -> Result<Vec<StoredEntry>, ReadError> {
        let tail = self.tail.lock().read(after, limit.records.max(1));
        read(&self.points, move |db| {
            read::entries(db, after, limit, &tail)
        })
        .await
    }

    async fn find(&self, id: &str) -> Result<Option<StoredEntry>, ReadError> {
        let waiting = self.tail.lock().find(id);
        if waiting.is_some() {
            return Ok(waiting);
        }
        let id = id.to_owned();
        read(&self.points, move |db| read::find(db, &id)).await
    }

    async fn bodies(&self, digests: &[Hash]) -> Result<Vec<Option<Body>>, ReadError> {
        let waiting: Vec<_> = {
            let tail = self.tail.lock();
            digests
                .iter()
                .map(|digest| tail.body(digest).cloned())
                .collect()
        };
        if waiting.iter().all(Option::is_some) {
            return Ok(waiting);
        }
        let digests = digests.to_vec();
        let stored = read(&self.points, move |db| read::bodies(db, &digests)).await?;
        Ok(waiting
            .into_iter()
            .zip(stored)
            .map(|(a, b)| a.or(b))
            .collect())
    }

    async fn blobs(&self, digests: &[Hash]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let digests = digests.to_vec();
        read(&self.points, move |db| read::blobs(db, &digests)).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<StoredEntry>, ReadError> {
        let query = query.clone();
        self.scan(move |db| read::query(db, &query)).await
    }

    async fn snapshot_at(
        &self,
        revision: u64,
        kind: Option<&str>,
    ) -> Result<Vec<SnapshotRow>, ReadError> {
        let kind = kind.map(str::to_owned);
        self.scan(move |db| read::snapshot_at(db, revision, kind.as_deref()))
            .await
    }

    async fn revision_at(&self, at_ms: i64) -> Result<u64, ReadError> {
        let waiting = self.tail.lock().revision_at(at_ms);
        match waiting {
            Some(revision) => Ok(revision),
            None => read(&self.points, move |db| read::revision_at(db, at_ms)).await,
        }
    }

    async fn history(
        &self,
        key: &DocumentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ChangeRow>, ReadError> {
        let key = key.clone();
        self.scan(move |db| read::history(db, &key, before, limit))
            .await
    }

    async fn changes_page(
        &self,
        after: Option<(DocumentKey, u64)>,
        records: usize,
    ) -> Result<Vec<StoredChange>, ReadError> {
        self.scan(move |db| read::changes_page(db, after, records))
            .await
    }

    async fn facets_page(
        &self,
        after: Option<StoredFacet>,
        records: usize,
    ) -> Result<Vec<StoredFacet>, ReadError> {
        self.scan(move |db| read::facets_page(db, after.as_ref(), records))
            .await
    }

    async fn erase(&self, digest: &Hash) -> Result<bool, WriteError> {
        let digest = *digest;
        self.writer.run(move |writer| writer.erase(digest)).await?
    }

    async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), WriteError> {
        let Checkpoint {
            revision,
            head,
            digest,
            bytes,
        } = checkpoint;
        let meta = CheckpointMeta {
            revision,
            head,
            digest,
            bytes_len: bytes.len() as u64,
        };
        let id = self
            .writer
            .run(move |writer| writer.begin_checkpoint(meta))
            .await??;
        for (seq, range) in chunks(&bytes) {
            let bytes = bytes.clone();
            self.writer
                .run(move |writer| writer.write_chunk(id, seq, &bytes[range]))
                .await??;
        }
        self.writer
            .run(move |writer| writer.finish_checkpoint(id))
            .await?
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointMeta>, ReadError> {
        read(&self.points, read::checkpoints).await
    }

    async fn checkpoint(&self, revision: u64) -> Result<Option<Checkpoint>, ReadError> {
        let found = read(&self.scans, move |db| read::checkpoint(db, revision)).await?;
        found
            .transpose()
            .map_err(|detail| ReadError::Damaged { detail })
    }

    fn watch(&self) -> HeadWatch {
        HeadWatch::new(self.told.clone())
    }

    async fn meta_get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        let key = key.to_owned();
        read(&self.points, move |db| read::meta(db, &key)).await
    }

    async fn meta_put(&self, key: &str, value: &[u8]) -> Result<(), WriteError> {
        check_meta(key, value)?;
        let (key, value) = (key.to_owned(), value.to_vec());
        self.writer
            .run(move |writer| writer.put_meta(&key, &value))
            .await?
    }

    async fn bodies_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBody>, ReadError> {
        self.scan(move |db| read::bodies_page(db, after, limit))
            .await
    }

    async fn blobs_page(
        &self,
        after: Option<Hash>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredBlob>, ReadError> {
        read(&self.scans, move |db| read::blobs_page(db, after, limit)).await
    }

    async fn check(&self) -> Result<Vec<String>, ReadError> {
        read(&self.scans, read::check).await
    }
}

#[cfg(test)]
mod tests {
    use super::lane::Worker as _;
    use super::*;
    use crate::conformance::{Draft, append_all, block_on};

    fn run(head: Head, entries: u64) -> Vec<Entry> {
        let mut run: Vec<Entry> = Vec::new();
        for _ in 0..entries {
            let head = run.last().map_or(head, Entry::head);
            let key = DocumentKey::new("flag", "prod", format!("f{}", head.revision % 3));
            let bytes = head.revision.to_le_bytes();
            run.push(Draft::after(head).put(&key, &bytes).tenant("t1").build());
        }
        run
    }

    async fn set(log: &SqliteLog, sql: &'static str) {
        let set = log.writer.run(move |writer| writer.db().execute_batch(sql));
        set.await.unwrap().unwrap();
    }

    async fn waiting_after(
        log: &SqliteLog,
        post: impl FnOnce(&mut Writer) -> Result<bool, WriteError> + Send + 'static,
    ) -> usize {
        assert_eq!(log.writer.run(post).await.unwrap(), Ok(true));
        log.tail.lock().len()
    }

    #[test]
    fn upkeep_gives_way_to_what_is_urgent_but_does_not_stop() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path(), &LogId::new("haste").unwrap()).unwrap();
        block_on(async {
            let mut head = Head::GENESIS;
            for _ in 0..25 {
                head = append_all(&log, head, &run(head, 40)).await;
            }
            assert_eq!(log.tail.lock().len(), 1_000);
            let came_meanwhile = |writer: &mut Writer| writer.post_unless(500, 1 << 20, || true);
            assert_eq!(waiting_after(&log, came_meanwhile).await, 1_000);
            let haste = log.hasten();
            assert_eq!(waiting_after(&log, Writer::post_slice).await, 920);
            drop(haste);
            assert_eq!(waiting_after(&log, Writer::post_slice).await, 400);
            let key = DocumentKey::new("flag", "prod", "f1");
            assert_eq!(log.history(&key, None, 1_000).await.unwrap().len(), 333);
        });
    }

    #[test]
    fn commits_go_on_while_the_write_ahead_log_is_folded_in_and_the_rest_follows_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path(), &LogId::new("fold").unwrap()).unwrap();
        let (held, gate) = std::sync::mpsc::channel::<()>();
        block_on(async {
            let hold = move |writer: &mut Writer| writer.folder().begin(move |_| _ = gate.recv());
            log.writer.run(hold).await.unwrap().unwrap();
            let mut head = Head::GENESIS;
            for _ in 0..100 {
                head = append_all(&log, head, &run(head, 40)).await;
            }
        });
        let waiting = || log.tail.lock().len();
        assert!(
            waiting() > 1_100,
            "posting waits for the fold: {}",
            waiting()
        );
        drop(held);
        let posted = (0..100_000_000).any(|_| {
            std::thread::yield_now();
            waiting() < 1_024
        });
        assert!(posted, "{} still wait", waiting());
    }

    /// Has the writer do its upkeep until it waits for nothing but the next job.
    async fn keep_up(log: &SqliteLog) {
        loop {
            let (done, is_done) = tokio::sync::oneshot::channel();
            let keep_up = move |writer: &mut Writer| {
                while writer.upkeep() {}
                // Behind the folding that was begun, if any was.
                writer.folder().begin(|_| done.send(()).unwrap())
            };
            log.writer.run(keep_up).await.unwrap().unwrap();
            is_done.await.unwrap();
            if log.writer.run(|writer| !writer.is_folding()).await.unwrap() {
                return;
            }
        }
    }

    /// How many rows of the journal are in the file itself, which the write-ahead log is folded into.
    fn folded_in(log: &SqliteLog, aside: &Path) -> u32 {
        let copied = aside.join(LOG.file);
        fs::copy(log.dir.join(LOG.file), &copied).unwrap();
        let db = Connection::open(copied).unwrap();
        let count = db.query_row("SELECT count(*) FROM journal", [], |row| row.get(0));
        count.unwrap()
    }

    #[test]
    fn the_write_ahead_log_is_folded_in_earlier_while_it_holds_nothing_but_the_journal() {
        let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = SqliteLog::open(dir.path(), &LogId::new("fold").unwrap()).unwrap();
        let append = async |mut head: Head, runs: u64| {
            for _ in 0..runs {
                head = append_all(&log, head, &run(head, 1)).await;
            }
            keep_up(&log).await;
            head
        };
        block_on(async {
            // A run counts for a little over 8 KiB.
            let head = append(Head::GENESIS, 230).await;
            assert_eq!(folded_in(&log, aside.path()), 0, "less than 2 MiB");
            let head = append(head, 40).await;
            let folded = folded_in(&log, aside.path());
            assert!((230..=270).contains(&folded), "{folded} rows");
            assert_eq!(log.tail.lock().len(), 270, "nothing was posted");
            // Once some was posted, only 8 MiB are worth it.
            let post = log.writer.run(Writer::post_slice).await.unwrap();
            assert_eq!(post, Ok(false));
            let head = append(head, 400).await;
            assert_eq!(folded_in(&log, aside.path()), folded);
            append(head, 450).await;
            assert_ne!(folded_in(&log, aside.path()), folded);
        });
    }

    #[test]
    fn a_journal_that_cannot_be_posted_takes_commits_up_to_a_bound_and_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path(), &LogId::new("stuck").unwrap()).unwrap();
        let stuck = "CREATE TEMP TRIGGER stuck BEFORE DELETE ON main.journal
                     BEGIN SELECT raise(ABORT, 'stuck'); END";
        block_on(async {
            set(&log, stuck).await;
            let mut head = append_all(&log, Head::GENESIS, &run(Head::GENESIS, 100)).await;
            let key = DocumentKey::new("flag", "prod", "f1");
            assert_eq!(log.history(&key, None, 100).await.unwrap().len(), 33);
            let page = log.bodies_page(None, ReadLimit::default()).await.unwrap();
            assert_eq!(page.len(), 100);
            assert_eq!(log.snapshot_at(50, None).await.unwrap().len(), 3);
            assert!(
                log.erase(&page[0].digest).await.is_err(),
                "it would come back"
            );
            let refused = loop {
                match log.append(head, &run(head, 500)).await {
                    Ok(Appended::Committed { head: next }) => head = next,
                    other => break other,
                }
            };
            assert!(
                matches!(refused, Err(AppendError::Unavailable { .. })),
                "{refused:?}"
            );
            assert!(head.revision > 10_000, "{head:?}");
            assert_eq!(log.head().await, Ok(head));
            set(&log, "DROP TRIGGER stuck").await;
            head = append_all(&log, head, &run(head, 1)).await;
            assert_eq!(log.history(&key, None, 1).await.unwrap().len(), 1);
            assert!(log.erase(&page[0].digest).await.unwrap());
            assert_eq!(log.head().await, Ok(head));
        });
    }
}
