//! `cargo xtask bench`: the benchmarks, which are a workspace of their own.

use anyhow::Result;

use crate::process::{cargo, run};

/// Builds `bench/` in release and hands `arguments` to it.
///
/// A workspace of its own keeps the peers it measures against out of the product's dependencies.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let mut command = cargo(&[
        "run",
        "--release",
        "--manifest-path",
        "bench/Cargo.toml",
        "--",
    ]);
    run(command.args(arguments))
}
