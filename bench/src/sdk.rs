//! The SDK in the process of a service: how soon it calls back, what it costs a worker, and what
//! becomes of many of them when their server dies.

mod herd;
mod worker;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use plane_client::ControlPlane;
use plane_client::sdk::{Builder, Update};

use crate::child::{Server, flag_name, open_many_files, targeting};
use crate::commit::RECORD;
use crate::http::Client;
use crate::peers::Etcd;
use crate::platform::TOKEN;
use crate::stats::{Row, human, percentile};
use crate::streams::commit;

pub use herd::CHILD as HERD_CHILD;
pub use worker::CHILD as WORKER_CHILD;
pub use {herd::serve as herd_server, worker::work};

/// How many commits a client is called back for, how many of them between as many puts of etcd, and how many flags
/// its view has.
const COMMITS: usize = 2_000;
const TURN: usize = 100;
const FLAGS: usize = 10_000;
/// How long something may take before the run is given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Measures all of it.
pub fn run() -> Result<Vec<Row>> {
    open_many_files()?;
    let mut rows = vec![callback()?];
    rows.extend(worker::run()?);
    rows.extend(herd::run()?);
    Ok(rows)
}

/// A client of a server, in production.
fn client(url: &str) -> Builder {
    ControlPlane::builder().url(url).token(TOKEN).environment("production").service("bench")
}

/// How long a commit is on its way to a callback in the process of a service, in turns with etcd's put to watch.
fn callback() -> Result<Row> {
    let runtime = tokio::runtime::Handle::current();
    let etcd = runtime.block_on(Etcd::start())?;
    let mut watch = runtime.block_on(etcd.watch())?;
    let server = Server::start("ours", FLAGS)?;
    let plane = client(&format!("http://{}", server.address)).build()?;
    plane.wait_ready(GIVE_UP)?;
    let (told, updates) = mpsc::channel();
    let tell = move |update: &Update| told.send((Instant::now(), update.revision)).unwrap_or_default();
    plane.default_environment()?.watch_revision(tell)?.keep();
    let mut writer = Client::connect(server.address)?;
    let (mut ours, mut theirs) = (Vec::with_capacity(COMMITS), Vec::with_capacity(COMMITS));
    let mut last = plane.snapshot()?.revision();
    for turn in 0..COMMITS / TURN {
        for round in turn * TURN..(turn + 1) * TURN {
            let body = commit("production", &flag_name(round % FLAGS), targeting(round + 1).to_string());
            let begin = Instant::now();
            writer.send("/v1/commits", &body)?;
            let (at, revision) = updates.recv_timeout(GIVE_UP).context("nobody was called back")?;
            ours.push(at.saturating_duration_since(begin));
            writer.receive()?;
            anyhow::ensure!(revision == last + 1, "called back for revision {revision} after {last}");
            last = revision;
        }
        for _ in 0..TURN {
            theirs.push(runtime.block_on(watch.put(&RECORD))?);
        }
    }
    let [(p50, p99), (etcd_p50, etcd_p99)] =
        [&mut ours, &mut theirs].map(|it| (percentile(it, 0.5), percentile(it, 0.99)));
    Ok(Row {
        what: format!("commit begun → callback in the Rust SDK, {FLAGS} flags in the view"),
        ours: format!("{} (p99 {})", human(p50), human(p99)),
        floor: format!("{} (p99 {}) etcd put begun → at a watcher", human(etcd_p50), human(etcd_p99)),
        ratio: format!("{:.2}", p50.as_secs_f64() / etcd_p50.as_secs_f64()),
        budget: "p50 ≤ etcd's, p99 ≤ 10 ms".to_owned(),
        met: Some(p50 <= etcd_p50 && p99 <= Duration::from_millis(10)),
    })
}
