//! What became of a file: as JSON by `--output json` (docs/guide/import.md says how), as text for people.

use std::collections::{BTreeMap, BTreeSet};

use plane_model::Violation;
use plane_registry::import::{Change, Source};
use serde::Serialize;

use crate::output::{Page, Paint, count};

/// What became of a file.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    pub(super) definitions: usize,
    /// What the commit holds, or would hold with `--dry-run`.
    pub(super) published: Vec<Published>,
    /// Published already, or in the file before.
    pub(super) unchanged: Vec<Unchanged>,
    pub(super) refused: Vec<Refused>,
    pub(super) fixed: Vec<Changed>,
    /// What the definitions leave open and manifests need.
    pub(super) filled: Vec<Changed>,
    /// How many definitions have each field that manifests only keep.
    pub(super) kept: BTreeMap<String, usize>,
    pub(super) remarks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<u64>,
    pub(super) dry_run: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Published {
    pub(super) line: usize,
    pub(super) tool: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Unchanged {
    pub(super) line: usize,
    pub(super) tool: String,
    /// The line that says the same, if that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) same_as_line: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    line: usize,
    pointer: String,
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Changed {
    line: usize,
    name: String,
    changes: Vec<PlacedChange>,
}

#[derive(Debug, Serialize)]
struct PlacedChange {
    line: usize,
    pointer: String,
    detail: String,
}

/// Where a definition stands, and what it is called.
#[derive(Debug)]
pub(super) struct Place<'t> {
    pub(super) name: String,
    pub(super) source: Source<'t>,
}

impl Place<'_> {
    /// Places findings whose pointers are ones into the definition.
    pub(super) fn refused<T: Into<Finding>>(&self, found: Vec<T>) -> Refused {
        let lines = self.source.lines();
        let findings = found.into_iter().map(|it| {
            let it: Finding = it.into();
            Finding {
                line: lines.line(&it.pointer),
                pointer: format!("{}{}", self.source.pointer, it.pointer),
                ..it
            }
        });
        Refused {
            line: self.source.line,
            name: self.name.clone(),
            findings: findings.collect(),
        }
    }

    /// Places changes, if there are any.
    pub(super) fn changed(&self, changes: &[Change]) -> Option<Changed> {
        if changes.is_empty() {
            return None;
        }
        let lines = self.source.lines();
        let placed = changes.iter().map(|it| PlacedChange {
            line: lines.line(&it.pointer),
            pointer: format!("{}{}", self.source.pointer, it.pointer),
            detail: it.detail.clone(),
        });
        Some(Changed {
            line: self.source.line,
            name: self.name.clone(),
            changes: placed.collect(),
        })
    }
}

impl From<Violation> for Finding {
    fn from(it: Violation) -> Self {
        Self {
            line: 0,
            pointer: it.pointer,
            code: it.code.as_str().to_owned(),
            detail: it.detail,
            next: Some(it.next),
        }
    }
}

impl Finding {
    /// Takes over what the server found about the place at `pointer` of the definition.
    pub(super) fn of_server(pointer: String, found: &plane_api::Finding) -> Self {
        Self {
            line: 0,
            pointer,
            code: found.code.clone(),
            detail: found.detail.clone(),
            next: found.next.clone(),
        }
    }
}

impl Refused {
    /// Returns whether a finding says that `--fix` helps.
    pub(super) fn can_be_fixed(&self) -> bool {
        let mut next = self.findings.iter().filter_map(|it| it.next.as_deref());
        next.any(|next| next.contains("--fix"))
    }
}

impl Report {
    /// Returns whether nothing of the file is in the registry now.
    pub(super) fn is_empty(&self) -> bool {
        self.published.is_empty() && self.unchanged.is_empty()
    }

    /// Writes a line for everything that was done or refused, and the sums at the end, where a person looks.
    pub(super) fn show(&self, page: &mut Page, format: &str) {
        let (fixed, filled) = match self.revision {
            Some(_) => ("Fixed", "Filled in"),
            None => ("Would be fixed", "Would be filled in"),
        };
        self.show_changes(page, fixed, &self.fixed);
        self.show_changes(page, filled, &self.filled);
        if !self.refused.is_empty() {
            page.heading("Refused");
        }
        for it in &self.refused {
            for finding in &it.findings {
                let place = self.place(finding.line, &it.name, &finding.pointer);
                let place = page.paint(Paint::Error, &place);
                let next = finding.next.as_ref().map(|next| format!("; {next}"));
                let (next, code) = (next.unwrap_or_default(), &finding.code);
                page.line(format!("{place}: {} [{code}]{next}", finding.detail));
            }
        }
        page.heading(if self.dry_run {
            "Dry run: nothing was changed"
        } else {
            "Sum"
        });
        self.show_sums(page, format);
        for remark in &self.remarks {
            let remark = page.paint(Paint::Warn, &format!("note: {remark}"));
            page.line(remark);
        }
        page.gap();
    }

    fn show_changes(&self, page: &mut Page, heading: &str, changed: &[Changed]) {
        if !changed.is_empty() {
            page.heading(heading);
        }
        for it in changed {
            for change in &it.changes {
                let place = self.place(change.line, &it.name, &change.pointer);
                page.line(format!("{place}: {}", change.detail));
            }
        }
    }

    fn show_sums(&self, page: &mut Page, format: &str) {
        let published = if self.dry_run {
            "would publish"
        } else {
            "published"
        };
        let names = self.published.iter().map(|it| it.tool.split('@').next());
        let names: BTreeSet<_> = names.collect();
        let versions = count(self.published.len(), "version");
        let versions = match names.len() {
            0 => "nothing".to_owned(),
            tools => format!("{versions} of {}", count(tools, "tool")),
        };
        let repeated = self.unchanged.iter().filter(|it| it.same_as_line.is_some());
        let repeated = repeated.count();
        let known = self.unchanged.len() - repeated;
        let kept = self
            .kept
            .iter()
            .map(|(key, times)| format!("{key} ({times})"));
        let kept: Vec<String> = kept.collect();
        let kept = format!("{} in `metadata.{format}`", kept.join(", "));
        let sum = |number: usize| (number > 0).then(|| number.to_string());
        page.fields(vec![
            ("definitions", Some(self.definitions.to_string())),
            (published, Some(versions)),
            ("revision", self.revision.map(|it| it.to_string())),
            ("published before", sum(known)),
            ("repeated in the file", sum(repeated)),
            ("refused", sum(self.refused.len())),
            ("fixed", changes(&self.fixed).filter(|_| !names.is_empty())),
            (
                "filled in",
                changes(&self.filled).filter(|_| !names.is_empty()),
            ),
            ("kept as found", (!self.kept.is_empty()).then_some(kept)),
        ]);
    }

    fn place(&self, line: usize, name: &str, pointer: &str) -> String {
        let place = format!("{}:{line} {name} {pointer}", self.file);
        place.trim_end().to_owned()
    }
}

/// How much was changed, if anything.
fn changes(changed: &[Changed]) -> Option<String> {
    let places = changed.iter().map(|it| it.changes.len()).sum();
    let definitions = count(changed.len(), "definition");
    (!changed.is_empty()).then(|| format!("{} in {definitions}", count(places, "place")))
}
