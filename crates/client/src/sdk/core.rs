//! One environment: what is served, and the process that keeps it fresh.
//!
//! `answers.rs` has what callers ask, `serving.rs` what replaces what is served, `trouble.rs` what goes wrong
//! and who is told, `trust.rs` which keys are trusted.
//!
//! INVARIANT: readers take no lock. What is served is swapped as a whole, and survives a fork: a
//! forked process serves what it inherited, and starts threads and connections of its own.

mod answers;
mod serving;
mod trouble;
mod trust;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use plane_model::{EnvironmentName, Timestamp};
use plane_state::Breach;

use super::ack::{self, FLUSH_TIMEOUT, Refusal, Reporter};
use super::builder::{Builder, Kind};
use super::error::Error;
use super::follow;
use super::held::{Held, Origin};
use super::http::{Http, Tells};
use super::process::Process;
use super::status::{Counts, HeldBack, Source, Status};
use super::tree::TreeFollower;
use super::usage::{Usage, UsageReporter};
use super::verify::Trust;
use super::watch::Watcher;

/// How often, in milliseconds, a reader looks whether it is in a forked process.
const TEND_EVERY_MS: i64 = 1_000;
/// How often the files of a tree are looked at.
const TREE_EVERY: Duration = Duration::from_secs(1);

/// One environment.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) name: EnvironmentName,
    pub(crate) settings: Arc<Builder>,
    pub(crate) counts: Counts,
    /// How often flags are evaluated.
    pub(crate) usage: Usage,
    held: ArcSwapOption<Held>,
    /// Before this time a reader need not look at anything but `held`.
    tend_at: AtomicI64,
    process: ArcSwap<Process>,
    is_closed: AtomicBool,
    is_connected: AtomicBool,
    watchers: ArcSwap<Vec<Arc<Watcher>>>,
    held_back: ArcSwap<Vec<HeldBack>>,
    /// What the service relies on and the newest revision breaks: what was before serves there.
    breaches: ArcSwap<Vec<Breach>>,
    /// What came last and could not be served at all.
    refusal: ArcSwapOption<Refusal>,
    /// When it was last known that there is nothing newer.
    confirmed_at: AtomicI64,
    /// Until when a server has vouched for that; 0 if none has.
    vouched_until: AtomicI64,
    /// Whether a server answers and vouches for nothing recent.
    is_expired: AtomicBool,
    /// The keys that servers are trusted to sign with.
    trust: ArcSwap<Trust>,
}

