//! The durable log of one node: a `SQLite` file in write-ahead mode.
//!
//! Exactly one connection writes and checkpoints, on a thread of its own; two more only read, so that a read never
//! waits behind a disk flush, and a point read never behind a scan. A lock file keeps other processes out. The file
//! is `log.db` in the data directory; to copy a log, stop the process, or use `SQLite`'s own backup.
//!
//! INVARIANT: no connection but the writer's can write or checkpoint.

mod fault;
mod file;
mod lane;
mod lock;
mod read;
mod schema;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;

use self::schema::{LOG, LOG_ID_KEY};
use self::write::{Writer, chunks};
use crate::change_log::check_meta;
use crate::run::check_run;
use crate::{
    AppendError, Appended, Body, Bytes, ChangeLog, ChangeRow, Checkpoint, CheckpointMeta,
    DocumentKey, Entry, Hash, Head, HeadWatch, LogId, OpenError, Query, ReadError, ReadLimit,
    SnapshotRow, StoredBlob, StoredBody, StoredEntry, WriteError,
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
        let (head, _) = read::head(&db).map_err(failed)?;
        let (tell, told) = watch::channel(head.revision);
        let writer = Writer::new(db, tell).map_err(failed)?;
        let points = file::open_reader(dir, &LOG)?;
        let scans = file::open_reader(dir, &LOG)?;
        Ok(Self {
            id,
            dir: dir.to_owned(),
            told,
            points: Lane::start("log-points", points)?,
            scans: Lane::start("log-scans", scans)?,
            writer: Lane::start("log-writer", writer)?,
            _lock: lock,
        })
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
            .run(move |writer| writer.append(expected, &run, bytes))
            .await?
    }

    async fn head(&self) -> Result<Head, ReadError> {
        read(&self.points, |db| read::head(db).map(|(head, _)| head)).await
    }

    async fn read(&self, after: u64, limit: ReadLimit) -> Result<Vec<StoredEntry>, ReadError> {
        read(&self.points, move |db| read::entries(db, after, limit)).await
    }

    async fn find(&self, id: &str) -> Result<Option<StoredEntry>, ReadError> {
        let id = id.to_owned();
        read(&self.points, move |db| read::find(db, &id)).await
    }

    async fn bodies(&self, digests: &[Hash]) -> Result<Vec<Option<Body>>, ReadError> {
        let digests = digests.to_vec();
        read(&self.points, move |db| read::bodies(db, &digests)).await
    }

    async fn blobs(&self, digests: &[Hash]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let digests = digests.to_vec();
        read(&self.points, move |db| read::blobs(db, &digests)).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<StoredEntry>, ReadError> {
        let query = query.clone();
        read(&self.scans, move |db| read::query(db, &query)).await
    }

    async fn snapshot_at(&self, revision: u64) -> Result<Vec<SnapshotRow>, ReadError> {
        read(&self.scans, move |db| read::snapshot_at(db, revision)).await
    }

    async fn revision_at(&self, at_ms: i64) -> Result<u64, ReadError> {
        read(&self.points, move |db| read::revision_at(db, at_ms)).await
    }

    async fn history(
        &self,
        key: &DocumentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ChangeRow>, ReadError> {
        let key = key.clone();
        read(&self.scans, move |db| {
            read::history(db, &key, before, limit)
        })
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
        read(&self.scans, move |db| read::bodies_page(db, after, limit)).await
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
