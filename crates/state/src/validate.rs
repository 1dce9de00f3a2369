//! The rules that span documents: each validator looks at the state as a command would leave it.

pub(crate) mod config;
pub(crate) mod flags;
pub(crate) mod places;
pub(crate) mod registry;

use plane_model::{Code, DocumentKey, Violation};

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
    .next(format!(
        "delete or change {user} in the same commit, or before"
    ))
}
