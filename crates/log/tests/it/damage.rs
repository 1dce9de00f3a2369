//! A damaged file gives errors: no panic, no endless read, and no new log in its place.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use plane_log::conformance::{Draft, block_on, fake_hash};
use plane_log::observations::{Filter, GroupBy, Observation, SqliteObservations};
use plane_log::{
    Appended, ChangeLog, Checkpoint, DocumentKey, Head, ObservationStore, OpenError, Query,
    ReadError, ReadLimit, SqliteLog,
};

use super::log_id;

const ENTRIES: u64 = 20;

/// Writes a log that uses every table, and returns its file as bytes.
fn build(dir: &Path) -> Vec<u8> {
    let log = SqliteLog::open(dir, &log_id()).unwrap();
    let mut run = Vec::new();
    let mut head = Head::GENESIS;
    for n in 0..ENTRIES {
        let key = DocumentKey::new("flag", "prod", format!("f{n}"));
        let draft = Draft::after(head)
            .tenant("t1")
            .put(&key, &[7; 600])
            .record(vec![b'r'; 900]);
        let entry = draft.put_blob(&key, &[9; 6_000]).build();
        head = entry.head();
        run.push(entry);
    }
    block_on(async {
        let committed = Appended::Committed { head };
        assert_eq!(log.append(Head::GENESIS, &run).await, Ok(committed));
        let bytes = vec![5; 9_000];
        let (digest, bytes) = (fake_hash(&bytes), bytes.into());
        let checkpoint = Checkpoint {
            revision: ENTRIES,
            head: head.hash,
            digest,
            bytes,
        };
        log.put_checkpoint(checkpoint).await.unwrap();
        log.meta_put("epoch", b"1").await.unwrap();
    });
    drop(log);
    assert!(
        !dir.join("log.db-wal").exists(),
        "closing folds the write-ahead log in"
    );
    fs::read(dir.join("log.db")).unwrap()
}

/// Opens the log, reads all of it and appends; returns how many things are wrong.
fn exercise(dir: &Path) -> usize {
    let log = match SqliteLog::open(dir, &log_id()) {
        Ok(log) => log,
        Err(
            OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::NewerSchema { .. },
        ) => {
            return 1;
        }
        Err(other) => panic!("{other:?}"),
    };
    let all = ReadLimit::default();
    let digests = [fake_hash(&[9; 6_000])];
    block_on(async {
        let by_tenant = Query {
            tenant: Some("t1".to_owned()),
            ..Query::default()
        };
        let key = DocumentKey::new("flag", "prod", "f1");
        let reads = [
            log.head().await.map(drop),
            log.read(0, all).await.map(drop),
            log.find("id-3").await.map(drop),
            log.query(&by_tenant).await.map(drop),
            log.blobs(&digests).await.map(drop),
            log.bodies_page(None, all).await.map(drop),
            log.blobs_page(None, all).await.map(drop),
            log.snapshot_at(ENTRIES, None).await.map(drop),
            log.history(&key, None, 10).await.map(drop),
            log.revision_at(5_000).await.map(drop),
            log.checkpoint(ENTRIES).await.map(drop),
            log.meta_get("epoch").await.map(drop),
        ];
        let mut failed = reads.iter().filter(|read| read.is_err()).count();
        failed += log.check().await.map_or(1, |found| found.len());
        // Pages that hold nothing but content are beyond SQLite's check: the caller's digests are for that.
        for blob in log.blobs_page(None, all).await.unwrap_or_default() {
            let whole = blob
                .bytes
                .is_some_and(|bytes| fake_hash(&bytes) == blob.digest);
            failed += usize::from(!whole);
        }
        if let Ok(Some(checkpoint)) = log.checkpoint(ENTRIES).await {
            failed += usize::from(fake_hash(&checkpoint.bytes) != checkpoint.digest);
        }
        if let Ok(head) = log.head().await
            && head.revision < 1_000
        {
            let draft = Draft::after(head).at_ms(i64::MAX).id("next");
            failed += usize::from(log.append(head, &[draft.build()]).await.is_err());
        }
        failed
    })
}

