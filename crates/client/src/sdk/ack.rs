//! Acknowledgements: servers are told which revision this instance serves, and what of it it does not.
//!
//! The latest word wins: what is said is made of what is served at the moment of saying it, so that
//! nothing queues up, whatever happens meanwhile. It is said by a thread of its own, soon after it
//! changed, and again when the server asks for it; nobody who evaluates waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plane_api::{AckProblem, AckRequest, AckState};
use plane_model::Code;

use super::builder::{Kind, Service};
use super::core::Core;
use super::error::Error;
use super::held::Origin;
use super::http::{Failure, Target, Tells, Why};
use super::process::Process;
use super::usage::UsageReporter;

/// How long the last word may take when a client is closed.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long changes are gathered before they are told: not all clients speak at once after a commit.
const GATHER: Duration = Duration::from_secs(1);
/// How long telling may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest upper bound of a pause before telling it again that was not heard.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));
/// How long a server is left alone that does not want to hear it.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_mins(5);
/// The shortest and the longest time after which a server may ask to be told again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(10));
/// How many problems are told, and how long each name and text of them may be.
const PROBLEMS_MAX: usize = 50;
const NAME_BYTES_MAX: usize = 256;
const DETAIL_BYTES_MAX: usize = 2_048;
/// What a service is called that does not say: as OpenTelemetry calls it.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// A revision that could not be served at all.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) revision: u64,
    pub(crate) detail: String,
}

/// How long a server is left alone that failed, or does not want to be told.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Failures in a row.
    attempts: u32,
}

/// Tells servers what one environment holds in this process.
pub(crate) struct Reporter {
    tells: Arc<dyn Tells>,
    /// Which of the servers is told.
    turn: usize,
    /// What was heard.
    told: Option<AckRequest>,
    /// When it is to be told again, changed or not.
    again_at: Duration,
    pace: Pace,
    /// Until when failures keep it from being told.
    paused_until: Duration,
    /// Since when there is each problem, by what it is about.
    since: BTreeMap<(String, String), u64>,
    wants_contract: bool,
}

impl Reporter {
    pub(crate) fn new(tells: Arc<dyn Tells>) -> Self {
        Self {
            tells,
            turn: 0,
            told: None,
            again_at: Duration::ZERO,
            pace: Pace::default(),
            paused_until: Duration::ZERO,
            since: BTreeMap::new(),
            wants_contract: false,
        }
    }

    /// Tells what there is to tell now, and says after how long there may be something again.
    pub(crate) fn step(&mut self, core: &Core) -> Duration {
        let now = core.settings.clock.elapsed();
        let Some(word) = acknowledgement(core).map(|word| self.dated(word)) else {
            return GATHER;
        };
        let due = if self.told.as_ref() == Some(&word) {
            self.again_at.max(self.paused_until)
        } else {
            self.paused_until
        };
        if due > now {
            return due.saturating_sub(now);
        }
        match self.tell(core, word, TIMEOUT) {
            Ok(()) => self.again_at.saturating_sub(now),
            Err(pause) => {
                self.paused_until = now + pause;
                pause
            }
        }
    }

    /// Tells the last word if it was not told yet, once.
    pub(crate) fn finish(&mut self, core: &Core, word: AckRequest) {
        let word = self.dated(word);
        if self.told.as_ref() != Some(&word) {
            // Nobody waits for a second try.
            self.tell(core, word, FLUSH_TIMEOUT).unwrap_or_default();
        }
    }

    /// Says of each problem since when there is it.
    fn dated(&mut self, mut word: AckRequest) -> AckRequest {
        let mut since = BTreeMap::new();
        for problem in &mut word.problems {
            let about = (problem.subject.clone(), problem.pointer.clone());
            let first = self.since.get(&about).copied().unwrap_or(word.revision);
            problem.since = first.min(word.revision);
            since.insert(about, problem.since);
        }
        self.since = since;
        word
    }

    /// Tells it; how long not to try again, if it was not heard.
    fn tell(&mut self, core: &Core, word: AckRequest, timeout: Duration) -> Result<(), Duration> {
        let target = target(core, self.turn).map_err(|_| REFUSED_PAUSE)?;
        let mut request = word.clone();
        if self.wants_contract {
            request.contract.clone_from(&core.settings.contract);
        }
        match self.tells.tell(&target, &request, timeout) {
            Ok(reply) => {
                self.pace = Pace::default();
                self.told = Some(word);
                let asked = Duration::from_secs(reply.again_seconds).clamp(AGAIN.0, AGAIN.1);
                // Earlier by a share, so that a server is not told by all at once.
                let early = core.settings.clock.random() % 8;
                let early = asked / 64 * u32::try_from(early).unwrap_or_default();
                let mut again = asked.saturating_sub(early);
                // It was started since, and none of the service has told it what it relies on.
                self.wants_contract = reply.wants_contract && core.settings.contract.is_some();
                if self.wants_contract {
                    self.told = None;
                    again = GATHER;
                }
                self.again_at = core.settings.clock.elapsed() + again;
                Ok(())
            }
            Err(failure) => {
                self.turn += 1;
                Err(self.pace.pause(core, &failure))
            }
        }
    }
}

