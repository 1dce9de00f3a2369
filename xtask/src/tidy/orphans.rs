//! Every Rust file is reached by the compiler.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceFile;
use super::rust::{Keep, Module, blank, modules};

/// Finds files that no `mod` declaration reaches from the `roots` of the workspace's targets.
///
/// `bench/` and `fuzz/` are workspaces of their own, whose targets are not among the roots.
pub(super) fn check(files: &[SourceFile], roots: &[String]) -> Vec<String> {
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .filter(|file| file.is_rust())
        .filter(|file| !file.path.starts_with("bench/") && !file.path.starts_with("fuzz/"))
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<(String, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
    while let Some((path, is_root)) = open.pop() {
        let Some(text) = texts.get(path.as_str()) else {
            continue;
        };
        if !reached.insert(path.clone()) {
            continue;
        }
        for module in modules(&blank(text, Keep::Strings)) {
            open.extend(
                candidates(&path, is_root, &module)
                    .into_iter()
                    .map(|path| (path, false)),
            );
        }
    }
    texts
        .keys()
        .filter(|path| !reached.contains(**path))
        .map(|path| format!("{path} is not compiled: no `mod` reaches it; declare it or delete it"))
        .collect()
}

/// The files in which the compiler looks for `module`, declared in the file `path`.
fn candidates(path: &str, is_root: bool, module: &Module) -> Vec<String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
    if let Some(given) = &module.path {
        return vec![format!("{directory}/{given}")];
    }
    let mut place = directory.to_owned();
    if !is_root && name != "mod.rs" {
        place = format!("{place}/{}", name.trim_end_matches(".rs"));
    }
    for outer in &module.inside {
        place = format!("{place}/{outer}");
    }
    vec![
        format!("{place}/{}.rs", module.name),
        format!("{place}/{}/mod.rs", module.name),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_file_that_no_mod_reaches_is_found() {
        let files = [
            file(
                "crates/a/src/lib.rs",
                "mod used;\n// mod commented;\nmod inline { mod deep; }",
            ),
            file(
                "crates/a/src/used.rs",
                "#[cfg(test)]\nmod tests;\n#[path = \"odd.rs\"]\nmod even;",
            ),
            file("crates/a/src/used/tests.rs", ""),
            file("crates/a/src/odd.rs", ""),
            file("crates/a/src/inline/deep/mod.rs", "mod deeper;"),
            file("crates/a/src/inline/deep/deeper.rs", ""),
            file("crates/a/src/commented.rs", ""),
            file("crates/a/tests/fact.rs", "mod common;"),
            file("crates/a/tests/common/mod.rs", ""),
            file("bench/src/main.rs", ""),
        ];
        let roots = [
            "crates/a/src/lib.rs".to_owned(),
            "crates/a/tests/fact.rs".to_owned(),
        ];
        let findings = check(&files, &roots);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("crates/a/src/commented.rs is not compiled"),
            "{findings:?}"
        );
    }
}
