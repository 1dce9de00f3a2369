//! The one writer: commits queue, whatever waits is appended as one run, and kills overtake.
//!
//! Each commit keeps its own revision; all commits of a run share one flush. While a run is appended the next one is
//! sealed upon it (`run.rs`); what that says is told to nobody before the first is durable, and if the first is not
//! stored, all of the next is decided anew. A commit whose decision no longer holds on the newest state is decided
//! anew (rebased): at once if that is quick, else by its submitter (`deciding.rs`), so that no validation holds up a
//! kill. A submitter that keeps being overtaken has the other commits wait while its own is decided, but never the
//! kills.
//!
//! It has threads where nothing else runs: see `threads.rs`. What is sealed and not yet sent is put off when a kill
//! comes, so that the kill waits for few others to be stored and told.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use plane_log::{AppendError, Appended, append_settled};
use plane_model::{Digest, Timestamp};
use plane_state::RequestMark;
use plane_state::delivery::Changed;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::deciding::decide;
use crate::error::CommitError;
use crate::events::{Event, Telling};
use crate::load::fold;
use crate::node::Shared;
use crate::run::{Done, Job, Outcome, Parts, Run};

/// Commits that may wait; the next one is told to come back later.
pub(crate) const QUEUE_MAX: usize = 1_024;
/// Kills that may wait, in a queue of their own.
pub(crate) const KILLS_MAX: usize = 256;
/// How long other commits wait at most for all to be told of a kill: a slow reader holds nobody up for longer.
const TELLING_MAX: Duration = Duration::from_millis(25);
/// How often a run is sent again when the store does not say whether it was stored.
const RESENDS: u32 = 3;
/// How many repeated requests are recognised without asking the store.
const RECENT_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) kills: mpsc::Receiver<Job>,
    pub(crate) commits: mpsc::Receiver<Job>,
}

