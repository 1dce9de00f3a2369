//! What rules and defaults serve, compiled.

use plane_model::documents::Bucketing;
use plane_model::{AttributePath, Course, Range, SLOTS, Serve, Timestamp};

use crate::bucket;
use crate::clause::{Facts, Place};

#[derive(Debug)]
pub(super) enum CompiledServe {
    Variant(Option<u16>),
    Split(Box<CompiledSplit>),
    Ramp(Box<CompiledRamp>),
}

/// What is divided, and how it is hashed.
#[derive(Debug)]
pub(super) struct Unit {
    by: Place,
    salt: Box<str>,
}

#[derive(Debug)]
pub(super) struct CompiledSplit {
    unit: Unit,
    /// The slots before each end get its variant; sorted, and the last end is the number of slots.
    steps: Box<[Step]>,
}

#[derive(Debug)]
pub(super) struct CompiledRamp {
    unit: Unit,
    course: Course,
    variant: Option<u16>,
    off: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    end: u32,
    variant: Option<u16>,
}

/// What the slot that a unit fell into gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Landing {
    pub(super) variant: Option<u16>,
}

impl Unit {
    pub(super) fn new(by: Option<&AttributePath>, salt: &str) -> Self {
        Self {
            by: place(by),
            salt: salt.into(),
        }
    }

    pub(super) fn reads_tenant(&self) -> bool {
        self.by.reads_tenant()
    }

    #[inline]
    pub(super) fn slot(&self, facts: Facts<'_>, bucketing: Bucketing) -> Option<u32> {
        self.by
            .unit(facts, |unit| bucket::slot(bucketing, &self.salt, unit))
    }
}

impl CompiledServe {
    /// Compiles what is served; `variant` finds a variant, `off` is what a share leaves over.
    pub(super) fn new(
        serve: &Serve,
        flag: &str,
        off: Option<u16>,
        variant: impl Fn(&str) -> Option<u16>,
    ) -> Self {
        match serve {
            Serve::Variant(name) => Self::Variant(variant(name.as_str())),
            Serve::CallerDefault => Self::Variant(None),
            Serve::Split(split) => Self::Split(Box::new(CompiledSplit {
                unit: Unit::new(split.by.as_ref(), split.salt.as_deref().unwrap_or(flag)),
                steps: steps(&ranges(split), off, variant),
            })),
            Serve::Ramp(ramp) => Self::Ramp(Box::new(CompiledRamp {
                unit: Unit::new(ramp.by.as_ref(), ramp.salt.as_deref().unwrap_or(flag)),
                variant: variant(ramp.course.variant.as_str()),
                course: ramp.course.clone(),
                off,
            })),
        }
    }

    pub(super) fn reads_tenant(&self) -> bool {
        match self {
            Self::Variant(_) => false,
            Self::Split(split) => split.unit.reads_tenant(),
            Self::Ramp(ramp) => ramp.unit.reads_tenant(),
        }
    }

    /// What a unit gets; none if a share decides and the context has no such unit.
    #[inline]
    pub(super) fn land(
        &self,
        facts: Facts<'_>,
        bucketing: Bucketing,
        now: Timestamp,
    ) -> Option<Landing> {
        match self {
            Self::Variant(variant) => Some(Landing { variant: *variant }),
            Self::Split(split) => split.land(facts, bucketing),
            Self::Ramp(ramp) => ramp.land(facts, bucketing, now),
        }
    }

    /// Says whether shares decide what a unit gets.
    pub(super) fn is_shared_out(&self) -> bool {
        !matches!(self, Self::Variant(_))
    }

    /// How many slots below the unit's own give what `counts`; none without shares or without the unit.
    pub(super) fn rank(
        &self,
        facts: Facts<'_>,
        bucketing: Bucketing,
        now: Timestamp,
        counts: impl Fn(Option<u16>) -> bool,
    ) -> Option<u32> {
        match self {
            Self::Variant(_) => None,
            Self::Split(split) => {
                let slot = split.unit.slot(facts, bucketing)?;
                Some(slots_below(&split.steps, slot, counts))
            }
            Self::Ramp(ramp) => {
                let slot = ramp.unit.slot(facts, bucketing)?;
                Some(slots_below(&ramp.steps(now), slot, counts))
            }
        }
    }
}

fn slots_below(steps: &[Step], slot: u32, counts: impl Fn(Option<u16>) -> bool) -> u32 {
    let mut start = 0;
    let mut count = 0;
    for step in steps {
        let end = step.end.min(slot);
        if end > start && counts(step.variant) {
            count += end - start;
        }
        start = step.end;
    }
    count
}

impl CompiledSplit {
    #[inline]
    fn land(&self, facts: Facts<'_>, bucketing: Bucketing) -> Option<Landing> {
        let variant = match &*self.steps {
            [only] => {
                self.unit.by.unit(facts, |_| ())?;
                only.variant
            }
            steps => {
                let slot = self.unit.slot(facts, bucketing)?;
                let at = steps.partition_point(|step| step.end <= slot);
                steps.get(at).and_then(|step| step.variant)
            }
        };
        Some(Landing { variant })
    }
}

impl CompiledRamp {
    fn land(&self, facts: Facts<'_>, bucketing: Bucketing, now: Timestamp) -> Option<Landing> {
        let slot = self.unit.slot(facts, bucketing)?;
        let is_in = slot < self.course.share_at(now);
        let variant = if is_in { self.variant } else { self.off };
        Some(Landing { variant })
    }

    fn steps(&self, now: Timestamp) -> [Step; 2] {
        let share = Step {
            end: self.course.share_at(now),
            variant: self.variant,
        };
        let rest = Step {
            end: SLOTS,
            variant: self.off,
        };
        [share, rest]
    }
}

/// Fills what the ranges leave over with the off variant.
fn steps(ranges: &[Range], off: Option<u16>, variant: impl Fn(&str) -> Option<u16>) -> Box<[Step]> {
    let mut steps: Vec<Step> = Vec::new();
    let mut push = |end: u32, variant: Option<u16>| match steps.last_mut() {
        Some(last) if last.variant == variant => last.end = end,
        _ => steps.push(Step { end, variant }),
    };
    let mut free = 0;
    for range in ranges {
        if range.start > free {
            push(range.start, off);
        }
        push(range.end, variant(range.variant.as_str()));
        free = range.end;
    }
    if free < SLOTS {
        push(SLOTS, off);
    }
    steps.into()
}

pub(super) fn place(by: Option<&AttributePath>) -> Place {
    by.map_or(Place::TargetingKey, Place::new)
}

/// The ranges of a split; one that is written in percentages gets the ranges of a fresh one.
pub(crate) fn ranges(split: &plane_model::Split) -> Vec<Range> {
    match split.clone().settled(None).shares {
        plane_model::Shares::Ranges(ranges) => ranges,
        plane_model::Shares::Percent(_) => Vec::new(),
    }
}
