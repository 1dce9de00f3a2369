//! How often each flag gave what. A counter is found without making its labels.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use plane_eval::{ErrorCode, Evaluation, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::OTHER;

/// How many flags have counters of their own; the others share one, and so do those that do not exist.
const FLAGS_MAX: usize = 2_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    flag: String,
    variant: String,
    reason: &'static str,
}

/// The counters of all flags.
#[derive(Debug)]
pub(super) struct Evaluations {
    pub(super) family: Family<Labels, Counter>,
    known: RwLock<HashMap<String, Vec<Counted>>>,
}

/// A counter of a flag.
#[derive(Debug)]
struct Counted {
    variant: String,
    reason: Reason,
    counter: Counter,
}

impl Default for Evaluations {
    fn default() -> Self {
        Self {
            family: Family::default(),
            known: RwLock::new(HashMap::from([(OTHER.to_owned(), Vec::new())])),
        }
    }
}

impl Evaluations {
    /// Counts evaluations, each of a flag.
    pub(super) fn count<'e>(
        &self,
        evaluations: impl IntoIterator<Item = (&'e str, &'e Evaluation<'e>)>,
    ) {
        let read = || self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut known = read();
        for (flag, evaluation) in evaluations {
            let (flag, variant) = told(&known, flag, evaluation);
            let reason = evaluation.reason();
            let counters = known.get(flag).into_iter().flatten();
            let mut same = counters.filter(|it| it.reason == reason && it.variant == variant);
            if let Some(counted) = same.next() {
                counted.counter.inc();
            } else {
                drop(known);
                self.begin(flag, variant, reason).inc();
                known = read();
            }
        }
    }

    /// Counts evaluations that were made elsewhere; `flag` is none for one that does not exist.
    pub(super) fn add(&self, flag: Option<&str>, variant: &str, reason: Reason, count: u64) {
        let has_own = |flag: &&str| {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.len() <= FLAGS_MAX || known.contains_key(*flag)
        };
        let (flag, variant) = flag
            .filter(has_own)
            .map_or((OTHER, ""), |flag| (flag, variant));
        self.begin(flag, variant, reason).inc_by(count);
    }

    fn begin(&self, flag: &str, variant: &str, reason: Reason) -> Counter {
        let labels = Labels {
            flag: flag.to_owned(),
            variant: variant.to_owned(),
            reason: label(reason),
        };
        let counter = self.family.get_or_create(&labels).clone();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let counters = known.entry(flag.to_owned()).or_default();
        // Another request may have begun it at the same time.
        if !(counters.iter()).any(|it| it.reason == reason && it.variant == variant) {
            counters.push(Counted {
                variant: variant.to_owned(),
                reason,
                counter: counter.clone(),
            });
        }
        counter
    }
}

/// The flag and variant under which an evaluation is counted.
fn told<'e>(
    known: &HashMap<String, Vec<Counted>>,
    flag: &'e str,
    evaluation: &Evaluation<'e>,
) -> (&'e str, &'e str) {
    let has_own = evaluation.error() != Some(ErrorCode::FlagNotFound)
        && (known.len() <= FLAGS_MAX || known.contains_key(flag));
    if has_own {
        (flag, evaluation.variant().map_or("", |it| it.as_str()))
    } else {
        (OTHER, "")
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
