//! What a run must satisfy before any backend looks at it.

use std::collections::BTreeSet;

use crate::{AppendError, Entry, Head, LimitExceeded};

/// How many bytes a record may have: 16 MiB.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// How many bytes a body may have: 16 MiB. The product stops far earlier; this bounds one row of the store.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// How many bytes a blob may have: 64 MiB.
pub const BLOB_BYTES_MAX: usize = 64 << 20;

/// How many bytes of records, bodies and blobs one run may have: 256 MiB, because a run is one transaction.
pub const RUN_BYTES_MAX: usize = 256 << 20;

/// Checks that `run` follows from `expected`, names no id twice and is within the limits; returns its payload bytes.
pub(crate) fn check_run(expected: Head, run: &[Entry]) -> Result<usize, AppendError> {
    let mut head = expected;
    let mut at_ms = i64::MIN;
    let mut ids = BTreeSet::new();
    let mut total = 0_usize;
    for entry in run {
        check_link(head, at_ms, entry)?;
        if !ids.insert(entry.id.as_str()) {
            return Err(AppendError::DuplicateId {
                id: entry.id.clone(),
                revision: None,
            });
        }
        total = total.saturating_add(check_sizes(entry)?);
        head = entry.head();
        at_ms = entry.at_ms;
    }
    within("a run of commits", total, RUN_BYTES_MAX)?;
    Ok(total)
}

/// Checks that `entry` follows an entry that ends at `head` and was committed at `at_ms`.
pub(crate) fn check_link(head: Head, at_ms: i64, entry: &Entry) -> Result<(), AppendError> {
    let malformed = |detail| Err(AppendError::Malformed { detail });
    if Some(entry.revision) != head.revision.checked_add(1) {
        return malformed(format!(
            "revision {} does not follow revision {}",
            entry.revision, head.revision
        ));
    }
    if entry.parent != head.hash {
        return malformed(format!(
            "revision {} names the parent {}, and the entry before it is {}",
            entry.revision, entry.parent, head.hash
        ));
    }
    if entry.at_ms < at_ms {
        return malformed(format!(
            "revision {} is dated {} ms, before the entry it follows, {at_ms} ms",
            entry.revision, entry.at_ms
        ));
    }
    if entry.id.is_empty() {
        return malformed(format!("revision {} has an empty id", entry.revision));
    }
    Ok(())
}

fn check_sizes(entry: &Entry) -> Result<usize, AppendError> {
    within("a record", entry.record.len(), RECORD_BYTES_MAX)?;
    let mut total = entry.record.len();
    for body in &entry.bodies {
        within("a document", body.bytes.len(), BODY_BYTES_MAX)?;
        total = total.saturating_add(body.bytes.len());
    }
    for blob in &entry.blobs {
        within("a blob", blob.bytes.len(), BLOB_BYTES_MAX)?;
        total = total.saturating_add(blob.bytes.len());
    }
    Ok(total)
}

fn within(what: &str, bytes: usize, bytes_max: usize) -> Result<(), LimitExceeded> {
    if bytes > bytes_max {
        return Err(LimitExceeded {
            what: what.to_owned(),
            bytes,
            bytes_max,
        });
    }
    Ok(())
}
