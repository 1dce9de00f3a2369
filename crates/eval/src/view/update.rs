//! How a view follows changes: first all documents are put in place, then what they touch is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plane_model::documents::Bucketing;
use plane_model::{
    ArtifactName, ConfigName, Document, DocumentKey, FlagKey, GroupName, Kind, SegmentName,
    Selector, TenantId,
};

use super::View;
use crate::flag::{Chunk, Parts, Stored};
use crate::resolve::{Overrider, RegistryDraft};
use crate::source::Source;
use crate::tenant::{self, AgentFacts, Bound, FlagPin, TenantFacts};

/// A view that is being changed.
pub(super) struct Draft {
    view: View,
    /// The documents of the flags that were touched, by the flags' places.
    parts: BTreeMap<u32, Parts>,
    /// The segments that were touched.
    segments: BTreeSet<SegmentName>,
    /// Touched by a segment, an exclusion group or the environment only.
    stale: BTreeSet<u32>,
    registry: RegistryDraft,
}

/// What a kill or a pin is about.
enum Subject {
    Flag(FlagKey),
    Agent(ArtifactName),
    Tool(ArtifactName),
}

impl Draft {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            parts: BTreeMap::new(),
            segments: BTreeSet::new(),
            stale: BTreeSet::new(),
            registry: RegistryDraft::default(),
        }
    }

    /// Puts a document in place, or takes it away; one of another environment is passed over.
    pub(super) fn change(
        &mut self,
        key: &DocumentKey,
        revision: u64,
        document: Option<&Arc<Document>>,
    ) {
        let stored = document.map(|document| Stored {
            revision,
            document: Arc::clone(document),
        });
        let (environment, tenant) = match key.scope().split_once('/') {
            Some((environment, tenant)) => (environment, TenantId::new(tenant).ok()),
            None => (key.scope(), None),
        };
        let here = environment == self.view.environment.as_str();
        match key.kind() {
            Kind::Environment if key.name() == self.view.environment.as_str() => {
                self.environment(document);
            }
            Kind::Tenant => {
                if let Ok(id) = TenantId::new(key.name()) {
                    self.tenant(&id, |facts| facts.set_document(document.cloned()));
                }
            }
            Kind::Segment => self.segment(key.name(), document),
            Kind::ExclusionGroup => self.group(key.name(), document),
            Kind::Flag => self.flag(key.name(), |parts| parts.flag = stored),
            Kind::Targeting if here => self.flag(key.name(), |parts| parts.targeting = stored),
            Kind::Kill if here => match tenant {
                None => self.kill(key, stored),
                Some(tenant) => self.kill_for(&tenant, key, document),
            },
            Kind::Pin if here => {
                if let Some(tenant) = tenant {
                    self.pin(&tenant, key, document);
                }
            }
            Kind::Schema | Kind::Config => self.config(key, revision, document),
            Kind::Tool | Kind::Agent | Kind::Status | Kind::Trust => {
                self.registry.change(&mut self.view.registry, key, document);
            }
            Kind::Channel if here => {
                if let Ok(agent) = ArtifactName::new(key.name()) {
                    self.registry
                        .channel(&mut self.view.registry, &agent, document);
                }
            }
            _ => {}
        }
    }

    fn environment(&mut self, document: Option<&Arc<Document>>) {
        let bucketing = match document.map(|document| &**document) {
            Some(Document::Environment(environment)) => environment.bucketing,
            _ => Bucketing::default(),
        };
        if bucketing != self.view.bucketing {
            self.view.bucketing = bucketing;
            self.stale.extend(0..self.view.flags.count());
        }
    }

    fn segment(&mut self, name: &str, document: Option<&Arc<Document>>) {
        let Ok(name) = SegmentName::new(name) else {
            return;
        };
        self.view.segments.set(&name, document);
        self.segments.insert(name);
    }

    fn group(&mut self, name: &str, document: Option<&Arc<Document>>) {
        let Ok(name) = GroupName::new(name) else {
            return;
        };
        for flag in self.view.groups.set(&name, document) {
            let place = self.place(&flag);
            self.stale.insert(place);
        }
    }

    pub(super) fn flag(&mut self, key: &str, edit: impl FnOnce(&mut Parts)) {
        if let Ok(key) = FlagKey::new(key) {
            let place = self.place(&key);
            let parts = self.parts.entry(place);
            let current = || {
                let slot = self.view.flags.slot(place);
                slot.map(|slot| slot.chunk.parts().clone())
                    .unwrap_or_default()
            };
            edit(parts.or_insert_with(current));
        }
    }

    fn place(&mut self, key: &FlagKey) -> u32 {
        let bucketing = self.view.bucketing;
        let absent = || {
            let (parts, exclusions) = (Parts::default(), Box::default());
            Chunk::compile(key.clone(), parts, bucketing, &[], exclusions, |_| None)
        };
        self.view.flags.intern(key, absent)
    }

    fn tenant(&mut self, id: &TenantId, edit: impl FnOnce(&mut TenantFacts)) {
        let tenants = &mut self.view.tenants;
        if let Some(facts) = tenants.get_mut(id.as_str()) {
            let facts = Arc::make_mut(facts);
            edit(facts);
            if facts.is_empty() {
                tenants.remove(id.as_str());
            }
        } else {
            let mut facts = TenantFacts::new(id.clone());
            edit(&mut facts);
            if !facts.is_empty() {
                tenants.put(Arc::new(facts));
            }
        }
    }

    fn kill(&mut self, key: &DocumentKey, stored: Option<Stored>) {
        match subject(key) {
            Some(Subject::Flag(flag)) => self.flag(flag.as_str(), |parts| parts.kill = stored),
            Some(Subject::Agent(agent)) => {
                let document = stored.map(|it| it.document);
                let registry = &mut self.view.registry;
                self.registry
                    .kill_agent(registry, &agent, document.as_ref());
            }
            Some(Subject::Tool(tool)) => {
                let document = stored.map(|it| it.document);
                RegistryDraft::kill_tool(&mut self.view.registry, tool, document.as_ref());
            }
            None => {}
        }
    }

    fn kill_for(&mut self, tenant: &TenantId, key: &DocumentKey, document: Option<&Arc<Document>>) {
        match subject(key) {
            Some(Subject::Flag(flag)) => {
                let place = self.place(&flag);
                let mut before = false;
                self.bound(tenant, |bound| {
                    let killed = &mut bound.killed_flags;
                    before = tenant::set(killed, place, document.cloned());
                });
                self.bind(place, before, document.is_some());
            }
            Some(Subject::Agent(agent)) => {
                if let Some(Document::Kill(kill)) = document.map(|it| &**it)
                    && let Some(version) = &kill.fallback
                {
                    self.registry.want(&agent, (version.clone(), None));
                }
                self.agent_facts(tenant, agent, |facts| facts.kill = document.cloned());
            }
            Some(Subject::Tool(tool)) => self.bound(tenant, |bound| {
                tenant::set(&mut bound.killed_tools, tool, document.cloned());
            }),
            None => {}
        }
    }

    fn pin(&mut self, tenant: &TenantId, key: &DocumentKey, document: Option<&Arc<Document>>) {
        match subject(key) {
            Some(Subject::Flag(flag)) => {
                let place = self.place(&flag);
                let pin = document.map(|document| FlagPin {
                    document: Arc::clone(document),
                });
                let mut before = false;
                self.tenant(tenant, |facts| before = facts.set_pin(place, pin));
                self.bind(place, before, document.is_some());
            }
            Some(Subject::Agent(agent)) => {
                if let Some(Document::Pin(pin)) = document.map(|it| &**it)
                    && let Some(version) = &pin.version
                {
                    self.registry.want(&agent, (version.clone(), pin.lock));
                }
                self.agent_facts(tenant, agent, |facts| facts.pin = document.cloned());
            }
            Some(Subject::Tool(_)) | None => {}
        }
    }

    fn bound(&mut self, id: &TenantId, edit: impl FnOnce(&mut Bound)) {
        self.tenant(id, |facts| facts.bind(edit));
    }

    fn bind(&mut self, place: u32, before: bool, after: bool) {
        if before != after {
            self.view.flags.bind(place, after);
        }
    }

    fn agent_facts(
        &mut self,
        tenant: &TenantId,
        agent: ArtifactName,
        edit: impl FnOnce(&mut AgentFacts),
    ) {
        self.bound(tenant, |bound| {
            let mut of_agent = bound.agent(&agent).cloned().unwrap_or_default();
            edit(&mut of_agent);
            let kept = (of_agent.pin.is_some() || of_agent.kill.is_some()).then_some(of_agent);
            tenant::set(&mut bound.agents, agent, kept);
        });
    }

    fn config(&mut self, key: &DocumentKey, revision: u64, document: Option<&Arc<Document>>) {
        let Ok(name) = ConfigName::new(key.name()) else {
            return;
        };
        let stored = document.map(|document| (revision, Arc::clone(document)));
        let selector = match key.kind() {
            Kind::Schema => None,
            _ => match key.scope().parse::<Selector>() {
                Ok(selector) => Some(selector),
                Err(_) => return,
            },
        };
        // A name that is held already takes no memory again.
        let known = selector.as_ref().and_then(|it| it.tenant.as_ref());
        let known = known.and_then(|id| self.view.tenants.get(id.as_str()));
        let known = known.map(|facts| facts.id().clone());
        let elsewhere = |selector: &Selector| {
            let environment = selector.environment.as_ref();
            environment.is_some_and(|it| *it != self.view.environment)
        };
        if selector.as_ref().is_some_and(elsewhere) {
            return;
        }
        let configs = &mut self.view.configs;
        let config = configs.entry(name.clone()).or_default();
        // Copied once for an update, and not at all while a view is built.
        let changed = Arc::make_mut(config);
        match &selector {
            None => changed.set_schema(stored),
            Some(selector) => changed.set_layer(selector, known, stored),
        }
        if changed.is_empty() {
            configs.remove(&name);
        }
    }

    /// Compiles what was touched.
    pub(super) fn finish(mut self, revision: u64, source: &dyn Source) -> View {
        self.view.revision = revision;
        for name in self
            .view
            .segments
            .compile(std::mem::take(&mut self.segments))
        {
            self.stale
                .extend(self.view.segment_users.get(&name).into_iter().flatten());
        }
        for (place, parts) in std::mem::take(&mut self.parts) {
            self.stale.remove(&place);
            self.recompile(place, parts);
        }
        for place in std::mem::take(&mut self.stale) {
            let slot = self.view.flags.slot(place);
            let parts = slot
                .map(|slot| slot.chunk.parts().clone())
                .unwrap_or_default();
            self.recompile(place, parts);
        }
        self.registry.finish(&mut self.view.registry, source);
        self.view
    }

    fn recompile(&mut self, place: u32, parts: Parts) {
        let needed = parts.targeting().map_or(&[][..], |it| &it.prerequisites);
        let needed: Vec<FlagKey> = needed.iter().map(|it| it.flag.clone()).collect();
        let places: Vec<u32> = needed.iter().map(|flag| self.place(flag)).collect();
        let view = &mut self.view;
        let Some(before) = view.flags.slot(place).map(|slot| Arc::clone(&slot.chunk)) else {
            return;
        };
        let users = &mut view.segment_users;
        for name in before.parts().segments() {
            if let Some(flags) = users.get_mut(&name) {
                flags.remove(&place);
                if flags.is_empty() {
                    users.remove(&name);
                }
            }
        }
        for name in parts.segments() {
            users.entry(name).or_default().insert(place);
        }
        let key = before.key().clone();
        let document = |parts: &Parts| parts.flag.as_ref().map(|it| Arc::clone(&it.document));
        let (old, new) = (document(before.parts()), document(&parts));
        let same = match (&old, &new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let exclusions = view.groups.exclusions(&key);
        let segment = |name: &str| view.segments.members(name);
        let after = Chunk::compile(
            key.clone(),
            parts,
            view.bucketing,
            &places,
            exclusions,
            segment,
        );
        if !same && (before.overrides().is_some() || after.overrides().is_some()) {
            let overrider = new.and_then(|document| Overrider::new(place, &key, &document));
            self.registry.overrider(place, overrider);
        }
        view.flags.put(place, after);
    }
}

/// Reads what the name of a kill or a pin is about.
fn subject(key: &DocumentKey) -> Option<Subject> {
    let (what, name) = key.subject()?;
    match what {
        "flag" => FlagKey::new(name).ok().map(Subject::Flag),
        "agent" => ArtifactName::new(name).ok().map(Subject::Agent),
        "tool" => ArtifactName::new(name).ok().map(Subject::Tool),
        _ => None,
    }
}
