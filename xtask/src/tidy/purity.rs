//! Pure crates do no I/O, read no clock, draw no randomness, and do not panic.

use super::policy::{IMPURE, IMPURE_DIRECT, IMPURE_SOURCE, PURE, PURE_LINTS};
use super::rust::{Keep, blank, without_tests};
use super::{SourceFile, Workspace, directory};
use crate::workspace::Package;

/// Finds packages linked into a pure crate that do I/O, read a clock or draw randomness.
pub(super) fn linked(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for package in pure(workspace) {
        for way in workspace.linked([package].into_iter()) {
            if way
                .last()
                .is_some_and(|last| IMPURE.contains(&last.name.as_str()))
            {
                let way: Vec<&str> = way.iter().map(|package| package.name.as_str()).collect();
                findings.push(format!(
                    "a pure crate links what is not: {}; take the value in as an argument",
                    way.join(" → ")
                ));
            }
        }
        for name in package
            .declared
            .iter()
            .filter(|name| IMPURE_DIRECT.contains(&name.as_str()))
        {
            findings.push(format!(
                "`{}` uses `{name}`; ids and salts come into a pure crate as values",
                package.name
            ));
        }
    }
    findings
}

/// Finds the standard library's I/O, clocks, threads and environment in a pure crate's source.
pub(super) fn source(files: &[SourceFile], workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for file in pure(workspace)
        .filter_map(source_directory)
        .flat_map(|directory| {
            files
                .iter()
                .filter(move |file| file.is_rust() && file.path.starts_with(&directory))
        })
    {
        if file.path.ends_with("/tests.rs") {
            continue;
        }
        let code = without_tests(&blank(&file.text, Keep::Code));
        for (number, line) in code.lines().enumerate() {
            for impure in IMPURE_SOURCE.iter().filter(|impure| line.contains(*impure)) {
                findings.push(format!(
                    "{}:{}: a pure crate says `{impure}`; take the value in as an argument",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

/// Finds pure crates that do not deny the lints against panics.
pub(super) fn panics_denied(files: &[SourceFile], workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for package in pure(workspace) {
        let Some(path) = source_directory(package).map(|directory| directory + "lib.rs") else {
            continue;
        };
        let Some(file) = files.iter().find(|file| file.path == path) else {
            findings.push(format!("`{}` has no {path}", package.name));
            continue;
        };
        let denied = denied(&file.text);
        let missing: Vec<&str> = PURE_LINTS
            .iter()
            .copied()
            .filter(|lint| !denied.iter().any(|denied| denied == lint))
            .collect();
        if !missing.is_empty() {
            findings.push(format!(
                "{path} does not deny {}; add `#![cfg_attr(not(test), deny({}))]`",
                missing.join(", "),
                PURE_LINTS.join(", ")
            ));
        }
    }
    findings
}

fn pure(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace
        .members()
        .filter(|package| PURE.contains(&package.name.as_str()))
}

fn source_directory(package: &Package) -> Option<String> {
    Some(format!("{}/src/", directory(&package.manifest_path)?))
}

/// The lints that a crate's root denies everywhere or everywhere but in tests.
fn denied(root: &str) -> Vec<String> {
    let code: String = blank(root, Keep::Code).split_whitespace().collect();
    ["#![deny(", "#![cfg_attr(not(test),deny("]
        .into_iter()
        .flat_map(|opening| code.split(opening).skip(1).collect::<Vec<_>>())
        .filter_map(|rest| rest.split_once(')'))
        .flat_map(|(lints, _)| lints.split(','))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;
    use crate::workspace::example::{ours, theirs, workspace};

    #[test]
    fn a_runtime_deep_in_a_pure_crate_is_found_with_the_way_to_it() {
        let workspace = workspace(&[
            ours("plane-model", &["innocent@1.0.0"]),
            theirs("innocent", "1.0.0", "MIT", &["tokio@1.0.0"]),
            theirs("tokio", "1.0.0", "MIT", &[]),
        ]);
        let findings = linked(&workspace);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].contains("plane-model → innocent → tokio"),
            "{findings:?}"
        );
    }

    #[test]
    fn other_crates_may_link_a_runtime_and_draw_ids() {
        let workspace = workspace(&[
            ours("plane-node", &["tokio@1.0.0", "ulid@1.0.0"]),
            theirs("tokio", "1.0.0", "MIT", &[]),
            theirs("ulid", "1.0.0", "MIT", &[]),
        ]);
        assert_eq!(linked(&workspace), Vec::<String>::new());
    }

    #[test]
    fn a_pure_crate_that_draws_its_own_ids_is_found() {
        let workspace = workspace(&[
            ours("plane-state", &["getrandom@0.4.0"]),
            theirs("getrandom", "0.4.0", "MIT", &[]),
        ]);
        let findings = linked(&workspace);
        assert!(
            findings[0].starts_with("`plane-state` uses `getrandom`"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_clock_in_the_source_is_found_by_line_but_not_in_comments_strings_or_tests() {
        let workspace = workspace(&[ours("plane-eval", &[])]);
        let text = "\
// SystemTime is not for us
const WHY: &str = \"no std::fs here\";
fn now() { let _ = std::time::SystemTime::now(); }
#[cfg(test)]
mod tests {
    use std::fs;
}
";
        let findings = source(&[file("crates/plane-eval/src/clock.rs", text)], &workspace);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("crates/plane-eval/src/clock.rs:3: "),
            "{findings:?}"
        );
        let elsewhere = source(&[file("crates/plane-node/src/clock.rs", text)], &workspace);
        assert_eq!(elsewhere, Vec::<String>::new());
    }

    #[test]
    fn a_pure_crate_denies_every_lint_against_panics() {
        let workspace = workspace(&[ours("plane-eval", &[])]);
        let check =
            |text: &str| panics_denied(&[file("crates/plane-eval/src/lib.rs", text)], &workspace);
        let all = format!(
            "#![cfg_attr(\n    not(test),\n    deny({})\n)]\n",
            PURE_LINTS.join(",\n")
        );
        assert_eq!(check(&all), Vec::<String>::new());
        let some =
            "#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo)]";
        let findings = check(some);
        assert!(
            findings[0].contains("does not deny clippy::indexing_slicing;"),
            "{findings:?}"
        );
        assert_eq!(
            check(&format!("// {}", all.replace('\n', " "))).len(),
            1,
            "a comment denies nothing"
        );
        assert_eq!(
            panics_denied(&[], &workspace).len(),
            1,
            "a crate without a root is found"
        );
    }
}
