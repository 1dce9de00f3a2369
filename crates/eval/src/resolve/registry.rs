//! What a view holds of agents and tools, and how a change of them is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use plane_model::documents::{Bucketing, Channel, Kill, Overrides, Published, Status};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Digest, Document, DocumentKey, FlagKey, Kind,
    Range,
};

use serde_json::Value;

use super::offer::{Manifest, Offer, published};
use super::{ResolveError, Subject};
use crate::bucket;
use crate::clause::{Facts, Place};
use crate::flag::ranges;
use crate::hash::FastState;
use crate::source::Source;
use crate::tenant;

/// A version and the lock that it is given with; without one, the lock of its publishing.
pub(crate) type OfferKey = (semver::Version, Option<Digest>);

/// What a view holds of agents and tools.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    published: imbl::OrdMap<(ArtifactKind, ArtifactVersion), Arc<Document>>,
    statuses: imbl::OrdMap<(ArtifactKind, ArtifactVersion), Arc<Document>>,
    agents: imbl::GenericHashMap<
        ArtifactName,
        Arc<AgentEntry>,
        FastState,
        imbl::shared_ptr::DefaultSharedPtr,
    >,
    /// The tools that are killed in the environment, sorted.
    killed_tools: Arc<tenant::Sorted<ArtifactName, Arc<Document>>>,
    /// Sorted by priority, then key.
    overriders: Arc<Vec<Overrider>>,
    manifests: Manifests,
}

/// Manifests that some offer holds: agents with the same tool share it, and so do environments with the same agent.
///
/// INVARIANT: a manifest is a function of its digest, so that it makes no difference to a view who has read it first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifests(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    by_digest: BTreeMap<Digest, Weak<Manifest>>,
    /// At how many those are removed that nobody holds any more.
    swept_at: usize,
}

impl Manifests {
    fn get(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.by_digest.get(digest)?.upgrade()
    }

    /// Keeps a manifest for as long as somebody holds it; gives the one that somebody holds already.
    fn keep(&self, manifest: Manifest) -> Arc<Manifest> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.by_digest.get(&manifest.digest());
        if let Some(before) = before.and_then(Weak::upgrade) {
            return before;
        }
        if held.by_digest.len() >= held.swept_at {
            held.by_digest.retain(|_, it| it.strong_count() > 0);
            held.swept_at = 2 * held.by_digest.len() + 64;
        }
        let manifest = Arc::new(manifest);
        let weak = Arc::downgrade(&manifest);
        held.by_digest.insert(manifest.digest(), weak);
        manifest
    }
}

/// A flag that overrides manifests.
#[derive(Debug, Clone)]
pub(crate) struct Overrider {
    /// Its place in the view.
    pub(crate) flag: u32,
    pub(crate) key: FlagKey,
    document: Arc<Document>,
}

impl Overrider {
    /// Makes one of a flag that has overrides and is not archived.
    pub(crate) fn new(flag: u32, key: &FlagKey, document: &Arc<Document>) -> Option<Self> {
        let overrider = Self {
            flag,
            key: key.clone(),
            document: Arc::clone(document),
        };
        overrider.overrides().is_some().then_some(overrider)
    }

    pub(crate) fn overrides(&self) -> Option<&Overrides> {
        match &*self.document {
            Document::Flag(flag) if !flag.archived => flag.overrides.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn priority(&self) -> i32 {
        self.overrides().map_or(0, |overrides| overrides.priority)
    }
}

/// An agent in the view's environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentEntry {
    channel: Option<Arc<Document>>,
    kill: Option<Arc<Document>>,
    division: Option<Arc<Division>>,
    offers: BTreeMap<OfferKey, Arc<Offer>>,
}

/// The split of a channel, compiled.
#[derive(Debug)]
pub(crate) struct Division {
    by: Place,
    salt: Box<str>,
    /// The ranges, sorted, and what they get.
    shares: Vec<(Range, OfferKey)>,
}

impl Division {
    /// Compiles the split; one that contradicts itself, or names no version, gives nobody anything.
    fn new(agent: &ArtifactName, channel: &Channel) -> Option<Self> {
        let split = channel.split.as_ref().filter(|it| it.fault().is_none())?;
        let mut shares = Vec::new();
        for range in ranges(split) {
            if let Ok(version) = range.variant.as_str().parse() {
                let lock = channel.locks.get(&range.variant).copied();
                shares.push((range, (version, lock)));
            }
        }
        Some(Self {
            by: split.by.as_ref().map_or(Place::TargetingKey, Place::new),
            salt: split.salt.as_deref().unwrap_or(agent.as_str()).into(),
            shares,
        })
    }

