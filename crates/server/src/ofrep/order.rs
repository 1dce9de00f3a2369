//! The order in which all flags are told: that of their keys, which is the same at every node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use plane_eval::View;
use plane_model::EnvironmentName;

/// The order of the flags of each environment, sorted once a revision.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<HashMap<EnvironmentName, Order>>);

#[derive(Debug)]
struct Order {
    revision: u64,
    /// Where in the view's order the flags stand.
    places: Arc<[usize]>,
}

impl Orders {
    /// Where the flags that the view evaluates stand among them, in the order of their keys.
    pub(crate) fn of(&self, view: &View, revision: u64) -> Arc<[usize]> {
        let environment = view.environment();
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = kept().get(environment)
            && order.revision == revision
        {
            return order.places.clone();
        }
        let mut flags: Vec<_> = view.flags().map(|(_, key)| key).enumerate().collect();
        flags.sort_unstable_by_key(|(_, key)| *key);
        let places: Arc<[usize]> = flags.into_iter().map(|(place, _)| place).collect();
        let order = Order {
            revision,
            places: places.clone(),
        };
        drop(kept().insert(environment.clone(), order));
        places
    }
}
