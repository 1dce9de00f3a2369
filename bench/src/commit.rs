//! Durable commits through the node, beside appending and syncing the same bytes, etcd, and SQLite as it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use etcd_client::Client;
use plane_log::{LogId, SqliteLog};
use plane_model::{DocumentKey, Kind};
use plane_node::Node;
use plane_state::{Action, Change, Expect, Op};
use serde_json::json;

use crate::floor::Appender;
use crate::peers::{Etcd, Sqlite};
use crate::platform::{admin, command, node};
use crate::stats::{Row, human, percentile};

/// How many commits and floors are measured, in turns.
const ROUNDS: usize = 1_000;
/// A record with one small document and its body has about this many bytes.
pub const RECORD: [u8; 640] = [b'x'; 640];
/// How often and how long many writers write, in turns with etcd.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_secs(2);
const WRITERS: usize = 64;

/// Measures one writer and many.
pub async fn run() -> Result<Vec<Row>> {
    let dir = tempfile::tempdir_in(".")?;
    let log = Arc::new(SqliteLog::open(dir.path(), &LogId::new("bench")?)?);
    let node = node(log).await?;
    let etcd = Etcd::start().await?;
    // In a task of the runtime, as requests are: the main thread would be handed each answer.
    let one_writer = single(node.clone(), etcd.client().await?, dir.path().to_owned());
    let mut rows = tokio::spawn(one_writer).await??;
    rows.push(crowd(&node, &etcd).await?);
    drop(etcd);
    rows.push(batch(&node).await?);
    node.shutdown().await;
    Ok(rows)
}

fn put(name: &str, value: usize) -> Result<Op> {
    let key = DocumentKey::new(Kind::Segment, "", name)
        .map_err(|error| anyhow::anyhow!(error.to_string()))?;
    let change = Change::Put(json!({ "include": [format!("unit-{value}")] }));
    Ok(Op {
        key,
        change,
        expect: Expect::Any,
    })
}

async fn one(node: &Node, name: &str, value: usize) -> Result<u64> {
    let commit = command(Action::Write, vec![put(name, value)?])?;
    Ok(node.commit(&admin()?, commit).await?.revision)
}

async fn single(node: Node, mut etcd: Client, dir: PathBuf) -> Result<Vec<Row>> {
    let mut floor = Appender::new(&dir, RECORD.len())?;
    let sqlite = Sqlite::new(&dir)?;
    let [mut ours, mut floors, mut puts, mut inserts] = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        let begin = Instant::now();
        one(&node, "single", round).await?;
        ours.push(begin.elapsed());
        floors.push(floor.append()?);
        inserts.push(sqlite.insert(&RECORD)?);
        let begin = Instant::now();
        etcd.put(format!("key-{}", round % 100), RECORD, None).await?;
        puts.push(begin.elapsed());
    }
    let p50 = percentile(&mut ours, 0.5);
    let p99 = percentile(&mut ours, 0.99);
    let row = |beside: &mut [Duration], what: &str, budget: Option<f64>| {
        let floor50 = percentile(beside, 0.5);
        let ratio = p50.as_secs_f64() / floor50.as_secs_f64();
        Row {
            what: "durable commit, one writer, p50".to_owned(),
            ours: format!("{} (p99 {})", human(p50), human(p99)),
            floor: format!(
                "{} (p99 {}) {what}",
                human(floor50),
                human(percentile(beside, 0.99))
            ),
            ratio: format!("{ratio:.2}"),
            budget: budget.map_or_else(String::new, |most| format!("≤ {most}")),
            met: budget.map(|most| ratio <= most),
        }
    };
    Ok(vec![
        row(&mut floors, "fdatasync", Some(1.5)),
        row(&mut inserts, "SQLite, one insert", None),
        row(&mut puts, "etcd put", None),
    ])
}

async fn crowd(node: &Node, etcd: &Etcd) -> Result<Row> {
    let (mut commits, mut puts) = (0.0, 0.0);
    for _ in 0..TURNS {
        commits += commits_per_second(node).await?;
        puts += puts_per_second(etcd).await?;
    }
    let (commits, puts) = (commits / TURNS as f64, puts / TURNS as f64);
    let ratio = commits / puts;
    Ok(Row {
        what: format!("durable commits per second, {WRITERS} writers"),
        ours: format!("{commits:.0}/s"),
        floor: format!("{puts:.0}/s etcd puts"),
        ratio: format!("{ratio:.2}"),
        budget: "≥ 2".to_owned(),
        met: Some(ratio >= 2.0),
    })
}

async fn commits_per_second(node: &Node) -> Result<f64> {
    let begin = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let node = node.clone();
        writers.spawn(async move {
            let mut commits = 0_u64;
            while begin.elapsed() < TURN {
                // No turn writes what the turn before wrote.
                let value = begin.elapsed().as_nanos() as usize;
                one(&node, &format!("writer-{writer}"), value).await?;
                commits += 1;
            }
            anyhow::Ok(commits)
        });
    }
    Ok(sum(writers).await? as f64 / begin.elapsed().as_secs_f64())
}

async fn puts_per_second(etcd: &Etcd) -> Result<f64> {
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(etcd.client().await?);
    }
    let begin = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for (writer, mut client) in clients.into_iter().enumerate() {
        writers.spawn(async move {
            let mut puts = 0_u64;
            while begin.elapsed() < TURN {
                client.put(format!("writer-{writer}"), RECORD, None).await?;
                puts += 1;
            }
            anyhow::Ok(puts)
        });
    }
    Ok(sum(writers).await? as f64 / begin.elapsed().as_secs_f64())
}

async fn sum(mut writers: tokio::task::JoinSet<Result<u64>>) -> Result<u64> {
    let mut sum = 0;
    while let Some(done) = writers.join_next().await {
        sum += done??;
    }
    Ok(sum)
}

async fn batch(node: &Node) -> Result<Row> {
    const SIZE: usize = 5_000;
    let mut best = f64::MAX;
    for round in 0..5 {
        let ops: Vec<_> = (0..SIZE)
            .map(|index| put(&format!("batch-{index}"), round))
            .collect::<Result<_>>()?;
        let begin = Instant::now();
        node.commit(&admin()?, command(Action::Write, ops)?).await?;
        best = best.min(begin.elapsed().as_secs_f64());
    }
    let rate = SIZE as f64 / best;
    Ok(Row {
        what: format!("documents per second in batches of {SIZE}"),
        ours: format!("{rate:.0}/s"),
        floor: String::new(),
        ratio: String::new(),
        budget: "≥ 20,000/s".to_owned(),
        met: Some(rate >= 20_000.0),
    })
}
