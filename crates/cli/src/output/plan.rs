//! Plans and receipts, as a person reads them.

use std::collections::BTreeMap;

use plane_api::{Difference, Effect, Plan, PlannedChange, PlannedInstances, Receipt};
use plane_model::{Kind, Range, SLOTS};
use serde_json::Value;

use crate::output::impact::impacts;
use crate::output::{Page, Paint, count, inline, shortened, time};

/// How long a value in a plan may be.
const VALUE_CHARS_MAX: usize = 80;
/// Of how many documents new and deleted ones are shown whole.
const WHOLE_DOCUMENTS_MAX: usize = 3;

/// Writes what changes, one document after the other, and how many; then who would reject it.
pub(crate) fn changes(page: &mut Page, plan: &Plan) {
    list(page, &plan.changes);
    if plan.changes.len() > 1 {
        total(page, plan);
    }
    impacts(page, &plan.impact);
    if let Some(instances) = &plan.instances {
        rejections(page, instances);
    }
}

fn rejections(page: &mut Page, instances: &PlannedInstances) {
    if !instances.rejections.is_empty() {
        page.heading("Would be rejected by services, which go on with what they have");
    }
    for it in &instances.rejections {
        let line = format!(
            "{} of {} live instances of {} in {} would reject this",
            it.instances,
            it.live,
            format!("{} {}", it.service, it.service_version).trim(),
            it.environment
        );
        let line = page.paint(Paint::Error, &line);
        page.line(format!("  {line}"));
        for breach in &it.breaches {
            page.line(format!(
                "    {}{}: {}",
                breach.subject, breach.pointer, breach.detail
            ));
        }
    }
    if instances.unknown > 0 {
        page.gap();
        page.line(format!(
            "what {} of {} live instances rely on is not known yet; ask again in a minute",
            instances.unknown, instances.live
        ));
    }
}

fn total(page: &mut Page, plan: &Plan) {
    let number = |effect| plan.changes.iter().filter(|it| it.effect == effect).count();
    let parts: Vec<String> = [
        (Effect::Create, "new"),
        (Effect::Update, "changed"),
        (Effect::Delete, "deleted"),
    ]
    .into_iter()
    .map(|(effect, word)| (number(effect), word))
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{number} {word}"))
    .collect();
    page.gap();
    page.line(format!(
        "{}: {}",
        count(plan.changes.len(), "document"),
        parts.join(", ")
    ));
}

/// The name of a document as it stands in plans: as its file in a tree is called.
pub(crate) fn document_name(kind: &str, scope: &str, name: &str) -> String {
    match (kind, scope) {
        (_, "") => format!("{kind} {name}"),
        ("config", scope) => format!("{kind} {name}/{scope}"),
        (_, scope) => format!("{kind} {scope}/{name}"),
    }
}

/// Writes each change with its differences; those of new and deleted documents only where there
/// are few.
pub(crate) fn list(page: &mut Page, changes: &[PlannedChange]) {
    let are_few = changes.len() <= WHOLE_DOCUMENTS_MAX;
    for change in changes {
        let (sign, paint) = match change.effect {
            Effect::Create => ("+", Paint::Good),
            Effect::Update => ("~", Paint::Warn),
            Effect::Delete => ("-", Paint::Error),
        };
        let name = document_name(change.kind.as_str(), &change.scope, &change.name);
        let line = page.paint(paint, &format!("{sign} {name}"));
        page.line(line);
        if is_published(change.kind) {
            continue;
        }
        if change.effect == Effect::Update && change.diff.is_empty() {
            page.line("    as it is; the tree holds it from now on");
        }
        if change.effect == Effect::Update || are_few {
            differences(page, &change.diff);
        }
    }
}

fn is_published(kind: Kind) -> bool {
    matches!(kind, Kind::Agent | Kind::Tool)
}

fn differences(page: &mut Page, diff: &[Difference]) {
    let mut rows: Vec<(String, String)> = Vec::new();
    for difference in diff {
        if let Some(split) = as_percentages(difference) {
            rows.extend(split);
            continue;
        }
        let unit = if is_slot(&difference.pointer) {
            " (slots of 100000)"
        } else {
            ""
        };
        rows.push((
            pointer(&difference.pointer),
            format!("{}{unit}", step(difference)),
        ));
    }
    let width = rows
        .iter()
        .map(|(pointer, _)| pointer.chars().count())
        .max()
        .unwrap_or(0);
    for (pointer, step) in rows {
        let padded = format!("{pointer:<width$}");
        let pointer = page.paint(Paint::Dim, &padded);
        page.line(format!("    {pointer}  {step}"));
    }
}

/// Whether the pointer names an end of one range of slots.
fn is_slot(pointer: &str) -> bool {
    pointer.contains("/ranges/") && (pointer.ends_with("/start") || pointer.ends_with("/end"))
}

fn pointer(pointer: &str) -> String {
    if pointer.is_empty() {
        "the whole".to_owned()
    } else {
        pointer.to_owned()
    }
}

