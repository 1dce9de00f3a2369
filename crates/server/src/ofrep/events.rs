//! The stream that tells clients of OFREP to evaluate again.
//!
//! It says that something changed and not what, so that each reader follows the node for itself: a burst
//! is one event, and whoever comes back is told once, whatever was missed.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use plane_api::OfrepEvent;
use plane_model::{Digest, EnvironmentName, Kind, Timestamp};
use plane_node::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Ticket;
use crate::auth::Caller;
use crate::call::App;
use crate::stream::Permit;
use crate::view::is_shared;

/// What keeps a stream open, or opens it, and says nothing.
const SILENCE: &[u8] = b": nothing changed\n\n";
/// The least and the most milliseconds that a reader is asked to wait before it connects again.
const RETRY_MS: (u64, u64) = (250, 5_000);

/// Names the configuration at a point of the log.
pub(crate) fn config_etag(revision: u64, hash: &Digest) -> String {
    let hash: String = hash.hex().chars().take(8).collect();
    format!("{revision}.{hash}")
}

/// The revision in the name of a configuration.
pub(crate) fn revision_of(config_etag: &str) -> Option<u64> {
    config_etag.split_once('.')?.0.parse().ok()
}

/// Opens a stream after the event that the caller saw last; none if too many are open.
pub(crate) fn follow(
    app: &Arc<App>,
    caller: &Caller,
    environment: EnvironmentName,
    ticket: Option<&Ticket>,
    last_id: Option<&str>,
) -> Option<impl Stream<Item = Result<Bytes, Infallible>> + Send + use<>> {
    let permit = app.streams.enter()?;
    let shutdown = app.options.shutdown.clone();
    let mut reader = Reader {
        // Followed before the head is read, so that nothing falls between.
        events: app.node.events(),
        app: app.clone(),
        caller: caller.clone(),
        environment,
        lease: ticket.map(Lease::new),
        told_at: Instant::now(),
        stopping: Box::pin(async move { shutdown.begun().await }),
        first: None,
        has_ended: false,
        _permit: permit,
    };
    reader.first = Some(reader.greeting(last_id));
    Some(futures_util::stream::unfold(
        reader,
        |mut reader| async move {
            let piece = reader.next().await?;
            Some((Ok(piece), reader))
        },
    ))
}

/// How long a ticket keeps a stream open.
#[derive(Debug)]
struct Lease {
    ends_at: Timestamp,
    /// When the reader is told to evaluate again, and so gets another ticket; none once it was.
    renews_at: Option<Timestamp>,
}

impl Lease {
    /// Readers are spread over most of the time in which there is another ticket to get.
    fn new(ticket: &Ticket) -> Self {
        let (from, to) = (ticket.renewable_at().0, ticket.ends_at.0);
        let spread = i64::try_from(spread()).unwrap_or_default();
        Self {
            ends_at: ticket.ends_at,
            renews_at: Some(Timestamp(from + (to - from) * spread / 1_250)),
        }
    }
}

/// One reader of a stream.
struct Reader {
    app: Arc<App>,
    caller: Caller,
    environment: EnvironmentName,
    events: broadcast::Receiver<Arc<Event>>,
    /// There is one if a ticket opened the stream.
    lease: Option<Lease>,
    told_at: Instant,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    first: Option<Bytes>,
    has_ended: bool,
    _permit: Permit,
}

/// What a reader does about something that happened.
enum Told {
    Nothing,
    Silence,
    EvaluateAgain,
    End,
}

impl Reader {
    /// Silence, or that something was missed.
    fn greeting(&self, last_id: Option<&str>) -> Bytes {
        let node = &self.app.node;
        let missed_nothing = last_id.is_none_or(|last_id| {
            revision_of(last_id).is_some_and(|revision| {
                let seen = node.hash_of(revision);
                seen.is_some_and(|hash| config_etag(revision, &hash) == last_id)
                    && node.events_after(revision).is_some_and(|events| {
                        !events
                            .iter()
                            .any(|event| is_about_access(event) || self.concerns_flags(event))
                    })
            })
        });
        if missed_nothing {
            Bytes::from_static(SILENCE)
        } else {
            self.evaluate_again()
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let wakes_at = self.wakes_at();
            let told = tokio::select! {
                biased;
                () = &mut self.stopping => Told::End,
                received = self.events.recv() => self.received(received),
                () = tokio::time::sleep_until(wakes_at) => self.woken(),
            };
            if matches!(told, Told::Nothing) {
                continue;
            }
            self.told_at = Instant::now();
            return Some(match told {
                Told::Nothing | Told::Silence => Bytes::from_static(SILENCE),
                Told::EvaluateAgain => self.evaluate_again(),
                Told::End => {
                    self.has_ended = true;
                    let (least, most) = RETRY_MS;
                    let wait = least + spread() * (most - least) / 1_000;
                    format!("retry: {wait}\n\n").into()
                }
            });
        }
    }

