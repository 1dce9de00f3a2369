//! A tenant's part of a view, for holders that hold the parts of a few tenants only.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_model::Digest;

use super::roots::{Name, digest_of_part};

/// The documents of one tenant, as they were delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    documents: BTreeMap<Called, (u64, Arc<[u8]>)>,
}

/// A name of its own: the kind need not be one that is known here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Called {
    kind: Box<str>,
    scope: Box<str>,
    name: Box<str>,
}

impl Called {
    fn name(&self) -> Name<'_> {
        Name {
            kind: &self.kind,
            scope: &self.scope,
            name: &self.name,
        }
    }
}

impl Part {
    /// Puts a document in its place, or takes it out if it has no body.
    pub fn put(&mut self, name: Name<'_>, revision: u64, body: Option<&[u8]>) {
        let called = Called {
            kind: name.kind.into(),
            scope: name.scope.into(),
            name: name.name.into(),
        };
        match body {
            Some(body) => self.documents.insert(called, (revision, body.into())),
            None => self.documents.remove(&called),
        };
    }

    /// The documents: name, revision of the last change, canonical JSON.
    pub fn documents(&self) -> impl Iterator<Item = (Name<'_>, u64, &Arc<[u8]>)> {
        let documents = self.documents.iter();
        documents.map(|(called, (revision, body))| (called.name(), *revision, body))
    }

    /// The digest that a view's root names it by.
    pub fn digest(&self) -> Digest {
        digest_of_part(
            self.documents()
                .map(|(name, revision, body)| (name, revision, &**body)),
        )
    }

    /// Says whether it has no document.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}
