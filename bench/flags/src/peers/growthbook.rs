//! GrowthBook's Rust SDK, evaluating in process.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use growthbook_rust::growthbook::GrowthBook;
use growthbook_rust::model_public::{GrowthBookAttribute, GrowthBookAttributeValue};
use serde_json::{Map, Value, json};

use crate::workload::{ATTRIBUTES, FLAGS, Field, PLAN, REGION, RULES, TENANTS, USER, key, others};

/// What the table calls it.
pub const NAME: &str = "GrowthBook";

/// Enters it.
pub fn enter(field: &mut Field) -> Result<()> {
    let starts = json!({"$regex": format!("^{REGION}")});
    let mut features = Map::new();
    features.insert("a".to_owned(), json!({"defaultValue": true}));
    let condition = json!({"tenant_id": {"$in": TENANTS}, "plan": PLAN, "region": starts});
    features.insert("b".to_owned(), feature(&[json!({"condition": condition, "force": true})]));
    let split = json!({"force": true, "coverage": 0.25, "hashAttribute": "id"});
    features.insert("c".to_owned(), feature(&[split]));
    for flag in 0..FLAGS {
        let rules: Vec<Value> = (0..RULES)
            .map(|rule| {
                let condition = json!({"region": starts, "tenant_id": {"$in": others(flag, rule)}});
                json!({"condition": condition, "force": true})
            })
            .collect();
        features.insert(key(flag), feature(&rules));
    }
    let book = Arc::new(GrowthBook {
        forced_variations: None,
        features: serde_json::from_value(Value::Object(features))?,
        attributes: None,
        sticky_bucket_service: None,
        saved_groups: HashMap::new(),
    });
    let ctx = Arc::new(context());
    let ask = move |key: &str| book.check(key, black_box(&*ctx)).on;
    field.enter_all(NAME, ask, || black_box(context()).is_some());
    Ok(())
}

fn context() -> Option<Vec<GrowthBookAttribute>> {
    let all = [("id", USER)].into_iter().chain(ATTRIBUTES);
    let attribute = |(key, value): (&str, &str)| GrowthBookAttribute {
        key: black_box(key).to_owned(),
        value: GrowthBookAttributeValue::String(black_box(value).to_owned()),
    };
    Some(all.map(attribute).collect())
}

fn feature(rules: &[Value]) -> Value {
    json!({"defaultValue": false, "rules": rules})
}
