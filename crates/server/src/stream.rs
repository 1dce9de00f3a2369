//! Streams: each commit told once to each audience, in the order of the log.
//!
//! INVARIANT: the id of an event names everything up to it; who comes back with it misses nothing,
//! or is told to fetch the view. Nobody is waited for: who lags too far behind fetches the view.

mod feeds;
mod frame;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use plane_model::Kind;
use plane_node::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::auth::{Caller, Known};
use crate::call::App;
use crate::heads::Signer;
use crate::view::Audience;
use feeds::{About, Again, Feeds, Message};
use frame::Place;

/// How many bytes a reader that catches up is sent at once.
const CATCH_UP_BYTES: usize = 64 * 1024;

/// Why a stream ends whose token expired or was withdrawn.
const TOKEN_INVALID: &str = "the token is no longer valid";

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Streams {
    max: usize,
    open: Arc<AtomicUsize>,
    feeds: OnceLock<Arc<Feeds>>,
    /// The tasks behind the feeds; they end with the streams.
    tasks: Mutex<JoinSet<()>>,
}

/// One stream's place among all that are open.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

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
            feeds: OnceLock::new(),
            tasks: Mutex::default(),
        }
    }

    /// How many streams are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) -> Option<Permit> {
        let permit = Permit(self.open.clone());
        // The permit gives its place back if there was none.
        (self.open.fetch_add(1, Ordering::Relaxed) < self.max).then_some(permit)
    }

    /// The feeds, which the first reader starts.
    fn feeds(&self, app: &App) -> &Arc<Feeds> {
        self.feeds.get_or_init(|| {
            // Subscribed before the head is read, so that nothing falls between.
            let events = app.node.events();
            let head = app.node.snapshot().state().head();
            let signer = Signer {
                keys: app.options.keys.clone(),
                node: app.node.clone(),
            };
            let feeds = Arc::new(Feeds::new((head.revision, head.hash), signer));
            let (node, shutdown) = (&app.node, &app.options.shutdown);
            let fill = feeds::fill(feeds.clone(), events, node.clone(), shutdown.clone());
            let prepare = feeds::prepare(feeds.clone(), node.clone(), shutdown.clone());
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn_on(fill, app.node.urgent());
            tasks.spawn_on(prepare, app.node.work());
            drop(tasks);
            feeds
        })
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
    // In a box: it is handed into and out of a future for each event.
    let follower = Box::new(Follower::new(app, caller, audience, last_id, permit));
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
    feed: broadcast::Receiver<Message>,
    /// What is said before anything else.
    first: Option<Bytes>,
    /// Everything up to here was told, or is not the reader's business.
    last: Place,
    /// What lies between `last` and this revision is not told by the feed but read from the log's last commits.
    behind_until: u64,
    /// Whether that waits for a message about the head: what the view holds is not known yet.
    waits_for_head: bool,
    told_at: Instant,
    /// Wakes for a bookmark or the end of the token; one timer for the life of the stream.
    timer: Pin<Box<Sleep>>,
    ends: Option<&'static str>,
    has_ended: bool,
    _permit: Permit,
}

/// What a follower does about something that happened.
enum Told {
    Nothing,
    Frames(Bytes),
    End(&'static str),
}

impl Follower {
    fn new(
        app: &Arc<App>,
        caller: &Caller,
        audience: Audience,
        last_id: Option<&str>,
        permit: Permit,
    ) -> Self {
        // A receiver without a sender, until the feed is joined.
        let feed = broadcast::channel(1).1;
        let head = app.node.snapshot().state().head();
        let now = Instant::now();
        let mut follower = Self {
            app: app.clone(),
            caller: caller.clone(),
            audience,
            feed,
            first: None,
            last: (head.revision, head.hash),
            behind_until: 0,
            waits_for_head: false,
            told_at: now,
            timer: Box::pin(tokio::time::sleep_until(now)),
            ends: None,
            has_ended: false,
            _permit: permit,
        };
        match follower.join() {
            Ok(place) => follower.resume(place, last_id),
            Err(reason) => follower.ends = Some(reason),
        }
        follower.set_timer();
        follower
    }

