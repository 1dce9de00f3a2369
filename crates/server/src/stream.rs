//! Streams: each commit told once to each audience, in the order of the log.
//!
//! INVARIANT: the id of an event names everything up to it; who comes back with it misses nothing,
//! or is told to fetch the view. Nobody is waited for: who lags too far behind fetches the view.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use plane_api::{BookmarkEvent, ChangeEvent, GoawayEvent, RefetchEvent, ViewChange};
use plane_model::{Digest, Kind};
use plane_node::{ChangedDocument, Event};
use plane_state::Scope;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::auth::{Caller, Known};
use crate::call::App;
use crate::view::{Audience, is_shared};

/// How large a change may be that is told whole.
const CHANGE_BYTES_MAX: usize = 16 * 1024;
/// How many written events are kept per audience; readers that are further behind write them anew.
const WRITTEN_KEPT: usize = 64;
/// How many audiences written events are kept for.
const AUDIENCES_KEPT: usize = 1_024;
/// The least and the most milliseconds that a reader is asked to wait before it connects again.
const RETRY_MS: (u64, u64) = (250, 5_000);

/// Why a stream ends whose token expired or was withdrawn.
const TOKEN_INVALID: &str = "the token is no longer valid";

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Streams {
    max: usize,
    open: Arc<AtomicUsize>,
    written: Mutex<HashMap<Audience, VecDeque<Written>>>,
}

/// What an audience is told of a revision; none if nothing.
type Written = (u64, Option<Bytes>);

/// One stream's place among all that are open.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            open: Arc::default(),
            written: Mutex::default(),
        }
    }

    /// How many streams are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Option<Permit> {
        let permit = Permit(self.open.clone());
        // The permit gives its place back if there was none.
        (self.open.fetch_add(1, Ordering::Relaxed) < self.max).then_some(permit)
    }

    /// What an audience is told of a commit; none if nothing of it is its business.
    fn frame(&self, audience: &Audience, scope: &Scope, event: &Event) -> Option<Bytes> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= AUDIENCES_KEPT && !written.contains_key(audience) {
            written.clear();
        }
        let frames = written.entry(audience.clone()).or_default();
        if let Some((_, frame)) = frames
            .iter()
            .find(|(revision, _)| *revision == event.revision)
        {
            return frame.clone();
        }
        let frame = change(audience, scope, event);
        if frames.len() == WRITTEN_KEPT {
            frames.pop_front();
        }
        frames.push_back((event.revision, frame.clone()));
        frame
    }
}

/// Opens a stream after the event that the caller saw last; none if too many are open.
pub(crate) fn follow(
    app: &Arc<App>,
    caller: &Caller,
    audience: Audience,
    last_id: Option<&str>,
) -> Option<impl Stream<Item = Result<Bytes, Infallible>> + Send + use<>> {
    let permit = app.streams.enter()?;
    // Subscribed before the past is read, so that nothing falls between.
    let receiver = app.node.events();
    let head = app.node.snapshot().state().head();
    let mut follower = Follower {
        last: (head.revision, head.hash),
        bookmark_at: Instant::now() + app.options.bookmark_every,
        app: app.clone(),
        caller: caller.clone(),
        audience,
        receiver,
        backlog: VecDeque::new(),
        first: None,
        has_ended: false,
        _permit: permit,
    };
    follower.resume(last_id);
    Some(futures_util::stream::unfold(
        follower,
        |mut follower| async move {
            let frame = follower.next().await?;
            Some((Ok(frame), follower))
        },
    ))
}

/// One reader of a stream.
#[derive(Debug)]
struct Follower {
    app: Arc<App>,
    caller: Caller,
    audience: Audience,
    receiver: broadcast::Receiver<Arc<Event>>,
    backlog: VecDeque<Arc<Event>>,
    /// What is said before anything else.
    first: Option<Bytes>,
    /// Everything up to here was told, or is not the reader's business.
    last: (u64, Digest),
    bookmark_at: Instant,
    has_ended: bool,
    _permit: Permit,
}

