//! One altered byte anywhere in a stored log is found.

use std::fs;
use std::path::Path;

use rusqlite::types::Value;

use crate::support::{Ran, Server, offline};

/// Flips a bit of one value: the last bit of the byte in its middle, or of a number.
fn flip(data: &Path, table: &str, column: &str) {
    let db = rusqlite::Connection::open(data.join("log.db")).unwrap();
    let key = match table {
        "entry" | "body" | "blob" => "rowid",
        "change" => "(kind, scope, name, revision)",
        "facet" => "(facet, value, revision)",
        _ => "(checkpoint, seq)",
    };
    let some = format!("FROM {table} WHERE {column} IS NOT NULL AND {column} <> '' LIMIT 1");
    let value = db
        .query_row(&format!("SELECT {column} {some}"), [], |row| row.get(0))
        .unwrap();
    let middle = |length: usize| length / 2;
    let altered = match value {
        Value::Integer(number) => Value::Integer(number ^ 1),
        Value::Text(text) => {
            let mut text = text.into_bytes();
            let at = middle(text.len());
            text[at] ^= 1;
            Value::Text(String::from_utf8(text).unwrap())
        }
        Value::Blob(mut bytes) => {
            let at = middle(bytes.len());
            bytes[at] ^= 1;
            Value::Blob(bytes)
        }
        other => panic!("{table}.{column}: {other:?}"),
    };
    let columns = key.trim_matches(['(', ')']);
    let update =
        format!("UPDATE {table} SET {column} = ?1 WHERE {key} = (SELECT {columns} {some})");
    assert_eq!(db.execute(&update, [altered]).unwrap(), 1);
}

/// What `log verify` says about a copy of `data` in which `alter` has changed something.
fn verify_altered(server: &Server, name: &str, alter: impl FnOnce(&Path)) -> Ran {
    let copy = server.path(&format!("copy-{name}"));
    fs::create_dir(&copy).unwrap();
    fs::copy(server.path("data/log.db"), copy.join("log.db")).unwrap();
    alter(&copy);
    offline(&["log", "verify", "--data", copy.to_str().unwrap()])
}

#[test]
fn one_altered_bit_in_whatever_is_stored_is_named() {
    let mut server = Server::with_platform();
    server.ok("tenant set new --plan free");
    assert_eq!(server.stop(), Some(0));
    let data = server.path("data");
    let sound = offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    assert!(sound.contains("everything is as it was written"), "{sound}");
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
        let alter = |copy: &Path| flip(copy, table, column);
        let found = verify_altered(&server, &format!("{table}-{column}"), alter);
        assert_eq!(found.status, 1, "{table}.{column}: {found:#?}");
        let mut lines = found.out.lines();
        assert!(
            lines.any(|line| line.starts_with(&format!("damaged: {named}"))),
            "{table}.{column}: {found:#?}"
        );
    }
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
