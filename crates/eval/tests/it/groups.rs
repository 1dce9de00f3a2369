//! Exclusion groups: who is kept from which flag, and that explanations say so.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_eval::{Change, Context, ErrorCode, ExplainStep, Reason, View};
use plane_model::documents::ExclusionGroup;
use plane_model::{Document, DocumentKey, Kind, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Held, Written, settled};

const NOW: Timestamp = Timestamp(1_780_000_000_000);

/// Four flags that are on for everybody, and a group.
fn view(group: &Value) -> View {
    let mut documents = Vec::new();
    for flag in ["a", "b", "c", "z"] {
        documents.push(json!({"kind": "flag", "name": flag, "body": {"type": "boolean"}}));
        let on = json!({"state": "enabled", "default": "on"});
        documents
            .push(json!({"kind": "targeting", "scope": "production", "name": flag, "body": on}));
    }
    documents.push(json!({"kind": "exclusion-group", "name": "g", "body": group}));
    let written: Vec<Written> = documents
        .into_iter()
        .map(|it| serde_json::from_value(it).unwrap())
        .collect();
    let empty = View::build("production".parse().unwrap(), 0, [], &Held::default());
    empty.update(1, &settled(&written), &Held::default())
}

fn is_on(view: &View, flag: &str, unit: &str) -> bool {
    let ctx = Context::new().with_targeting_key(unit);
    view.evaluate_key(flag, &ctx, NOW).as_bool().unwrap()
}

#[test]
fn a_group_that_goes_lets_all_in_again_and_one_that_comes_keeps_them_out() {
    let before = view(&json!({"percent": {"a": 0}}));
    assert!(!is_on(&before, "a", "u") && is_on(&before, "b", "u"));
    let key = DocumentKey::new(Kind::ExclusionGroup, "", "g").unwrap();
    let change = |revision, group: Option<ExclusionGroup>| Change {
        key: key.clone(),
        revision,
        document: group.map(|it| Arc::new(Document::ExclusionGroup(Box::new(it.settled(None))))),
    };
    let gone = before.update(2, &[change(2, None)], &Held::default());
    assert!(is_on(&gone, "a", "u"));
    assert_eq!(
        gone.evaluate_key("a", &Context::new(), NOW).reason(),
        Reason::Static
    );
    let other = serde_json::from_value(json!({"percent": {"b": 0}})).unwrap();
    let moved = before.update(2, &[change(2, Some(other))], &Held::default());
    assert!(is_on(&moved, "a", "u") && !is_on(&moved, "b", "u"));
}

#[test]
fn without_the_unit_nobody_can_tell_and_the_flag_says_so() {
    let view = view(&json!({"percent": {"a": 100}, "by": "account"}));
    let ctx = Context::new().with_targeting_key("u");
    let found = view.evaluate_key("a", &ctx, NOW);
    assert_eq!(found.error(), Some(ErrorCode::TargetingKeyMissing));
    assert_eq!(
        found.error_detail().unwrap(),
        "the exclusion group `g` of `a` divides by `account`, which the context does not have"
    );
}

proptest! {
    #[test]
    fn two_flags_of_a_group_never_both_serve_and_the_holdout_gets_none(
        shares in prop::collection::btree_map(prop::sample::select(&["a", "b", "c"][..]), 0..34_u32, 1..4),
        holdout in 0..40_u32,
        units in prop::collection::vec("[a-z0-9]{1,8}", 1..60),
    ) {
        prop_assume!(shares.values().sum::<u32>() + holdout <= 100);
        let group = json!({"percent": shares, "holdout": holdout, "held": ["z"]});
        let view = view(&group);
        for unit in &units {
            let on: Vec<_> = shares.keys().filter(|flag| is_on(&view, flag, unit)).collect();
            prop_assert!(on.len() <= 1, "{unit} gets {on:?}");
            prop_assert!(on.is_empty() || is_on(&view, "z", unit));
        }
    }

    #[test]
    fn an_explanation_says_what_the_groups_decide(share in 0..=100_u32, holdout in 0..=100_u32, unit in "[a-z]{0,2}") {
        prop_assume!(share + holdout <= 100);
        let view = view(&json!({"percent": {"a": share}, "holdout": holdout, "held": ["z"]}));
        let ctx = if unit.is_empty() { Context::new() } else { Context::new().with_targeting_key(&unit) };
        for flag in ["a", "z"] {
            let found = view.evaluate_key(flag, &ctx, NOW);
            let explanation = view.explain(flag, &ctx, NOW);
            let kept_out = matches!(explanation.steps.last(), Some(ExplainStep::ExclusionGroup { .. }));
            prop_assert_eq!(kept_out, found.as_bool() != Some(true));
            let reasons = BTreeMap::from([(true, Reason::Error), (false, Reason::Split)]);
            if kept_out {
                prop_assert_eq!(found.reason(), reasons[&unit.is_empty()]);
            }
        }
    }
}
