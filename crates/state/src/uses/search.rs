//! Passes over documents that cannot refer to a subject, without reading them.

use memchr::memmem::Finder;
use plane_model::{DocumentKey, Kind, TenantId};

use super::Subject;
use crate::state::{Entry, State};

/// Looks for a subject's name where a document that refers to the subject has it.
///
/// INVARIANT: a document that [`may_name`](Self::may_name) denies does not refer to the subject; one that it
/// admits has to be read.
#[derive(Debug)]
pub(super) struct Search {
    /// Of a tenant: its id.
    tenant: Option<TenantId>,
    name: Finder<'static>,
    /// What names all there are.
    all: Finder<'static>,
}

impl Search {
    pub(super) fn new(subject: &Subject) -> Self {
        let tenant = TenantId::new(&subject.name).ok();
        Self {
            tenant: tenant.filter(|_| subject.kind == Kind::Tenant),
            name: Finder::new(&subject.name).into_owned(),
            all: Finder::new("\"all\""),
        }
    }

    /// The documents of a kind among which are those that refer to the subject.
    pub(super) fn candidates<'s>(
        &self,
        state: &'s State,
        kind: Kind,
    ) -> Box<dyn Iterator<Item = (&'s DocumentKey, &'s Entry)> + 's> {
        let scopes: Vec<String> = match (&self.tenant, kind) {
            (Some(tenant), Kind::Kill | Kind::Pin) => {
                let environments = state.of_kind(Kind::Environment);
                let scopes = environments.map(|(key, _)| format!("{}/{tenant}", key.name()));
                scopes.collect()
            }
            (Some(tenant), Kind::Config) => {
                let places = state.layer_places();
                places.filter_map(|it| it.of(tenant)).collect()
            }
            _ => return Box::new(state.of_kind(kind)),
        };
        let all = scopes.into_iter();
        Box::new(all.flat_map(move |scope| {
            let from = state.from(kind, &scope, "");
            from.take_while(move |(key, _)| key.scope() == scope)
        }))
    }

    /// Says whether a document can refer to the subject.
    pub(super) fn may_name(&self, key: &DocumentKey, entry: &Entry) -> bool {
        let is_in = |text: &str| self.name.find(text.as_bytes()).is_some();
        if is_in(key.scope()) || is_in(key.name()) {
            return true;
        }
        match key.kind() {
            // All that these name, their keys say.
            Kind::Config | Kind::Kill | Kind::Pin | Kind::Channel => false,
            Kind::Flag if self.all.find(&entry.bytes).is_some() => true,
            _ => self.is_in(&entry.bytes),
        }
    }

    /// Says whether JSON can have the name in one of its strings.
    pub(super) fn is_in(&self, json: &[u8]) -> bool {
        // What is written with escapes is written in more than one way.
        self.name.find(json).is_some() || json.contains(&b'\\')
    }
}
