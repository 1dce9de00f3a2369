//! `cargo xtask test`: every test of the workspace, doc tests included.

use anyhow::Result;

use crate::process::{TestCount, cargo, run_tests};

/// Runs all tests and ends with one line that sums them up.
///
/// The tests need nothing but what cargo fetches, so there is nothing else to install. The suites
/// that others wrote are not in here: see `cargo xtask conformance`.
pub(crate) fn test() -> Result<TestCount> {
    eprintln!(
        "test: all unit, integration and doc tests; they need nothing but what cargo fetches"
    );
    let count = run_tests(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    println!("test: {count}");
    Ok(count)
}
