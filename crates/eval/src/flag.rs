//! One flag in one environment, compiled: all that an evaluation of it reads, in one place.

mod exclusion;
mod serve;

use std::sync::Arc;

use plane_model::documents::{
    Bucketing, Flag, FlagState, Kill, Metadata, Overrides, Targeting, Window,
};
use plane_model::{
    AttributePath, Document, FlagKey, SLOTS, SegmentName, Serve, Timestamp, VariantName,
};
use serde_json::Value;

pub(crate) use self::exclusion::{Exclusion, salt as group_salt};
pub(crate) use self::serve::ranges;
use self::serve::{CompiledServe, place};
use crate::bucket;
use crate::clause::{Facts, Members, Place, Texts, Tree, segments_of};
use crate::context::Context;
use crate::evaluation::{Decision, ErrorCode, Reason};
use crate::table::FlagTable;
use crate::tenant::TenantFacts;

/// A document as it is stored, and the revision of its last change.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) revision: u64,
    pub(crate) document: Arc<Document>,
}

/// The documents that make a flag in one environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) flag: Option<Stored>,
    pub(crate) targeting: Option<Stored>,
    pub(crate) kill: Option<Stored>,
}

impl Parts {
    pub(crate) fn flag(&self) -> Option<&Flag> {
        match self.flag.as_ref().map(|it| &*it.document) {
            Some(Document::Flag(flag)) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn targeting(&self) -> Option<&Targeting> {
        match self.targeting.as_ref().map(|it| &*it.document) {
            Some(Document::Targeting(targeting)) => Some(targeting),
            _ => None,
        }
    }

    pub(crate) fn kill(&self) -> Option<&Kill> {
        match self.kill.as_ref().map(|it| &*it.document) {
            Some(Document::Kill(kill)) => Some(kill),
            _ => None,
        }
    }

    /// The segments that the flag's rules name.
    pub(crate) fn segments(&self) -> Vec<SegmentName> {
        let mut names = Vec::new();
        for rule in self.targeting().iter().flat_map(|it| &it.rules) {
            segments_of(&rule.when, |name| names.push(name));
        }
        names.sort();
        names.dedup();
        names
    }
}

/// One flag in one environment, compiled.
#[derive(Debug)]
pub(crate) struct Chunk {
    key: FlagKey,
    revision: u64,
    parts: Parts,
    bucketing: Bucketing,
    /// Sorted by name.
    variants: Box<[(VariantName, Value)]>,
    truths: Truths,
    gate: Gate,
    off: Option<u16>,
    prerequisites: Box<[CompiledPrerequisite]>,
    exclusions: Box<[Exclusion]>,
    targets: Box<[CompiledTarget]>,
    rules: Box<[CompiledRule]>,
    /// What the rules ask for, one after the other: of each rule, all must be true.
    conditions: Box<[Tree]>,
    /// The names of the rules.
    rule_names: Box<[Arc<str>]>,
    default: CompiledServe,
    /// What everybody gets, if nothing but a pin or a tenant's kill can change it.
    fixed: Option<Decision>,
    reads_tenant: bool,
}

/// What a caller who lets only a share of the units have true compares with that share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Nothing: pins, targets and what is off are not for callers to change.
    Exempt,
    /// The context has no unit.
    Unknown,
    /// How many of the flag's own true slots are below the unit's; of all slots, where no split decided.
    Below(u32),
}

/// What stands before targets and rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gate {
    /// The flag does not exist or is archived.
    Absent,
    Killed,
    /// The flag's definition contradicts itself; says how.
    Broken(Box<str>),
    Off,
    Open,
}

#[derive(Debug)]
struct CompiledTarget {
    by: Place,
    values: Texts,
    variant: u16,
}

/// A rule without what only some ask for: evaluating goes through all of them.
#[derive(Debug)]
struct CompiledRule {
    /// Its conditions, by their places in the flag's.
    conditions: (u32, u32),
    window: Option<Box<Window>>,
    serve: CompiledServe,
}

/// Which variants are true and which are false: a bit for each that is either.
#[derive(Debug, Clone, Copy, Default)]
struct Truths {
    booleans: u128,
    trues: u128,
}

