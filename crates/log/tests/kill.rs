//! A process that is killed while it appends loses nothing that it acknowledged.
//!
//! Without a harness, because the test starts itself again as the process to kill.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use plane_log::conformance::{Draft, append_all, block_on, fake_hash};
use plane_log::{Bytes, ChangeLog, Checkpoint, DocumentKey, Head, LogId, ReadLimit, SqliteLog};

const WRITER: &str = "append-until-killed";

/// How many acknowledgements each writer gives before it is killed.
const ACKNOWLEDGED: [usize; 6] = [1, 2, 17, 40, 75, 120];

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(WRITER) {
        let dir = args.next().expect("the directory follows");
        block_on(append_until_killed(Path::new(&dir)));
    } else {
        what_was_acknowledged_survives_a_kill();
    }
}

fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut last_head = 0;
    for acknowledgements in ACKNOWLEDGED {
        let acknowledged = kill_after(dir.path(), acknowledgements);
        let log = SqliteLog::open_existing(dir.path()).expect("a killed log opens again");
        let head = block_on(verify(&log));
        assert!(
            head >= acknowledged,
            "revision {acknowledged} was acknowledged, {head} is left"
        );
        assert!(
            acknowledged >= last_head,
            "the writer went on after {last_head}"
        );
        last_head = head;
    }
    assert!(last_head >= ACKNOWLEDGED.iter().sum::<usize>() as u64);
    let kills = ACKNOWLEDGED.len();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "figure: {kills} kills of a process that appends: {last_head} revisions survived"
    )
    .expect("the output is open");
}

/// Starts a writer, kills it after so many acknowledgements, and returns the last revision it acknowledged.
fn kill_after(dir: &Path, acknowledgements: usize) -> u64 {
    let mut writer = Command::new(std::env::current_exe().expect("this program has a path"))
        .arg(WRITER)
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let mut lines = BufReader::new(writer.stdout.take().expect("the output is piped")).lines();
    let mut acknowledged = 0;
    for _ in 0..acknowledgements {
        let line = lines
            .next()
            .expect("the writer goes on")
            .expect("the output is text");
        acknowledged = line.parse().expect("a line is a revision");
    }
    writer.kill().expect("the writer can be killed");
    writer.wait().expect("the writer ends");
    // What it still managed to say before its end counts as acknowledged too; a torn last line does not.
    for line in lines.map_while(Result::ok) {
        acknowledged = line.parse().unwrap_or(0).max(acknowledged);
    }
    acknowledged
}

/// Appends runs of one to three entries and says after each how far the log goes.
async fn append_until_killed(dir: &Path) {
    let id = LogId::new("killed").expect("a plain id");
    let log = SqliteLog::open(dir, &id).expect("the log opens");
    let mut head = log.head().await.expect("the log has a head");
    loop {
        let mut run = Vec::new();
        let mut last = head;
        for n in 0..=head.revision % 3 {
            let key = DocumentKey::new("flag", "prod", format!("f{n}"));
            let bytes = (last.revision + 1).to_le_bytes().repeat(100);
            let entry = Draft::after(last).put(&key, &bytes).build();
            last = entry.head();
            run.push(entry);
        }
        head = append_all(&log, head, &run).await;
        writeln!(std::io::stdout(), "{}", head.revision).expect("the output is open");
        if head.revision % 10 == 0 {
            let bytes = Bytes::from(head.revision.to_le_bytes().repeat(1 << 17));
            let digest = fake_hash(&bytes);
            let checkpoint = Checkpoint {
                revision: head.revision,
                head: head.hash,
                digest,
                bytes,
            };
            log.put_checkpoint(checkpoint)
                .await
                .expect("the checkpoint is stored");
        }
    }
}

/// Follows the chain to its end, with every body and checkpoint, and returns the last revision.
async fn verify(log: &SqliteLog) -> u64 {
    assert_eq!(log.check().await, Ok(Vec::new()));
    let mut head = Head::GENESIS;
    let mut bodies = 0;
    loop {
        let page = log
            .read(head.revision, ReadLimit::default())
            .await
            .expect("the log reads");
        if page.is_empty() {
            break;
        }
        for entry in page {
            assert_eq!(
                (entry.revision, entry.parent),
                (head.revision + 1, head.hash)
            );
            head = entry.head();
        }
    }
    assert_eq!(log.head().await, Ok(head));
    let mut after = None;
    loop {
        let page = log
            .bodies_page(after, ReadLimit::records(100))
            .await
            .expect("bodies read");
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        bodies += page.iter().filter(|stored| stored.body.is_some()).count() as u64;
    }
    assert_eq!(bodies, head.revision, "each entry brought one body");
    for meta in log.checkpoints().await.expect("checkpoints list") {
        let stored = log
            .checkpoint(meta.revision)
            .await
            .expect("a checkpoint reads");
        assert_eq!(stored.map(|c| fake_hash(&c.bytes)), Some(meta.digest));
    }
    head.revision
}