#[test]
fn a_file_cut_short_anywhere_gives_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let whole = build(dir.path());
    let path = dir.path().join("log.db");
    assert_eq!(exercise(dir.path()), 0, "the whole file is sound");
    for tenth in 0..10 {
        fs::write(&path, &whole[..whole.len() * tenth / 10]).unwrap();
        assert!(
            exercise(dir.path()) > 0,
            "{tenth} tenths of the file went unnoticed"
        );
    }
    for lost in [1, 511, 4_096] {
        fs::write(&path, &whole[..whole.len() - lost]).unwrap();
        assert!(exercise(dir.path()) > 0, "{lost} lost bytes went unnoticed");
    }
}

#[test]
fn an_empty_file_is_not_taken_for_a_new_log() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let path = dir.path().join("log.db");
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    let refused = SqliteLog::open(dir.path(), &log_id()).unwrap_err();
    assert_eq!(
        refused,
        OpenError::Damaged {
            path,
            detail: "it is empty".to_owned()
        }
    );
}

#[test]
fn altered_bytes_anywhere_never_panic_and_a_lost_page_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = build(dir.path());
    let path = dir.path().join("log.db");
    // Bytes in headers and cell pointers are where a page lies about itself.
    let pages = whole.len() / 4_096;
    let offsets = [0, 3, 5, 7, 9, 13, 100, 2_000];
    for page in 0..pages {
        for offset in offsets {
            let mut altered = whole.clone();
            altered[page * 4_096 + offset] ^= 0xff;
            fs::write(&path, &altered).unwrap();
            exercise(dir.path());
        }
        let lost = page * 4_096..(page + 1) * 4_096;
        let mut altered = whole.clone();
        altered[lost.clone()].fill(0);
        fs::write(&path, &altered).unwrap();
        let failed = exercise(dir.path());
        // A page of zeros is a free one, overwritten when it was let go: there is nothing to lose in it.
        let free = whole[lost].iter().all(|byte| *byte == 0);
        assert!(
            free || failed > 0,
            "the loss of page {page} of {pages} went unnoticed"
        );
    }
    let altered = pages * offsets.len();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "figure: {altered} bytes altered in pages of a log: no panic; {pages} pages lost: each noticed"
    )
    .unwrap();
}

#[test]
fn a_column_of_the_wrong_form_is_named_as_damage() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let db = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    db.execute_batch(
        "PRAGMA ignore_check_constraints = ON;
         UPDATE entry SET hash = x'00' WHERE revision = 2;
         UPDATE checkpoint_chunk SET bytes = x'00';",
    )
    .unwrap();
    drop(db);
    let log = SqliteLog::open(dir.path(), &log_id()).unwrap();
    block_on(async {
        let damaged = log.read(1, ReadLimit::records(1)).await;
        assert!(
            matches!(damaged, Err(ReadError::Damaged { .. })),
            "{damaged:?}"
        );
        assert_eq!(
            log.read(2, ReadLimit::records(1)).await.unwrap()[0].revision,
            3
        );
        let damaged = log.checkpoint(ENTRIES).await;
        assert!(
            matches!(damaged, Err(ReadError::Damaged { .. })),
            "{damaged:?}"
        );
    });
}

#[test]
fn damaged_observations_give_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Observation {
        kind: "usage".to_owned(),
        subject: "f".to_owned(),
        labels: [("env".to_owned(), "prod".to_owned())].into(),
        count: u64::MAX,
        at_ms: 1,
        dedupe: None,
    };
    let store = SqliteObservations::open(dir.path()).unwrap();
    block_on(async {
        store
            .append(&[seen.clone(), seen.clone(), seen])
            .await
            .unwrap();
        let rows = store
            .aggregate(&Filter::default(), &GroupBy::default())
            .await
            .unwrap();
        assert!(
            rows[0].count > 1 << 62,
            "a sum beyond the largest number stops there"
        );
    });
    drop(store);
    let path = dir.path().join("observations.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute(
        "UPDATE observation SET labels = 'no labels' WHERE seq = 1",
        [],
    )
    .unwrap();
    drop(db);
    let store = SqliteObservations::open(dir.path()).unwrap();
    let damaged = block_on(store.list(&Filter::default(), None, 10));
    assert!(
        matches!(damaged, Err(ReadError::Damaged { .. })),
        "{damaged:?}"
    );
    drop(store);
    fs::write(&path, b"").unwrap();
    let refused = SqliteObservations::open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}
