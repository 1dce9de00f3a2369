//! Following a server: fetch the view, then its changes; what to do when that does not work.
//!
//! INVARIANT: what is served never goes back: not to an older revision of the same epoch, not to an
//! older epoch, not to another log. Whatever happens, the last good view goes on being served.

use std::time::Duration;

use plane_model::Code;
use plane_state::delivery::{At, Holding};

use crate::sse::ServerEvent;

use super::breaker::Breaker;
use super::builder::Kind;
use super::core::Core;
use super::error::Error;
use super::held::{Held, Origin};
use super::http::{Answer, Events, Failure, Target, Transport, Why};
use super::keep::{Holder, Keeper, Stored};
use super::process::Process;
use super::status::Counts;
use super::wire::{self, Gate, Said};

/// The first and the longest upper bound of a pause before trying again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long a pause a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// How long to leave alone a server that says no to who asks, or to what is asked.
const REFUSED_PAUSE: Duration = Duration::from_secs(15);
/// How long a long poll waits.
const POLL_WAIT: Duration = Duration::from_secs(50);
/// How many long polls in a row may be cut off before it is asked without waiting.
const CUT_OFF_MAX: u32 = 3;
/// How often what is served is copied as good, at most.
const SETTLE_EVERY: Duration = Duration::from_mins(1);
/// The first and the longest time before streams are tried again where they did not work.
const LESSER: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(10));

/// How news is come by, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Events come when there are some.
    Stream,
    /// A request waits until there is another view.
    LongPoll,
    /// A request every now and then.
    Poll,
}

/// What to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next step.
    Now,
    /// The next step after a pause.
    After(Duration),
}

/// Why a step did not succeed.
#[derive(Debug)]
enum Trouble {
    /// The server asks to come again.
    Goaway(Duration),
    /// Something went wrong.
    Error {
        error: Box<Error>,
        retry_after: Option<Duration>,
    },
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error {
            error: Box::new(error),
            retry_after: None,
        }
    }
}

/// Keeps one environment fresh from servers that hold the same.
pub(crate) struct Follower {
    transport: Box<dyn Transport>,
    urls: Vec<String>,
    /// Which of them is asked.
    turn: usize,
    mode: Mode,
    /// When streams are tried again.
    lesser_until: Option<Duration>,
    lesser_count: u32,
    cut_off: u32,
    /// Failures in a row.
    attempts: u32,
    holding: Option<Holding>,
    etag: Option<String>,
    /// The id of the last event, or of the view.
    last_id: String,
    /// The whole view is needed, of this revision at least.
    needs: Option<u64>,
    stream: Option<Box<dyn Events>>,
    /// Whether anything came from the open stream.
    has_heard: bool,
    keeper: Option<Keeper>,
    breaker: Option<Breaker>,
    /// When what is kept is next looked at for being good.
    settles_at: Duration,
}

impl Follower {
    pub(crate) fn new(transport: Box<dyn Transport>, core: &Core) -> Self {
        let urls = match &core.settings.kind {
            Some(Kind::Servers(urls)) => urls.clone(),
            _ => Vec::new(),
        };
        Self {
            transport,
            urls,
            turn: 0,
            mode: Mode::Stream,
            lesser_until: None,
            lesser_count: 0,
            cut_off: 0,
            attempts: 0,
            holding: None,
            etag: None,
            last_id: String::new(),
            needs: Some(0),
            stream: None,
            has_heard: false,
            keeper: None,
            breaker: None,
            settles_at: Duration::ZERO,
        }
    }

