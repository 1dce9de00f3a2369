//! Following a server: fetch the view, then its changes; what to do when that does not work.
//!
//! Here is how news is come by; `told.rs` says what of it is believed and served, `kept.rs` what is
//! kept for the next start.
//!
//! INVARIANT: what is served never goes back: not to an older revision of the same epoch, not to an
//! older epoch, not to another log. Whatever happens, the last good view goes on being served.

mod kept;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeSet;
use std::time::Duration;

use plane_model::{Code, Digest, TenantId};
use plane_state::delivery::Holding;

use self::told::{Pending, Received};
use super::builder::{Kind, Tenants};
use super::core::Core;
use super::error::Error;
use super::held::Origin;
use super::http::{Answer, Events, Failure, Target, Transport, Why};
use super::keep::Keeper;
use super::process::Process;
use super::status::Counts;

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
    /// What is held and vouched for.
    holding: Option<Holding>,
    /// What was told after that, and is not vouched for yet.
    pending: Option<Pending>,
    /// The digest of the token that was shown last.
    token: Option<Digest>,
    etag: Option<String>,
    /// The id of the last event, or of the view.
    last_id: String,
    /// The whole view is needed, of this revision at least.
    needs: Option<u64>,
    stream: Option<Box<dyn Events>>,
    /// Whether anything came from the open stream.
    has_heard: bool,
    /// When a head came last, or the stream was opened.
    head_at: Duration,
    keeper: Option<Keeper>,
    /// The tenants whose parts are kept beside the view that is kept; none until they are.
    kept_parts: Option<BTreeSet<TenantId>>,
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
            pending: None,
            token: None,
            etag: None,
            last_id: String::new(),
            needs: Some(0),
            stream: None,
            has_heard: false,
            head_at: Duration::ZERO,
            keeper: None,
            kept_parts: None,
            settles_at: Duration::ZERO,
        }
    }

    /// Exchanges something with a server, and says when to go on.
    pub(crate) fn step(&mut self, core: &Core, process: &Process) -> Next {
        self.take_up_parts(core);
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
        self.look_at_token(&target);
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
            is_on_demand: matches!(core.settings.tenants, Tenants::OnDemand { .. }),
        })
    }

    /// Begins anew where another token is shown: it may see something else, which its changes alone would
    /// not tell.
    fn look_at_token(&mut self, target: &Target) {
        let token = target.token.as_ref().map(|it| Digest::of(it.as_bytes()));
        if self.token != token && self.holding.is_some() {
            self.begin_anew();
        }
        self.token = token;
    }

    /// Has the whole view fetched, whatever is held.
    fn begin_anew(&mut self) {
        self.needs.get_or_insert(0);
        self.etag = None;
        self.pending = None;
        self.stream = None;
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
                    self.head_at = core.settings.clock.elapsed();
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
                let is_silent = matches!(failure.why, Why::Silent(_));
                if !self.has_heard && (is_silent || self.attempts == 0) {
                    self.stream = None;
                    self.lessen(core, Mode::LongPoll);
                    return Ok(Next::Now);
                }
                return Err(of_failure(target, failure));
            }
        };
        for event in events {
            self.has_heard = true;
            // Before it is handled: a view that is fetched meanwhile has a later one.
            self.last_id.clone_from(&event.id);
            self.handle(core, process, target, &event)?;
        }
        self.look_for_head(core, process, target)?;
        let chance = core.settings.clock.random();
        if self.needs.is_none() && self.keeper.as_mut().is_some_and(|it| it.wants_view(chance)) {
            self.needs = Some(0);
        }
        Ok(Next::Now)
    }

    /// Asks for the whole view, and takes it if it is vouched for and not older than what is held.
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
        match answer {
            Answer::Unchanged { head } => {
                self.unchanged(core, process, target, head.as_deref())?;
                self.needs = None;
            }
            Answer::View { bytes, etag, head } => {
                let received = Received {
                    bytes: &bytes,
                    etag: etag.as_deref(),
                    head: head.as_deref(),
                };
                self.whole(core, process, target, &received)?;
                self.etag = etag;
                self.needs = None;
            }
        }
        Ok(())
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
        if matches!(
            *error,
            Error::Refused(_) | Error::Forked { .. } | Error::KeyUntrusted { .. }
        ) {
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

/// Says whether it is streams that do not work there, and not the server, the token or the environment.
fn is_of_streams(why: &Why) -> bool {
    match why {
        // One that is not answered is gathered by something in between, which a shorter answer passes.
        Why::Foreign(_) | Why::Silent(_) => true,
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
        Why::Unreachable(detail) | Why::Lost(detail) | Why::Silent(detail) => {
            Error::Unreachable { url, detail }
        }
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
