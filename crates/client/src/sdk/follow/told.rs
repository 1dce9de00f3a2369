//! What servers tell, and what of it is believed.
//!
//! INVARIANT: nothing is served that a trusted key has not signed for this holder: not a document more,
//! less or other, whoever stands between.

use std::time::Duration;

use plane_api::Signed;
use plane_state::delivery::{At, HeadStatement, Holding};

use super::super::breaker::Breaker;
use super::super::core::Core;
use super::super::demand::OnDemand;
use super::super::error::Error;
use super::super::held::{Held, Origin};
use super::super::http::Target;
use super::super::process::Process;
use super::super::verify::{Doubt, MISFIT, Whom, check_meant};
use super::super::wire::{self, Gate, Said};
use super::{Follower, RETRY_AFTER_MAX, Trouble, of_failure};
use crate::sse::ServerEvent;

/// How long a stream may go on without vouching for what it tells.
const HEAD_PATIENCE: Duration = Duration::from_mins(1);
/// How many events are gathered until they are vouched for.
const PENDING_MAX: usize = 16 * 1024;

/// What was told after what is held, and is not vouched for yet.
pub(super) struct Pending {
    holding: Holding,
    events: Vec<ServerEvent>,
}

/// A view as it was received.
pub(super) struct Received<'r> {
    pub(super) bytes: &'r [u8],
    pub(super) etag: Option<&'r str>,
    pub(super) head: Option<&'r str>,
}

impl Follower {
    /// Takes in one event of a stream.
    pub(super) fn handle(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        event: &ServerEvent,
    ) -> Result<(), Trouble> {
        self.take_up_parts(core);
        let pending = self.pending.as_ref().map(|it| &it.holding);
        let Some(base) = pending.or(self.holding.as_ref()) else {
            return Ok(());
        };
        let mut breaker = process.breaker();
        let mut gate = gate(core, process, &mut breaker);
        let said = wire::event(&event.name, &event.data, base, &mut gate);
        drop(breaker);
        let said = said.map_err(|detail| {
            let origin = target.url.clone();
            let revision = wire::revision_in(&event.id);
            self.refuse(core, process, revision, Error::View { origin, detail })
        })?;
        match said {
            Said::Change(next, signed) => {
                // It names the view that was fetched, which is no longer the one that is held.
                self.etag = None;
                let mut events = self.pending.take().map_or_else(Vec::new, |it| it.events);
                events.push(event.clone());
                let revision = next.at().revision;
                let holding = *next;
                self.pending = Some(Pending { holding, events });
                if let Some(signed) = signed {
                    self.vouched(core, process, target, revision, &signed)?;
                }
            }
            Said::Bookmark(revision, Some(signed)) => {
                if let Some(pending) = &mut self.pending {
                    pending.events.push(event.clone());
                }
                self.vouched(core, process, target, revision, &signed)?;
            }
            Said::Refetch(revision) => {
                self.needs = Some(revision);
                self.fetch(core, process, target, Duration::ZERO)?;
            }
            Said::Goaway { retry_ms } => {
                let pause = Duration::from_millis(retry_ms).min(RETRY_AFTER_MAX);
                return Err(Trouble::Goaway(pause));
            }
            Said::Bookmark(_, None) | Said::Known | Said::Unknown => {}
        }
        Ok(())
    }

    /// Serves what was told, up to a head in an event of this revision.
    fn vouched(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        revision: u64,
        signed: &Signed,
    ) -> Result<(), Trouble> {
        let head = self.verified(core, process, target, revision, signed)?;
        if head.revision != revision {
            let detail = format!(
                "revision {revision} is told of with a head of revision {}",
                head.revision
            );
            return Err(self.unverified(core, process, target, revision, detail));
        }
        let (base, events, cause) = match self.pending.take() {
            Some(it) => (it.holding, it.events, "a commit changed it"),
            None => match &self.holding {
                Some(held) => (held.clone(), Vec::new(), "nothing changed"),
                None => return Ok(()),
            },
        };
        let is_new = self.holding.as_ref().map(Holding::at) != Some(&place(&head));
        let next = base.placed(place(&head));
        self.accept(core, process, target, next, &head, is_new.then_some(cause))?;
        self.lesser_count = 0;
        for event in &events {
            self.keep(core, |keeper| keeper.append(event));
        }
        Ok(())
    }

