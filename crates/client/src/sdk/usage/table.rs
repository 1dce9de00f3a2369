//! The counts of one thread: an open table in which a count is found by the addresses of its names.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use plane_eval::Reason;
use plane_model::{FlagKey, VariantName};

use super::Subject;

/// How many places the first and the largest table have; at most half of them are taken.
const PLACES: (usize, usize) = (64, 4_096);

/// The counts of one thread. Only that thread counts; others read.
#[derive(Debug)]
pub(super) struct Table {
    places: Box<[Place]>,
    /// In the order in which they came.
    names: Mutex<Vec<Named>>,
    taken: AtomicUsize,
}

/// A count, and the addresses by which it is found; all zero while the place is free.
#[derive(Debug, Default)]
struct Place {
    flag: AtomicUsize,
    mark: AtomicUsize,
    count: AtomicU32,
}

/// What a place counts.
#[derive(Debug)]
struct Named {
    place: usize,
    flag: FlagKey,
    variant: Option<VariantName>,
    reason: Reason,
}

/// What became of a new entry.
#[derive(Debug)]
pub(super) enum Added {
    /// It is there, and counted once.
    Counted,
    /// Somebody reads the names just now, or there are too many.
    Not,
    /// It belongs into this larger table.
    Full(Table),
}

impl Table {
    pub(super) fn first() -> Self {
        Self::with(PLACES.0)
    }

    fn with(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| Place::default()).collect(),
            names: Mutex::default(),
            taken: AtomicUsize::new(0),
        }
    }

    /// Counts an evaluation, if such a one was counted before.
    #[inline]
    pub(super) fn add(
        &self,
        flag: &FlagKey,
        variant: Option<&VariantName>,
        reason: Reason,
    ) -> bool {
        let (flag, mark) = addresses(flag, variant, reason);
        self.place(flag, mark).is_ok_and(|(_, place)| {
            // One thread writes, so that no addition is lost.
            let count = place.count.load(Ordering::Relaxed);
            place.count.store(count.wrapping_add(1), Ordering::Relaxed);
            true
        })
    }

    /// The place of a count, or the free place that would be its.
    #[inline]
    fn place(&self, flag: usize, mark: usize) -> Result<(usize, &Place), usize> {
        // INVARIANT: at most half of the places are taken, so that every search ends.
        let mask = self.places.len() - 1;
        let mut at = spread(flag, mark);
        loop {
            at &= mask;
            let Some(place) = self.places.get(at) else {
                return Err(0);
            };
            let found = place.flag.load(Ordering::Relaxed);
            if found == flag && place.mark.load(Ordering::Relaxed) == mark {
                return Ok((at, place));
            }
            if found == 0 {
                return Err(at);
            }
            at += 1;
        }
    }

    /// Makes an entry and counts it once; only for the thread whose table it is.
    pub(super) fn enter(
        &self,
        flag: &FlagKey,
        variant: Option<&VariantName>,
        reason: Reason,
    ) -> Added {
        if self.add(flag, variant, reason) {
            return Added::Counted;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if (taken + 1) * 2 > self.places.len() {
            let next = self.places.len() * 2;
            return if next > PLACES.1 {
                Added::Not
            } else {
                Added::Full(Self::with(next))
            };
        }
        let (flag_at, mark) = addresses(flag, variant, reason);
        let (Err(at), Ok(mut names)) = (self.place(flag_at, mark), self.names.try_lock()) else {
            return Added::Not;
        };
        let Some(place) = self.places.get(at) else {
            return Added::Not;
        };
        names.push(Named {
            place: at,
            flag: flag.clone(),
            variant: variant.cloned(),
            reason,
        });
        place.count.store(1, Ordering::Relaxed);
        place.mark.store(mark, Ordering::Relaxed);
        place.flag.store(flag_at, Ordering::Relaxed);
        self.taken.store(taken + 1, Ordering::Relaxed);
        Added::Counted
    }

    /// Gives what was counted since `seen`, and notes it there.
    pub(super) fn take(&self, seen: &mut Vec<u32>, give: &mut impl FnMut(Subject, u64)) {
        let names = self
            .names
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.resize(names.len(), 0);
        for (named, seen) in names.iter().zip(seen) {
            let Some(place) = self.places.get(named.place) else {
                continue;
            };
            let count = place.count.load(Ordering::Relaxed);
            let more = count.wrapping_sub(std::mem::replace(seen, count));
            if more > 0 {
                let variant = named.variant.as_ref().map_or("", |it| it.as_str());
                let subject = Subject {
                    flag: named.flag.as_str().into(),
                    variant: variant.into(),
                    reason: named.reason.as_str(),
                };
                give(subject, more.into());
            }
        }
    }
}

/// Spreads addresses, which are alike, over the places.
#[inline]
fn spread(flag: usize, mark: usize) -> usize {
    let mixed = (flag as u64 ^ (mark as u64).rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

/// What finds a count: the address of the flag's name, and that of the variant's with the reason.
#[inline]
fn addresses(flag: &FlagKey, variant: Option<&VariantName>, reason: Reason) -> (usize, usize) {
    let variant = variant.map_or(0, |it| it.as_str().as_ptr().addr());
    // No address has its highest bits set: they come round to be the lowest.
    let mark = variant.rotate_left(3) ^ (reason as usize);
    (flag.as_str().as_ptr().addr(), mark)
}
