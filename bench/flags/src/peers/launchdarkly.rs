//! LaunchDarkly's evaluation crate, as its Rust server SDK uses it.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use launchdarkly_server_sdk_evaluation::{Context, ContextBuilder, Flag, Segment, Store, evaluate};
use serde_json::{Value, json};

use crate::workload::{ATTRIBUTES, FLAGS, Field, PLAN, REGION, RULES, TENANTS, USER, key, others};

/// What the table calls it.
pub const NAME: &str = "LaunchDarkly";

struct Flags(HashMap<String, Flag>);

impl Store for Flags {
    fn flag(&self, key: &str) -> Option<Flag> {
        self.0.get(key).cloned()
    }

    fn segment(&self, _: &str) -> Option<Segment> {
        None
    }
}

/// Enters it.
pub fn enter(field: &mut Field) -> Result<()> {
    let mut flags = HashMap::new();
    let mut add = |key: &str, rules: Value, rest: Value| -> Result<()> {
        flags.insert(key.to_owned(), flag(key, rules, rest)?);
        Ok(())
    };
    add("a", json!([]), json!({"variation": 0}))?;
    add(
        "b",
        json!([rule("r", &json!([
            clause("tenant_id", "in", &json!(TENANTS)),
            clause("plan", "in", &json!([PLAN])),
            clause("region", "startsWith", &json!([REGION])),
        ]))]),
        json!({"variation": 1}),
    )?;
    let split = [json!({"variation": 0, "weight": 25_000}), json!({"variation": 1, "weight": 75_000})];
    add("c", json!([]), json!({"rollout": {"kind": "rollout", "contextKind": "user", "variations": split}}))?;
    for number in 0..FLAGS {
        let rules: Vec<Value> = (0..RULES)
            .map(|at| rule(&format!("r{at}"), &json!([
                clause("region", "startsWith", &json!([REGION])),
                clause("tenant_id", "in", &json!(others(number, at))),
            ])))
            .collect();
        add(&key(number), json!(rules), json!({"variation": 1}))?;
    }
    let flags = Arc::new(Flags(flags));
    let ctx = context().map_err(|error| anyhow!(error))?;
    let ask = move |key: &str| {
        let flag = &flags.0[key];
        let value = evaluate(&*flags, flag, black_box(&ctx), None).value;
        value.and_then(|value| value.as_bool()).unwrap_or_default()
    };
    field.enter_all(NAME, ask, || black_box(context()).is_ok());
    Ok(())
}

fn context() -> Result<Context, String> {
    let mut builder = ContextBuilder::new(black_box(USER));
    for (name, value) in ATTRIBUTES {
        builder.set_string(black_box(name), black_box(value));
    }
    builder.build()
}

fn clause(attribute: &str, op: &str, values: &Value) -> Value {
    json!({"attribute": attribute, "op": op, "values": values, "negate": false, "contextKind": "user"})
}

fn rule(id: &str, clauses: &Value) -> Value {
    json!({"id": id, "trackEvents": false, "variation": 0, "clauses": clauses})
}

fn flag(key: &str, rules: Value, fallthrough: Value) -> Result<Flag> {
    Ok(serde_json::from_value(json!({
        "key": key, "version": 1, "on": true, "targets": [], "contextTargets": [], "rules": rules,
        "prerequisites": [], "fallthrough": fallthrough, "offVariation": 1, "variations": [true, false],
        "salt": "salt", "clientSide": false,
        "clientSideAvailability": {"usingMobileKey": false, "usingEnvironmentId": false, "explicit": true},
    }))?)
}
