//! One flag in one environment, compiled: all that an evaluation of it reads, in one place.

use std::sync::Arc;

use plane_model::documents::{Bucketing, Flag, FlagState, Kill, Overrides, Targeting};
use plane_model::{
    AttributePath, Document, FlagKey, Range, SLOTS, SegmentName, Serve, Timestamp, VariantName,
};
use serde_json::Value;

use crate::bucket;
use crate::clause::{Facts, Members, Place, Texts, Tree, segments_of};
use crate::context::Context;
use crate::evaluation::{Decision, ErrorCode, Reason};
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
    gate: Gate,
    off: Option<u16>,
    targets: Box<[CompiledTarget]>,
    rules: Box<[CompiledRule]>,
    default: CompiledServe,
    /// What everybody gets, if nothing but a pin or a tenant's kill can change it.
    fixed: Option<Decision>,
    reads_tenant: bool,
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

#[derive(Debug)]
struct CompiledRule {
    name: Arc<str>,
    when: Tree,
    serve: CompiledServe,
}

#[derive(Debug)]
enum CompiledServe {
    Variant(Option<u16>),
    Split(CompiledSplit),
}

#[derive(Debug)]
struct CompiledSplit {
    by: Place,
    salt: Box<str>,
    /// The slots before each end get its variant; sorted, and the last end is the number of slots.
    steps: Box<[Step]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    end: u32,
    variant: Option<u16>,
}

/// The slot that a unit fell into, and what it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Landing {
    /// None where the whole split serves one thing, so that no slot was computed.
    pub(crate) variant: Option<u16>,
}

impl CompiledSplit {
    #[inline]
    fn land(&self, facts: Facts<'_>, bucketing: Bucketing) -> Option<Landing> {
        let variant = match &*self.steps {
            [only] => {
                self.by.unit(facts, |_| ())?;
                only.variant
            }
            steps => {
                let slot = self
                    .by
                    .unit(facts, |unit| bucket::slot(bucketing, &self.salt, unit))?;
                let at = steps.partition_point(|step| step.end <= slot);
                steps.get(at).and_then(|step| step.variant)
            }
        };
        Some(Landing { variant })
    }
}

