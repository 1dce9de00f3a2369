//! Asking a store to have nothing large under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Asks a store, for as long as it is held, to have no upkeep under way that takes long.
///
/// See [`ChangeLog::hasten`](crate::ChangeLog::hasten).
#[derive(Debug, Default)]
#[must_use = "the store is in haste for as long as this is held"]
pub struct Haste(Option<Arc<AtomicUsize>>);

impl Drop for Haste {
    fn drop(&mut self) {
        if let Some(asking) = &self.0 {
            asking.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counts those who ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hastened(Arc<AtomicUsize>);

impl Hastened {
    pub(crate) fn ask(&self) -> Haste {
        self.0.fetch_add(1, Ordering::Relaxed);
        Haste(Some(self.0.clone()))
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}
