//! Answers about the past: the state as it was at a revision or a time, whole or of one kind of document.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use plane_log::ChangeLog;
use plane_model::{Kind, Timestamp};

use crate::error::AtError;
use crate::load::state_at;
use crate::snapshot::Snapshot;

/// How many past snapshots are kept, because people ask about one again and again.
const SNAPSHOTS_KEPT: usize = 4;

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Just after this revision.
    Revision(u64),
    /// At this time.
    Time(Timestamp),
}

#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<VecDeque<Kept>>);

#[derive(Debug)]
struct Kept {
    snapshot: Arc<Snapshot>,
    /// The kind that it has all documents of; none if it is whole.
    kind: Option<Kind>,
}

impl Kept {
    fn answers(&self, revision: u64, kind: Option<Kind>) -> bool {
        self.snapshot.revision() == revision && (self.kind.is_none() || self.kind == kind)
    }
}

impl Past {
    /// The snapshot of a moment, which may have documents of `kind` only; `now` is the newest, at the time `clock`.
    pub(crate) async fn at(
        &self,
        log: &dyn ChangeLog,
        now: &Arc<Snapshot>,
        clock: Timestamp,
        at: At,
        kind: Option<Kind>,
    ) -> Result<Arc<Snapshot>, AtError> {
        let revision = match at {
            At::Revision(revision) => revision,
            At::Time(time) if time > clock => return Err(AtError::Future(time)),
            At::Time(time) => log.revision_at(time.as_ms()).await?,
        };
        let head = now.revision();
        if revision > head {
            return Err(AtError::Ahead { revision, head });
        }
        if revision == head {
            return Ok(now.clone());
        }
        if let Some(kept) = self.kept(revision, kind) {
            return Ok(kept);
        }
        let state = state_at(log, revision, kind, now.state()).await?;
        let snapshot = Arc::new(Snapshot::lazy(state));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == SNAPSHOTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            snapshot: snapshot.clone(),
            kind,
        });
        Ok(snapshot)
    }

    fn kept(&self, revision: u64, kind: Option<Kind>) -> Option<Arc<Snapshot>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|it| it.answers(revision, kind))?;
        let found = kept.remove(at)?;
        let snapshot = found.snapshot.clone();
        kept.push_back(found);
        Some(snapshot)
    }
}
