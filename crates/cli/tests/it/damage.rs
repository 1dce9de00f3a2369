//! One altered byte anywhere in a stored log is found.

use std::fs;
use std::path::Path;

use crate::support::{Server, offline};

/// Flips the last bit of the byte in the middle of one value.
fn flip(data: &Path, table: &str, column: &str) {
    let db = rusqlite::Connection::open(data.join("log.db")).unwrap();
    let select = format!("SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 1");
    let by_key = format!("SELECT checkpoint, {column} FROM {table} LIMIT 1");
    let (select, key) = if table == "checkpoint_chunk" {
        (by_key, "checkpoint")
    } else {
        (select, "rowid")
    };
    let (row, mut bytes): (i64, Vec<u8>) = db
        .query_row(&select, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let update = format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2");
    assert!(db.execute(&update, (bytes, row)).unwrap() >= 1);
}

#[test]
fn one_altered_byte_in_a_record_hash_body_salt_blob_or_checkpoint_is_named() {
    let mut server = Server::with_platform();
    server.ok("tenant set new --plan free");
    assert_eq!(server.stop(), Some(0));
    let data = server.path("data");
    let sound = offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    assert!(sound.contains("everything is as it was written"), "{sound}");
    for (table, column, named) in [
        ("entry", "record", "record"),
        ("entry", "hash", "record"),
        ("body", "bytes", "body"),
        ("body", "salt", "body"),
        ("blob", "bytes", "blob"),
        ("checkpoint_chunk", "bytes", "checkpoint"),
    ] {
        let copy = server.path(&format!("copy-{table}-{column}"));
        fs::create_dir(&copy).unwrap();
        fs::copy(data.join("log.db"), copy.join("log.db")).unwrap();
        flip(&copy, table, column);
        let found = offline(&["log", "verify", "--data", copy.to_str().unwrap()]);
        assert_eq!(found.status, 1, "{table}.{column}: {found:#?}");
        let line = found.out.lines().find(|line| line.starts_with("damaged: "));
        assert!(
            line.is_some_and(|line| line.contains(named)),
            "{table}.{column}: {found:#?}"
        );
    }
}

#[test]
fn an_exported_log_is_its_records_byte_for_byte() {
    let mut server = Server::with_platform();
    server.stop();
    let data = server.path("data");
    let exported = offline(&["log", "export", "--data", data.to_str().unwrap()]).ok();
    let db = rusqlite::Connection::open(data.join("log.db")).unwrap();
    let mut lines = exported.lines();
    for revision in 1..=2 {
        let record: Vec<u8> = db
            .query_row(
                "SELECT record FROM entry WHERE revision = ?1",
                [revision],
                |row| row.get(0),
            )
            .unwrap();
        let record = String::from_utf8(record).unwrap();
        let line = lines.next().unwrap();
        assert!(line.contains(&format!("\"revision\":{revision},")) && line.contains(&record));
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_directory_without_a_log_is_told_apart_from_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let missing = offline(&["log", "verify", "--data", dir.path().to_str().unwrap()]).failed();
    assert!(missing.contains("serve --data"), "{missing}");
    assert!(
        dir.path().read_dir().unwrap().next().is_none(),
        "nothing was created"
    );
}
