//! Which crates there are, and which of them names which.

use std::collections::BTreeSet;

use super::policy::{CRATES_MAX, EDGES};
use super::{Workspace, directory};

/// Finds crates that the table does not know and edges that it does not allow, dependencies of tests
/// and of build scripts included.
pub(super) fn edges(workspace: &Workspace) -> Vec<String> {
    let ours: BTreeSet<&str> = workspace
        .members()
        .map(|package| package.name.as_str())
        .collect();
    let mut findings = Vec::new();
    for package in workspace.members() {
        if !EDGES.iter().any(|(name, _)| *name == package.name) {
            findings.push(format!(
                "`{}` is not in the table of crates; start a new concern as a module of a crate that \
                 is, or change the design first (EDGES in xtask/src/tidy/policy.rs)",
                package.name
            ));
            continue;
        }
        let allowed = implied(&package.name);
        let named: BTreeSet<&str> = package.declared.iter().map(String::as_str).collect();
        for name in named.into_iter().filter(|name| ours.contains(name)) {
            // A crate may name itself, to turn on a feature for its own tests.
            if *name != package.name && !allowed.contains(name) {
                findings.push(format!(
                    "`{}` may not use `{name}`; move what it needs to a crate that it may use ({})",
                    package.name,
                    list(&allowed)
                ));
            }
        }
    }
    findings
}

/// Finds more crates than the house has room for.
pub(super) fn ceiling(workspace: &Workspace) -> Vec<String> {
    let count = workspace
        .members()
        .filter_map(|package| directory(&package.manifest_path))
        .filter(|directory| directory.starts_with("crates/"))
        .count();
    if count <= CRATES_MAX {
        return Vec::new();
    }
    vec![format!(
        "there are {count} crates, {CRATES_MAX} at most; make the new one a module"
    )]
}

/// Every crate of ours that `name` may name: what the table gives it, and what that gives in turn.
fn implied(name: &str) -> BTreeSet<&'static str> {
    let uses = |name: &str| {
        let entry = EDGES.iter().find(|(from, _)| *from == name);
        entry.map_or(&[][..], |(_, uses)| uses)
    };
    let mut allowed = BTreeSet::new();
    let mut open = uses(name).to_vec();
    while let Some(next) = open.pop() {
        if allowed.insert(next) {
            open.extend(uses(next));
        }
    }
    allowed
}

fn list(names: &BTreeSet<&str>) -> String {
    if names.is_empty() {
        return "none of ours".to_owned();
    }
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::workspace::example::{ours, theirs, workspace};

    #[test]
    fn an_edge_of_the_table_and_one_that_it_implies_are_allowed() {
        let workspace = workspace(&[
            ours("plane-model", &[]),
            ours("plane-eval", &["plane-model"]),
            ours("plane-state", &["plane-eval", "plane-model"]),
            ours("plane-log", &["serde@1.0.0", "plane-log"]),
            theirs("serde", "1.0.0", "MIT", &[]),
        ]);
        assert_eq!(edges(&workspace), Vec::<String>::new());
    }

    #[test]
    fn any_other_edge_is_found() {
        let workspace = workspace(&[
            ours("plane-model", &[]),
            ours("plane-state", &[]),
            ours("plane-eval", &["plane-model", "plane-state"]),
            ours("plane-log", &["plane-model"]),
        ]);
        let findings = edges(&workspace);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(
            findings[0].starts_with("`plane-eval` may not use `plane-state`"),
            "{findings:?}"
        );
        assert!(findings[1].contains("(none of ours)"), "{findings:?}");
    }

    #[test]
    fn a_crate_outside_the_table_is_found() {
        let findings = edges(&workspace(&[ours("plane-utils", &[])]));
        assert!(
            findings[0].starts_with("`plane-utils` is not in the table"),
            "{findings:?}"
        );
    }

    #[test]
    fn the_thirteenth_crate_is_found_and_the_twelfth_is_not() {
        let crates = |count: usize| -> Vec<Value> {
            (0..count)
                .map(|number| ours(&format!("plane-{number}"), &[]))
                .collect()
        };
        assert!(ceiling(&workspace(&crates(12))).is_empty());
        assert_eq!(ceiling(&workspace(&crates(13))).len(), 1);
    }
}
