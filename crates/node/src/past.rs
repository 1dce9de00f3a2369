//! Answers about the past: the state as it was at a revision or a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use plane_log::ChangeLog;
use plane_model::Timestamp;

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
pub(crate) struct Past(Mutex<VecDeque<Arc<Snapshot>>>);

impl Past {
    /// The snapshot of a moment; `now` is the newest, at the time `clock`.
    pub(crate) async fn at(
        &self,
        log: &dyn ChangeLog,
        now: &Arc<Snapshot>,
        clock: Timestamp,
        at: At,
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
        if let Some(kept) = self.kept(revision) {
            return Ok(kept);
        }
        let snapshot = Arc::new(Snapshot::lazy(state_at(log, revision, now.state()).await?));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == SNAPSHOTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(snapshot.clone());
        Ok(snapshot)
    }

    fn kept(&self, revision: u64) -> Option<Arc<Snapshot>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|it| it.revision() == revision)?;
        let snapshot = kept.remove(at)?;
        kept.push_back(snapshot.clone());
        Some(snapshot)
    }
}
