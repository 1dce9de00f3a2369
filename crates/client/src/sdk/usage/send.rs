//! Telling servers what was counted: in batches, again until it was heard, and only once counted there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plane_api::{UsageCount, UsageRequest};
use plane_model::Timestamp;

use super::super::ack::{self, Pace};
use super::super::core::Core;
use super::super::http::Tells;
use super::super::process::Process;
use super::super::status::Counts;
use super::Subject;

/// How often it is told, unless a server asks for something else; and the shortest and longest it may ask for.
const EVERY: Duration = Duration::from_secs(30);
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(10));
/// How long telling may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many different counts wait to be told; what is beyond that is dropped.
const WAITING_MAX: usize = 10_000;
/// How many are told at once.
const BATCH_MAX: usize = 1_000;

/// Adds up what the threads of one environment count, and tells it.
pub(crate) struct UsageReporter {
    tells: Arc<dyn Tells>,
    turn: usize,
    pace: Pace,
    /// When it is told next.
    due: Duration,
    waiting: BTreeMap<Subject, Waiting>,
    /// What is being told: the same again, until it is known to be heard.
    batch: Option<UsageRequest>,
    /// What was served when the threads last began new tables.
    renewed_at: u64,
}

#[derive(Debug)]
struct Waiting {
    count: u64,
    last_at: Timestamp,
}

impl UsageReporter {
    pub(crate) fn new(tells: Arc<dyn Tells>, core: &Core) -> Self {
        Self {
            tells,
            turn: 0,
            pace: Pace::default(),
            due: core.settings.clock.elapsed() + early(core, EVERY),
            waiting: BTreeMap::new(),
            batch: None,
            renewed_at: 0,
        }
    }

    /// Tells what there is to tell now, and says after how long there may be something again.
    pub(crate) fn step(&mut self, core: &Core, process: &Process) -> Duration {
        let now = core.settings.clock.elapsed();
        if self.due > now {
            return self.due.saturating_sub(now);
        }
        self.gather(core, process);
        self.renew(core);
        let pause = loop {
            match self.tell(core, TIMEOUT) {
                Ok(None) => break early(core, EVERY),
                Ok(Some(again)) if self.waiting.is_empty() => break early(core, again),
                Ok(Some(_)) => {}
                Err(pause) => break pause,
            }
        };
        self.due = core.settings.clock.elapsed() + pause;
        pause
    }

    /// Tells the rest, once: nobody waits for a second try.
    pub(crate) fn finish(&mut self, core: &Core, process: &Process) {
        self.gather(core, process);
        while let Ok(Some(_)) = self.tell(core, ack::FLUSH_TIMEOUT) {}
    }

    /// Lets go of the names of flags that may be gone, once something else is served.
    fn renew(&mut self, core: &Core) {
        let revision = core.peek().map_or(0, |held| held.place.revision);
        if std::mem::replace(&mut self.renewed_at, revision) != revision {
            core.usage.renew();
        }
    }

    fn gather(&mut self, core: &Core, process: &Process) {
        let now = core.now();
        let waiting = &mut self.waiting;
        process.counted.take(|subject, count| {
            if waiting.len() >= WAITING_MAX && !waiting.contains_key(&subject) {
                Counts::add_many(&core.counts.usage_dropped, count);
                return;
            }
            let it = waiting.entry(subject).or_insert(Waiting {
                count: 0,
                last_at: now,
            });
            it.count += count;
            it.last_at = now;
        });
    }

    /// Tells one batch; none if there is nothing to tell, else after how long to come again.
    fn tell(&mut self, core: &Core, timeout: Duration) -> Result<Option<Duration>, Duration> {
        let Some(request) = self.batch.take().or_else(|| self.next(core)) else {
            return Ok(None);
        };
        let told = ack::target(core, self.turn)
            .map_err(|_| ack::REFUSED_PAUSE)
            .and_then(|target| {
                let told = self.tells.count(&target, &request, timeout);
                told.map_err(|failure| self.pace.pause(core, &failure))
            });
        match told {
            Ok(reply) => {
                self.pace = Pace::default();
                let asked = Duration::from_secs(reply.again_seconds);
                Ok(Some(asked.clamp(AGAIN.0, AGAIN.1)))
            }
            Err(pause) => {
                self.turn += 1;
                self.batch = Some(request);
                Err(pause)
            }
        }
    }

    fn next(&mut self, core: &Core) -> Option<UsageRequest> {
        let mut counts = Vec::new();
        while counts.len() < BATCH_MAX
            && let Some((subject, waiting)) = self.waiting.pop_first()
        {
            counts.push(UsageCount {
                flag: subject.flag.into(),
                variant: subject.variant.into(),
                reason: subject.reason.to_owned(),
                count: waiting.count,
                last_at: waiting.last_at,
            });
        }
        if counts.is_empty() {
            return None;
        }
        let (service, service_version) = ack::who(core);
        Some(UsageRequest {
            service,
            service_version,
            batch: ulid::Ulid::generate().to_string(),
            counts,
        })
    }
}

/// A time, or up to an eighth less: not all tell it at once.
fn early(core: &Core, time: Duration) -> Duration {
    let eighths = u32::try_from(core.settings.clock.random() % 8).unwrap_or_default();
    time.saturating_sub(time / 64 * eighths)
}
