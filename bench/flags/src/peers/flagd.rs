//! flagd in process: the evaluation engine of its Rust provider.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use flagd_evaluation_engine::{FeatureFlag, Operator};
use open_feature::EvaluationContext;
use serde_json::{Value, json};

use crate::workload::{ATTRIBUTES, FLAGS, Field, USER, Workload, json_logic, key};

/// What the table calls it.
pub const NAME: &str = "flagd";

struct Flags {
    operator: Operator,
    flags: HashMap<String, FeatureFlag>,
}

impl Flags {
    /// What `open-feature-flagd` 0.3 does after its cache, without its lock and its enrichment.
    fn ask(&self, key: &str, ctx: &EvaluationContext) -> bool {
        let Some(flag) = self.flags.get(key).cloned() else {
            return false;
        };
        let targeting = flag.get_targeting();
        let variant = if targeting == "{}" {
            flag.default_variant.clone()
        } else {
            let found = self.operator.apply(key, &targeting, ctx).ok().flatten();
            found.unwrap_or(flag.default_variant.clone())
        };
        flag.variants.get(&variant).and_then(Value::as_bool).unwrap_or_default()
    }
}

/// Enters it.
pub fn enter(field: &mut Field) -> Result<()> {
    let mut flags = HashMap::new();
    flags.insert("a".to_owned(), flag(None)?);
    flags.insert("b".to_owned(), flag(Some(json_logic(Workload::Rule, 0)))?);
    flags.insert("c".to_owned(), flag(Some(json_logic(Workload::Split, 0)))?);
    for number in 0..FLAGS {
        flags.insert(key(number), flag(Some(json_logic(Workload::Turn, number)))?);
    }
    let flags = Arc::new(Flags { operator: Operator::new(), flags });
    let ctx = Arc::new(context());
    let ask = move |key: &str| flags.ask(key, black_box(&ctx));
    field.enter_all(NAME, ask, || black_box(context()).targeting_key.is_some());
    Ok(())
}

fn context() -> EvaluationContext {
    let ctx = EvaluationContext::default().with_targeting_key(black_box(USER));
    ATTRIBUTES.iter().fold(ctx, |ctx, (name, value)| ctx.with_custom_field(*black_box(name), *black_box(value)))
}

fn flag(targeting: Option<Value>) -> Result<FeatureFlag> {
    let default = if targeting.is_some() { "off" } else { "on" };
    let mut flag = json!({
        "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": default,
    });
    if let Some(targeting) = targeting {
        flag["targeting"] = targeting;
    }
    Ok(serde_json::from_value(flag)?)
}
