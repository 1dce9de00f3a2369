//! From what `SQLite` says to what it means for the caller.

use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode};

use super::lane::Stopped;
use crate::{AppendError, OpenError, ReadError, WriteError};

/// Says why a transaction was given up before its commit.
#[derive(Debug)]
pub(crate) enum Abort<E> {
    /// The engine failed.
    Engine(Error),
    /// The work itself says no.
    Own(E),
}

impl<E> From<Error> for Abort<E> {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Runs `work` in one transaction that is alone in writing.
///
/// Any failure before the commit is certain to have stored nothing; a failed commit is so only where `SQLite` leaves
/// no commit frame behind, and is [`WriteError::Unknown`] otherwise: a crash now could bring it back.
pub(crate) fn transact<T, E: From<WriteError>>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>>,
) -> Result<T, E> {
    let run = |statement: &str| db.prepare_cached(statement)?.execute([]);
    run("BEGIN IMMEDIATE").map_err(write_error)?;
    let abort = match work(db) {
        Ok(value) => match run("COMMIT") {
            Ok(_) => return Ok(value),
            Err(error) => commit_error(&error).into(),
        },
        Err(Abort::Engine(error)) => write_error(error).into(),
        Err(Abort::Own(error)) => error,
    };
    // SQLite has rolled back by itself after some failures. Where even this fails, the connection stays inside the
    // transaction and refuses the next BEGIN, so nothing is acknowledged that is not stored.
    if !db.is_autocommit()
        && let Err(error) = run("ROLLBACK")
    {
        tracing::error!(%error, "the store could not roll back");
    }
    Err(abort)
}

pub(crate) fn write_error(error: Error) -> WriteError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => WriteError::NoSpace,
        Some(ErrorCode::ReadOnly) => WriteError::ReadOnly,
        _ => match read_error(error) {
            ReadError::Unavailable { detail } => WriteError::Unavailable { detail },
            ReadError::Damaged { detail } => WriteError::Damaged { detail },
        },
    }
}

fn commit_error(error: &Error) -> WriteError {
    match error.sqlite_error_code() {
        // The commit frame is the last to be written: where there was no room for it, it is not there.
        Some(ErrorCode::DiskFull) => WriteError::NoSpace,
        Some(ErrorCode::ReadOnly) => WriteError::ReadOnly,
        Some(ErrorCode::DatabaseBusy) => WriteError::Unavailable {
            detail: error.to_string(),
        },
        _ => {
            tracing::error!(%error, "the store failed in a commit");
            WriteError::Unknown
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the end of the error, used by map_err"
)]
pub(crate) fn read_error(error: Error) -> ReadError {
    let detail = error.to_string();
    let damaged = match &error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        error => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    };
    if damaged {
        ReadError::Damaged { detail }
    } else {
        ReadError::Unavailable { detail }
    }
}

pub(crate) fn open_error(path: &Path, error: Error) -> OpenError {
    let path = path.to_owned();
    match read_error(error) {
        ReadError::Unavailable { detail } => OpenError::Io { path, detail },
        ReadError::Damaged { detail } => OpenError::Damaged { path, detail },
    }
}

impl From<Stopped> for ReadError {
    fn from(_: Stopped) -> Self {
        Self::Unavailable {
            detail: "the reading thread has stopped".to_owned(),
        }
    }
}

impl From<Stopped> for WriteError {
    fn from(_: Stopped) -> Self {
        Self::Unknown
    }
}

impl From<Stopped> for AppendError {
    fn from(_: Stopped) -> Self {
        Self::Unknown
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE filled (bytes BLOB)")
            .unwrap();
        db
    }

    fn fill(db: &Connection) -> Result<(), WriteError> {
        transact(db, |db| {
            db.execute("INSERT INTO filled VALUES (zeroblob(100000))", [])?;
            Ok(())
        })
    }

    fn rows(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM filled", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_full_disk_stores_nothing_and_the_next_transaction_works_once_there_is_room() {
        let db = database();
        db.pragma_update(None, "max_page_count", 10).unwrap();
        assert_eq!(fill(&db), Err(WriteError::NoSpace));
        assert!(db.is_autocommit());
        db.pragma_update(None, "max_page_count", 1_000).unwrap();
        assert_eq!(fill(&db), Ok(()));
        assert_eq!(rows(&db), 1);
    }

    #[test]
    fn a_database_that_only_reads_says_so() {
        let db = database();
        db.pragma_update(None, "query_only", "ON").unwrap();
        assert_eq!(fill(&db), Err(WriteError::ReadOnly));
    }

    #[test]
    fn work_that_says_no_is_rolled_back() {
        let db = database();
        let no = WriteError::Refused {
            detail: "no".to_owned(),
        };
        let refused = transact::<(), WriteError>(&db, |db| {
            db.execute("INSERT INTO filled VALUES (x'00')", [])?;
            Err(Abort::Own(no.clone()))
        });
        assert_eq!(refused, Err(no));
        assert_eq!(rows(&db), 0);
    }

    #[test]
    fn a_commit_that_fails_is_unknown_unless_nothing_can_be_left_of_it() {
        let failure = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(
            commit_error(&failure(ffi::SQLITE_IOERR_FSYNC)),
            WriteError::Unknown
        );
        assert_eq!(
            commit_error(&failure(ffi::SQLITE_INTERRUPT)),
            WriteError::Unknown
        );
        assert_eq!(
            commit_error(&failure(ffi::SQLITE_FULL)),
            WriteError::NoSpace
        );
        assert_eq!(
            commit_error(&failure(ffi::SQLITE_READONLY)),
            WriteError::ReadOnly
        );
        let busy = commit_error(&failure(ffi::SQLITE_BUSY));
        assert!(matches!(busy, WriteError::Unavailable { .. }), "{busy:?}");
    }
}
