//! What a change of a view changes for the tenants that are known: counts first, some ids with them.
//!
//! Every tenant is asked for as itself, with no user and no attributes of a request; what flags make of
//! those is asked for invented units besides. Only what can differ is asked for: flags that were compiled
//! anew and those that need them, agents and config documents that changed, and all of it for tenants
//! that did.

mod tally;
mod units;

use std::collections::BTreeSet;
use std::sync::Arc;

use plane_model::{ArtifactName, ConfigName, EnvironmentName, FlagKey, TenantId, Timestamp};

pub use self::tally::{
    AgentImpact, AgentShift, ConfigImpact, FlagImpact, FlagShift, Given, Offered,
};
use self::tally::{AgentTally, ConfigTally, FlagTally};
pub use self::units::{UnitImpact, UnitShift};
use crate::config;
use crate::context::Context;
use crate::table::Slot;
use crate::tenant::TenantFacts;
use crate::view::View;

/// How many answers are asked for at most, before and after each; with more, not every tenant is asked for.
const ANSWERS_MAX: usize = 4_000_000;

/// What a change changes for the tenants of one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Impact {
    /// The environment.
    pub environment: EnvironmentName,
    /// The tenants that are known, before or after.
    pub tenants: usize,
    /// Those that were asked for: evenly spread, and fewer than all only where all would take too long. All
    /// counts are of these.
    pub asked: usize,
    /// The flags that give some tenant something else, by key.
    pub flags: Vec<FlagImpact>,
    /// The agents that some tenant gets differently, by name.
    pub agents: Vec<AgentImpact>,
    /// The config documents that differ for some tenant, by name.
    pub configs: Vec<ConfigImpact>,
    /// The flags whose answers change with what only requests tell, by key.
    pub units: Vec<UnitImpact>,
}

impl Impact {
    /// Says whether nobody gets anything else, as far as that can be foreseen.
    pub fn is_empty(&self) -> bool {
        let nobody = self.flags.is_empty() && self.agents.is_empty() && self.configs.is_empty();
        nobody && self.units.is_empty()
    }
}

/// Which tenants are asked for, and how much is told of them.
#[derive(Clone, Copy)]
pub struct Inquiry<'a> {
    /// The time for which everything is evaluated.
    pub now: Timestamp,
    /// The tenants that whoever asks may know of.
    pub covers: &'a dyn Fn(&TenantId) -> bool,
    /// How many tenants are named for each way in which something changes.
    pub named: usize,
}

impl std::fmt::Debug for Inquiry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inquiry")
            .field("now", &self.now)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// Says what differs between two views of one environment for the tenants that are known in either.
///
/// Takes time in proportion to the tenants, times what differs.
pub fn impact(before: &View, after: &View, inquiry: &Inquiry<'_>) -> Impact {
    let tenants = tenants(before, after, inquiry.covers);
    let mut flags = flags(before, after);
    let mut agents = agents(before, after, &flags);
    let mut configs = configs(before, after);
    let changed = tenants.iter().filter(|it| it.is_changed).count();
    // What is touched comes first: to pass over ten thousand flags for each tenant takes longer than to ask one.
    let touched_flags = touched_first(&mut flags, |it| it.is_touched);
    let touched_agents = touched_first(&mut agents, |it| it.is_touched);
    let touched_configs = touched_first(&mut configs, |it| it.is_touched);
    let touched = touched_flags + touched_agents + touched_configs;
    let others = flags.len() + agents.len() + configs.len() - touched;
    let answers = tenants.len() * touched + changed * others;
    let step = answers.div_ceil(ANSWERS_MAX).max(1);
    let mut asked = 0;
    for tenant in tenants.iter().step_by(step) {
        asked += 1;
        let ctx = Context::new().with_tenant(tenant.id.as_str());
        let sides = Sides {
            before,
            after,
            id: tenant.id,
            ctx: &ctx,
            old: tenant.before,
            new: tenant.after,
            now: inquiry.now,
            named: inquiry.named,
        };
        for flag in reached(&mut flags, touched_flags, tenant) {
            flag.ask(&sides);
        }
        for agent in reached(&mut agents, touched_agents, tenant) {
            agent.ask(&sides);
        }
        for config in reached(&mut configs, touched_configs, tenant) {
            config.ask(&sides);
        }
    }
    let changed_flags = flags.get(..touched_flags).unwrap_or_default();
    let units = units::units(before, after, &tenants, changed_flags, inquiry.now);
    flags.sort_by_key(|it| it.key);
    agents.sort_by_key(|it| it.agent);
    configs.sort_by_key(|it| it.document);
    Impact {
        environment: after.environment().clone(),
        tenants: tenants.len(),
        asked,
        flags: flags.into_iter().filter_map(FlagTally::told).collect(),
        agents: agents.into_iter().filter_map(AgentTally::told).collect(),
        configs: configs.into_iter().filter_map(ConfigTally::told).collect(),
        units,
    }
}

/// Puts what is touched before all else, and counts it.
fn touched_first<T>(all: &mut [T], is_touched: impl Fn(&T) -> bool) -> usize {
    all.sort_by_key(|it| !is_touched(it));
    all.partition_point(is_touched)
}

/// What may differ for a tenant: all of it, if the tenant itself did.
fn reached<'t, T>(all: &'t mut [T], touched: usize, tenant: &Known<'_>) -> &'t mut [T] {
    let count = if tenant.is_changed {
        all.len()
    } else {
        touched
    };
    all.get_mut(..count).unwrap_or_default()
}

