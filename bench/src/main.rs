//! Measures the control plane beside the floor of the machine, in one run, and prints a table.
//!
//! Each figure and its floor are measured in turns, so that what else the machine does hits both.
//! `cargo xtask bench` runs it from the repository's root; `--write FILE` also writes the table.

mod commit;
mod floor;
mod http;
mod platform;
mod resolve;
mod stats;

use std::fmt::Write as _;

use anyhow::{Context, Result};
use stats::Row;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = match arguments.as_slice() {
        [] => None,
        [flag, path] if flag == "--write" => Some(path),
        _ => anyhow::bail!("usage: cargo xtask bench [--write FILE]"),
    };
    let mut rows: Vec<Row> = Vec::new();
    eprintln!("durable commits …");
    rows.extend(commit::run().await?);
    eprintln!("resolve in process …");
    rows.extend(resolve::run().await?);
    eprintln!("resolve over HTTP …");
    rows.extend(http::run().await?);
    let table = table(&rows);
    println!("{table}");
    if let Some(path) = target {
        std::fs::write(path, page(&table)).with_context(|| format!("writing {path}"))?;
        eprintln!("wrote {path}");
    }
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | ours | floor, same run | ratio | budget | met |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let met = match row.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {met} |",
            row.what, row.ours, row.floor, row.ratio, row.budget
        );
    }
    text
}

fn page(table: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "# Benchmarks\n\nMeasured by `cargo xtask bench --write docs/benchmarks.md`, ours and the floor in turns within one run,\n\
         on a machine with {cores} cores whose load is not ours to control: read the ratios, not the times.\n\
         The floor of a durable commit is `fdatasync` of a file after appending as many bytes as the commit's\n\
         record and bodies have. The floor of HTTP is an axum handler that checks a token's digest, parses the\n\
         same body and returns the same bytes.\n\n{table}"
    )
}
