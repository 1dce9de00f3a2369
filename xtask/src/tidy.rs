//! `cargo xtask tidy`: what the compiler cannot see.
//!
//! What is allowed is in [`policy`]; each check is a pure function from text or from
//! [`Workspace`] to findings, and a finding says what to do.

mod crates;
mod deny;
mod dependencies;
mod error_pages;
mod licences;
mod orphans;
pub(crate) mod policy;
mod purity;
mod rust;
mod sources;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{fs, str};

use anyhow::{Context, Result, bail};

use crate::process::{capture, root};
use crate::workspace::Workspace;

/// Runs every check, prints all findings, and fails if there is one.
pub(crate) fn tidy() -> Result<()> {
    let workspace = Workspace::with_dependencies()?;
    let files = SourceFile::of_repository()?;
    let deny = text_of(&files, "deny.toml")?;
    let codes = text_of(&files, "crates/model/src/codes.rs")?;
    let checks: Vec<(&str, Vec<String>)> = vec![
        ("edges between crates", crates::edges(&workspace)),
        ("number of crates", crates::ceiling(&workspace)),
        ("purity of what is linked", purity::linked(&workspace)),
        ("purity of the source", purity::source(&files, &workspace)),
        (
            "panics denied in pure crates",
            purity::panics_denied(&files, &workspace),
        ),
        ("licences", licences::check(&workspace)),
        ("duplicate versions", dependencies::duplicates(&workspace)),
        ("sources of packages", dependencies::sources(&workspace)),
        ("number of packages", dependencies::budget(&workspace)),
        ("deny.toml", deny::check(deny)),
        ("charters", sources::charters(&files)),
        ("orphan files", orphans::check(&files, &roots(&workspace))),
        ("error pages", error_pages::check(codes, &files)),
        ("paths of one machine", sources::machine_paths(&files)),
        ("leftovers", sources::leftovers(&files)),
    ];
    for warning in sources::long_files(&files) {
        println!("tidy: warning: {warning}");
    }
    report(&checks)
}

fn report(checks: &[(&str, Vec<String>)]) -> Result<()> {
    for (check, findings) in checks {
        for finding in findings {
            println!("tidy: {check}: {finding}");
        }
    }
    let failed = checks
        .iter()
        .filter(|(_, findings)| !findings.is_empty())
        .count();
    if failed > 0 {
        bail!("tidy: {failed} of {} checks failed", checks.len());
    }
    println!("tidy: {} checks passed", checks.len());
    Ok(())
}

/// A text file of the repository.
#[derive(Debug, Clone)]
struct SourceFile {
    /// From the root of the repository, with `/` between its parts.
    path: String,
    text: String,
}

impl SourceFile {
    /// Reads the text files that git tracks or would track, so that a new file is checked before it
    /// is added; what is not UTF-8 is not text.
    fn of_repository() -> Result<Vec<SourceFile>> {
        let mut git = Command::new("git");
        git.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let listed = capture(git.current_dir(root())).context("tidy needs a git checkout")?;
        let paths: BTreeSet<&str> = listed.split_terminator('\0').collect();
        let mut files = Vec::new();
        for path in paths {
            let absolute = root().join(path);
            // Listed, but deleted in the work tree.
            if !absolute.is_file() {
                continue;
            }
            let bytes = fs::read(&absolute).with_context(|| format!("cannot read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(SourceFile {
                    path: path.to_owned(),
                    text,
                });
            }
        }
        Ok(files)
    }

    fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }
}

fn text_of<'a>(files: &'a [SourceFile], path: &str) -> Result<&'a str> {
    let file = files.iter().find(|file| file.path == path);
    Ok(&file.with_context(|| format!("{path} is missing"))?.text)
}

/// The files at which the compiler starts, from the root of the repository.
fn roots(workspace: &Workspace) -> Vec<String> {
    workspace
        .members()
        .flat_map(|package| &package.targets)
        .filter_map(|target| relative(&target.src_path))
        .collect()
}

/// The directory of a package, from the root of the repository.
fn directory(manifest_path: &str) -> Option<String> {
    relative(Path::new(manifest_path).parent()?.to_str()?)
}

fn relative(path: &str) -> Option<String> {
    let path = Path::new(path);
    let path = path.strip_prefix(root()).unwrap_or(path);
    Some(path.to_str()?.replace('\\', "/"))
}

#[cfg(test)]
fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_fails_the_whole_and_none_passes_it() {
        report(&[("edges", vec![]), ("licences", vec![])]).expect("nothing was found");
        let error = report(&[("edges", vec!["a → b".into()]), ("licences", vec![])])
            .expect_err("something was found");
        assert_eq!(error.to_string(), "tidy: 1 of 2 checks failed");
    }

    #[test]
    fn paths_are_told_from_the_root_of_the_repository() {
        let manifest = root().join("crates/model/Cargo.toml");
        assert_eq!(
            directory(&manifest.to_string_lossy()).as_deref(),
            Some("crates/model")
        );
    }
}
