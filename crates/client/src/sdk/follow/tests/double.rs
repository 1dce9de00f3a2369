//! A server that follows a script, and signs what it tells unless the script says how.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plane_api::{KeysReply, ServerKey, Signed};
use plane_model::{EnvironmentName, Timestamp};
use plane_registry::SigningKey;
use plane_state::delivery::{At, HeadStatement, Holding, KeyRing};

use super::super::super::clock::Clock as _;
use super::super::super::clock::test::TestClock;
use super::super::super::http::{Answer, Events, Failure, Target, Transport, Why};
use super::super::super::process::Process;
use super::super::super::wire::{self, Gate, Said};
use super::hash;
use crate::sse::ServerEvent;

/// What one read of a stream after the other gives.
pub(super) type Reads = Vec<Result<Vec<ServerEvent>, Failure>>;

pub(super) struct Script {
    pub(super) views: VecDeque<Result<Answer, Failure>>,
    pub(super) streams: VecDeque<Result<Reads, Failure>>,
    pub(super) asked: Vec<String>,
    /// What signs, and leads to it.
    pub(super) ring: KeyRing,
    pub(super) keys_asked: usize,
    /// What the reader holds by now: heads are made of it.
    told: Option<Holding>,
    clock: Arc<TestClock>,
}

#[derive(Clone)]
pub(super) struct Scripted(pub(super) Arc<Mutex<Script>>);

struct ScriptedEvents(Scripted, VecDeque<Result<Vec<ServerEvent>, Failure>>);

/// One of the keys of the script's server; it begins with the first.
pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(super) fn production() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

/// A head in the form of the header.
pub(super) fn signed(statement: HeadStatement, key: &SigningKey) -> String {
    let (payload, signature) = statement.sign(key).unwrap();
    let signature = signature.to_string();
    serde_json::to_string(&Signed { payload, signature }).unwrap()
}

/// What a view holds, read without asking a breaker.
pub(super) fn read(view: &[u8]) -> Option<Holding> {
    let process = Process::new(0);
    let whole = wire::whole(view, &production(), &mut gate(&process));
    Some(whole.ok()?.holding)
}

fn gate(process: &Process) -> Gate<'_> {
    Gate {
        breaker: None,
        process,
        now: Duration::ZERO,
        at: Timestamp(0),
    }
}

impl Scripted {
    pub(super) fn at(clock: &Arc<TestClock>) -> Self {
        Self(Arc::new(Mutex::new(Script {
            views: VecDeque::new(),
            streams: VecDeque::new(),
            asked: Vec::new(),
            ring: KeyRing::new(key(1)),
            keys_asked: 0,
            told: None,
            clock: clock.clone(),
        })))
    }

    /// Goes on from what its reader holds.
    pub(super) fn knows(&self, holding: Option<Holding>) {
        self.0.lock().unwrap().told = holding;
    }
}

impl Script {
    /// What the server says of a holding.
    pub(super) fn statement(&self, holding: &Holding) -> HeadStatement {
        let At {
            log,
            epoch,
            revision,
            head,
        } = holding.at().clone();
        let issued = self.clock.now();
        HeadStatement {
            audience: "all".to_owned(),
            environment: production(),
            epoch,
            expires: Timestamp(issued.0 + 300_000),
            head,
            issued,
            key_id: String::new(),
            log: log.to_string(),
            revision,
            view_root: holding.root(),
        }
    }

    fn sign(&self, holding: &Holding) -> String {
        signed(self.statement(holding), self.ring.current())
    }

    /// Adds the head after an event, unless the script says what stands there.
    fn vouch(&mut self, mut event: ServerEvent) -> ServerEvent {
        let Some(told) = self.told.take() else {
            return event;
        };
        let process = Process::new(0);
        let at = |revision| At {
            revision,
            head: hash(revision),
            ..told.at().clone()
        };
        let said = wire::event(&event.name, &event.data, &told, &mut gate(&process));
        let next = match said {
            Ok(Said::Change(next, None)) => next.after(at(next.at().revision), []),
            Ok(Said::Bookmark(revision, None)) => told.after(at(revision), []),
            _ => {
                self.told = Some(told);
                return event;
            }
        };
        if !event.data.contains("\"signed\"") {
            event.data.pop();
            event.data = [&event.data, ",\"signed\":", &self.sign(&next), "}"].concat();
        }
        self.told = Some(next);
        event
    }
}

impl Transport for Scripted {
    fn view(&self, target: &Target, etag: Option<&str>, wait: Duration) -> Result<Answer, Failure> {
        let mut script = self.0.lock().unwrap();
        let asked = format!(
            "{} view {} {}",
            target.url,
            etag.unwrap_or("-"),
            wait.as_secs()
        );
        script.asked.push(asked);
        let answer = script.views.pop_front();
        let mut answer = answer.expect("the script has no more views")?;
        if let Answer::View { bytes, .. } = &answer
            && let Some(holding) = read(bytes)
        {
            script.told = Some(holding);
        }
        let word = script.told.as_ref().map(|told| script.sign(told));
        let (Answer::View { head, .. } | Answer::Unchanged { head }) = &mut answer;
        match head {
            // An empty one stands for none at all.
            Some(text) if text.is_empty() => *head = None,
            Some(_) => {}
            None => *head = word,
        }
        Ok(answer)
    }

    fn keys(&self, _: &Target) -> Result<KeysReply, Failure> {
        let mut script = self.0.lock().unwrap();
        script.keys_asked += 1;
        let keys = script.ring.keys().map(|(key, by)| ServerKey {
            key: key.to_string(),
            key_id: key.keyid().to_string(),
            endorsement: by.map(|it| Signed {
                payload: it.payload.clone(),
                signature: it.signature.to_string(),
            }),
        });
        Ok(KeysReply {
            keys: keys.collect(),
        })
    }

    fn stream(&self, target: &Target, last_id: &str) -> Result<Box<dyn Events>, Failure> {
        let mut script = self.0.lock().unwrap();
        script
            .asked
            .push(format!("{} stream {last_id}", target.url));
        let events = script
            .streams
            .pop_front()
            .expect("the script has no more streams")?;
        Ok(Box::new(ScriptedEvents(self.clone(), events.into())))
    }
}

impl Events for ScriptedEvents {
    fn read(&mut self) -> Result<Vec<ServerEvent>, Failure> {
        let end = || Err(Why::Lost("the server ended the stream".to_owned()).into());
        let events = self.1.pop_front().unwrap_or_else(end)?;
        let mut script = self.0.0.lock().unwrap();
        Ok(events.into_iter().map(|it| script.vouch(it)).collect())
    }
}
