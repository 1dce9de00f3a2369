//! Durable commits through the node, beside appending and syncing the same bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use plane_log::{LogId, SqliteLog};
use plane_model::{DocumentKey, Kind};
use plane_node::Node;
use plane_state::{Action, Change, Expect, Op};
use serde_json::json;

use crate::floor::Appender;
use crate::platform::{admin, command, node};
use crate::stats::{Row, human, percentile};

/// How many commits and floors are measured, in turns.
const ROUNDS: usize = 1_000;
/// How long many writers write.
const CROWD: Duration = Duration::from_secs(5);
const WRITERS: usize = 64;

/// Measures one writer and many.
pub async fn run() -> Result<Vec<Row>> {
    let dir = tempfile::tempdir_in(".")?;
    let log = Arc::new(SqliteLog::open(dir.path(), &LogId::new("bench")?)?);
    let node = node(log).await?;
    let single = single(&node, dir.path()).await?;
    let crowd = crowd(&node, dir.path()).await?;
    let batch = batch(&node).await?;
    node.shutdown().await;
    Ok(vec![single, crowd, batch])
}

fn put(name: &str, value: usize) -> Result<Op> {
    let key = DocumentKey::new(Kind::Segment, "", name)
        .map_err(|error| anyhow::anyhow!(error.to_string()))?;
    let change = Change::Put(json!({ "include": [format!("unit-{value}")] }));
    Ok(Op { key, change, expect: Expect::Any })
}

async fn one(node: &Node, name: &str, value: usize) -> Result<u64> {
    let commit = command(Action::Write, vec![put(name, value)?])?;
    Ok(node.commit(&admin()?, commit).await?.revision)
}

async fn single(node: &Node, dir: &std::path::Path) -> Result<Row> {
    // A record with one small document and its body has about this many bytes.
    let mut floor = Appender::new(dir, 640)?;
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let begin = Instant::now();
        one(node, "single", round).await?;
        ours.push(begin.elapsed());
        floors.push(floor.append()?);
    }
    let (p50, floor50) = (percentile(&mut ours, 0.5), percentile(&mut floors, 0.5));
    let ratio = p50.as_secs_f64() / floor50.as_secs_f64();
    let p99 = percentile(&mut ours, 0.99);
    Ok(Row {
        what: "durable commit, one writer, p50".to_owned(),
        ours: format!("{} (p99 {})", human(p50), human(p99)),
        floor: format!("{} fdatasync", human(floor50)),
        ratio: format!("{ratio:.2}"),
        budget: "≤ 1.5".to_owned(),
        met: Some(ratio <= 1.5),
    })
}

async fn crowd(node: &Node, dir: &std::path::Path) -> Result<Row> {
    let mut floor = Appender::new(dir, 640)?;
    let begin = Instant::now();
    let mut syncs = 0_u32;
    while begin.elapsed() < Duration::from_secs(1) {
        floor.append()?;
        syncs += 1;
    }
    let syncs = f64::from(syncs) / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let node = node.clone();
        writers.spawn(async move {
            let mut commits = 0_u64;
            while begin.elapsed() < CROWD {
                one(&node, &format!("writer-{writer}"), commits as usize).await?;
                commits += 1;
            }
            anyhow::Ok(commits)
        });
    }
    let mut commits = 0;
    while let Some(done) = writers.join_next().await {
        commits += done??;
    }
    let rate = commits as f64 / begin.elapsed().as_secs_f64();
    Ok(Row {
        what: format!("durable commits per second, {WRITERS} writers"),
        ours: format!("{rate:.0}/s"),
        floor: format!("{syncs:.0} fdatasync/s"),
        ratio: format!("{:.2}", rate / syncs),
        budget: "≥ 2 × etcd in the same run (etcd is not in this run yet)".to_owned(),
        met: None,
    })
}

async fn batch(node: &Node) -> Result<Row> {
    const SIZE: usize = 5_000;
    let mut best = f64::MAX;
    for round in 0..5 {
        let ops: Vec<_> =
            (0..SIZE).map(|index| put(&format!("batch-{index}"), round)).collect::<Result<_>>()?;
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
