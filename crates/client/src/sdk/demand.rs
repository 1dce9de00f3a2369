//! The parts of tenants, fetched as they are asked for.
//!
//! A client that holds tenants on demand has what all tenants share, and the digest of each tenant's part:
//! the root that servers sign covers both. So it knows by itself which tenants have something of their own,
//! and a part belongs to what is served if and only if it has the digest that is named there, whoever it
//! comes from. Parts that are held follow the stream of changes like everything else.
//!
//! INVARIANT: where a tenant has a part and it is not here, nothing is answered for it: what all share may
//! say the opposite of the tenant's pins and kills.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plane_eval::Context;
use plane_model::{Code, TenantId, Timestamp};
use plane_state::delivery::{Holding, Part, StandIns};

use super::breaker::Breaker;
use super::builder::{Kind, Tenants};
use super::core::Core;
use super::error::Error;
use super::held::Held;
use super::http::{Http, Parts, Target, Why};
use super::process::Process;
use super::status::Counts;
use super::wire::{self, Gate};
use crate::authorities::Authorities;

/// How long an answer waits for the part of its tenant.
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after a failure no server is asked for a part, so that callers do not wait one after the other.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// What is held of a view whose tenants are held as they are asked for.
#[derive(Debug)]
pub(crate) struct OnDemand {
    pub(crate) holding: Holding,
    /// The tenants that are held, each with when it was last asked for.
    asked: BTreeMap<TenantId, Arc<AtomicI64>>,
}

impl OnDemand {
    /// What is held now, in place of what was before; none if all tenants are held anyway.
    pub(crate) fn of(holding: &Holding, before: Option<&Self>, now: Timestamp) -> Option<Self> {
        let fresh = || Arc::new(AtomicI64::new(now.0));
        let known = |tenant: &TenantId| before.and_then(|it| it.asked.get(tenant)).cloned();
        let asked = holding.parts()?.keys();
        let asked = asked.map(|it| (it.clone(), known(it).unwrap_or_else(fresh)));
        Some(Self {
            asked: asked.collect(),
            holding: holding.clone(),
        })
    }

    /// Says whether a tenant has a part that is not here.
    fn lacks(&self, tenant: &str, now: Timestamp) -> bool {
        if let Some(asked) = self.asked.get(tenant) {
            if asked.load(Ordering::Relaxed) != now.0 {
                asked.store(now.0, Ordering::Relaxed);
            }
            return false;
        }
        let tenant = TenantId::new(tenant).ok();
        tenant.is_some_and(|tenant| self.holding.part(&tenant).is_some())
    }

    /// The tenant that was not asked for the longest, but for one.
    fn oldest_but(&self, tenant: &TenantId) -> Option<&TenantId> {
        let others = self.asked.iter().filter(|(it, _)| *it != tenant);
        let oldest = others.min_by_key(|(_, asked)| asked.load(Ordering::Relaxed));
        oldest.map(|(it, _)| it)
    }
}

impl Held {
    /// Says whether the tenant of a context has a part that is not here.
    #[inline]
    pub(crate) fn lacks(&self, ctx: &Context, now: Timestamp) -> bool {
        match &self.on_demand {
            None => false,
            Some(on_demand) => ctx.tenant().is_some_and(|it| on_demand.lacks(it, now)),
        }
    }

    /// Refuses to answer for a tenant whose part is not here.
    pub(crate) fn check_tenant(&self, ctx: &Context, now: Timestamp) -> Result<(), Error> {
        if !self.lacks(ctx, now) {
            return Ok(());
        }
        Err(Error::TenantNotLoaded {
            tenant: ctx.tenant().unwrap_or_default().to_owned(),
            detail: "this snapshot was taken without it".to_owned(),
        })
    }
}

/// The parts that a process is fetching.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    state: Mutex<State>,
    moved: Condvar,
    /// Where parts are asked for; over the network unless a test says otherwise.
    source: std::sync::OnceLock<Arc<dyn Parts>>,
}

