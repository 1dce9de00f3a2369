//! Starting, in a process of its own: how long it takes and how much memory it leaves.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use plane_log::ChangeLog;
use plane_node::Node;
use serde_json::{Value, json};

use super::make::open;
use super::{CHILD, mib, row};
use crate::platform::node;
use crate::stats::{Row, human, percentile};

/// How often a start from a checkpoint is measured.
const STARTS: usize = 5;

/// Starts a node on the installation in `dir`, and prints what that cost.
pub async fn child(dir: &Path) -> Result<()> {
    let empty = resident()?;
    let begin = Instant::now();
    let log = open(dir)?;
    let node = node(log).await?;
    let start = begin.elapsed();
    let (full, busy) = (resident()?, busy()?);
    let mut figures = figures(&node, start, full.saturating_sub(empty));
    figures["busy_us"] = (busy.as_micros() as u64).into();
    println!("{figures}");
    // The first start has read the whole log, and leaves a checkpoint for the next.
    node.shutdown().await;
    Ok(())
}

fn figures(node: &Node, start: Duration, resident: u64) -> Value {
    let snapshot = node.snapshot();
    let state = snapshot.state();
    let documents = state.len();
    let bytes: u64 = state.entries().map(|(_, entry)| entry.bytes.len() as u64).sum();
    let blobs: std::collections::BTreeMap<_, _> = state
        .entries()
        .filter_map(|(_, entry)| entry.document())
        .flat_map(|document| plane_state::named_blobs(document))
        .filter_map(|digest| Some((digest, state.blob(&digest)?.len() as u64)))
        .collect();
    json!({
        "start_us": start.as_micros() as u64,
        "resident": resident,
        "documents": documents,
        "stored": bytes + blobs.values().sum::<u64>(),
        "revision": snapshot.revision(),
    })
}

/// Bytes of memory that this process holds.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|it| it.trim().strip_suffix(" kB")).context("VmRSS")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}

/// How long processors have worked for this process: what else the machine does is not in it.
fn busy() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("times")?.parse::<u64>()?);
    // The kernel tells times in hundredths of a second, whatever it counts in itself.
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}

fn start(dir: &Path) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).arg(dir).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(figures: &Value, name: &str) -> Result<u64> {
    figures[name].as_u64().ok_or_else(|| anyhow!("the child process does not tell `{name}`"))
}

/// Measures a start with no checkpoint, then some with one.
pub async fn rows(dir: &Path) -> Result<Vec<Row>> {
    forget_checkpoints(dir).await?;
    let replay = start(dir)?;
    let took = Duration::from_micros(number(&replay, "start_us")?);
    let revision = number(&replay, "revision")?;
    let rate = revision as f64 / took.as_secs_f64();
    let mut rows =
        vec![row(format!("start by replaying all {revision} commits"), format!("{} ({rate:.0} commits/s)", human(took)))];
    rows.extend(from_checkpoint(dir)?);
    Ok(rows)
}

/// Measures some starts, of which the first may have no checkpoint.
pub fn from_checkpoint(dir: &Path) -> Result<Vec<Row>> {
    let (mut samples, mut work) = (Vec::new(), Vec::new());
    let mut last = start(dir)?;
    let revision = number(&last, "revision")?;
    let mut rows = Vec::new();
    for _ in 0..STARTS {
        last = start(dir)?;
        work.push(Duration::from_micros(number(&last, "busy_us")?));
        samples.push(Duration::from_micros(number(&last, "start_us")?));
    }
    let time = percentile(&mut samples, 0.5);
    let (documents, stored) = (number(&last, "documents")?, number(&last, "stored")?);
    rows.push(Row {
        budget: "≤ 1.5 s".to_owned(),
        met: Some(time <= Duration::from_millis(1_500)),
        ..row(
            format!("start from a checkpoint: {revision} commits, {documents} documents, views of 3 environments"),
            format!("{} ({} of processors' time)", human(time), human(percentile(&mut work, 0.5))),
        )
    });
    let (resident, budget) = (number(&last, "resident")?, 2 * stored + 256 * documents);
    rows.push(Row {
        floor: format!("{} stored", mib(stored)),
        ratio: format!("{:.2} of the budget", resident as f64 / budget as f64),
        budget: format!("≤ 2 × stored + 256 B per document = {}", mib(budget)),
        met: Some(resident <= budget),
        ..row("memory of state and views", mib(resident))
    });
    Ok(rows)
}

/// Erases a body that nothing refers to any more, which drops every checkpoint.
async fn forget_checkpoints(dir: &Path) -> Result<()> {
    let log = open(dir)?;
    if log.checkpoints().await?.is_empty() {
        return Ok(());
    }
    let key = plane_log::DocumentKey::new("config", "production.tenant=tenant-000001", "ai");
    for change in log.history(&key, None, usize::MAX).await?.into_iter().skip(1) {
        if let Some(plane_log::DigestRef::Body(digest)) = change.digest
            && log.erase(&digest).await?
        {
            return Ok(());
        }
    }
    eprintln!("no checkpoint was dropped: the replay starts from one");
    Ok(())
}
