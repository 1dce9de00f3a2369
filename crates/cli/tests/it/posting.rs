//! The journal is posted to the tables in transactions larger than a commit's: they are killed at any write, and meet a
//! disk that is full or broken. Every commit that was acknowledged is there afterwards, once.

use std::io;
use std::sync::Mutex;

use serde_json::json;

use crate::faulty::Faulty;
use crate::http::{Connection, Reply};
use crate::support::{copy, figure, offline, try_start};

/// How many bytes in the journal have some of it posted.
const POSTED_FROM_BYTES: i64 = 2 << 20;
/// How many entries in the journal have some of it posted.
const POSTED_FROM_ENTRIES: i64 = 1_024;
/// A commit of so many large documents, 170 KiB, still goes through the journal, by less writes than [`SPARED`].
const JOURNALED: usize = 12;
/// A commit of so many goes to the tables at once, with all that is in the journal.
const POSTED_AT_ONCE: usize = 30;
/// So many writes and a commit of [`JOURNALED`] documents are through; a posting of one takes half as many again.
const SPARED: u32 = 150;

/// Commits the number `number` of the counter, and large documents with it.
fn commit(connection: &mut Connection, number: u32, documents: usize) -> io::Result<Reply> {
    let mut ops = vec![json!({
        "op": "put", "kind": "segment", "name": "counter", "body": { "include": [number.to_string()] }
    })];
    for document in 0..documents {
        let ids: Vec<_> = (0..600)
            .map(|id| format!("user-{number:07}-{id:07}"))
            .collect();
        ops.push(json!({
            "op": "put", "kind": "segment", "name": format!("large-{document}"), "body": { "include": ids }
        }));
    }
    let key = format!("idempotency-key: key-{number}\r\n");
    let body = json!({ "ops": ops }).to_string();
    connection.ask("POST", "/v1/commits", &key, &body)
}