    /// Follows what the token covers now, from the place that is returned.
    fn join(&mut self) -> Result<Place, &'static str> {
        loop {
            let feeds = self.app.streams.feeds(&self.app);
            let (feed, place) = feeds.join(&self.audience, &self.caller.scope)?;
            self.feed = feed;
            // Looked at again after joining: a change of access before it is in this state, one
            // after it will be told.
            if !self.authorise()? {
                return Ok(place);
            }
        }
    }

    fn resume(&mut self, place: Place, last_id: Option<&str>) {
        let Some(last_id) = last_id else {
            self.first = self.bookmark();
            return;
        };
        let node = &self.app.node;
        let seen = frame::parse_id(last_id).and_then(|(revision, short)| {
            let hash = node.hash_of(revision)?;
            if frame::short_hash(&hash) != short {
                tracing::warn!(last_id, "a reader comes back from another log");
                return None;
            }
            node.events_after(revision).map(|_| (revision, hash))
        });
        match seen {
            Some(seen) => {
                self.last = seen;
                self.behind_until = place.0;
                if seen.0 >= place.0 {
                    self.first = self.bookmark();
                }
            }
            None => self.first = Some(frame::refetch(self.last)),
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
            let told = match self.ends {
                Some(reason) => Told::End(reason),
                None if self.last.0 < self.behind_until && !self.waits_for_head => self.catch_up(),
                None => self.wait().await,
            };
            match told {
                Told::Nothing => {}
                Told::Frames(frames) => {
                    self.told_at = Instant::now();
                    return Some(frames);
                }
                Told::End(reason) => {
                    self.has_ended = true;
                    return Some(frame::goaway(self.last, reason));
                }
            }
        }
    }

    async fn wait(&mut self) -> Told {
        tokio::select! {
            biased;
            received = self.feed.recv() => match received {
                Ok(message) => self.told(message),
                Err(RecvError::Lagged(_)) => match self.join() {
                    Ok(place) => {
                        self.behind_until = place.0;
                        Told::Nothing
                    }
                    Err(reason) => Told::End(reason),
                },
                Err(RecvError::Closed) => {
                    let ended = self.app.streams.feeds(&self.app).ended();
                    Told::End(ended.unwrap_or("the node has stopped"))
                }
            },
            () = self.timer.as_mut() => {
                let told = self.woken();
                self.set_timer();
                told
            }
        }
    }

    /// Takes what the feed says.
    fn told(&mut self, message: Message) -> Told {
        if message.about == About::Head {
            self.waits_for_head = false;
            let is_behind = self.last.0 < self.behind_until;
            if is_behind {
                return Told::Nothing;
            }
            if message.last.0 < self.last.0 {
                return Told::Frames(frame::bookmark(self.last, None));
            }
            self.last = message.last;
            return message.frames.map_or(Told::Nothing, Told::Frames);
        }
        if message.last.0 <= self.last.0 {
            return Told::Nothing;
        }
        if self.has_expired() {
            return Told::End(TOKEN_INVALID);
        }
        if message.about == About::Access {
            match self.authorise() {
                Ok(false) => {}
                Ok(true) => return self.start_anew(),
                Err(reason) => return Told::End(reason),
            }
        }
        let is_whole = message.about != About::Changes && message.frames.is_some();
        // The reader has seen a part of it elsewhere, or has to catch up before.
        let is_apart = message.first <= self.last.0 || self.last.0 < self.behind_until;
        if is_apart && !is_whole {
            self.behind_until = self.behind_until.max(message.last.0);
            return Told::Nothing;
        }
        self.last = message.last;
        message.frames.map_or(Told::Nothing, Told::Frames)
    }

    /// Tells what the log has kept after what the reader saw, as much as goes out at once.
    fn catch_up(&mut self) -> Told {
        if self.has_expired() {
            return Told::End(TOKEN_INVALID);
        }
        let Some(events) = self.app.node.events_after(self.last.0) else {
            return self.start_anew();
        };
        if events.iter().any(|event| self.concerns_access(event)) {
            return self.start_anew_after(&events);
        }
        let feeds = self.app.streams.feeds(&self.app);
        let scope = &self.caller.scope;
        match feeds.tell_again(&self.audience, scope, &events, CATCH_UP_BYTES) {
            Again::Frames(text, last) => {
                self.last = last;
                Told::Frames(text.into())
            }
            Again::Whole => self.start_anew_after(&events),
            Again::NotReady => {
                self.waits_for_head = true;
                Told::Nothing
            }
        }
    }

