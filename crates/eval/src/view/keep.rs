//! Views that keep some of what was before: for holders that cannot use what is new of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plane_model::documents::FlagType;
use plane_model::{ArtifactName, ConfigName, Digest, FlagKey, Label, TenantId};
use serde_json::{Map, Value};

use super::View;
use super::update::Draft;
use crate::config::Scope;
use crate::source::{Signature, Source};

/// What a view has from the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Flags with their targeting.
    pub flags: BTreeSet<FlagKey>,
    /// Config documents with all their layers.
    pub configs: BTreeSet<ConfigName>,
    /// What agents' channels give.
    pub agents: BTreeSet<ArtifactName>,
}

/// Nothing has to be read for what is there already.
struct Nothing;

impl Source for Nothing {
    fn blob(&self, _: &Digest) -> Option<Arc<[u8]>> {
        None
    }

    fn signature(
        &self,
        _: plane_model::ArtifactKind,
        _: &plane_model::ArtifactVersion,
    ) -> Signature {
        Signature::Unsigned
    }
}

impl View {
    /// Returns this view with what `keep` names as it was `before`; what was not there then is not there.
    ///
    /// Kills, pins, tenants and the status of published versions are those of this view.
    #[must_use]
    pub fn keeping(&self, before: Option<&Self>, keep: &Keep) -> Self {
        let mut draft = Draft::new(self.clone());
        for key in &keep.flags {
            let slot = before.and_then(|view| view.flags.find(key.as_str()));
            let parts = slot.map(|(_, slot)| slot.chunk.parts().clone());
            let parts = parts.unwrap_or_default();
            draft.flag(key.as_str(), |now| {
                now.flag = parts.flag;
                now.targeting = parts.targeting;
            });
        }
        let mut view = draft.finish(self.revision, &Nothing);
        for name in &keep.configs {
            match before.and_then(|view| view.configs.get(name)) {
                Some(config) => view.configs.insert(name.clone(), Arc::clone(config)),
                None => view.configs.remove(name),
            };
        }
        for name in &keep.agents {
            let entry = before.and_then(|view| view.registry.agent(name));
            view.registry.keep_agent(name, entry);
        }
        view
    }

    /// The type of a flag that exists and is not archived.
    pub fn flag_type(&self, key: &str) -> Option<FlagType> {
        let (_, slot) = self.flags.find(key).filter(|(_, it)| it.chunk.exists())?;
        Some(slot.chunk.parts().flag()?.kind)
    }

    /// The different values that a config document has for a service: for any tenant, at most `values_max`.
    pub fn config_values(
        &self,
        document: &ConfigName,
        service: Option<&str>,
        values_max: usize,
    ) -> Vec<Arc<Map<String, Value>>> {
        let Some(config) = self.configs.get(document) else {
            return Vec::new();
        };
        let (regions, plans) = config.places();
        let shared = regions.iter().flat_map(|region| {
            let plans = plans.iter();
            plans.map(|plan| (region.as_deref(), plan.as_deref(), None))
        });
        let own = config.own_tenants().map(|id| {
            let facts = self.tenants.get(id.as_str()).and_then(|it| it.tenant());
            let region = facts.and_then(|it| it.region.as_ref()).map(Label::as_str);
            let plan = facts.and_then(|it| it.plan.as_ref()).map(Label::as_str);
            (region, plan, Some(id))
        });
        let mut values = BTreeMap::new();
        for (region, plan, tenant) in shared.chain(own).take(values_max) {
            let scope = Scope {
                environment: Some(self.environment.as_str()),
                region,
                service,
                plan,
                tenant: tenant.map(TenantId::as_str),
            };
            let value = config.effective(&scope).shared();
            values.insert(Arc::as_ptr(&value).addr(), value);
        }
        values.into_values().collect()
    }

    /// The versions that an agent's channel can give, with their metadata where they can be given;
    /// none if it has no channel.
    pub fn offered(&self, agent: &ArtifactName) -> Option<Vec<(semver::Version, Option<Value>)>> {
        let entry = self.registry.agent(agent)?;
        entry.channel()?;
        Some(entry.offered())
    }
}
