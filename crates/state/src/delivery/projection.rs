//! What of the state is in the view of an audience, and how that follows changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use plane_eval::Change;
use plane_model::documents::Published;
use plane_model::{
    ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, EnvironmentName, Kind, TenantId,
    Verified,
};
use plane_registry::Lock;

use super::roots::{Name, Roots};
use crate::access::Scope;
use crate::state::{Content, Entry, State};

/// The documents and blobs of one audience's view, by name, and the digest over the documents.
///
/// INVARIANT: following changes gives the digest that [`of`](Self::of) gives for the state after them, unless
/// [`follow`](Self::follow) said that the view has to be made anew.
#[derive(Debug, Clone)]
pub struct Projection {
    environment: EnvironmentName,
    reachable: Arc<Reachable>,
    roots: Roots,
}

/// A document as it changed.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Which.
    pub key: DocumentKey,
    /// The revision of the change.
    pub revision: u64,
    /// The stored bytes, in canonical form; none if it is gone.
    pub bytes: Option<Arc<[u8]>>,
    /// What they say, as far as they can be read.
    pub document: Option<Arc<Document>>,
}

impl Changed {
    /// Adds to a change what the state that it led to has stored.
    pub fn of(state: &State, change: Change) -> Self {
        let Change {
            key,
            revision,
            document,
        } = change;
        let entry = state.entry(&key);
        let bytes = entry.filter(|it| it.revision == revision);
        Self {
            bytes: bytes.map(|it| it.bytes.clone()),
            key,
            revision,
            document,
        }
    }

    /// The change without the bytes.
    pub fn change(&self) -> Change {
        Change {
            key: self.key.clone(),
            revision: self.revision,
            document: self.document.clone(),
        }
    }

    /// What a holder is given: the stored bytes, unless they cannot be read.
    pub fn body(&self) -> Option<&Arc<[u8]>> {
        self.bytes.as_ref().filter(|_| self.document.is_some())
    }
}

/// What changes mean for an audience.
#[derive(Debug, Clone)]
pub enum Followed<'a> {
    /// These changes are its business; it may be none.
    Changes(Vec<&'a Changed>),
    /// Other manifests may be in the view now: it has to be made anew.
    Anew,
}

impl Projection {
    /// Projects a state to what `scope` may see of an environment.
    pub fn of(state: &State, scope: &Scope, environment: &EnvironmentName) -> Self {
        let mut projection = Self {
            environment: environment.clone(),
            reachable: Arc::new(Reachable::of(state, scope, environment)),
            roots: Roots::default(),
        };
        let mut roots = Roots::default();
        for (key, entry) in projection.documents(state, scope) {
            put(&mut roots, key, entry.revision, &entry.bytes);
        }
        projection.roots = roots;
        projection
    }

    /// The documents of the view, in the order of their keys, out of the state that this is a projection of.
    pub fn documents<'s>(
        &'s self,
        state: &'s State,
        scope: &'s Scope,
    ) -> impl Iterator<Item = (&'s DocumentKey, &'s Entry)> {
        state.entries().filter(|(key, entry)| {
            self.has(key, scope) && matches!(entry.content, Content::Readable(_))
        })
    }

    /// The manifests and locks that the documents can lead to.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        self.reachable.blobs.iter()
    }

    /// The digest over all documents.
    pub fn root(&self) -> Digest {
        self.roots.root()
    }

    /// The tenants that have a part, and its digest.
    pub fn parts(&self) -> impl Iterator<Item = (&TenantId, Digest)> {
        self.roots.parts()
    }

    /// The digest of a tenant's part; none if the tenant has none.
    pub fn part(&self, tenant: &TenantId) -> Option<Digest> {
        self.roots.part(tenant)
    }

    /// Follows the changes of one revision, or of several in their order.
    pub fn follow<'a>(&mut self, scope: &Scope, changes: &'a [Changed]) -> Followed<'a> {
        let followed = self.look(scope, changes);
        if let Followed::Changes(mine) = &followed {
            for change in mine {
                match change.body() {
                    Some(bytes) => put(&mut self.roots, &change.key, change.revision, bytes),
                    None => remove(&mut self.roots, &change.key),
                }
            }
        }
        followed
    }

    /// Says what changes mean for the audience, without following them.
    pub fn look<'a>(&self, scope: &Scope, changes: &'a [Changed]) -> Followed<'a> {
        let mine: Vec<_> = changes
            .iter()
            .filter(|it| self.has(&it.key, scope))
            .collect();
        if mine.iter().any(|it| self.reachable.is_changed_by(it)) {
            Followed::Anew
        } else {
            Followed::Changes(mine)
        }
    }

    fn has(&self, key: &DocumentKey, scope: &Scope) -> bool {
        match key.kind() {
            Kind::Agent | Kind::Tool | Kind::Status => self.reachable.documents.contains(key),
            // Who may do what, and what is to be, is nobody's business but the server's.
            Kind::Token | Kind::RoleBinding | Kind::Schedule => false,
            _ => {
                key.environment_name()
                    .is_none_or(|it| it == self.environment)
                    && scope.sees(key)
            }
        }
    }
}