    /// What the unit gets; none if there is no unit, or its slot is left over.
    pub(crate) fn share(&self, facts: Facts<'_>, bucketing: Bucketing) -> Option<&OfferKey> {
        let slot = self
            .by
            .unit(facts, |unit| bucket::slot(bucketing, &self.salt, unit))?;
        let at = self.shares.partition_point(|(range, _)| range.end <= slot);
        let (range, offer) = self.shares.get(at)?;
        (range.start <= slot).then_some(offer)
    }
}

impl AgentEntry {
    pub(crate) fn channel(&self) -> Option<&Channel> {
        match self.channel.as_deref() {
            Some(Document::Channel(channel)) => Some(channel),
            _ => None,
        }
    }

    pub(crate) fn kill(&self) -> Option<&Kill> {
        match self.kill.as_deref() {
            Some(Document::Kill(kill)) => Some(kill),
            _ => None,
        }
    }

    /// Says whether a flag that `test` names may change what is given.
    pub(crate) fn is_overridden_by(&self, test: &dyn Fn(&FlagKey) -> bool) -> bool {
        let offers = self.offers.values();
        let mut applying = offers.flat_map(|offer| &offer.applying);
        applying.any(|it| test(&it.overrider.key))
    }

    /// Says whether a share of the tenants or users gets another version than the rest.
    pub(crate) fn is_divided(&self) -> bool {
        self.division.is_some()
    }

    /// Says whether any version that is given locks one of the tools.
    pub(crate) fn uses_tool(&self, tools: &BTreeSet<ArtifactName>) -> bool {
        let offers = self.offers.values();
        let mut contents = offers.filter_map(|offer| offer.content.as_ref().ok());
        !tools.is_empty()
            && contents.any(|it| {
                it.tools
                    .iter()
                    .any(|tool| tools.contains(&tool.version.name))
            })
    }

    pub(crate) fn division(&self) -> Option<&Division> {
        self.division.as_deref()
    }

    pub(crate) fn offer(
        &self,
        version: &semver::Version,
        lock: Option<Digest>,
    ) -> Option<&Arc<Offer>> {
        let mut offers = self.offers.iter();
        offers
            .find(|((its_version, its_lock), _)| its_version == version && *its_lock == lock)
            .map(|(_, offer)| offer)
    }

    /// The versions that the channel can give, with the metadata of those that can be given.
    pub(crate) fn offered(&self) -> Vec<(semver::Version, Option<Value>)> {
        let fallback = self.kill().and_then(|kill| kill.fallback.as_ref());
        let named = self.named().into_iter();
        let given = named.filter(|(version, lock)| lock.is_some() || Some(version) != fallback);
        let metadata = |key: &OfferKey| {
            let content = self.offers.get(key)?.content.as_ref().ok()?;
            content.manifest.get().get("metadata").cloned()
        };
        given.map(|key| (key.0.clone(), metadata(&key))).collect()
    }

    /// What the channel and the kill may give.
    fn named(&self) -> BTreeSet<OfferKey> {
        let mut named = BTreeSet::new();
        if let Some(channel) = self.channel() {
            named.insert((channel.default.version.clone(), channel.default.lock));
        }
        for (_, offer) in self.division.iter().flat_map(|it| &it.shares) {
            named.insert(offer.clone());
        }
        let fallback = self.kill().and_then(|kill| kill.fallback.clone());
        named.extend(fallback.map(|version| (version, None)));
        named
    }
}

impl Registry {
    /// An empty one that shares manifests with others.
    pub(crate) fn sharing(manifests: Manifests) -> Self {
        Self {
            manifests,
            ..Self::default()
        }
    }

    pub(crate) fn agent(&self, name: &ArtifactName) -> Option<&AgentEntry> {
        self.agents.get(name).map(|entry| &**entry)
    }

    /// Gives an agent the channel of another view, or none; kills and what is read anew stay.
    pub(crate) fn keep_agent(&mut self, name: &ArtifactName, before: Option<&AgentEntry>) {
        let now = self.agents.get(name).cloned().unwrap_or_default();
        let mut kept = before.cloned().unwrap_or_default();
        for offer in kept.offers.values_mut() {
            // The places of flags are of that view.
            *offer = Arc::new(offer.overridden_by(&self.overriders));
        }
        kept.kill.clone_from(&now.kill);
        kept.offers.extend(now.offers.clone());
        self.agents.insert(name.clone(), Arc::new(kept));
    }