    /// Goes on from what an earlier process held, and keeps what is served from now on.
    pub(crate) fn restore(&mut self, core: &Core, process: &Process) {
        let Some(dir) = &core.settings.state_dir else {
            return;
        };
        // Without its token it cannot tell what it may know; the first step says what is wrong.
        let Ok(token) = core.settings.token.read() else {
            return;
        };
        let holder = Holder {
            servers: &self.urls,
            service: core.settings.service.name.as_deref(),
            token: token.as_deref(),
        };
        let mut keeper = match Keeper::new(dir, &core.name, &holder) {
            Ok(keeper) => keeper,
            Err(error) => return core.not_kept(dir, &error),
        };
        let good = || keeper.read_good().as_ref().and_then(wire::good);
        match Breaker::open(keeper.dir(), core.settings.clock.random(), good) {
            Ok(breaker) => self.breaker = Some(breaker),
            Err(error) => core.not_kept(keeper.dir(), &error),
        }
        match keeper.read() {
            Ok(Some(stored)) => self.take(core, process, &keeper, &stored),
            Ok(None) => {}
            Err(error) => core.not_kept(dir, &error),
        }
        self.keeper = Some(keeper);
    }

    fn take(&mut self, core: &Core, process: &Process, keeper: &Keeper, stored: &Stored) {
        let mut gate = gate(core, process, &mut self.breaker);
        let mut whole = match wire::whole(&stored.base, &core.name, &mut gate) {
            Ok(whole) => whole,
            Err(detail) => {
                core.refused(process, None, &detail);
                let origin = keeper.path().display().to_string();
                return core.failed(process, Error::View { origin, detail });
            }
        };
        for event in &stored.events {
            match wire::event(&event.name, &event.data, &whole.holding, &mut gate) {
                Ok(Said::Change(next)) => whole.holding = next,
                Ok(_) => {}
                Err(_) => break,
            }
            whole.id.clone_from(&event.id);
        }
        self.last_id = whole.id;
        // Another token may see something else, which its changes alone would not tell.
        self.needs = (!keeper.is_of_this_token()).then_some(0);
        self.hold(
            core,
            process,
            whole.holding,
            Origin::Kept,
            "an earlier process held it",
        );
        if let Some(ms) = keeper.written_ms() {
            core.confirmed_at(ms);
        }
    }

