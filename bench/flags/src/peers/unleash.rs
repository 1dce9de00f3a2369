//! Unleash's evaluator, yggdrasil, which its newer SDKs and Edge are built on.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use unleash_types::client_features::Context;
use unleash_yggdrasil::EngineState;

use crate::workload::{ATTRIBUTES, FLAGS, Field, PLAN, REGION, RULES, TENANTS, USER, key, others};

/// What the table calls it.
pub const NAME: &str = "Unleash";

/// Enters it.
pub fn enter(field: &mut Field) -> Result<()> {
    let mut features = vec![
        feature("a", json!([])),
        feature("b", json!([strategy(&[
            constraint("tenant_id", "IN", json!(TENANTS)),
            constraint("plan", "IN", json!([PLAN])),
            constraint("region", "STR_STARTS_WITH", json!([REGION])),
        ])])),
        feature("c", json!([{
            "name": "flexibleRollout", "constraints": [],
            "parameters": {"rollout": "25", "stickiness": "userId", "groupId": "c"},
        }])),
    ];
    features.extend((0..FLAGS).map(|flag| {
        let all = (0..RULES).map(|rule| strategy(&[
            constraint("region", "STR_STARTS_WITH", json!([REGION])),
            constraint("tenant_id", "IN", json!(others(flag, rule))),
        ]));
        feature(&key(flag), all.collect())
    }));
    let engine = EngineState::default();
    let features = serde_json::from_value(json!({"version": 2, "features": features}))?;
    ensure!(engine.apply_client_features(features).is_none(), "a feature was not understood");
    let engine = Arc::new(engine);
    let ctx = context();
    let ask = {
        let ctx = Arc::new(ctx);
        move |key: &str| engine.is_enabled(key, black_box(&ctx), &None)
    };
    field.enter_all(NAME, ask, || black_box(context()).user_id.is_some());
    Ok(())
}

fn context() -> Context {
    let properties = ATTRIBUTES.iter().map(|(name, value)| {
        (black_box(*name).to_owned(), black_box(*value).to_owned())
    });
    Context {
        user_id: Some(black_box(USER).to_owned()),
        session_id: None,
        environment: None,
        app_name: None,
        current_time: None,
        remote_address: None,
        properties: Some(properties.collect()),
    }
}

fn constraint(name: &str, operator: &str, values: Value) -> Value {
    json!({"contextName": name, "operator": operator, "values": values})
}

fn strategy(constraints: &[Value]) -> Value {
    json!({"name": "default", "parameters": {}, "constraints": constraints})
}

fn feature(name: &str, strategies: Value) -> Value {
    json!({
        "name": name, "type": "release", "enabled": true, "project": "default",
        "strategies": strategies, "variants": [],
    })
}
