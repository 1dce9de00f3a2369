//! The one writer: commits queue, whatever waits is appended as one run, and kills overtake.
//!
//! Each commit keeps its own revision; all commits of a run share one fsync. A commit whose decision
//! no longer holds on the newest state is decided anew (rebased): at once if that is quick, else by
//! its submitter, so that no validation holds up a kill. A submitter that keeps being overtaken has
//! the other commits wait while its own is decided, but never the kills.
//!
//! It has threads where nothing else runs: see `threads.rs`. A run ends at a kill: what was gathered behind it is put off, so that the kill waits for few others
//! to be decided, stored and told.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use plane_log::{AppendError, Appended, append_settled};
use plane_model::{Digest, Kind, Timestamp};
use plane_state::delivery::Changed;
use plane_state::{
    Action, Admission, Command, Plan, Prepared, Rejection, RequestMark, Sealed, State, admit, plan,
    prepare, seal,
};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::convert::{Fetched, entry};
use crate::error::CommitError;
use crate::events::{Event, Telling};
use crate::load::fold;
use crate::node::Shared;
use crate::snapshot::Snapshot;
use crate::threads::Threads;

/// Commits that may wait; the next one is told to come back later.
pub(crate) const QUEUE_MAX: usize = 1_024;
/// Kills that may wait, in a queue of their own.
pub(crate) const KILLS_MAX: usize = 256;
/// Commits in one run: enough to share an fsync, few enough that a kill behind them waits briefly.
const RUN_MAX: usize = 64;
/// Commits that a run with kills takes along: few, and not none, so that kills that never cease do not stop the rest.
const BESIDE_KILLS_MAX: usize = 4;
/// Documents in one run of several commits, for the same reason.
const RUN_OPS_MAX: usize = 512;
/// How long other commits wait at most for all to be told of a kill: a slow reader holds nobody up for longer.
const TELLING_MAX: Duration = Duration::from_millis(25);
/// How often a run is sent again when the store does not say whether it was stored.
const RESENDS: u32 = 3;
/// How many repeated requests are recognised without asking the store.
const RECENT_MAX: usize = 4_096;

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
    pub(crate) reply: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) kills: mpsc::Receiver<Job>,
    pub(crate) commits: mpsc::Receiver<Job>,
}

impl Job {
    fn is_kill(&self) -> bool {
        self.prepared.command.is_kill()
    }
}

