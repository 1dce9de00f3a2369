//! What was appended last is in the journal: it survives, it is seen, and it is told when it is damaged.

use std::fs;
use std::path::Path;

use plane_log::conformance::{Draft, append_all, block_on};
use plane_log::{
    AppendError, ChangeLog, DocumentKey, Hash, Head, OpenError, Query, ReadLimit, SqliteLog,
};
use rusqlite::Connection;

use super::log_id;

fn flag() -> DocumentKey {
    DocumentKey::new("flag", "prod", "f")
}

async fn append(log: &SqliteLog, head: Head) -> Head {
    let bytes = head.revision.to_le_bytes().repeat(20);
    let draft = Draft::after(head).put(&flag(), &bytes).tenant("t1");
    append_all(log, head, &[draft.build()]).await
}

/// Copies a log as a process that ends now would leave it.
fn leave(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir(to).unwrap();
    for file in ["log.db", "log.db-wal"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

fn rows(dir: &Path, table: &str) -> u32 {
    let db = Connection::open(dir.join("log.db")).unwrap();
    let sql = format!("SELECT count(*) FROM {table}");
    db.query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_not_posted_when_the_process_ended_is_read_again_and_each_id_is_still_taken() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("left");
    let log = SqliteLog::open(&dir.path().join("log"), &log_id()).unwrap();
    let head = block_on(async {
        let head = append(&log, Head::GENESIS).await;
        append(&log, head).await
    });
    leave(log.dir(), &left);
    assert_eq!((rows(&left, "journal"), rows(&left, "entry")), (2, 0));
    let log = SqliteLog::open_existing(&left).unwrap();
    block_on(async {
        assert_eq!(log.head().await, Ok(head));
        assert_eq!(log.watch().revision(), 2);
        assert_eq!(log.find("id-1").await.unwrap().unwrap().revision, 1);
        assert_eq!(
            log.read(1, ReadLimit::default()).await.unwrap()[0].head(),
            head
        );
        assert_eq!(log.revision_at(1_999).await, Ok(1));
        let again = log
            .append(head, &[Draft::after(head).id("id-2").build()])
            .await;
        let taken = AppendError::DuplicateId {
            id: "id-2".to_owned(),
            revision: Some(2),
        };
        assert_eq!(again, Err(taken));
        assert_eq!(log.history(&flag(), None, 9).await.unwrap().len(), 2);
        let again = log
            .append(head, &[Draft::after(head).id("id-2").build()])
            .await;
        assert!(
            matches!(again, Err(AppendError::DuplicateId { .. })),
            "{again:?}"
        );
    });
    drop(log);
    assert_eq!((rows(&left, "journal"), rows(&left, "entry")), (0, 2));
}

#[test]
fn every_read_sees_what_was_acknowledged_before_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(dir.path(), &log_id()).unwrap();
    block_on(async {
        let mut head = Head::GENESIS;
        for n in 1..=40 {
            head = append(&log, head).await;
            let by_tenant = Query {
                tenant: Some("t1".to_owned()),
                limit: ReadLimit::records(1),
                ..Query::default()
            };
            // Each read by itself: one of them has the others' entries posted.
            match n % 8 {
                0 => assert_eq!(log.query(&by_tenant).await.unwrap()[0].head(), head),
                1 => assert_eq!(log.history(&flag(), None, 1).await.unwrap()[0].revision, n),
                2 => assert_eq!(log.snapshot_at(n, None).await.unwrap()[0].revision, n),
                3 => assert_eq!(
                    log.read(0, ReadLimit::default()).await.unwrap().len() as u64,
                    n
                ),
                4 => assert_eq!(log.revision_at(i64::MAX).await, Ok(n)),
                5 => {
                    let page = log.bodies_page(None, ReadLimit::default()).await.unwrap();
                    assert_eq!(page.len() as u64, n);
                }
                6 => assert_eq!(
                    log.find(&format!("id-{n}")).await.unwrap().unwrap().head(),
                    head
                ),
                _ => assert_eq!(log.head().await, Ok(head)),
            }
        }
    });
}

#[test]
fn a_write_ahead_log_cut_off_anywhere_leaves_whole_runs_of_which_none_is_there_twice() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("left");
    let log = SqliteLog::open(&dir.path().join("log"), &log_id()).unwrap();
    block_on(async {
        let mut head = Head::GENESIS;
        for n in 0..30 {
            head = append(&log, head).await;
            if n % 7 == 6 {
                log.history(&flag(), None, 1).await.unwrap();
            }
        }
    });
    let length = fs::metadata(log.dir().join("log.db-wal")).unwrap().len();
    let mut last = 0;
    for part in 0..=60 {
        leave(log.dir(), &left);
        let wal = fs::OpenOptions::new()
            .write(true)
            .open(left.join("log.db-wal"));
        wal.unwrap().set_len(length * part / 60).unwrap();
        let log = SqliteLog::open_existing(&left).unwrap();
        let revision = block_on(async {
            let revision = log.head().await.unwrap().revision;
            let read = log.read(0, ReadLimit::default()).await.unwrap();
            assert_eq!(read.len() as u64, revision);
            assert_eq!(
                log.history(&flag(), None, 99).await.unwrap().len() as u64,
                revision
            );
            assert_eq!(log.check().await, Ok(Vec::new()));
            revision
        });
        assert!(revision >= last, "{part}: {revision} after {last}");
        last = revision;
        drop(log);
        assert_eq!(
            (rows(&left, "journal"), u64::from(rows(&left, "entry"))),
            (0, revision)
        );
    }
    assert_eq!(last, 30);
}