/// One tenant in both views.
struct Sides<'a> {
    before: &'a View,
    after: &'a View,
    id: &'a TenantId,
    ctx: &'a Context,
    old: Option<&'a TenantFacts>,
    new: Option<&'a TenantFacts>,
    now: Timestamp,
    named: usize,
}

/// A tenant that is known in one of the views.
struct Known<'a> {
    id: &'a TenantId,
    before: Option<&'a TenantFacts>,
    after: Option<&'a TenantFacts>,
    is_changed: bool,
}

/// The tenants that are known in either view, by id.
fn tenants<'a>(
    before: &'a View,
    after: &'a View,
    covers: &dyn Fn(&TenantId) -> bool,
) -> Vec<Known<'a>> {
    let (old, new) = (before.tenants(), after.tenants());
    let stays = new.iter().map(|now| {
        let id = now.id();
        (id, old.get(id.as_str()), Some(now))
    });
    let gone = old.iter().filter(|it| new.get(it.id().as_str()).is_none());
    let gone = gone.map(|before| (before.id(), Some(before), None));
    let mut known: Vec<_> = stays.chain(gone).filter(|(id, ..)| covers(id)).collect();
    known.sort_by_key(|(id, ..)| *id);
    known
        .into_iter()
        .map(|(id, old, new)| Known {
            id,
            is_changed: match (old, new) {
                (Some(old), Some(new)) => !Arc::ptr_eq(old, new) && !old.is_alike(new),
                _ => true,
            },
            before: old.map(|it| &**it),
            after: new.map(|it| &**it),
        })
        .collect()
}

/// The flags that exist in either view and may give some tenant something else, by key.
fn flags<'a>(before: &'a View, after: &'a View) -> Vec<FlagTally<'a>> {
    let (old, new) = (before.flag_table(), after.flag_table());
    let mut touched: BTreeSet<&FlagKey> = new
        .slots()
        .filter(|slot| {
            let same = |(_, old): (u32, &Slot)| Arc::ptr_eq(&old.chunk, &slot.chunk);
            !old.find(slot.chunk.key().as_str()).is_some_and(same)
        })
        .map(|slot| slot.chunk.key())
        .collect();
    let gone = old.slots().map(|slot| slot.chunk.key());
    touched.extend(gone.filter(|key| new.find(key.as_str()).is_none()));
    let needs = |slot: &'a Slot| {
        let targeting = slot.chunk.parts().targeting();
        targeting.map_or(&[][..], |it| it.prerequisites.as_slice())
    };
    let needing: Vec<_> = new.slots().filter(|slot| !needs(slot).is_empty()).collect();
    loop {
        let known = touched.len();
        for slot in &needing {
            if needs(slot).iter().any(|it| touched.contains(&it.flag)) {
                touched.insert(slot.chunk.key());
            }
        }
        if touched.len() == known {
            break;
        }
    }
    let keys: BTreeSet<&FlagKey> = old
        .slots()
        .chain(new.slots())
        .filter(|slot| slot.chunk.exists())
        .filter(|slot| {
            let by_tenant = slot.bound > 0 || slot.chunk.reads_tenant();
            by_tenant || touched.contains(slot.chunk.key())
        })
        .map(|slot| slot.chunk.key())
        .collect();
    let tally = |key: &'a FlagKey| {
        let is_touched = touched.contains(key);
        FlagTally::new(
            key,
            is_touched,
            old.find(key.as_str()),
            new.find(key.as_str()),
        )
    };
    keys.into_iter().map(tally).collect()
}

/// The agents that have something to give in either view, by name.
fn agents<'a>(before: &'a View, after: &'a View, flags: &[FlagTally<'a>]) -> Vec<AgentTally<'a>> {
    let rehashed = before.bucketing() != after.bucketing();
    let (old, new) = (before.registry(), after.registry());
    let tools = old.differently_killed(new);
    let touched = flags.iter().filter(|it| it.is_touched);
    let touched: BTreeSet<&FlagKey> = touched.map(|it| it.key).collect();
    let names: BTreeSet<&ArtifactName> =
        old.entries().chain(new.entries()).map(|it| it.0).collect();
    names
        .into_iter()
        .map(|name| {
            let (before, after) = (old.agent(name), new.agent(name));
            let same = match (before, after) {
                (Some(before), Some(after)) => std::ptr::eq(before, after),
                _ => false,
            };
            let entries = [before, after].into_iter().flatten();
            let is_reached = |it: &crate::resolve::AgentEntry| {
                it.is_overridden_by(&|flag| touched.contains(flag))
                    || it.uses_tool(&tools)
                    || (rehashed && it.is_divided())
            };
            let is_touched = !same || entries.into_iter().any(is_reached);
            AgentTally::new(name, is_touched)
        })
        .collect()
}

/// The config documents that there are in either view, by name.
fn configs<'a>(before: &'a View, after: &'a View) -> Vec<ConfigTally<'a>> {
    let (old, new) = (before.config_documents(), after.config_documents());
    let names: BTreeSet<&ConfigName> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let (before, after) = (old.get(name), new.get(name));
            let same = match (before, after) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                _ => false,
            };
            ConfigTally::new(name, !same)
        })
        .collect()
}

impl Sides<'_> {
    fn scopes(&self) -> (config::Scope<'_>, config::Scope<'_>) {
        let environment = self.after.environment().as_str();
        (
            config::scope(environment, self.ctx, self.old),
            config::scope(environment, self.ctx, self.new),
        )
    }
}
