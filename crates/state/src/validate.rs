//! The rules that span documents: each validator looks at the state as a command would leave it.

pub(crate) mod access;
pub(crate) mod attributes;
pub(crate) mod config;
pub(crate) mod flags;
mod graph;
mod groups;
pub(crate) mod places;
mod prerequisites;
pub(crate) mod registry;
mod segments;

use plane_model::{Code, DocumentKey, Kind, Violation, Violations, limits};

use crate::draft::Draft;

/// Refuses a commit after which there would be more documents of a kind than an installation has room for.
///
/// Commits that are decided at the same time may together go past the limit by their size.
pub(crate) fn check_counts(draft: &Draft<'_>, found: &mut Violations) {
    for (kind, max, what) in [
        (Kind::Flag, limits::FLAGS_MAX, "flags"),
        (Kind::Tenant, limits::TENANTS_MAX, "tenants"),
        (Kind::Schedule, limits::SCHEDULES_MAX, "schedules"),
    ] {
        let (mut created, mut deleted) = (0, 0);
        for (key, document) in draft.changed().filter(|(key, _)| key.kind() == kind) {
            match (draft.base().entry(key).is_some(), document.is_some()) {
                (false, true) => created += 1,
                (true, false) => deleted += 1,
                _ => {}
            }
        }
        let count = draft.base().count(kind) + created - deleted;
        if created > 0 && count > max {
            let detail =
                format!("there would be {count} {what}, more than the {max} of one installation");
            let next =
                format!("delete {what} that are no longer used, in the same commit or before");
            found.push(Violation::new(Code::LimitExceeded, "/ops", detail).next(next));
        }
    }
}

/// Says that a document refers to one that is not there.
fn missing(pointer: String, key: &DocumentKey, next: impl Into<String>) -> Violation {
    Violation::new(
        Code::ReferenceMissing,
        pointer,
        format!("there is no {key}"),
    )
    .next(next)
}

/// Says that a document cannot go while another refers to it.
fn in_use(pointer: String, key: &DocumentKey, user: &DocumentKey) -> Violation {
    Violation::new(
        Code::ReferenceInUse,
        pointer,
        format!("{key} is in use by {user}"),
    )
    .next(match user.kind() {
        Kind::Schedule => format!(
            "`control-plane schedule cancel {} -e {}` takes it back; or delete or change it in the same \
             commit",
            user.name(),
            user.scope()
        ),
        _ => format!("delete or change {user} in the same commit, or before"),
    })
}
