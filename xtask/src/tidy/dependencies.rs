//! How many packages we depend on, in how many versions, and from where.

use std::collections::{BTreeMap, BTreeSet};

use super::Workspace;
use super::policy::{DUPLICATES, LOCKED_PACKAGES_MAX};

/// Finds packages that are linked in more than one version, and skips that are not needed any more.
pub(super) fn duplicates(workspace: &Workspace) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for way in workspace.linked(workspace.members()) {
        if let Some(package) = way.last() {
            versions
                .entry(&package.name)
                .or_default()
                .insert(&package.version);
        }
    }
    let skipped = |name: &str, version: &str| {
        DUPLICATES
            .iter()
            .any(|(skip, old, _)| *skip == name && *old == series(version))
    };
    let mut findings = Vec::new();
    for (name, versions) in &versions {
        let kept: Vec<&str> = versions
            .iter()
            .copied()
            .filter(|version| !skipped(name, version))
            .collect();
        if kept.len() > 1 {
            findings.push(format!(
                "`{name}` is linked in versions {}; `cargo tree --invert {name}@VERSION` says for \
                 whom; agree on one, or skip the older with a reason in xtask/src/tidy/policy.rs and \
                 deny.toml",
                kept.join(" and ")
            ));
        }
    }
    for (name, old, _) in DUPLICATES {
        let needed = versions.get(name).is_some_and(|versions| {
            versions.len() > 1 && versions.iter().any(|version| series(version) == *old)
        });
        if !needed {
            findings.push(format!("the skip of `{name}` {old} is not needed any more"));
        }
    }
    findings
}

/// Finds packages that come neither from this repository nor from crates.io.
pub(super) fn sources(workspace: &Workspace) -> Vec<String> {
    let ours: BTreeSet<&str> = workspace
        .members()
        .map(|package| package.id.as_str())
        .collect();
    workspace
        .packages()
        .filter(|package| match &package.source {
            None => !ours.contains(package.id.as_str()),
            Some(source) => {
                !(source.starts_with("registry+") && source.ends_with("/crates.io-index"))
            }
        })
        .map(|package| {
            format!(
                "`{}` {} comes from {}; take it from crates.io",
                package.name,
                package.version,
                package
                    .source
                    .as_deref()
                    .unwrap_or("a path outside of the workspace")
            )
        })
        .collect()
}

/// Finds a lock file that has outgrown its budget.
pub(super) fn budget(workspace: &Workspace) -> Vec<String> {
    let count = workspace.packages().count();
    if count <= LOCKED_PACKAGES_MAX {
        return Vec::new();
    }
    vec![format!(
        "Cargo.lock holds {count} packages, {LOCKED_PACKAGES_MAX} at most; do without the new ones, \
         or raise the budget in xtask/src/tidy/policy.rs and say why in the commit"
    )]
}

/// The versions that may stand for each other: `1` for 1.2.3, `0.2` for 0.2.17.
fn series(version: &str) -> &str {
    let parts = if version.starts_with("0.") { 2 } else { 1 };
    version
        .match_indices('.')
        .nth(parts - 1)
        .map_or(version, |(end, _)| &version[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::workspace::example::{ours, package, theirs, workspace};

    #[test]
    fn versions_of_one_series_may_stand_for_each_other() {
        assert_eq!(series("1.2.3"), "1");
        assert_eq!(series("0.2.17"), "0.2");
        assert_eq!(series("10.0.0-rc.1"), "10");
    }

    fn found(packages: &[Value], name: &str) -> Vec<String> {
        duplicates(&workspace(packages))
            .into_iter()
            .filter(|finding| finding.contains(&format!("`{name}`")))
            .collect()
    }

    #[test]
    fn a_package_linked_twice_is_found() {
        let findings = found(
            &[
                ours("plane-model", &["hex@0.3.0", "hex@0.4.0"]),
                theirs("hex", "0.3.0", "MIT", &[]),
                theirs("hex", "0.4.0", "MIT", &[]),
            ],
            "hex",
        );
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("0.3.0 and 0.4.0"), "{findings:?}");
    }

    #[test]
    fn a_skip_is_for_one_series_and_is_found_when_it_is_not_needed_any_more() {
        let rand_core = |version: &str| theirs("rand_core", version, "MIT", &[]);
        let two = [
            ours("plane-eval", &["rand_core@0.9.5", "rand_core@0.10.1"]),
            rand_core("0.9.5"),
            rand_core("0.10.1"),
        ];
        assert_eq!(found(&two, "rand_core"), Vec::<String>::new());
        let three = [
            ours(
                "plane-eval",
                &["rand_core@0.9.5", "rand_core@0.10.1", "rand_core@0.6.4"],
            ),
            rand_core("0.9.5"),
            rand_core("0.10.1"),
            rand_core("0.6.4"),
        ];
        assert!(found(&three, "rand_core")[0].contains("0.10.1 and 0.6.4"));
        let one = [
            ours("plane-eval", &["rand_core@0.10.1"]),
            rand_core("0.10.1"),
        ];
        assert!(found(&one, "rand_core")[0].contains("not needed any more"));
    }

    #[test]
    fn a_package_from_git_another_registry_or_a_stray_path_is_found() {
        for source in ["git+ssh://example/hex", "registry+index/example"] {
            let workspace = workspace(&[package("hex", "1.0.0", "MIT", Some(source), &[])]);
            assert_eq!(sources(&workspace).len(), 1, "{source}");
        }
        let stray = serde_json::json!({
            "workspace_members": [], "packages": [package("stray", "1.0.0", "MIT", None, &[])],
        });
        let stray = Workspace::parse(&stray.to_string()).expect("well-formed");
        assert_eq!(sources(&stray).len(), 1);
    }

    #[test]
    fn our_packages_and_those_of_crates_io_are_welcome() {
        let workspace = workspace(&[ours("plane-model", &[]), theirs("hex", "0.4.0", "MIT", &[])]);
        assert_eq!(sources(&workspace), Vec::<String>::new());
    }

    #[test]
    fn a_lock_file_over_its_budget_is_found() {
        let packages = |count: usize| -> Vec<Value> {
            (0..count)
                .map(|n| theirs(&format!("p{n}"), "1.0.0", "MIT", &[]))
                .collect()
        };
        assert!(budget(&workspace(&packages(LOCKED_PACKAGES_MAX))).is_empty());
        assert_eq!(
            budget(&workspace(&packages(LOCKED_PACKAGES_MAX + 1))).len(),
            1
        );
    }
}