/// What a follower does about something that happened.
enum Told {
    Nothing,
    Frame(Bytes),
    End(&'static str),
}

impl Follower {
    fn resume(&mut self, last_id: Option<&str>) {
        let Some(last_id) = last_id else {
            self.first = Some(self.bookmark());
            return;
        };
        let node = &self.app.node;
        let known = parse_id(last_id).and_then(|(revision, short)| {
            let hash = node.hash_of(revision)?;
            if short_hash(&hash) == short {
                Some((revision, hash, node.events_after(revision)?))
            } else {
                tracing::warn!(last_id, "a reader comes back from another log");
                None
            }
        });
        match known {
            Some((revision, hash, events)) => {
                self.last = (revision, hash);
                if events.is_empty() {
                    self.first = Some(self.bookmark());
                }
                self.backlog = events.into();
            }
            None => self.first = Some(self.refetch()),
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
            let told = match self.backlog.pop_front() {
                Some(event) => self.told(&event),
                None => self.wait().await,
            };
            match told {
                Told::Nothing => {}
                Told::Frame(frame) => {
                    self.bookmark_at = Instant::now() + self.app.options.bookmark_every;
                    return Some(frame);
                }
                Told::End(reason) => {
                    self.has_ended = true;
                    return Some(self.goaway(reason));
                }
            }
        }
    }

    async fn wait(&mut self) -> Told {
        let wakes = self.bookmark_at.min(self.expires_at());
        tokio::select! {
            biased;
            () = self.app.options.shutdown.begun() => Told::End("the server is shutting down"),
            received = self.receiver.recv() => match received {
                Ok(event) => self.told(&event),
                Err(RecvError::Lagged(_)) => {
                    // Followed anew before the head is read, so that nothing falls between.
                    self.receiver = self.app.node.events();
                    let head = self.app.node.snapshot().state().head();
                    self.last = (head.revision, head.hash);
                    Told::Frame(self.refetch())
                }
                Err(RecvError::Closed) => Told::End("the node has stopped"),
            },
            () = tokio::time::sleep_until(wakes) => {
                match self.authorise() {
                    Ok(_) if self.bookmark_at <= Instant::now() => Told::Frame(self.bookmark()),
                    Ok(_) => Told::Nothing,
                    Err(reason) => Told::End(reason),
                }
            }
        }
    }

    /// When the token's time is over, by the clock that timers follow.
    fn expires_at(&self) -> Instant {
        let left = self.caller.expires_at.map(|expiry| {
            let left = expiry.0.saturating_sub(self.app.node.now().0);
            // A moment later rather than earlier: woken too early, the reader would be woken again and again.
            Duration::from_millis(u64::try_from(left).unwrap_or(0) + 1)
        });
        let left = left.unwrap_or(self.app.options.bookmark_every);
        Instant::now() + left.min(self.app.options.bookmark_every)
    }

    fn told(&mut self, event: &Event) -> Told {
        if event.revision <= self.last.0 {
            return Told::Nothing;
        }
        if self
            .caller
            .expires_at
            .is_some_and(|expiry| expiry <= self.app.node.now())
        {
            return Told::End(TOKEN_INVALID);
        }
        self.last = (event.revision, event.hash);
        let touches_access = event.changes.iter().any(|change| {
            matches!(
                change.key.kind(),
                Kind::Token | Kind::RoleBinding | Kind::Environment
            )
        });
        if touches_access {
            match self.authorise() {
                Ok(false) => {}
                Ok(true) => return Told::Frame(self.refetch()),
                Err(reason) => return Told::End(reason),
            }
        }
        self.app
            .streams
            .frame(&self.audience, &self.caller.scope, event)
            .map_or(Told::Nothing, Told::Frame)
    }

