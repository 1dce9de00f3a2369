//! `cargo xtask conformance`: suites that others wrote, kept outside the repository.
//!
//! A crate takes part by a test target `tests/conformance.rs` with `required-features = ["suites"]`,
//! so that `cargo test` builds it only here. The tests find the cases under `CONTROL_PLANE_SUITES`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{TestCount, cargo, root, run_tests};
use crate::python;
use crate::workspace::Workspace;

const SUITES: &str = "CONTROL_PLANE_SUITES";
const SUITES_DEFAULT: &str = "../shared";

/// Runs every suite; a missing directory is an error, never a skip.
pub(crate) fn conformance() -> Result<TestCount> {
    let suites = suites_directory(root(), std::env::var_os(SUITES))?;
    let crates = crates_with_suites(&Workspace::of_members()?)?;
    let features: Vec<String> = crates.iter().map(|name| format!("{name}/suites")).collect();
    // The whole workspace, although few crates have suites: their dependencies are then built with
    // the same features as for `cargo test`, and so not built again.
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--no-fail-fast",
        "--test",
        "conformance",
    ]);
    command
        .args(["--features", &features.join(",")])
        .env(SUITES, &suites);
    eprintln!(
        "conformance: suites of {} from {}",
        crates.join(", "),
        suites.display()
    );
    let count = run_tests(&mut command)?;
    eprintln!("conformance: OpenFeature's scenarios through the Python package");
    python::conformance(&suites)?;
    println!("conformance: {count}, and what pytest says above");
    Ok(count)
}

fn suites_directory(root: &Path, given: Option<OsString>) -> Result<PathBuf> {
    let directory = root.join(given.unwrap_or_else(|| OsString::from(SUITES_DEFAULT)));
    let suites = directory.canonicalize().with_context(|| {
        format!(
            "the outside suites are not at {}; set {SUITES} to the directory that holds them",
            directory.display()
        )
    })?;
    if !suites.join("suites").is_dir() {
        bail!(
            "{} has no directory `suites`; set {SUITES} to the directory that holds it",
            suites.display()
        );
    }
    Ok(suites)
}

fn crates_with_suites(workspace: &Workspace) -> Result<Vec<String>> {
    let crates: Vec<String> = workspace
        .members()
        .filter(|package| {
            package.targets.iter().any(|target| {
                target.name == "conformance"
                    && target.kind == "test"
                    && target.required_features == ["suites"]
            })
        })
        .map(|package| package.name.clone())
        .collect();
    if crates.is_empty() {
        bail!(
            "no crate has a test target `conformance` with `required-features = [\"suites\"]`, so \
             no outside suite would run"
        );
    }
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(required: &[&str]) -> Workspace {
        Workspace::parse(
            &json!({
                "workspace_members": ["model"],
                "packages": [{
                    "id": "model", "name": "plane-model", "version": "0.1.0", "source": null,
                    "license": "Apache-2.0", "manifest_path": "crates/model/Cargo.toml",
                    "dependencies": [],
                    "targets": [{ "name": "conformance", "kind": ["test"],
                        "src_path": "crates/model/tests/conformance.rs",
                        "required-features": required }],
                }],
            })
            .to_string(),
        )
        .expect("well-formed metadata")
    }

    #[test]
    fn crates_take_part_by_their_conformance_target() {
        assert_eq!(
            crates_with_suites(&workspace(&["suites"])).expect("one"),
            ["plane-model"]
        );
    }

    #[test]
    fn a_workspace_without_suites_fails_instead_of_passing_with_nothing_run() {
        let error = crates_with_suites(&workspace(&[])).expect_err("no suite");
        assert!(
            error.to_string().contains("no outside suite would run"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_variable() {
        let error = suites_directory(root(), Some(OsString::from("no/such/directory")))
            .expect_err("it does not exist");
        assert!(
            format!("{error:#}").contains("set CONTROL_PLANE_SUITES"),
            "{error:#}"
        );
    }

    #[test]
    fn a_directory_without_suites_is_an_error() {
        let error = suites_directory(root(), Some(OsString::from("xtask"))).expect_err("no suites");
        assert!(
            error.to_string().contains("has no directory `suites`"),
            "{error}"
        );
    }
}
