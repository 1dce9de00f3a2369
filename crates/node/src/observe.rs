//! Observations on their way to their store: counted in memory, written in batches, dropped before
//! they slow anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plane_log::ObservationStore;
use plane_log::observations::{BATCH_MAX, Observation, Retention};
use plane_model::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;

/// How many different things are counted between two writes; what is beyond that is dropped.
const PENDING_MAX: usize = 8_192;
/// How long counts gather before they are written.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// How long observations are kept.
const KEPT_MS: i64 = 90 * 86_400_000;
/// How many observations are kept.
const KEPT_ROWS: u64 = 5_000_000;
/// How many flushes pass between two prunings: about one an hour.
const PRUNE_EVERY: u64 = 720;

/// How often what is frequent is written: once an hour, and at the end.
const TALLIES_EVERY: u64 = 720;
/// How many different tallies wait to be written; what is beyond that is dropped.
const TALLIES_MAX: usize = 50_000;

/// How often something was seen, where that is often: it is written once an hour and at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// What was seen.
    pub kind: String,
    /// What it was seen of.
    pub subject: String,
    /// What tells it from others of its subject.
    pub labels: BTreeMap<String, String>,
    /// How often.
    pub count: u64,
    /// When first; to the hour, if it was written meanwhile.
    pub first_at: Timestamp,
    /// When last.
    pub last_at: Timestamp,
}

type Key = (String, String, BTreeMap<String, String>);

#[derive(Debug)]
pub(crate) struct Observer {
    store: Arc<dyn ObservationStore>,
    clock: Arc<dyn Clock>,
    pending: Mutex<Pending>,
    tallies: Mutex<BTreeMap<Key, (u64, Timestamp)>>,
    stop: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    counts: BTreeMap<Key, (u64, Timestamp)>,
    dropped: u64,
}

impl Observer {
    pub(crate) fn new(store: Arc<dyn ObservationStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            pending: Mutex::default(),
            tallies: Mutex::default(),
            stop: Notify::new(),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObservationStore> {
        &self.store
    }

    /// Counts one sighting; never waits.
    pub(crate) fn observe(&self, kind: &str, subject: &str, labels: &[(&str, &str)]) {
        let labels = labels
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let key = (kind.to_owned(), subject.to_owned(), labels);
        let now = self.clock.now();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.counts.len() >= PENDING_MAX && !pending.counts.contains_key(&key) {
            pending.dropped += 1;
            return;
        }
        let (count, last) = pending.counts.entry(key).or_insert((0, now));
        *count += 1;
        *last = now.max(*last);
    }

    /// Adds to what is counted where that is often; never waits.
    pub(crate) fn tally(&self, tally: Tally) {
        let key = (tally.kind, tally.subject, tally.labels);
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if tallies.len() >= TALLIES_MAX && !tallies.contains_key(&key) {
            drop(tallies);
            self.drop_many(1);
            return;
        }
        let (count, last) = tallies.entry(key).or_insert((0, tally.last_at));
        *count = count.saturating_add(tally.count);
        *last = tally.last_at.max(*last);
    }

    fn drop_many(&self, number: u64) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.dropped += number;
    }

    /// How many sightings were dropped since the node started.
    pub(crate) fn dropped(&self) -> u64 {
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .dropped
    }

    /// Writes what is pending.
    pub(crate) async fn flush(&self) {
        let counts = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut pending.counts)
        };
        self.write(counts).await;
    }

    async fn flush_tallies(&self) {
        let counts = {
            let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tallies)
        };
        self.write(counts).await;
    }

    async fn write(&self, counts: BTreeMap<Key, (u64, Timestamp)>) {
        let all: Vec<_> = counts
            .into_iter()
            .map(|((kind, subject, labels), (count, at))| Observation {
                kind,
                subject,
                labels,
                count,
                at_ms: at.as_ms(),
                dedupe: None,
            })
            .collect();
        for batch in all.chunks(BATCH_MAX) {
            if let Err(error) = self.store.append(batch).await {
                tracing::warn!(%error, lost = batch.len(), "observations were not stored");
                self.drop_many(batch.iter().map(|it| it.count).sum());
            }
        }
    }

    /// Writes now and then until it is stopped, and once more then.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut flushes = 0_u64;
        loop {
            let stopped = tokio::select! {
                () = self.stop.notified() => true,
                () = tokio::time::sleep(FLUSH_EVERY) => false,
            };
            self.flush().await;
            flushes += 1;
            if stopped || flushes.is_multiple_of(TALLIES_EVERY) {
                self.flush_tallies().await;
            }
            if stopped {
                return;
            }
            if flushes.is_multiple_of(PRUNE_EVERY) {
                let from_ms = self.clock.now().as_ms() - KEPT_MS;
                let retention = Retention {
                    from_ms,
                    rows_max: KEPT_ROWS,
                };
                if let Err(error) = self.store.retain(&retention).await {
                    tracing::warn!(%error, "old observations were not dropped");
                }
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }
}