impl Truths {
    fn of<'v>(values: impl Iterator<Item = &'v Value>) -> Self {
        let mut truths = Self::default();
        let bits = (0..u128::BITS).map(|at| 1_u128 << at);
        for (bit, value) in bits.zip(values) {
            if let Value::Bool(value) = value {
                truths.booleans |= bit;
                truths.trues |= if *value { bit } else { 0 };
            }
        }
        truths
    }

    /// What the variant is; none if it is no boolean, or so far out that no commit admits it.
    #[inline]
    fn get(&self, variant: u16) -> Option<bool> {
        let bit = 1_u128.checked_shl(u32::from(variant))?;
        (self.booleans & bit != 0).then_some(self.trues & bit != 0)
    }
}

impl CompiledRule {
    #[inline]
    fn is_within(&self, now: Timestamp) -> bool {
        self.window.as_ref().is_none_or(|window| window.has(now))
    }
}

/// A flag that must give one of some variants.
#[derive(Debug)]
struct CompiledPrerequisite {
    flag: u32,
    variants: Box<[VariantName]>,
}

impl CompiledPrerequisite {
    /// Says whether the flag gives what is needed, and is not off.
    fn is_met(&self, question: &Question<'_>, depth: u8) -> bool {
        let Some(slot) = question.flags.slot(self.flag) else {
            return false;
        };
        let decide = || {
            slot.chunk
                .decide_at(self.flag, slot.bound > 0, question, depth + 1)
        };
        let decision = slot.fixed.unwrap_or_else(decide);
        let variant = decision.variant.and_then(|it| slot.chunk.variant(it));
        !matches!(decision.reason, Reason::Disabled | Reason::Error)
            && variant.is_some_and(|(name, _)| self.variants.contains(name))
    }
}

/// How deep prerequisites are followed: a commit admits no more, and what is stored may hold a circle.
const DEPTH_MAX: u8 = 32;

/// What an evaluation is about, whichever flags it comes by.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) flags: &'a FlagTable,
    pub(crate) ctx: &'a Context,
    /// Needed only where [`Chunk::reads_tenant`] says so, or a tenant is bound.
    pub(crate) tenant: Option<&'a TenantFacts>,
    pub(crate) now: Timestamp,
}

impl Chunk {
    /// Compiles a flag; never fails, because a flag that contradicts itself is one that is broken.
    ///
    /// `places` are those of its prerequisites, in their order; `exclusions` its exclusion groups.
    pub(crate) fn compile(
        key: FlagKey,
        parts: Parts,
        bucketing: Bucketing,
        places: &[u32],
        exclusions: Box<[Exclusion]>,
        segment: impl Fn(&str) -> Option<Members>,
    ) -> Self {
        let revision = [&parts.flag, &parts.targeting, &parts.kill]
            .into_iter()
            .flatten()
            .map(|it| it.revision)
            .max()
            .unwrap_or(0);
        let mut chunk = Self {
            key,
            revision,
            bucketing,
            variants: Box::default(),
            truths: Truths::default(),
            gate: Gate::Absent,
            off: None,
            prerequisites: Box::default(),
            exclusions,
            targets: Box::default(),
            rules: Box::default(),
            conditions: Box::default(),
            rule_names: Box::default(),
            default: CompiledServe::Variant(None),
            fixed: None,
            reads_tenant: false,
            parts,
        };
        chunk.fill(places, segment);
        chunk.fixed = chunk.fixed_decision();
        chunk
    }