    /// Takes a whole view, if it is vouched for and not older than what is held.
    pub(super) fn whole(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        received: &Received<'_>,
    ) -> Result<(), Trouble> {
        let origin = target.url.clone();
        let mut breaker = process.breaker();
        let mut gate = gate(core, process, &mut breaker);
        let whole = wire::whole(received.bytes, &core.name, &mut gate);
        drop(breaker);
        let whole = whole.map_err(|detail| {
            let revision = received.etag.and_then(wire::revision_in);
            let origin = origin.clone();
            self.refuse(core, process, revision, Error::View { origin, detail })
        })?;
        let at = whole.holding.at();
        let revision = at.revision;
        self.check_succession(core, process, target, at)?;
        let head = self.head(core, process, target, revision, received.head)?;
        if place(&head) != *at {
            let detail = format!(
                "it is of revision {} of epoch {}, and its head of revision {} of epoch {}, or of another record",
                at.revision, at.epoch, head.revision, head.epoch
            );
            return Err(self.unverified(core, process, target, at.revision, detail));
        }
        if let Some(least) = self.needs.filter(|least| at.revision < *least) {
            let detail = format!("it is at revision {}, and {least} was told of", at.revision);
            return Err(Error::View { origin, detail }.into());
        }
        let cause = Some("the view was fetched");
        self.accept(core, process, target, whole.holding, &head, cause)?;
        self.pending = None;
        self.last_id = whole.id;
        let text = received.head.unwrap_or_default();
        self.keep(core, |keeper| keeper.replace(received.bytes, text));
        self.kept_parts = None;
        Ok(())
    }

    /// Takes the word of a server that what is held is the newest.
    pub(super) fn unchanged(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        head: Option<&str>,
    ) -> Result<(), Trouble> {
        let Some(held) = self.holding.clone() else {
            let origin = target.url.clone();
            let detail = "it says that nothing changed since nothing was held".to_owned();
            return Err(Error::View { origin, detail }.into());
        };
        let head = self.head(core, process, target, held.at().revision, head)?;
        let is_new = *held.at() != place(&head);
        let next = held.placed(place(&head));
        let cause = is_new.then_some("nothing changed");
        self.accept(core, process, target, next, &head, cause)
    }

    /// Serves what fits a head; what is served already is not served again where there is no `cause`.
    fn accept(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        next: Holding,
        head: &HeadStatement,
        cause: Option<&str>,
    ) -> Result<(), Trouble> {
        self.check_succession(core, process, target, next.at())?;
        if next.root() != head.view_root {
            return Err(self.unverified(core, process, target, head.revision, MISFIT.to_owned()));
        }
        self.attempts = 0;
        self.head_at = core.settings.clock.elapsed();
        core.vouched(process, head.expires);
        let is_served = core.peek().is_some_and(|it| it.origin == Origin::Server);
        if cause.is_some() || !is_served {
            let cause = cause.unwrap_or("a server confirmed it");
            self.hold(core, process, next, Origin::Server, cause);
        }
        core.expired(process, &target.url, head.expires < core.now());
        Ok(())
    }

    /// Reads the head in the header of a reply about a revision.
    fn head(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        revision: u64,
        text: Option<&str>,
    ) -> Result<HeadStatement, Trouble> {
        let Some(text) = text else {
            let detail = "it comes without a signed head".to_owned();
            return Err(self.unverified(core, process, target, revision, detail));
        };
        match serde_json::from_str(text) {
            Ok(signed) => self.verified(core, process, target, revision, &signed),
            Err(error) => {
                let detail = format!("its head cannot be read: {error}");
                Err(self.unverified(core, process, target, revision, detail))
            }
        }
    }

    /// Reads a head of something at a revision that a trusted key has signed for this holder; asks for the
    /// keys that lead to one that is not known.
    fn verified(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        revision: u64,
        signed: &Signed,
    ) -> Result<HeadStatement, Trouble> {
        let origin = || target.url.clone();
        let (trust, now) = (core.trust(), core.now());
        let mut found = trust.verify(signed, now);
        if let Err(Doubt::KeyUnknown(_)) = found {
            let listed = self.transport.keys(target);
            let listed = listed.map_err(|failure| of_failure(target, failure))?;
            let followed = trust.follow(&listed).map_err(|detail| {
                let origin = origin();
                self.refuse(
                    core,
                    process,
                    Some(revision),
                    Error::KeyUntrusted { origin, detail },
                )
            })?;
            found = followed.verify(signed, now);
            if found.is_ok() {
                self.keep(core, |keeper| keeper.keep_trust(&followed));
                core.trust_from_now_on(&followed);
            }
        }
        let head = found.map_err(|doubt| {
            let error = doubt.into_error(origin());
            self.refuse(core, process, Some(revision), error)
        })?;
        check_meant(&head, &core.name, Whom::Holder(self.token.as_ref()))
            .map_err(|detail| self.unverified(core, process, target, revision, detail))?;
        Ok(head)
    }

