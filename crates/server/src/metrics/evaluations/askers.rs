//! Who asks for evaluations: a small number for each, for as long as counts are kept apart by it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use plane_eval::Reason;
use plane_model::{EnvironmentName, PrincipalId, Timestamp};

/// How many of those who ask are told apart between two takings; what more ask for is not counted by who asked.
const ASKERS_MAX: u32 = 1_024;

/// Who asks, where and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) principal: &'a PrincipalId,
    pub(crate) environment: &'a EnvironmentName,
    pub(crate) at: Timestamp,
}

/// How often this server has evaluated a flag for somebody.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) environment: EnvironmentName,
    pub(crate) principal: PrincipalId,
    pub(crate) flag: String,
    /// Empty where the caller's default holds.
    pub(crate) variant: String,
    pub(crate) reason: Reason,
    pub(crate) count: u64,
    pub(crate) last_at: Timestamp,
}

/// The numbers of those who ask.
#[derive(Debug, Default)]
pub(super) struct Askers {
    known: HashMap<PrincipalId, Vec<(EnvironmentName, u32)>>,
    count: u32,
}

/// Where the counts of one who asks are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    At(u32),
    /// Nowhere yet.
    New,
    /// Nowhere, for there are too many, or nobody is counted.
    Beyond,
}

impl Askers {
    pub(super) fn place(&self, asker: Option<&Asker<'_>>) -> Place {
        let Some(asker) = asker else {
            return Place::Beyond;
        };
        let of_principal = self.known.get(asker.principal).into_iter().flatten();
        let mut found = of_principal.filter(|(it, _)| it == asker.environment);
        match found.next() {
            Some((_, place)) => Place::At(*place),
            None if self.count >= ASKERS_MAX => Place::Beyond,
            None => Place::New,
        }
    }

    pub(super) fn enter(&mut self, asker: &Asker<'_>) -> Place {
        let place = self.place(Some(asker));
        if place != Place::New {
            return place;
        }
        let of_principal = self.known.entry(asker.principal.clone()).or_default();
        of_principal.push((asker.environment.clone(), self.count));
        self.count += 1;
        Place::At(self.count - 1)
    }

    /// All by their numbers.
    pub(super) fn listed(self) -> HashMap<u32, (PrincipalId, EnvironmentName)> {
        let all = self.known.into_iter().flat_map(|(principal, places)| {
            let named = move |(environment, place)| (place, (principal.clone(), environment));
            places.into_iter().map(named)
        });
        all.collect()
    }
}

/// How often one of those who ask got something, sorted by who it was.
#[derive(Debug, Default)]
pub(super) struct Counts(Vec<Count>);

#[derive(Debug)]
pub(super) struct Count {
    place: u32,
    times: AtomicU64,
    last_ms: AtomicI64,
}

impl Counts {
    pub(super) fn find(&self, place: u32) -> Option<&Count> {
        let at = self.0.binary_search_by_key(&place, |it| it.place).ok()?;
        self.0.get(at)
    }

    /// Makes a count, unless there is one; says whether there was none.
    pub(super) fn enter(&mut self, place: u32) -> bool {
        let Err(at) = self.0.binary_search_by_key(&place, |it| it.place) else {
            return false;
        };
        let count = Count {
            place,
            times: AtomicU64::new(0),
            last_ms: AtomicI64::new(0),
        };
        self.0.insert(at, count);
        true
    }

    /// Takes all: who, how often, and when last.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (u32, u64, Timestamp)> {
        std::mem::take(&mut self.0).into_iter().map(|it| {
            let last_at = Timestamp(it.last_ms.into_inner());
            (it.place, it.times.into_inner(), last_at)
        })
    }
}

impl Count {
    #[inline]
    pub(super) fn add(&self, at: Timestamp) {
        self.times.fetch_add(1, Ordering::Relaxed);
        // Two at once may leave the earlier of two moments, which are next to each other.
        self.last_ms.store(at.0, Ordering::Relaxed);
    }
}