    /// What there is of each agent here, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&ArtifactName, &AgentEntry)> {
        self.agents.iter().map(|(name, entry)| (name, &**entry))
    }

    /// The tools that are killed in one of two registries and not in the other.
    pub(crate) fn differently_killed(&self, other: &Self) -> BTreeSet<ArtifactName> {
        let of = |registry: &Self| -> BTreeSet<ArtifactName> {
            let killed = registry.killed_tools.iter();
            killed.map(|(tool, _)| tool.clone()).collect()
        };
        &of(self) ^ &of(other)
    }

    /// The agents that have a channel in this environment, in no order.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &ArtifactName> {
        let offered = self
            .agents
            .iter()
            .filter(|(_, entry)| entry.channel.is_some());
        offered.map(|(name, _)| name)
    }

    /// Says whether any version of the agent is published.
    pub(crate) fn knows(&self, agent: &ArtifactName) -> bool {
        let least = ArtifactVersion {
            name: agent.clone(),
            version: semver::Version {
                pre: semver::Prerelease::new("0").unwrap_or(semver::Prerelease::EMPTY),
                ..semver::Version::new(0, 0, 0)
            },
        };
        let mut from = self.published.range((ArtifactKind::Agent, least)..);
        from.next()
            .is_some_and(|((kind, it), _)| *kind == ArtifactKind::Agent && it.name == *agent)
    }

    pub(crate) fn killed_tools(&self) -> &[(ArtifactName, Arc<Document>)] {
        &self.killed_tools
    }

    pub(super) fn overriders(&self) -> &[Overrider] {
        &self.overriders
    }

    pub(super) fn published(&self, subject: &Subject) -> Result<Published, ResolveError> {
        let found = self.published.get(&(subject.kind, subject.version.clone()));
        found
            .and_then(|document| published(document))
            .cloned()
            .ok_or_else(|| ResolveError::VersionNotFound {
                subject: subject.clone(),
            })
    }

    pub(super) fn status(&self, subject: &Subject) -> Option<&Status> {
        match &**self
            .statuses
            .get(&(subject.kind, subject.version.clone()))?
        {
            Document::Status(status) => Some(status),
            _ => None,
        }
    }

    pub(super) fn kept_manifest(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        self.manifests.get(digest)
    }

    pub(super) fn keep_manifest(&self, manifest: Manifest) -> Arc<Manifest> {
        self.manifests.keep(manifest)
    }
}

/// What changes of one update have touched, until offers are read anew.
#[derive(Debug, Default)]
pub(crate) struct RegistryDraft {
    /// Agents whose every offer is read anew.
    stale: BTreeSet<ArtifactName>,
    all_stale: bool,
    /// Tools whose every locker is read anew.
    stale_tools: BTreeSet<ArtifactVersion>,
    /// Offers that there must be.
    wanted: BTreeSet<(ArtifactName, OfferKey)>,
    /// The places of flags whose overrides came, changed or went.
    stale_overriders: BTreeMap<u32, Option<Overrider>>,
}

impl RegistryDraft {
    /// Follows a change of a published version, a status, or a trust.
    pub(crate) fn change(
        &mut self,
        registry: &mut Registry,
        key: &DocumentKey,
        document: Option<&Arc<Document>>,
    ) {
        let (kind, name) = match key.kind() {
            Kind::Trust => {
                self.all_stale = true;
                return;
            }
            Kind::Agent => (ArtifactKind::Agent, key.name()),
            Kind::Tool => (ArtifactKind::Tool, key.name()),
            _ => match key.subject() {
                Some(("agent", name)) => (ArtifactKind::Agent, name),
                Some(("tool", name)) => (ArtifactKind::Tool, name),
                _ => return,
            },
        };
        let Ok(version) = name.parse::<ArtifactVersion>() else {
            return;
        };
        let documents = if key.kind() == Kind::Status {
            &mut registry.statuses
        } else {
            &mut registry.published
        };
        match document {
            Some(document) => documents.insert((kind, version.clone()), Arc::clone(document)),
            None => documents.remove(&(kind, version.clone())),
        };
        match kind {
            ArtifactKind::Agent => {
                self.stale.insert(version.name);
            }
            ArtifactKind::Tool => {
                self.stale_tools.insert(version);
            }
        }
    }

    pub(crate) fn channel(
        &mut self,
        registry: &mut Registry,
        agent: &ArtifactName,
        document: Option<&Arc<Document>>,
    ) {
        self.edit(registry, agent, |entry| entry.channel = document.cloned());
    }