/// A run that is being appended.
struct Appending {
    run: Run,
    appended: Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send>>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queues: Queues,
    recent: HashMap<String, (Digest, Done)>,
    recent_order: VecDeque<String>,
    /// Those that were overtaken again and insist.
    overtaken: VecDeque<Job>,
    /// Those that were taken for a run that was not sent, or not stored; they are the next ones.
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
        while let Some(run) = self.gather().await {
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
                Some(kill) = self.queues.kills.recv() => self.write_alone(kill).await,
            }
        };
        match decided {
            Ok((prepared, _)) => {
                job.prepared = prepared;
                // If a kill has changed what was read, it comes back to the overtaken ones.
                self.write_alone(job).await;
            }
            Err(error) => job.answer(Outcome::Failed(error)),
        }
    }

    async fn write_alone(&mut self, job: Job) {
        let mut run = Run::upon(self.shared.snapshot().state());
        self.take(&mut run, job, None);
        self.write(run).await;
    }

    /// Waits for a commit and takes along what waits behind it, kills first.
    async fn gather(&mut self) -> Option<Run> {
        let mut first = self.while_telling().await;
        if first.is_none() {
            first = tokio::select! {
                biased;
                Some(kill) = self.queues.kills.recv() => Some(kill),
                Some(job) = next_commit(&mut self.put_off, &mut self.queues.commits) => Some(job),
                else => None,
            };
        }
        let mut run = Run::upon(self.shared.snapshot().state());
        self.take(&mut run, first?, None);
        self.fill(&mut run, None);
        Some(run)
    }

    /// Takes what waits, for as long as the run has room.
    fn fill(&mut self, run: &mut Run, ahead: Option<&Run>) {
        loop {
            if run.has_room_for_a_kill()
                && let Ok(kill) = self.queues.kills.try_recv()
            {
                self.take(run, kill, ahead);
                continue;
            }
            if !run.has_room() {
                return;
            }
            let next = self.put_off.pop_front();
            let Some(job) = next.or_else(|| self.queues.commits.try_recv().ok()) else {
                return;
            };
            self.take(run, job, ahead);
        }
    }

    /// Takes a job into a run that is not sent yet; a kill takes the place of the commits that it holds.
    fn take(&mut self, run: &mut Run, job: Job, ahead: Option<&Run>) {
        if job.is_kill() && !run.holds_kills() {
            let empty = run.anew();
            self.put_off(std::mem::replace(run, empty).into_jobs());
        }
        let earlier = self.recent.get(&job.prepared.command.id);
        run.admit(job, earlier, ahead, self.shared.clock.now());
    }

    /// Has these come before all that were put off earlier: they were taken before those.
    fn put_off(&mut self, jobs: impl DoubleEndedIterator<Item = Job>) {
        jobs.rev().for_each(|job| self.put_off.push_front(job));
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

    /// Appends and publishes a run, and the runs that are sealed behind it meanwhile.
    async fn write(&mut self, run: Run) {
        let mut sent = self.send(run).await;
        while let Some(appending) = sent {
            sent = self.finish(appending).await;
        }
    }

    /// Begins to append a run, if there is anything to append.
    async fn send(&mut self, mut run: Run) -> Option<Appending> {
        if run.is_empty() {
            self.overtaken.extend(run.answer_settled());
            return None;
        }
        if let Some(reason) = self.shared.halted() {
            for job in run.into_jobs() {
                job.answer(Outcome::Failed(CommitError::Halted(reason.clone())));
            }
            return None;
        }
        let (expected, entries) = run.entries();
        let log = self.shared.log.clone();
        let mut appended: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { append_settled(&*log, expected, &entries, RESENDS).await });
        // The store begins now, not when it is waited for.
        let begun = poll_fn(|ctx| Poll::Ready(appended.as_mut().poll(ctx))).await;
        if let Poll::Ready(outcome) = begun {
            appended = Box::pin(ready(outcome));
        }
        Some(Appending { run, appended })
    }

    /// Waits until a run is stored, publishes it, and gives the run that was sealed behind it and sent.
    ///
    /// Nothing is sealed behind a kill: its readers are told first.
    async fn finish(&mut self, sent: Appending) -> Option<Appending> {
        let Appending {
            mut run,
            mut appended,
        } = sent;
        self.overtaken.extend(run.answer_settled());
        let goes_on = !run.holds_kills() && self.overtaken.is_empty();
        let mut next = Run::upon(run.after());
        let appended = loop {
            let job = tokio::select! {
                biased;
                appended = &mut appended => break appended,
                Some(kill) = self.queues.kills.recv(), if goes_on && next.has_room_for_a_kill() => kill,
                Some(job) = next_commit(&mut self.put_off, &mut self.queues.commits),
                    if goes_on && next.has_room() => job,
            };
            self.take(&mut next, job, Some(&run));
        };
        if let Ok(Appended::Committed { .. }) = appended {
            if goes_on {
                self.fill(&mut next, Some(&run));
            }
            return self.go_on(run, next).await;
        }
        self.put_off(next.into_jobs());
        match appended {
            // Another node wrote: follow it, and admit everything again on its head.
            Ok(_) => {
                self.put_off(run.into_jobs());
                self.follow().await;
            }
            Err(AppendError::DuplicateId { id, .. }) => self.settle_duplicate(run, &id).await,
            Err(error) => {
                let Parts { ready, .. } = run.into_parts();
                tracing::error!(%error, commits = ready.len(), "a run was not stored");
                if matches!(error, AppendError::Unknown) {
                    self.follow().await;
                }
                for it in ready {
                    it.job.answer(Outcome::Failed(error.clone().into()));
                }
            }
        }
        None
    }

    /// Has the store go on with the next run, and publishes the one that is durable.
    async fn go_on(&mut self, run: Run, next: Run) -> Option<Appending> {
        let sent = if next.is_empty() {
            self.publish(run.into_parts());
            // Nothing of it is to be appended; what it answers may be about what is published now.
            self.send(next).await
        } else {
            let sent = self.send(next).await;
            self.publish(run.into_parts());
            sent
        };
        // Those who tell of it run before the thread is taken up by the next run.
        tokio::task::yield_now().await;
        sent
    }

    /// Makes a durable run visible, and answers.
    fn publish(&mut self, Parts { ready, after }: Parts) {
        let before = self.shared.snapshot();
        let all: Vec<_> = ready
            .iter()
            .flat_map(|it| it.changes.iter().map(Changed::change))
            .collect();
        self.shared.publish(before.after(after, &all));
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
            it.job.answer(Outcome::Committed(done));
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

    /// Answers the job whose id the store has already, and puts off the others.
    async fn settle_duplicate(&mut self, run: Run, id: &str) {
        let (same, others): (Vec<_>, Vec<_>) = run
            .into_jobs()
            .partition(|job| job.prepared.command.id == id);
        for job in same {
            let outcome = match repeated(&self.shared, id, job.prepared.request).await {
                Ok(Some(done)) => Outcome::Committed(done),
                Ok(None) => Outcome::Stale,
                Err(error) => Outcome::Failed(error),
            };
            job.answer(outcome);
        }
        self.put_off(others.into_iter());
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

/// The next commit: those that were put off are first.
async fn next_commit(
    put_off: &mut VecDeque<Job>,
    commits: &mut mpsc::Receiver<Job>,
) -> Option<Job> {
    match put_off.pop_front() {
        Some(job) => Some(job),
        None => commits.recv().await,
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
