//! Environments, tenants and what is bound to them; tokens and bindings.

use plane_model::documents::Allowed;
use plane_model::{
    Code, Document, DocumentKey, EnvironmentName, Kind, Violation, Violations, limits,
};

use super::{in_use, missing};
use crate::draft::Draft;
use crate::prepare::Touched;

/// The kinds whose documents may be bound to an environment or a tenant.
const BOUND: [Kind; 5] = [
    Kind::Targeting,
    Kind::Kill,
    Kind::Pin,
    Kind::Config,
    Kind::Channel,
];

pub(crate) fn check(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    for key in touched.keys() {
        let document = draft.get(key);
        let pointer = touched.pointer(key);
        match (key.kind(), document.as_deref()) {
            (Kind::Environment, Some(Document::Environment(new))) => {
                if let Some(Document::Environment(old)) = draft.base().document(key).map(|it| &**it)
                    && old.bucketing != new.bucketing
                {
                    found.push(
                        Violation::new(
                            Code::Immutable,
                            format!("{pointer}/bucketing"),
                            "another bucketing would move nearly every unit to another variant",
                        )
                        .next(format!("keep `bucketing: {}`", old.bucketing.as_str())),
                    );
                }
            }
            (Kind::Environment, None) => {
                let user = BOUND.into_iter().find_map(|kind| {
                    draft.any(kind, |other, _| {
                        other
                            .environment_name()
                            .is_some_and(|it| it.as_str() == key.name())
                    })
                });
                found.extend(user.map(|user| in_use(pointer, key, &user)));
            }
            (Kind::Tenant, Some(_)) => {
                if draft.base().entry(key).is_none()
                    && draft.base().of_kind(Kind::Tenant).count() >= limits::TENANTS_MAX
                {
                    let detail = format!("more than {} tenants", limits::TENANTS_MAX);
                    found.push(Violation::new(Code::LimitExceeded, pointer, detail));
                }
            }
            (Kind::Tenant, None) => {
                let user = BOUND.into_iter().find_map(|kind| {
                    draft.any(kind, |other, _| {
                        other
                            .tenant_id()
                            .is_some_and(|it| it.as_str() == key.name())
                    })
                });
                found.extend(user.map(|user| in_use(pointer, key, &user)));
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
