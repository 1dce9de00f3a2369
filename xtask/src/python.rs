//! The Python package: built into a virtual environment, tested against the real server, and its types checked.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{root, run};
use crate::{run as server, tools};

/// The package, from the root of the repository.
const PACKAGE: &str = "bindings/python";

/// Builds the package into a virtual environment, and says where the programs of that are.
fn install() -> Result<PathBuf> {
    let programs = tools::python(&format!("{PACKAGE}/requirements.txt"))?;
    let venv = programs.parent().context("programs are in a directory")?;
    let mut build = Command::new(programs.join("maturin"));
    build
        .args(["develop", "--quiet", "--profile", "dev"])
        .env("VIRTUAL_ENV", venv)
        .current_dir(root().join(PACKAGE));
    run(&mut build).context("the Python package does not build")?;
    Ok(programs)
}

/// Runs the scenarios of `OpenFeature` that are under `suites` through the package's provider.
pub(crate) fn conformance(suites: &Path) -> Result<()> {
    let programs = install()?;
    let mut pytest = Command::new(programs.join("python"));
    pytest
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "conformance",
        ])
        .env("CONTROL_PLANE_SUITES", suites)
        .current_dir(root().join(PACKAGE));
    run(&mut pytest).context("the suites that the Python package takes part in")
}

/// Builds the package and runs its tests.
pub(crate) fn python() -> Result<()> {
    let programs = install()?;
    let package = root().join(PACKAGE);
    let binary = root().join(server::build(false)?);
    let modules = tools::npm("interop/flagd")?;
    let (node, nginx) = (tools::node()?, tools::nginx()?);
    let python = |arguments: &[&str]| {
        let mut command = Command::new(programs.join("python"));
        command
            .arg("-m")
            .args(arguments)
            .env("CONTROL_PLANE_BINARY", &binary)
            .env("NODE", &node)
            .env("NGINX", &nginx)
            .env("NODE_PATH", &modules)
            .current_dir(&package);
        command
    };
    run(&mut python(&["pytest", "-q", "-p", "no:cacheprovider"]))
        .context("the tests of the Python package")?;
    run(&mut python(&["mypy", "--strict", "python/control_plane"]))
        .context("the types of the Python package")?;
    run(&mut python(&[
        "mypy",
        "--strict",
        "../../examples/fastapi/app.py",
    ]))
    .context("the types of the example of FastAPI")?;
    run(&mut python(&["mypy.stubtest", "control_plane._core"]))
        .context("the stubs of the Python package")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_there() {
        for file in ["pyproject.toml", "requirements.txt", "tests/test_brief.py"] {
            assert!(root().join(PACKAGE).join(file).is_file(), "{file}");
        }
    }
}