/// The documents of a tenant's part of a view.
///
/// Takes time in proportion to what it gives and to the layers that are no tenant's, however many tenants there are.
pub fn tenant_documents<'s>(
    state: &'s State,
    scope: &'s Scope,
    environment: &EnvironmentName,
    tenant: &TenantId,
) -> Vec<(&'s DocumentKey, &'s Entry)> {
    bound_to(state, environment, tenant)
        .into_iter()
        .filter(|(key, entry)| {
            part(key).as_ref() == Some(tenant)
                && key.environment_name().is_none_or(|it| it == *environment)
                && scope.sees(key)
                && matches!(entry.content, Content::Readable(_))
        })
        .collect()
}

/// All that is bound to a tenant, and layers of other environments.
fn bound_to<'s>(
    state: &'s State,
    environment: &EnvironmentName,
    tenant: &TenantId,
) -> Vec<(&'s DocumentKey, &'s Entry)> {
    let own = state.in_scope(Kind::Tenant, "", tenant.as_str());
    let mut found: Vec<_> = own
        .take_while(|(key, _)| key.name() == tenant.as_str())
        .collect();
    let of_tenant = format!("{environment}/{tenant}");
    for kind in [Kind::Kill, Kind::Pin] {
        found.extend(state.in_scope(kind, &of_tenant, ""));
    }
    for scope in state.layer_places().filter_map(|it| it.of(tenant)) {
        found.extend(state.in_scope(Kind::Config, &scope, ""));
    }
    found
}

/// The part of a view that a document is in: a tenant's, or what all share.
pub fn part(key: &DocumentKey) -> Option<TenantId> {
    key.tenant_id()
}

fn name(key: &DocumentKey) -> Name<'_> {
    Name {
        kind: key.kind().as_str(),
        scope: key.scope(),
        name: key.name(),
    }
}

fn put(roots: &mut Roots, key: &DocumentKey, revision: u64, bytes: &[u8]) {
    roots.put(part(key).as_ref(), name(key), revision, bytes);
}

fn remove(roots: &mut Roots, key: &DocumentKey) {
    roots.remove(part(key).as_ref(), name(key));
}

/// What channels, pins and fallbacks of an environment can give.
#[derive(Debug, Default)]
struct Reachable {
    /// The pins and kills that lead to a version.
    leading: BTreeSet<DocumentKey>,
    documents: BTreeSet<DocumentKey>,
    blobs: BTreeSet<Digest>,
}

impl Reachable {
    /// Says whether other manifests can be in the view after a change.
    fn is_changed_by(&self, change: &Changed) -> bool {
        let leads = match change.document.as_deref() {
            Some(Document::Pin(pin)) => pin.version.is_some(),
            Some(Document::Kill(kill)) => kill.fallback.is_some(),
            _ => matches!(change.key.kind(), Kind::Channel | Kind::Environment),
        };
        leads || self.leading.contains(&change.key)
    }

