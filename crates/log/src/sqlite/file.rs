//! Creating and opening database files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fault::open_error;
use crate::OpenError;

/// The first `SQLite` without the WAL-reset defect, which could corrupt a file under two connections.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
const SQLITE_VERSION_MIN_TEXT: &str = "3.51.3";

/// How long a statement waits for a lock that another program holds, such as a shell on the same file.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Describes the one database file of a store.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The name of the file in the data directory.
    pub(crate) file: &'static str,
    /// Marks the file as a store of this kind.
    pub(crate) application_id: i64,
    /// The newest version that this release reads and writes.
    pub(crate) version: i64,
    /// Creates the tables.
    pub(crate) sql: &'static str,
    /// Leads from each older version to the next, from version 1 on.
    pub(crate) upgrades: &'static [&'static str],
    /// How long a commit waits for the disk.
    pub(crate) synchronous: &'static str,
}

/// Makes sure that the linked `SQLite` may be used with more than one connection.
pub(crate) fn check_engine() -> Result<(), OpenError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(OpenError::Engine {
            found: rusqlite::version().to_owned(),
            needed: SQLITE_VERSION_MIN_TEXT,
        });
    }
    Ok(())
}

/// Creates the file in `dir` unless it is there; `fill` adds the first rows in the same transaction.
///
/// The file gets its name only when it is whole and durable, so that a file under that name that turns out to be
/// empty is known to be damaged, and not taken for a new store.
pub(crate) fn create_if_absent(
    dir: &Path,
    schema: &Schema,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(), OpenError> {
    let path = dir.join(schema.file);
    let io = |error: std::io::Error| OpenError::Io {
        path: path.clone(),
        detail: error.to_string(),
    };
    if path.try_exists().map_err(io)? {
        return Ok(());
    }
    let wal = with_suffix(&path, "-wal");
    if wal.try_exists().map_err(io)? {
        let detail = format!("`{}` is there without it", wal.display());
        return Err(OpenError::Damaged { path, detail });
    }
    let draft = with_suffix(&path, ".new");
    for leftover in [draft.clone(), with_suffix(&draft, "-journal")] {
        if leftover.try_exists().map_err(io)? {
            fs::remove_file(&leftover).map_err(io)?;
        }
    }
    let created = (|| {
        let db = Connection::open(&draft)?;
        db.execute_batch("PRAGMA synchronous = FULL; BEGIN")?;
        db.execute_batch(schema.sql)?;
        fill(&db)?;
        db.pragma_update(None, "application_id", schema.application_id)?;
        db.pragma_update(None, "user_version", schema.version)?;
        db.execute_batch("COMMIT")?;
        db.close().map_err(|(_, error)| error)
    })();
    created.map_err(|error| open_error(&draft, error))?;
    fs::rename(&draft, &path).map_err(io)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}

/// Opens the connection that writes, after checking that the file is what `schema` describes.
pub(crate) fn open_writer(dir: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    let path = dir.join(schema.file);
    let bytes = fs::metadata(&path)
        .map_err(|error| OpenError::Io {
            path: path.clone(),
            detail: error.to_string(),
        })?
        .len();
    if bytes == 0 {
        return Err(OpenError::Damaged {
            path,
            detail: "it is empty".to_owned(),
        });
    }
    let failed = |error| open_error(&path, error);
    // A process that is killed while it folds may leave part of a page, which the write-ahead log then mends.
    let wal = fs::metadata(with_suffix(&path, "-wal"));
    let has_wal = wal.is_ok_and(|wal| wal.len() > 0);
    let db = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id").map_err(failed)? != schema.application_id {
        return Err(OpenError::Foreign { path });
    }
    let found = pragma("user_version").map_err(failed)?;
    if found > schema.version {
        return Err(OpenError::NewerSchema {
            path,
            found,
            known: schema.version,
        });
    }
    if found < 1 {
        return Err(OpenError::Damaged {
            path,
            detail: format!("it has schema {found}"),
        });
    }
    let page_bytes = pragma("page_size").map_err(failed)?;
    if !has_wal && i64::try_from(bytes).unwrap_or(i64::MAX) % page_bytes.max(1) != 0 {
        let detail =
            format!("its {bytes} bytes are not whole pages of {page_bytes}: it was cut off");
        return Err(OpenError::Damaged { path, detail });
    }
    let mode: String = db
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        let detail = format!("the file system supports journal mode `{mode}` only, not `wal`");
        return Err(OpenError::Io { path, detail });
    }
    db.pragma_update(None, "synchronous", schema.synchronous)
        .map_err(failed)?;
    // What is erased is overwritten, in the pages it leaves too.
    db.pragma_update(None, "secure_delete", "ON")
        .map_err(failed)?;
    // 16 MiB: what one batch of commits touches in every tree stays at hand.
    db.pragma_update(None, "cache_size", -16_384)
        .map_err(failed)?;
    // Upkeep folds the write-ahead log in while nobody waits. Where it never gets to, a commit does at 16 MiB: that
    // bounds how long the commit takes.
    db.pragma_update(None, "wal_autocheckpoint", 4_096)
        .map_err(failed)?;
    if found < schema.version {
        upgrade(&db, schema, found).map_err(failed)?;
        tracing::info!(file = %path.display(), from = found, to = schema.version, "the store was upgraded");
    }
    Ok(db)
}

/// Brings the tables of version `found` to the newest, all in one transaction.
fn upgrade(db: &Connection, schema: &Schema, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found - 1).unwrap_or_default();
    let transaction = db.unchecked_transaction()?;
    for step in schema.upgrades.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", schema.version)?;
    transaction.commit()
}

/// Opens a connection that only folds the write-ahead log in, after the one that writes.
pub(crate) fn open_folder(dir: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    let path = dir.join(schema.file);
    let open = || {
        let db = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.pragma_update(None, "synchronous", schema.synchronous)?;
        db.pragma_update(None, "query_only", "ON").map(|()| db)
    };
    open().map_err(|error| open_error(&path, error))
}

/// Opens a connection that only reads: it can neither write nor checkpoint.
pub(crate) fn open_reader(dir: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    let path = dir.join(schema.file);
    let db = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    db.and_then(|db| db.pragma_update(None, "query_only", "ON").map(|()| db))
        .map_err(|error| open_error(&path, error))
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    // A failing disk under a mapped file is a signal, not an error.
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    // Without it every statement with `LIMIT ?` is compiled anew whenever the number is bound again.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