    fn received(&mut self, first: Result<Arc<Event>, RecvError>) -> Told {
        let mut received = first;
        let (mut is_about_access, mut is_about_flags) = (false, false);
        loop {
            match received {
                Ok(event) => {
                    is_about_access |= self::is_about_access(&event);
                    is_about_flags |= self.concerns_flags(&event);
                }
                Err(RecvError::Lagged(_)) => (is_about_access, is_about_flags) = (true, true),
                Err(RecvError::Closed) => return Told::End,
            }
            received = match self.events.try_recv() {
                Ok(event) => Ok(event),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    Err(RecvError::Lagged(missed))
                }
                // That the node has closed is met by the next wait.
                Err(_) => break,
            };
        }
        if self.has_expired() {
            return Told::End;
        }
        let has_changed = is_about_access
            && match self.authorise() {
                Ok(has_changed) => has_changed,
                Err(()) => return Told::End,
            };
        if has_changed || is_about_flags {
            Told::EvaluateAgain
        } else {
            Told::Nothing
        }
    }

    fn woken(&mut self) -> Told {
        if self.has_expired() {
            return Told::End;
        }
        let now = self.app.node.now();
        let renews = |lease: &mut Lease| lease.renews_at.take_if(|at| *at <= now).is_some();
        if self.lease.as_mut().is_some_and(renews) {
            return Told::EvaluateAgain;
        }
        match self.authorise() {
            Ok(true) => Told::EvaluateAgain,
            Ok(false) if self.silence_at() <= Instant::now() => Told::Silence,
            Ok(false) => Told::Nothing,
            Err(()) => Told::End,
        }
    }

    /// When there is something to do if nothing happens.
    fn wakes_at(&self) -> Instant {
        let now = Instant::now();
        let lease = self.lease.as_ref();
        let times = [
            self.caller.expires_at,
            lease.and_then(|it| it.renews_at),
            lease.map(|it| it.ends_at),
        ];
        let mut at = self.silence_at();
        for time in times.into_iter().flatten() {
            let left = time.0.saturating_sub(self.app.node.now().0);
            // A moment later rather than earlier: woken too early, the reader would be woken again and again.
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0) + 1);
            at = at.min(now + left);
        }
        at
    }

    fn silence_at(&self) -> Instant {
        self.told_at + self.app.options.bookmark_every
    }

    fn has_expired(&self) -> bool {
        let ends = [
            self.caller.expires_at,
            self.lease.as_ref().map(|it| it.ends_at),
        ];
        (ends.into_iter().flatten()).any(|expiry| expiry <= self.app.node.now())
    }

    /// Looks again what the token covers; true if that has changed.
    fn authorise(&mut self) -> Result<bool, ()> {
        let snapshot = self.app.node.snapshot();
        let known = (self.app.scopes)
            .known(self.caller.hash, snapshot.state(), self.app.node.now())
            .map_err(drop)?;
        self.caller.expires_at = known.expires_at;
        if !known.scope.sees_environment(&self.environment)
            || snapshot.view(&self.environment).is_none()
        {
            return Err(());
        }
        let has_changed = known.scope != self.caller.scope;
        self.caller.scope = known.scope;
        Ok(has_changed)
    }

    /// Says whether something changed that flags are decided by, as far as the reader may know.
    fn concerns_flags(&self, event: &Event) -> bool {
        event.changes.iter().any(|change| {
            matches!(
                change.key.kind(),
                Kind::Environment
                    | Kind::Flag
                    | Kind::Targeting
                    | Kind::Segment
                    | Kind::Tenant
                    | Kind::Pin
                    | Kind::Kill
            ) && is_shared(&change.key, &self.environment)
                && self.caller.scope.sees(&change.key)
        })
    }

    /// The event; it names the configuration that there is now, so that nothing is told twice.
    fn evaluate_again(&self) -> Bytes {
        let head = self.app.node.snapshot().state().head();
        let etag = config_etag(head.revision, &head.hash);
        let event = OfrepEvent {
            kind: "refetchEvaluation".to_owned(),
            etag: etag.clone(),
        };
        let data = serde_json::to_string(&event).unwrap_or_default();
        let mut text = String::with_capacity(128);
        let _ = write!(text, "id: {etag}\nevent: message\ndata: {data}\n\n");
        text.into()
    }
}

/// Says whether a commit can change what somebody may see.
fn is_about_access(event: &Event) -> bool {
    event.changes.iter().any(|change| {
        matches!(
            change.key.kind(),
            Kind::Token | Kind::RoleBinding | Kind::Environment
        )
    })
}

/// A number below a thousand that differs from reader to reader.
fn spread() -> u64 {
    u64::try_from(ulid::Ulid::generate().random() % 1_000).unwrap_or_default()
}