/// How many rows and bytes are in the journal, as a process that ends now would leave it.
fn journal(faulty: &Faulty) -> (i64, i64) {
    let copied = faulty.server.path("copy");
    copy(&faulty.server.path("data"), &copied);
    let db = rusqlite::Connection::open(copied.join("log.db")).unwrap();
    let sql = "SELECT count(*), coalesce(sum(length(entries)), 0) FROM journal";
    db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

/// How many commits are in the journal and not in the tables, as a process that ends now would leave it.
fn unposted(faulty: &Faulty) -> i64 {
    let copied = faulty.server.path("copy");
    copy(&faulty.server.path("data"), &copied);
    let posted: i64 = {
        let db = rusqlite::Connection::open(copied.join("log.db")).unwrap();
        let sql = "SELECT coalesce(max(revision), 0) FROM entry";
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    i64::try_from(try_start(&copied).unwrap()).unwrap() - posted
}

fn revision(faulty: &Faulty) -> u64 {
    let reply = faulty.connection().get("/readyz").unwrap();
    reply.body["revision"].as_u64().unwrap()
}

fn held(faulty: &Faulty) -> u32 {
    faulty.held().parse().unwrap_or(0)
}

fn verify(faulty: &mut Faulty) {
    assert_eq!(faulty.server.stop(), Some(0));
    assert_eq!(journal(faulty).0, 0, "a clean end posts the rest");
    let data = faulty.server.path("data");
    offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
}

/// Commits numbers until the server is killed: the last that was acknowledged.
fn commit_until_killed(faulty: &Faulty, documents: impl Fn(u32) -> usize) -> u32 {
    let mut connection = faulty.connection();
    let first = held(faulty) + 1;
    // Four times what the journal takes before it is posted.
    for number in first..first + 50 {
        match commit(&mut connection, number, documents(number)) {
            Ok(reply) => assert_eq!(reply.status, 200, "{reply:?}"),
            Err(_) => return number - 1,
        }
    }
    panic!("the server was not killed");
}

/// Starts a killed server again without the fault, and sends what may have been under way.
fn go_on(faulty: &mut Faulty, acknowledged: u32, what: &str) {
    faulty.server.kill();
    faulty.fault("");
    faulty.server.restart_stopped(false);
    let held_now = held(faulty);
    assert!(
        (acknowledged..=acknowledged + 1).contains(&held_now),
        "{what}: {held_now} is there, {acknowledged} was acknowledged"
    );
}

#[test]
fn a_kill_at_any_write_of_a_posting_loses_nothing_and_repeats_nothing() {
    let mut faulty = Faulty::start();
    let first = revision(&faulty);
    let mut kills = 1;
    for spared in (SPARED..SPARED + 60).step_by(6) {
        faulty.fault(&format!("killed {spared}"));
        let acknowledged = commit_until_killed(&faulty, |_| JOURNALED);
        let (_, bytes) = journal(&faulty);
        assert!(
            bytes >= POSTED_FROM_BYTES,
            "killed within a posting: {bytes} bytes wait"
        );
        go_on(&mut faulty, acknowledged, &format!("{spared} writes"));
        kills += 1;
    }
    // Posted, flushed, and killed before anybody learned of it.
    faulty.fault(&format!("flushed {SPARED}"));
    let acknowledged = commit_until_killed(&faulty, |_| JOURNALED);
    let (rows, bytes) = journal(&faulty);
    assert!(
        rows > 0 && bytes < POSTED_FROM_BYTES,
        "{rows} rows, {bytes} bytes wait"
    );
    go_on(&mut faulty, acknowledged, "a flush");
    let commits = u64::from(held(&faulty));
    assert_eq!(
        revision(&faulty) - first,
        commits,
        "every number is one commit"
    );
    verify(&mut faulty);
    figure(&format!(
        "{kills} kills within postings: {commits} commits, 0 lost, 0 twice"
    ));
}

#[test]
fn a_kill_of_a_run_that_goes_to_the_tables_at_once_leaves_all_before_it() {
    let mut faulty = Faulty::start();
    let first = revision(&faulty);
    for (fault, spared) in [
        ("killed", 160),
        ("killed", 200),
        ("killed", 240),
        ("flushed", SPARED),
    ] {
        let what = format!("{fault} {spared}");
        let small = held(&faulty) + 4;
        faulty.fault(&what);
        let documents = |number| if number < small { 1 } else { POSTED_AT_ONCE };
        let acknowledged = commit_until_killed(&faulty, documents);
        assert_eq!(acknowledged, small - 1, "{what}");
        assert_eq!(journal(&faulty).0 > 0, fault == "killed", "{what}");
        go_on(&mut faulty, acknowledged, &what);
        let is_there = fault == "flushed";
        assert_eq!(held(&faulty) == small, is_there, "{what}");
        // Sent again with its key, it is there once, whether or not it was.
        let reply = commit(&mut faulty.connection(), small, POSTED_AT_ONCE).unwrap();
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
        assert_eq!(held(&faulty), small, "{what}");
    }
    let commits = u64::from(held(&faulty));
    assert_eq!(
        revision(&faulty) - first,
        commits,
        "every number is one commit"
    );
    verify(&mut faulty);
}

/// What one of several writers sent last, and what of it was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    acknowledged: u64,
    begun: u64,
}

#[test]
fn a_kill_while_the_commits_of_many_are_posted_loses_nothing() {
    const WRITERS: usize = 4;
    let mut faulty = Faulty::start();
    let first = revision(&faulty);
    let sent: Vec<Mutex<Sent>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    for spared in (60..160).step_by(20) {
        faulty.fault(&format!("killed {spared}"));
        std::thread::scope(|scope| {
            for (writer, sent) in sent.iter().enumerate() {
                let mut connection = faulty.connection();
                scope.spawn(move || {
                    loop {
                        let mut now = *sent.lock().unwrap();
                        // What was under way when the server was killed is sent again, with its key.
                        now.begun = now.acknowledged + 1;
                        *sent.lock().unwrap() = now;
                        let (key, number) = (format!("w{writer}-{}", now.begun), now.begun);
                        let segment = format!("w{writer}");
                        match connection.commit(&key, &segment, &number.to_string()) {
                            Ok(reply) => assert_eq!(reply.status, 200, "{reply:?}"),
                            Err(_) => return,
                        }
                        sent.lock().unwrap().acknowledged = number;
                    }
                });
            }
        });
        let entries = unposted(&faulty);
        assert!(
            entries >= POSTED_FROM_ENTRIES,
            "killed within a posting: {entries} entries wait"
        );
        faulty.server.kill();
        faulty.fault("");
        faulty.server.restart_stopped(false);
        let mut connection = faulty.connection();
        for (writer, sent) in sent.iter().enumerate() {
            let sent = *sent.lock().unwrap();
            let reply = connection.get(&format!("/v1/segments/w{writer}")).unwrap();
            let held = reply.body["body"]["include"][0].as_str();
            let held: u64 = held.map_or(0, |it| it.parse().unwrap());
            assert!(
                (sent.acknowledged..=sent.begun).contains(&held),
                "{spared} writes, writer {writer}: {sent:?}, but {held} is there"
            );
        }
    }
    let mut total = 0;
    for (writer, sent) in sent.iter().enumerate() {
        let sent = *sent.lock().unwrap();
        let (key, number) = (format!("w{writer}-{}", sent.begun), sent.begun.to_string());
        let reply = faulty
            .connection()
            .commit(&key, &format!("w{writer}"), &number);
        assert_eq!(reply.unwrap().status, 200);
        total += sent.begun;
    }
    assert_eq!(
        revision(&faulty) - first,
        total,
        "every number is one commit"
    );
    verify(&mut faulty);
    figure(&format!(
        "5 kills within postings, {WRITERS} writers: {total} commits, 0 lost, 0 twice"
    ));
}

#[test]
fn commits_go_on_while_the_journal_cannot_be_posted_and_survive_a_kill() {
    for fault in ["full", "broken", "unsynced"] {
        let mut faulty = Faulty::start();
        faulty.fault(&format!("{fault} {SPARED}"));
        let mut connection = faulty.connection();
        for number in 1..=16 {
            let reply = commit(&mut connection, number, JOURNALED).unwrap();
            assert_eq!(reply.status, 200, "{fault}, {number}: {reply:?}");
        }
        let (rows, bytes) = journal(&faulty);
        // What was not flushed may have reached the disk all the same.
        assert!(
            (rows >= 16 && bytes > POSTED_FROM_BYTES) || fault == "unsynced",
            "{fault}: {rows} rows, {bytes} bytes"
        );
        faulty.reads_go_on();
        assert_eq!(held(&faulty), 16, "{fault}");
        // What needs the tables is answered as if they had it all.
        let history = connection.get("/v1/commits?kind=segment&limit=3").unwrap();
        assert_eq!(history.status, 200, "{fault}: {history:?}");
        assert_eq!(
            history.body["items"][0]["revision"].as_u64(),
            Some(revision(&faulty)),
            "{fault}: {history:?}"
        );
        // A run for the tables has no other way.
        let reply = commit(&mut connection, 17, POSTED_AT_ONCE).unwrap();
        let (status, code) = match fault {
            "full" => (507, "STORE_FULL"),
            _ => (503, "STORE_UNAVAILABLE"),
        };
        assert_eq!(
            (reply.status, reply.body["code"].as_str()),
            (status, Some(code)),
            "{fault}: {reply:?}"
        );
        assert!(reply.body["next"].is_string(), "{fault}: {reply:?}");
        assert_eq!(held(&faulty), 16, "{fault}: what was refused is not there");
        let reply = commit(&mut connection, 18, 1).unwrap();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        let reached = revision(&faulty);
        faulty.server.kill();
        faulty.fault("");
        faulty.server.restart_stopped(false);
        assert_eq!((held(&faulty), revision(&faulty)), (18, reached), "{fault}");
        let reply = commit(&mut faulty.connection(), 19, POSTED_AT_ONCE).unwrap();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(journal(&faulty).0, 0, "{fault}: all is in the tables again");
        verify(&mut faulty);
    }
}

#[test]
fn a_journal_at_its_end_refuses_commits_until_there_is_space_for_the_tables() {
    let mut faulty = Faulty::start();
    faulty.fault(&format!("full {SPARED}"));
    let mut connection = faulty.connection();
    let mut acknowledged = 0;
    let refused = loop {
        let reply = commit(&mut connection, acknowledged + 1, JOURNALED).unwrap();
        if reply.status != 200 {
            break reply;
        }
        acknowledged += 1;
        assert!(acknowledged < 400, "the journal grows without an end");
    };
    assert_eq!(
        (refused.status, refused.body["code"].as_str()),
        (507, Some("STORE_FULL")),
        "{refused:?}"
    );
    let (_, bytes) = journal(&faulty);
    assert!((32 << 20..33 << 20).contains(&bytes), "{bytes} bytes wait");
    faulty.reads_go_on();
    assert_eq!(held(&faulty), acknowledged);
    faulty.fault("");
    let reply = commit(&mut connection, acknowledged + 1, JOURNALED).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(held(&faulty), acknowledged + 1);
    verify(&mut faulty);
    figure(&format!(
        "a journal of {bytes} bytes at its end: {acknowledged} commits acknowledged, 0 lost"
    ));
}
