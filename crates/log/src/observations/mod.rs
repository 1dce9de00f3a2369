//! What is counted and pruned: usage, read audit, acknowledgements, alerts.
//!
//! Observations are not commits: they are in no order, no chain and no checkpoint, the newest few may be lost with
//! the machine's power, and old ones are dropped. Nothing that decides an answer may depend on one.

mod memory;
mod sqlite;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;

use crate::{ReadError, WriteError};

pub use memory::MemoryObservations;
pub use sqlite::SqliteObservations;

/// How many observations one append takes.
pub const BATCH_MAX: usize = 10_000;

/// Stores observations, counts them and drops old ones.
#[async_trait]
pub trait ObservationStore: Send + Sync + Debug {
    /// Appends a batch in one transaction, and returns how many were new.
    ///
    /// An observation whose kind and `dedupe` key are already stored is left out, so a batch may be sent again
    /// after an unknown outcome if all of it carries keys.
    ///
    /// # Errors
    /// [`WriteError::Refused`] above [`BATCH_MAX`].
    async fn append(&self, batch: &[Observation]) -> Result<u64, WriteError>;

    /// Sums the counts of the observations that `filter` selects, one row per group, in the order of the groups.
    async fn aggregate(&self, filter: &Filter, by: &GroupBy) -> Result<Vec<Aggregate>, ReadError>;

    /// Finds the latest observation of `kind` for each subject, or for `subject` alone, in the order of the subjects.
    async fn latest(
        &self,
        kind: &str,
        subject: Option<&str>,
    ) -> Result<Vec<Observation>, ReadError>;

    /// Lists the observations that `filter` selects, newest first; `before` is the cursor of the page before.
    async fn list(
        &self,
        filter: &Filter,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<(Cursor, Observation)>, ReadError>;

    /// Drops what is older than `retention` keeps, and returns how many were dropped.
    async fn retain(&self, retention: &Retention) -> Result<u64, WriteError>;
}

/// Says that something was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What was seen: `usage`, `read_audit`, `deprecated_use`, `ack`, `alert` and the like.
    pub kind: String,
    /// What it was seen of.
    pub subject: String,
    /// What tells it from others of its subject.
    pub labels: BTreeMap<String, String>,
    /// How many times, if it was counted before it was sent.
    pub count: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// A key that makes it count once within its kind, however often it is sent.
    pub dedupe: Option<String>,
}

/// Selects observations; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this subject.
    pub subject: Option<String>,
    /// Only with these labels, and any others.
    pub labels: BTreeMap<String, String>,
    /// Only from this time on, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Only before this time.
    pub until_ms: Option<i64>,
}

/// Says what makes a group of observations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupBy {
    /// Whether observations of different subjects are counted apart.
    pub subject: bool,
    /// The labels whose values are counted apart; an observation without the label is a group of its own.
    pub labels: Vec<String>,
}

/// Counts one group of observations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// The kind; different kinds are never counted together.
    pub kind: String,
    /// The subject, if grouped by it.
    pub subject: Option<String>,
    /// The labels that were grouped by, as far as present.
    pub labels: BTreeMap<String, String>,
    /// The sum of the counts; stops at the largest number.
    pub count: u64,
    /// The earliest time, in milliseconds since 1970.
    pub first_at_ms: i64,
    /// The latest time.
    pub last_at_ms: i64,
}

/// Marks a place in a list of observations.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Cursor {
    /// The time of the observation at the place.
    pub at_ms: i64,
    /// Tells it from others of the same time.
    pub seq: i64,
}

/// Says how much is kept; both bounds hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What is older than this is dropped, in milliseconds since 1970.
    pub from_ms: i64,
    /// How many observations are kept at most; the oldest are dropped first.
    pub rows_max: u64,
}

/// Kind, subject and labels, as far as they are grouped by.
type GroupKey = (String, Option<String>, BTreeMap<String, String>);

/// Adds rows up into the groups that a caller asked for.
#[derive(Debug)]
struct Groups<'a> {
    by: &'a GroupBy,
    groups: BTreeMap<GroupKey, Aggregate>,
}

impl<'a> Groups<'a> {
    fn new(by: &'a GroupBy) -> Self {
        Self {
            by,
            groups: BTreeMap::new(),
        }
    }

    /// Adds one row, which is an observation or the sum of several with the same subject and labels.
    fn add(&mut self, row: Aggregate) {
        let subject = row.subject.filter(|_| self.by.subject);
        let mut labels = row.labels;
        labels.retain(|label, _| self.by.labels.contains(label));
        let key = (row.kind.clone(), subject.clone(), labels.clone());
        let group = self.groups.entry(key).or_insert_with(|| Aggregate {
            kind: row.kind,
            subject,
            labels,
            count: 0,
            first_at_ms: row.first_at_ms,
            last_at_ms: row.last_at_ms,
        });
        group.count = group.count.saturating_add(row.count);
        group.first_at_ms = group.first_at_ms.min(row.first_at_ms);
        group.last_at_ms = group.last_at_ms.max(row.last_at_ms);
    }

    fn finish(self) -> Vec<Aggregate> {
        self.groups.into_values().collect()
    }
}

fn check_batch(batch: &[Observation]) -> Result<(), WriteError> {
    if batch.len() > BATCH_MAX {
        return Err(WriteError::Refused {
            detail: format!(
                "a batch of {} observations; send at most {BATCH_MAX} at once",
                batch.len()
            ),
        });
    }
    Ok(())
}
