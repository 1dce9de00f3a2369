//! Measures the control plane beside the floor of the machine, in one run, and prints a table.
//!
//! Each figure and its floor are measured in turns, so that what else the machine does hits both.
//! `cargo xtask bench` runs it from the repository's root; `--write FILE` also writes the table.

mod child;
mod commit;
mod floor;
mod http;
mod killlane;
mod load;
mod peers;
mod platform;
mod resolve;
mod sdk;
mod size;
mod stats;
mod streams;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use stats::Row;

/// The parts of the benchmark, in the order of the table.
const PARTS: [&str; 7] = ["commits", "resolve", "http", "streams", "sdk", "killlane", "size"];

#[tokio::main]
async fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [first, dir] = given.as_slice()
        && first == size::CHILD
    {
        return size::child(dir.as_ref()).await;
    }
    if let [first, mode, flags] = given.as_slice()
        && first == child::ARGUMENT
    {
        return child::run(mode, flags.parse()?).await;
    }
    if let [first, address] = given.as_slice()
        && first == load::ARGUMENT
    {
        return load::run(address.parse()?).await;
    }
    if let [first, url, tenants, asked] = given.as_slice()
        && first == sdk::WORKER_CHILD
    {
        let (url, tenants, asked) = (url.clone(), tenants.clone(), asked.parse()?);
        return tokio::task::spawn_blocking(move || sdk::work(&url, &tenants, asked)).await?;
    }
    if let [first, dir, address] = given.as_slice()
        && first == sdk::HERD_CHILD
    {
        return sdk::herd_server(dir.as_ref(), address).await;
    }
    if let [first, part, dir] = given.as_slice()
        && first == "size-part"
    {
        println!("{}", table(&size::part(part, dir.as_ref()).await?));
        return Ok(());
    }
    let arguments = Arguments::parse(given.into_iter())?;
    let mut rows: Vec<Row> = Vec::new();
    for part in arguments.parts {
        eprintln!("{part} …");
        rows.extend(match part {
            "commits" => commit::run().await?,
            "resolve" => resolve::run().await?,
            "http" => http::run().await?,
            "streams" => streams::run().await?,
            "sdk" => tokio::task::spawn_blocking(sdk::run).await??,
            "killlane" => killlane::run().await?,
            _ => size::run(arguments.size_dir.as_deref()).await?,
        });
    }
    let table = table(&rows);
    println!("{table}");
    if let Some(path) = arguments.write {
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, page(&table, &before)).with_context(|| format!("writing {path}"))?;
        eprintln!("wrote {path}");
    }
    Ok(())
}

/// What was asked for: all parts or some, and whether the page is written.
struct Arguments {
    parts: Vec<&'static str>,
    write: Option<String>,
    /// Where the large installation stays, to be measured again.
    size_dir: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self> {
        let (mut parts, mut write, mut size_dir) = (Vec::new(), None, None);
        while let Some(argument) = given.next() {
            if argument == "--write" {
                write = Some(given.next().context("--write takes the path of a page")?);
            } else if argument == "--size-dir" {
                size_dir = Some(given.next().context("--size-dir takes the path of a directory")?.into());
            } else if let Some(part) = PARTS.iter().find(|it| **it == argument) {
                parts.push(*part);
            } else {
                anyhow::bail!(
                    "there is no part `{argument}`\nusage: cargo xtask bench [--write PAGE] [--size-dir DIR] [PART…]; parts: {}\n\
                     \u{20}      cargo xtask bench size-part SIZE_PART DIR/full, with the DIR of --size-dir; parts of size: {}",
                    PARTS.join(", "),
                    size::PARTS.join(", ")
                );
            }
        }
        anyhow::ensure!(
            write.is_none() || parts.is_empty(),
            "a page has all parts: leave out their names"
        );
        if parts.is_empty() {
            parts.extend(PARTS);
        }
        Ok(Self { parts, write, size_dir })
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | ours | floor, same run | ratio | budget | met |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    text
}

/// The page with a new table; what people wrote below it stays.
fn page(table: &str, before: &str) -> String {
    let written = before.find("\n## ").map_or("", |at| &before[at..]);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "# Benchmarks\n\nMeasured by `cargo xtask bench --write docs/benchmarks.md`, ours and the floor in turns within one run,\n\
         on a machine with {cores} cores whose load is not ours to control: read the ratios, not the times.\n\
         The floor of a durable commit is `fdatasync` of a file after appending as many bytes as the commit's\n\
         record and bodies have. The floor of HTTP is an axum handler that checks a token's digest, parses the\n\
         same body and returns the same bytes.\n\n{table}{written}"
    )
}