#[derive(Debug, Default)]
struct State {
    under_way: BTreeSet<TenantId>,
    /// Why no server answered, and until when none is asked again.
    failed: Option<(Duration, String)>,
}

/// One part that is being fetched: nobody else fetches it meanwhile.
struct Fetch<'f>(&'f Fetches, &'f TenantId);

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way.remove(self.1);
        self.0.moved.notify_all();
    }
}

/// What became of a part that was asked for.
enum Fetched {
    /// It is held.
    Held,
    /// What a server has now is not what the view names: news is on its way.
    Other,
    /// No server answered, or none with a part.
    Failed(String),
}

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, authorities: &Authorities) -> &Arc<dyn Parts> {
        (self.source).get_or_init(|| Arc::new(Http::new(authorities)))
    }

    /// Has parts asked for elsewhere.
    #[cfg(test)]
    pub(crate) fn ask(&self, source: Arc<dyn Parts>) {
        self.source.set(source).ok();
    }
}

impl Core {
    /// What is served now, with the part of the context's tenant.
    pub(crate) fn ready_for(
        self: &Arc<Self>,
        ctx: &Context,
        now: Timestamp,
    ) -> Result<Arc<Held>, Error> {
        let held = self.ready(now)?;
        if held.lacks(ctx, now) {
            return self.load_tenant(ctx.tenant().unwrap_or_default(), LOAD_TIMEOUT);
        }
        Ok(held)
    }

