//! The flags of a view: a table by place, whose places survive updates, and an index by key.

use std::sync::Arc;

use plane_model::FlagKey;

use crate::evaluation::Decision;
use crate::flag::Chunk;
use crate::hash::{Ends, Middle, hash_text};

/// Flags that share a page are copied together when one of them changes.
const PAGE: usize = 64;

/// The flags of a view.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlagTable {
    pages: Vec<Arc<[Slot]>>,
    count: u32,
    index: Arc<Vec<Probe>>,
}

/// A flag and what can be said of it without looking further.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// The ends of the flag's key, and what follows and precedes them: all of it, up to 32 bytes.
    key: (Ends, Middle),
    pub(crate) chunk: Arc<Chunk>,
    /// How many tenants of the environment have a pin or a kill of this flag.
    pub(crate) bound: u32,
    /// What everybody gets, if no context and no time can change it.
    pub(crate) fixed: Option<Decision>,
}

impl Slot {
    #[inline]
    fn has_key(&self, ends: Ends, key: &str) -> bool {
        let (own, middle) = self.key;
        if own != ends || ends.are_whole() {
            return own == ends;
        }
        match Middle::of(key.as_bytes()) {
            Some(of_key) => middle == of_key,
            None => self.chunk.key().as_str() == key,
        }
    }

    fn refresh(&mut self) {
        self.fixed = self.chunk.fixed(self.bound > 0);
    }
}

/// A place of the index: a part of the key's hash, and one more than the flag's place.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    tag: u32,
    place: u32,
}

impl FlagTable {
    #[inline]
    pub(crate) fn slot(&self, place: u32) -> Option<&Slot> {
        let place = place as usize;
        self.pages.get(place / PAGE)?.get(place % PAGE)
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Slot> {
        let place = place as usize;
        let page = self.pages.get_mut(place / PAGE)?;
        Arc::make_mut(page).get_mut(place % PAGE)
    }

    /// Finds a flag by its key, whether it exists now or only once did.
    #[inline]
    pub(crate) fn find(&self, key: &str) -> Option<(u32, &Slot)> {
        let hash = hash_text(key);
        let ends = Ends::of(key.as_bytes());
        let mut at = start(hash, self.index.len())?;
        // INVARIANT: at most half of the places are taken, so that every search ends.
        loop {
            let probe = self.index.get(at)?;
            let place = probe.place.checked_sub(1)?;
            if probe.tag == tag(hash)
                && let Some(slot) = self.slot(place)
                && slot.has_key(ends, key)
            {
                return Some((place, slot));
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    /// Finds the place of a flag, or gives it one.
    pub(crate) fn intern(&mut self, key: &FlagKey, absent: impl FnOnce() -> Chunk) -> u32 {
        if let Some((place, _)) = self.find(key.as_str()) {
            return place;
        }
        let place = self.count;
        let slot = Slot {
            key: (
                Ends::of(key.as_str().as_bytes()),
                Middle::of(key.as_str().as_bytes()).unwrap_or_default(),
            ),
            chunk: Arc::new(absent()),
            bound: 0,
            fixed: None,
        };
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE => *page = page.iter().cloned().chain([slot]).collect(),
            _ => self.pages.push(Arc::new([slot])),
        }
        self.count += 1;
        if self.count as usize * 2 > self.index.len() {
            self.grow();
        } else {
            let index: &mut Vec<Probe> = Arc::make_mut(&mut self.index);
            enter(index, hash_text(key.as_str()), place);
        }
        place
    }

    fn grow(&mut self) {
        let size = (self.count as usize * 4).next_power_of_two().max(16);
        let mut index = vec![Probe::default(); size];
        for (place, slot) in (0..).zip(self.slots()) {
            enter(&mut index, hash_text(slot.chunk.key().as_str()), place);
        }
        self.index = Arc::new(index);
    }

    /// Puts a newly compiled flag at its place.
    pub(crate) fn put(&mut self, place: u32, chunk: Chunk) {
        if let Some(slot) = self.slot_mut(place) {
            slot.chunk = Arc::new(chunk);
            slot.refresh();
        }
    }

    /// Counts one more or one less tenant that has a pin or a kill of the flag.
    pub(crate) fn bind(&mut self, place: u32, more: bool) {
        if let Some(slot) = self.slot_mut(place) {
            slot.bound = if more {
                slot.bound.saturating_add(1)
            } else {
                slot.bound.saturating_sub(1)
            };
            slot.refresh();
        }
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

fn tag(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits of the hash are all that is wanted"
)]
fn start(hash: u64, size: usize) -> Option<usize> {
    Some((hash as usize) & size.checked_sub(1)?)
}

fn enter(index: &mut [Probe], hash: u64, place: u32) {
    let Some(mut at) = start(hash, index.len()) else {
        return;
    };
    loop {
        match index.get_mut(at) {
            Some(probe) if probe.place == 0 => {
                *probe = Probe {
                    tag: tag(hash),
                    place: place + 1,
                };
                return;
            }
            Some(_) => at = (at + 1) & (index.len() - 1),
            None => return,
        }
    }
}
