//! What the instances of services last said of themselves, and what they rely on.
//!
//! Bounded, and gone with the process: instances say it again within a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use plane_api::AckRequest;
use plane_model::{Digest, EnvironmentName, Timestamp};
use plane_state::CheckedContract;

/// How many instances are remembered; of more, those that were silent longest are forgotten.
const INSTANCES_MAX: usize = 50_000;
/// After how long an instance that says nothing is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 24 * 3_600_000;
/// After how long an instance that says nothing counts as silent: three times in a row.
pub(crate) const SILENT_AFTER_MS: i64 = 90_000;
/// How many different contracts are kept, and how many bytes of them.
const CONTRACTS_MAX: usize = 1_000;
const CONTRACT_BYTES_MAX: usize = 32 << 20;

/// Names an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InstanceKey {
    /// Where it runs.
    pub(crate) environment: EnvironmentName,
    /// The service.
    pub(crate) service: String,
    /// Tells it from others of the service.
    pub(crate) instance: String,
}

/// The last that was heard of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When.
    pub(crate) at: Timestamp,
    /// What, without its contract.
    pub(crate) said: AckRequest,
}

/// What a service relies on, as it arrived.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) contract: CheckedContract,
    pub(crate) bytes: usize,
}

/// The instances that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Instances(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    heard: BTreeMap<InstanceKey, Heard>,
    /// What instances name, each once, however many name it.
    contracts: BTreeMap<Digest, Named>,
    /// Of those that are there, how many and how large they are.
    contract_count: usize,
    contract_bytes: usize,
}

/// A contract that instances name, which may not have been told yet.
#[derive(Debug, Default)]
struct Named {
    by: usize,
    told: Option<Arc<Told>>,
}

/// What became of what an instance said.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// What it had said before.
    pub(crate) before: Option<AckRequest>,
    /// Whether it should tell what it relies on.
    pub(crate) wants_contract: bool,
}

/// Live instances of one version of a service that rely on the same.
#[derive(Debug, Clone)]
pub(crate) struct Alike {
    pub(crate) environment: EnvironmentName,
    pub(crate) service: String,
    pub(crate) service_version: String,
    pub(crate) contract: Reliance,
    pub(crate) instances: u64,
}

/// What instances rely on.
#[derive(Debug, Clone)]
pub(crate) enum Reliance {
    Nothing,
    /// They name something that was not told yet.
    Unknown,
    On(Digest, Arc<Told>),
}

impl Instances {
    /// Remembers what an instance says, and what it relies on if it comes along.
    pub(crate) fn hear(
        &self,
        key: InstanceKey,
        at: Timestamp,
        said: AckRequest,
        told: Option<Told>,
    ) -> Hearing {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Named before it is no longer named, so that it stays where it is the same.
        let digest = said.contract_digest;
        let wants_contract = digest.is_some_and(|digest| known.name(digest, told));
        let before = known.forget(&key);
        if before.is_none() && known.heard.len() >= INSTANCES_MAX {
            let longest = known.heard.iter().min_by_key(|(_, heard)| heard.at);
            if let Some(longest) = longest.map(|(key, _)| key.clone()) {
                known.forget(&longest);
            }
        }
        known.heard.insert(key, Heard { at, said });
        Hearing {
            before,
            wants_contract,
        }
    }

    /// Everything that was heard within a day of `now`, in the order of the keys; what is older is forgotten.
    pub(crate) fn all(&self, now: Timestamp) -> Vec<(InstanceKey, Heard)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget_old(now);
        let heard = known.heard.iter();
        heard.map(|(key, it)| (key.clone(), it.clone())).collect()
    }

    /// The instances that are not silent, by environment, service, version and what they rely on.
    pub(crate) fn live(&self, now: Timestamp, environments: &BTreeSet<&str>) -> Vec<Alike> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget_old(now);
        let mut alike: BTreeMap<_, u64> = BTreeMap::new();
        for (key, heard) in &known.heard {
            let is_live = now.0.saturating_sub(heard.at.0) <= SILENT_AFTER_MS;
            if is_live && environments.contains(key.environment.as_str()) {
                let said = &heard.said;
                let version = said.service_version.as_str();
                let group = (
                    &key.environment,
                    &*key.service,
                    version,
                    said.contract_digest,
                );
                *alike.entry(group).or_default() += 1;
            }
        }
        let alike = alike.into_iter();
        alike
            .map(|((environment, service, version, digest), instances)| {
                let told = |digest| known.contracts.get(&digest).and_then(|it| it.told.clone());
                let contract = match digest {
                    None => Reliance::Nothing,
                    Some(digest) => {
                        told(digest).map_or(Reliance::Unknown, |told| Reliance::On(digest, told))
                    }
                };
                Alike {
                    environment: environment.clone(),
                    service: service.to_owned(),
                    service_version: version.to_owned(),
                    contract,
                    instances,
                }
            })
            .collect()
    }
}

impl Known {
    /// Notes that an instance names a contract; says whether it should be told.
    fn name(&mut self, digest: Digest, told: Option<Told>) -> bool {
        let named = self.contracts.entry(digest).or_default();
        named.by += 1;
        if named.told.is_some() {
            return false;
        }
        // Where there are too many, nothing is known of what is beyond; nobody is asked in vain.
        let has_room = |bytes: usize| {
            self.contract_count < CONTRACTS_MAX
                && self.contract_bytes.saturating_add(bytes) <= CONTRACT_BYTES_MAX
        };
        match told {
            Some(told) if has_room(told.bytes) => {
                self.contract_count += 1;
                self.contract_bytes += told.bytes;
                named.told = Some(Arc::new(told));
                false
            }
            Some(_) => false,
            None => has_room(0),
        }
    }

    /// Forgets an instance, and what only it relied on.
    fn forget(&mut self, key: &InstanceKey) -> Option<AckRequest> {
        let heard = self.heard.remove(key)?;
        if let Some(digest) = heard.said.contract_digest
            && let Some(named) = self.contracts.get_mut(&digest)
        {
            named.by -= 1;
            if named.by == 0
                && let Some(Named {
                    told: Some(told), ..
                }) = self.contracts.remove(&digest)
            {
                self.contract_count -= 1;
                self.contract_bytes -= told.bytes;
            }
        }
        Some(heard.said)
    }

    fn forget_old(&mut self, now: Timestamp) {
        let is_old = |heard: &Heard| now.0.saturating_sub(heard.at.0) >= FORGOTTEN_AFTER_MS;
        let heard = self.heard.iter();
        let old = heard
            .filter(|(_, it)| is_old(it))
            .map(|(key, _)| key.clone());
        for key in old.collect::<Vec<_>>() {
            self.forget(&key);
        }
    }
}

#[cfg(test)]
mod tests;
