//! Resolving in process on the example platform, warm.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, anyhow};
use plane_eval::Context;
use plane_model::{ArtifactName, EnvironmentName};
use serde_json::json;

use crate::platform::example;
use crate::stats::{Row, human, per_call};

/// Measures a tenant whom no override reaches and one whom some do.
pub async fn run() -> Result<Vec<Row>> {
    let node = example().await?;
    let snapshot = node.snapshot();
    let view = snapshot
        .view(&EnvironmentName::new("production")?)
        .ok_or_else(|| anyhow!("the example platform has no production"))?;
    let agent = ArtifactName::new("customer_support_agent")?;
    let now = node.now();
    let mut rows = Vec::new();
    for (tenant, what, budget) in [
        ("tenant456", "resolve in process, warm, no override applies", Duration::from_micros(1)),
        ("tenant123", "resolve in process, warm, two overrides apply", Duration::from_micros(2)),
    ] {
        let context = Context::parse(&json!({ "tenant": tenant, "user": "u1" }))
            .map_err(|violations| anyhow!("{violations:?}"))?;
        view.resolve(&agent, &context, now).map_err(|error| anyhow!("{error:?}"))?;
        let time = per_call(51, 2_000, || {
            black_box(view.resolve(black_box(&agent), black_box(&context), now)).ok();
        });
        rows.push(Row {
            what: what.to_owned(),
            ours: human(time),
            floor: String::new(),
            ratio: String::new(),
            budget: format!("≤ {}", human(budget)),
            met: Some(time <= budget),
        });
    }
    node.shutdown().await;
    Ok(rows)
}
