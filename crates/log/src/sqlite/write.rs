//! What the one connection that writes does.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use super::fault::{Abort, transact};
use super::lane::Worker;
use super::read;
use super::schema::{Digest, Facet, INSTALLATION_PREFIX, Revision, State};
use crate::change_log::CHECKPOINTS_KEPT;
use crate::run::check_link;
use crate::{
    AppendError, Appended, Blob, Body, Bytes, CheckpointMeta, Entry, Hash, Head, WriteError,
};

/// After how many bytes of writing the write-ahead log is folded into the file while nobody waits: 4 MiB.
///
/// Small, so that the log file is soon used again in place: appending to a file costs a second write of its length.
const UNFOLDED_BYTES: usize = 4 << 20;

/// What a commit writes besides its payload, by guess: a page of each tree.
const ENTRY_OVERHEAD_BYTES: usize = 40 << 10;

/// How long emptying the write-ahead log waits for readers before it is put off.
const SCRUB_TIMEOUT: Duration = Duration::from_millis(50);

/// Owns the only connection that writes and checkpoints.
#[derive(Debug)]
pub(crate) struct Writer {
    db: Connection,
    told: watch::Sender<u64>,
    /// How many bytes the write-ahead log has gained since it was last folded in, by guess.
    unfolded: usize,
    /// Whether the write-ahead log may still hold bytes that were erased.
    scrub_due: bool,
    /// Whether dropped checkpoints may still have rows.
    purge_due: bool,
}

impl Writer {
    /// Takes over `db`; checkpoints that were being written when the process ended are dropped.
    pub(crate) fn new(db: Connection, told: watch::Sender<u64>) -> rusqlite::Result<Self> {
        db.execute(
            "UPDATE checkpoint SET state = ?1 WHERE state = ?2",
            params![State::Dropped as i64, State::Writing as i64],
        )?;
        Ok(Self {
            db,
            told,
            unfolded: 0,
            scrub_due: false,
            purge_due: true,
        })
    }

    /// Appends `run`, which was checked and has `bytes` of payload.
    pub(crate) fn append(
        &mut self,
        expected: Head,
        run: &[Entry],
        bytes: usize,
    ) -> Result<Appended, AppendError> {
        let appended = transact(&self.db, |db| {
            let (head, at_ms) = read::head(db)?;
            if head != expected {
                return Ok(Appended::Conflict { head });
            }
            if let Some(first) = run.first() {
                check_link(head, at_ms, first).map_err(Abort::Own)?;
            }
            for entry in run {
                insert(db, entry)?;
            }
            Ok(Appended::Committed {
                head: run.last().map_or(head, Entry::head),
            })
        })?;
        if let Appended::Committed { head } = appended {
            self.unfolded += bytes.saturating_add(run.len().saturating_mul(ENTRY_OVERHEAD_BYTES));
            self.told
                .send_if_modified(|told| std::mem::replace(told, head.revision) != head.revision);
        }
        Ok(appended)
    }

    /// Erases a body or a blob, and with it every checkpoint.
    pub(crate) fn erase(&mut self, digest: Hash) -> Result<bool, WriteError> {
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
                revision => read::hash_at(db, revision)?,
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
        if self.unfolded >= UNFOLDED_BYTES {
            self.unfolded = 0;
            if let Err(error) = self
                .db
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            {
                tracing::warn!(%error, "the write-ahead log could not be folded in yet");
            }
        }
        false
    }
}

fn insert(db: &Connection, entry: &Entry) -> Result<(), Abort<AppendError>> {
    let taken = db
        .prepare_cached("SELECT revision FROM entry WHERE id = ?")?
        .query_row([&entry.id], |row| row.get::<_, Revision>(0))
        .optional()?;
    if let Some(Revision(revision)) = taken {
        let id = entry.id.clone();
        return Err(Abort::Own(AppendError::DuplicateId {
            id,
            revision: Some(revision),
        }));
    }
    db.prepare_cached(
        "INSERT INTO entry (revision, parent, hash, id, request, at_ms, record)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        Revision(entry.revision),
        Digest(entry.parent),
        Digest(entry.hash),
        entry.id,
        Digest(entry.request),
        entry.at_ms,
        &*entry.record
    ])?;
    insert_bodies(db, &entry.bodies)?;
    insert_blobs(db, &entry.blobs)?;
    insert_facets(db, entry)?;
    insert_changes(db, entry)?;
    Ok(())
}

fn insert_bodies(db: &Connection, bodies: &[Body]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO body (digest, salt, bytes) VALUES (?, ?, ?) ON CONFLICT (digest)
         DO UPDATE SET salt = excluded.salt, bytes = excluded.bytes WHERE bytes IS NULL",
    )?;
    for body in bodies {
        statement.execute(params![
            Digest(body.digest),
            body.salt.as_slice(),
            &*body.bytes
        ])?;
    }
    Ok(())
}

fn insert_blobs(db: &Connection, blobs: &[Blob]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO blob (digest, bytes) VALUES (?, ?) ON CONFLICT (digest)
         DO UPDATE SET bytes = excluded.bytes WHERE bytes IS NULL",
    )?;
    for blob in blobs {
        statement.execute(params![Digest(blob.digest), &*blob.bytes])?;
    }
    Ok(())
}

fn insert_facets(db: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let mut statement =
        db.prepare_cached("INSERT OR IGNORE INTO facet (facet, value, revision) VALUES (?, ?, ?)")?;
    let mut insert = |facet: Facet, value: &str| {
        statement.execute(params![facet as i64, value, Revision(entry.revision)])
    };
    insert(Facet::Actor, &entry.actor)?;
    insert(Facet::Action, &entry.action)?;
    for tenant in &entry.tenants {
        insert(Facet::Tenant, tenant)?;
    }
    let mut kinds: Vec<_> = entry
        .changes
        .iter()
        .map(|change| change.key.kind.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        insert(Facet::Kind, kind)?;
    }
    Ok(())
}

fn insert_changes(db: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT OR REPLACE INTO change (kind, scope, name, revision, blob, digest)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for change in &entry.changes {
        let blob = change
            .digest
            .map(|digest| matches!(digest, crate::DigestRef::Blob(_)));
        let digest = change.digest.map(|digest| Digest(digest.hash()));
        let key = &change.key;
        let revision = Revision(entry.revision);
        statement.execute(params![
            key.kind, key.scope, key.name, revision, blob, digest
        ])?;
    }
    Ok(())
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
