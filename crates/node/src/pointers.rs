//! Where findings stand about operations that no request has.

use plane_model::DocumentKey;

use crate::error::CommitError;

/// Points the findings about operations at the documents of the tree that they came from; those about what
/// was made here name its document instead, as no place in the request has to do with it.
pub(crate) fn relocated(
    error: CommitError,
    keys: &[DocumentKey],
    origins: &[Option<usize>],
) -> CommitError {
    let CommitError::Rejected(mut rejection) = error else {
        return error;
    };
    for violation in &mut rejection.violations {
        let Some(rest) = violation.pointer.strip_prefix("/ops/") else {
            continue;
        };
        let (index, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let Ok(index) = index.parse::<usize>() else {
            continue;
        };
        let rest = rest.strip_prefix("body").unwrap_or(rest);
        if let Some(origin) = origins.get(index).copied().flatten() {
            violation.pointer = format!("/documents/{origin}{rest}");
        } else if let Some(key) = keys.get(index) {
            let key = key.to_string();
            if !violation.detail.contains(&key) {
                violation.detail = format!("{key}: {}", violation.detail);
            }
            violation.pointer.clear();
        }
    }
    CommitError::Rejected(rejection)
}
