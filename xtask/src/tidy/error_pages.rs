//! Every error code has a page, and every page is of a code.

use std::collections::BTreeSet;

use super::SourceFile;
use super::rust::{Keep, blank, string_literals};

const PAGES: &str = "docs/errors/";
const INDEX: &str = "README";
const SECTIONS: &[&str] = &["## What", "## Why", "## What to do"];

/// Finds codes in `table` (the source of the table of codes) that have no page, pages that are of no
/// code, and pages that lack a section or say nothing in it.
pub(super) fn check(table: &str, files: &[SourceFile]) -> Vec<String> {
    let codes = codes(table);
    if codes.is_empty() {
        return vec!["the table of codes holds no code that can be read".to_owned()];
    }
    let mut findings = Vec::new();
    let mut paged = BTreeSet::new();
    for page in files {
        let Some(name) = page_name(&page.path) else {
            continue;
        };
        if name == INDEX {
            continue;
        }
        if !codes.contains(name) {
            findings.push(format!(
                "{} is of no code; codes are never renamed or reused: put `{name}` back into the \
                 table, or remove the page of a code that was never released",
                page.path
            ));
        }
        paged.insert(name.to_owned());
        for section in SECTIONS
            .iter()
            .filter(|section| !has_section(&page.text, section))
        {
            findings.push(format!(
                "{} has no section `{section}` with text in it",
                page.path
            ));
        }
    }
    for code in codes.difference(&paged) {
        findings.push(format!(
            "the code `{code}` has no page; write {PAGES}{code}.md with the sections {}",
            SECTIONS.join(", ")
        ));
    }
    findings
}

/// The codes of the table: its string literals in capitals.
fn codes(table: &str) -> BTreeSet<String> {
    string_literals(&blank(table, Keep::Strings))
        .filter(|literal| {
            literal.starts_with(|c: char| c.is_ascii_uppercase())
                && literal
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
        .map(str::to_owned)
        .collect()
}

fn page_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(PAGES)?.strip_suffix(".md")?;
    (!name.contains('/')).then_some(name)
}

/// Whether `page` has the heading `section` with a line of text before the next heading.
fn has_section(page: &str, section: &str) -> bool {
    page.lines()
        .skip_while(|line| line.trim_end() != section)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const TABLE: &str =
        "codes! {\n // \"NOT_THIS\"\n Known = \"KNOWN\",\n Other = \"OTHER_ONE\",\n}";
    const PAGE: &str = "# `X`\n\n## What\n\na\n\n## Why\n\nb\n\n## What to do\n\nc\n";

    #[test]
    fn codes_with_whole_pages_pass_and_the_index_is_no_page() {
        let files = [
            file("docs/errors/KNOWN.md", PAGE),
            file("docs/errors/OTHER_ONE.md", PAGE),
            file("docs/errors/README.md", "# Errors"),
            file("docs/guide/FLAGS.md", "# Flags"),
        ];
        assert_eq!(check(TABLE, &files), Vec::<String>::new());
    }

    #[test]
    fn a_code_without_a_page_and_a_page_without_a_code_are_found() {
        let files = [
            file("docs/errors/KNOWN.md", PAGE),
            file("docs/errors/GONE.md", PAGE),
        ];
        let findings = check(TABLE, &files);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(
            findings[0].starts_with("docs/errors/GONE.md is of no code"),
            "{findings:?}"
        );
        assert!(
            findings[1].starts_with("the code `OTHER_ONE` has no page"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_page_that_lacks_a_section_or_leaves_it_empty_is_found() {
        for page in [
            PAGE.replace("## Why", "Why"),
            PAGE.replace("## Why\n\nb\n", "## Why\n\n"),
            PAGE.replace("\nc\n", "\n"),
        ] {
            let files = [
                file("docs/errors/KNOWN.md", &page),
                file("docs/errors/OTHER_ONE.md", PAGE),
            ];
            assert_eq!(check(TABLE, &files).len(), 1, "{page}");
        }
    }

    #[test]
    fn a_table_that_cannot_be_read_is_no_success() {
        assert_eq!(check("enum Code {}", &[]).len(), 1);
    }
}