    /// Keeps something for the next start; a failure is said, and costs nothing else.
    fn keep(&mut self, core: &Core, keep: impl FnOnce(&mut Keeper) -> std::io::Result<()>) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        if let Err(error) = keep(keeper) {
            core.not_kept(&keeper.path(), &error);
            self.keeper = None;
        }
    }

    /// Exchanges something with a server, and says when to go on.
    pub(crate) fn step(&mut self, core: &Core, process: &Process) -> Next {
        self.settle(core, process);
        match self.advance(core, process) {
            Ok(next) => next,
            Err(trouble) => self.recover(core, process, trouble),
        }
    }

    fn advance(&mut self, core: &Core, process: &Process) -> Result<Next, Trouble> {
        if self
            .lesser_until
            .is_some_and(|until| until <= core.settings.clock.elapsed())
        {
            self.lesser_until = None;
            self.mode = Mode::Stream;
        }
        let target = self.target(core)?;
        match self.mode {
            Mode::Stream => self.stream(core, process, &target),
            Mode::LongPoll => {
                let wait = if self.needs.is_some() {
                    Duration::ZERO
                } else {
                    POLL_WAIT
                };
                self.fetch(core, process, &target, wait)?;
                self.cut_off = 0;
                Ok(Next::Now)
            }
            Mode::Poll => {
                self.fetch(core, process, &target, Duration::ZERO)?;
                let every = core.settings.poll_interval;
                Ok(Next::After(every / 2 + share(core, every)))
            }
        }
    }

    fn target(&self, core: &Core) -> Result<Target, Error> {
        let url = self.urls.get(self.turn % self.urls.len().max(1));
        Ok(Target {
            url: url.cloned().ok_or(Error::UrlMissing)?,
            token: core.settings.token.read()?,
            environment: core.name.clone(),
        })
    }

    /// Fetches the view unless what is held can be followed, opens the stream, or reads from it.
    fn stream(&mut self, core: &Core, process: &Process, target: &Target) -> Result<Next, Trouble> {
        if self.needs.is_some() {
            self.fetch(core, process, target, Duration::ZERO)?;
        }
        let Some(stream) = &mut self.stream else {
            Counts::add(&core.counts.connections);
            match self.transport.stream(target, &self.last_id) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    self.has_heard = false;
                    return Ok(Next::Now);
                }
                Err(failure) if is_of_streams(&failure.why) => {
                    self.lessen(core, Mode::LongPoll);
                    return Ok(Next::Now);
                }
                Err(failure) => return Err(of_failure(target, failure)),
            }
        };
        let events = match stream.read() {
            Ok(events) => events,
            Err(failure) => {
                // Opened, and then nothing came: something in between gathers what is sent.
                if !self.has_heard && self.attempts == 0 {
                    self.stream = None;
                    self.lessen(core, Mode::LongPoll);
                    return Ok(Next::Now);
                }
                return Err(of_failure(target, failure));
            }
        };
        for event in events {
            self.has_heard = true;
            self.attempts = 0;
            self.lesser_count = 0;
            core.connected(process);
            // Before it is handled: a view that is fetched meanwhile has a later one.
            self.last_id.clone_from(&event.id);
            self.handle(core, process, target, &event)?;
        }
        if let Some(holding) = self.confirmed(core) {
            self.hold(
                core,
                process,
                holding,
                Origin::Server,
                "a server confirmed it",
            );
        }
        let chance = core.settings.clock.random();
        if self.needs.is_none() && self.keeper.as_mut().is_some_and(|it| it.wants_view(chance)) {
            self.needs = Some(0);
        }
        Ok(Next::Now)
    }

    /// What was kept from earlier, once a server has gone on from it.
    fn confirmed(&self, core: &Core) -> Option<Holding> {
        let is_kept = core.peek()?.origin == Origin::Kept;
        self.holding.clone().filter(|_| is_kept && self.has_heard)
    }

    fn handle(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        event: &ServerEvent,
    ) -> Result<(), Trouble> {
        let Some(holding) = &self.holding else {
            return Ok(());
        };
        let mut gate = gate(core, process, &mut self.breaker);
        let said = wire::event(&event.name, &event.data, holding, &mut gate).map_err(|detail| {
            core.refused(process, wire::revision_in(&event.id), &detail);
            // What is missing comes with the whole.
            self.needs = Some(0);
            Error::View {
                origin: target.url.clone(),
                detail,
            }
        })?;
        match said {
            Said::Change(next) => {
                // It names the view that was fetched, which is no longer the one that is held.
                self.etag = None;
                self.hold(core, process, next, Origin::Server, "a commit changed it");
                self.keep(core, |keeper| keeper.append(event));
            }
            Said::Bookmark(next) => {
                self.hold(core, process, next, Origin::Server, "nothing changed");
            }
            Said::Refetch(revision) => {
                self.needs = Some(revision);
                self.fetch(core, process, target, Duration::ZERO)?;
            }
            Said::Goaway { retry_ms } => {
                let pause = Duration::from_millis(retry_ms).min(RETRY_AFTER_MAX);
                return Err(Trouble::Goaway(pause));
            }
            Said::Known | Said::Unknown => {}
        }
        Ok(())
    }

    /// Asks for the whole view, and takes it if it is not older than what is held.
    fn fetch(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        wait: Duration,
    ) -> Result<(), Trouble> {
        Counts::add(&core.counts.connections);
        let answer = self
            .transport
            .view(target, self.etag.as_deref(), wait)
            .map_err(|failure| of_failure(target, failure))?;
        let Answer::View { bytes, etag } = answer else {
            self.attempts = 0;
            self.needs = None;
            core.connected(process);
            return Ok(());
        };
        let mut gate = gate(core, process, &mut self.breaker);
        let whole = wire::whole(&bytes, &core.name, &mut gate).map_err(|detail| {
            let revision = etag.as_deref().and_then(wire::revision_in);
            core.refused(process, revision, &detail);
            Error::View {
                origin: target.url.clone(),
                detail,
            }
        })?;
        let at = whole.holding.at();
        let held = self.holding.as_ref().map(|held| held.at().clone());
        if let Some(held) = held.or_else(|| inherited(core)) {
            check_succession(&held, &self.last_id, at, &whole.id, target).inspect_err(|error| {
                core.refused(process, Some(at.revision), &error.to_string());
            })?;
        }
        if let Some(least) = self.needs.filter(|least| at.revision < *least) {
            let detail = format!("it is at revision {}, and {least} was told of", at.revision);
            return Err(Error::View {
                origin: target.url.clone(),
                detail,
            }
            .into());
        }
        self.last_id = whole.id;
        self.etag = etag;
        self.needs = None;
        self.attempts = 0;
        core.connected(process);
        self.hold(
            core,
            process,
            whole.holding,
            Origin::Server,
            "the view was fetched",
        );
        self.keep(core, |keeper| keeper.replace(&bytes));
        Ok(())
    }

    fn hold(
        &mut self,
        core: &Core,
        process: &Process,
        holding: Holding,
        origin: Origin,
        cause: &str,
    ) {
        let is_behind = inherited(core).is_some_and(|served| {
            let (next, served) = (holding.at(), &served);
            next.log == served.log && (next.epoch, next.revision) < (served.epoch, served.revision)
        });
        if is_behind {
            // A forked process catches up with what it inherited.
            self.holding = Some(holding);
            return;
        }
        let held = Held {
            view: holding.view().clone(),
            origin,
            place: holding.at().clone(),
            cause: cause.into(),
        };
        self.holding = Some(holding);
        // First: whoever is let go on by what is served now sees what of it is held back.
        if let Some(breaker) = &self.breaker {
            core.held_back(process, breaker.held_back());
        }
        core.serve(process, held);
    }

    /// Takes what has been served for a minute as good: what the breaker goes back to.
    fn settle(&mut self, core: &Core, process: &Process) {
        let now = core.settings.clock.elapsed();
        let Some(breaker) = self.breaker.as_mut().filter(|_| self.settles_at <= now) else {
            return;
        };
        let is_good = match breaker.settle(process, now) {
            Ok(is_good) => is_good && breaker.held_back().is_empty() && core.breaches().is_empty(),
            Err(error) => {
                tracing::warn!(%error, "the breaker cannot take down what is good");
                false
            }
        };
        let Some(keeper) = self.keeper.as_mut().filter(|_| is_good) else {
            return;
        };
        self.settles_at = now + SETTLE_EVERY;
        match keeper.keep_good() {
            Ok(_) if breaker.has_good() => {}
            Ok(_) => {
                if let Some(good) = keeper.read_good().as_ref().and_then(wire::good) {
                    breaker.learn(&good);
                }
            }
            Err(error) => tracing::warn!(%error, "what is good is not kept"),
        }
    }

    /// Comes by news in a lesser way for a while.
    fn lessen(&mut self, core: &Core, mode: Mode) {
        self.mode = mode;
        let (first, longest) = LESSER;
        let time = first
            .saturating_mul(1 << self.lesser_count.min(8))
            .min(longest);
        self.lesser_count += 1;
        self.lesser_until = Some(core.settings.clock.elapsed() + time);
        self.cut_off = 0;
        if core
            .peek()
            .is_some_and(|held| held.origin != Origin::Server)
        {
            // A long poll would wait for news before it says that what is held is current.
            self.needs = Some(0);
        }
    }

    fn recover(&mut self, core: &Core, process: &Process, trouble: Trouble) -> Next {
        self.stream = None;
        let (error, retry_after) = match trouble {
            Trouble::Goaway(pause) => {
                self.turn += 1;
                return Next::After(pause);
            }
            Trouble::Error { error, retry_after } => (error, retry_after),
        };
        if self.mode == Mode::LongPoll
            && matches!(*error, Error::Unreachable { .. } | Error::View { .. })
        {
            self.cut_off += 1;
            if self.cut_off >= CUT_OFF_MAX {
                self.lessen(core, Mode::Poll);
            }
        }
        self.turn += 1;
        let (first, longest) = BACKOFF;
        let bound = first
            .saturating_mul(1 << self.attempts.min(16))
            .min(longest);
        self.attempts += 1;
        let mut pause = share(core, bound);
        if matches!(*error, Error::Refused(_) | Error::Forked { .. }) {
            pause += REFUSED_PAUSE;
        }
        if let Some(asked) = retry_after {
            // Spread, or all who were told the same come at once.
            let asked = asked.min(RETRY_AFTER_MAX);
            pause = pause.max(asked + share(core, asked / 2));
        }
        core.disconnected(process, *error);
        Next::After(pause)
    }
}

