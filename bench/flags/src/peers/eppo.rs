//! Eppo's core, which its SDKs in several languages are built on.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use chrono::Utc;
use eppo_core::eval::get_assignment;
use eppo_core::ufc::{AssignmentValue, UniversalFlagConfig};
use eppo_core::{Attributes, Configuration, SdkMetadata, Str};
use serde_json::{Map, Value, json};

use crate::workload::{ATTRIBUTES, FLAGS, Field, PLAN, REGION, RULES, TENANTS, USER, key, others};

/// What the table calls it.
pub const NAME: &str = "Eppo";

/// Enters it.
pub fn enter(field: &mut Field) -> Result<()> {
    let region = condition("region", "MATCHES", json!(format!("^{REGION}")));
    let mut flags = Map::new();
    flags.insert("a".to_owned(), flag("a", json!([allocation("x", None, "on")])));
    let conditions = json!([
        condition("tenant_id", "ONE_OF", json!(TENANTS)),
        condition("plan", "ONE_OF", json!([PLAN])),
        region,
    ]);
    let b = json!([allocation("x", Some(conditions), "on"), allocation("y", None, "off")]);
    flags.insert("b".to_owned(), flag("b", b));
    let shards = json!([{"salt": "c-x", "ranges": [{"start": 0, "end": 2500}]}]);
    let splits = json!([{"variationKey": "on", "shards": shards}, {"variationKey": "off", "shards": []}]);
    flags.insert("c".to_owned(), flag("c", json!([{"key": "x", "doLog": false, "splits": splits}])));
    for number in 0..FLAGS {
        let mut all: Vec<Value> = (0..RULES)
            .map(|rule| {
                let among = condition("tenant_id", "ONE_OF", json!(others(number, rule)));
                allocation(&format!("r{rule}"), Some(json!([region, among])), "on")
            })
            .collect();
        all.push(allocation("default", None, "off"));
        flags.insert(key(number), flag(&key(number), json!(all)));
    }
    let json = json!({
        "createdAt": "2024-04-17T19:40:53.716Z", "format": "SERVER",
        "environment": {"name": "Test"}, "flags": flags, "bandits": {},
    });
    let metadata = SdkMetadata { name: "bench", version: "0" };
    let flags = UniversalFlagConfig::from_json(metadata, serde_json::to_vec(&json)?)?;
    let configuration = Arc::new(Configuration::from_server_response(flags, None));
    // As for ours, the time is read once for all evaluations.
    let now = Utc::now();
    let ctx = Arc::new(context());
    let ask = move |key: &str| {
        let (subject, attributes) = &**black_box(&ctx);
        let found = get_assignment(Some(&configuration), key, subject, attributes, None, now);
        matches!(found, Ok(Some(it)) if matches!(it.value, AssignmentValue::Boolean(true)))
    };
    field.enter_all(NAME, ask, || !black_box(context()).1.is_empty());
    Ok(())
}

fn context() -> (Str, Arc<Attributes>) {
    let mut attributes = Attributes::default();
    for (name, value) in ATTRIBUTES {
        attributes.insert(black_box(name).into(), black_box(value).into());
    }
    (black_box(USER).into(), Arc::new(attributes))
}

fn condition(attribute: &str, operator: &str, value: Value) -> Value {
    json!({"attribute": attribute, "operator": operator, "value": value})
}

fn allocation(key: &str, conditions: Option<Value>, variation: &str) -> Value {
    let splits = json!([{"variationKey": variation, "shards": []}]);
    let mut allocation = json!({"key": key, "splits": splits, "doLog": false});
    if let Some(conditions) = conditions {
        allocation["rules"] = json!([{"conditions": conditions}]);
    }
    allocation
}

fn flag(key: &str, allocations: Value) -> Value {
    json!({
        "key": key, "enabled": true, "variationType": "BOOLEAN", "totalShards": 10_000,
        "variations": {"on": {"key": "on", "value": true}, "off": {"key": "off", "value": false}},
        "allocations": allocations,
    })
}
