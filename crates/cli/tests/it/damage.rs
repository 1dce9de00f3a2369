//! One altered byte anywhere in a stored log is found.

use std::fs;
use std::path::Path;

use rusqlite::types::Value;

use crate::support::{Ran, Server, figure, offline};

/// The columns that a row of a table is known by, in their order.
fn key(table: &str) -> &'static str {
    match table {
        "entry" | "body" | "blob" | "checkpoint" => "rowid",
        "change" => "kind, scope, name, revision",
        "facet" => "facet, value, revision",
        "checkpoint_chunk" => "checkpoint, seq",
        _ => "key",
    }
}

fn open(data: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(data.join("log.db")).unwrap()
}

/// How many values of a column there are to alter.
fn values(data: &Path, table: &str, column: &str) -> u32 {
    let sql = format!("SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND {column} <> ''");
    open(data).query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// Flips a bit of one value: of its first, middle or last byte in turn, or of a number.
fn flip(data: &Path, table: &str, column: &str, index: u32) {
    let (db, key) = (open(data), key(table));
    let some = format!(
        "FROM {table} WHERE {column} IS NOT NULL AND {column} <> '' ORDER BY {key} LIMIT 1 OFFSET {index}"
    );
    let value = db
        .query_row(&format!("SELECT {column} {some}"), [], |row| row.get(0))
        .unwrap();
    let flipped = |mut bytes: Vec<u8>| {
        let at = (bytes.len() - 1) * usize::try_from(index % 3).unwrap() / 2;
        bytes[at] ^= 1;
        bytes
    };
    let altered = match value {
        // Not the last bit: the row next to it may have that number.
        Value::Integer(number) => Value::Integer(number ^ 64),
        Value::Text(text) => Value::Text(String::from_utf8(flipped(text.into_bytes())).unwrap()),
        Value::Blob(bytes) => Value::Blob(flipped(bytes)),
        other => panic!("{table}.{column}: {other:?}"),
    };
    let update = format!("UPDATE {table} SET {column} = ?1 WHERE ({key}) = (SELECT {key} {some})");
    assert_eq!(db.execute(&update, [altered]).unwrap(), 1);
}

/// What `log verify` says about a copy of `data` in which `alter` has changed something.
fn verify_altered(server: &Server, name: &str, alter: impl FnOnce(&Path)) -> Ran {
    let copy = server.path(&format!("copy-{name}"));
    drop(fs::remove_dir_all(&copy));
    fs::create_dir(&copy).unwrap();
    fs::copy(server.path("data/log.db"), copy.join("log.db")).unwrap();
    alter(&copy);
    offline(&["log", "verify", "--data", copy.to_str().unwrap()])
}

#[test]
fn one_altered_bit_in_any_value_that_is_stored_is_named() {
    let mut server = Server::with_platform();
    server.ok("tenant set new --plan free");
    assert_eq!(server.stop(), Some(0));
    let data = server.path("data");
    let sound = offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    assert!(sound.contains("everything is as it was written"), "{sound}");
    let mut flipped = 0;
    for (table, column, named) in [
        ("entry", "record", "record"),
        ("entry", "hash", "record"),
        ("entry", "parent", "parent"),
        ("entry", "id", "record"),
        ("entry", "at_ms", "record"),
        ("entry", "request", "request of revision"),
        ("body", "bytes", "body"),
        ("body", "salt", "body"),
        ("body", "digest", "body"),
        ("blob", "bytes", "blob"),
        ("meta", "value", "record"),
        ("checkpoint", "revision", "checkpoint"),
        ("checkpoint", "head", "checkpoint"),
        ("checkpoint", "digest", "checkpoint"),
        ("checkpoint", "bytes_len", "checkpoint"),
        ("checkpoint_chunk", "bytes", "checkpoint"),
        ("change", "kind", "index of"),
        ("change", "scope", "index of"),
        ("change", "name", "index of"),
        ("change", "revision", "index of"),
        ("change", "blob", "index of"),
        ("change", "digest", "index of"),
        ("facet", "facet", "index of commits by"),
        ("facet", "value", "index of commits by"),
        ("facet", "revision", "index of commits by"),
    ] {
        let count = values(&data, table, column);
        assert_ne!(count, 0, "{table}.{column}");
        for index in 0..count {
            let alter = |copy: &Path| flip(copy, table, column, index);
            let found = verify_altered(&server, "flipped", alter);
            assert_eq!(found.status, 1, "{table}.{column} {index}: {found:#?}");
            let mut lines = found.out.lines();
            assert!(
                lines.any(|line| line.starts_with(&format!("damaged: {named}"))),
                "{table}.{column} {index}: {found:#?}"
            );
        }
        flipped += count;
    }
    figure(&format!(
        "{flipped} values of a log altered by one bit, each named by `log verify`"
    ));
}

#[test]
fn a_row_that_is_missing_from_an_index_or_that_nothing_put_there_is_named() {
    let mut server = Server::with_platform();
    assert_eq!(server.stop(), Some(0));
    for (name, sql, named) in [
        (
            "facet-gone",
            "DELETE FROM facet WHERE facet = 3",
            "index of commits by tenant",
        ),
        (
            "facet-unknown",
            "UPDATE facet SET facet = 9 WHERE facet = 2 AND revision = 1",
            "index of commits by action",
        ),
        (
            "facet-invented",
            "INSERT INTO facet (facet, value, revision) VALUES (3, 'nobody', 1)",
            "index of commits by tenant `nobody`",
        ),
        (
            "change-gone",
            "DELETE FROM change WHERE kind = 'tenant'",
            "index of tenant",
        ),
        (
            "change-invented",
            "INSERT INTO change (kind, scope, name, revision) VALUES ('tenant', '', 'nobody', 1)",
            "index of tenant `` `nobody`",
        ),
        (
            "request-of-another",
            "UPDATE entry SET request = (SELECT request FROM entry WHERE revision = 1)
             WHERE revision = 2",
            "request of revision 2",
        ),
    ] {
        let found = verify_altered(&server, name, |copy| {
            let db = rusqlite::Connection::open(copy.join("log.db")).unwrap();
            assert!(db.execute(sql, []).unwrap() >= 1, "{name}");
        });
        assert_eq!(found.status, 1, "{name}: {found:#?}");
        let mut lines = found.out.lines();
        assert!(
            lines.any(|line| line.starts_with(&format!("damaged: {named}"))),
            "{name}: {found:#?}"
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
