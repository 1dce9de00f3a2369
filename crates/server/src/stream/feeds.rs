//! Feeds: what each audience is told, written once by one task and shared by all who follow it.
//!
//! Only readers whose business a commit is are woken. Commits that wait are told in one piece, so that a
//! burst costs each reader one write and not one for each commit.
//!
//! INVARIANT: joining a feed and handing out commits exclude each other: a feed tells everything
//! after the place that [`Feeds::join`] gave, and nothing up to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use plane_node::{Event, Node};
use plane_state::Scope;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::frame::{self, Place};
use crate::Shutdown;
use crate::view::Audience;

/// How many messages a feed keeps for those who are slow; who is further behind reads the log's last
/// commits for itself.
const MESSAGES_KEPT: usize = 64;
/// How many commits are handed out at once.
const COMMITS_MAX: usize = 256;
/// How large a message of several commits may be.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the readers of a feed are told.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The first revision that it is about.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: Place,
    /// The events as they are sent; none if only access is concerned.
    pub(super) frames: Option<Bytes>,
    /// Whether readers have to look again what they may see.
    pub(super) is_about_access: bool,
}

/// All feeds of a server.
#[derive(Debug)]
pub(super) struct Feeds(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Everything up to here was handed out.
    place: Place,
    /// Why there is nothing more to come, if so.
    ended: Option<&'static str>,
    /// An audience has more than one feed only while what its token covers is changing.
    feeds: HashMap<Audience, Vec<Feed>>,
}

#[derive(Debug)]
struct Feed {
    scope: Arc<Scope>,
    sender: broadcast::Sender<Message>,
}

impl Feeds {
    pub(super) fn new(place: Place) -> Self {
        Self(Mutex::new(Inner {
            place,
            ended: None,
            feeds: HashMap::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what an audience is told after the place that is returned.
    ///
    /// # Errors
    /// Why nothing more will be told.
    pub(super) fn join(
        &self,
        audience: &Audience,
        scope: &Arc<Scope>,
    ) -> Result<(broadcast::Receiver<Message>, Place), &'static str> {
        let mut inner = self.lock();
        if let Some(reason) = inner.ended {
            return Err(reason);
        }
        let place = inner.place;
        let feeds = inner.feeds.entry(audience.clone()).or_default();
        let known = feeds
            .iter()
            .find(|feed| !audience.is_of_one_token() || feed.scope == *scope);
        if let Some(feed) = known {
            return Ok((feed.sender.subscribe(), place));
        }
        let (sender, receiver) = broadcast::channel(MESSAGES_KEPT);
        let scope = scope.clone();
        feeds.push(Feed { scope, sender });
        Ok((receiver, place))
    }

    /// Everything up to here was handed out.
    pub(super) fn place(&self) -> Place {
        self.lock().place
    }

    /// Why there is nothing more to come, if so.
    pub(super) fn ended(&self) -> Option<&'static str> {
        self.lock().ended
    }

    /// Lets every reader go once it has read what it was told.
    fn end(&self, reason: &'static str) {
        let mut inner = self.lock();
        inner.ended.get_or_insert(reason);
        inner.feeds.clear();
    }

    fn hand_out(&self, commits: &[Arc<Event>]) {
        let Some(last) = commits.last() else { return };
        self.tell_all(last.revision, last.hash, |audience, feed| {
            feed.tell(audience, commits);
        });
    }

    /// Tells everybody to fetch the view, because commits up to a place were missed.
    fn skip_to(&self, place: Place) {
        let first = self.place().0 + 1;
        self.tell_all(place.0, place.1, |_, feed| {
            feed.send(Message {
                first,
                last: place,
                frames: Some(frame::refetch(place)),
                is_about_access: true,
            });
        });
    }

    fn tell_all(&self, revision: u64, hash: plane_model::Digest, tell: impl Fn(&Audience, &Feed)) {
        let mut inner = self.lock();
        inner.feeds.retain(|audience, feeds| {
            feeds.retain(|feed| feed.sender.receiver_count() > 0);
            for feed in &*feeds {
                tell(audience, feed);
            }
            !feeds.is_empty()
        });
        inner.place = (revision, hash);
    }
}

impl Feed {
    fn tell(&self, audience: &Audience, commits: &[Arc<Event>]) {
        let mut gathered = Gathered::default();
        for commit in commits {
            let frames = frame::change(audience, &self.scope, commit);
            let place = (commit.revision, commit.hash);
            if frame::is_about_access(commit) {
                self.send_all(gathered.take());
                self.send(Message {
                    first: commit.revision,
                    last: place,
                    frames,
                    is_about_access: true,
                });
            } else if let Some(frame) = frames {
                if gathered.bytes + frame.len() > MESSAGE_BYTES_MAX {
                    self.send_all(gathered.take());
                }
                gathered.push(place, frame);
            }
        }
        self.send_all(gathered.take());
    }

    fn send_all(&self, message: Option<Message>) {
        if let Some(message) = message {
            self.send(message);
        }
    }

    fn send(&self, message: Message) {
        // An error only says that the last reader has just left.
        drop(self.sender.send(message));
    }
}

/// Events that go out in one piece.
#[derive(Debug, Default)]
struct Gathered {
    first: u64,
    last: Option<Place>,
    frames: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, place: Place, frame: Bytes) {
        if self.last.is_none() {
            self.first = place.0;
        }
        self.last = Some(place);
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    fn take(&mut self) -> Option<Message> {
        let Self {
            first,
            last,
            frames,
            ..
        } = std::mem::take(self);
        let frames = match <[Bytes; 1]>::try_from(frames) {
            Ok([one]) => one,
            Err(several) => several.concat().into(),
        };
        Some(Message {
            first,
            last: last?,
            frames: Some(frames),
            is_about_access: false,
        })
    }
}

/// Ends the feeds however the task that fills them ends.
struct Filling {
    feeds: Arc<Feeds>,
    reason: &'static str,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.feeds.end(self.reason);
    }
}

/// Hands out commits until the server or the node stops.
pub(super) async fn fill(
    feeds: Arc<Feeds>,
    mut events: broadcast::Receiver<Arc<Event>>,
    node: Node,
    shutdown: Shutdown,
) {
    let mut filling = Filling {
        feeds,
        reason: "the node has stopped",
    };
    let feeds = filling.feeds.clone();
    let mut commits = Vec::new();
    let stopping = std::pin::pin!(shutdown.begun());
    let mut stopping = stopping;
    loop {
        let received = tokio::select! {
            biased;
            () = &mut stopping => {
                filling.reason = "the server is shutting down";
                return;
            }
            received = events.recv() => received,
        };
        let mut is_whole = true;
        match received {
            Ok(event) => commits.push(event),
            Err(RecvError::Lagged(_)) => is_whole = false,
            Err(RecvError::Closed) => return,
        }
        while is_whole && commits.len() < COMMITS_MAX {
            match events.try_recv() {
                Ok(event) => commits.push(event),
                Err(TryRecvError::Lagged(_)) => is_whole = false,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        // A commit may have been published between the subscription and the first look at the head.
        let handed_out = feeds.place().0;
        commits.retain(|event| event.revision > handed_out);
        feeds.hand_out(&commits);
        commits.clear();
        if !is_whole {
            // Followed anew before the head is read, so that nothing falls between.
            events = node.events();
            let head = node.snapshot().state().head();
            feeds.skip_to((head.revision, head.hash));
        }
    }
}
