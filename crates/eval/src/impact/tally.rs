//! Counting what differs, thing by thing.

use std::collections::BTreeSet;

use plane_model::{
    ArtifactName, Code, ConfigName, Digest, FlagKey, Pointer, TenantId, Timestamp, VariantName,
};
use serde_json::{Map, Value};

use super::Sides;
use crate::context::Context;
use crate::evaluation::ErrorCode;
use crate::flag::Chunk;
use crate::resolve;
use crate::table::Slot;
use crate::tenant::TenantFacts;
use crate::view::View;

/// How many places of a config document are named.
const POINTERS_MAX: usize = 50;
/// How many ways in which an agent changes are told apart; what is more is counted for the agent.
const SHIFTS_MAX: usize = 100;

/// A flag that gives some tenants something else.
#[derive(Debug, Clone, PartialEq)]
pub struct FlagImpact {
    /// The flag.
    pub flag: FlagKey,
    /// How many tenants it gives something else.
    pub tenants: usize,
    /// From what to what, the most frequent first.
    pub shifts: Vec<FlagShift>,
}

/// What a flag gives and would give.
#[derive(Debug, Clone, PartialEq)]
pub struct FlagShift {
    /// What it gives now.
    pub before: Given,
    /// What it would give.
    pub after: Given,
    /// To how many tenants.
    pub tenants: usize,
    /// Some of them.
    pub named: Vec<TenantId>,
}

/// What a flag gives; with neither variant nor error, the caller's default.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The variant.
    pub variant: Option<VariantName>,
    /// Its value.
    pub value: Option<Value>,
    /// Why it gives the caller's default though it should not.
    pub error: Option<ErrorCode>,
}

/// An agent that some tenants get differently.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentImpact {
    /// The agent.
    pub agent: ArtifactName,
    /// How many tenants get it differently.
    pub tenants: usize,
    /// From what to what, the most frequent first.
    pub shifts: Vec<AgentShift>,
}

/// How an agent is given and would be given.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentShift {
    /// What is given now.
    pub before: Offered,
    /// What would be given.
    pub after: Offered,
    /// To how many tenants.
    pub tenants: usize,
    /// Some of them.
    pub named: Vec<TenantId>,
}

/// What of an agent a tenant gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The version.
    pub version: Option<semver::Version>,
    /// The digest of the manifests with overrides applied.
    pub effective_digest: Option<Digest>,
    /// Why it gets none.
    pub error: Option<Code>,
}

/// A config document that differs for some tenants.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigImpact {
    /// The document.
    pub document: ConfigName,
    /// For how many tenants.
    pub tenants: usize,
    /// Where it differs for any of them.
    pub pointers: BTreeSet<String>,
    /// Some of the tenants.
    pub named: Vec<TenantId>,
}

/// What a flag gave: a variant of its chunk, or an error.
pub(super) type Outcome = (Option<u16>, Option<ErrorCode>);

