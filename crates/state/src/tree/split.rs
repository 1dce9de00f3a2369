//! How splits stand in files: as percentages wherever those say the same as the ranges.

use plane_model::documents::ExclusionGroup;
use plane_model::{DocumentKey, Kind, Serve};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

/// Writes each split of a targeting, a channel or an exclusion group as percentages, if that loses nothing.
pub(super) fn for_people(key: &DocumentKey, body: &mut Value) {
    match key.kind() {
        Kind::Targeting => {
            if let Some(serve) = body.get_mut("default") {
                one(serve);
            }
            let rules = body.get_mut("rules").and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                if let Some(serve) = rule.get_mut("serve") {
                    one(serve);
                }
            }
        }
        Kind::Channel => {
            if let Some(split) = body.get_mut("split") {
                one(split);
            }
        }
        Kind::ExclusionGroup => {
            let group = ExclusionGroup::deserialize(&*body);
            if let (Ok(group), Value::Object(members)) = (group, body)
                && group.is_fresh()
            {
                members.remove("ranges");
            }
        }
        _ => {}
    }
}

fn one(value: &mut Value) {
    let has_ranges = value.get("ranges").is_some();
    let Ok(Serve::Split(split)) = Serve::deserialize(&*value) else {
        return;
    };
    let totals = split.totals();
    if !has_ranges || totals.is_empty() || !split.is_fresh() {
        return;
    }
    if let Value::Object(members) = value {
        let shares: Map<String, Value> = totals
            .iter()
            .map(|(variant, share)| (variant.to_string(), percentage(*share).into()))
            .collect();
        members.remove("ranges");
        members.insert("percent".to_owned(), Value::Object(shares));
    }
}

/// Writes thousandths of a percent as a percentage.
fn percentage(thousandths: u32) -> Number {
    let whole = Number::from(thousandths / 1_000);
    if thousandths.is_multiple_of(1_000) {
        return whole;
    }
    Number::from_f64(f64::from(thousandths) / 1_000.0).unwrap_or(whole)
}
