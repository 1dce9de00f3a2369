//! One feed: what an audience's view holds, and what is told of its changes.

use std::sync::Arc;

use axum::body::Bytes;
use plane_api::Signed;
use plane_model::{Document, Kind};
use plane_node::{Event, Telling};
use plane_state::Scope;
use plane_state::delivery::{Changed, Followed, Projection};
use tokio::sync::broadcast;

use super::super::frame::{self, Change, Place};
use crate::heads::{Head, Signer};
use crate::view::{Audience, is_shared};

/// How many messages a feed keeps for those who are slow; who is further behind reads the log's last
/// commits for itself.
const MESSAGES_KEPT: usize = 64;
/// How large a message of several commits may be.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How many commits a feed keeps that come while it is prepared, before it is prepared anew.
const MISSED_MAX: usize = 16 * 1024;

/// What the readers of a feed are told.
#[derive(Debug, Clone)]
pub(in super::super) struct Message {
    /// The first revision that it is about.
    pub(in super::super) first: u64,
    /// The last one.
    pub(in super::super) last: Place,
    /// The events as they are sent; none if only access is concerned.
    pub(in super::super) frames: Option<Bytes>,
    pub(in super::super) about: About,
    /// Gone with the message once every reader has it.
    telling: Option<Arc<[Telling]>>,
}

impl Message {
    fn new(first: u64, last: Place, frames: Option<Bytes>, about: About) -> Self {
        Self {
            first,
            last,
            frames,
            about,
            telling: None,
        }
    }
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum About {
    /// Documents, between `first` and `last`.
    Changes,
    /// Nothing new: the head at `last`, which was not known before.
    Head,
    /// All of the view: it stands for whatever was before.
    Whole,
    /// Readers have to look again what they may see; `frames` stand for all of the view.
    Access,
}

/// What one reader is told again.
#[derive(Debug)]
pub(in super::super) enum Again {
    /// Events up to a place.
    Frames(Vec<u8>, Place),
    /// It has to fetch the view.
    Whole,
    /// It is not known yet; a message about the head says when.
    NotReady,
}

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) scope: Arc<Scope>,
    sender: broadcast::Sender<Message>,
    view: View,
    /// The head that was made last.
    head: Option<Head>,
    /// Whether readers wait for a head.
    is_awaited: bool,
    /// What goes with the messages that are made now.
    telling: Option<Arc<[Telling]>>,
}

/// What is known of the view that a feed's readers hold.
#[derive(Debug)]
enum View {
    /// What it holds at this revision, or at any later one that was handed out.
    Known(Box<Projection>, u64),
    /// Nothing, and nobody prepares it.
    Lost,
    /// Somebody prepares it with a ticket; what came meanwhile.
    Awaited(u64, Vec<Arc<Event>>),
}