fn gate<'g>(core: &Core, process: &'g Process, breaker: &'g mut Option<Breaker>) -> Gate<'g> {
    Gate {
        breaker: breaker.as_mut(),
        process,
        now: core.settings.clock.elapsed(),
    }
}

/// Where what is served is, if it came from a server: a forked process has it from its parent.
fn inherited(core: &Core) -> Option<At> {
    let held = core.peek()?;
    matches!(held.origin, Origin::Server | Origin::Kept).then(|| held.place.clone())
}

/// Refuses to go back: to an older revision or epoch, or to another past.
fn check_succession(
    held: &At,
    held_id: &str,
    next: &At,
    next_id: &str,
    target: &Target,
) -> Result<(), Error> {
    let forked = |detail: String| Error::Forked {
        origin: target.url.clone(),
        detail,
    };
    if next.log != held.log {
        return Err(forked(format!(
            "it is of the log `{}`, not `{}`",
            next.log, held.log
        )));
    }
    if next.epoch > held.epoch {
        return Ok(());
    }
    if (next.epoch, next.revision) < (held.epoch, held.revision) {
        return Err(Error::View {
            origin: target.url.clone(),
            detail: format!(
                "it is older: at revision {} of epoch {}, and {} of epoch {} is held",
                next.revision, next.epoch, held.revision, held.epoch
            ),
        });
    }
    let held_prefix = format!("{}.", held.revision);
    if next.revision == held.revision && held_id.starts_with(&held_prefix) && held_id != next_id {
        return Err(forked(format!(
            "revision {} is another commit there",
            next.revision
        )));
    }
    Ok(())
}

