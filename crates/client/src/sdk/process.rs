//! What belongs to one process of those that a fork makes: its locks, its threads, its end.
//!
//! INVARIANT: a forked process makes its own, so that a lock that another thread held at the fork
//! is never touched again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plane_api::AckRequest;
use plane_model::Timestamp;

use super::breaker::Breaker;
use super::demand::Fetches;
use super::error::Error;
use super::usage::Counted;

/// What belongs to one process and is made anew in a forked one: locks that another thread may
/// have held at the fork are never touched again.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: u32,
    progress: Mutex<Progress>,
    pub(crate) moved: Condvar,
    /// What its threads count.
    pub(crate) counted: Arc<Counted>,
    /// The parts of tenants that its threads fetch.
    pub(crate) fetches: Fetches,
    /// Held while what is served is replaced by what was made of it.
    swapping: Mutex<()>,
    /// Watches what this process applies, if there is a state directory.
    breaker: Mutex<Option<Breaker>>,
}

/// How far a process is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) is_started: bool,
    /// Whether a thread calls back.
    pub(crate) is_calling: bool,
    /// How often there was something to look at for those who watch.
    pub(crate) news: u64,
    /// Whether it is decided what the first use gets: a view, or why not.
    pub(crate) is_settled: bool,
    /// When the first use stops waiting.
    pub(crate) wait_until: Option<Duration>,
    pub(crate) last_error: Option<(Timestamp, Error)>,
    /// The codes of the troubles that were said since all was well.
    pub(crate) said: BTreeSet<String>,
    /// Whether servers are told what is held.
    pub(crate) is_telling: bool,
    /// Counts what servers should be told of.
    pub(crate) untold: u64,
    /// How much of that they were told.
    pub(crate) told: u64,
    /// What they are told last.
    pub(crate) last_word: Option<AckRequest>,
    /// What ends requests that wait.
    pub(crate) agent: Option<ureq::Agent>,
    /// What says, if it outlives the process, that it died.
    pub(crate) marker: Option<PathBuf>,
    pub(crate) is_closed: bool,
}

impl Progress {
    /// Forgets what went wrong, now that it goes right; says whether there was something.
    ///
    /// What is not vouched for any more is not put right by another view that is not either.
    pub(crate) fn recover(&mut self) -> bool {
        let passed = |last: &mut (Timestamp, Error)| !matches!(last.1, Error::Expired { .. });
        let is_over = self.last_error.take_if(passed).is_some();
        if is_over {
            self.said.clear();
        }
        is_over
    }

    /// Forgets that nothing recent was vouched for.
    pub(crate) fn end_alarm(&mut self) -> bool {
        let ended = |last: &mut (Timestamp, Error)| matches!(last.1, Error::Expired { .. });
        let is_over = self.last_error.take_if(ended).is_some();
        if is_over {
            self.said.clear();
        }
        is_over
    }
}

impl Process {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            progress: Mutex::default(),
            moved: Condvar::new(),
            counted: Arc::default(),
            fetches: Fetches::default(),
            swapping: Mutex::default(),
            breaker: Mutex::default(),
        }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from replacing what is served.
    pub(crate) fn swapping(&self) -> MutexGuard<'_, ()> {
        self.swapping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What watches what this process applies.
    pub(crate) fn breaker(&self) -> MutexGuard<'_, Option<Breaker>> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets closing end the requests of this agent.
    pub(crate) fn interruptible(&self, agent: ureq::Agent) {
        let mut progress = self.progress();
        if progress.is_closed {
            agent.shutdown();
        } else {
            progress.agent = Some(agent);
        }
    }

    /// Notes the marker that a clean end removes.
    pub(crate) fn marked(&self, path: PathBuf) {
        let mut progress = self.progress();
        progress.marker = Some(path);
        let is_closed = progress.is_closed;
        drop(progress);
        if is_closed {
            self.unmark();
        }
    }

    /// Removes the marker: what it names is good, or the process ends cleanly.
    pub(crate) fn unmark(&self) {
        if let Some(path) = self.progress().marker.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "a marker is not removed");
        }
    }

    /// Has those who watch look anew.
    pub(crate) fn has_news(&self) {
        self.progress().news += 1;
        self.moved.notify_all();
    }

    /// Waits until there is something that was not seen yet; none once the client is closed.
    pub(crate) fn wait_for_news(&self, seen: u64) -> Option<u64> {
        let waiting = |progress: &mut Progress| !progress.is_closed && progress.news == seen;
        let progress = self
            .moved
            .wait_while(self.progress(), waiting)
            .unwrap_or_else(PoisonError::into_inner);
        (!progress.is_closed).then_some(progress.news)
    }

    /// Waits at most `length` for something that was not seen yet; says whether it came.
    pub(crate) fn wait_for_later_news(&self, seen: u64, length: Duration) -> bool {
        let waiting = |progress: &mut Progress| !progress.is_closed && progress.news == seen;
        let (progress, _) = self
            .moved
            .wait_timeout_while(self.progress(), length, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        progress.news != seen
    }

    /// Has servers told how it stands.
    pub(crate) fn tell_servers(&self) {
        self.progress().untold += 1;
        self.moved.notify_all();
    }

    /// Waits at most `length` for something that servers were not told yet; says how much there is to tell.
    pub(crate) fn wait_for_untold(&self, seen: u64, length: Duration) -> u64 {
        let waiting = |progress: &mut Progress| !progress.is_closed && progress.untold == seen;
        let (progress, _) = self
            .moved
            .wait_timeout_while(self.progress(), length, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        progress.untold
    }

    /// Notes that servers know all up to here, or need not.
    pub(crate) fn told(&self, untold: u64) {
        let mut progress = self.progress();
        progress.told = progress.told.max(untold);
        self.moved.notify_all();
    }

    /// Waits until servers were told all, or will not be.
    pub(crate) fn wait_for_told(&self, length: Duration) {
        let waiting =
            |progress: &mut Progress| progress.is_telling && progress.told < progress.untold;
        let waited = self
            .moved
            .wait_timeout_while(self.progress(), length, waiting);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits; true if the client was closed meanwhile.
    pub(crate) fn pause(&self, length: Duration) -> bool {
        let progress = self.progress();
        let (progress, _) = self
            .moved
            .wait_timeout_while(progress, length, |progress| !progress.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        progress.is_closed
    }
}
