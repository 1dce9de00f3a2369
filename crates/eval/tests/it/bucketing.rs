//! `spec/bucketing.json`.

use plane_eval::bucket;
use plane_model::documents::Bucketing;
use serde::Deserialize;

use crate::support::read;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    bucketing: Bucketing,
    salt: String,
    unit: String,
    hash: u32,
    slot: u32,
}

#[test]
fn units_fall_into_the_slots_of_the_vectors() {
    let vectors: Vectors = read("bucketing.json");
    assert!(vectors.cases.len() >= 25);
    for case in vectors.cases {
        let Case {
            name, salt, unit, ..
        } = &case;
        let hash = bucket::hash(case.bucketing, salt, unit);
        assert_eq!(hash, case.hash, "{name}");
        assert_eq!(
            bucket::slot(case.bucketing, salt, unit),
            case.slot,
            "{name}"
        );
    }
}
