//! Attributes that rules ask for and splits divide by: refused where no context can have them.

use std::collections::BTreeSet;

use plane_model::{AttributePath, Document, Expr, Pointer, Violations};

use crate::command::{Action, Command};
use crate::draft::Draft;
use crate::prepare::Touched;

/// Is told which attribute is named, and can ask where.
type Visit<'v> = dyn FnMut(&AttributePath, &dyn Fn() -> Pointer) + 'v;

/// Refuses names that no attribute can have.
///
/// Logs from before this was checked may have them. There a document keeps those that it has, and a revert puts
/// back what was: a flag must not be stuck for its old slip when it has to be switched off.
pub(crate) fn check(
    draft: &Draft<'_>,
    command: &Command,
    touched: &Touched,
    found: &mut Violations,
) {
    if command.action == Action::Revert {
        return;
    }
    for (key, document) in draft.changed() {
        let Some(document) = document else {
            continue;
        };
        let mut wrong = Violations::new();
        for_each_attribute(document, &mut |path, at| {
            wrong.extend(plane_eval::unplaced(path).map(|it| it.below(at().as_str())));
        });
        if wrong.is_empty() {
            continue;
        }
        let mut before = BTreeSet::new();
        if let Some(document) = draft.base().document(key) {
            for_each_attribute(document, &mut |path, _| {
                before.extend(plane_eval::unplaced(path).map(|it| it.detail));
            });
        }
        let pointer = touched.pointer(key);
        let new = wrong.into_iter().filter(|it| !before.contains(&it.detail));
        found.extend(new.map(|it| it.below(&pointer)));
    }
}

fn for_each_attribute(document: &Document, visit: &mut Visit<'_>) {
    let root = Pointer::root;
    match document {
        Document::Targeting(it) => {
            for (index, target) in it.targets.iter().enumerate() {
                by(
                    target.by.as_ref(),
                    &|| root().key("targets").index(index),
                    visit,
                );
            }
            for (index, rule) in it.rules.iter().enumerate() {
                let at = || root().key("rules").index(index);
                expression(&rule.when, &|| at().key("if"), visit);
                by(rule.serve.by(), &|| at().key("serve"), visit);
            }
            let default = it.default.as_ref().and_then(|it| it.by());
            by(default, &|| root().key("default"), visit);
        }
        Document::Segment(it) => {
            if let Some(when) = &it.when {
                expression(when, &|| root().key("when"), visit);
            }
        }
        Document::ExclusionGroup(it) => by(it.by.as_ref(), &root, visit),
        Document::Channel(it) => {
            let path = it.split.as_ref().and_then(|it| it.by.as_ref());
            by(path, &|| root().key("split"), visit);
        }
        _ => {}
    }
}

fn expression(expr: &Expr, at: &dyn Fn() -> Pointer, visit: &mut Visit<'_>) {
    expr.for_each_clause_at(at, &mut |clause, at| {
        visit(&clause.attribute, &|| at().key("attribute"));
    });
}

fn by(path: Option<&AttributePath>, at: &dyn Fn() -> Pointer, visit: &mut Visit<'_>) {
    if let Some(path) = path {
        visit(path, &|| at().key("by"));
    }
}
