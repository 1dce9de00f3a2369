//! What a view knows of a tenant: its document, its pins and its kills.

use std::sync::Arc;

use plane_model::documents::{Kill, Pin, Tenant};
use plane_model::{ArtifactName, Document};

/// What a view knows of a tenant in its environment; most tenants are known and no more.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantFacts {
    document: Option<Arc<Document>>,
    bound: Option<Box<Bound>>,
}

/// What is bound to one tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bound {
    /// By the flag's place in the view, sorted.
    pub(crate) pins: Vec<(u32, FlagPin)>,
    /// The flags that are killed for this tenant, by their place in the view, sorted.
    pub(crate) killed_flags: Vec<(u32, ())>,
    /// Sorted by the agent's name.
    pub(crate) agents: Vec<(ArtifactName, AgentFacts)>,
    /// The tools that are killed for this tenant, sorted.
    pub(crate) killed_tools: Vec<(ArtifactName, Arc<Document>)>,
}

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

impl TenantFacts {
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
        same && self.bound.is_none() && other.bound.is_none()
    }

    pub(crate) fn set_document(&mut self, document: Option<Arc<Document>>) {
        self.document = document;
    }

    /// Changes what is bound to the tenant.
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
            .binary_search_by_key(&flag, |(flag, ())| *flag)
            .is_ok()
    }

    pub(crate) fn pin(&self, flag: u32) -> Option<&Pin> {
        let pins = &self.bound.as_ref()?.pins;
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
        self.document.is_none() && self.bound.is_none()
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
        self.pins.is_empty()
            && self.killed_flags.is_empty()
            && self.agents.is_empty()
            && self.killed_tools.is_empty()
    }
}

/// Sets or removes the entry of `key` in a sorted list; says whether there was one before.
pub(crate) fn set<K: Ord, V>(list: &mut Vec<(K, V)>, key: K, value: Option<V>) -> bool {
    match (list.binary_search_by(|(it, _)| it.cmp(&key)), value) {
        (Ok(at), Some(value)) => {
            if let Some((_, before)) = list.get_mut(at) {
                *before = value;
            }
            true
        }
        (Ok(at), None) => {
            list.remove(at);
            true
        }
        (Err(at), Some(value)) => {
            // There are many such lists, and nearly all have one entry.
            list.reserve_exact(1);
            list.insert(at, (key, value));
            false
        }
        (Err(_), None) => false,
    }
}
