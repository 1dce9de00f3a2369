//! The handle on a running node.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use plane_log::{ChangeLog, ObservationStore, observations};
use plane_model::{Digest, Kind, Timestamp};
use plane_state::{Action, Command, Op, Plan, Prepared, Rejection, Scope, reconcile, revert};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::checkpoints::{self, Pace};
use crate::clock::Clock;
use crate::deciding::{Deciding, decide};
use crate::error::{AtError, CommitError, StartError};
use crate::events::{Event, Events};
use crate::history::{self, CommitDetail, HistoryQuery};
use crate::load::{Loaded, load};
use crate::observe::{Observer, Tally};
use crate::past::{At, Past};
use crate::pointers::relocated;
use crate::preview::Preview;
use crate::requests::{Committed, RevertOutcome, RevertRequest, Status, TreeOutcome, TreeRequest};
use crate::run::{Done, Job, Outcome};
use crate::schedules::{self, ScheduleCounts, Schedules};
use crate::snapshot::Snapshot;
use crate::tasks::Tasks;
use crate::threads::Threads;
use crate::writer::{KILLS_MAX, QUEUE_MAX, Queues, Writer, repeated};

/// How often a commit is decided again before the others have to wait for it.
const REBASES_MAX: u32 = 4;

/// What a node runs on.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where commits are kept.
    pub log: Arc<dyn ChangeLog>,
    /// Where observations are kept.
    pub observations: Arc<dyn ObservationStore>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What the node's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Arc<dyn ChangeLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) revisions: watch::Sender<u64>,
    snapshot: ArcSwap<Snapshot>,
    halted: ArcSwapOption<String>,
    past: Past,
    pub(crate) pace: Pace,
    pub(crate) deciding: Deciding,
    pub(crate) threads: Threads,
    observer: Arc<Observer>,
    writer: Tasks,
    tasks: Tasks,
    schedules: Schedules,
    stopping: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let revision = snapshot.state().kind_revision(Kind::Schedule);
        let before = self.snapshot.swap(Arc::new(snapshot));
        if before.state().kind_revision(Kind::Schedule) != revision {
            self.schedules.changed();
        }
    }

    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.load().as_deref().cloned()
    }

    pub(crate) fn halt(&self, reason: &str) {
        tracing::error!(reason, "this node writes no more");
        self.halted.store(Some(Arc::new(reason.to_owned())));
    }

    /// Returns when the node shuts down.
    pub(crate) async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is here: there is always somebody to say it.
        drop(stopping.wait_for(|it| *it).await);
    }
}

#[derive(Debug)]
struct Senders {
    kills: mpsc::Sender<Job>,
    commits: mpsc::Sender<Job>,
}

/// A running node; clones share it.
#[derive(Debug, Clone)]
pub struct Node {
    shared: Arc<Shared>,
    /// Gone once the node shuts down.
    senders: Arc<ArcSwapOption<Senders>>,
}

