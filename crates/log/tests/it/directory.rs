//! Who may open a data directory, and what is in it.

use std::fs;
use std::path::Path;

use plane_log::conformance::{Draft, append_all, block_on, fake_hash};
use plane_log::observations::SqliteObservations;
use plane_log::{ChangeLog, Checkpoint, DocumentKey, Head, LogId, OpenError, SqliteLog};
use rusqlite::Connection;

use super::log_id;

fn log_with_one_entry(dir: &Path) -> Head {
    let log = SqliteLog::open(dir, &log_id()).unwrap();
    block_on(append_all(
        &log,
        Head::GENESIS,
        &[Draft::after(Head::GENESIS).build()],
    ))
}

#[test]
fn a_second_opener_is_refused_and_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(dir.path(), &log_id()).unwrap();
    let observations = SqliteObservations::open(dir.path()).unwrap();
    let pid = Some(std::process::id());
    let in_use = OpenError::InUse {
        dir: dir.path().to_owned(),
        pid,
    };
    assert_eq!(SqliteLog::open(dir.path(), &log_id()).unwrap_err(), in_use);
    assert_eq!(SqliteLog::open_existing(dir.path()).unwrap_err(), in_use);
    assert_eq!(SqliteObservations::open(dir.path()).unwrap_err(), in_use);
    assert!(
        in_use
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{in_use}"
    );

    drop((log, observations));
    SqliteLog::open(dir.path(), &log_id()).unwrap();
    SqliteObservations::open(dir.path()).unwrap();
}

#[test]
fn a_log_keeps_the_id_of_its_creation() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteLog::open(dir.path(), &log_id()).unwrap());
    let other = LogId::new("another").unwrap();
    let log = SqliteLog::open(dir.path(), &other).unwrap();
    assert_eq!(log.id(), &log_id());
    assert_eq!(log.dir(), dir.path());
}

#[test]
fn opening_an_existing_log_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = SqliteLog::open_existing(dir.path()).unwrap_err();
    assert!(matches!(missing, OpenError::Io { .. }), "{missing:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let head = log_with_one_entry(dir.path());
    let log = SqliteLog::open_existing(dir.path()).unwrap();
    assert_eq!(block_on(log.head()), Ok(head));
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    log_with_one_entry(dir.path());
    let path = dir.path().join("log.db");
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
    drop(db);
    let refused = SqliteLog::open(dir.path(), &log_id()).unwrap_err();
    assert_eq!(
        refused,
        OpenError::NewerSchema {
            path,
            found: 3,
            known: 2
        }
    );
}

#[test]
fn a_database_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE other (x)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let refused = SqliteLog::open(dir.path(), &log_id()).unwrap_err();
    assert_eq!(refused, OpenError::Foreign { path: path.clone() });
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.db.new"), b"half a file").unwrap();
    log_with_one_entry(dir.path());
    assert!(!dir.path().join("log.db.new").exists());
}

#[test]
fn a_write_ahead_log_without_its_file_is_no_new_log() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.db-wal"), b"entries, perhaps").unwrap();
    let refused = SqliteLog::open(dir.path(), &log_id()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    assert!(!dir.path().join("log.db").exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let refused = SqliteLog::open(&file.join("data"), &log_id()).unwrap_err();
    assert!(refused.to_string().contains("file/data"), "{refused}");
}

#[test]
fn erased_bytes_are_in_no_file_afterwards() {
    const SECRET: &[u8] = b"a person that wants to be forgotten";
    let dir = tempfile::tempdir().unwrap();
    let found = || {
        let files = fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().path());
        files
            .filter(|file| {
                let bytes = fs::read(file).unwrap();
                bytes.windows(SECRET.len()).any(|window| window == SECRET)
            })
            .count()
    };
    let log = SqliteLog::open(dir.path(), &log_id()).unwrap();
    // Once in a page, and once in pages of its own.
    let large = [SECRET, &vec![b'.'; 20_000], SECRET].concat();
    let (small, long) = (
        DocumentKey::new("k", "", "small"),
        DocumentKey::new("k", "", "large"),
    );
    let entry = Draft::after(Head::GENESIS)
        .put(&small, SECRET)
        .put(&long, &large)
        .build();
    let digests = [entry.bodies[0].digest, entry.bodies[1].digest];
    block_on(async {
        let head = append_all(&log, Head::GENESIS, &[entry]).await;
        let checkpoint = Checkpoint {
            revision: 1,
            head: head.hash,
            digest: fake_hash(&large),
            bytes: large.into(),
        };
        log.put_checkpoint(checkpoint).await.unwrap();
        append_all(&log, head, &[Draft::after(head).build()]).await;
    });
    assert!(found() > 0);
    block_on(async {
        for digest in &digests {
            assert!(log.erase(digest).await.unwrap());
        }
    });
    drop(log);
    assert_eq!(found(), 0);
}
