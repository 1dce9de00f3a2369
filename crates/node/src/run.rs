//! A run: commits that are sealed one upon the other and appended together; all of them share one flush.

use std::collections::HashMap;

use plane_log::{Entry, Head};
use plane_model::{Digest, Timestamp};
use plane_state::delivery::Changed;
use plane_state::{Action, Admission, Prepared, Sealed, State, admit, prepare, seal};
use tokio::sync::oneshot;

use crate::convert::{Fetched, entry, hash};
use crate::deciding::is_heavy;
use crate::error::CommitError;

/// Commits in one run: enough to share a flush, few enough that a kill behind them waits briefly.
const RUN_MAX: usize = 64;
/// Commits that a run with kills takes along: few, and not none, so that kills that never cease do not stop the rest.
const BESIDE_KILLS_MAX: usize = 4;
/// Documents in one run of several commits, for the same reason.
const RUN_OPS_MAX: usize = 512;

/// What the writer answers.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The commit is durable and published.
    Committed(Done),
    /// The decision no longer holds: decide again, off the writer's thread, and come back.
    Stale,
    /// The commit was not made.
    Failed(CommitError),
}

/// Where a commit ended up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) revision: u64,
    pub(crate) hash: Digest,
    pub(crate) at: Timestamp,
    /// Whether the state changed; if not, the rest names the head.
    pub(crate) changed: bool,
    /// Whether an earlier request had made the commit.
    pub(crate) repeated: bool,
}

/// A commit on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prepared: Prepared,
    /// Whether the submitter has come back so often that other commits have to wait for it.
    pub(crate) insists: bool,
    /// Whether it was decided upon a state that was not durable yet, and may never be.
    pub(crate) is_provisional: bool,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

impl Job {
    pub(crate) fn is_kill(&self) -> bool {
        self.prepared.command.is_kill()
    }

    pub(crate) fn answer(self, outcome: Outcome) {
        // The submitter may have gone away; its commit stands all the same.
        drop(self.reply.send(outcome));
    }
}

/// A job that is sealed.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) job: Job,
    pub(crate) sealed: Sealed,
    pub(crate) changes: Vec<Changed>,
}

/// What became of a job that is not sealed.
#[derive(Debug)]
enum Settled {
    Answered(Outcome),
    /// It was overtaken again and insists.
    Overtaken,
}

/// Commits that are sealed one upon the other, and what others are answered.
#[derive(Debug)]
pub(crate) struct Run {
    before: State,
    after: State,
    ready: Vec<Ready>,
    /// The place of each sealed commit, by its id.
    ids: HashMap<String, usize>,
    /// These hold once that is durable which the run follows.
    settled: Vec<(Job, Settled)>,
    ops: usize,
    kills: usize,
}

/// What a run leads to.
pub(crate) struct Parts {
    pub(crate) ready: Vec<Ready>,
    pub(crate) after: State,
}

impl Run {
    /// An empty one that follows `state`.
    pub(crate) fn upon(state: &State) -> Self {
        Self {
            before: state.clone(),
            after: state.clone(),
            ready: Vec::new(),
            ids: HashMap::new(),
            settled: Vec::new(),
            ops: 0,
            kills: 0,
        }
    }

    /// An empty one that follows what this one follows.
    pub(crate) fn anew(&self) -> Self {
        Self::upon(&self.before)
    }

    /// The state that it leads to.
    pub(crate) fn after(&self) -> &State {
        &self.after
    }

