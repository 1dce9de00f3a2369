//! What a plan would change for tenants, as a person reads it.

use plane_api::{AgentShift, ConfigImpact, Given, Impact, Offered, UnitImpact};
use plane_model::TenantId;

use crate::output::{Cell, Page, Paint, count, inline, shortened};

/// How long a value may be.
const VALUE_CHARS_MAX: usize = 40;

/// Writes what changes in each environment: how many tenants, from what to what, and some of their names.
pub(crate) fn impacts(page: &mut Page, impacts: &[Impact]) {
    for it in impacts {
        let of = if it.asked < it.tenants {
            format!(
                "{} of {}, evenly spread",
                it.asked,
                count(it.tenants, "tenant")
            )
        } else {
            count(it.tenants, "tenant")
        };
        let rows = rows(it);
        if !rows.is_empty() {
            page.heading(&format!("Impact in {}, on {of}", it.environment));
            page.table(&["WHAT", "NAME", "TENANTS", "CHANGE", "SUCH AS"], &rows);
        }
        if !it.units.is_empty() {
            page.heading(&format!("Impact in {}, on requests", it.environment));
            let rows: Vec<_> = it.units.iter().flat_map(of_requests).collect();
            let titles = ["FLAG", "DIVIDES BY", "SHARE", "CHANGE", "NOT FORESEEN"];
            page.table(&titles, &rows);
        }
    }
}

/// What a flag changes for units that only requests name, and what it asks of requests besides.
fn of_requests(impact: &UnitImpact) -> Vec<Vec<Cell>> {
    let row = |share: String, change: String, is_first: bool| {
        let once = |text: String| if is_first { text } else { String::new() };
        let by = if impact.units > 0 {
            impact.by.join(", ")
        } else {
            String::new()
        };
        let unforeseen = match impact.unforeseen.join(", ") {
            none if none.is_empty() => none,
            asked => format!("what {asked} changes"),
        };
        vec![
            Cell::new(impact.flag.as_str(), Paint::Bold),
            once(by).into(),
            share.into(),
            change.into(),
            once(unforeseen).into(),
        ]
    };
    if impact.shifts.is_empty() {
        return vec![row(String::new(), String::new(), true)];
    }
    let shifts = impact.shifts.iter().enumerate();
    shifts
        .map(|(at, shift)| {
            let change = format!("{} → {}", given(&shift.before), given(&shift.after));
            row(share(shift.units, impact.asked), change, at == 0)
        })
        .collect()
}

/// The share of units that were asked for, in percent.
fn share(units: usize, asked: usize) -> String {
    let tenths = (units * 1_000 + asked / 2) / asked.max(1);
    format!("about {}.{} %", tenths / 10, tenths % 10)
}

fn rows(impact: &Impact) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for it in &impact.flags {
        for shift in &it.shifts {
            let change = format!("{} → {}", given(&shift.before), given(&shift.after));
            let named = names(&shift.named);
            rows.push(row("flag", it.flag.as_str(), shift.tenants, change, named));
        }
    }
    for it in &impact.agents {
        // Shifts that differ only in digests read alike.
        let mut changes: Vec<(String, usize, Vec<TenantId>)> = Vec::new();
        for shift in &it.shifts {
            let change = agent(shift);
            match changes.iter_mut().find(|(known, ..)| *known == change) {
                Some((_, tenants, named)) => {
                    *tenants += shift.tenants;
                    named.extend_from_slice(&shift.named);
                }
                None => changes.push((change, shift.tenants, shift.named.clone())),
            }
        }
        for (change, tenants, mut named) in changes {
            named.sort();
            let name = it.agent.to_string();
            rows.push(row("agent", &name, tenants, change, names(&named)));
        }
    }
    for it in &impact.configs {
        rows.push(row(
            "config",
            it.document.as_str(),
            it.tenants,
            places(it),
            names(&it.named),
        ));
    }
    rows
}

fn row(what: &str, name: &str, tenants: usize, change: String, named: String) -> Vec<Cell> {
    vec![
        what.into(),
        Cell::new(name, Paint::Bold),
        tenants.into(),
        change.into(),
        named.into(),
    ]
}

fn names(named: &[TenantId]) -> String {
    let names: Vec<_> = named.iter().map(TenantId::as_str).collect();
    names.join(", ")
}

fn given(given: &Given) -> String {
    if let Some(error) = &given.error {
        return error.clone();
    }
    match (&given.variant, &given.value) {
        (Some(variant), Some(value)) if value.is_boolean() => variant.to_string(),
        (Some(variant), Some(value)) => {
            let value = shortened(&inline(value), VALUE_CHARS_MAX);
            format!("{variant} ({value})")
        }
        _ => "the caller's default".to_owned(),
    }
}

fn agent(shift: &AgentShift) -> String {
    let (before, after) = (offered(&shift.before), offered(&shift.after));
    if before == after {
        format!("{before}, with other parameters or tools")
    } else {
        format!("{before} → {after}")
    }
}

fn offered(offered: &Offered) -> String {
    let error = offered.error.map(|code| code.as_str().to_owned());
    let version = offered.version.clone();
    error.or(version).unwrap_or_else(|| "none".to_owned())
}

fn places(impact: &ConfigImpact) -> String {
    let mut shown = impact.pointers.iter().take(3).cloned().collect::<Vec<_>>();
    let more = impact.pointers.len() - shown.len();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Style;

    #[test]
    fn each_row_names_the_tenants_that_it_counts() {
        let digest = |fill: &str| format!("sha256:{}", fill.repeat(64));
        let found = json!([{
            "environment": "production", "tenants": 9, "asked": 9, "configs": [], "units": [],
            "flags": [{ "flag": "beta", "tenants": 2, "shifts": [
                { "before": { "variant": "off", "value": false }, "after": { "variant": "on", "value": true },
                  "tenants": 1, "named": ["zeta"] },
                { "before": {}, "after": { "variant": "on", "value": true }, "tenants": 1, "named": ["acme"] },
            ] }],
            "agents": [{ "agent": "support", "tenants": 4, "shifts": [
                { "before": { "version": "1.1.0", "effective_digest": digest("a") },
                  "after": { "version": "1.1.0", "effective_digest": digest("b") }, "tenants": 1, "named": ["big"] },
                { "before": { "version": "1.0.0" }, "after": { "version": "1.1.0" }, "tenants": 2,
                  "named": ["old", "older"] },
                { "before": { "version": "1.1.0", "effective_digest": digest("c") },
                  "after": { "version": "1.1.0", "effective_digest": digest("d") }, "tenants": 1, "named": ["also"] },
            ] }],
        }]);
        let found: Vec<Impact> = serde_json::from_value(found).unwrap();
        let mut page = Page::new(Style::plain(), None);
        impacts(&mut page, &found);
        insta::assert_snapshot!(page.finish(), @r"
        Impact in production, on 9 tenants
        WHAT   NAME     TENANTS  CHANGE                                 SUCH AS
        flag   beta     1        off → on                               zeta
        flag   beta     1        the caller's default → on              acme
        agent  support  2        1.1.0, with other parameters or tools  also, big
        agent  support  2        1.0.0 → 1.1.0                          old, older
        ");
    }
}
