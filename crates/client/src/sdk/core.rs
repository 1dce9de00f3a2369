//! One environment: what is served, and the process that keeps it fresh.
//!
//! INVARIANT: readers take no lock. What is served is swapped as a whole, and survives a fork: a
//! forked process serves what it inherited, and starts threads and connections of its own.

mod trust;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use plane_eval::{Context, Evaluation, Reason, Resolved};
use plane_model::{Code, EnvironmentName, FlagKey, Timestamp, VariantName};
use plane_state::Breach;
use serde_json::Value;

use super::ack::{self, FLUSH_TIMEOUT, Refusal, Reporter};
use super::answer::{self, Detail, Options};
use super::builder::{Builder, Kind};
use super::error::Error;
use super::event::{Event, Level};
use super::follow;
use super::held::{Held, Origin};
use super::http::{Http, Tells};
use super::local::{Local, Revisions};
use super::process::Process;
use super::snapshot::Snapshot;
use super::status::{Counts, HeldBack, Source, Status};
use super::telemetry;
use super::tree::TreeFollower;
use super::usage::{Dropped, Usage, UsageReporter};
use super::verify::Trust;
use super::watch::{Update, Watcher};

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
                process.progress().is_telling = true;
                self.usage.renew();
                self.spawn(&process, |core, process| {
                    let tells: Arc<dyn Tells> = Arc::new(Http::new(&core.settings.authorities));
                    let usage = UsageReporter::new(tells.clone(), core);
                    ack::run(core, process, Reporter::new(tells), usage);
                });
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

    /// Notes that a callback panicked.
    pub(crate) fn callback_panicked(&self, update: &Update) {
        let message = format!("the callback that watches `{}` panicked", update.subject);
        self.tell(Level::Error, None, message);
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

    /// Serves what a test says now.
    pub(crate) fn serve_memory(&self, local: &Local, revisions: &Revisions) {
        let is_newer = |held: &Held| held.place.revision < revisions.newest();
        if !self.held.load().as_deref().is_none_or(is_newer) {
            return;
        }
        let Some(view) = local.view(&self.name, revisions) else {
            return;
        };
        let process = self.own_process();
        self.serve(
            &process,
            Held {
                view,
                origin: Origin::Memory,
                place: local.place(revisions.newest()),
                cause: "the test changed it".into(),
                on_demand: None,
            },
        );
    }

    /// Puts a view in the place of the one that is served.
    pub(crate) fn serve(&self, process: &Process, held: Held) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let (revision, cause) = (held.place.revision, held.cause.clone());
        let is_followed = held.origin == Origin::Server;
        let is_kept = held.origin == Origin::Kept;
        let is_fallback = is_kept || held.origin == Origin::Bundled;
        self.replace(held);
        if is_followed {
            self.refusal.store(None);
        }
        Counts::add(&self.counts.updates);
        if !is_fallback {
            self.confirm();
        }
        let mut progress = process.progress();
        progress.news += 1;
        progress.untold += 1;
        let is_first = !progress.is_settled;
        // What was kept is served, but a first use waits whether a server has something newer.
        progress.is_settled |= !is_kept;
        // What is served for want of something better is no sign that all is well again.
        let had_error = !is_fallback && progress.recover();
        process.moved.notify_all();
        drop(progress);
        // Commits are the daily business of a server; its log has them.
        if is_first || had_error || !is_followed {
            self.tell(
                Level::Info,
                None,
                format!("revision {revision} is served: {cause}"),
            );
        }
    }

    /// Puts a view in the place of one that differs from it only in what is held.
    pub(crate) fn replace(&self, held: Held) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let held = self.fulfilled(held);
        self.held.store(Some(Arc::new(held)));
    }

    /// Puts what was served before in the place of what breaks what the service relies on.
    fn fulfilled(&self, held: Held) -> Held {
        let Some(contract) = &self.settings.checked else {
            return held;
        };
        let service = self.settings.service.name.as_deref();
        let (breaches, keep) = contract.check(&held.view, service);
        let news: Vec<_> = {
            let before = self.breaches.load();
            let news = breaches.iter().filter(|it| !before.contains(it));
            news.cloned().collect()
        };
        let is_broken = !breaches.is_empty();
        self.breaches.store(Arc::new(breaches));
        if !news.is_empty() {
            Counts::add(&self.counts.rejected);
        }
        for breach in news {
            let message = format!(
                "revision {} is not served for {}, whose last good content serves: {}{}",
                held.place.revision,
                breach.subject,
                if breach.pointer.is_empty() {
                    String::new()
                } else {
                    format!("{}: ", breach.pointer)
                },
                breach.detail
            );
            self.tell(Level::Error, None, message);
        }
        if !is_broken {
            return held;
        }
        let before = self.peek();
        let view = held.view.keeping(before.as_ref().map(|it| &it.view), &keep);
        Held { view, ..held }
    }

    /// What the service relies on and the newest revision breaks.
    pub(crate) fn breaches(&self) -> Arc<Vec<Breach>> {
        self.breaches.load_full()
    }

    /// Notes that no server answers, or none that can be used.
    pub(crate) fn disconnected(&self, process: &Process, error: Error) {
        if self.is_connected.swap(false, Ordering::Relaxed) {
            process.has_news();
        }
        match error {
            Error::Forked { .. } => Counts::add(&self.counts.forks),
            Error::Unverified { .. } | Error::KeyUntrusted { .. } => {
                Counts::add(&self.counts.unverified);
            }
            _ => {}
        }
        self.failed(process, error);
        if self.held.load().is_none() {
            self.fall_back(process);
        }
    }

    /// Serves the bundled tree, for there is nothing better.
    fn fall_back(&self, process: &Process) {
        let Some(root) = &self.settings.bundled else {
            return;
        };
        match TreeFollower::new(root.clone()).load(self) {
            Ok(Some(held)) => {
                let bundled = Held {
                    origin: Origin::Bundled,
                    cause: "no server answers, and the bundled tree was read".into(),
                    ..held
                };
                self.serve(process, bundled);
            }
            Ok(None) => {}
            Err(error) => self.failed(process, error),
        }
    }

    /// Notes that there is nothing newer than what is served.
    pub(crate) fn confirm(&self) {
        self.confirmed_at.store(self.now().0, Ordering::Relaxed);
    }

    /// Notes that something came that could not be served, of a revision if that is known.
    pub(crate) fn refused(&self, process: &Process, revision: Option<u64>, error: &Error) {
        Counts::add(&self.counts.rejected);
        let served = || self.held.load().as_ref().map(|it| it.place.revision);
        let revision = revision.or_else(served).unwrap_or_default();
        let detail = format!("{}: {error}", error.code_text());
        self.refusal
            .store(Some(Arc::new(Refusal { revision, detail })));
        process.tell_servers();
    }

    /// What could not be served at all, since something else was.
    pub(crate) fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }

    /// The documents whose newest content is not served.
    pub(crate) fn held_back_now(&self) -> Arc<Vec<HeldBack>> {
        self.held_back.load_full()
    }

    /// Notes what is held back now, and says what is new of it.
    pub(crate) fn held_back(&self, process: &Process, held_back: Vec<HeldBack>) {
        let held_back = Arc::new(held_back);
        let before = self.held_back.swap(held_back.clone());
        if *before != *held_back {
            process.progress().untold += 1;
            process.moved.notify_all();
        }
        for document in held_back.iter().filter(|it| !before.contains(it)) {
            let message = format!(
                "the newest {} is held back and the one before is served: {} processes died after \
                 they had applied it; change it, or find out why they died",
                document.document, document.unclean_starts
            );
            self.tell(Level::Error, None, message);
        }
    }

    /// Notes that what is served cannot be kept for the next start.
    pub(crate) fn not_kept(&self, dir: &Path, error: &io::Error) {
        let message = format!(
            "what is served is not kept in `{}`: {error}; a start without a server will not have it",
            dir.display()
        );
        self.tell(Level::Warning, None, message);
    }

    /// Notes that what was kept cannot be served; a server may have something that can.
    pub(crate) fn kept_refused(&self, process: &Process, error: Error) {
        self.refused(process, None, &error);
        self.note(process, error, false);
    }

    /// Notes that nothing can be had now; a first use stops waiting if that will not change by itself.
    pub(crate) fn failed(&self, process: &Process, error: Error) {
        let is_final = !error.is_passing();
        self.note(process, error, is_final);
    }

    fn note(&self, process: &Process, error: Error, is_final: bool) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        Counts::add(&self.counts.failures);
        let is_alarm = error.is_alarm();
        let is_grave = is_alarm || self.held.load().is_none();
        let level = if is_grave {
            Level::Error
        } else {
            Level::Warning
        };
        let (code, message) = (error.code(), format!("{error}; {}", error.next()));
        let mut progress = process.progress();
        let is_new_kind = progress.said.insert(error.code_text().to_owned());
        let is_other = |(_, before): &(Timestamp, Error)| *before != error;
        // Each kind of trouble is said once, however often it is tried and whatever comes between.
        let is_news =
            is_new_kind || (is_final && progress.last_error.as_ref().is_some_and(is_other));
        progress.last_error = Some((self.now(), error));
        progress.is_settled |= is_final || self.held.load().is_some();
        process.moved.notify_all();
        drop(progress);
        if is_news {
            self.tell(level, code, message);
        }
    }

    fn tell(&self, level: Level, code: Option<Code>, message: String) {
        let revision = self.held.load().as_ref().map(|it| it.place.revision);
        let environment = self.name.clone();
        self.settings.listener.tell(&Event {
            level,
            code,
            environment,
            revision,
            message,
        });
    }

    /// Says whether a boolean flag is on, by what is served now.
    #[inline]
    pub(crate) fn is_enabled_now(
        self: &Arc<Self>,
        flag: &str,
        ctx: &Context,
        options: Options,
    ) -> bool {
        let now = self.now();
        match &*self.held(now) {
            Some(held) if held.lacks(ctx, now) => {}
            Some(held) => return self.is_enabled_by(held, flag, ctx, options, now),
            None => {
                Counts::add(&self.counts.not_ready);
                return options.default;
            }
        }
        match self.ready_for(ctx, now) {
            Ok(held) => self.is_enabled_by(&held, flag, ctx, options, now),
            Err(_) => self.not_enabled(options),
        }
    }

    /// The caller's default, because the flag cannot be evaluated.
    fn not_enabled(&self, options: Options) -> bool {
        Counts::add(&self.counts.evaluation_errors);
        options.default
    }

    /// Says whether a boolean flag is on.
    #[inline]
    pub(crate) fn is_enabled(
        &self,
        held: &Held,
        flag: &str,
        ctx: &Context,
        options: Options,
        now: Timestamp,
    ) -> bool {
        if held.lacks(ctx, now) {
            return self.not_enabled(options);
        }
        self.is_enabled_by(held, flag, ctx, options, now)
    }

    #[inline]
    fn is_enabled_by(
        &self,
        held: &Held,
        flag: &str,
        ctx: &Context,
        options: Options,
        now: Timestamp,
    ) -> bool {
        let evaluation = held.view.evaluate_key(flag, ctx, now);
        self.count(flag, &evaluation);
        telemetry::evaluated(&self.name, held.place.revision, flag, &evaluation);
        answer::is_true(&evaluation, options).unwrap_or_else(|| {
            if evaluation.reason() == Reason::Error || evaluation.value().is_some() {
                Counts::add(&self.counts.evaluation_errors);
            }
            options.default
        })
    }

    /// Counts an evaluation, for those who want to know which flags are in use.
    #[inline]
    fn count(&self, flag: &str, evaluation: &Evaluation<'_>) {
        match evaluation.flag() {
            Some(key) => self.count_known(key, evaluation.variant(), evaluation.reason()),
            None if !self.usage.is_counting() => {}
            None => self.count_dropped(self.process.load().counted.count_unknown(flag)),
        }
    }

    #[inline]
    fn count_known(&self, flag: &FlagKey, variant: Option<&VariantName>, reason: Reason) {
        let counted = || self.process.load().counted.clone();
        self.count_dropped(self.usage.count(flag, variant, reason, counted));
    }

    #[inline]
    fn count_dropped(&self, counted: Result<(), Dropped>) {
        if counted.is_err() {
            Counts::add(&self.counts.usage_dropped);
        }
    }

    /// Says which agent a context gets, by what is held.
    pub(crate) fn resolve(
        &self,
        held: &Held,
        agent: &str,
        ctx: &Context,
        now: Timestamp,
    ) -> Result<Resolved, Error> {
        held.check_tenant(ctx, now)?;
        let resolved = answer::resolve(&held.view, agent, ctx, now)?;
        for flag in resolved.overrides() {
            self.count_known(&flag.flag, flag.variant.as_ref(), flag.reason);
        }
        telemetry::resolved(&self.name, held.place.revision, resolved.overrides());
        Ok(resolved)
    }

    /// Evaluates a flag by what is served now.
    pub(crate) fn detail_now(
        self: &Arc<Self>,
        flag: &str,
        ctx: &Context,
        default: Value,
    ) -> Detail {
        let now = self.now();
        match self.ready_for(ctx, now) {
            Ok(held) => self.detail(&held, flag, ctx, default, now),
            Err(error) => Detail::without_view(default, &error),
        }
    }

    /// Evaluates a flag.
    pub(crate) fn detail(
        &self,
        held: &Held,
        flag: &str,
        ctx: &Context,
        default: Value,
        now: Timestamp,
    ) -> Detail {
        if let Err(error) = held.check_tenant(ctx, now) {
            Counts::add(&self.counts.evaluation_errors);
            return Detail::without_view(default, &error);
        }
        let evaluation = held.view.evaluate_key(flag, ctx, now);
        self.count(flag, &evaluation);
        telemetry::evaluated(&self.name, held.place.revision, flag, &evaluation);
        let detail = answer::detail(&evaluation, flag, default, held.view.revision());
        if detail.error.is_some() {
            Counts::add(&self.counts.evaluation_errors);
        }
        detail
    }

    /// What is served now, to be held on to.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Result<Snapshot, Error> {
        let now = self.now();
        let held = self.ready(now)?;
        Ok(Snapshot {
            core: self.clone(),
            held,
            now,
        })
    }

    /// What is served now with the part of the context's tenant, to be held on to.
    pub(crate) fn snapshot_for(self: &Arc<Self>, ctx: &Context) -> Result<Snapshot, Error> {
        let now = self.now();
        let held = self.ready_for(ctx, now)?;
        Ok(Snapshot {
            core: self.clone(),
            held,
            now,
        })
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
