//! What is served: one view and where it came from, an immutable value that is swapped as a whole.

use std::sync::Arc;

use plane_eval::View;
use plane_state::delivery::At;

use super::demand::OnDemand;

/// Where a view came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A server, over the network.
    Server,
    /// The state directory: what a server said to an earlier process.
    Kept,
    /// The tree that was bundled with the service.
    Bundled,
    /// The tree that stands in for a server.
    Tree,
    /// The source for unit tests.
    Memory,
}

/// A view and where it came from.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) view: View,
    pub(crate) origin: Origin,
    pub(crate) place: At,
    /// What changed, for those who are told of changes.
    pub(crate) cause: Arc<str>,
    /// What is held beside the view, if tenants are held as they are asked for.
    pub(crate) on_demand: Option<OnDemand>,
}
