//! What a change changes for units that only requests name, such as users: counted over invented ones.
//!
//! A split moves about the same share of invented units as of real ones, whose ids nobody keeps here.
//! What a rule asks of a request besides cannot be invented, and is named instead.

use std::collections::BTreeSet;

use plane_model::{AttributePath, FlagKey, Serve, Timestamp};

use super::Known;
use super::tally::{FlagTally, Given, outcome};
use crate::context::Context;
use crate::flag::Chunk;
use crate::view::View;

/// How many units are invented for a flag at most.
const UNITS_MAX: usize = 10_000;
/// How many units are invented at least, however many flags change.
const UNITS_MIN: usize = 100;
/// How many units are invented for all flags together, about.
const ASKED_MAX: usize = 1_000_000;

/// A flag whose answers a change may change for what only requests tell.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitImpact {
    /// The flag.
    pub flag: FlagKey,
    /// What of a request the flag divides by, before or after.
    pub by: BTreeSet<String>,
    /// How many invented units were asked for, spread over the known tenants; none if the flag divides by none.
    pub asked: usize,
    /// How many of them the flag gives something else.
    pub units: usize,
    /// From what to what, the most frequent first.
    pub shifts: Vec<UnitShift>,
    /// What else of a request its rules and targets ask for, if those differ: what comes of that is not foreseen.
    pub unforeseen: BTreeSet<String>,
}

/// What a flag gives and would give to units.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitShift {
    /// What it gives now.
    pub before: Given,
    /// What it would give.
    pub after: Given,
    /// To how many units.
    pub units: usize,
}

/// Asks for invented units, before and after, of every flag that was compiled anew.
pub(super) fn units(
    before: &View,
    after: &View,
    tenants: &[Known<'_>],
    touched: &[FlagTally<'_>],
    now: Timestamp,
) -> Vec<UnitImpact> {
    let each = ASKED_MAX / touched.len().max(1);
    let each = each.clamp(UNITS_MIN, UNITS_MAX);
    let ask = |flag: &FlagTally<'_>| {
        let views = [before, after];
        let chunks = [flag.old, flag.new].map(|it| it.map(|(_, slot)| &*slot.chunk));
        let by = divided_by(flag.key, views, chunks);
        let mut tally = FlagTally::new(flag.key, true, flag.old, flag.new);
        let asked = if by.is_empty() { 0 } else { each };
        for number in 0..asked {
            let tenant = tenants.get(number % tenants.len().max(1));
            let ctx = invented(&by, number, tenant);
            let old = tenant.and_then(|it| it.before);
            let new = tenant.and_then(|it| it.after);
            tally.count(
                outcome(before, flag.old, &ctx, old, now),
                outcome(after, flag.new, &ctx, new, now),
            );
        }
        let unforeseen = if differ(chunks) {
            asked_of_requests(chunks)
        } else {
            BTreeSet::new()
        };
        let told = tally.told();
        let units = told.as_ref().map_or(0, |it| it.tenants);
        let shifts = told.into_iter().flat_map(|it| it.shifts);
        (units > 0 || !unforeseen.is_empty()).then(|| UnitImpact {
            flag: flag.key.clone(),
            by,
            asked,
            units,
            shifts: shifts
                .map(|it| UnitShift {
                    before: it.before,
                    after: it.after,
                    units: it.tenants,
                })
                .collect(),
            unforeseen,
        })
    };
    let mut found: Vec<_> = touched.iter().filter_map(ask).collect();
    found.sort_by(|a, b| a.flag.cmp(&b.flag));
    found
}

/// A request of one unit, which is called the same wherever a flag divides by it.
fn invented(by: &BTreeSet<String>, number: usize, tenant: Option<&Known<'_>>) -> Context {
    let unit = format!("unit-{number}");
    let mut ctx = Context::new().with_targeting_key(&unit).with_user(&unit);
    if let Some(tenant) = tenant {
        ctx = ctx.with_tenant(tenant.id.as_str());
    }
    for path in by {
        match path.as_str() {
            "conversation" => ctx = ctx.with_conversation(&unit),
            "agent" => ctx = ctx.with_agent(&unit),
            // Those that have no place of their own; the others are there already.
            path => ctx.set(path, unit.as_str()),
        }
    }
    ctx
}

/// What of requests a flag divides by, in either view.
fn divided_by(flag: &FlagKey, views: [&View; 2], chunks: [Option<&Chunk>; 2]) -> BTreeSet<String> {
    let mut by = BTreeSet::new();
    let mut add = |path: Option<&AttributePath>| {
        let path = path.map_or("targetingKey", AttributePath::as_str);
        if is_of_requests(path) {
            by.insert(path.to_owned());
        }
    };
    for (view, chunk) in views.into_iter().zip(chunks) {
        let Some(targeting) = chunk.and_then(|it| it.parts().targeting()) else {
            continue;
        };
        let rules = targeting.rules.iter().map(|rule| &rule.serve);
        for serve in rules.chain(&targeting.default) {
            if matches!(serve, Serve::Split(_) | Serve::Ramp(_)) {
                add(serve.by());
            }
        }
        for (_, group) in view.groups().of(flag) {
            add(group.by.as_ref());
        }
    }
    by
}

/// What of requests rules and targets ask for, before or after.
fn asked_of_requests(chunks: [Option<&Chunk>; 2]) -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    for chunk in chunks.into_iter().flatten() {
        let Some(targeting) = chunk.parts().targeting() else {
            continue;
        };
        for rule in &targeting.rules {
            rule.when.for_each_clause(&mut |clause| {
                asked.insert(clause.attribute.as_str());
            });
        }
        for target in &targeting.targets {
            let by = target.by.as_ref();
            asked.insert(by.map_or("targetingKey", AttributePath::as_str));
        }
    }
    let of_requests = asked.into_iter().filter(|path| is_of_requests(path));
    of_requests.map(str::to_owned).collect()
}

fn is_of_requests(path: &str) -> bool {
    path != "tenant" && !path.starts_with("tenant.")
}

/// Says whether the flag itself is another one, as far as answers depend on it.
fn differ([old, new]: [Option<&Chunk>; 2]) -> bool {
    let variants = |chunk: Option<&Chunk>| {
        let flag = chunk?.parts().flag()?;
        Some((flag.archived, flag.all_variants()))
    };
    let is_killed = |chunk: Option<&Chunk>| chunk.is_some_and(|it| it.parts().kill().is_some());
    let [before, after] = [old, new].map(|it| it.and_then(|it| it.parts().targeting()));
    before != after || variants(old) != variants(new) || is_killed(old) != is_killed(new)
}
