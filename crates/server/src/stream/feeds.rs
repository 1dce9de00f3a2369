//! Feeds: what each audience is told, written once by one task and shared by all who follow it.
//!
//! Only readers whose business a commit is are woken. Commits that wait are told in one piece with one
//! signed head at its end, so that a burst costs each reader one write and not one for each commit.
//!
//! What an audience's view holds is prepared by a task of its own, when its first reader comes and
//! when other manifests may be in the view. Until that is done its readers are told to fetch the view
//! instead of what changed in it, unless that is a kill: nobody waits.
//!
//! INVARIANT: joining a feed and handing out commits exclude each other: a feed tells everything
//! after the place that [`Feeds::join`] gave, and nothing up to it.

mod feed;
mod tasks;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plane_api::Signed;
use plane_node::{Event, Telling};
use plane_state::Scope;
use plane_state::delivery::Projection;
use tokio::sync::{Notify, broadcast};

use super::frame::Place;
use crate::heads::Signer;
use crate::view::Audience;
use feed::Feed;

pub(super) use feed::{About, Again, Message};
pub(super) use tasks::{fill, prepare};

/// All feeds of a server.
#[derive(Debug)]
pub(super) struct Feeds {
    inner: Mutex<Inner>,
    signer: Signer,
    /// Wakes who prepares what views hold.
    unprepared: Notify,
}

#[derive(Debug)]
struct Inner {
    /// Everything up to here was handed out.
    place: Place,
    /// Why there is nothing more to come, if so.
    ended: Option<&'static str>,
    /// An audience has more than one feed only while what its token covers is changing.
    feeds: HashMap<Audience, Vec<Feed>>,
    /// Feeds that wait to be prepared; each is in it once.
    unprepared: VecDeque<Unprepared>,
    /// How often a feed was put in line.
    tickets: u64,
}

/// A feed whose view has to be prepared.
#[derive(Debug, Clone)]
struct Unprepared {
    audience: Audience,
    scope: Arc<Scope>,
    /// Tells it from earlier times in line, whose result would come too late.
    ticket: u64,
}

impl Inner {
    fn feed(&mut self, audience: &Audience, scope: &Arc<Scope>) -> Option<&mut Feed> {
        let feeds = self.feeds.get_mut(audience)?;
        feeds
            .iter_mut()
            .find(|feed| !audience.is_of_one_token() || feed.scope == *scope)
    }

    /// Puts feeds in line that have lost track of what their view holds.
    #[expect(
        clippy::iter_over_hash_type,
        reason = "each is prepared for itself, whatever their order"
    )]
    fn put_in_line(&mut self) -> bool {
        let Self {
            feeds,
            unprepared,
            tickets,
            ..
        } = self;
        let before = *tickets;
        for (audience, feeds) in feeds {
            for feed in feeds {
                if let Some(scope) = feed.wants_preparation(*tickets + 1) {
                    *tickets += 1;
                    unprepared.push_back(Unprepared {
                        audience: audience.clone(),
                        scope,
                        ticket: *tickets,
                    });
                }
            }
        }
        *tickets > before
    }
}

impl Feeds {
    pub(super) fn new(place: Place, signer: Signer) -> Self {
        Self {
            inner: Mutex::new(Inner {
                place,
                ended: None,
                feeds: HashMap::new(),
                unprepared: VecDeque::new(),
                tickets: 0,
            }),
            signer,
            unprepared: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(known) = inner.feed(audience, scope) {
            return Ok((known.subscribe(), place));
        }
        let (feed, receiver) = Feed::new(scope.clone());
        let feeds = inner.feeds.entry(audience.clone()).or_default();
        feeds.push(feed);
        self.put_in_line(inner);
        Ok((receiver, place))
    }

    /// Everything up to here was handed out; and the head of an audience's view here, once it is prepared.
    pub(super) fn place(
        &self,
        audience: &Audience,
        scope: &Arc<Scope>,
    ) -> (Place, Option<Arc<Signed>>) {
        let mut inner = self.lock();
        let place = inner.place;
        let feed = inner.feed(audience, scope);
        let head = feed.and_then(|feed| feed.signed(audience, place, &self.signer));
        (place, head)
    }

    /// Tells one reader again what the log has kept after what it saw.
    pub(super) fn tell_again(
        &self,
        audience: &Audience,
        scope: &Arc<Scope>,
        events: &[Arc<Event>],
        bytes_max: usize,
    ) -> Again {
        let mut inner = self.lock();
        let place = inner.place;
        match inner.feed(audience, scope) {
            Some(feed) => feed.tell_again(audience, events, place, bytes_max, &self.signer),
            None => Again::Whole,
        }
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

    fn handed_out(&self) -> u64 {
        self.lock().place.0
    }

    fn hand_out(&self, commits: &[Arc<Event>]) {
        let Some(last) = commits.last() else { return };
        let place = (last.revision, last.hash);
        let telling: Arc<[Telling]> = commits.iter().filter_map(|it| it.telling()).collect();
        self.tell_all(place, |audience, feed| {
            feed.tell(audience, commits, &telling, &self.signer);
        });
    }

    /// Tells everybody to fetch the view, because commits up to a place were missed.
    fn skip_to(&self, place: Place) {
        let first = self.handed_out() + 1;
        self.tell_all(place, |_, feed| feed.skip(first, place));
    }

    fn tell_all(&self, place: Place, tell: impl Fn(&Audience, &mut Feed)) {
        let mut inner = self.lock();
        inner.feeds.retain(|audience, feeds| {
            feeds.retain(Feed::has_readers);
            for feed in &mut *feeds {
                tell(audience, feed);
                feed.announce(audience, place, &self.signer);
            }
            !feeds.is_empty()
        });
        inner.place = place;
        self.put_in_line(inner);
    }

    fn put_in_line(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.put_in_line() {
            drop(inner);
            self.unprepared.notify_one();
        }
    }

    fn next_unprepared(&self) -> Option<Unprepared> {
        self.lock().unprepared.pop_front()
    }

    /// Gives a feed what its view holds at a revision, unless it has lost track again.
    fn prepared(&self, of: &Unprepared, projection: &Projection, revision: u64) {
        let mut inner = self.lock();
        let place = inner.place;
        let feeds = inner.feeds.get_mut(&of.audience).into_iter().flatten();
        for feed in feeds.filter(|feed| feed.waits_with(of.ticket)) {
            feed.prepared(projection.clone(), revision);
            feed.announce(&of.audience, place, &self.signer);
        }
        self.put_in_line(inner);
    }
}