    /// Whether nothing of it is to be appended.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(crate) fn holds_kills(&self) -> bool {
        self.kills > 0
    }

    /// Whether it takes one more commit that is no kill.
    pub(crate) fn has_room(&self) -> bool {
        let jobs = self.ready.len() + self.settled.len();
        let jobs_max = if self.holds_kills() {
            self.kills + BESIDE_KILLS_MAX
        } else {
            RUN_MAX
        };
        jobs < jobs_max && self.ops < RUN_OPS_MAX
    }

    pub(crate) fn has_room_for_a_kill(&self) -> bool {
        self.kills < RUN_MAX
    }

    /// What is appended, and the head that it follows.
    pub(crate) fn entries(&self) -> (Head, Vec<Entry>) {
        let head = self.before.head();
        let expected = Head {
            revision: head.revision,
            hash: hash(&head.hash),
        };
        (
            expected,
            self.ready.iter().map(|it| entry(&it.sealed)).collect(),
        )
    }

    /// The request and the revision of the commit with this id, if it is sealed here.
    fn sealed_as(&self, id: &str) -> Option<(Digest, u64)> {
        let sealed = &self.ready.get(*self.ids.get(id)?)?.sealed;
        Some((sealed.request, sealed.record.revision))
    }

    /// Seals the job if it still holds, and else notes what it is answered.
    ///
    /// `earlier` is the request and the outcome of a commit with its id that was made before, and `ahead` the run
    /// that this one follows, if that is not durable yet.
    pub(crate) fn admit(
        &mut self,
        job: Job,
        earlier: Option<&(Digest, Done)>,
        ahead: Option<&Self>,
        now: Timestamp,
    ) {
        self.ops += job.prepared.ops.len();
        self.kills += usize::from(job.is_kill());
        let twin = || {
            let id = &job.prepared.command.id;
            let here = self.sealed_as(id);
            here.or_else(|| ahead.and_then(|run| run.sealed_as(id)))
        };
        let settled = match (earlier, earlier.map_or_else(twin, |_| None)) {
            (Some((request, done)), _) => Some(if *request == job.prepared.request {
                Outcome::Committed(Done {
                    repeated: true,
                    ..*done
                })
            } else {
                id_reused(&job, done.revision)
            }),
            // The submitter finds its twin when it comes back.
            (None, Some((request, _))) if request == job.prepared.request => Some(Outcome::Stale),
            (None, Some((_, revision))) => Some(id_reused(&job, revision)),
            (None, None) => None,
        };
        match settled {
            Some(outcome) => self.settled.push((job, Settled::Answered(outcome))),
            None => self.decide(job, now),
        }
    }

    /// Decides anew if the decision no longer holds, and seals what there is to commit.
    fn decide(&mut self, mut job: Job, now: Timestamp) {
        if job.is_provisional || admit(&self.after, &job.prepared) == Admission::Stale {
            if is_heavy(&job.prepared.command) {
                let settled = if job.insists {
                    Settled::Overtaken
                } else {
                    Settled::Answered(Outcome::Stale)
                };
                self.settled.push((job, settled));
                return;
            }
            match prepare(&self.after, &job.prepared.command, now) {
                Ok(prepared) => {
                    job.prepared = prepared;
                    job.is_provisional = true;
                }
                Err(rejection) => {
                    let outcome = Outcome::Failed(CommitError::Rejected(rejection));
                    self.settled.push((job, Settled::Answered(outcome)));
                    return;
                }
            }
        }
        let is_recovery = job.prepared.command.action == Action::Recover;
        if job.prepared.ops.is_empty() && !is_recovery {
            let head = self.after.head();
            let done = Done {
                revision: head.revision,
                hash: head.hash,
                at: head.at,
                changed: false,
                repeated: false,
            };
            self.settled
                .push((job, Settled::Answered(Outcome::Committed(done))));
            return;
        }
        self.seal(job, now);
    }

    fn seal(&mut self, job: Job, now: Timestamp) {
        let sealed = seal(&self.after, &job.prepared, now, &mut salt);
        let applied = self.after.follow(&sealed, &Fetched::of(&sealed));
        if let Some(anomaly) = applied.anomalies.first() {
            // What this version writes, this version reads: anything else is a bug, not a commit.
            tracing::error!(detail = %anomaly.detail, "a commit does not fold cleanly");
            let detail = format!("the commit would not read back: {}", anomaly.detail);
            let outcome = Outcome::Failed(CommitError::StoreUnavailable(detail));
            self.settled.push((job, Settled::Answered(outcome)));
            self.after = self.before.clone();
            for it in &self.ready {
                self.after.follow(&it.sealed, &Fetched::of(&it.sealed));
            }
            return;
        }
        let changes = applied.changes.into_iter();
        let changes = changes.map(|it| Changed::of(&self.after, it)).collect();
        self.ids.insert(sealed.record.id.clone(), self.ready.len());
        self.ready.push(Ready {
            job,
            sealed,
            changes,
        });
    }

    /// Answers those that are not sealed, now that what it follows is durable; gives back those that were overtaken.
    pub(crate) fn answer_settled(&mut self) -> Vec<Job> {
        let mut overtaken = Vec::new();
        for (job, settled) in self.settled.drain(..) {
            match settled {
                Settled::Answered(outcome) => job.answer(outcome),
                Settled::Overtaken => overtaken.push(job),
            }
        }
        overtaken
    }

    /// What is published once it is durable.
    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            ready: self.ready,
            after: self.after,
        }
    }

    /// Gives all jobs back, as nothing of it is appended.
    pub(crate) fn into_jobs(self) -> impl DoubleEndedIterator<Item = Job> {
        let ready = self.ready.into_iter().map(|it| it.job);
        ready.chain(self.settled.into_iter().map(|(job, _)| job))
    }
}

fn id_reused(job: &Job, revision: u64) -> Outcome {
    let id = job.prepared.command.id.clone();
    Outcome::Failed(CommitError::IdReused { id, revision })
}

fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    salt
}