    pub(crate) fn kill_agent(
        &mut self,
        registry: &mut Registry,
        agent: &ArtifactName,
        document: Option<&Arc<Document>>,
    ) {
        self.edit(registry, agent, |entry| entry.kill = document.cloned());
    }

    pub(crate) fn kill_tool(
        registry: &mut Registry,
        tool: ArtifactName,
        document: Option<&Arc<Document>>,
    ) {
        let killed = Arc::make_mut(&mut registry.killed_tools);
        tenant::set(killed, tool, document.cloned());
    }

    /// Asks for an offer that a tenant's pin or kill names.
    pub(crate) fn want(&mut self, agent: &ArtifactName, offer: OfferKey) {
        self.wanted.insert((agent.clone(), offer));
    }

    /// Follows a change of a flag that overrides manifests, or did.
    pub(crate) fn overrider(&mut self, flag: u32, now: Option<Overrider>) {
        self.stale_overriders.insert(flag, now);
    }

    fn edit(
        &mut self,
        registry: &mut Registry,
        agent: &ArtifactName,
        edit: impl FnOnce(&mut AgentEntry),
    ) {
        let before = registry.agents.get(agent);
        let mut entry = before.map(|it| AgentEntry::clone(it)).unwrap_or_default();
        edit(&mut entry);
        let division = entry.channel().and_then(|it| Division::new(agent, it));
        entry.division = division.map(Arc::new);
        for offer in entry.named() {
            self.wanted.insert((agent.clone(), offer));
        }
        registry.agents.insert(agent.clone(), Arc::new(entry));
    }

    /// Reads anew what was touched.
    pub(crate) fn finish(self, registry: &mut Registry, source: &dyn Source) {
        if !self.stale_overriders.is_empty() {
            let places: BTreeSet<u32> = self.stale_overriders.keys().copied().collect();
            let overriders = Arc::make_mut(&mut registry.overriders);
            overriders.retain(|it| !places.contains(&it.flag));
            overriders.extend(self.stale_overriders.into_values().flatten());
            overriders.sort_by(|a, b| {
                let priority = a.priority().cmp(&b.priority());
                priority.then_with(|| a.key.cmp(&b.key))
            });
            override_anew(registry, &places);
        }
        let mut wanted = self.wanted;
        wanted.retain(|(name, key)| {
            let entry = registry.agents.get(name);
            entry.is_none_or(|entry| !entry.offers.contains_key(key))
        });
        let mut again = |name: &ArtifactName, entry: &AgentEntry, whole: bool| {
            for (key, offer) in &entry.offers {
                if whole || self.stale_tools.iter().any(|tool| offer.locks(tool)) {
                    wanted.insert((name.clone(), key.clone()));
                }
            }
        };
        if self.all_stale || !self.stale_tools.is_empty() {
            for (name, entry) in &registry.agents {
                again(name, entry, self.all_stale);
            }
        }
        for name in &self.stale {
            if let Some(entry) = registry.agents.get(name) {
                again(name, entry, true);
            }
        }
        let mut read: BTreeMap<ArtifactName, Vec<(OfferKey, Offer)>> = BTreeMap::new();
        for (name, key) in wanted {
            let version = ArtifactVersion {
                name: name.clone(),
                version: key.0.clone(),
            };
            let offer = Offer::read(registry, version, key.1, source);
            read.entry(name).or_default().push((key, offer));
        }
        for (name, offers) in read {
            let before = registry.agents.get(&name);
            let mut entry = before.map(|it| AgentEntry::clone(it)).unwrap_or_default();
            for (key, offer) in offers {
                entry.offers.insert(key, Arc::new(offer));
            }
            registry.agents.insert(name, Arc::new(entry));
        }
    }
}

/// Replaces every offer that a touched flag overrides, or did.
fn override_anew(registry: &mut Registry, touched: &BTreeSet<u32>) {
    let overriders = Arc::clone(&registry.overriders);
    let mut changed = Vec::new();
    for (name, entry) in &registry.agents {
        let mut entry_after = None;
        for (key, offer) in &entry.offers {
            let after = offer.overridden_by(&overriders);
            let mut applying = offer.applying.iter().chain(&after.applying);
            if applying.any(|it| touched.contains(&it.overrider.flag)) {
                entry_after
                    .get_or_insert_with(|| AgentEntry::clone(entry))
                    .offers
                    .insert(key.clone(), Arc::new(after));
            }
        }
        changed.extend(entry_after.map(|entry| (name.clone(), Arc::new(entry))));
    }
    for (name, entry) in changed {
        registry.agents.insert(name, entry);
    }
}
