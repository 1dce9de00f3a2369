use plane_api::{AckState, Contract};
use plane_model::FlagKey;
use plane_model::documents::FlagType;

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
        service_version: "1.9".to_owned(),
        instance: "pod".to_owned(),
        sdk: String::new(),
        serves: revision,
        revision,
        state: AckState::Applied,
        problems: Vec::new(),
        contract_digest: None,
        contract: None,
    }
}

fn relies_on(flag: &str) -> (AckRequest, Told) {
    let flag = FlagKey::new(flag).unwrap();
    let contract = Contract {
        flags: [(flag, FlagType::Boolean)].into(),
        ..Contract::default()
    };
    let (digest, bytes) = contract.digest().unwrap();
    let said = AckRequest {
        contract_digest: Some(digest),
        ..says(1)
    };
    let contract = CheckedContract::new(&contract).unwrap();
    (said, Told { contract, bytes })
}

fn live(instances: &Instances, now: i64) -> Vec<(u64, &'static str)> {
    let live = instances.live(Timestamp(now), &["production"].into());
    live.iter()
        .map(|it| match it.contract {
            Reliance::Nothing => (it.instances, "nothing"),
            Reliance::Unknown => (it.instances, "unknown"),
            Reliance::On(..) => (it.instances, "known"),
        })
        .collect()
}

#[test]
fn the_last_word_of_an_instance_counts() {
    let instances = Instances::default();
    let first = says(1);
    let before = instances.hear(key(1), Timestamp(1), first.clone(), None);
    assert_eq!(before.before, None);
    let before = instances.hear(key(1), Timestamp(2), says(2), None);
    assert_eq!(before.before, Some(first));
    let all = instances.all(Timestamp(3));
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].1.said.serves, all[0].1.at), (2, Timestamp(2)));
}

#[test]
fn one_instance_tells_what_all_of_its_service_rely_on() {
    let instances = Instances::default();
    for number in 0..3 {
        let (said, _) = relies_on("reasoning");
        let hearing = instances.hear(key(number), Timestamp(1), said, None);
        assert!(hearing.wants_contract, "nobody has told it");
    }
    instances.hear(key(3), Timestamp(1), says(1), None);
    assert_eq!(live(&instances, 1), [(1, "nothing"), (3, "unknown")]);
    let (said, told) = relies_on("reasoning");
    let hearing = instances.hear(key(0), Timestamp(2), said.clone(), Some(told));
    assert!(!hearing.wants_contract);
    let hearing = instances.hear(key(4), Timestamp(2), said, None);
    assert!(!hearing.wants_contract, "it is the same");
    assert_eq!(live(&instances, 2), [(1, "nothing"), (4, "known")]);
    assert_eq!(live(&instances, SILENT_AFTER_MS + 2), [(2, "known")]);
}

#[test]
fn what_nobody_relies_on_any_more_is_dropped() {
    let instances = Instances::default();
    let (said, told) = relies_on("reasoning");
    instances.hear(key(1), Timestamp(1), said.clone(), Some(told));
    // The same again, and from another, and then something else.
    instances.hear(key(1), Timestamp(2), said.clone(), None);
    instances.hear(key(2), Timestamp(2), said, None);
    let size = |instances: &Instances| {
        let known = instances.0.lock().unwrap();
        (
            known.contracts.len(),
            known.contract_count,
            known.contract_bytes > 0,
        )
    };
    assert_eq!(size(&instances), (1, 1, true));
    instances.hear(key(1), Timestamp(3), says(1), None);
    assert_eq!(size(&instances), (1, 1, true));
    instances.all(Timestamp(FORGOTTEN_AFTER_MS + 2));
    assert_eq!(size(&instances), (0, 0, false));
}

#[test]
fn contracts_beyond_what_is_kept_are_not_asked_for() {
    let instances = Instances::default();
    for number in 0..CONTRACTS_MAX {
        let (said, told) = relies_on(&format!("flag-{number}"));
        instances.hear(key(number), Timestamp(1), said, Some(told));
    }
    let (said, told) = relies_on("one-more");
    let hearing = instances.hear(key(CONTRACTS_MAX), Timestamp(1), said.clone(), Some(told));
    assert!(!hearing.wants_contract);
    let again = instances.hear(key(CONTRACTS_MAX), Timestamp(1), said.clone(), None);
    assert!(!again.wants_contract);
    instances.hear(key(0), Timestamp(2), says(1), None);
    let again = instances.hear(key(CONTRACTS_MAX), Timestamp(3), said, None);
    assert!(again.wants_contract, "there is room now");
}

#[test]
fn an_instance_that_is_silent_for_a_day_is_forgotten() {
    let instances = Instances::default();
    instances.hear(key(1), Timestamp(0), says(1), None);
    assert_eq!(instances.all(Timestamp(FORGOTTEN_AFTER_MS - 1)).len(), 1);
    assert_eq!(instances.all(Timestamp(FORGOTTEN_AFTER_MS)).len(), 0);
}

#[test]
fn one_instance_more_than_are_remembered_pushes_out_the_most_silent() {
    let instances = Instances::default();
    for number in 0..INSTANCES_MAX {
        instances.hear(key(number), Timestamp(1), says(1), None);
    }
    instances.hear(key(7), Timestamp(0), says(1), None);
    instances.hear(key(INSTANCES_MAX), Timestamp(2), says(1), None);
    let all = instances.all(Timestamp(2));
    assert_eq!(all.len(), INSTANCES_MAX);
    assert!(all.iter().all(|(it, _)| *it != key(7)));
}