fn step(difference: &Difference) -> String {
    let text = |value: &Value| shortened(&inline(value), VALUE_CHARS_MAX);
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => format!("{} → {}", text(before), text(after)),
        (None, Some(after)) => format!("+ {}", text(after)),
        (Some(before), None) => format!("- {}", text(before)),
        (None, None) => String::new(),
    }
}

/// A difference of slot ranges as percentages of each variant; none for any other difference.
fn as_percentages(difference: &Difference) -> Option<Vec<(String, String)>> {
    let split = difference.pointer.strip_suffix("/ranges")?;
    let before = totals(difference.before.as_ref())?;
    let after = totals(difference.after.as_ref())?;
    let mut variants: Vec<&String> = before.keys().chain(after.keys()).collect();
    variants.sort();
    variants.dedup();
    let rows: Vec<(String, String)> = variants
        .into_iter()
        .filter(|variant| before.get(*variant) != after.get(*variant))
        .map(|variant| {
            let share = |totals: &BTreeMap<String, u32>| {
                totals
                    .get(variant)
                    .map_or_else(|| "0 %".to_owned(), |total| percent(*total))
            };
            (
                format!("{split}/percent/{variant}"),
                format!("{} → {}", share(&before), share(&after)),
            )
        })
        .collect();
    if rows.is_empty() {
        return Some(vec![(
            difference.pointer.clone(),
            "other slots, the same shares".to_owned(),
        )]);
    }
    Some(rows)
}

fn totals(ranges: Option<&Value>) -> Option<BTreeMap<String, u32>> {
    let Some(ranges) = ranges else {
        return Some(BTreeMap::new());
    };
    let ranges: Vec<Range> = serde_json::from_value(ranges.clone()).ok()?;
    let mut totals = BTreeMap::new();
    for range in ranges {
        *totals.entry(range.variant.to_string()).or_insert(0) +=
            range.end.saturating_sub(range.start);
    }
    Some(totals)
}

/// Writes slots as a percentage.
pub(crate) fn percent(slots: u32) -> String {
    let thousandths = u64::from(slots) * 100_000 / u64::from(SLOTS);
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Writes where a commit stands.
pub(crate) fn receipt(page: &mut Page, receipt: &Receipt) {
    let line = match (receipt.changed, receipt.repeated) {
        (_, true) => format!("committed before, as revision {}", receipt.revision),
        (false, false) => format!(
            "nothing to do: everything is so at revision {}",
            receipt.revision
        ),
        (true, false) => format!("revision {}, {}", receipt.revision, time(receipt.at)),
    };
    page.line(line);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Style;
    use plane_api::{PlannedBreach, PlannedRejection};
    use plane_model::EnvironmentName;

    fn change(effect: Effect, diff: Vec<Difference>) -> PlannedChange {
        PlannedChange {
            kind: Kind::Targeting,
            scope: "production".to_owned(),
            name: "beta_features".to_owned(),
            effect,
            diff,
        }
    }

    fn difference(pointer: &str, before: Value, after: Value) -> Difference {
        let given = |value: Value| Some(value).filter(|value| !value.is_null());
        Difference {
            pointer: pointer.to_owned(),
            before: given(before),
            after: given(after),
        }
    }

    #[test]
    fn a_plan_shows_what_changes_and_percentages_in_place_of_slots() {
        let range = |end| json!([{"variant": "on", "start": 0, "end": end}]);
        let plan = Plan {
            revision: 7,
            impact: Vec::new(),
            changes: vec![
                change(
                    Effect::Update,
                    vec![
                        difference("/default/ranges", range(25_000), range(50_000)),
                        difference("/state", json!("enabled"), json!("disabled")),
                        difference("/off", Value::Null, json!("off")),
                    ],
                ),
                PlannedChange {
                    kind: Kind::Flag,
                    scope: String::new(),
                    ..change(Effect::Create, vec![])
                },
                change(Effect::Delete, vec![]),
            ],
            environments: vec![],
            tenants: vec![],
            instances: Some(PlannedInstances {
                live: 214,
                unknown: 2,
                rejections: vec![PlannedRejection {
                    environment: EnvironmentName::new("production").unwrap(),
                    service: "svc".to_owned(),
                    service_version: "1.9".to_owned(),
                    instances: 3,
                    live: 210,
                    breaches: vec![PlannedBreach {
                        subject: "config:ai".to_owned(),
                        pointer: "/temperature".to_owned(),
                        detail: "3 is more than 2".to_owned(),
                    }],
                }],
            }),
        };
        let mut page = Page::new(Style::plain(), None);
        changes(&mut page, &plan);
        insta::assert_snapshot!(page.finish(), @r"
        ~ targeting production/beta_features
            /default/percent/on  25 % → 50 %
            /state               enabled → disabled
            /off                 + off
        + flag beta_features
        - targeting production/beta_features

        3 documents: 1 new, 1 changed, 1 deleted

        Would be rejected by services, which go on with what they have
          3 of 210 live instances of svc 1.9 in production would reject this
            config:ai/temperature: 3 is more than 2

        what 2 of 214 live instances rely on is not known yet; ask again in a minute
        ");
    }
}
