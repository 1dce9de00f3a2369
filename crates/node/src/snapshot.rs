//! Everything that a reader needs, at one revision.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use plane_eval::{Change, Common, View};
use plane_model::{EnvironmentName, Kind};
use plane_state::State;

use crate::parallel::side_by_side;

/// The state and the view of every environment, all at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    state: Arc<State>,
    views: BTreeMap<EnvironmentName, OnceLock<Arc<View>>>,
}

impl Snapshot {
    /// Builds the views of a state.
    ///
    /// Blocks the thread, in proportion to the number of documents and environments.
    pub(crate) fn of(state: State) -> Self {
        let names = state.environments();
        let common = common(&state);
        let views = side_by_side(&names, |name| Arc::new(view(&state, common.clone(), name)));
        Self {
            views: names
                .into_iter()
                .zip(views.into_iter().map(OnceLock::from))
                .collect(),
            state: Arc::new(state),
        }
    }

    /// A snapshot whose views are built when somebody asks for them: few ask for those of the past.
    pub(crate) fn lazy(state: State) -> Self {
        let names = state.environments().into_iter();
        Self {
            views: names.map(|name| (name, OnceLock::new())).collect(),
            state: Arc::new(state),
        }
    }

    /// The snapshot after `changes`, which led from this one to `state`.
    pub(crate) fn after(&self, state: State, changes: &[Change]) -> Self {
        let revision = state.head().revision;
        let mut views = BTreeMap::new();
        for name in state.environments() {
            let renewed = changes.iter().any(|change| {
                change.key.kind() == Kind::Environment && change.key.name() == name.as_str()
            });
            let next = match self.view(&name) {
                Some(old) if !renewed => old.update(revision, changes, &state),
                _ => view(&state, common(&state), &name),
            };
            views.insert(name, OnceLock::from(Arc::new(next)));
        }
        Self {
            state: Arc::new(state),
            views,
        }
    }

    /// The state.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The view of an environment, if there is such an environment.
    pub fn view(&self, environment: &EnvironmentName) -> Option<&Arc<View>> {
        let place = self.views.get(environment)?;
        let build = || Arc::new(view(&self.state, common(&self.state), environment));
        Some(place.get_or_init(build))
    }

    /// The revision of state and views.
    pub fn revision(&self) -> u64 {
        self.state.head().revision
    }
}

fn common(state: &State) -> Common {
    let documents = state.of_kind(Kind::Tenant);
    Common::of(documents.filter_map(|(key, entry)| Some((key, entry.document()?))))
}

fn view(state: &State, common: Common, environment: &EnvironmentName) -> View {
    let documents = state
        .entries()
        .filter(|(key, _)| key.kind() != Kind::Tenant)
        .filter_map(|(key, entry)| Some((key, entry.revision, entry.document()?)));
    let revision = state.head().revision;
    View::build_with(common, environment.clone(), revision, documents, state)
}