/// A job that the next run holds.
struct Ready {
    job: Job,
    sealed: Sealed,
    changes: Vec<Changed>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queues: Queues,
    recent: HashMap<String, (Digest, Done)>,
    recent_order: VecDeque<String>,
    /// Those that were overtaken again and insist.
    overtaken: VecDeque<Job>,
    /// Those that were gathered for a run that a kill ended; they are the next ones.
    put_off: VecDeque<Job>,
    /// Ends once all have been told of the last kill; and when that is no longer waited for.
    telling: Option<(mpsc::Receiver<Infallible>, Instant)>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, queues: Queues) -> Self {
        Self {
            shared,
            queues,
            recent: HashMap::new(),
            recent_order: VecDeque::new(),
            overtaken: VecDeque::new(),
            put_off: VecDeque::new(),
            telling: None,
        }
    }

    /// Writes until all senders are gone and the queues are empty.
    pub(crate) async fn run(mut self) {
        while let Some(run) = self.next_run().await {
            self.write(run).await;
            while let Some(job) = self.overtaken.pop_front() {
                self.decide_undisturbed(job).await;
            }
        }
    }

    /// Has a commit decided and writes it; meanwhile nothing is written but kills.
    async fn decide_undisturbed(&mut self, mut job: Job) {
        let command = job.prepared.command.clone();
        let now = self.shared.clock.now();
        let mut deciding = std::pin::pin!(decide(self.shared.clone(), command, now));
        let decided = loop {
            tokio::select! {
                // The decision first: kills that never cease would keep it from even beginning.
                biased;
                decided = &mut deciding => break decided,
                Some(kill) = self.queues.kills.recv() => self.write(vec![kill]).await,
            }
        };
        match decided {
            Ok((prepared, _)) => {
                job.prepared = prepared;
                // If a kill has changed what was read, it comes back to the overtaken ones.
                self.write(vec![job]).await;
            }
            Err(error) => answer(job, Outcome::Failed(error)),
        }
    }

    /// Waits for a commit and takes along what waits behind it, kills first.
    async fn next_run(&mut self) -> Option<Vec<Job>> {
        let mut run: Vec<Job> = self.while_telling().await.into_iter().collect();
        if run.is_empty() && self.put_off.is_empty() {
            let Queues { kills, commits } = &mut self.queues;
            let first = tokio::select! {
                biased;
                Some(kill) = kills.recv() => kill,
                Some(commit) = commits.recv() => commit,
                else => return None,
            };
            run.push(first);
        }
        self.take_kills(&mut run);
        let kills = run.iter().filter(|job| job.is_kill()).count();
        let run_max = if kills > 0 {
            kills + BESIDE_KILLS_MAX
        } else {
            RUN_MAX
        };
        let mut ops: usize = run.iter().map(|job| job.prepared.ops.len()).sum();
        while run.len() < run_max && ops < RUN_OPS_MAX {
            let next = self.put_off.pop_front();
            let Some(job) = next.or_else(|| self.queues.commits.try_recv().ok()) else {
                break;
            };
            ops += job.prepared.ops.len();
            run.push(job);
        }
        // A kill that arrived after the first commit was taken still goes before it.
        run.sort_by_key(|job| !job.is_kill());
        Some(run)
    }

    fn begin_telling(&mut self) -> Telling {
        let (telling, all_told) = Telling::begin();
        self.telling = Some((all_told, Instant::now() + TELLING_MAX));
        telling
    }

    /// Waits until all have been told of the last kill, or the next one comes.
    ///
    /// Commits made meanwhile would have their submitters run, who want the same processors as those who are told.
    async fn while_telling(&mut self) -> Option<Job> {
        let (mut all_told, until) = self.telling.take()?;
        tokio::select! {
            biased;
            Some(kill) = self.queues.kills.recv() => {
                self.telling = Some((all_told, until));
                Some(kill)
            }
            _ = all_told.recv() => None,
            () = tokio::time::sleep_until(until) => None,
        }
    }

    fn take_kills(&mut self, run: &mut Vec<Job>) {
        while run.len() < RUN_MAX
            && let Ok(kill) = self.queues.kills.try_recv()
        {
            run.push(kill);
        }
    }

    /// If a kill has come, puts it in the place of the commits that are still to be admitted.
    fn give_way(&mut self, jobs: &mut VecDeque<Job>) {
        let mut kills = Vec::new();
        self.take_kills(&mut kills);
        if !kills.is_empty() {
            let put_off = std::mem::replace(jobs, kills.into());
            // Those that were put off before came later than these.
            put_off
                .into_iter()
                .rev()
                .for_each(|job| self.put_off.push_front(job));
        }
    }

    async fn write(&mut self, mut jobs: Vec<Job>) {
        loop {
            if let Some(reason) = self.shared.halted() {
                for job in jobs {
                    answer(job, Outcome::Failed(CommitError::Halted(reason.clone())));
                }
                return;
            }
            let (ready, state) = self.admit_all(jobs);
            let Some(first) = ready.first() else { return };
            let expected = plane_log::Head {
                revision: first.sealed.record.revision - 1,
                hash: crate::convert::hash(&first.sealed.record.parent),
            };
            let entries: Vec<_> = ready.iter().map(|it| entry(&it.sealed)).collect();
            match append_settled(&*self.shared.log, expected, &entries, RESENDS).await {
                Ok(Appended::Committed { .. }) => {
                    self.publish(ready, state);
                    // Those who tell of it run before the thread is taken up by the next run.
                    tokio::task::yield_now().await;
                    return;
                }
                Ok(Appended::Conflict { .. }) => {
                    // Another node wrote: follow it, and admit everything again on its head.
                    jobs = ready.into_iter().map(|it| it.job).collect();
                    self.follow().await;
                }
                Err(AppendError::DuplicateId { id, .. }) => {
                    jobs = self.settle_duplicate(ready, &id).await;
                }
                Err(error) => {
                    tracing::error!(%error, commits = ready.len(), "a run was not stored");
                    if matches!(error, AppendError::Unknown) {
                        self.follow().await;
                    }
                    for it in ready {
                        answer(it.job, Outcome::Failed(error.clone().into()));
                    }
                    return;
                }
            }
            if jobs.is_empty() {
                return;
            }
        }
    }

    /// Seals every job that still holds, one upon the other, and says what state they lead to; answers the rest.
    ///
    /// A kill that comes meanwhile goes before those that are not sealed yet, which are put off.
    fn admit_all(&mut self, jobs: Vec<Job>) -> (Vec<Ready>, State) {
        let before = self.shared.snapshot();
        let mut state = (**before.state()).clone();
        let now = self.shared.clock.now();
        let mut ready: Vec<Ready> = Vec::with_capacity(jobs.len());
        let mut ids: HashMap<String, usize> = HashMap::with_capacity(jobs.len());
        let holds_kills = jobs.iter().any(Job::is_kill);
        let mut jobs = VecDeque::from(jobs);
        loop {
            // A run that holds kills is short as it is. The first commit of any run stays, so that each run gets on.
            let is_next_a_commit = jobs.front().is_some_and(|job| !job.is_kill());
            if is_next_a_commit && !holds_kills && !ready.is_empty() {
                self.give_way(&mut jobs);
            }
            let Some(mut job) = jobs.pop_front() else {
                break;
            };
            let id = &job.prepared.command.id;
            if let Some((request, done)) = self.recent.get(id) {
                let outcome = if *request == job.prepared.request {
                    Outcome::Committed(Done {
                        repeated: true,
                        ..*done
                    })
                } else {
                    Outcome::Failed(CommitError::IdReused {
                        id: id.clone(),
                        revision: done.revision,
                    })
                };
                answer(job, outcome);
                continue;
            }
            if let Some(same) = ids.get(id).and_then(|index| ready.get(*index)) {
                let revision = same.sealed.record.revision;
                let outcome = if same.sealed.request == job.prepared.request {
                    // Its twin is in this very run; the submitter finds it when it comes back.
                    Outcome::Stale
                } else {
                    Outcome::Failed(CommitError::IdReused {
                        id: id.clone(),
                        revision,
                    })
                };
                answer(job, outcome);
                continue;
            }
            if admit(&state, &job.prepared) == Admission::Stale {
                if is_heavy(&job.prepared.command) {
                    if job.insists {
                        self.overtaken.push_back(job);
                    } else {
                        answer(job, Outcome::Stale);
                    }
                    continue;
                }
                match prepare(&state, &job.prepared.command, now) {
                    Ok(prepared) => job.prepared = prepared,
                    Err(rejection) => {
                        answer(job, Outcome::Failed(CommitError::Rejected(rejection)));
                        continue;
                    }
                }
            }
            let is_recovery = job.prepared.command.action == Action::Recover;
            if job.prepared.ops.is_empty() && !is_recovery {
                let head = state.head();
                let done = Done {
                    revision: head.revision,
                    hash: head.hash,
                    at: head.at,
                    changed: false,
                    repeated: false,
                };
                answer(job, Outcome::Committed(done));
                continue;
            }
            let sealed = seal(&state, &job.prepared, now, &mut salt);
            let applied = state.follow(&sealed, &Fetched::of(&sealed));
            if let Some(anomaly) = applied.anomalies.first() {
                // What this version writes, this version reads: anything else is a bug, not a commit.
                tracing::error!(detail = %anomaly.detail, "a commit does not fold cleanly");
                let detail = format!("the commit would not read back: {}", anomaly.detail);
                answer(job, Outcome::Failed(CommitError::StoreUnavailable(detail)));
                state = (**before.state()).clone();
                for it in &ready {
                    state.follow(&it.sealed, &Fetched::of(&it.sealed));
                }
                continue;
            }
            ids.insert(sealed.record.id.clone(), ready.len());
            ready.push(Ready {
                job,
                sealed,
                changes: (applied.changes.into_iter())
                    .map(|change| Changed::of(&state, change))
                    .collect(),
            });
        }
        (ready, state)
    }

    /// Makes a durable run visible, and answers.
    fn publish(&mut self, ready: Vec<Ready>, state: State) {
        let before = self.shared.snapshot();
        let all: Vec<_> = ready
            .iter()
            .flat_map(|it| it.changes.iter().map(Changed::change))
            .collect();
        self.shared.publish(before.after(state, &all));
        self.shared
            .pace
            .written(ready.iter().map(|it| it.sealed.bytes.len() as u64).sum());
        for it in ready {
            let record = &it.sealed.record;
            let telling = if it.job.is_kill() && self.shared.events.are_followed() {
                Some(self.begin_telling())
            } else {
                None
            };
            let place = (record.revision, it.sealed.hash);
            let actor = Some(record.actor.clone());
            let event = Event::new(place, record.at, actor, it.changes, telling);
            self.shared.events.publish(Arc::new(event));
            let done = Done {
                revision: record.revision,
                hash: it.sealed.hash,
                at: record.at,
                changed: true,
                repeated: false,
            };
            self.remember(&record.id, it.sealed.request, done);
            answer(it.job, Outcome::Committed(done));
        }
        self.shared
            .revisions
            .send_replace(self.shared.snapshot().revision());
    }

    fn remember(&mut self, id: &str, request: Digest, done: Done) {
        if self.recent_order.len() == RECENT_MAX
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        self.recent_order.push_back(id.to_owned());
        self.recent.insert(id.to_owned(), (request, done));
    }

    /// Answers the job whose id the store has already, and gives back the others.
    async fn settle_duplicate(&mut self, ready: Vec<Ready>, id: &str) -> Vec<Job> {
        let mut rest = Vec::with_capacity(ready.len());
        for it in ready {
            if it.sealed.record.id != id {
                rest.push(it.job);
                continue;
            }
            let outcome = match repeated(&self.shared, id, it.sealed.request).await {
                Ok(Some(done)) => Outcome::Committed(done),
                Ok(None) => Outcome::Stale,
                Err(error) => Outcome::Failed(error),
            };
            answer(it.job, outcome);
        }
        rest
    }

    /// Folds what another writer appended; halts this node if its chain is another one.
    async fn follow(&self) {
        loop {
            let before = self.shared.snapshot();
            let head = before.state().head();
            let page = self
                .shared
                .log
                .read(head.revision, plane_log::ReadLimit::default())
                .await;
            let folded = match page {
                Ok(page) if page.is_empty() => return,
                Ok(page) => fold(&*self.shared.log, (**before.state()).clone(), &page).await,
                Err(error) => {
                    tracing::error!(%error, "the log cannot be followed");
                    return;
                }
            };
            match folded {
                Ok((state, folded)) => {
                    let changes: Vec<_> = (folded.iter())
                        .flat_map(|it| it.changes.iter().map(Changed::change))
                        .collect();
                    self.shared.publish(before.after(state, &changes));
                    for it in folded {
                        let place = (it.head.revision, it.head.hash);
                        let event = Event::new(place, it.head.at, it.actor, it.changes, None);
                        self.shared.events.publish(Arc::new(event));
                    }
                    self.shared
                        .revisions
                        .send_replace(self.shared.snapshot().revision());
                }
                Err(error) => {
                    self.shared.halt(&error.to_string());
                    return;
                }
            }
        }
    }
}

