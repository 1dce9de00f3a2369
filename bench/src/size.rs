//! What a large installation costs: start, memory, lists, the past, and what one commit touches.

mod ask;
mod changes;
mod make;
mod preview;
mod start;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use plane_log::ChangeLog;
use plane_model::Kind;
use plane_node::Node;
use plane_state::{Action, reconcile};
use tokio::net::TcpListener;

use self::ask::Asker;
use self::make::{Size, open, put, tool};
pub use self::start::child;
use crate::platform::{admin, command, node};
use crate::stats::{Row, human, percentile};

/// The argument that makes a process start one node, tell its figures and end.
pub const CHILD: &str = "size-start";

/// Measures an installation of the design's size, and one of a tenth of it; both stay in `dir` if there is one.
pub async fn run(dir: Option<&Path>) -> Result<Vec<Row>> {
    let scratch = tempfile::tempdir_in(".")?;
    let dir = dir.map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let (full, tenth) = (dir.join("full"), dir.join("tenth"));
    for (dir, size) in [(&tenth, Size::TENTH), (&full, Size::FULL)] {
        let begin = Instant::now();
        if make::make(dir, size).await? {
            eprintln!("made {} in {}", dir.display(), human(begin.elapsed()));
        }
    }
    let mut rows = Vec::new();
    let mut keep = |part: Vec<Row>| {
        for row in &part {
            eprintln!("{}", row.line());
        }
        rows.extend(part);
    };
    keep(start::rows(&full).await?);
    let small = changes::measure(&tenth).await?;
    let large = changes::measure(&full).await?;
    keep(changes::rows(&small, &large));
    keep(serving(&full).await?);
    keep(trees(&full).await?);
    Ok(rows)
}

/// The parts of it, each to be measured or profiled alone.
pub const PARTS: [&str; 8] =
    ["replay", "starts", "changes", "serving", "verify", "compare", "publish", "preview"];

/// One part alone, of the installation in `dir`.
pub async fn part(part: &str, dir: &Path) -> Result<Vec<Row>> {
    match part {
        "replay" => start::rows(dir).await,
        "changes" => {
            let small = changes::measure(&dir.with_file_name("tenth")).await?;
            Ok(changes::rows(&small, &changes::measure(dir).await?))
        }
        "verify" => Ok(vec![verifying(&*open(dir)?).await?]),
        "serving" => serving(dir).await,
        "compare" => {
            let node = node(open(dir)?).await?;
            Ok(vec![no_change(&node).await?])
        }
        "publish" => {
            let node = node(open(dir)?).await?;
            Ok(vec![publishing(&node).await?])
        }
        "preview" => Ok(vec![preview::measure(&node(open(dir)?).await?).await?]),
        "starts" => start::from_checkpoint(dir),
        _ => anyhow::bail!("there is no part `{part}` of size: {}", PARTS.join(", ")),
    }
}