    fn of(state: &State, scope: &Scope, environment: &EnvironmentName) -> Self {
        let mut found = Self::default();
        let name = environment.as_str();
        for (key, entry) in state.in_scope(Kind::Channel, name, "") {
            let Some(Document::Channel(channel)) = entry.document().map(|it| &**it) else {
                continue;
            };
            let default = channel.default.version.to_string();
            found.agent(state, key.name(), &default, channel.default.lock);
            for variant in channel
                .split
                .iter()
                .flat_map(|split| split.totals().into_keys())
            {
                let lock = channel.locks.get(&variant).copied();
                found.agent(state, key.name(), variant.as_str(), lock);
            }
        }
        let bound = state
            .of_kind(Kind::Pin)
            .chain(state.of_kind(Kind::Kill))
            .filter(|(key, _)| {
                key.environment_name().is_some_and(|it| it == *environment) && scope.sees(key)
            });
        for (key, entry) in bound {
            let Some(("agent", agent)) = key.subject() else {
                continue;
            };
            match entry.document().map(|it| &**it) {
                Some(Document::Pin(pin)) => {
                    if let Some(version) = &pin.version {
                        found.leading.insert(key.clone());
                        found.agent(state, agent, &version.to_string(), pin.lock);
                    }
                }
                Some(Document::Kill(kill)) => {
                    if let Some(version) = &kill.fallback {
                        found.leading.insert(key.clone());
                        found.agent(state, agent, &version.to_string(), None);
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn agent(&mut self, state: &State, name: &str, version: &str, lock: Option<Digest>) {
        let Ok(id) = format!("{name}@{version}").parse::<ArtifactVersion>() else {
            return;
        };
        let Some(published) = self.artifact(state, ArtifactKind::Agent, &id) else {
            return;
        };
        for digest in [lock, published.lock].into_iter().flatten() {
            if !self.blobs.insert(digest) {
                continue;
            }
            let Some(bytes) = state.blob(&digest) else {
                continue;
            };
            let Ok(lock) = Verified::check(bytes, digest, Lock::read) else {
                continue;
            };
            for tool in &lock.tools {
                let id = ArtifactVersion {
                    name: tool.name.clone(),
                    version: tool.version.clone(),
                };
                self.artifact(state, ArtifactKind::Tool, &id);
            }
        }
    }

    fn artifact<'s>(
        &mut self,
        state: &'s State,
        kind: ArtifactKind,
        id: &ArtifactVersion,
    ) -> Option<&'s Published> {
        let key = DocumentKey::artifact(kind, id);
        let (Document::Agent(published) | Document::Tool(published)) = &**state.document(&key)?
        else {
            return None;
        };
        self.blobs.insert(published.manifest);
        self.documents.insert(key);
        self.documents.insert(DocumentKey::status(kind, id));
        Some(published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::tests::state_of;

    #[test]
    fn one_tenants_documents_are_found_without_looking_at_those_of_others() {
        let key = |kind, scope: &str, name: &str| DocumentKey::new(kind, scope, name).unwrap();
        let mut keys = vec![
            key(Kind::Config, "base", "ai"),
            key(Kind::Kill, "production", "flag:f"),
        ];
        for tenant in 0..1_000 {
            let id = format!("t{tenant}");
            keys.push(key(Kind::Tenant, "", &id));
            keys.push(key(Kind::Pin, &format!("production/{id}"), "flag:f"));
            keys.push(key(Kind::Kill, &format!("production/{id}"), "flag:f"));
            keys.push(key(Kind::Config, &format!("production.tenant={id}"), "ai"));
            keys.push(key(Kind::Config, &format!("staging.tenant={id}"), "ai"));
            keys.push(key(Kind::Config, &format!("tenant={id}"), "ai"));
        }
        let state = state_of(keys);
        let production = EnvironmentName::new("production").unwrap();
        // Also of one whose id is how others' begin.
        for id in ["t1", "t500", "t999"] {
            let tenant = TenantId::new(id).unwrap();
            let looked_at = bound_to(&state, &production, &tenant);
            let (of, config) = (format!("production/{id}"), format!("tenant={id}"));
            let expected = [
                key(Kind::Tenant, "", id),
                key(Kind::Kill, &of, "flag:f"),
                key(Kind::Pin, &of, "flag:f"),
                key(Kind::Config, &format!("production.{config}"), "ai"),
                key(Kind::Config, &format!("staging.{config}"), "ai"),
                key(Kind::Config, &config, "ai"),
            ];
            let keys: Vec<_> = looked_at.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expected.iter().collect::<Vec<_>>());
        }
    }
}