    /// Tells where the reader is, signed if the feed is here too; none if a message about the head is to come.
    fn bookmark(&self) -> Option<Bytes> {
        let feeds = self.app.streams.feeds(&self.app);
        let (place, signed) = feeds.place(&self.audience, &self.caller.scope);
        let signed = signed?;
        let signed = Some(&*signed).filter(|_| place == self.last);
        Some(frame::bookmark(self.last, signed))
    }

    /// Says whether a commit may have changed what this reader sees.
    fn concerns_access(&self, event: &Event) -> bool {
        event.changes.iter().any(|change| match change.key.kind() {
            Kind::Token => {
                (self.caller.scope.token()).is_some_and(|token| change.key.name() == token.as_str())
            }
            Kind::RoleBinding => true,
            Kind::Environment => change.key.name() == self.audience.environment().as_str(),
            _ => false,
        })
    }

    /// Has the reader fetch its view, and goes on after the head.
    fn start_anew(&mut self) -> Told {
        if let Err(reason) = self.join() {
            return Told::End(reason);
        }
        // Read after joining, so that nothing falls between.
        let head = self.app.node.snapshot().state().head();
        self.last = (head.revision, head.hash);
        self.behind_until = 0;
        self.waits_for_head = false;
        Told::Frames(frame::refetch(self.last))
    }

    /// Tells to fetch the view, and before that what those who are called at night must not miss.
    fn start_anew_after(&mut self, events: &[Arc<Event>]) -> Told {
        let environment = self.audience.environment();
        let scope = &self.caller.scope;
        let told = events.iter();
        let alerts = told
            .map(|event| frame::alerts(event, environment, scope))
            .collect();
        match self.start_anew() {
            Told::Frames(_) => Told::Frames(frame::refetch_after(alerts, self.last)),
            told => told,
        }
    }

    fn woken(&mut self) -> Told {
        match self.authorise() {
            Err(reason) => Told::End(reason),
            Ok(true) => self.start_anew(),
            Ok(false) if self.bookmark_at() <= Instant::now() => {
                let feeds = self.app.streams.feeds(&self.app);
                let (place, signed) = feeds.place(&self.audience, &self.caller.scope);
                // Read in this order: what was handed out up to the place has arrived, and was none of the reader's business.
                let is_behind = self.last.0 < self.behind_until;
                if self.feed.is_empty() && !is_behind && place.0 > self.last.0 {
                    self.last = place;
                }
                let signed = signed.filter(|_| place == self.last);
                Told::Frames(frame::bookmark(self.last, signed.as_deref()))
            }
            Ok(false) => Told::Nothing,
        }
    }

    fn bookmark_at(&self) -> Instant {
        self.told_at + self.app.options.bookmark_every
    }

    /// Sets the timer to what comes first: the next bookmark or the end of the token.
    fn set_timer(&mut self) {
        let now = Instant::now();
        let mut at = self.bookmark_at();
        if at <= now {
            // The bookmark is on its way.
            at = now + self.app.options.bookmark_every;
        }
        if let Some(expiry) = self.caller.expires_at {
            let left = expiry.0.saturating_sub(self.app.node.now().0);
            // A moment later rather than earlier: woken too early, the reader would be woken again and again.
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0) + 1);
            at = at.min(now + left);
        }
        self.timer.as_mut().reset(at);
    }

    fn has_expired(&self) -> bool {
        self.caller
            .expires_at
            .is_some_and(|expiry| expiry <= self.app.node.now())
    }

    /// Looks again what the token covers; true if that has changed.
    fn authorise(&mut self) -> Result<bool, &'static str> {
        let snapshot = self.app.node.snapshot();
        let environment = self.audience.environment().clone();
        let Known {
            scope, expires_at, ..
        } = self
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
            let stranger = &self.app.views.stranger;
            self.audience = Audience::new(environment, &scope, self.caller.hash, stranger);
            self.caller.scope = scope;
        }
        Ok(has_changed)
    }
}