fn row(what: impl Into<String>, ours: impl Into<String>) -> Row {
    Row {
        what: what.into(),
        ours: ours.into(),
        floor: String::new(),
        ratio: String::new(),
        budget: String::new(),
        met: None,
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Lists, the past and views, as a client gets them.
async fn serving(dir: &Path) -> Result<Vec<Row>> {
    let node = node(open(dir)?).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let options = plane_server::ServerOptions::default();
    let shutdown = options.shutdown.clone();
    let router = plane_server::router(node.clone(), options.clone());
    let server = tokio::spawn(plane_server::serve(listener, router, options));
    let head = node.snapshot().revision();
    let rows = tokio::task::spawn_blocking(move || ask_all(&mut Asker::connect(address)?, head)).await?;
    // The log stays open for as long as anything serves from it.
    shutdown.begin();
    server.await?;
    node.shutdown().await;
    rows
}

fn ask_all(asker: &mut Asker, head: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, first, deep) in [
        ("tenants", "/v1/tenants", "/v1/tenants?cursor=%7Ctenant-090000"),
        ("layers of a config document", "/v1/config/ai/layers", "/v1/config/ai/layers?cursor=production.tenant%3Dtenant-090000%7Cai"),
    ] {
        let (first, deep) = (asker.p50(first, 51)?, asker.p50(deep, 51)?);
        let ratio = deep.as_secs_f64() / first.as_secs_f64();
        rows.push(Row {
            ratio: format!("{ratio:.1} × the first page"),
            ..row(format!("a page of 100 {what} deep in"), format!("{} (first page {})", human(deep), human(first)))
        });
    }
    let past = format!("/v1/flags?at={}", head / 2);
    let begin = Instant::now();
    asker.get(&past, false)?;
    let first = begin.elapsed();
    let again = asker.p50(&past, 21)?;
    rows.push(row("`?at=` half of the revisions ago, first time", human(first)));
    rows.push(row("`?at=` the same revision again", human(again)));
    for (what, path) in [
        ("who uses a tenant", "uses/tenant/tenant-050000"),
        ("who uses a segment", "uses/segment/segment-7"),
        ("who uses a flag", "uses/flag/team-5.flag-05000"),
        ("who uses a tool", "uses/tool/tool-007"),
        ("a page of 100 stale flags", "stale-flags"),
    ] {
        let time = asker.p50(&format!("/v1/environments/production/{path}"), 21)?;
        rows.push(row(format!("{what}, p50"), human(time)));
    }
    let view = "/v1/environments/production/view";
    let begin = Instant::now();
    let plain = asker.get(view, false)?;
    let first = begin.elapsed();
    let begin = Instant::now();
    let packed = asker.get(view, true)?;
    let packing = begin.elapsed();
    rows.push(row("view of production, plain", format!("{}, made in {}", mib(plain), human(first))));
    rows.push(row("view of production, zstd", format!("{}, packed in {}", mib(packed), human(packing))));
    let begin = Instant::now();
    let tree = asker.get("/v1/trees", false)?;
    rows.push(row("export of the whole tree", format!("{}, {}", human(begin.elapsed()), mib(tree))));
    Ok(rows)
}

/// Verifying, applying a tree that changes nothing, publishing.
async fn trees(dir: &Path) -> Result<Vec<Row>> {
    let log = open(dir)?;
    let verified = verifying(&*log).await?;
    let node = node(log).await?;
    let rows =
        vec![verified, no_change(&node).await?, publishing(&node).await?, preview::measure(&node).await?];
    node.shutdown().await;
    Ok(rows)
}

async fn verifying(log: &dyn ChangeLog) -> Result<Row> {
    let begin = Instant::now();
    let proof = plane_node::verify(log, &mut |_| ()).await?;
    let took = begin.elapsed();
    anyhow::ensure!(proof.damages.is_empty(), "{:?}", proof.damages.first());
    let rate = proof.records as f64 / took.as_secs_f64();
    Ok(row("`log verify`", format!("{rate:.0} records/s ({} in {})", proof.records, human(took))))
}

async fn no_change(node: &Node) -> Result<Row> {
    let snapshot = node.snapshot();
    let documents: Vec<_> = snapshot
        .state()
        .entries()
        .filter(|(key, _)| !matches!(key.kind(), Kind::Token | Kind::Kill | Kind::Agent | Kind::Tool))
        .filter_map(|(key, entry)| Some((key.clone(), entry.document()?.to_value())))
        .collect();
    let count = documents.len();
    let options = reconcile::Options { take_over: true, ..Default::default() };
    let begin = Instant::now();
    let found = reconcile::reconcile(snapshot.state(), &documents, options)
        .map_err(|it| anyhow!("{:?}", it.violations.first()))?;
    let took = begin.elapsed();
    let put = found.ops.len();
    Ok(row(
        format!("comparing a tree of {count} documents with the state"),
        format!("{} ({put} to adopt)", human(took)),
    ))
}

async fn publishing(node: &Node) -> Result<Row> {
    let ops = (0..1_000)
        .map(|at| {
            let mut body = tool(at);
            body["name"] = format!("new-tool-{at:04}").into();
            put(Kind::Tool, "", &format!("new-tool-{at:04}@1.0.0"), body)
        })
        .collect::<Result<Vec<_>>>()?;
    let command = command(Action::Write, ops)?;
    let scope = admin()?;
    let mut samples = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let plan = node.plan(&scope, command.clone()).await?;
        samples.push(begin.elapsed());
        anyhow::ensure!(plan.changes.len() == 1_000, "{} manifests are new", plan.changes.len());
    }
    let time = percentile(&mut samples, 0.5);
    let budget = Duration::from_secs(2);
    Ok(Row {
        budget: "≤ 2 s".to_owned(),
        met: Some(time <= budget),
        ..row("publish checks of 1,000 manifests in a batch", human(time))
    })
}