impl Pace {
    /// How long not to try again after a failure.
    pub(crate) fn pause(&mut self, core: &Core, failure: &Failure) -> Duration {
        let (first, longest) = BACKOFF;
        let bound = first
            .saturating_mul(1 << self.attempts.min(16))
            .min(longest);
        self.attempts += 1;
        let share = Duration::from_millis(
            core.settings.clock.random() % u64::try_from(bound.as_millis()).unwrap_or(u64::MAX),
        );
        let asked = failure.retry_after.unwrap_or_default();
        let refused = match &failure.why {
            Why::Refused(problem) if !problem.retryable => {
                tracing::debug!(code = problem.code, "a server does not want to be told");
                REFUSED_PAUSE
            }
            // One that is older does not know of it; one that is not this API never will.
            Why::Foreign(_) => REFUSED_PAUSE,
            Why::Refused(_) | Why::Unreachable(_) | Why::Lost(_) | Why::Silent(_) => Duration::ZERO,
        };
        (bound / 2 + share).max(asked).max(refused)
    }
}

/// Tells until the client is closed, and then the last word.
pub(crate) fn run(
    core: &Core,
    process: &Process,
    mut reporter: Reporter,
    mut usage: UsageReporter,
) {
    let mut seen = 0;
    let mut length = GATHER;
    loop {
        let untold = process.wait_for_untold(seen, length);
        let chance = core.settings.clock.random() % 1_000;
        let gather = GATHER / 1_000 * u32::try_from(chance).unwrap_or_default();
        let is_closed = process.pause(if untold == seen {
            Duration::ZERO
        } else {
            gather
        });
        if is_closed {
            let word = process.progress().last_word.take();
            if let Some(word) = word {
                reporter.finish(core, word);
            }
            usage.finish(core, process);
            process.told(u64::MAX);
            return;
        }
        length = reporter.step(core).min(usage.step(core, process));
        seen = untold;
        if reporter.pace.attempts == 0 {
            process.told(untold);
        }
    }
}

/// What there is to say now; none if nothing is held of a server.
pub(crate) fn acknowledgement(core: &Core) -> Option<AckRequest> {
    let held = core.peek();
    let held = held.filter(|held| matches!(held.origin, Origin::Server | Origin::Kept));
    let serves = held.as_ref().map_or(0, |held| held.place.revision);
    let refusal = core.refusal();
    if held.is_none() && refusal.is_none() {
        return None;
    }
    let mut problems = Vec::new();
    let mut state = AckState::Applied;
    for document in core.held_back_now().iter() {
        state = AckState::HeldBack;
        let starts = document.unclean_starts;
        let detail = format!(
            "{starts} processes died after they had applied it; it is tried again at {}",
            document.retry_at
        );
        problems.push(problem(&document.document, "", &detail));
    }
    for breach in core.breaches().iter() {
        state = AckState::Rejected;
        problems.push(problem(&breach.subject, &breach.pointer, &breach.detail));
    }
    if let Some(refusal) = &refusal {
        state = AckState::Rejected;
        problems.push(problem("view", "", &refusal.detail));
    }
    if let Some(until) = core.expired_at() {
        let detail = format!(
            "{}: a server answers, and vouches for nothing after {until}",
            Code::HeadExpired
        );
        problems.push(problem("view", "/expires", &detail));
    }
    problems.truncate(PROBLEMS_MAX);
    let (service, service_version) = who(core);
    Some(AckRequest {
        service,
        service_version,
        instance: bounded(&instance(core), NAME_BYTES_MAX),
        sdk: bounded(&core.settings.sdk, NAME_BYTES_MAX),
        serves,
        revision: refusal.map_or(serves, |refusal| refusal.revision.max(serves)),
        state,
        problems,
        contract_digest: core.settings.contract_digest,
        contract: None,
    })
}

/// The service and its version.
pub(crate) fn who(core: &Core) -> (String, String) {
    let Service { name, version, .. } = &core.settings.service;
    let name = name.as_deref().unwrap_or(UNKNOWN_SERVICE);
    let version = version.as_deref().unwrap_or_default();
    (
        bounded(name, NAME_BYTES_MAX),
        bounded(version, NAME_BYTES_MAX),
    )
}

fn problem(subject: &str, pointer: &str, detail: &str) -> AckProblem {
    AckProblem {
        subject: bounded(subject, NAME_BYTES_MAX),
        pointer: bounded(pointer, DETAIL_BYTES_MAX),
        detail: bounded(detail, DETAIL_BYTES_MAX),
        since: 0,
    }
}

/// What tells this process from others of the service.
fn instance(core: &Core) -> String {
    let settings = &core.settings;
    let process = settings.clock.process_id();
    match &settings.service.instance {
        // What was set for one process would be said by all that it is forked into.
        Some(instance) if process != settings.made_in => format!("{instance}/{process}"),
        Some(instance) => instance.clone(),
        None => format!("{}:{process}", host(settings.service.host.as_deref())),
    }
}

fn host(known: Option<&str>) -> String {
    let read = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = known.map(str::to_owned).or_else(read).unwrap_or_default();
    match name.trim() {
        "" => "host".to_owned(),
        name => name.to_owned(),
    }
}

/// A text without control characters, cut to a length.
fn bounded(text: &str, bytes_max: usize) -> String {
    let mut text: String = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

pub(crate) fn target(core: &Core, turn: usize) -> Result<Target, Error> {
    let urls = match &core.settings.kind {
        Some(Kind::Servers(urls)) => urls.as_slice(),
        _ => &[],
    };
    let url = urls.get(turn % urls.len().max(1));
    Ok(Target {
        url: url.cloned().ok_or(Error::UrlMissing)?,
        token: core.settings.token.read()?,
        environment: core.name.clone(),
        is_on_demand: false,
    })
}

#[cfg(test)]
mod tests;
