//! `cargo xtask bench`: the benchmarks, which are workspaces of their own, and those of the Python package.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cargo, root, run};
use crate::{run as server, tools};

/// What measures the Python package, from the root of the repository.
const PYTHON: &str = "bench/python";

/// Measures: with `python` first the Python package, with `flags` evaluators of flags beside ours, or else what `bench/`
/// has.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((first, rest)) if first == "python" => python(rest),
        Some((first, rest)) if first == "flags" => own("bench/flags/Cargo.toml", rest),
        _ => {
            tools::etcd()?;
            tools::protoc()?;
            own("bench/Cargo.toml", arguments)
        }
    }
}

/// Builds a workspace of benchmarks in release and hands `arguments` to it.
///
/// Workspaces of their own keep the peers that are measured against out of the product's dependencies.
fn own(manifest: &str, arguments: &[String]) -> Result<()> {
    let mut command = cargo(&["run", "--release", "--manifest-path", manifest]);
    command.args(["--target-dir", "bench/target", "--"]);
    run(command.args(arguments))
}

/// Builds the wheel that a user would get, installs it beside the SDKs of others, and measures them.
fn python(arguments: &[String]) -> Result<()> {
    tools::etcd()?;
    let programs = tools::python(&format!("{PYTHON}/requirements.txt"))?;
    let wheels = root().join("target/xtask/bench-python-wheel");
    let mut build = Command::new(programs.join("maturin"));
    build
        .args(["build", "--quiet", "--release", "--out"])
        .arg(&wheels)
        .current_dir(root().join("bindings/python"));
    run(&mut build).context("the Python package does not build")?;
    let mut install = Command::new(programs.join("python"));
    install
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-index"])
        .args(["--disable-pip-version-check", "--force-reinstall"])
        .arg("--find-links")
        .arg(&wheels)
        .arg("control-plane");
    run(&mut install).context("the Python package does not install")?;
    let binary = root().join(server::build(true)?);
    let mut measure = Command::new(programs.join("python"));
    measure
        .arg(format!("{PYTHON}/bench.py"))
        .args(arguments)
        .env("BENCH_SERVER", binary)
        .current_dir(root());
    run(&mut measure)
}
