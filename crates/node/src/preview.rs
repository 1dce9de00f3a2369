//! What a command would lead to, for those who look before anything is committed.

use std::sync::{Arc, OnceLock};

use plane_model::Timestamp;
use plane_state::{Plan, Prepared};

use crate::sealing::Sealing;
use crate::snapshot::Snapshot;

/// A command that was decided about and not committed.
#[derive(Debug, Clone)]
pub struct Preview {
    pub(crate) before: Arc<Snapshot>,
    pub(crate) prepared: Prepared,
    pub(crate) now: Timestamp,
    pub(crate) plan: Plan,
    /// Made when it is first asked for, for all copies of this.
    pub(crate) after: Arc<OnceLock<Arc<Snapshot>>>,
}

impl Preview {
    /// What would change.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The state and the views now.
    pub fn before(&self) -> &Arc<Snapshot> {
        &self.before
    }

    /// The state and the views as they would be.
    ///
    /// Blocks the thread, in proportion to what changes.
    pub fn after(&self) -> Arc<Snapshot> {
        let make = || {
            // Salts keep bodies that were erased from being guessed; nothing here is ever stored.
            let sealed = Sealing::of(self.before.state(), &self.prepared, self.now, &mut || {
                [0; 16]
            });
            Arc::new(self.before.after(sealed.state, &sealed.changes))
        };
        Arc::clone(self.after.get_or_init(make))
    }
}