impl Chunk {
    /// Compiles a flag; never fails, because a flag that contradicts itself is one that is broken.
    pub(crate) fn compile(
        key: FlagKey,
        parts: Parts,
        bucketing: Bucketing,
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
            gate: Gate::Absent,
            off: None,
            targets: Box::default(),
            rules: Box::default(),
            default: CompiledServe::Variant(None),
            fixed: None,
            reads_tenant: false,
            parts,
        };
        chunk.fill(segment);
        chunk.fixed = chunk.fixed_decision();
        chunk
    }

    fn fill(&mut self, segment: impl Fn(&str) -> Option<Members>) {
        let parts = self.parts.clone();
        let Some(flag) = parts.flag().filter(|flag| !flag.archived) else {
            return;
        };
        self.variants = flag.all_variants().into_iter().collect();
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
        self.rules = targeting
            .rules
            .iter()
            .map(|rule| CompiledRule {
                name: rule.name.as_str().into(),
                when: Tree::new(&rule.when, &segment),
                serve: self.serve(&rule.serve),
            })
            .collect();
        self.default = match &targeting.default {
            Some(serve) => self.serve(serve),
            None => CompiledServe::Variant(self.off),
        };
        let serves = self
            .rules
            .iter()
            .map(|rule| &rule.serve)
            .chain([&self.default]);
        self.reads_tenant = self.rules.iter().any(|rule| rule.when.reads_tenant())
            || self.targets.iter().any(|target| target.by.reads_tenant())
            || serves.into_iter().any(CompiledServe::reads_tenant);
    }

    fn serve(&self, serve: &Serve) -> CompiledServe {
        match serve {
            Serve::Variant(name) => CompiledServe::Variant(self.variant_index(name.as_str())),
            Serve::CallerDefault => CompiledServe::Variant(None),
            Serve::Split(split) => CompiledServe::Split(CompiledSplit {
                by: place(split.by.as_ref()),
                salt: split.salt.as_deref().unwrap_or(self.key.as_str()).into(),
                steps: self.steps(&ranges(split)),
            }),
        }
    }

    /// Fills what the ranges leave over with the off variant.
    fn steps(&self, ranges: &[Range]) -> Box<[Step]> {
        let mut steps: Vec<Step> = Vec::new();
        let mut push = |end: u32, variant: Option<u16>| match steps.last_mut() {
            Some(last) if last.variant == variant => last.end = end,
            _ => steps.push(Step { end, variant }),
        };
        let mut free = 0;
        for range in ranges {
            if range.start > free {
                push(range.start, self.off);
            }
            push(range.end, self.variant_index(range.variant.as_str()));
            free = range.end;
        }
        if free < SLOTS {
            push(SLOTS, self.off);
        }
        steps.into()
    }

    fn fixed_decision(&self) -> Option<Decision> {
        match (&self.gate, &self.default) {
            (Gate::Absent, _) => Some(Decision::error(ErrorCode::FlagNotFound)),
            (Gate::Killed | Gate::Off, _) => Some(Decision::of(self.off, Reason::Disabled)),
            (Gate::Broken(_), _) => Some(Decision::error(ErrorCode::ParseError)),
            (Gate::Open, CompiledServe::Variant(variant))
                if self.rules.is_empty() && self.targets.is_empty() =>
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

    /// Evaluates the flag; `tenant` is needed only where [`Chunk::reads_tenant`] or `bound` says so.
    #[inline]
    pub(crate) fn decide(
        &self,
        index: u32,
        ctx: &Context,
        tenant: Option<&TenantFacts>,
        bound: bool,
        now: Timestamp,
    ) -> Decision {
        if self.gate != Gate::Open {
            return self
                .fixed
                .unwrap_or(Decision::error(ErrorCode::FlagNotFound));
        }
        if bound
            && let Some(tenant) = tenant
            && let Some(decision) = self.tenant_decision(index, tenant, now)
        {
            return decision;
        }
        let facts = Facts { ctx, tenant };
        for target in &self.targets {
            if target.by.unit(facts, |unit| target.values.has(unit)) == Some(true) {
                return Decision::of(Some(target.variant), Reason::TargetingMatch);
            }
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if !rule.when.is_true(facts) {
                continue;
            }
            let (variant, reason) = match &rule.serve {
                CompiledServe::Variant(variant) => (*variant, Reason::TargetingMatch),
                CompiledServe::Split(split) => match split.land(facts, self.bucketing) {
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
            CompiledServe::Split(split) => match split.land(facts, self.bucketing) {
                Some(landing) => Decision::of(landing.variant, Reason::Split),
                None => Decision::error(ErrorCode::TargetingKeyMissing),
            },
        }
    }

    /// Says whether a caller who lets at most `percent` of the units have true lets this one.
    ///
    /// Counted are the flag's own true slots below the unit's; all slots, where no split decided.
    pub(crate) fn is_within(
        &self,
        decision: Decision,
        percent: f64,
        ctx: &Context,
        tenant: Option<&TenantFacts>,
    ) -> bool {
        let by_whom = match (decision.reason, decision.rule) {
            (Reason::Disabled | Reason::Error, _) | (Reason::TargetingMatch, None) => return true,
            (_, Some(rule)) => self.rules.get(usize::from(rule)).map(|rule| &rule.serve),
            (_, None) => Some(&self.default),
        };
        if percent >= 100.0 {
            return true;
        }
        let facts = Facts { ctx, tenant };
        let slot = |by: &Place, salt: &str| {
            by.unit(facts, |unit| bucket::slot(self.bucketing, salt, unit))
        };
        let rank = match by_whom {
            Some(CompiledServe::Split(split)) => {
                slot(&split.by, &split.salt).map(|slot| self.true_slots_below(&split.steps, slot))
            }
            _ => slot(&Place::TargetingKey, self.key.as_str()),
        };
        // Not a variant by accident: who has no unit is in no share.
        // Whole slots: a share of 51.234 % is not a hair more because its binary form is.
        let cap = (percent * f64::from(SLOTS) / 100.0).round();
        rank.is_some_and(|rank| f64::from(rank) < cap)
    }

    fn true_slots_below(&self, steps: &[Step], slot: u32) -> u32 {
        let mut start = 0;
        let mut count = 0;
        for step in steps {
            let end = step.end.min(slot);
            let gives = step.variant.and_then(|it| self.variant(it));
            if end > start && gives.is_some_and(|(_, value)| *value == Value::Bool(true)) {
                count += end - start;
            }
            start = step.end;
        }
        count
    }

    /// What a tenant's kill or pin decides.
    pub(crate) fn tenant_decision(
        &self,
        index: u32,
        tenant: &TenantFacts,
        now: Timestamp,
    ) -> Option<Decision> {
        if tenant.is_killed(index) {
            return Some(Decision::of(self.off, Reason::Disabled));
        }
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

    #[inline]
    pub(crate) fn variant(&self, index: u16) -> Option<&(VariantName, Value)> {
        self.variants.get(usize::from(index))
    }

    pub(crate) fn variant_index(&self, name: &str) -> Option<u16> {
        let at = self
            .variants
            .binary_search_by(|(it, _)| it.as_str().cmp(name))
            .ok()?;
        u16::try_from(at).ok()
    }

    pub(crate) fn rule_name(&self, rule: u16) -> Option<&str> {
        self.rules.get(usize::from(rule)).map(|rule| &*rule.name)
    }

    /// The rule's name, to be kept.
    pub(crate) fn rule_name_shared(&self, rule: u16) -> Option<Arc<str>> {
        self.rules
            .get(usize::from(rule))
            .map(|rule| Arc::clone(&rule.name))
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
        match self.parts.targeting().and_then(|it| it.default.as_ref()) {
            Some(Serve::Split(split)) => split
                .by
                .as_ref()
                .map_or("targetingKey", AttributePath::as_str),
            _ => "targetingKey",
        }
    }
}

impl CompiledServe {
    fn reads_tenant(&self) -> bool {
        match self {
            Self::Variant(_) => false,
            Self::Split(split) => split.by.reads_tenant(),
        }
    }
}

fn place(by: Option<&AttributePath>) -> Place {
    by.map_or(Place::TargetingKey, Place::new)
}

/// The ranges of a split; one that is written in percentages gets the ranges of a fresh one.
pub(crate) fn ranges(split: &plane_model::Split) -> Vec<Range> {
    match split.clone().settled(None).shares {
        plane_model::Shares::Ranges(ranges) => ranges,
        plane_model::Shares::Percent(_) => Vec::new(),
    }
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
            _ => None,
        })
}
