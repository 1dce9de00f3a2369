//! Segments that are made of others.

use std::collections::BTreeSet;

use plane_model::documents::{Segment, Targeting};
use plane_model::{
    Code, Document, DocumentKey, Expr, Kind, Operand, Operator, SegmentName, Violation, Violations,
    limits,
};

use super::graph::{self, Needs};
use super::{in_use, missing};
use crate::draft::Draft;
use crate::uses;

/// Checks what a touched segment is made of.
pub(super) fn check(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    segment: &Segment,
    pointer: &str,
    found: &mut Violations,
) {
    let named = segment.when.as_ref().map(named).unwrap_or_default();
    let pointer = format!("{pointer}/when");
    check_named(draft, &named, &pointer, found);
    let before = match draft.base().document(key).map(|it| &**it) {
        Some(Document::Segment(before)) => before.when.as_ref(),
        _ => None,
    };
    let Ok(name) = SegmentName::new(key.name()) else {
        return;
    };
    if named.is_empty() || segment.when.as_ref() == before {
        return;
    }
    let all = draft.select(
        Kind::Segment,
        |document| matches!(document, Document::Segment(it) if it.when.is_some()),
    );
    let mut needs = Needs::new();
    for (other, document) in &all {
        if let (Ok(other), Document::Segment(it)) = (SegmentName::new(other.name()), &**document) {
            needs.insert(other, it.when.as_ref().map(asked).unwrap_or_default());
        }
    }
    found.extend(graph::check(
        &needs,
        &name,
        limits::SEGMENT_DEPTH_MAX,
        pointer,
    ));
}

/// The segments that an expression names must be there.
pub(super) fn check_named(
    draft: &mut Draft<'_>,
    named: &BTreeSet<String>,
    pointer: &str,
    found: &mut Violations,
) {
    for name in named {
        match SegmentName::new(name) {
            Ok(name) => {
                let segment = DocumentKey::segment(&name);
                if !draft.has(&segment) {
                    found.push(missing(
                        pointer.to_owned(),
                        &segment,
                        "create the segment first",
                    ));
                }
            }
            Err(error) => found.push(error.at(pointer.to_owned())),
        }
    }
}

/// Refuses to delete a segment that rules, other segments or schedules name.
pub(super) fn check_unused(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    pointer: String,
    found: &mut Violations,
) {
    let user = uses::user_of(
        draft,
        &[Kind::Targeting, Kind::Segment, Kind::Schedule],
        key,
    );
    found.extend(user.map(|user| in_use(pointer, key, &user)));
}

/// Refuses rules that name segments more often than one evaluation may ask.
pub(super) fn check_count(targeting: &Targeting, pointer: &str, found: &mut Violations) {
    let rules = targeting.rules.iter();
    let count: usize = rules.map(|rule| asked(&rule.when).len()).sum();
    if count > limits::REFERENCES_ASKED_MAX {
        let detail = format!(
            "the rules name segments {count} times, more than {}",
            limits::REFERENCES_ASKED_MAX
        );
        found.push(
            Violation::new(Code::LimitExceeded, format!("{pointer}/rules"), detail)
                .next("make one segment of those that are named together"),
        );
    }
}

/// The segments that an expression names.
pub(super) fn named(expr: &Expr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for_each_named(expr, |name| {
        names.insert(name.to_owned());
    });
    names
}

/// The segments that an expression names, each as often as it does.
fn asked(expr: &Expr) -> Vec<SegmentName> {
    let mut names = Vec::new();
    for_each_named(expr, |name| names.extend(SegmentName::new(name).ok()));
    names
}

fn for_each_named(expr: &Expr, mut visit: impl FnMut(&str)) {
    expr.for_each_clause(&mut |clause| {
        if clause.operator == Operator::Segment {
            for operand in &clause.operands {
                if let Operand::Text(name) = operand {
                    visit(name);
                }
            }
        }
    });
}
