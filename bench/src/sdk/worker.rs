//! What a view with many tenants costs the process of a service.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use plane_client::sdk::Context;

use super::{GIVE_UP, client};
use crate::child::{Server, TENANTS, resident_kib};
use crate::stats::{Row, human, percentile};

/// The argument that makes this program a worker.
pub const CHILD: &str = "--sdk-worker";

/// How many tenants a worker is asked for.
const ASKED: usize = 1_000;

/// Measures a worker's memory beside that of one without tenants.
pub(super) fn run() -> Result<Vec<Row>> {
    let (many, none) = (Server::start("tenants", 100)?, Server::start("ours", 100)?);
    let without = memory(&none, "eager", 0)?;
    let row = |what: &str, with: u64| {
        let more = with.saturating_sub(without) as f64;
        Row {
            what: format!("memory of a worker with 100 flags and {TENANTS} tenants, {what}"),
            ours: format!("{:.1} MiB, {:.0} B per tenant", with as f64 / 1_024.0, more * 1_024.0 / TENANTS as f64),
            floor: format!("{:.1} MiB without tenants", without as f64 / 1_024.0),
            ratio: format!("{:.2}", with as f64 / without as f64),
            budget: String::new(),
            met: None,
        }
    };
    Ok(vec![
        row("all of them held", memory(&many, "eager", ASKED)?),
        row(&format!("on demand, {ASKED} of them asked for"), memory(&many, "on_demand", ASKED)?),
    ])
}

/// What a worker holds that was asked for so many tenants, in KiB.
fn memory(server: &Server, tenants: &str, asked: usize) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([CHILD, &format!("http://{}", server.address), tenants, &asked.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("the worker has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(child.wait()?.success(), "the worker failed");
    line.trim().parse().with_context(|| format!("the worker said `{line}`"))
}

/// Holds a view, uses it, and says how much memory the process has, in KiB.
pub fn work(url: &str, tenants: &str, asked: usize) -> Result<()> {
    let plane = client(url).tenants(tenants.parse()?).build()?;
    plane.wait_ready(GIVE_UP)?;
    let mut times = Vec::with_capacity(asked);
    for tenant in 0..asked {
        let ctx = Context::new().with_tenant(&format!("tenant-{tenant}"));
        let begin = Instant::now();
        let tokens = plane.config("limits.tokens", &ctx)?;
        times.push(begin.elapsed());
        ensure!(tokens == tenant % 1_000, "{tenant} got {tokens}");
    }
    if asked > 0 {
        let share = |share| human(percentile(&mut times.clone(), share));
        eprintln!("{tenants}: first answer for a tenant {} (p99 {})", share(0.5), share(0.99));
    }
    println!("{}", resident_kib(std::process::id())?);
    Ok(())
}
