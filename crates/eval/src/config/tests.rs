//! Merging agrees with an obvious reference.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::merge::is_unset;
use super::{defaults, merge};

/// Asks, for every name, the layers from the heaviest down until one has the last word.
fn reference(heaviest_first: &[&Map<String, Value>]) -> Map<String, Value> {
    let mut merged = Map::new();
    let names = heaviest_first.iter().flat_map(|layer| layer.keys());
    for name in names {
        let mut objects = Vec::new();
        let mut last_word = None;
        for value in heaviest_first.iter().filter_map(|layer| layer.get(name)) {
            match value {
                _ if is_unset(value) => break,
                Value::Object(members) => objects.push(members),
                other => {
                    last_word = Some(other.clone());
                    break;
                }
            }
        }
        if !objects.is_empty() {
            merged.insert(name.clone(), Value::Object(reference(&objects)));
        } else if let Some(value) = last_word {
            merged.insert(name.clone(), value);
        }
    }
    merged
}

fn layer() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4).prop_map(Value::from),
        prop::collection::vec(0..3, 0..3).prop_map(Value::from),
        Just(json!({"$unset": true})),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::btree_map("[a-c]", inner, 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    });
    prop::collection::btree_map("[a-d]", value, 0..4)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn merging_agrees_with_asking_from_the_heaviest_down(layers in prop::collection::vec(layer(), 0..5)) {
        let heaviest_first: Vec<_> = layers.iter().rev().collect();
        prop_assert_eq!(merge(&layers, None), reference(&heaviest_first));
    }

    #[test]
    fn defaults_are_like_a_layer_below_all(layers in prop::collection::vec(layer(), 0..4), lowest in layer()) {
        let properties: Map<_, _> = lowest
            .iter()
            .map(|(name, value)| (name.clone(), json!({"default": value})))
            .collect();
        let schema = json!({"properties": properties});
        let below = defaults(&schema);
        prop_assert_eq!(&below, &lowest);
        let all: Vec<_> = [&below].into_iter().chain(&layers).collect();
        let merged = merge(&layers, Some(&schema));
        let mut heaviest_first = all;
        heaviest_first.reverse();
        // What a default holds is taken as it is; it is no layer, and has nothing to unset.
        prop_assume!(!lowest.values().any(holds_unset));
        prop_assert_eq!(merged, reference(&heaviest_first));
    }
}

fn holds_unset(value: &Value) -> bool {
    match value {
        _ if is_unset(value) => true,
        Value::Object(members) => members.values().any(holds_unset),
        _ => false,
    }
}
