//! Measures our evaluator beside those of others, in process, in one run, and prints a table.
//!
//! Everybody is asked the same, in short turns, so that what else the machine does hits all of them. The
//! first half of a turn is not timed: it brings back what the others drove out of the caches. `cargo xtask bench flags` runs it from the repository's root; `--write FILE`
//! also puts the table into its section of the page.

mod count;
mod ours;
mod peers;
mod table;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::count::{Counting, allocations};
use crate::table::Figure;
use crate::workload::{Asked, Field, Workload};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often each evaluator has its turn.
const TURNS: usize = 41;
/// How long the timed half of a turn takes, about.
const TURN: Duration = Duration::from_millis(4);
/// How often an evaluator is asked while its allocations are counted.
const COUNTED: u32 = 2000;

fn main() -> Result<()> {
    let mut given = std::env::args().skip(1);
    let (mut write, mut only_ours) = (None, false);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--write" => write = Some(given.next().context("--write takes the path of a page")?),
            // For a profile.
            "--ours" => only_ours = true,
            other => anyhow::bail!("usage: cargo xtask bench flags [--ours] [--write PAGE], not `{other}`"),
        }
    }
    let mut field = Field::default();
    ours::enter(&mut field)?;
    if !only_ours {
        for (name, enter) in peers::ALL {
            enter(&mut field).with_context(|| format!("feeding {name}"))?;
        }
    }
    let mut figures = Vec::new();
    for workload in Workload::ALL {
        eprintln!("{} …", workload.title());
        let mut asked: Vec<&mut Asked> =
            field.asked.iter_mut().filter(|it| it.workload == workload).collect();
        figures.extend(measure(&mut asked)?);
    }
    let table = table::of(&figures);
    println!("{table}");
    if let Some(path) = write {
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, table::put(&page, &table)).with_context(|| format!("writing {path}"))?;
        eprintln!("wrote {path}");
    }
    Ok(())
}

/// Measures one workload, in turns.
fn measure(asked: &mut [&mut Asked]) -> Result<Vec<Figure>> {
    let mut times = vec![Vec::with_capacity(TURNS); asked.len()];
    let mut counts = Vec::new();
    let mut sizes = Vec::new();
    for it in asked.iter_mut() {
        let yes = (it.ask)(1) == 1;
        if let Some(expected) = it.workload.expected() {
            ensure!(yes == expected, "{} answers {yes} to: {}", it.engine, it.workload.title());
        }
        (it.ask)(COUNTED);
        let before = allocations();
        (it.ask)(COUNTED);
        counts.push((allocations() - before) as f64 / f64::from(COUNTED));
        sizes.push(size(it));
    }
    for _ in 0..TURNS {
        for ((it, size), times) in asked.iter_mut().zip(&sizes).zip(&mut times) {
            (it.ask)(*size);
            let begin = Instant::now();
            (it.ask)(*size);
            times.push(begin.elapsed().as_nanos() as f64 / f64::from(*size));
        }
    }
    let figures = asked.iter().zip(times).zip(counts).map(|((it, mut times), allocations)| {
        times.sort_unstable_by(f64::total_cmp);
        let ns = times[times.len() / 2];
        Figure { engine: it.engine, workload: it.workload, ns, allocations }
    });
    Ok(figures.collect())
}

/// How often to ask for a turn.
fn size(it: &mut Asked) -> u32 {
    let mut size = 16;
    loop {
        let begin = Instant::now();
        (it.ask)(size);
        let elapsed = begin.elapsed();
        if elapsed * 4 >= TURN || size >= 1 << 20 {
            let scale = TURN.as_secs_f64() / elapsed.as_secs_f64();
            return ((f64::from(size) * scale) as u32).max(1);
        }
        size *= 2;
    }
}
