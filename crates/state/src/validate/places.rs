//! Environments, tenants and what is bound to them; tokens and bindings.

use std::collections::BTreeSet;

use plane_model::documents::{Allowed, Environment};
use plane_model::{Code, Document, DocumentKey, EnvironmentName, Kind, Violation, Violations};

use super::{in_use, missing};
use crate::command::{Action, Command};
use crate::draft::Draft;
use crate::prepare::Touched;
use crate::uses;

/// The kinds whose documents may be bound to an environment or a tenant.
const BOUND: [Kind; 6] = [
    Kind::Targeting,
    Kind::Kill,
    Kind::Pin,
    Kind::Config,
    Kind::Channel,
    Kind::Schedule,
];

pub(crate) fn check(
    draft: &mut Draft<'_>,
    command: &Command,
    touched: &Touched,
    found: &mut Violations,
) {
    for key in touched.keys() {
        let document = draft.get(key);
        let pointer = touched.pointer(key);
        match (key.kind(), document.as_deref()) {
            (Kind::Environment, Some(Document::Environment(new))) => {
                let old = match draft.base().document(key).map(|it| &**it) {
                    Some(Document::Environment(old)) => Some(old),
                    _ => None,
                };
                check_bucketing(command.action, key, old, new, &pointer, found);
            }
            (_, Some(document)) => {
                check_place(draft, key, &pointer, found);
                let environments = match document {
                    Document::Token(it) => Some(&it.environments),
                    Document::RoleBinding(it) => Some(&it.environments),
                    _ => None,
                };
                if let Some(Allowed::Only(environments)) = environments {
                    for (index, name) in environments.iter().enumerate() {
                        let pointer = format!("{pointer}/environments/{index}");
                        check_environment(draft, name, pointer, found);
                    }
                }
            }
            (_, None) => {}
        }
    }
    check_leavers(draft, touched, found);
}

/// Another bucketing moves nearly every unit, so that it comes by a migration only, which changes nothing else.
fn check_bucketing(
    action: Action,
    key: &DocumentKey,
    old: Option<&Environment>,
    new: &Environment,
    pointer: &str,
    found: &mut Violations,
) {
    let is_migration = action == Action::Migrate;
    let Some(old) = old else {
        if is_migration {
            let next = "create it with the bucketing that it shall have";
            found.push(missing(pointer.to_owned(), key, next));
        }
        return;
    };
    let (was, is) = (old.bucketing.as_str(), new.bucketing.as_str());
    let migrated = Environment {
        bucketing: new.bucketing,
        ..old.clone()
    };
    if !is_migration && was != is {
        let violation = Violation::new(
            Code::Immutable,
            format!("{pointer}/bucketing"),
            "another bucketing would move nearly every unit to another variant",
        );
        found.push(violation.next(format!(
            "keep `bucketing: {was}`, or migrate first: `control-plane environment migrate {} --bucketing {is} --dry-run` shows who would move",
            key.name()
        )));
    } else if is_migration && *new != migrated {
        found.push(
            Violation::new(
                Code::CommandRequired,
                pointer.to_owned(),
                "a migration changes the bucketing of an environment, and nothing else",
            )
            .next("send the other changes in a commit of their own"),
        );
    }
}

/// Refuses to delete environments and tenants that documents are bound to.
///
/// Looks at every document that can be bound once, however many leave.
fn check_leavers(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    let leavers: BTreeSet<DocumentKey> = touched
        .keys()
        .filter(|key| matches!(key.kind(), Kind::Environment | Kind::Tenant))
        .filter(|key| draft.get(key).is_none())
        .cloned()
        .collect();
    if leavers.is_empty() {
        return;
    }
    for (leaver, user) in uses::bound_to(draft, &BOUND, &leavers) {
        found.push(in_use(touched.pointer(&leaver), &leaver, &user));
    }
}

/// The environment and the tenant that a document is bound to must be there.
fn check_place(draft: &mut Draft<'_>, key: &DocumentKey, pointer: &str, found: &mut Violations) {
    if !BOUND.contains(&key.kind()) {
        return;
    }
    if let Some(name) = key.environment_name() {
        check_environment(draft, &name, pointer.to_owned(), found);
    }
    if let Some(tenant) = key.tenant_id() {
        let tenant = DocumentKey::tenant(&tenant);
        if !draft.has(&tenant) {
            found.push(missing(
                pointer.to_owned(),
                &tenant,
                "create the tenant first",
            ));
        }
    }
}

fn check_environment(
    draft: &mut Draft<'_>,
    name: &EnvironmentName,
    pointer: String,
    found: &mut Violations,
) {
    let key = DocumentKey::environment(name);
    if !draft.has(&key) {
        let known: Vec<_> = draft
            .base()
            .environments()
            .iter()
            .map(ToString::to_string)
            .collect();
        let next = match known.as_slice() {
            [] => "create the environment first".to_owned(),
            known => format!("use one of {}, or create it first", known.join(", ")),
        };
        found.push(missing(pointer, &key, next));
    }
}
