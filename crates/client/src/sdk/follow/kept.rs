//! What is kept for the next start: taken up at the start, and written while it is served.

use std::time::Duration;

use plane_api::Signed;
use plane_model::Digest;
use plane_state::delivery::{HeadStatement, Holding};

use super::super::breaker::Breaker;
use super::super::builder::Tenants;
use super::super::core::Core;
use super::super::error::Error;
use super::super::held::Origin;
use super::super::keep::{Holder, Keeper, Stored};
use super::super::process::Process;
use super::super::verify::{Doubt, MISFIT, Trust, Whom, check_meant};
use super::super::wire::{self, Said, Whole};
use super::Follower;
use super::told::{gate, place};

/// How often what is served is copied as good, at most.
const SETTLE_EVERY: Duration = Duration::from_mins(1);

impl Follower {
    /// Goes on from what an earlier process held, and keeps what is served from now on.
    pub(crate) fn restore(&mut self, core: &Core, process: &Process) {
        let Some(dir) = &core.settings.state_dir else {
            return;
        };
        // Without its token it cannot tell what it may know; the first step says what is wrong.
        let Ok(token) = core.settings.token.read() else {
            return;
        };
        self.token = token.as_ref().map(|it| Digest::of(it.as_bytes()));
        let holder = Holder {
            servers: &self.urls,
            service: core.settings.service.name.as_deref(),
            token: token.as_deref(),
        };
        let mut keeper = match Keeper::new(dir, &core.name, &holder) {
            Ok(keeper) => keeper,
            Err(error) => return core.not_kept(dir, &error),
        };
        match keeper.read_trust() {
            Ok(trust) => core.remember_trust(trust),
            Err(error) => core.trust_lost(keeper.dir(), &error),
        }
        let good = || keeper.read_good().as_ref().and_then(wire::good);
        let chance = core.settings.clock.random();
        match Breaker::open(keeper.dir(), chance, core.now(), good) {
            Ok(breaker) => *process.breaker() = Some(breaker),
            Err(error) => core.not_kept(keeper.dir(), &error),
        }
        match keeper.read() {
            Ok(Some(stored)) => self.take(core, process, &keeper, &stored),
            Ok(None) => {}
            Err(error) => core.not_kept(dir, &error),
        }
        self.keeper = Some(keeper);
    }

    fn take(&mut self, core: &Core, process: &Process, keeper: &Keeper, stored: &Stored) {
        let (whole, head) = match self.read(core, process, keeper, stored) {
            Ok(read) => read,
            Err(error) => return core.kept_refused(process, error),
        };
        self.last_id = whole.id;
        let parts = whole.holding.parts();
        self.kept_parts = parts.map(|it| it.keys().cloned().collect());
        let is_on_demand = matches!(core.settings.tenants, Tenants::OnDemand { .. });
        // Another token may see something else, which its changes alone would not tell; and other parts are held
        // by who holds tenants otherwise.
        let is_other = parts.is_some() != is_on_demand || !keeper.is_of_this_token();
        self.needs = is_other.then_some(0);
        let cause = "an earlier process held it";
        self.hold(core, process, whole.holding, Origin::Kept, cause);
        if let Some(ms) = keeper.written_ms() {
            core.confirmed_at(ms, head.expires);
        }
    }

    /// Reads what was kept, up to the last head that vouches for it.
    fn read(
        &mut self,
        core: &Core,
        process: &Process,
        keeper: &Keeper,
        stored: &Stored,
    ) -> Result<(Whole, HeadStatement), Error> {
        let origin = || keeper.path().display().to_string();
        let unverified = |detail: String| Error::Unverified {
            origin: origin(),
            detail,
        };
        let mut breaker = process.breaker();
        let mut gate = gate(core, process, &mut breaker);
        let mut whole =
            wire::whole(&stored.base, &core.name, &mut gate).map_err(|detail| Error::View {
                origin: origin(),
                detail,
            })?;
        let text = stored.head.as_deref();
        let text = text.ok_or_else(|| unverified("it comes without a signed head".to_owned()))?;
        let signed: Signed = serde_json::from_str(text)
            .map_err(|error| unverified(format!("its head cannot be read: {error}")))?;
        let whom = if keeper.is_of_this_token() {
            Whom::Holder(self.token.as_ref())
        } else {
            Whom::Anybody
        };
        let trust = core.trust();
        let verify = |signed: &Signed, next: &Holding| verify(&trust, core, whom, signed, next);
        let mut head =
            verify(&signed, &whole.holding).map_err(|doubt| doubt.into_error(origin()))?;
        if place(&head) != *whole.holding.at() {
            return Err(unverified(
                "it is of another revision than its head".to_owned(),
            ));
        }
        let mut next = whole.holding.clone();
        for event in &stored.events {
            if event.name == wire::PART {
                // One that does not fit what was kept with it is as good as not kept.
                if let Some(with) = wire::kept_part(&event.data, &next, &mut gate) {
                    next = with;
                    if next.at() == whole.holding.at() {
                        whole.holding = next.clone();
                    }
                }
                continue;
            }
            let said = wire::event(&event.name, &event.data, &next, &mut gate);
            let signed = match said {
                Ok(Said::Change(then, signed)) => {
                    next = *then;
                    signed
                }
                Ok(Said::Bookmark(_, signed)) => signed,
                Ok(_) => None,
                Err(_) => break,
            };
            let Some(signed) = signed else { continue };
            // What is not vouched for is as if it were torn.
            let Ok(after) = verify(&signed, &next) else {
                break;
            };
            head = after;
            next = next.placed(place(&head));
            whole.holding = next.clone();
            whole.id.clone_from(&event.id);
        }
        Ok((whole, head))
    }