    fn fill(&mut self, places: &[u32], segment: impl Fn(&str) -> Option<Members>) {
        let parts = self.parts.clone();
        let Some(flag) = parts.flag().filter(|flag| !flag.archived) else {
            return;
        };
        self.variants = flag.all_variants().into_iter().collect();
        self.truths = Truths::of(self.variants.iter().map(|(_, value)| value));
        let targeting = parts.targeting();
        self.off = targeting
            .and_then(|it| it.off.as_ref())
            .and_then(|name| self.variant_index(name.as_str()))
            .or_else(|| {
                let boolean = flag.kind == plane_model::documents::FlagType::Boolean;
                boolean.then(|| self.variant_index(Flag::OFF)).flatten()
            });
        self.gate = if parts.kill.is_some() {
            Gate::Killed
        } else if let Some(fault) = fault(flag, targeting) {
            Gate::Broken(fault.into())
        } else if targeting.is_some_and(|it| it.state == FlagState::Enabled) {
            Gate::Open
        } else {
            Gate::Off
        };
        let Some(targeting) = targeting.filter(|_| self.gate == Gate::Open) else {
            return;
        };
        self.prerequisites = places
            .iter()
            .zip(&targeting.prerequisites)
            .map(|(flag, needed)| CompiledPrerequisite {
                flag: *flag,
                variants: needed.variants.as_slice().into(),
            })
            .collect();
        self.targets = targeting
            .targets
            .iter()
            .filter_map(|target| {
                Some(CompiledTarget {
                    by: place(target.by.as_ref()),
                    values: Texts::new(target.values.iter().map(String::as_str)),
                    variant: self.variant_index(target.serve.as_str())?,
                })
            })
            .collect();
        let mut conditions = Vec::new();
        self.rules = targeting
            .rules
            .iter()
            .map(|rule| {
                let first = place_in(&conditions);
                match Tree::new(&rule.when, &segment) {
                    Tree::All(parts) => conditions.extend(parts),
                    part => conditions.push(part),
                }
                CompiledRule {
                    conditions: (first, place_in(&conditions)),
                    window: rule.window.map(Box::new),
                    serve: self.serve(&rule.serve),
                }
            })
            .collect();
        self.conditions = conditions.into();
        let names = targeting.rules.iter().map(|rule| rule.name.as_str());
        self.rule_names = names.map(Into::into).collect();
        self.default = match &targeting.default {
            Some(serve) => self.serve(serve),
            None => CompiledServe::Variant(self.off),
        };
        let serves = self
            .rules
            .iter()
            .map(|rule| &rule.serve)
            .chain([&self.default]);
        self.reads_tenant = self.conditions.iter().any(Tree::reads_tenant)
            || self.targets.iter().any(|target| target.by.reads_tenant())
            || serves.into_iter().any(CompiledServe::reads_tenant)
            || self.exclusions.iter().any(Exclusion::reads_tenant)
            || !self.prerequisites.is_empty();
    }

    fn serve(&self, serve: &Serve) -> CompiledServe {
        CompiledServe::new(serve, self.key.as_str(), self.off, |name| {
            self.variant_index(name)
        })
    }

    fn fixed_decision(&self) -> Option<Decision> {
        match (&self.gate, &self.default) {
            (Gate::Absent, _) => Some(Decision::error(ErrorCode::FlagNotFound)),
            (Gate::Killed | Gate::Off, _) => Some(Decision::of(self.off, Reason::Disabled)),
            (Gate::Broken(_), _) => Some(Decision::error(ErrorCode::ParseError)),
            (Gate::Open, CompiledServe::Variant(variant))
                if self.rules.is_empty()
                    && self.targets.is_empty()
                    && self.prerequisites.is_empty()
                    && self.exclusions.is_empty() =>
            {
                let reason = if variant.is_some() {
                    Reason::Static
                } else {
                    Reason::Default
                };
                Some(Decision::of(*variant, reason))
            }
            _ => None,
        }
    }

    /// Says what everybody gets, if no context and no time can change it.
    ///
    /// `bound` says whether a tenant of this environment has a pin or a kill of this flag.
    pub(crate) fn fixed(&self, bound: bool) -> Option<Decision> {
        let pinnable = matches!(self.gate, Gate::Open);
        self.fixed.filter(|_| !(bound && pinnable))
    }

    /// Evaluates the flag at the place `index`.
    #[inline]
    pub(crate) fn decide(&self, index: u32, bound: bool, question: &Question<'_>) -> Decision {
        self.decide_at(index, bound, question, 0)
    }