impl Node {
    /// Loads the state and starts to write, all on the threads of the caller's runtime.
    ///
    /// # Errors
    /// The store cannot be read, or its log is not the chain that was written.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        Self::start_on(Threads::here(), options).await
    }

    /// Loads the state and starts to write, on threads of its own, so that what is urgent waits for nothing else.
    ///
    /// # Errors
    /// As [`start`](Self::start), or the system gives no threads.
    pub async fn start_apart(options: Options) -> Result<Self, StartError> {
        let threads = Threads::apart().map_err(|error| StartError::Threads(error.to_string()))?;
        Self::start_on(threads, options).await
    }

    async fn start_on(threads: Threads, options: Options) -> Result<Self, StartError> {
        let Loaded { state, pace } = load(&*options.log).await?;
        let revision = state.head().revision;
        let observer = Arc::new(Observer::new(options.observations, options.clock.clone()));
        let shared = Arc::new(Shared {
            log: options.log,
            clock: options.clock,
            events: Events::new(),
            revisions: watch::Sender::new(revision),
            snapshot: ArcSwap::from_pointee(Snapshot::of(state)),
            halted: ArcSwapOption::empty(),
            past: Past::default(),
            pace,
            deciding: Deciding::new(),
            threads,
            observer: observer.clone(),
            writer: Tasks::default(),
            tasks: Tasks::default(),
            schedules: Schedules::default(),
            stopping: watch::Sender::new(false),
        });
        let (kills, kills_receiver) = mpsc::channel(KILLS_MAX);
        let (commits, commits_receiver) = mpsc::channel(QUEUE_MAX);
        let queues = Queues {
            kills: kills_receiver,
            commits: commits_receiver,
        };
        let threads = &shared.threads;
        let writer = Writer::new(shared.clone(), queues);
        shared.writer.spawn(writer.run(), threads.urgent());
        shared.tasks.spawn(observer.run(), threads.work());
        let checkpoints = checkpoints::run(shared.clone());
        shared.tasks.spawn(checkpoints, threads.work());
        let senders = ArcSwapOption::from_pointee(Senders { kills, commits });
        Ok(Self {
            shared,
            senders: Arc::new(senders),
        })
    }

    /// Makes what is scheduled happen from now on, until the node shuts down; to be called once, by who serves.
    ///
    /// Whoever only mends a log does not want anything to happen meanwhile.
    pub fn run_schedules(&self) {
        let Shared { tasks, threads, .. } = &*self.shared;
        tasks.spawn(schedules::run(self.clone()), threads.work());
    }

    /// The state and the views, now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
    }

    /// The state and the views at a moment of the past.
    pub async fn at(&self, at: At) -> Result<Arc<Snapshot>, AtError> {
        self.past(at, None).await
    }

    /// The documents of one kind at a moment of the past; there may be others, and views, but need not be.
    ///
    /// Takes time in proportion to the changes of documents of that kind, not of all.
    pub async fn kind_at(&self, at: At, kind: Kind) -> Result<Arc<Snapshot>, AtError> {
        self.past(at, Some(kind)).await
    }

    async fn past(&self, at: At, kind: Option<Kind>) -> Result<Arc<Snapshot>, AtError> {
        let now = self.snapshot();
        let clock = self.shared.clock.now();
        let past = &self.shared.past;
        past.at(&*self.shared.log, &now, clock, at, kind).await
    }

    /// The last revision that was committed at or before a time; 0 if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn revision_at(&self, at: Timestamp) -> Result<u64, AtError> {
        Ok(self.shared.log.revision_at(at.as_ms()).await?)
    }

    /// The time now, by the node's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Tells each revision as it is published; a hint that may skip some.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.revisions.subscribe()
    }

    /// Follows commits from now on; who lags too far behind is told so, and fetches the whole view.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.events.subscribe()
    }

    /// The commits after a revision, for one who comes back; none if they are no longer kept.
    pub fn events_after(&self, revision: u64) -> Option<Vec<Arc<Event>>> {
        self.shared
            .events
            .after(revision, self.snapshot().revision())
    }

    /// The hash of a recent revision, to tell whether a follower followed this log.
    pub fn hash_of(&self, revision: u64) -> Option<Digest> {
        let head = self.snapshot().state().head();
        if head.revision == revision {
            return Some(head.hash);
        }
        self.shared.events.hash_of(revision)
    }

    /// Says what a command would change.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), for the command itself.
    pub async fn plan(&self, scope: &Scope, command: Command) -> Result<Plan, CommitError> {
        Ok(self.preview(scope, command).await?.plan)
    }

    /// Says what a command would lead to.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), for the command itself.
    pub async fn preview(&self, scope: &Scope, command: Command) -> Result<Preview, CommitError> {
        let command = authorised(scope, command)?;
        let (prepared, plan) = self.decide(&Arc::new(command)).await?;
        Ok(Preview {
            before: self.snapshot(),
            prepared,
            now: self.now(),
            plan,
            after: Arc::default(),
        })
    }

    /// Runs what may take long where it holds up nobody, once it is its turn.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CommitError> {
        let Shared {
            deciding, threads, ..
        } = &*self.shared;
        deciding.run(threads, work).await
    }

    /// Where that may run which others wait for: nothing else runs there, and nothing that takes long may.
    pub fn urgent(&self) -> &Handle {
        self.shared.threads.urgent()
    }

    /// Where that runs which takes long.
    pub fn work(&self) -> &Handle {
        self.shared.threads.work()
    }

    /// Whether [`urgent`](Self::urgent) and [`work`](Self::work) are other threads than those of who started the node.
    pub fn is_apart(&self) -> bool {
        self.shared.threads.are_apart()
    }

    /// Commits a command: durable and visible to every reader when it returns.
    ///
    /// Not cancel-safe: after a drop the commit may still be made; send it again with the same id.
    ///
    /// # Errors
    /// [`CommitError::Rejected`]: correct the command. [`CommitError::IdReused`]: take another id.
    /// The others: nothing was committed, or the outcome is unknown; send it again with the same id.
    pub async fn commit(&self, scope: &Scope, command: Command) -> Result<Committed, CommitError> {
        let mut command = authorised(scope, command)?;
        let is_new = command.id.is_empty();
        if is_new {
            command.id = new_id();
        }
        let command = Arc::new(command);
        // From here on the store's upkeep makes room for it.
        let _haste = command.is_kill().then(|| self.shared.log.hasten());
        let mut rebases = 0;
        loop {
            let decided = self.decide(&command).await;
            // An earlier request with this key may be why there is nothing to do, or why it is refused. Where there is
            // something to do, the store tells whether the key is taken.
            let is_open = decided.as_ref().is_ok_and(|(it, _)| !it.ops.is_empty());
            if !is_new
                && !is_open
                && let Some(done) =
                    repeated(&self.shared, &command.id, command.request_digest()).await?
            {
                return Ok(committed(done, empty_plan(done.revision)));
            }
            let (prepared, plan) = decided?;
            let senders = self.senders.load_full();
            let Some(senders) = senders.as_deref() else {
                return Err(CommitError::Halted("it is shutting down".to_owned()));
            };
            let lane = if command.is_kill() {
                &senders.kills
            } else {
                &senders.commits
            };
            let (reply, answer) = oneshot::channel();
            let job = Job {
                prepared,
                insists: rebases >= REBASES_MAX,
                is_provisional: false,
                reply,
            };
            lane.try_send(job).map_err(|_| CommitError::Overloaded)?;
            match answer.await {
                Ok(Outcome::Committed(done)) if done.repeated => {
                    return Ok(committed(done, empty_plan(done.revision)));
                }
                Ok(Outcome::Committed(done)) => return Ok(committed(done, plan)),
                Ok(Outcome::Stale) => rebases += 1,
                Ok(Outcome::Failed(error)) => return Err(error),
                Err(_) => return Err(CommitError::Halted("it is shutting down".to_owned())),
            }
        }
    }

    async fn decide(&self, command: &Arc<Command>) -> Result<(Prepared, Plan), CommitError> {
        let now = self.shared.clock.now();
        decide(self.shared.clone(), command.clone(), now).await
    }

    /// Applies a tree: three ways between what it says, what it said last, and what is there.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); pointers begin with `/documents/INDEX`.
    pub async fn apply_tree(
        &self,
        scope: &Scope,
        request: TreeRequest,
    ) -> Result<TreeOutcome, CommitError> {
        let snapshot = self.snapshot();
        let revision = snapshot.revision();
        let (documents, options) = (request.documents, request.options);
        let reconcile = move || reconcile::reconcile(snapshot.state(), &documents, options);
        let found = self.apart(reconcile).await??;
        let nothing = TreeOutcome {
            committed: None,
            plan: empty_plan(revision),
            preview: None,
            kept: found.kept,
            left: found.left,
        };
        if found.ops.is_empty() {
            return Ok(nothing);
        }
        let keys: Vec<_> = found.ops.iter().map(|op| op.key.clone()).collect();
        let command = self.command(scope, Action::Apply, &request.id, found.ops)?;
        let command = Command {
            reason: request.reason,
            source: request.source,
            ..command
        };
        let origins = found.origins;
        let result = (self.preview_or_commit(scope, command, request.dry_run)).await;
        let (committed, plan, preview) =
            result.map_err(|error| relocated(error, &keys, &origins))?;
        Ok(TreeOutcome {
            committed,
            plan,
            preview,
            ..nothing
        })
    }

    /// Takes commits back by a new one.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn revert(
        &self,
        scope: &Scope,
        request: RevertRequest,
    ) -> Result<RevertOutcome, CommitError> {
        let snapshot = self.snapshot();
        let head = snapshot.revision();
        if request.from == 0 || request.from > request.to || request.to > head {
            let detail = format!(
                "revisions {} to {} are not in the log, which has 1 to {head}",
                request.from, request.to
            );
            let violation =
                plane_model::Violation::new(plane_model::Code::RevisionNotFound, "", detail)
                    .next("`control-plane log` lists the commits");
            return Err(Rejection::from(violation).into());
        }
        let before = self
            .at(At::Revision(request.from - 1))
            .await
            .map_err(|error| CommitError::StoreUnavailable(error.to_string()))?;
        let mut records: Vec<plane_state::Record> = Vec::new();
        let mut after = request.from - 1;
        while after < request.to {
            let page = self
                .shared
                .log
                .read(after, plane_log::ReadLimit::default())
                .await?;
            let Some(last) = page.last() else { break };
            after = last.revision;
            records.extend(
                page.iter()
                    .filter(|entry| entry.revision <= request.to)
                    .filter_map(|entry| plane_state::Record::decode(&entry.record).ok()),
            );
        }
        // What the scope may not know of is not there: nothing is said about it.
        for record in &mut records {
            record
                .ops
                .retain(|op| op.key().is_some_and(|key| scope.sees(&key)));
        }
        if records.iter().all(|record| record.ops.is_empty()) {
            let detail = format!("there is no commit {} to {}", request.from, request.to);
            let violation =
                plane_model::Violation::new(plane_model::Code::RevisionNotFound, "", detail)
                    .next("`control-plane log` lists the commits");
            return Err(Rejection::from(violation).into());
        }
        let reversal = revert::revert(snapshot.state(), before.state(), &records, &request.filter)?;
        let keys: Vec<_> = reversal.ops.iter().map(|op| op.key.clone()).collect();
        let command = self.command(scope, Action::Revert, &request.id, reversal.ops)?;
        let command = Command {
            reason: request.reason,
            source: request.source,
            ..command
        };
        let result = (self.preview_or_commit(scope, command, request.dry_run)).await;
        let (committed, plan, preview) = result.map_err(|error| relocated(error, &keys, &[]))?;
        Ok(RevertOutcome {
            committed,
            plan,
            preview,
            excluded: reversal.excluded,
        })
    }

    /// Goes on from a restored backup: raises the epoch, so that those who saw a later revision come back.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); the reason must not be empty.
    pub async fn recover(&self, scope: &Scope, reason: &str) -> Result<Committed, CommitError> {
        let command = self.command(scope, Action::Recover, "", Vec::new())?;
        let command = Command {
            reason: reason.to_owned(),
            source: "log recover".to_owned(),
            ..command
        };
        self.commit(scope, command).await
    }

    fn command(
        &self,
        scope: &Scope,
        action: Action,
        id: &str,
        ops: Vec<Op>,
    ) -> Result<Command, CommitError> {
        if let Some(reason) = self.shared.halted() {
            return Err(CommitError::Halted(reason));
        }
        Ok(Command {
            id: id.to_owned(),
            actor: scope.principal().clone(),
            action,
            reason: String::new(),
            source: String::new(),
            ops,
        })
    }

    async fn preview_or_commit(
        &self,
        scope: &Scope,
        command: Command,
        dry_run: bool,
    ) -> Result<(Option<Committed>, Plan, Option<Preview>), CommitError> {
        if dry_run {
            let preview = self.preview(scope, command).await?;
            return Ok((None, preview.plan.clone(), Some(preview)));
        }
        let committed = self.commit(scope, command).await?;
        let plan = committed.plan.clone();
        Ok((Some(committed), plan, None))
    }

    /// Lists commits, newest first.
    pub async fn history(
        &self,
        query: &HistoryQuery,
    ) -> Result<Vec<(Digest, plane_state::Record)>, plane_log::ReadError> {
        history::list(&*self.shared.log, query).await
    }

    /// One commit with its documents before and after.
    pub async fn commit_detail(
        &self,
        revision: u64,
    ) -> Result<Option<CommitDetail>, plane_log::ReadError> {
        history::detail(&*self.shared.log, revision).await
    }

    /// Counts one sighting of something; never waits, and drops what is too much.
    pub fn observe(&self, kind: &str, subject: &str, labels: &[(&str, &str)]) {
        self.shared.observer.observe(kind, subject, labels);
    }

    /// Adds to what is counted where that is often; never waits, and drops what is too much.
    ///
    /// It is written once an hour and at the end: after a crash the last hour is missing.
    pub fn tally(&self, tally: Tally) {
        self.shared.observer.tally(tally);
    }

    /// Adds up what was written of a kind since a time, by subject and labels.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn tallied(
        &self,
        kind: &str,
        labels: &[&str],
        from: Timestamp,
    ) -> Result<Vec<Tally>, plane_log::ReadError> {
        let filter = observations::Filter {
            kind: Some(kind.to_owned()),
            from_ms: Some(from.as_ms()),
            ..observations::Filter::default()
        };
        let by = observations::GroupBy {
            subject: true,
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
        };
        let found = self.observations().aggregate(&filter, &by).await?;
        let tally = |it: observations::Aggregate| Tally {
            kind: it.kind,
            subject: it.subject.unwrap_or_default(),
            labels: it.labels,
            count: it.count,
            first_at: Timestamp(it.first_at_ms),
            last_at: Timestamp(it.last_at_ms),
        };
        Ok(found.into_iter().map(tally).collect())
    }

    /// Where observations are kept, for reading them.
    pub fn observations(&self) -> &Arc<dyn ObservationStore> {
        self.shared.observer.store()
    }

    /// What came of schedules since the node started.
    pub fn schedule_counts(&self) -> ScheduleCounts {
        self.schedules().counts()
    }

    pub(crate) fn schedules(&self) -> &Schedules {
        &self.shared.schedules
    }

    pub(crate) async fn stopping(&self) {
        self.shared.stopping().await;
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        let snapshot = self.snapshot();
        Status {
            halted: self.shared.halted(),
            revision: snapshot.revision(),
            log_revision: self.shared.log.watch().revision().max(snapshot.revision()),
            anomalies: snapshot.state().anomalies(),
            observations_dropped: self.shared.observer.dropped(),
        }
    }

    /// Writes a checkpoint now.
    ///
    /// # Errors
    /// The store did not take it; the next one will be tried in time.
    pub async fn checkpoint(&self) -> Result<(), plane_log::WriteError> {
        checkpoints::write(&self.shared).await
    }

    /// Finishes what was submitted, refuses what comes after, and writes a checkpoint.
    pub async fn shutdown(&self) {
        self.senders.store(None);
        self.shared.writer.join().await;
        self.shared.stopping.send_replace(true);
        self.shared.observer.stop();
        self.shared.tasks.join().await;
    }
}

/// Refuses a command that its sender may not give, and writes into it who files what is to be done later.
fn authorised(scope: &Scope, mut command: Command) -> Result<Command, Rejection> {
    let checked = scope
        .check(&command)
        .and_then(|()| scope.sign(&mut command));
    checked.map_err(|violations| Rejection { violations })?;
    Ok(command)
}

fn committed(done: Done, plan: Plan) -> Committed {
    Committed {
        revision: done.revision,
        hash: done.hash,
        at: done.at,
        changed: done.changed,
        repeated: done.repeated,
        plan,
    }
}

fn empty_plan(revision: u64) -> Plan {
    Plan {
        revision,
        changes: Vec::new(),
        environments: Vec::new(),
        tenants: Vec::new(),
    }
}

fn new_id() -> String {
    ulid::Ulid::generate().to_string()
}
