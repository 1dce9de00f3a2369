//! What one commit costs at a size, apart from making it durable.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use plane_eval::View;
use plane_model::{EnvironmentName, Kind, Timestamp};
use plane_node::Sealing;
use plane_state::{Action, Op, State, prepare};
use serde_json::json;

use super::make::{Chance, ENVIRONMENTS, flag_name, layer, open, put, targeting, tenant_name};
use super::row;
use crate::platform::{command, node};
use crate::stats::{Row, human, percentile};

const ROUNDS: usize = 301;

/// The median times of one kind of change.
#[derive(Debug)]
pub struct Cost {
    what: &'static str,
    decide: Duration,
    follow: Duration,
}

/// Changes one document after the other on the state of the installation in `dir`, and stores nothing.
pub async fn measure(dir: &Path) -> Result<Vec<Cost>> {
    let node = node(open(dir)?).await?;
    let snapshot = node.snapshot();
    let flags = snapshot.state().count(Kind::Flag);
    let tenants = snapshot.state().count(Kind::Tenant);
    let mut chance = Chance::new(7);
    let mut costs = Vec::new();
    let kinds: [(&'static str, &mut dyn FnMut(usize) -> Result<Op>); 3] = [
        ("the targeting of a flag", &mut |_| {
            let at = chance.below(flags);
            put(Kind::Targeting, "production", &flag_name(at), targeting(&mut chance, at))
        }),
        ("a tenant's pin", &mut |round| {
            let at = round * 97 % tenants / 10 * 10 + 1;
            let flag = at * 7 % flags / 5 * 5;
            let body = json!({ "variant": "on", "reason": format!("round {round}") });
            let scope = format!("production/{}", tenant_name(at));
            put(Kind::Pin, &scope, &format!("flag:{}", flag_name(flag)), body)
        }),
        ("a tenant's config layer", &mut |round| {
            let (kind, scope, name, body) = layer(round * 89 % tenants, round + 1_000_000);
            put(kind, &scope, &name, body)
        }),
    ];
    for (what, make) in kinds {
        let mut state: State = (**snapshot.state()).clone();
        let mut views: Vec<View> = Vec::new();
        for name in ENVIRONMENTS {
            let view = snapshot.view(&EnvironmentName::new(name)?);
            views.push(View::clone(view.ok_or_else(|| anyhow!("no {name}"))?));
        }
        let (mut decide, mut follow) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let command = command(Action::Write, vec![make(round)?])?;
            let now = Timestamp(1_800_000_000_000);
            let begin = Instant::now();
            let prepared = prepare(&state, &command.into(), now).map_err(|it| anyhow!("{it:?}"))?;
            decide.push(begin.elapsed());
            let begin = Instant::now();
            let sealing = Sealing::of(&state, &prepared, now, &mut || [round as u8; 16]);
            let revision = sealing.state.head().revision;
            for view in &mut views {
                *view = view.update(revision, &sealing.changes, &sealing.state);
            }
            state = sealing.state;
            follow.push(begin.elapsed());
        }
        let (decide, follow) = (percentile(&mut decide, 0.5), percentile(&mut follow, 0.5));
        costs.push(Cost { what, decide, follow });
    }
    node.shutdown().await;
    Ok(costs)
}

/// The figures at full size, and how much larger they are than at a tenth.
pub fn rows(small: &[Cost], large: &[Cost]) -> Vec<Row> {
    let ratio = |large: Duration, small: Duration| large.as_secs_f64() / small.as_secs_f64().max(1e-9);
    let mut rows = Vec::new();
    for (small, large) in small.iter().zip(large) {
        let follow = ratio(large.follow, small.follow);
        rows.push(Row {
            floor: format!("{} at a tenth of the size", human(small.follow)),
            ratio: format!("{follow:.2}"),
            budget: "in proportion to the change: ≤ 3 at ten times the size".to_owned(),
            met: Some(follow <= 3.0),
            ..row(format!("state and three views follow {}, p50", large.what), human(large.follow))
        });
        rows.push(Row {
            floor: format!("{} at a tenth of the size", human(small.decide)),
            ratio: format!("{:.2}", ratio(large.decide, small.decide)),
            ..row(format!("deciding about {}, p50", large.what), human(large.decide))
        });
    }
    rows
}
