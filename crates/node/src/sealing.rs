//! Commits made without a node: for those who write a log of their own, and then start a node on it.

use plane_eval::Change;
use plane_log::Entry;
use plane_model::Timestamp;
use plane_state::{Anomaly, Prepared, State, seal};

use crate::convert::{Fetched, entry};

/// A prepared command as a commit upon a state, and what comes of it.
#[derive(Debug)]
pub struct Sealing {
    /// What a log stores.
    pub entry: Entry,
    /// The state after it.
    pub state: State,
    /// What views follow.
    pub changes: Vec<Change>,
    /// What does not fold cleanly; a node refuses such a commit.
    pub anomalies: Vec<Anomaly>,
}

impl Sealing {
    /// Seals `prepared` as the commit that follows `state`, whether or not the decision still holds.
    pub fn of(
        state: &State,
        prepared: &Prepared,
        now: Timestamp,
        salt: &mut dyn FnMut() -> [u8; 16],
    ) -> Self {
        let sealed = seal(state, prepared, now, salt);
        let (next, applied) = state.apply(
            sealed.record.revision,
            sealed.hash,
            &sealed.bytes,
            &Fetched::of(&sealed),
        );
        Self {
            entry: entry(&sealed),
            state: next,
            changes: applied.changes,
            anomalies: applied.anomalies,
        }
    }
}