    /// Goes on with the parts of tenants that were fetched since.
    pub(super) fn take_up_parts(&mut self, core: &Core) {
        let (Some(mine), None) = (&self.holding, &self.pending) else {
            return;
        };
        let held = core.peek();
        let served = held.as_ref().and_then(|it| it.on_demand.as_ref());
        if let Some(served) = served.filter(|it| it.holding.at() == mine.at()) {
            self.holding = Some(served.holding.clone());
        }
    }

    /// Keeps the parts of tenants that are held and not kept yet.
    fn keep_parts(&mut self, core: &Core) {
        let (Some(_), None) = (&self.keeper, &self.pending) else {
            return;
        };
        let Some(parts) = self.holding.as_ref().and_then(Holding::parts).cloned() else {
            return;
        };
        let is_first = self.kept_parts.is_none();
        let before = self.kept_parts.take().unwrap_or_default();
        for (tenant, part) in parts.iter().filter(|(it, _)| !before.contains(*it)) {
            let id = self.last_id.clone();
            match wire::part_to_keep(tenant, part, id) {
                Ok(event) => self.keep(core, |keeper| keeper.append_part(&event, is_first)),
                Err(error) => tracing::warn!(%tenant, %error, "a part is not kept"),
            }
        }
        self.kept_parts = Some(parts.keys().cloned().collect());
    }

    /// Keeps something for the next start; a failure is said, and costs nothing else.
    pub(super) fn keep(
        &mut self,
        core: &Core,
        keep: impl FnOnce(&mut Keeper) -> std::io::Result<()>,
    ) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        if let Err(error) = keep(keeper) {
            core.not_kept(&keeper.path(), &error);
            self.keeper = None;
        }
    }

    /// Takes what has been served for a minute as good: what the breaker goes back to.
    pub(super) fn settle(&mut self, core: &Core, process: &Process) {
        let now = core.settings.clock.elapsed();
        self.keep_parts(core);
        let mut breaker = process.breaker();
        let Some(breaker) = breaker.as_mut().filter(|_| self.settles_at <= now) else {
            return;
        };
        if breaker.look(core.now(), now) {
            self.begin_anew();
        }
        let is_good = match breaker.settle(process, now) {
            Ok(is_good) => is_good && breaker.held_back().is_empty() && core.breaches().is_empty(),
            Err(error) => {
                tracing::warn!(%error, "the breaker cannot take down what is good");
                false
            }
        };
        let Some(keeper) = self.keeper.as_mut().filter(|_| is_good) else {
            return;
        };
        self.settles_at = now + SETTLE_EVERY;
        match keeper.keep_good() {
            Ok(_) if breaker.has_good() => {}
            Ok(_) => {
                if let Some(good) = keeper.read_good().as_ref().and_then(wire::good) {
                    breaker.learn(&good);
                }
            }
            Err(error) => tracing::warn!(%error, "what is good is not kept"),
        }
    }
}

/// Reads the head of what was kept, if it fits.
fn verify(
    trust: &Trust,
    core: &Core,
    whom: Whom<'_>,
    signed: &Signed,
    next: &Holding,
) -> Result<HeadStatement, Doubt> {
    let head = trust.verify_kept(signed)?;
    check_meant(&head, &core.name, whom).map_err(Doubt::Forged)?;
    if next.root() != head.view_root {
        return Err(Doubt::Forged(MISFIT.to_owned()));
    }
    Ok(head)
}
