//! What asking for the impact of one changed flag costs, of all tenants.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plane_eval::{Inquiry, impact};
use plane_model::{EnvironmentName, Kind};
use plane_node::Node;
use plane_state::Action;
use serde_json::json;

use super::make::{flag_name, put};
use super::row;
use crate::platform::{admin, command};
use crate::stats::{Row, human, percentile};

/// Asks what one flag with new targeting, which tells tenants apart, would change.
pub async fn measure(node: &Node) -> Result<Row> {
    let scope = admin()?;
    let production = EnvironmentName::new("production")?;
    let targeting = json!({
        "state": "enabled",
        "off": "off",
        "rules": [
            { "name": "large", "if": { "attribute": "tenant.plan", "in": ["enterprise", "team"] }, "serve": "on" },
        ],
        "default": { "percent": { "on": 50 }, "by": "tenant.id" },
    });
    let (mut samples, mut told) = (Vec::new(), String::new());
    for round in 0..11 {
        // Every fifth is a switch.
        let at = 5 * round;
        let op = put(Kind::Targeting, "production", &flag_name(at), targeting.clone())?;
        let command = command(Action::Write, vec![op])?;
        let begin = Instant::now();
        let preview = node.preview(&scope, command).await?;
        let after = preview.after();
        let before = preview.before().view(&production).context("production")?;
        let after = after.view(&production).context("production")?;
        let inquiry = Inquiry { now: node.now(), covers: &|_| true, named: 5 };
        let found = impact(before, after, &inquiry);
        samples.push(begin.elapsed());
        anyhow::ensure!(found.asked == found.tenants, "{} of {} tenants", found.asked, found.tenants);
        anyhow::ensure!(found.flags.len() == 1, "{} flags differ", found.flags.len());
        told = format!("{} of {} tenants get something else", found.flags[0].tenants, found.tenants);
    }
    let time = percentile(&mut samples, 0.5);
    Ok(Row {
        budget: "< 1 s".to_owned(),
        met: Some(time < Duration::from_secs(1)),
        ..row("impact of one flag with new targeting, p50", format!("{} ({told})", human(time)))
    })
}