    #[inline]
    fn decide_at(&self, index: u32, bound: bool, question: &Question<'_>, depth: u8) -> Decision {
        if self.gate != Gate::Open {
            return self
                .fixed
                .unwrap_or(Decision::error(ErrorCode::FlagNotFound));
        }
        let tenant = question.tenant.filter(|_| bound);
        if tenant.is_some_and(|tenant| tenant.is_killed(index)) {
            return Decision::of(self.off, Reason::Disabled);
        }
        if !self.prerequisites.is_empty() {
            if depth >= DEPTH_MAX {
                return Decision::error(ErrorCode::ParseError);
            }
            let met = |needed: &CompiledPrerequisite| needed.is_met(question, depth);
            if !self.prerequisites.iter().all(met) {
                return Decision::of(self.off, Reason::Disabled);
            }
        }
        if let Some(decision) = tenant.and_then(|it| self.pinned(index, it, question.now)) {
            return decision;
        }
        let facts = Facts {
            ctx: question.ctx,
            tenant: question.tenant,
        };
        if let Some(decision) = self.excluded(facts) {
            return decision;
        }
        for target in &self.targets {
            if target.by.unit(facts, |unit| target.values.has(unit)) == Some(true) {
                return Decision::of(Some(target.variant), Reason::TargetingMatch);
            }
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if !self.holds(rule, facts) || !rule.is_within(question.now) {
                continue;
            }
            let (variant, reason) = match &rule.serve {
                CompiledServe::Variant(variant) => (*variant, Reason::TargetingMatch),
                serve => match serve.land(facts, self.bucketing, question.now) {
                    Some(landing) => (landing.variant, Reason::Split),
                    None => continue,
                },
            };
            let rule = u16::try_from(at).ok();
            return Decision {
                rule,
                ..Decision::of(variant, reason)
            };
        }
        match &self.default {
            CompiledServe::Variant(variant) => {
                let fixed = self.fixed.map(|it| it.reason).filter(|_| !bound);
                Decision::of(*variant, fixed.unwrap_or(Reason::Default))
            }
            serve => match serve.land(facts, self.bucketing, question.now) {
                Some(landing) => Decision::of(landing.variant, Reason::Split),
                None => Decision::error(ErrorCode::TargetingKeyMissing),
            },
        }
    }

    /// Says whether a rule's conditions are true.
    #[inline]
    fn holds(&self, rule: &CompiledRule, facts: Facts<'_>) -> bool {
        let (first, end) = rule.conditions;
        let conditions = self.conditions.get(first as usize..end as usize);
        conditions.is_some_and(|all| all.iter().all(|it| it.leads_to_true(facts)))
    }

    /// What a unit gets that an exclusion group keeps the flag from.
    #[inline]
    fn excluded(&self, facts: Facts<'_>) -> Option<Decision> {
        let decide = |group: &Exclusion| match group.lets_in(facts, self.bucketing) {
            Some(true) => None,
            Some(false) => Some(Decision::of(self.off, Reason::Split)),
            None => Some(Decision::error(ErrorCode::TargetingKeyMissing)),
        };
        self.exclusions.iter().find_map(decide)
    }

    /// Says whether a caller who lets at most `percent` of the units have true lets this one.
    pub(crate) fn is_within(
        &self,
        decision: Decision,
        percent: f64,
        ctx: &Context,
        tenant: Option<&TenantFacts>,
        now: Timestamp,
    ) -> bool {
        // Whole slots: a share of 51.234 % is not a hair more because its binary form is.
        let cap = (percent * f64::from(SLOTS) / 100.0).round();
        percent >= 100.0
            || match self.rank(decision, ctx, tenant, now) {
                Rank::Exempt => true,
                // Not a variant by accident: who has no unit is in no share.
                Rank::Unknown => false,
                Rank::Below(rank) => f64::from(rank) < cap,
            }
    }

    /// What a caller's cap compares.
    pub(crate) fn rank(
        &self,
        decision: Decision,
        ctx: &Context,
        tenant: Option<&TenantFacts>,
        now: Timestamp,
    ) -> Rank {
        let by_whom = match (decision.reason, decision.rule) {
            (Reason::Disabled | Reason::Error, _) | (Reason::TargetingMatch, None) => {
                return Rank::Exempt;
            }
            (_, Some(rule)) => self.rules.get(usize::from(rule)).map(|rule| &rule.serve),
            (_, None) => Some(&self.default),
        };
        let facts = Facts { ctx, tenant };
        let is_true = |variant: Option<u16>| {
            let value = variant.and_then(|it| self.variant(it));
            value.is_some_and(|(_, value)| *value == Value::Bool(true))
        };
        let rank = match by_whom {
            Some(serve) if serve.is_shared_out() => serve.rank(facts, self.bucketing, now, is_true),
            _ => Place::TargetingKey.unit(facts, |unit| {
                bucket::slot(self.bucketing, self.key.as_str(), unit)
            }),
        };
        rank.map_or(Rank::Unknown, Rank::Below)
    }