    /// Looks again what the token covers; true if that has changed.
    fn authorise(&mut self) -> Result<bool, &'static str> {
        let snapshot = self.app.node.snapshot();
        let environment = self.audience.environment().clone();
        let Known { scope, expires_at } = self
            .app
            .scopes
            .known(self.caller.hash, snapshot.state(), self.app.node.now())
            .map_err(|_| TOKEN_INVALID)?;
        self.caller.expires_at = expires_at;
        if !scope.sees_environment(&environment) || snapshot.view(&environment).is_none() {
            return Err("the environment is no longer there");
        }
        let has_changed = scope != self.caller.scope;
        if has_changed {
            self.audience = Audience::new(environment, &scope, &self.app.views.stranger);
            self.caller.scope = scope;
        }
        Ok(has_changed)
    }

    fn bookmark(&self) -> Bytes {
        frame(
            "bookmark",
            self.last,
            &BookmarkEvent {
                revision: self.last.0,
            },
        )
    }

    fn refetch(&self) -> Bytes {
        frame(
            "refetch",
            self.last,
            &RefetchEvent {
                revision: self.last.0,
            },
        )
    }

    fn goaway(&self, reason: &str) -> Bytes {
        // Spread over time by something that differs from reader to reader.
        let spread = u64::try_from(ulid::Ulid::generate().random() % 1_000).unwrap_or_default();
        let (least, most) = RETRY_MS;
        let retry_ms = least + spread * (most - least) / 1_000;
        frame(
            "goaway",
            self.last,
            &GoawayEvent {
                reason: reason.to_owned(),
                retry_ms,
            },
        )
    }
}

/// Writes what an audience is told of a commit.
fn change(audience: &Audience, scope: &Scope, event: &Event) -> Option<Bytes> {
    let environment = audience.environment();
    let documents: Vec<&ChangedDocument> = event
        .changes
        .iter()
        // A version that no channel, pin or fallback names is in no view.
        .filter(|change| !matches!(change.key.kind(), Kind::Agent | Kind::Tool))
        .filter(|change| is_shared(&change.key, environment) && scope.sees(&change.key))
        .collect();
    if documents.is_empty() {
        return None;
    }
    let place = (event.revision, event.hash);
    let refetch = || {
        frame(
            "refetch",
            place,
            &RefetchEvent {
                revision: event.revision,
            },
        )
    };
    if documents.iter().any(|change| brings_blobs(change)) {
        return Some(refetch());
    }
    let change = ChangeEvent {
        revision: event.revision,
        documents: documents
            .into_iter()
            .map(|change| ViewChange {
                kind: change.key.kind(),
                scope: change.key.scope().to_owned(),
                name: change.key.name().to_owned(),
                revision: event.revision,
                body: change.document.as_ref().map(|document| document.to_value()),
            })
            .collect(),
    };
    let written = frame("change", place, &change);
    Some(if written.len() <= CHANGE_BYTES_MAX {
        written
    } else {
        refetch()
    })
}

/// Says whether a change can make manifests reachable that the reader does not hold.
fn brings_blobs(change: &ChangedDocument) -> bool {
    use plane_model::Document;
    match change.document.as_deref() {
        Some(Document::Channel(_) | Document::Environment(_)) => true,
        Some(Document::Pin(pin)) => pin.version.is_some(),
        Some(Document::Kill(kill)) => kill.fallback.is_some(),
        _ => false,
    }
}

/// One event in the form of server-sent events.
fn frame<T: Serialize>(event: &str, (revision, hash): (u64, Digest), data: &T) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    let mut text = String::with_capacity(data.len() + 64);
    let short = short_hash(&hash);
    let _ = write!(
        text,
        "id: {revision}.{short}\nevent: {event}\ndata: {data}\n\n"
    );
    text.into()
}

fn short_hash(hash: &Digest) -> String {
    hash.hex().chars().take(8).collect()
}

fn parse_id(text: &str) -> Option<(u64, &str)> {
    let (revision, hash) = text.split_once('.')?;
    Some((revision.parse().ok()?, hash))
}