/// The earlier commit of a repeated request, if the store has one.
///
/// # Errors
/// The id was used for another request.
pub(crate) async fn repeated(
    shared: &Shared,
    id: &str,
    request: Digest,
) -> Result<Option<Done>, CommitError> {
    let Some(entry) = shared.log.find(id).await? else {
        return Ok(None);
    };
    if !RequestMark::stored(*entry.request.as_bytes()).is_of(&request) {
        return Err(CommitError::IdReused {
            id: id.to_owned(),
            revision: entry.revision,
        });
    }
    Ok(Some(Done {
        revision: entry.revision,
        hash: crate::convert::digest(&entry.hash),
        at: Timestamp(entry.at_ms),
        changed: true,
        repeated: true,
    }))
}

/// Says whether deciding about the command may take long: it looks at many documents.
pub(crate) fn is_heavy(command: &Command) -> bool {
    command.ops.len() > 16
        || command.ops.iter().any(|op| {
            matches!(
                op.key.kind(),
                Kind::Config
                    | Kind::Schema
                    | Kind::Environment
                    | Kind::Tenant
                    | Kind::Flag
                    | Kind::Schedule
            )
        })
}

/// Decides about a command and says what it changes; off the asynchronous threads if that may take long.
///
/// # Errors
/// The command is refused, or so many wait to be decided that this one has to come back later.
pub(crate) async fn decide(
    shared: Arc<Shared>,
    command: Arc<Command>,
    now: Timestamp,
) -> Result<(Prepared, Plan), CommitError> {
    let (is_heavy, is_kill) = (is_heavy(&command), command.is_kill());
    let decision = move |snapshot: &Snapshot| {
        let prepared = prepare(snapshot.state(), &command, now)?;
        let plan = plan(snapshot.state(), &prepared);
        Ok::<_, Rejection>((prepared, plan))
    };
    if !is_heavy {
        return Ok(decision(&shared.snapshot())?);
    }
    let _turn = if is_kill {
        None
    } else {
        Some(shared.deciding.enter().await?)
    };
    // Taken after waiting, so that the decision is not older than it has to be.
    let snapshot = shared.snapshot();
    Ok(apart(&shared.threads, move || decision(&snapshot)).await?)
}