impl Feed {
    pub(super) fn new(scope: Arc<Scope>) -> (Self, broadcast::Receiver<Message>) {
        let (sender, receiver) = broadcast::channel(MESSAGES_KEPT);
        let feed = Self {
            scope,
            sender,
            view: View::Lost,
            head: None,
            is_awaited: true,
            telling: None,
        };
        (feed, receiver)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Message> {
        self.sender.subscribe()
    }

    pub(super) fn has_readers(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Puts it in line with a ticket if it has lost track; for whom, if so.
    pub(super) fn wants_preparation(&mut self, ticket: u64) -> Option<Arc<Scope>> {
        matches!(self.view, View::Lost).then(|| {
            self.view = View::Awaited(ticket, Vec::new());
            self.scope.clone()
        })
    }

    pub(super) fn waits_with(&self, ticket: u64) -> bool {
        matches!(self.view, View::Awaited(mine, _) if mine == ticket)
    }

    /// Takes what the view holds at a revision, and follows what came since.
    pub(super) fn prepared(&mut self, mut projection: Projection, mut revision: u64) {
        let View::Awaited(_, missed) = std::mem::replace(&mut self.view, View::Lost) else {
            return;
        };
        for commit in missed.iter().filter(|it| it.revision > revision) {
            if let Followed::Anew = projection.follow(&self.scope, &commit.changes) {
                return;
            }
        }
        revision = revision.max(missed.last().map_or(0, |it| it.revision));
        self.view = View::Known(Box::new(projection), revision);
    }

    /// The head of the view at a place up to which all was handed out, if it is known.
    pub(super) fn signed(
        &mut self,
        audience: &Audience,
        place: Place,
        signer: &Signer,
    ) -> Option<Arc<Signed>> {
        let View::Known(projection, since) = &self.view else {
            return None;
        };
        if place.0 < *since {
            return None;
        }
        let known = self.head.take().filter(|head| head.revision() == place.0);
        let head = known.unwrap_or_else(|| signer.head(audience, place, projection.root()));
        signer.sign(self.head.insert(head))
    }

    /// Tells those who wait for a head that there is one.
    pub(super) fn announce(&mut self, audience: &Audience, place: Place, signer: &Signer) {
        if !self.is_awaited {
            return;
        }
        if let Some(signed) = self.signed(audience, place, signer) {
            self.is_awaited = false;
            let frames = Some(frame::bookmark(place, Some(&signed)));
            self.send(Message::new(place.0, place, frames, About::Head));
        }
    }

    /// Tells of commits: changes that follow each other in one message, signed at its end.
    ///
    /// `telling` goes with what is said, and is gone once every reader has it.
    pub(super) fn tell(
        &mut self,
        audience: &Audience,
        commits: &[Arc<Event>],
        telling: &Arc<[Telling]>,
        signer: &Signer,
    ) {
        self.telling = (!telling.is_empty()).then(|| telling.clone());
        let mut gathered = Gathered::default();
        for commit in commits {
            let place = (commit.revision, commit.hash);
            let alerts = frame::alerts(commit, audience.environment(), &self.scope);
            let told = match self.look(audience, commit) {
                // An alert goes with a change of nothing where it is about nothing that the reader holds.
                Told::Nothing if !alerts.is_empty() => {
                    Change::of(place, &[]).map_or(Told::Nothing, Told::Change)
                }
                told => told,
            };
            let is_about_access = frame::is_about_access(commit);
            match told {
                Told::Nothing if !is_about_access => self.follow(commit),
                Told::Change(mut change) if !is_about_access => {
                    change.alert(alerts);
                    if gathered.bytes + change.bytes() > MESSAGE_BYTES_MAX {
                        self.send_changes(audience, gathered.take(), signer);
                    }
                    self.follow(commit);
                    if let View::Known(projection, _) = &self.view {
                        change.tell_parts(projection);
                    }
                    gathered.push(change);
                }
                told => {
                    self.send_changes(audience, gathered.take(), signer);
                    let is_nothing = matches!(told, Told::Nothing);
                    let frames = (!is_nothing).then(|| frame::refetch_after(alerts, place));
                    let about = if is_about_access {
                        About::Access
                    } else {
                        About::Whole
                    };
                    self.send(Message::new(place.0, place, frames, about));
                    self.follow(commit);
                }
            }
        }
        self.send_changes(audience, gathered.take(), signer);
        self.telling = None;
    }

    /// Tells to fetch the view, because commits were missed.
    pub(super) fn skip(&mut self, first: u64, place: Place) {
        self.lose();
        let frames = Some(frame::refetch(place));
        self.send(Message::new(first, place, frames, About::Access));
    }

    /// Tells one reader again what happened up to a place, as much as goes out at once.
    pub(super) fn tell_again(
        &mut self,
        audience: &Audience,
        events: &[Arc<Event>],
        place: Place,
        bytes_max: usize,
        signer: &Signer,
    ) -> Again {
        let mut text = Vec::new();
        let View::Known(projection, since) = &self.view else {
            return Again::NotReady;
        };
        if place.0 < *since {
            return Again::NotReady;
        }
        for event in events.iter().take_while(|it| it.revision <= place.0) {
            // Which manifests were in the view then is known only if that has not changed since.
            if event.changes.iter().any(leads_to_agents) {
                return Again::Whole;
            }
            let Followed::Changes(mine) = projection.look(&self.scope, &event.changes) else {
                return Again::Whole;
            };
            let alerts = frame::alerts(event, audience.environment(), &self.scope);
            if mine.is_empty() && alerts.is_empty() {
                continue;
            }
            let at = (event.revision, event.hash);
            let Some(mut change) = Change::of(at, &mine) else {
                return Again::Whole;
            };
            // Digests of the newest revision, which the head at the end is of.
            change.tell_parts(projection);
            change.alert(alerts);
            text.extend_from_slice(&change.frame(None));
            if text.len() >= bytes_max {
                return Again::Frames(text, at);
            }
        }
        let signed = self.signed(audience, place, signer);
        text.extend_from_slice(&frame::bookmark(place, signed.as_deref()));
        Again::Frames(text, place)
    }

    /// What the readers are told of a commit.
    fn look(&self, audience: &Audience, commit: &Event) -> Told {
        let place = (commit.revision, commit.hash);
        match &self.view {
            View::Known(projection, since) if commit.revision > *since => {
                match projection.look(&self.scope, &commit.changes) {
                    Followed::Changes(mine) if mine.is_empty() => Told::Nothing,
                    Followed::Changes(mine) => {
                        Change::of(place, &mine).map_or(Told::Whole, Told::Change)
                    }
                    Followed::Anew => Told::Whole,
                }
            }
            _ => {
                let concerns = |it: &&Changed| {
                    is_shared(&it.key, audience.environment()) && self.scope.sees(&it.key)
                };
                let mine: Vec<_> = commit.changes.iter().filter(concerns).collect();
                if mine.is_empty() {
                    Told::Nothing
                } else if mine.iter().all(|it| is_plain_kill(it)) {
                    // A kill is never behind a fetch; the head follows as soon as it is known.
                    Change::of(place, &mine).map_or(Told::Whole, Told::Change)
                } else {
                    Told::Whole
                }
            }
        }
    }

    /// Keeps track of what the view holds.
    fn follow(&mut self, commit: &Arc<Event>) {
        let is_lost = match &mut self.view {
            View::Known(projection, since) => {
                commit.revision > *since
                    && matches!(
                        projection.follow(&self.scope, &commit.changes),
                        Followed::Anew
                    )
            }
            View::Awaited(_, missed) if missed.len() < MISSED_MAX => {
                missed.push(commit.clone());
                false
            }
            View::Awaited(..) => true,
            View::Lost => false,
        };
        if is_lost {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.view = View::Lost;
        self.is_awaited = true;
    }

    fn send_changes(&mut self, audience: &Audience, mut changes: Vec<Change>, signer: &Signer) {
        let (Some(first), Some(last)) = (changes.first().map(|it| it.place.0), changes.pop())
        else {
            return;
        };
        let place = last.place;
        let signed = self.signed(audience, place, signer);
        let last = last.frame(signed.as_deref());
        let frames = if changes.is_empty() {
            last
        } else {
            let frames = changes.into_iter().map(|it| it.frame(None));
            let frames: Vec<_> = frames.chain([last]).collect();
            frames.concat().into()
        };
        self.send(Message::new(first, place, Some(frames), About::Changes));
    }

    fn send(&self, mut message: Message) {
        message.telling.clone_from(&self.telling);
        // An error only says that the last reader has just left.
        drop(self.sender.send(message));
    }
}

/// What a commit is to the readers of a feed.
enum Told {
    Nothing,
    Change(Change),
    Whole,
}

/// Changes that go out in one piece.
#[derive(Debug, Default)]
struct Gathered {
    changes: Vec<Change>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }

    fn take(&mut self) -> Vec<Change> {
        std::mem::take(self).changes
    }
}

/// Says whether a document stops something and puts nothing in its place.
fn is_plain_kill(change: &Changed) -> bool {
    matches!(change.document.as_deref(), Some(Document::Kill(kill)) if kill.fallback.is_none())
}

/// Says whether a document can lead to an agent that no channel leads to.
fn leads_to_agents(change: &Changed) -> bool {
    let is_leading = matches!(change.key.kind(), Kind::Pin | Kind::Kill);
    is_leading && matches!(change.key.subject(), Some(("agent", _)))
}
