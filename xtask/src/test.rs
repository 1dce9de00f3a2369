//! `cargo xtask test`: every test of the workspace, doc tests included, and the API against programs of
//! others.

use anyhow::Result;

use crate::process::{TestCount, cargo, run_tests};
use crate::{interop, python};

/// Runs all tests and ends with what they counted and one line that sums them up.
///
/// What others' programs need is installed on the way. The suites that others wrote and that are not
/// in the repository are not in here: see `cargo xtask conformance`.
pub(crate) fn test() -> Result<TestCount> {
    eprintln!(
        "test: all unit, integration and doc tests; they need nothing but what cargo fetches"
    );
    let count = run_tests(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    eprintln!("test: programs of others, from PyPI and npm, against the API");
    interop::interop()?;
    eprintln!("test: the Python package, against the server and against a tree");
    python::python()?;
    for figure in &count.figures {
        println!("test: {figure}");
    }
    println!("test: {count}");
    Ok(count)
}
