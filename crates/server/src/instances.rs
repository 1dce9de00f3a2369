//! What the instances of services last said of themselves.
//!
//! Bounded, and gone with the process: instances say it again within a minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use plane_api::AckRequest;
use plane_model::{EnvironmentName, Timestamp};

/// How many instances are remembered; of more, those that were silent longest are forgotten.
const INSTANCES_MAX: usize = 50_000;
/// After how long an instance that says nothing is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 24 * 3_600_000;

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
    /// What.
    pub(crate) said: AckRequest,
}

/// The instances that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Instances(Mutex<BTreeMap<InstanceKey, Heard>>);

impl Instances {
    /// Remembers what an instance says, with the contract of before if it says none now.
    ///
    /// Returns what it said before.
    pub(crate) fn hear(
        &self,
        key: InstanceKey,
        at: Timestamp,
        mut said: AckRequest,
    ) -> Option<AckRequest> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.remove(&key).map(|heard| heard.said);
        if before.is_none() && known.len() >= INSTANCES_MAX {
            let longest = known.iter().min_by_key(|(_, heard)| heard.at);
            if let Some(longest) = longest.map(|(key, _)| key.clone()) {
                known.remove(&longest);
            }
        }
        if said.contract.is_none() {
            said.contract = before.as_ref().and_then(|it| it.contract.clone());
        }
        known.insert(key, Heard { at, said });
        before
    }

    /// Says whether it is known what an instance relies on.
    pub(crate) fn knows_contract(&self, key: &InstanceKey) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(key)
            .is_some_and(|heard| heard.said.contract.is_some())
    }

    /// Everything that was heard within a day of `now`, in the order of the keys; what is older is forgotten.
    pub(crate) fn all(&self, now: Timestamp) -> Vec<(InstanceKey, Heard)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, heard| now.0.saturating_sub(heard.at.0) < FORGOTTEN_AFTER_MS);
        known
            .iter()
            .map(|(key, heard)| (key.clone(), heard.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use plane_api::{AckState, Contract};

    use super::*;

    fn key(instance: usize) -> InstanceKey {
        InstanceKey {
            environment: EnvironmentName::new("production").unwrap(),
            service: "orders".to_owned(),
            instance: format!("pod-{instance:06}"),
        }
    }

    fn says(revision: u64) -> AckRequest {
        AckRequest {
            service: "orders".to_owned(),
            service_version: String::new(),
            instance: "pod".to_owned(),
            sdk: String::new(),
            serves: revision,
            revision,
            state: AckState::Applied,
            problems: Vec::new(),
            contract: None,
        }
    }

    #[test]
    fn the_last_word_of_an_instance_counts_and_its_contract_stays() {
        let instances = Instances::default();
        let contract = Some(Contract::default());
        let first = AckRequest {
            contract: contract.clone(),
            ..says(1)
        };
        assert_eq!(instances.hear(key(1), Timestamp(1), first.clone()), None);
        assert_eq!(instances.hear(key(1), Timestamp(2), says(2)), Some(first));
        let all = instances.all(Timestamp(3));
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].1.said.serves, all[0].1.at), (2, Timestamp(2)));
        assert_eq!(all[0].1.said.contract, contract);
    }

    #[test]
    fn an_instance_that_is_silent_for_a_day_is_forgotten() {
        let instances = Instances::default();
        instances.hear(key(1), Timestamp(0), says(1));
        assert_eq!(instances.all(Timestamp(FORGOTTEN_AFTER_MS - 1)).len(), 1);
        assert_eq!(instances.all(Timestamp(FORGOTTEN_AFTER_MS)).len(), 0);
    }

    #[test]
    fn one_instance_more_than_are_remembered_pushes_out_the_most_silent() {
        let instances = Instances::default();
        for number in 0..INSTANCES_MAX {
            instances.hear(key(number), Timestamp(1), says(1));
        }
        instances.hear(key(7), Timestamp(0), says(1));
        instances.hear(key(INSTANCES_MAX), Timestamp(2), says(1));
        let all = instances.all(Timestamp(2));
        assert_eq!(all.len(), INSTANCES_MAX);
        assert!(all.iter().all(|(it, _)| *it != key(7)));
    }
}