/// Says whether it is streams that do not work there, and not the server, the token or the environment.
fn is_of_streams(why: &Why) -> bool {
    match why {
        Why::Foreign(_) => true,
        Why::Refused(problem) => matches!(
            problem.known_code(),
            None | Some(
                Code::RouteNotFound
                    | Code::MethodNotAllowed
                    | Code::MediaTypeUnsupported
                    | Code::Overloaded
            )
        ),
        Why::Unreachable(_) | Why::Lost(_) => false,
    }
}

fn of_failure(target: &Target, failure: Failure) -> Trouble {
    let url = target.url.clone();
    let error = match failure.why {
        Why::Unreachable(detail) | Why::Lost(detail) => Error::Unreachable { url, detail },
        Why::Refused(problem) if problem.retryable => Error::Unreachable {
            url,
            detail: problem.detail,
        },
        Why::Refused(problem) => Error::Refused(problem),
        Why::Foreign(detail) => Error::View {
            origin: url,
            detail,
        },
    };
    Trouble::Error {
        error: Box::new(error),
        retry_after: failure.retry_after,
    }
}

/// A share of a length of time that differs from client to client and from time to time.
fn share(core: &Core, most: Duration) -> Duration {
    let ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(core.settings.clock.random() % ms)
}

/// Follows until the client is closed.
pub(crate) fn run(core: &Core, process: &Process, transport: Box<dyn Transport>) {
    let mut follower = Follower::new(transport, core);
    follower.restore(core, process);
    loop {
        let is_closed = match follower.step(core, process) {
            Next::Now => process.pause(Duration::ZERO),
            Next::After(pause) => process.pause(pause),
        };
        if is_closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
