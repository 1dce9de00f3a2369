//! Where the SDK reads time, draws chance and learns of forks: the one place, so that tests bring their own.

use std::fmt::Debug;
use std::time::{Duration, Instant};

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
    /// Each evaluation asks: the kernel's own note of the time, some milliseconds old, is read in a quarter of the time.
    #[cfg(target_os = "linux")]
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Timestamp(now.tv_sec * 1_000 + now.tv_nsec / 1_000_000)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the client that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
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

#[cfg(test)]
pub(crate) mod test {
    //! A clock for tests.

    use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

    use super::*;

    /// A clock that stands still until it is moved.
    #[derive(Debug, Default)]
    pub(crate) struct TestClock {
        pub(crate) ms: AtomicI64,
        /// What is drawn next.
        pub(crate) chance: AtomicU64,
        pub(crate) forks: AtomicU32,
    }

    impl TestClock {
        /// Moves it on.
        pub(crate) fn advance(&self, length: Duration) {
            let ms = i64::try_from(length.as_millis()).unwrap();
            self.ms.fetch_add(ms, Ordering::SeqCst);
        }

        /// Is in a forked process from now on.
        pub(crate) fn fork(&self, process: u32) {
            self.forks.store(process, Ordering::SeqCst);
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp(1_772_366_400_000 + self.ms.load(Ordering::SeqCst))
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(u64::try_from(self.ms.load(Ordering::SeqCst)).unwrap())
        }

        fn random(&self) -> u64 {
            self.chance.load(Ordering::SeqCst)
        }

        fn process_id(&self) -> u32 {
            self.forks.load(Ordering::SeqCst)
        }
    }
}