    /// Fetches the part of a tenant unless it is here, and gives what is served with it.
    pub(crate) fn load_tenant(
        self: &Arc<Self>,
        tenant: &str,
        timeout: Duration,
    ) -> Result<Arc<Held>, Error> {
        self.check_open()?;
        let not_loaded = |detail: &str| {
            Counts::add(&self.counts.tenant_failures);
            Err(Error::TenantNotLoaded {
                tenant: tenant.to_owned(),
                detail: detail.to_owned(),
            })
        };
        let process = self.start();
        let fetches = &process.fetches;
        let clock = &self.settings.clock;
        let ends = clock.elapsed() + timeout;
        loop {
            let seen = process.progress().news;
            let now = self.now();
            let held = self.ready(now)?;
            let lacks = |it: &OnDemand| it.lacks(tenant, now);
            let (true, Ok(id)) = (
                held.on_demand.as_ref().is_some_and(lacks),
                TenantId::new(tenant),
            ) else {
                return Ok(held);
            };
            let left = ends.saturating_sub(clock.elapsed());
            if left.is_zero() {
                return not_loaded("it did not come in time");
            }
            let mut state = fetches.lock();
            if let Some((until, detail)) = &state.failed
                && *until > clock.elapsed()
            {
                return not_loaded(detail);
            }
            if !state.under_way.insert(id.clone()) {
                let waited = fetches.moved.wait_timeout(state, left);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            drop(state);
            let fetch = Fetch(fetches, &id);
            let fetched = self.fetch(&process, &held, &id, left);
            if let Fetched::Failed(detail) = &fetched {
                let until = clock.elapsed() + FAILED_PAUSE;
                fetches.lock().failed = Some((until, detail.clone()));
            }
            drop(fetch);
            match fetched {
                Fetched::Held => {}
                Fetched::Failed(detail) => return not_loaded(&detail),
                Fetched::Other if process.wait_for_later_news(seen, left) => {}
                Fetched::Other => return not_loaded("what came is not what the view names"),
            }
        }
    }

    /// Asks one server after the other for a part.
    fn fetch(
        &self,
        process: &Process,
        held: &Held,
        tenant: &TenantId,
        timeout: Duration,
    ) -> Fetched {
        let Some(Kind::Servers(urls)) = &self.settings.kind else {
            return Fetched::Failed("no server is named".to_owned());
        };
        let token = match self.settings.token.read() {
            Ok(token) => token,
            Err(error) => return Fetched::Failed(error.to_string()),
        };
        let mut failure = String::new();
        for url in urls {
            let target = Target {
                url: url.clone(),
                token: token.clone(),
                environment: self.name.clone(),
                is_on_demand: true,
            };
            Counts::add(&self.counts.tenant_loads);
            let source = process.fetches.source(&self.settings.authorities);
            let part = source.part(&target, tenant, held.place.revision, timeout);
            match part {
                Ok(bytes) => match self.take_part(process, tenant, &bytes) {
                    Ok(true) => return Fetched::Held,
                    Ok(false) => return Fetched::Other,
                    Err(detail) => {
                        failure = format!("what came from {url} cannot be used: {detail}");
                    }
                },
                Err(it) => match it.why {
                    // It is just gone, and the view does not know yet.
                    Why::Refused(problem) if problem.known_code() == Some(Code::TenantNotFound) => {
                        return Fetched::Other;
                    }
                    Why::Refused(problem) => failure.clone_from(&problem.detail),
                    Why::Unreachable(detail)
                    | Why::Lost(detail)
                    | Why::Silent(detail)
                    | Why::Foreign(detail) => {
                        failure = format!("cannot reach the control plane at {url}: {detail}");
                    }
                },
            }
        }
        Fetched::Failed(failure)
    }

    /// Holds a part if it is the one that what is served names.
    fn take_part(
        &self,
        process: &Process,
        tenant: &TenantId,
        bytes: &[u8],
    ) -> Result<bool, String> {
        let part = wire::part(bytes, tenant)?;
        let _swapping = process.swapping();
        let held = self.peek();
        let on_demand = held.as_ref().and_then(|it| it.on_demand.as_ref());
        let (Some(held), Some(on_demand)) = (&held, on_demand) else {
            return Ok(false);
        };
        let stand_ins = self.admit(process, &part);
        let Some(next) = on_demand.holding.with_part(tenant, &part, &stand_ins) else {
            return Ok(false);
        };
        if let Some((key, digest)) = next.missing().next() {
            return Err(format!("{key} names {digest}, whose bytes are not there"));
        }
        let held_back = process.breaker().as_ref().map(Breaker::held_back);
        if let Some(held_back) = held_back {
            self.held_back(process, held_back);
        }
        let next = self.bounded(next, on_demand, tenant);
        self.replace(Held {
            view: next.view().clone(),
            origin: held.origin,
            place: held.place.clone(),
            cause: held.cause.clone(),
            on_demand: OnDemand::of(&next, Some(on_demand), self.now()),
        });
        Ok(true)
    }

    /// Asks the breaker about a part.
    fn admit(&self, process: &Process, part: &Part) -> StandIns {
        let mut breaker = process.breaker();
        let (now, at) = (self.settings.clock.elapsed(), self.now());
        let breaker = breaker.as_mut();
        wire::admit_part(
            part,
            &mut Gate {
                breaker,
                process,
                now,
                at,
            },
        )
    }

    /// Lets go what was not asked for the longest, where more is held than may be.
    fn bounded(&self, mut next: Holding, before: &OnDemand, tenant: &TenantId) -> Holding {
        let Tenants::OnDemand { max } = self.settings.tenants else {
            return next;
        };
        while next.parts().is_some_and(|it| it.len() > max.max(1)) {
            let now = OnDemand::of(&next, Some(before), self.now());
            let Some(oldest) = now.as_ref().and_then(|it| it.oldest_but(tenant)) else {
                break;
            };
            next = next.without_part(oldest);
        }
        next
    }

    /// Adds the parts that are held beside what is about to be served, as far as it still names them.
    pub(crate) fn with_parts(&self, process: &Process, mut next: Holding) -> Holding {
        let held = self.peek();
        let before = held.as_ref().and_then(|it| it.on_demand.as_ref());
        let before = before.and_then(|it| Some((it, it.holding.parts()?)));
        let (Some((before, parts)), Some(have)) = (before, next.parts().cloned()) else {
            return next;
        };
        for (tenant, part) in parts.iter().filter(|(it, _)| !have.contains_key(*it)) {
            if next.part(tenant) != before.holding.part(tenant) {
                continue;
            }
            let stand_ins = self.admit(process, part);
            next = next.with_part(tenant, part, &stand_ins).unwrap_or(next);
        }
        next
    }
}