pub(super) struct FlagTally<'a> {
    pub(super) key: &'a FlagKey,
    pub(super) is_touched: bool,
    pub(super) old: Option<(u32, &'a Slot)>,
    pub(super) new: Option<(u32, &'a Slot)>,
    seen: Vec<Seen>,
}

/// What was given before and after, whether it differs, to how many, and some of them.
pub(super) struct Seen {
    before: Outcome,
    after: Outcome,
    differs: bool,
    count: usize,
    named: Vec<TenantId>,
}

impl<'a> FlagTally<'a> {
    pub(super) fn new(
        key: &'a FlagKey,
        is_touched: bool,
        old: Option<(u32, &'a Slot)>,
        new: Option<(u32, &'a Slot)>,
    ) -> Self {
        Self {
            key,
            is_touched,
            old,
            new,
            seen: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, sides: &Sides<'_>) {
        let before = outcome(sides.before, self.old, sides.ctx, sides.old, sides.now);
        let after = outcome(sides.after, self.new, sides.ctx, sides.new, sides.now);
        if let Some(seen) = self.count(before, after)
            && seen.differs
            && seen.named.len() < sides.named
        {
            seen.named.push(sides.id.clone());
        }
    }

    /// Counts one who was given something and would be given something.
    pub(super) fn count(&mut self, before: Outcome, after: Outcome) -> Option<&mut Seen> {
        let known = self
            .seen
            .iter()
            .position(|it| (it.before, it.after) == (before, after));
        let at = known.unwrap_or_else(|| {
            self.seen.push(Seen {
                before,
                after,
                differs: given(self.old, before) != given(self.new, after),
                count: 0,
                named: Vec::new(),
            });
            self.seen.len() - 1
        });
        let seen = self.seen.get_mut(at)?;
        seen.count += 1;
        Some(seen)
    }

    pub(super) fn told(self) -> Option<FlagImpact> {
        let mut shifts: Vec<FlagShift> = self
            .seen
            .into_iter()
            .filter(|it| it.differs)
            .map(|it| FlagShift {
                before: given(self.old, it.before),
                after: given(self.new, it.after),
                tenants: it.count,
                named: it.named,
            })
            .collect();
        shifts.sort_by_key(|shift| std::cmp::Reverse(shift.tenants));
        (!shifts.is_empty()).then(|| FlagImpact {
            flag: self.key.clone(),
            tenants: shifts.iter().map(|shift| shift.tenants).sum(),
            shifts,
        })
    }
}

pub(super) fn outcome(
    view: &View,
    slot: Option<(u32, &Slot)>,
    ctx: &Context,
    tenant: Option<&TenantFacts>,
    now: Timestamp,
) -> Outcome {
    let decided = slot.and_then(|(place, _)| view.decide(place, ctx, tenant, now));
    decided.map_or((None, Some(ErrorCode::FlagNotFound)), |(_, decision)| {
        (decision.variant, decision.error)
    })
}

fn given(slot: Option<(u32, &Slot)>, (variant, error): Outcome) -> Given {
    let chunk: Option<&Chunk> = slot.map(|(_, slot)| &*slot.chunk);
    let found = chunk.zip(variant).and_then(|(chunk, it)| chunk.variant(it));
    Given {
        variant: found.map(|(name, _)| name.clone()),
        value: found.map(|(_, value)| value.clone()),
        error,
    }
}

pub(super) struct AgentTally<'a> {
    pub(super) agent: &'a ArtifactName,
    pub(super) is_touched: bool,
    tenants: usize,
    shifts: Vec<AgentShift>,
}

impl<'a> AgentTally<'a> {
    pub(super) fn new(agent: &'a ArtifactName, is_touched: bool) -> Self {
        Self {
            agent,
            is_touched,
            tenants: 0,
            shifts: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, sides: &Sides<'_>) {
        let offered = |view: &View| match resolve::resolve(view, self.agent, sides.ctx, sides.now) {
            Ok(resolved) => Offered {
                version: Some(resolved.agent().version.clone()),
                effective_digest: Some(resolved.effective_digest()),
                error: None,
            },
            Err(error) => Offered {
                version: None,
                effective_digest: None,
                error: Some(error.code()),
            },
        };
        let (before, after) = (offered(sides.before), offered(sides.after));
        if before == after {
            return;
        }
        self.tenants += 1;
        let mut known = self.shifts.iter();
        let at = known.position(|it| it.before == before && it.after == after);
        let at = at.unwrap_or_else(|| {
            if self.shifts.len() < SHIFTS_MAX {
                self.shifts.push(AgentShift {
                    before,
                    after,
                    tenants: 0,
                    named: Vec::new(),
                });
                self.shifts.len() - 1
            } else {
                SHIFTS_MAX
            }
        });
        if let Some(shift) = self.shifts.get_mut(at) {
            shift.tenants += 1;
            if shift.named.len() < sides.named {
                shift.named.push(sides.id.clone());
            }
        }
    }

    pub(super) fn told(mut self) -> Option<AgentImpact> {
        self.shifts
            .sort_by_key(|shift| std::cmp::Reverse(shift.tenants));
        (self.tenants > 0).then(|| AgentImpact {
            agent: self.agent.clone(),
            tenants: self.tenants,
            shifts: self.shifts,
        })
    }
}

pub(super) struct ConfigTally<'a> {
    pub(super) document: &'a ConfigName,
    pub(super) is_touched: bool,
    tenants: usize,
    pointers: BTreeSet<String>,
    named: Vec<TenantId>,
}

impl<'a> ConfigTally<'a> {
    pub(super) fn new(document: &'a ConfigName, is_touched: bool) -> Self {
        Self {
            document,
            is_touched,
            tenants: 0,
            pointers: BTreeSet::new(),
            named: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, sides: &Sides<'_>) {
        let old = sides.before.config_documents().get(self.document);
        let new = sides.after.config_documents().get(self.document);
        let (then, now) = sides.scopes();
        // Most changes are of layers that do not apply to most tenants.
        if let (Some(old), Some(new)) = (old, new)
            && old.is_alike(&then, new, &now)
        {
            return;
        }
        let before = old.map(|it| it.effective(&then));
        let after = new.map(|it| it.effective(&now));
        let (before, after) = (before.map(|it| it.shared()), after.map(|it| it.shared()));
        if before == after {
            return;
        }
        self.tenants += 1;
        if self.named.len() < sides.named {
            self.named.push(sides.id.clone());
        }
        if self.pointers.len() < POINTERS_MAX {
            let none = Map::new();
            let before = before.as_deref().unwrap_or(&none);
            let after = after.as_deref().unwrap_or(&none);
            differing(before, after, &Pointer::root(), &mut self.pointers);
        }
    }

    pub(super) fn told(self) -> Option<ConfigImpact> {
        (self.tenants > 0).then(|| ConfigImpact {
            document: self.document.clone(),
            tenants: self.tenants,
            pointers: self.pointers,
            named: self.named,
        })
    }
}

/// Names the places where two objects differ, down to the smallest part that is no object.
fn differing(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    at: &Pointer,
    found: &mut BTreeSet<String>,
) {
    for key in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(key), after.get(key));
        if old == new || found.len() >= POINTERS_MAX {
            continue;
        }
        let at = at.key(key);
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                differing(old, new, &at, found);
            }
            _ => {
                found.insert(at.to_string());
            }
        }
    }
}
