//! What holds for the text of every file.

use super::SourceFile;
use super::policy::FILE_LINES_MAX;
use super::rust::{Keep, blank, lines_without_tests};

/// Files whose text is not ours, or is made by a tool.
const NOT_OURS: &[&str] = &["Cargo.lock", "LICENSE"];

// In two parts, or this file would be its own finding.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];
const MARKERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
];

/// Finds crates whose root does not open with its charter.
pub(super) fn charters(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs"))
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| {
            format!(
                "{} does not open with its charter: `//!`, what it is for, what it must never do, \
                 where to start reading, the main invariant",
                file.path
            )
        })
        .collect()
}

/// Finds paths that exist only on the machine of whoever wrote them.
pub(super) fn machine_paths(files: &[SourceFile]) -> Vec<String> {
    lines(files)
        .filter_map(|(file, number, line)| {
            let path = MACHINE_PATHS
                .iter()
                .find(|path| starts_a_path(line, path))?;
            Some(format!(
                "{}:{number}: `{path}` is a path of one machine; make it relative",
                file.path
            ))
        })
        .collect()
}

/// Finds work that was left for later: markers in any text, unfinished code and tests that are
/// skipped in Rust.
pub(super) fn leftovers(files: &[SourceFile]) -> Vec<String> {
    let mut findings: Vec<String> = lines(files)
        .filter_map(|(file, number, line)| {
            let marker = MARKERS.iter().find(|marker| has_word(line, marker))?;
            Some(format!(
                "{}:{number}: `{marker}`: do it, or file an issue",
                file.path
            ))
        })
        .collect();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in blank(&file.text, Keep::Code).lines().enumerate() {
            for unfinished in UNFINISHED
                .iter()
                .filter(|unfinished| line.contains(*unfinished))
            {
                findings.push(format!(
                    "{}:{}: `{unfinished}`: finish it or delete it",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

/// Finds Rust files that are long enough to ask for a seam: a warning, for long tables are fine.
pub(super) fn long_files(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.is_rust() && !file.path.contains("/tests"))
        .filter_map(|file| {
            let lines = lines_without_tests(&blank(&file.text, Keep::Code));
            (lines > FILE_LINES_MAX).then(|| {
                format!(
                    "{} has {lines} lines without its tests; look for a seam",
                    file.path
                )
            })
        })
        .collect()
}

fn lines(files: &[SourceFile]) -> impl Iterator<Item = (&SourceFile, usize, &str)> {
    files
        .iter()
        .filter(|file| !NOT_OURS.contains(&file.path.as_str()))
        .flat_map(|file| {
            file.text
                .lines()
                .enumerate()
                .map(move |(number, line)| (file, number + 1, line))
        })
}

/// Whether `path` stands in `line` as the start of a path, not inside of a longer one.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.~})".contains(c)))
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_root_without_a_charter_is_found() {
        let files = [
            file("crates/a/src/lib.rs", "//! Evaluates flags.\n"),
            file("crates/b/src/lib.rs", "use std::fmt;\n"),
            file("crates/c/src/main.rs", "fn main() {}\n"),
            file("crates/c/src/other.rs", "fn other() {}\n"),
        ];
        assert_eq!(charters(&files).len(), 2);
    }

    #[test]
    fn a_path_of_one_machine_is_found_wherever_it_stands() {
        for path in MACHINE_PATHS {
            let files = [file("README.md", &format!("see\n`{path}x`\n"))];
            let findings = machine_paths(&files);
            assert!(findings[0].starts_with("README.md:2: "), "{findings:?}");
            let inside = [file(
                "README.md",
                &format!("docs{path}x and example.org{path}x"),
            )];
            assert_eq!(machine_paths(&inside), Vec::<String>::new());
        }
    }

    #[test]
    fn markers_are_found_in_comments_and_documents_as_words() {
        for marker in MARKERS {
            let files = [
                file("a.md", &format!("- {marker}: more")),
                file("b.rs", &format!("// {marker}")),
            ];
            assert_eq!(leftovers(&files).len(), 2, "{marker}");
            let files = [file("a.md", &format!("{marker}S and MAS{marker}"))];
            assert_eq!(leftovers(&files), Vec::<String>::new(), "{marker}");
        }
    }

    #[test]
    fn unfinished_code_is_found_but_not_its_mention() {
        for unfinished in UNFINISHED {
            let files = [file("a.rs", &format!("fn f() {{ {unfinished}) }}"))];
            assert_eq!(leftovers(&files).len(), 1, "{unfinished}");
            let files = [file(
                "a.rs",
                &format!("// no {unfinished}\nconst A: &str = \"{unfinished}\";"),
            )];
            assert_eq!(leftovers(&files), Vec::<String>::new(), "{unfinished}");
        }
    }

    #[test]
    fn the_lock_file_and_the_licence_are_not_read() {
        let text = format!("{}x {}", MACHINE_PATHS[0], MARKERS[0]);
        let files = [file("Cargo.lock", &text), file("LICENSE", &text)];
        assert!(machine_paths(&files).is_empty() && leftovers(&files).is_empty());
    }

    #[test]
    fn a_long_file_is_found_by_its_lines_without_tests() {
        let code = "fn f() {}\n".repeat(FILE_LINES_MAX);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert!(long_files(&[file("crates/a/src/a.rs", &format!("{code}{tests}"))]).is_empty());
        assert_eq!(
            long_files(&[file("crates/a/src/a.rs", &format!("{code}{code}"))]).len(),
            1
        );
        assert!(
            long_files(&[file("crates/a/src/a/tests.rs", &format!("{code}{code}"))]).is_empty()
        );
    }
}