    /// What a tenant's pin decides.
    fn pinned(&self, index: u32, tenant: &TenantFacts, now: Timestamp) -> Option<Decision> {
        let pin = tenant.pin(index)?;
        if pin.until.is_some_and(|until| until <= now) {
            return None;
        }
        let variant = pin
            .variant
            .as_ref()
            .and_then(|name| self.variant_index(name.as_str()));
        Some(match variant {
            Some(variant) => Decision::of(Some(variant), Reason::TargetingMatch),
            None => Decision::error(ErrorCode::ParseError),
        })
    }

    pub(crate) fn key(&self) -> &FlagKey {
        &self.key
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The variants and their values, sorted by name.
    pub(crate) fn variants(&self) -> &[(VariantName, Value)] {
        &self.variants
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn off(&self) -> Option<u16> {
        self.off
    }

    pub(crate) fn reads_tenant(&self) -> bool {
        self.reads_tenant
    }

    /// Says whether the flag exists and is not archived.
    pub(crate) fn exists(&self) -> bool {
        self.gate != Gate::Absent
    }

    /// What the flag's variants change in manifests.
    pub(crate) fn overrides(&self) -> Option<&Overrides> {
        self.parts
            .flag()
            .filter(|flag| !flag.archived)?
            .overrides
            .as_ref()
    }

    /// What the flag's author tells those who evaluate it.
    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        let flag = self.parts.flag().filter(|flag| !flag.archived)?;
        Some(&flag.metadata)
    }

    #[inline]
    pub(crate) fn variant(&self, index: u16) -> Option<&(VariantName, Value)> {
        self.variants.get(usize::from(index))
    }

    /// The value of a variant, if it is true or false.
    #[inline]
    pub(crate) fn truth(&self, variant: u16) -> Option<bool> {
        self.truths.get(variant)
    }

    pub(crate) fn variant_index(&self, name: &str) -> Option<u16> {
        let at = self
            .variants
            .binary_search_by(|(it, _)| it.as_str().cmp(name))
            .ok()?;
        u16::try_from(at).ok()
    }

    pub(crate) fn rule_name(&self, rule: u16) -> Option<&str> {
        self.rule_names.get(usize::from(rule)).map(|name| &**name)
    }

    /// The rule's name, to be kept.
    pub(crate) fn rule_name_shared(&self, rule: u16) -> Option<Arc<str>> {
        self.rule_names.get(usize::from(rule)).cloned()
    }

    /// What contradicts what, if the flag is broken, or a pin of it is.
    pub(crate) fn fault(&self) -> &str {
        match &self.gate {
            Gate::Broken(fault) => fault,
            _ => "the tenant's pin names a variant that the flag does not have",
        }
    }

    /// The unit that the default divides by.
    pub(crate) fn default_unit(&self) -> &str {
        let by = match self.parts.targeting().and_then(|it| it.default.as_ref()) {
            Some(Serve::Split(split)) => split.by.as_ref(),
            Some(Serve::Ramp(ramp)) => ramp.by.as_ref(),
            _ => None,
        };
        by.map_or("targetingKey", AttributePath::as_str)
    }
}

/// Where the next condition goes.
fn place_in(conditions: &[Tree]) -> u32 {
    u32::try_from(conditions.len()).unwrap_or(u32::MAX)
}

/// What contradicts what in a flag and its targeting.
fn fault(flag: &Flag, targeting: Option<&Targeting>) -> Option<String> {
    for (name, value) in flag.all_variants() {
        if !flag.kind.admits(&value) {
            return Some(format!(
                "the value of variant `{name}` is not of type {}",
                flag.kind.as_str()
            ));
        }
    }
    let targeting = targeting?;
    if let Some(violation) = targeting.check_variants(flag).first() {
        return Some(violation.detail.clone());
    }
    let rules = targeting.rules.iter().map(|rule| &rule.serve);
    rules
        .chain(&targeting.default)
        .find_map(|serve| match serve {
            Serve::Split(split) => split.fault(),
            Serve::Ramp(ramp) => ramp.fault(),
            Serve::Variant(_) | Serve::CallerDefault => None,
        })
}
