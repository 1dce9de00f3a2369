//! How often flags are evaluated and by whom: as instances of services say, and as this server did for those who asked.
//!
//! Kept in memory within bounds and written as observations once an hour and at the end: after a crash
//! the counts of an hour may be missing. Nothing that decides an answer depends on them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use plane_api::{FlagUsage, UsageRequest};
use plane_model::{EnvironmentName, Timestamp};
use plane_node::{Node, Tally};
use tokio::sync::OnceCell;

use crate::failure::{Failure, store};
use crate::metrics::{Metrics, Served};

/// The kind of the observations.
const KIND: &str = "usage";
/// How many different counts are kept; of more, those evaluated longest ago are dropped, so many at once.
const ROWS_MAX: usize = 100_000;
const ROWS_DROPPED: usize = 10_000;
/// How many batches are remembered, so that each counts once.
const BATCHES_MAX: usize = 65_536;
/// After how long a count that does not grow is of no interest.
const KEPT_MS: i64 = 90 * 86_400_000;
/// How many counts of a flag are listed.
const LISTED_MAX: usize = 1_000;

/// What of a flag is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    environment: EnvironmentName,
    service: String,
    service_version: String,
    variant: String,
    reason: String,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    count: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// What instances have said.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Whether what an earlier process had written was read.
    is_read: OnceCell<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By flag.
    counts: BTreeMap<String, BTreeMap<Use, Counted>>,
    /// How many counts that are.
    count: usize,
    batches: Batches,
}

/// The batches that were heard last.
#[derive(Debug, Default)]
struct Batches {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Usage {
    /// Reads what an earlier process had written, once.
    pub(crate) async fn read(&self, node: &Node) -> Result<(), Failure> {
        let reading = async {
            let from = Timestamp(node.now().0.saturating_sub(KEPT_MS));
            let found = node.tallied(KIND, &LABELS, from).await;
            let found = found.map_err(|error| store(&error))?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for tally in found {
                if let Some((flag, used, counted)) = of_tally(tally) {
                    known.add(&flag, used, counted);
                }
            }
            Ok::<_, Failure>(())
        };
        self.is_read.get_or_try_init(|| reading).await?;
        Ok(())
    }

    /// Adds what an instance says, unless it was heard before; says whether it was not.
    pub(crate) fn add(
        &self,
        node: &Node,
        environment: &EnvironmentName,
        request: &UsageRequest,
    ) -> bool {
        let now = node.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let named = format!("{environment}/{}/{}", request.service, request.batch);
        if !known.batches.is_new(named) {
            return false;
        }
        for it in &request.counts {
            // Whose clock is ahead has not evaluated it in the future.
            let at = it.last_at.min(now);
            let used = Use {
                environment: environment.clone(),
                service: request.service.clone(),
                service_version: request.service_version.clone(),
                variant: it.variant.clone(),
                reason: it.reason.clone(),
            };
            node.tally(to_tally(&it.flag, &used, it.count, at));
            let counted = Counted {
                count: it.count,
                first_at: at,
                last_at: at,
            };
            known.add(&it.flag, used, counted);
        }
        true
    }

    /// Adds what this server has evaluated itself since it was added last, as the usage of who asked for it.
    ///
    /// Only after [`read`](Self::read), or what was written meanwhile would be added again.
    pub(crate) fn add_served(&self, node: &Node, metrics: &Metrics) {
        let served = metrics.take_served();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for it in served {
            let (flag, count, at) = (it.flag.clone(), it.count, it.last_at);
            let used = Use::from(it);
            node.tally(to_tally(&flag, &used, count, at));
            let counted = Counted {
                count,
                first_at: at,
                last_at: at,
            };
            known.add(&flag, used, counted);
        }
    }

    /// What is known of a flag in the environments that are asked about.
    pub(crate) fn of_flag(
        &self,
        flag: &str,
        now: Timestamp,
        is_asked: impl Fn(&EnvironmentName) -> bool,
    ) -> Vec<FlagUsage> {
        let since = now.0.saturating_sub(KEPT_MS);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = known.counts.get(flag).into_iter().flatten();
        let asked =
            uses.filter(|(it, counted)| counted.last_at.0 >= since && is_asked(&it.environment));
        let mut usage: Vec<_> = asked.map(|(it, counted)| it.told(*counted)).collect();
        drop(known);
        if usage.len() > LISTED_MAX {
            usage.sort_by_key(|it| std::cmp::Reverse(it.last_at));
            usage.truncate(LISTED_MAX);
            usage.sort();
        }
        usage
    }
}

impl Known {
    fn add(&mut self, flag: &str, used: Use, more: Counted) {
        let known = self.counts.get_mut(flag).and_then(|it| it.get_mut(&used));
        if let Some(counted) = known {
            counted.count = counted.count.saturating_add(more.count);
            counted.first_at = counted.first_at.min(more.first_at);
            counted.last_at = counted.last_at.max(more.last_at);
            return;
        }
        if self.count >= ROWS_MAX {
            self.drop_oldest();
        }
        let uses = self.counts.entry(flag.to_owned()).or_default();
        uses.insert(used, more);
        self.count += 1;
    }

