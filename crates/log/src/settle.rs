//! What to do when nobody said whether an append was stored.

use crate::{AppendError, Appended, ChangeLog, Entry, Head, ReadError, ReadLimit};

/// Tells what became of a run whose outcome was unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The run is in the log.
    Committed {
        /// The head after the run; the log's own head may be further on.
        head: Head,
    },
    /// The run is not in the log, and the head is still the one expected: send the same bytes again.
    Absent,
    /// Others have written in its place: decide again on the new head.
    Conflict {
        /// The head as it is.
        head: Head,
    },
}

/// Finds out what became of `run`, by reading what follows `expected` and comparing hashes.
///
/// Because a run is stored whole or not at all, and its first entry names its parent, the log holds the run exactly
/// if the revisions after `expected` carry the hashes of the run.
///
/// # Errors
/// The log cannot be read: the outcome is still unknown.
pub async fn settle(
    log: &dyn ChangeLog,
    expected: Head,
    run: &[Entry],
) -> Result<Settled, ReadError> {
    let mut rest = run;
    while let Some(first) = rest.first() {
        let limit = ReadLimit::records(rest.len().min(ReadLimit::default().records));
        let found = log.read(first.revision.saturating_sub(1), limit).await?;
        let same = found
            .iter()
            .zip(rest)
            .all(|(stored, entry)| stored.head() == entry.head());
        if found.is_empty() || !same {
            let head = log.head().await?;
            return Ok(if head == expected {
                Settled::Absent
            } else {
                Settled::Conflict { head }
            });
        }
        rest = rest.get(found.len()..).unwrap_or_default();
    }
    Ok(Settled::Committed {
        head: run.last().map_or(expected, Entry::head),
    })
}

/// Appends `run`, and settles an unknown outcome by reading and sending the same bytes again, at most `resends` times.
///
/// A conflict is settled too, so that a run that was stored under a lost acknowledgement counts as committed, once.
///
/// # Errors
/// [`AppendError::Unknown`] if the log could not be read or every resend was left unanswered; the others as
/// [`ChangeLog::append`] gives them.
pub async fn append_settled(
    log: &dyn ChangeLog,
    expected: Head,
    run: &[Entry],
    resends: u32,
) -> Result<Appended, AppendError> {
    let mut resends = resends;
    loop {
        match log.append(expected, run).await {
            Ok(Appended::Conflict { .. }) | Err(AppendError::Unknown) if !run.is_empty() => {}
            appended => return appended,
        }
        match settle(log, expected, run).await {
            Ok(Settled::Committed { head }) => return Ok(Appended::Committed { head }),
            Ok(Settled::Conflict { head }) => return Ok(Appended::Conflict { head }),
            Ok(Settled::Absent) if resends > 0 => resends -= 1,
            Ok(Settled::Absent) | Err(_) => return Err(AppendError::Unknown),
        }
    }
}
