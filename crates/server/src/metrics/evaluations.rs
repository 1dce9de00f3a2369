//! How often each flag gave what, and to whom. A counter is found without making its labels.

mod askers;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use plane_eval::{ErrorCode, Evaluation, Override, Reason};
use plane_model::limits;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub(crate) use self::askers::{Asker, Served};
use self::askers::{Askers, Counts, Place};
use super::OTHER;

/// How many flags have labels of their own; the others share them, and so do those that do not exist.
const LABELLED_MAX: usize = 2_000;
/// How many counts are kept apart by who asked between two takings; what is beyond is not counted by that.
const USES_MAX: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    flag: String,
    variant: String,
    reason: &'static str,
}

/// What a flag gave that was evaluated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'e> {
    /// None of a flag that does not exist.
    flag: Option<&'e str>,
    /// Empty where the caller's default holds.
    variant: &'e str,
    reason: Reason,
}

impl<'e> Given<'e> {
    pub(crate) fn new(flag: &'e str, evaluation: &Evaluation<'e>) -> Self {
        let exists = evaluation.error() != Some(ErrorCode::FlagNotFound);
        Self {
            flag: exists.then_some(flag),
            variant: evaluation.variant().map_or("", |it| it.as_str()),
            reason: evaluation.reason(),
        }
    }

    pub(crate) fn by_override(given: &'e Override) -> Self {
        Self {
            flag: Some(given.flag.as_str()),
            variant: given.variant.as_ref().map_or("", |it| it.as_str()),
            reason: given.reason,
        }
    }
}

/// The counters of all flags.
#[derive(Debug, Default)]
pub(super) struct Evaluations {
    pub(super) family: Family<Labels, Counter>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    flags: HashMap<String, Flag>,
    /// What flags that do not exist gave.
    strange: Vec<Counted>,
    askers: Askers,
    /// How many counts there are by who asked.
    uses: usize,
}

#[derive(Debug)]
struct Flag {
    is_labelled: bool,
    counted: Vec<Counted>,
}

/// How often a flag gave something.
#[derive(Debug)]
struct Counted {
    variant: String,
    reason: Reason,
    counter: Counter,
    /// By who asked, until it is taken.
    by: Counts,
}

impl Evaluations {
    /// Counts evaluations, and by who asked unless that is none.
    pub(super) fn count<'e>(
        &self,
        asker: Option<&Asker<'_>>,
        evaluations: impl IntoIterator<Item = Given<'e>>,
    ) {
        let mut known = self.read();
        let mut place = known.askers.place(asker);
        for evaluated in evaluations {
            if !known.count(&evaluated, place, asker) {
                drop(known);
                self.begin(&evaluated, asker).inc();
                known = self.read();
                place = known.askers.place(asker);
            }
        }
    }

    /// Counts evaluations that were made elsewhere; `flag` is none for one that does not exist.
    pub(super) fn add(&self, flag: Option<&str>, variant: &str, reason: Reason, count: u64) {
        let evaluated = Given {
            flag,
            variant,
            reason,
        };
        self.begin(&evaluated, None).inc_by(count);
    }

    /// Takes what was counted by who asked since it was taken last.
    pub(super) fn take_served(&self) -> Vec<Served> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.uses = 0;
        let askers = std::mem::take(&mut known.askers).listed();
        let mut served = Vec::new();
        #[expect(
            clippy::iter_over_hash_type,
            reason = "who takes them adds them up, in whichever order"
        )]
        for (flag, of_flag) in &mut known.flags {
            for counted in &mut of_flag.counted {
                for (place, count, last_at) in counted.by.take() {
                    let Some((principal, environment)) = askers.get(&place) else {
                        continue;
                    };
                    served.push(Served {
                        environment: environment.clone(),
                        principal: principal.clone(),
                        flag: flag.clone(),
                        variant: counted.variant.clone(),
                        reason: counted.reason,
                        count,
                        last_at,
                    });
                }
            }
        }
        served
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the counter of what was evaluated, and counts once who asked.
    fn begin(&self, evaluated: &Given<'_>, asker: Option<&Asker<'_>>) -> Counter {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let evaluated = known.known_as(evaluated);
        let Known {
            flags,
            strange,
            askers,
            uses,
        } = &mut *known;
        let (is_labelled, counted) = match evaluated.flag {
            None => (false, strange),
            Some(flag) => {
                let is_labelled = flags.len() < LABELLED_MAX;
                let flag = flags.entry(flag.to_owned()).or_insert_with(|| Flag {
                    is_labelled,
                    counted: Vec::new(),
                });
                (flag.is_labelled, &mut flag.counted)
            }
        };
        let (flag, variant) = match evaluated.flag.filter(|_| is_labelled) {
            Some(flag) => (flag, evaluated.variant),
            None => (OTHER, ""),
        };
        // Another request may have begun it at the same time.
        let at = counted.iter().position(|it| it.is_of(&evaluated));
        let at = at.unwrap_or_else(|| {
            let labels = Labels {
                flag: flag.to_owned(),
                variant: variant.to_owned(),
                reason: label(evaluated.reason),
            };
            counted.push(Counted {
                variant: evaluated.variant.to_owned(),
                reason: evaluated.reason,
                counter: self.family.get_or_create(&labels).clone(),
                by: Counts::default(),
            });
            counted.len() - 1
        });
        let counted = &mut counted[at];
        if let Some(asker) = asker.filter(|_| evaluated.flag.is_some())
            && *uses < USES_MAX
            && let Place::At(place) = askers.enter(asker)
        {
            *uses += usize::from(counted.by.enter(place));
            if let Some(count) = counted.by.find(place) {
                count.add(asker.at);
            }
        }
        counted.counter.clone()
    }
}

impl Known {
    /// Counts an evaluation, unless that needs something that is not there yet.
    fn count(&self, evaluated: &Given<'_>, place: Place, asker: Option<&Asker<'_>>) -> bool {
        let evaluated = self.known_as(evaluated);
        let counted = match evaluated.flag.map(|flag| self.flags.get(flag)) {
            None => &self.strange,
            Some(None) => return false,
            Some(Some(flag)) => &flag.counted,
        };
        let Some(counted) = counted.iter().find(|it| it.is_of(&evaluated)) else {
            return false;
        };
        let by = match place {
            Place::At(place) => counted.by.find(place),
            Place::New | Place::Beyond => None,
        };
        let is_beyond = place == Place::Beyond || self.uses >= USES_MAX;
        match by.zip(asker) {
            Some((count, asker)) => count.add(asker.at),
            None if evaluated.flag.is_none() || is_beyond => {}
            None => return false,
        }
        counted.counter.inc();
        true
    }

    /// As what something is counted: as what does not exist, beyond as many flags as there can be at once.
    fn known_as<'e>(&self, evaluated: &Given<'e>) -> Given<'e> {
        let is_known =
            |flag: &&str| self.flags.len() < limits::FLAGS_MAX || self.flags.contains_key(*flag);
        let flag = evaluated.flag.filter(is_known);
        Given {
            flag,
            variant: flag.map_or("", |_| evaluated.variant),
            reason: evaluated.reason,
        }
    }
}

impl Counted {
    fn is_of(&self, evaluated: &Given<'_>) -> bool {
        self.reason == evaluated.reason && self.variant == evaluated.variant
    }
}

/// Reasons as OpenTelemetry writes them.
const fn label(reason: Reason) -> &'static str {
    match reason {
        Reason::Static => "static",
        Reason::Default => "default",
        Reason::TargetingMatch => "targeting_match",
        Reason::Split => "split",
        Reason::Disabled => "disabled",
        Reason::Error => "error",
    }
}
