//! How often somebody may ask: a bucket for each token, and one for each address without.
//!
//! A bucket is one number, the moment at which it is full again, so that taking from it is one
//! compare-and-swap and nobody waits for anybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many addresses have a bucket of their own; the others share one.
const ADDRESSES_MAX: usize = 10_000;

/// So many requests a second, and twice as many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: Duration,
}

impl Rate {
    /// Makes a rate of so many requests a second.
    pub fn per_second(requests: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / requests.get(),
            burst: Duration::from_secs(2),
        }
    }
}

/// What is left of a rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    made: Instant,
    /// Nanoseconds after `made` at which it is full.
    full_at: AtomicU64,
}

impl Bucket {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            made: now,
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes one request out, if there is one left.
    pub(crate) fn take(&self, rate: Rate, now: Instant) -> bool {
        let now = self.age(now);
        let taken = |full_at: u64| {
            let full_at = full_at.max(now).saturating_add(nanoseconds(rate.interval));
            (full_at - now <= nanoseconds(rate.burst)).then_some(full_at)
        };
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    /// Says whether it is as good as a new one.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.load(Ordering::Relaxed) <= self.age(now)
    }

    fn age(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.made))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The buckets of those who come without a valid token, by the address that they connect from.
#[derive(Debug)]
pub(crate) struct Addresses {
    buckets: Mutex<HashMap<Option<IpAddr>, Bucket>>,
    others: Bucket,
}

impl Addresses {
    pub(crate) fn new() -> Self {
        Self {
            buckets: Mutex::default(),
            others: Bucket::new(Instant::now()),
        }
    }

    /// Takes one request out of the bucket of an address, if there is one left.
    pub(crate) fn take(&self, address: Option<IpAddr>, rate: Rate, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let network = address.map(network);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&network) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&network) {
            // Whoever has many addresses must not get a full bucket by pushing others' out.
            return self.others.take(rate, now);
        }
        buckets
            .entry(network)
            .or_insert_with(|| Bucket::new(now))
            .take(rate, now)
    }
}

/// What one customer of a network has at least: an IPv4 address, or a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32) -> Rate {
        Rate::per_second(NonZeroU32::new(requests).unwrap())
    }

    fn taken(take: impl FnMut() -> bool) -> usize {
        std::iter::repeat_with(take)
            .take(100_000)
            .take_while(|it| *it)
            .count()
    }

    #[test]
    fn a_bucket_gives_two_seconds_worth_at_once_and_then_its_rate() {
        let now = Instant::now();
        let bucket = Bucket::new(now);
        assert_eq!(taken(|| bucket.take(rate(50), now)), 100);
        let later = now + Duration::from_millis(100);
        assert_eq!(taken(|| bucket.take(rate(50), later)), 5);
        assert!(!bucket.is_full(later));
        let much_later = later + Duration::from_secs(2);
        assert!(bucket.is_full(much_later));
        assert_eq!(taken(|| bucket.take(rate(50), much_later)), 100);
    }

    #[test]
    fn refused_requests_do_not_put_off_the_next_one() {
        let now = Instant::now();
        let bucket = Bucket::new(now);
        assert_eq!(taken(|| bucket.take(rate(1), now)), 2);
        for _ in 0..1_000 {
            assert!(!bucket.take(rate(1), now));
        }
        assert!(bucket.take(rate(1), now + Duration::from_secs(1)));
    }

    #[test]
    fn a_clock_that_is_behind_the_bucket_gives_nothing_away() {
        let now = Instant::now();
        let bucket = Bucket::new(now + Duration::from_mins(1));
        assert_eq!(taken(|| bucket.take(rate(1), now)), 2);
    }

    #[test]
    fn threads_that_take_at_once_get_no_more_than_there_is() {
        let now = Instant::now();
        let bucket = Bucket::new(now);
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| taken(|| bucket.take(rate(1_000), now))))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(total, 2_000);
    }

    #[test]
    fn addresses_beyond_the_limit_share_one_bucket_and_idle_ones_make_room() {
        let now = Instant::now();
        let addresses = Addresses::new();
        let address = |number: usize| {
            let number = u32::try_from(number).unwrap();
            Some(IpAddr::V4(number.into()))
        };
        for number in 0..ADDRESSES_MAX {
            assert!(addresses.take(address(number), rate(1), now));
        }
        let late = (ADDRESSES_MAX..).map(address);
        let served = late
            .take(1_000)
            .filter(|it| addresses.take(*it, rate(1), now))
            .count();
        assert_eq!(served, 2, "one bucket for all of them");
        assert_eq!(addresses.buckets.lock().unwrap().len(), ADDRESSES_MAX);
        let later = now + Duration::from_secs(2);
        assert!(addresses.take(address(ADDRESSES_MAX + 1), rate(1), later));
        assert_eq!(addresses.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
