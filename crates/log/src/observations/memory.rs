//! Observations in memory, for tests and for trying things out.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Aggregate, Cursor, Filter, GroupBy, Groups, Observation, ObservationStore, Retention,
    check_batch,
};
use crate::{ReadError, WriteError};

/// Keeps observations in memory.
#[derive(Debug, Default)]
pub struct MemoryObservations {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// In the order of appending, each with its sequence number.
    observations: Vec<(i64, Observation)>,
    next_seq: i64,
    dedupe: BTreeSet<(String, String)>,
}

impl MemoryObservations {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ObservationStore for MemoryObservations {
    async fn append(&self, batch: &[Observation]) -> Result<u64, WriteError> {
        check_batch(batch)?;
        let mut rows = self.rows();
        let mut added = 0;
        for observation in batch {
            if let Some(key) = &observation.dedupe
                && !rows.dedupe.insert((observation.kind.clone(), key.clone()))
            {
                continue;
            }
            let seq = rows.next_seq;
            rows.next_seq += 1;
            rows.observations.push((seq, observation.clone()));
            added += 1;
        }
        Ok(added)
    }

    async fn aggregate(&self, filter: &Filter, by: &GroupBy) -> Result<Vec<Aggregate>, ReadError> {
        let mut groups = Groups::new(by);
        let rows = self.rows();
        for (_, observation) in rows.observations.iter().filter(|(_, o)| selects(filter, o)) {
            groups.add(Aggregate {
                kind: observation.kind.clone(),
                subject: Some(observation.subject.clone()),
                labels: observation.labels.clone(),
                count: observation.count,
                first_at_ms: observation.at_ms,
                last_at_ms: observation.at_ms,
            });
        }
        Ok(groups.finish())
    }

    async fn latest(
        &self,
        kind: &str,
        subject: Option<&str>,
    ) -> Result<Vec<Observation>, ReadError> {
        let rows = self.rows();
        let mut latest = std::collections::BTreeMap::<&str, (Cursor, &Observation)>::new();
        for (seq, observation) in &rows.observations {
            if observation.kind != kind
                || subject.is_some_and(|wanted| wanted != observation.subject)
            {
                continue;
            }
            let place = Cursor {
                at_ms: observation.at_ms,
                seq: *seq,
            };
            let known = latest
                .entry(&observation.subject)
                .or_insert((place, observation));
            if place > known.0 {
                *known = (place, observation);
            }
        }
        Ok(latest
            .into_values()
            .map(|(_, observation)| observation.clone())
            .collect())
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<(Cursor, Observation)>, ReadError> {
        let rows = self.rows();
        let mut listed: Vec<_> = rows
            .observations
            .iter()
            .map(|(seq, observation)| {
                (
                    Cursor {
                        at_ms: observation.at_ms,
                        seq: *seq,
                    },
                    observation,
                )
            })
            .filter(|(place, observation)| {
                before.is_none_or(|before| *place < before) && selects(filter, observation)
            })
            .collect();
        listed.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        listed.truncate(limit);
        Ok(listed
            .into_iter()
            .map(|(place, observation)| (place, observation.clone()))
            .collect())
    }

    async fn retain(&self, retention: &Retention) -> Result<u64, WriteError> {
        let mut rows = self.rows();
        let mut places: Vec<_> = rows
            .observations
            .iter()
            .map(|(seq, observation)| Cursor {
                at_ms: observation.at_ms,
                seq: *seq,
            })
            .filter(|place| place.at_ms >= retention.from_ms)
            .collect();
        places.sort_unstable();
        let kept = usize::try_from(retention.rows_max).unwrap_or(usize::MAX);
        let places: BTreeSet<_> = places
            .into_iter()
            .rev()
            .take(kept)
            .map(|place| place.seq)
            .collect();
        let before = rows.observations.len();
        rows.observations.retain(|(seq, _)| places.contains(seq));
        let keys = rows.observations.iter().filter_map(|(_, observation)| {
            Some((observation.kind.clone(), observation.dedupe.clone()?))
        });
        rows.dedupe = keys.collect();
        Ok((before - rows.observations.len()) as u64)
    }
}

fn selects(filter: &Filter, observation: &Observation) -> bool {
    filter
        .kind
        .as_ref()
        .is_none_or(|kind| *kind == observation.kind)
        && filter
            .subject
            .as_ref()
            .is_none_or(|subject| *subject == observation.subject)
        && filter
            .labels
            .iter()
            .all(|(label, value)| observation.labels.get(label) == Some(value))
        && filter.from_ms.is_none_or(|from| observation.at_ms >= from)
        && filter
            .until_ms
            .is_none_or(|until| observation.at_ms < until)
}