#[test]
fn an_altered_row_of_the_journal_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("left");
    let log = SqliteLog::open(&dir.path().join("log"), &log_id()).unwrap();
    block_on(async {
        let head = append(&log, Head::GENESIS).await;
        append(&log, head).await;
    });
    for change in [
        "UPDATE journal SET entries = CAST(substr(entries, 1, 80) || x'00' || substr(entries, 82) AS BLOB) WHERE revision = 2",
        "UPDATE journal SET entries = x'' WHERE revision = 2",
        "UPDATE journal SET entries = (SELECT entries FROM journal WHERE revision = 1) WHERE revision = 2",
    ] {
        leave(log.dir(), &left);
        let db = Connection::open(left.join("log.db")).unwrap();
        assert_eq!(db.execute(change, []).unwrap(), 1);
        drop(db);
        let refused = SqliteLog::open_existing(&left).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
        assert!(
            refused.to_string().contains("row 2 of the journal"),
            "{refused}"
        );
    }
}

#[test]
fn a_long_log_is_posted_while_it_grows_and_whole_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(dir.path(), &log_id()).unwrap();
    block_on(async {
        let mut head = Head::GENESIS;
        for _ in 0..60 {
            let mut run = Vec::new();
            let mut last = head;
            for _ in 0..50 {
                let entry = Draft::after(last)
                    .put(&flag(), &last.revision.to_le_bytes())
                    .build();
                last = entry.head();
                run.push(entry);
            }
            head = append_all(&log, head, &run).await;
        }
        let mut after = 0;
        while after < head.revision {
            let page = log.read(after, ReadLimit::records(700)).await.unwrap();
            assert_eq!(page[0].revision, after + 1);
            assert!(page.windows(2).all(|pair| pair[1].parent == pair[0].hash));
            after = page.last().unwrap().revision;
        }
    });
    drop(log);
    assert_eq!(
        (rows(dir.path(), "journal"), rows(dir.path(), "entry")),
        (0, 3_000)
    );
}

#[test]
fn a_log_of_schema_1_is_upgraded_where_it_lies_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    db.execute_batch(include_str!("../../golden/log-1.sql"))
        .unwrap();
    drop(db);
    let head = Head {
        revision: 2,
        hash: Hash([2; 32]),
    };
    for _ in 0..2 {
        let log = SqliteLog::open_existing(dir.path()).unwrap();
        block_on(async {
            assert_eq!(log.id().as_str(), "01OLD");
            assert_eq!(
                log.meta_get("epoch").await.unwrap().as_deref(),
                Some(b"1".as_slice())
            );
            let read = log.read(0, ReadLimit::default()).await.unwrap();
            assert_eq!(&*read[1].record, b"record 2");
            assert_eq!(read[1].head(), head);
            assert_eq!(log.revision_at(1_500).await, Ok(1));
            assert_eq!(log.snapshot_at(1, None).await.unwrap().len(), 1);
            assert_eq!(log.check().await, Ok(Vec::new()));
        });
    }
    let log = SqliteLog::open_existing(dir.path()).unwrap();
    block_on(async {
        append(&log, head).await;
        assert_eq!(log.history(&flag(), None, 9).await.unwrap().len(), 3);
    });
    drop(log);
    assert_eq!(rows(dir.path(), "entry"), 3);
}
