//! What is served: one view and where it came from, an immutable value that is swapped as a whole.

use std::sync::Arc;

use plane_eval::View;
use plane_model::{Digest, Timestamp};

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

/// Where in which log a view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The log.
    pub(crate) log: Arc<str>,
    /// How often it was recovered from a backup.
    pub(crate) epoch: u64,
    /// The revision.
    pub(crate) revision: u64,
    /// The hash of the record at the revision.
    pub(crate) head: Digest,
}

/// A view and where it came from.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) view: View,
    pub(crate) origin: Origin,
    pub(crate) place: Place,
    /// When it began to be served here.
    pub(crate) since: Timestamp,
    /// What changed, for those who are told of changes.
    pub(crate) cause: Arc<str>,
}