impl Core {
    pub(crate) fn new(name: EnvironmentName, settings: Arc<Builder>) -> Arc<Self> {
        let id = settings.clock.process_id();
        let trust = settings.told_key.map(Trust::of).unwrap_or_default();
        Arc::new(Self {
            name,
            settings,
            counts: Counts::default(),
            usage: Usage::default(),
            held: ArcSwapOption::empty(),
            tend_at: AtomicI64::new(i64::MIN),
            process: ArcSwap::from_pointee(Process::new(id)),
            is_closed: AtomicBool::new(false),
            is_connected: AtomicBool::new(false),
            watchers: ArcSwap::default(),
            held_back: ArcSwap::default(),
            breaches: ArcSwap::default(),
            refusal: ArcSwapOption::empty(),
            confirmed_at: AtomicI64::new(0),
            vouched_until: AtomicI64::new(0),
            is_expired: AtomicBool::new(false),
            trust: ArcSwap::from_pointee(trust),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    /// What is served now, if there is anything; the first use waits for it for a while.
    #[inline]
    pub(crate) fn held(self: &Arc<Self>, now: Timestamp) -> arc_swap::Guard<Option<Arc<Held>>> {
        if now.0 >= self.tend_at.load(Ordering::Relaxed) {
            self.tend(now);
        }
        self.held.load()
    }

    /// What is served now, without starting anything.
    pub(crate) fn peek(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// What is served now, or why nothing is.
    pub(crate) fn ready(self: &Arc<Self>, now: Timestamp) -> Result<Arc<Held>, Error> {
        match &*self.held(now) {
            Some(held) => Ok(held.clone()),
            None => Err(self.why_not()),
        }
    }

    /// Why nothing is served.
    pub(crate) fn why_not(&self) -> Error {
        Counts::add(&self.counts.not_ready);
        if self.is_closed.load(Ordering::Acquire) {
            return Error::Closed;
        }
        let process = self.own_process();
        let progress = process.progress();
        match &progress.last_error {
            Some((_, error)) => error.clone(),
            None => Error::NotReady {
                environment: self.name.to_string(),
                detail: "no server has answered yet".to_owned(),
            },
        }
    }

    /// Refuses what comes after the end.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Waits until something is served.
    pub(crate) fn wait_ready(self: &Arc<Self>, timeout: Duration) -> Result<Arc<Held>, Error> {
        self.check_open()?;
        let process = self.start();
        let progress = process.progress();
        let (progress, _) = process
            .moved
            .wait_timeout_while(progress, timeout, |progress| {
                !progress.is_closed && !progress.is_settled
            })
            .unwrap_or_else(PoisonError::into_inner);
        drop(progress);
        self.peek().ok_or_else(|| self.why_not())
    }

    /// Looks after what readers otherwise need not: the first use, a fork, the end.
    #[cold]
    fn tend(self: &Arc<Self>, now: Timestamp) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let process = self.start();
        let mut progress = process.progress();
        let clock = &self.settings.clock;
        let until = *progress
            .wait_until
            .get_or_insert_with(|| clock.elapsed() + self.settings.start_timeout);
        let left = until.saturating_sub(clock.elapsed());
        if !progress.is_settled && !left.is_zero() {
            (progress, _) = process
                .moved
                .wait_timeout_while(progress, left, |progress| {
                    !progress.is_closed && !progress.is_settled
                })
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(progress);
        self.tend_at
            .store(now.0.saturating_add(TEND_EVERY_MS), Ordering::Relaxed);
    }

    /// Starts what keeps the view fresh, once in each process.
    pub(crate) fn start(self: &Arc<Self>) -> Arc<Process> {
        let process = self.own_process();
        {
            let mut progress = process.progress();
            if progress.is_started {
                return process.clone();
            }
            progress.is_started = true;
            // What was inherited is served while the threads of this process begin.
            progress.is_settled = self.held.load().is_some();
        }
        match self.settings.kind.as_ref() {
            Some(Kind::Memory(memory)) => {
                memory.follow(self);
                match memory.load(&self.name) {
                    Ok((local, revisions)) => self.serve_memory(&local, &revisions),
                    Err(error) => self.failed(&process, error),
                }
            }
            Some(Kind::Tree(root)) => {
                let mut follower = TreeFollower::new(root.clone());
                follower.look(self, &process);
                self.spawn(&process, move |core, process| {
                    while !process.pause(TREE_EVERY) {
                        follower.look(core, process);
                    }
                });
            }
            Some(Kind::Servers(_)) => {
                self.spawn(&process, |core, process| {
                    let http = Http::new(&core.settings.authorities);
                    process.interruptible(http.agent());
                    follow::run(core, process, Box::new(http));
                });
                if !self.settings.only_looks {
                    process.progress().is_telling = true;
                    self.usage.renew();
                    self.spawn(&process, |core, process| {
                        let tells: Arc<dyn Tells> = Arc::new(Http::new(&core.settings.authorities));
                        let usage = UsageReporter::new(tells.clone(), core);
                        ack::run(core, process, Reporter::new(tells), usage);
                    });
                }
            }
            None => {}
        }
        // In a forked process, for those who watched in the one that it comes from.
        self.call_back(&process);
        process
    }

    /// The state of this process; a new one after a fork.
    pub(crate) fn own_process(&self) -> Arc<Process> {
        let known = self.process.load();
        let id = self.settings.clock.process_id();
        if known.id == id {
            return known.clone();
        }
        let fresh = Arc::new(Process::new(id));
        let before = self.process.compare_and_swap(&*known, fresh);
        drop(before);
        self.is_connected.store(false, Ordering::Relaxed);
        self.process.load_full()
    }

    /// Makes the next use look after this process, and goes on at once for those who watch.
    pub(crate) fn after_fork(self: &Arc<Self>) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        self.tend_at.store(i64::MIN, Ordering::Relaxed);
        if !self.watchers.load().is_empty() {
            self.start();
        }
    }

    /// Adds one who watches.
    pub(crate) fn remember(self: &Arc<Self>, watcher: &Arc<Watcher>) {
        self.watchers.rcu(|known| {
            let mut known = Vec::clone(known);
            known.push(watcher.clone());
            known
        });
        let process = self.own_process();
        // What changed while the list was written is looked at now.
        process.progress().news += 1;
        process.moved.notify_all();
        self.call_back(&process);
    }

    /// Takes away one who watches.
    pub(crate) fn forget(&self, watcher: &Arc<Watcher>) {
        self.watchers.rcu(|known| {
            let mut known = Vec::clone(known);
            known.retain(|it| !Arc::ptr_eq(it, watcher));
            known
        });
    }

    /// Starts the thread that calls back, if somebody watches.
    fn call_back(self: &Arc<Self>, process: &Arc<Process>) {
        let is_closed = self.is_closed.load(Ordering::Acquire);
        if is_closed || self.watchers.load().is_empty() {
            return;
        }
        if std::mem::replace(&mut process.progress().is_calling, true) {
            return;
        }
        self.spawn(process, |core, process| {
            let mut seen = 0;
            while let Some(news) = process.wait_for_news(seen) {
                seen = news;
                let Some(held) = core.peek() else { continue };
                for watcher in &**core.watchers.load() {
                    watcher.look(core, held.clone());
                }
            }
        });
    }

    /// Starts a thread that ends with the client.
    fn spawn(
        self: &Arc<Self>,
        process: &Arc<Process>,
        run: impl FnOnce(&Arc<Self>, &Arc<Process>) + Send + 'static,
    ) {
        let (core, its_process) = (self.clone(), process.clone());
        let spawned = std::thread::Builder::new()
            .name("control-plane".to_owned())
            .spawn(move || run(&core, &its_process));
        if let Err(error) = spawned {
            let detail = format!("no thread can be started: {error}");
            self.failed(
                process,
                Error::NotReady {
                    environment: self.name.to_string(),
                    detail,
                },
            );
        }
    }

    /// Where a view comes from that is served now.
    pub(crate) fn source(&self, held: Option<&Held>) -> Source {
        match held.map(|it| it.origin) {
            None => Source::None,
            Some(Origin::Server) if self.is_connected.load(Ordering::Relaxed) => Source::Live,
            Some(Origin::Server) => Source::Stale,
            Some(Origin::Kept) => Source::LastKnownGood,
            Some(Origin::Bundled) => Source::Bundled,
            Some(Origin::Tree) => Source::Tree,
            Some(Origin::Memory) => Source::Memory,
        }
    }

    pub(crate) fn status(self: &Arc<Self>) -> Status {
        let held = self.peek();
        let process = self.own_process();
        let last_error = process.progress().last_error.clone();
        let confirmed_at = self.confirmed_at.load(Ordering::Relaxed);
        let age = (held.is_some() && confirmed_at > 0).then(|| {
            let age = self.now().0 - confirmed_at;
            Duration::from_millis(u64::try_from(age).unwrap_or(0))
        });
        let source = self.source(held.as_deref());
        let place = held.as_ref().map(|it| &it.place);
        let vouched_until = self.vouched_until.load(Ordering::Relaxed);
        Status {
            environment: self.name.clone(),
            source,
            revision: place.map(|it| it.revision),
            log: place.map(|it| it.log.to_string()),
            epoch: place.map(|it| it.epoch),
            age,
            server_key: self.trust.load().current().map(ToString::to_string),
            vouched_until: (vouched_until > 0).then_some(Timestamp(vouched_until)),
            last_error,
            rejected: Vec::clone(&self.breaches.load()),
            held_back: Vec::clone(&self.held_back.load()),
            counters: self.counts.read(),
        }
    }

    /// Ends the threads; nothing is served from now on.
    pub(crate) fn close(&self) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tend_at.store(i64::MAX, Ordering::Relaxed);
        let last_word = ack::acknowledgement(self);
        self.held.store(None);
        let process = self.process.load();
        if process.id == self.settings.clock.process_id() {
            let mut progress = process.progress();
            progress.is_closed = true;
            progress.last_word = last_word;
            // What was counted last is told with it.
            progress.untold += 1;
            if let Some(agent) = progress.agent.take() {
                agent.shutdown();
            }
            process.moved.notify_all();
            drop(progress);
            process.unmark();
            process.wait_for_told(FLUSH_TIMEOUT);
        }
    }
}
