//! What a view knows of a tenant: its document, its pins and its kills.

use std::sync::Arc;

use plane_model::documents::{Kill, Pin, Tenant};
use plane_model::{ArtifactName, Document, TenantId};

use crate::pages::Keyed;

/// What a view knows of a tenant in its environment; most tenants are known and no more.
#[derive(Debug, Clone)]
pub(crate) struct TenantFacts {
    id: TenantId,
    document: Option<Arc<Document>>,
    /// By the flag's place in the view.
    pins: Sorted<u32, FlagPin>,
    bound: Option<Box<Bound>>,
}

/// What is bound to few tenants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bound {
    /// The flags that are killed for this tenant, by their place in the view.
    pub(crate) killed_flags: Sorted<u32, Arc<Document>>,
    /// By the agent's name.
    pub(crate) agents: Sorted<ArtifactName, AgentFacts>,
    /// The tools that are killed for this tenant.
    pub(crate) killed_tools: Sorted<ArtifactName, Arc<Document>>,
}

/// A small map: nearly all of them have no entry or one.
pub(crate) type Sorted<K, V> = Box<[(K, V)]>;

/// A tenant's pin of a flag.
#[derive(Debug, Clone)]
pub(crate) struct FlagPin {
    pub(crate) document: Arc<Document>,
}

/// A tenant's pin and kill of an agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentFacts {
    pub(crate) pin: Option<Arc<Document>>,
    pub(crate) kill: Option<Arc<Document>>,
}

impl AgentFacts {
    pub(crate) fn pin(&self) -> Option<&Pin> {
        match self.pin.as_deref() {
            Some(Document::Pin(pin)) => Some(pin),
            _ => None,
        }
    }

    pub(crate) fn kill(&self) -> Option<&Kill> {
        match self.kill.as_deref() {
            Some(Document::Kill(kill)) => Some(kill),
            _ => None,
        }
    }
}

impl FlagPin {
    pub(crate) fn pin(&self) -> Option<&Pin> {
        match &*self.document {
            Document::Pin(pin) => Some(pin),
            _ => None,
        }
    }
}

impl Keyed for Arc<TenantFacts> {
    #[inline]
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl TenantFacts {
    /// Nothing yet.
    pub(crate) fn new(id: TenantId) -> Self {
        Self {
            id,
            document: None,
            pins: Sorted::default(),
            bound: None,
        }
    }

    pub(crate) fn id(&self) -> &TenantId {
        &self.id
    }

    /// The tenant's document, if there is one.
    #[inline]
    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        match self.document.as_deref() {
            Some(Document::Tenant(tenant)) => Some(tenant),
            _ => None,
        }
    }

    /// Says whether both are the same tenant as far as can be seen at a glance.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let same = match (&self.document, &other.document) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let is_bare = |it: &Self| it.pins.is_empty() && it.bound.is_none();
        same && is_bare(self) && is_bare(other)
    }

    pub(crate) fn set_document(&mut self, document: Option<Arc<Document>>) {
        self.document = document;
    }

    /// Sets or removes the pin of a flag; says whether there was one before.
    pub(crate) fn set_pin(&mut self, flag: u32, pin: Option<FlagPin>) -> bool {
        set(&mut self.pins, flag, pin)
    }

    /// Changes what else is bound to the tenant.
    pub(crate) fn bind(&mut self, edit: impl FnOnce(&mut Bound)) {
        let mut bound = self.bound.take().unwrap_or_default();
        edit(&mut bound);
        self.bound = (!bound.is_empty()).then_some(bound);
    }

    pub(crate) fn is_killed(&self, flag: u32) -> bool {
        let Some(bound) = &self.bound else {
            return false;
        };
        let killed = &bound.killed_flags;
        killed
            .binary_search_by_key(&flag, |(flag, _)| *flag)
            .is_ok()
    }

    /// Why the flag is killed for this tenant, if it is.
    pub(crate) fn kill(&self, flag: u32) -> Option<&Kill> {
        let killed = &self.bound.as_ref()?.killed_flags;
        let at = killed.binary_search_by_key(&flag, |(flag, _)| *flag).ok()?;
        match killed.get(at).map(|(_, document)| &**document) {
            Some(Document::Kill(kill)) => Some(kill),
            _ => None,
        }
    }

    pub(crate) fn pin(&self, flag: u32) -> Option<&Pin> {
        let pins = &self.pins;
        let at = pins.binary_search_by_key(&flag, |(flag, _)| *flag).ok()?;
        pins.get(at).and_then(|(_, pin)| pin.pin())
    }

    pub(crate) fn agent(&self, agent: &ArtifactName) -> Option<&AgentFacts> {
        self.bound.as_ref()?.agent(agent)
    }

    /// The tools that are killed for this tenant, sorted.
    pub(crate) fn killed_tools(&self) -> &[(ArtifactName, Arc<Document>)] {
        self.bound.as_ref().map_or(&[], |bound| &bound.killed_tools)
    }

    /// Says whether nothing is known, so that the entry can be dropped.
    pub(crate) fn is_empty(&self) -> bool {
        self.document.is_none() && self.pins.is_empty() && self.bound.is_none()
    }
}

impl Bound {
    pub(crate) fn agent(&self, agent: &ArtifactName) -> Option<&AgentFacts> {
        let at = self
            .agents
            .binary_search_by(|(name, _)| name.cmp(agent))
            .ok()?;
        self.agents.get(at).map(|(_, facts)| facts)
    }

    fn is_empty(&self) -> bool {
        self.killed_flags.is_empty() && self.agents.is_empty() && self.killed_tools.is_empty()
    }
}

/// Sets or removes the entry of `key`; says whether there was one before.
pub(crate) fn set<K: Ord, V>(list: &mut Sorted<K, V>, key: K, value: Option<V>) -> bool {
    let found = list.binary_search_by(|(it, _)| it.cmp(&key));
    let mut all = std::mem::take(list).into_vec();
    match (found, value) {
        (Ok(at), Some(value)) => {
            if let Some((_, before)) = all.get_mut(at) {
                *before = value;
            }
        }
        (Ok(at), None) => {
            all.remove(at);
        }
        (Err(at), Some(value)) => {
            all.reserve_exact(1);
            all.insert(at, (key, value));
        }
        (Err(_), None) => {}
    }
    *list = all.into_boxed_slice();
    found.is_ok()
}
