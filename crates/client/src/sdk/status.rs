//! How it stands with one environment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plane_model::{EnvironmentName, Timestamp};
use plane_state::Breach;

use super::error::Error;

/// Where what is served comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nothing is served.
    None,
    /// A server that is being followed.
    Live,
    /// A server that cannot be reached now.
    Stale,
    /// The state directory: what an earlier process held.
    LastKnownGood,
    /// The tree that was bundled with the service.
    Bundled,
    /// The tree that stands in for a server.
    Tree,
    /// The source for unit tests.
    Memory,
}

impl Source {
    /// The source as it stands in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::LastKnownGood => "last-known-good",
            Self::Bundled => "bundled",
            Self::Tree => "tree",
            Self::Memory => "memory",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How it stands with one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Which.
    pub environment: EnvironmentName,
    /// Where what is served comes from.
    pub source: Source,
    /// The revision that is served.
    pub revision: Option<u64>,
    /// The log that it is of.
    pub log: Option<String>,
    /// How often that log was recovered from a backup.
    pub epoch: Option<u64>,
    /// How long ago it was known that there is nothing newer.
    pub age: Option<Duration>,
    /// The public key that servers are trusted to sign with; none where no server is followed.
    pub server_key: Option<String>,
    /// Until when a server has vouched that there is nothing newer; a later time is no reason not to serve.
    pub vouched_until: Option<Timestamp>,
    /// What went wrong last, and when; none once it goes right again.
    pub last_error: Option<(Timestamp, Error)>,
    /// What the service relies on and the newest revision breaks: the last good content serves there.
    pub rejected: Vec<Breach>,
    /// Documents whose newest content is not served, because processes died of it.
    pub held_back: Vec<HeldBack>,
    /// What happened how often since the process began.
    pub counters: Counters,
}

/// A document whose newest content is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The document, such as `flag:checkout`.
    pub document: String,
    /// How many processes died after they had applied it.
    pub unclean_starts: u32,
    /// When one process tries it again, if it does not change before.
    pub retry_at: Timestamp,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What happened how often since the process began.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each with its name, for those who pass them on.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        /// The counters while they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counts {
            pub(crate) fn read(&self) -> Counters {
                Counters {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Views that were put in the place of another.
    updates,
    /// Views and changes that could not be served.
    rejected,
    /// Of these, those that no trusted server had signed so.
    unverified,
    /// Connections that were tried.
    connections,
    /// Connections and requests that failed.
    failures,
    /// Answers of a server with another past.
    forks,
    /// Times that nothing was evaluated, because there was no view.
    not_ready,
    /// Evaluations of flags that do not exist or could not be evaluated.
    evaluation_errors,
    /// Requests for the part of a tenant.
    tenant_loads,
    /// Answers that were refused because the part of their tenant was not to be had.
    tenant_failures,
    /// Callbacks that panicked.
    callback_panics,
    /// Evaluations that were not counted, because too many different ones came.
    usage_dropped,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64) {
        Self::add_many(counter, 1);
    }

    pub(crate) fn add_many(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}