/// Runs what may take long where it holds up nobody.
async fn apart<T: Send + 'static>(
    threads: &Threads,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match threads.work().spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Who may decide about something large: few at once, so that kills, reads and streams find a free core.
#[derive(Debug)]
pub(crate) struct Deciding {
    places: Semaphore,
    turns: Semaphore,
}

impl Deciding {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: Semaphore::new(QUEUE_MAX),
            // Two, even where that leaves no core free: something small must not wait for something huge.
            turns: Semaphore::new(cores.saturating_sub(1).max(2)),
        }
    }

    /// Waits for a turn, and runs what may take long where it holds up nobody.
    ///
    /// # Errors
    /// Too many wait already.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        threads: &Threads,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CommitError> {
        let _turn = self.enter().await?;
        Ok(apart(threads, work).await)
    }

    async fn enter(&self) -> Result<[SemaphorePermit<'_>; 2], CommitError> {
        let place = self
            .places
            .try_acquire()
            .map_err(|_| CommitError::Overloaded)?;
        let turn = self
            .turns
            .acquire()
            .await
            .map_err(|_| CommitError::Overloaded)?;
        Ok([place, turn])
    }
}

fn answer(job: Job, outcome: Outcome) {
    // The submitter may have gone away; its commit stands all the same.
    drop(job.reply.send(outcome));
}

fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    salt
}
