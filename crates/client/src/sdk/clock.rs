//! Where the SDK reads time, draws chance and learns of forks: the one place, so that tests bring their own.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use plane_model::Timestamp;

/// Tells the time, draws chance, and says which process this is.
pub(crate) trait Clock: Send + Sync + Debug {
    /// The time by the calendar; it can jump.
    fn now(&self) -> Timestamp;

    /// The time since some moment in the past; it never goes back.
    fn elapsed(&self) -> Duration;

    /// A number that nobody can guess.
    fn random(&self) -> u64;

    /// The id of this process: another one after a fork.
    fn process_id(&self) -> u32;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the client that reads the clock"
    )]
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the client that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> u64 {
        // The random part of a ULID: 80 bits from the system.
        u64::try_from(ulid::Ulid::generate().random() & u128::from(u64::MAX)).unwrap_or_default()
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}