    /// Takes note of a stream that goes on and vouches for nothing.
    pub(super) fn look_for_head(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
    ) -> Result<(), Trouble> {
        let since = core.settings.clock.elapsed().saturating_sub(self.head_at);
        let told = self.pending.as_ref().map_or(0, |it| it.events.len());
        if since < HEAD_PATIENCE && told <= PENDING_MAX {
            return Ok(());
        }
        if let Some(pending) = &self.pending {
            let revision = pending.holding.at().revision;
            let detail = format!("{told} changes are told of, and no head vouches for them");
            return Err(self.unverified(core, process, target, revision, detail));
        }
        core.expired(process, &target.url, core.vouched_until() < core.now());
        Ok(())
    }

    /// Refuses to go back: to an older revision or epoch, or to another past.
    fn check_succession(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        next: &At,
    ) -> Result<(), Trouble> {
        let held = self.holding.as_ref().map(|held| held.at().clone());
        let Some(held) = held.or_else(|| inherited(core)) else {
            return Ok(());
        };
        succeeds(&held, next, target).map_err(|error| {
            let revision = Some(next.revision);
            self.refuse(core, process, revision, error)
        })
    }

    fn unverified(
        &mut self,
        core: &Core,
        process: &Process,
        target: &Target,
        revision: u64,
        detail: String,
    ) -> Trouble {
        let origin = target.url.clone();
        let error = Error::Unverified { origin, detail };
        self.refuse(core, process, Some(revision), error)
    }

    /// Takes note of what is not served; the whole view makes it good.
    fn refuse(
        &mut self,
        core: &Core,
        process: &Process,
        revision: Option<u64>,
        error: Error,
    ) -> Trouble {
        core.refused(process, revision, &error);
        self.pending = None;
        self.needs.get_or_insert(0);
        error.into()
    }

    pub(super) fn hold(
        &mut self,
        core: &Core,
        process: &Process,
        holding: Holding,
        origin: Origin,
        cause: &str,
    ) {
        let is_behind = inherited(core).is_some_and(|served| {
            let (next, served) = (holding.at(), &served);
            next.log == served.log && (next.epoch, next.revision) < (served.epoch, served.revision)
        });
        if is_behind {
            // A forked process catches up with what it inherited.
            self.holding = Some(holding);
            return;
        }
        let swapping = process.swapping();
        let holding = core.with_parts(process, holding);
        let before = core.peek();
        let before = before.as_ref().and_then(|it| it.on_demand.as_ref());
        let held = Held {
            view: holding.view().clone(),
            origin,
            place: holding.at().clone(),
            cause: cause.into(),
            on_demand: OnDemand::of(&holding, before, core.now()),
        };
        self.holding = Some(holding);
        // First: whoever is let go on by what is served now sees what of it is held back.
        let held_back = process.breaker().as_ref().map(Breaker::held_back);
        if let Some(held_back) = held_back {
            core.held_back(process, held_back);
        }
        core.serve(process, held);
        drop(swapping);
    }
}

/// Where in which log a head says that its view is.
pub(super) fn place(head: &HeadStatement) -> At {
    At {
        log: head.log.as_str().into(),
        epoch: head.epoch,
        revision: head.revision,
        head: head.head,
    }
}

/// Asks the breaker, if there is one.
pub(super) fn gate<'g>(
    core: &Core,
    process: &'g Process,
    breaker: &'g mut Option<Breaker>,
) -> Gate<'g> {
    Gate {
        breaker: breaker.as_mut(),
        process,
        now: core.settings.clock.elapsed(),
        at: core.now(),
    }
}

/// Where what is served is, if it came from a server: a forked process has it from its parent.
fn inherited(core: &Core) -> Option<At> {
    let held = core.peek()?;
    matches!(held.origin, Origin::Server | Origin::Kept).then(|| held.place.clone())
}

fn succeeds(held: &At, next: &At, target: &Target) -> Result<(), Error> {
    let forked = |detail: String| Error::Forked {
        origin: target.url.clone(),
        detail,
    };
    if next.log != held.log {
        return Err(forked(format!(
            "it is of the log `{}`, not `{}`",
            next.log, held.log
        )));
    }
    if next.epoch > held.epoch {
        return Ok(());
    }
    if (next.epoch, next.revision) < (held.epoch, held.revision) {
        return Err(Error::View {
            origin: target.url.clone(),
            detail: format!(
                "it is older: at revision {} of epoch {}, and {} of epoch {} is held",
                next.revision, next.epoch, held.revision, held.epoch
            ),
        });
    }
    if next.revision == held.revision && next.head != held.head {
        return Err(forked(format!(
            "revision {} is another commit there",
            next.revision
        )));
    }
    Ok(())
}
