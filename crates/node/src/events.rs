//! What followers are told: each commit once, and the last ones again for those who come back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use plane_model::{Digest, PrincipalId, Timestamp};
use plane_state::delivery::Changed;
use tokio::sync::{broadcast, mpsc};

/// How many events a follower may lag behind before it has to fetch the whole view.
///
/// A slow reader costs no more than this many shared pointers; it is never waited for.
const EVENTS_KEPT: usize = 1_024;

/// One commit, for those who follow.
#[derive(Debug)]
pub struct Event {
    /// Its revision.
    pub revision: u64,
    /// Its hash.
    pub hash: Digest,
    /// When.
    pub at: Timestamp,
    /// By whom; none if its record cannot be read.
    pub actor: Option<PrincipalId>,
    /// What changed.
    pub changes: Vec<Changed>,
    telling: Mutex<Option<Telling>>,
}

/// Kept by whoever tells of a kill until all have been told: for a moment other commits wait for that.
#[derive(Debug, Clone)]
pub struct Telling {
    _all_told: mpsc::Sender<Infallible>,
}

impl Telling {
    /// One to keep, and what ends once it and its clones are gone.
    pub(crate) fn begin() -> (Self, mpsc::Receiver<Infallible>) {
        let (sender, all_told) = mpsc::channel(1);
        let telling = Self { _all_told: sender };
        (telling, all_told)
    }
}

impl Event {
    pub(crate) fn new(
        (revision, hash): (u64, Digest),
        at: Timestamp,
        actor: Option<PrincipalId>,
        changes: Vec<Changed>,
        telling: Option<Telling>,
    ) -> Self {
        Self {
            revision,
            hash,
            at,
            actor,
            changes,
            telling: Mutex::new(telling),
        }
    }

    /// What to keep while this kill is told to others; none if it is no kill, or another one keeps it.
    pub fn telling(&self) -> Option<Telling> {
        self.telling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    recent: Mutex<VecDeque<Arc<Event>>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        let (sender, _) = broadcast::channel(EVENTS_KEPT);
        Self {
            sender,
            recent: Mutex::new(VecDeque::with_capacity(EVENTS_KEPT)),
        }
    }

    pub(crate) fn publish(&self, event: Arc<Event>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == EVENTS_KEPT {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // An error only says that nobody follows.
        drop(self.sender.send(event));
    }

    /// Whether anybody follows.
    pub(crate) fn are_followed(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Follows from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// The events after a revision; none if they are no longer kept, or never were.
    pub(crate) fn after(&self, revision: u64, head: u64) -> Option<Vec<Arc<Event>>> {
        if revision == head {
            return Some(Vec::new());
        }
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = recent
            .front()
            .is_some_and(|first| first.revision <= revision + 1);
        kept.then(|| {
            recent
                .iter()
                .filter(|it| it.revision > revision)
                .cloned()
                .collect()
        })
    }

    /// The hash of a revision, if its event is still kept.
    pub(crate) fn hash_of(&self, revision: u64) -> Option<Digest> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .iter()
            .find(|event| event.revision == revision)
            .map(|event| event.hash)
    }
}