    fn drop_oldest(&mut self) {
        let all = self.counts.values().flat_map(BTreeMap::values);
        let mut times: Vec<_> = all.map(|it| it.last_at).collect();
        let (_, newest, _) = times.select_nth_unstable(ROWS_DROPPED - 1);
        let (newest, mut left) = (*newest, ROWS_DROPPED);
        self.counts.retain(|_, uses| {
            uses.retain(|_, it| {
                let is_dropped = left > 0 && it.last_at <= newest;
                left -= usize::from(is_dropped);
                !is_dropped
            });
            !uses.is_empty()
        });
        self.count -= ROWS_DROPPED - left;
    }
}

impl Batches {
    fn is_new(&mut self, batch: String) -> bool {
        if !self.known.insert(batch.clone()) {
            return false;
        }
        self.order.push_back(batch);
        if self.order.len() > BATCHES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl From<Served> for Use {
    fn from(served: Served) -> Self {
        Self {
            environment: served.environment,
            service: served.principal.to_string(),
            service_version: String::new(),
            variant: served.variant,
            reason: served.reason.as_str().to_owned(),
        }
    }
}

impl Use {
    fn told(&self, counted: Counted) -> FlagUsage {
        FlagUsage {
            environment: self.environment.clone(),
            service: self.service.clone(),
            service_version: self.service_version.clone(),
            variant: self.variant.clone(),
            reason: self.reason.clone(),
            count: counted.count,
            first_at: counted.first_at,
            last_at: counted.last_at,
        }
    }
}

const LABELS: [&str; 5] = [
    "environment",
    "service",
    "service_version",
    "variant",
    "reason",
];

fn to_tally(flag: &str, used: &Use, count: u64, at: Timestamp) -> Tally {
    let labels = [
        used.environment.as_str(),
        &used.service,
        &used.service_version,
        &used.variant,
        &used.reason,
    ];
    let labels = LABELS.iter().zip(labels);
    Tally {
        kind: KIND.to_owned(),
        subject: flag.to_owned(),
        labels: labels
            .map(|(name, text)| ((*name).to_owned(), text.to_owned()))
            .collect(),
        count,
        first_at: at,
        last_at: at,
    }
}

fn of_tally(mut tally: Tally) -> Option<(String, Use, Counted)> {
    let mut label = |name: &str| tally.labels.remove(name).unwrap_or_default();
    let used = Use {
        environment: EnvironmentName::new(&label("environment")).ok()?,
        service: label("service"),
        service_version: label("service_version"),
        variant: label("variant"),
        reason: label("reason"),
    };
    let counted = Counted {
        count: tally.count,
        first_at: tally.first_at,
        last_at: tally.last_at,
    };
    Some((tally.subject, used, counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(version: usize) -> Use {
        Use {
            environment: EnvironmentName::new("production").unwrap(),
            service: "orders".to_owned(),
            service_version: version.to_string(),
            variant: "on".to_owned(),
            reason: "STATIC".to_owned(),
        }
    }

    fn counted(at: i64) -> Counted {
        Counted {
            count: 1,
            first_at: Timestamp(at),
            last_at: Timestamp(at),
        }
    }

    #[test]
    fn of_more_counts_than_are_kept_those_evaluated_longest_ago_are_dropped() {
        let mut known = Known::default();
        for version in 0..ROWS_MAX {
            let at = i64::try_from(ROWS_MAX - version).unwrap();
            known.add("checkout", used(version), counted(at));
        }
        known.add("checkout", used(0), counted(1));
        assert_eq!(known.count, ROWS_MAX);
        known.add("checkout", used(ROWS_MAX), counted(1));
        assert_eq!(known.count, ROWS_MAX - ROWS_DROPPED + 1);
        let left = &known.counts["checkout"];
        assert_eq!(left.len(), known.count);
        assert!(left.contains_key(&used(0)));
        assert!(!left.contains_key(&used(ROWS_MAX - 1)));
    }

    #[test]
    fn batches_are_remembered_up_to_a_bound() {
        let mut batches = Batches::default();
        assert!(batches.is_new("first".to_owned()));
        assert!(!batches.is_new("first".to_owned()));
        for number in 0..BATCHES_MAX {
            assert!(batches.is_new(number.to_string()));
        }
        assert_eq!(batches.known.len(), BATCHES_MAX);
        assert!(batches.is_new("first".to_owned()), "it is forgotten by now");
    }

    #[test]
    fn a_count_that_is_written_is_read_as_it_was() {
        let written = to_tally("checkout", &used(7), 5, Timestamp(3));
        let (flag, read, counted) = of_tally(written).unwrap();
        assert_eq!((&*flag, read, counted.count), ("checkout", used(7), 5));
        assert_eq!(counted.last_at, Timestamp(3));
    }
}
