//! `spec/rollout_cap.json`.

use plane_eval::{Context, ExplainStep};
use serde::Deserialize;
use serde_json::Value;

use crate::support::{Held, Written, at, build, changes, context, read};

#[derive(Deserialize)]
struct Vectors {
    environment: String,
    documents: Vec<Written>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    flag: String,
    context: Value,
    percent: f64,
    expect: Option<bool>,
}

#[test]
fn the_callers_cap_holds_as_in_the_vectors() {
    let vectors: Vectors = read("rollout_cap.json");
    let changes = changes(&vectors.documents);
    let view = build(&vectors.environment, &changes, &Held::default());
    assert!(vectors.cases.len() >= 140);
    let mut caps = Vec::new();
    for case in &vectors.cases {
        let ctx = context(&case.context);
        let found = view.evaluate_key(&case.flag, &ctx, at(None));
        assert_eq!(
            found.as_bool_within(case.percent),
            case.expect,
            "{}",
            case.name
        );
        let explained = view.explain_within(&case.flag, &ctx, at(None), case.percent);
        let value = explained.result.value.as_ref().and_then(Value::as_bool);
        assert_eq!(value, case.expect, "{}", case.name);
        let cap = explained.steps.iter().find_map(|step| match step {
            ExplainStep::Cap { within, .. } => Some(*within),
            _ => None,
        });
        match (found.as_bool(), case.expect) {
            // What was taken away is explained; who keeps it is within the cap, or exempt.
            (Some(true), Some(false)) => assert_eq!(cap, Some(false), "{}", case.name),
            (Some(true), _) => assert_ne!(cap, Some(false), "{}", case.name),
            _ => assert_eq!(cap, None, "{}", case.name),
        }
        caps.extend(cap);
    }
    assert!(caps.contains(&true) && caps.contains(&false));
}

#[test]
fn a_larger_cap_takes_nothing_away_and_reaches_its_share() {
    let vectors: Vectors = read("rollout_cap.json");
    let changes = changes(&vectors.documents);
    let view = build(&vectors.environment, &changes, &Held::default());
    for (flag, most) in [("everybody", 100), ("quarter", 25), ("pieces", 40)] {
        let mut before = 0;
        for percent in [0, 1, 10, 25, 40, 70, 100] {
            let on = (0..4_000).filter(|unit| {
                let ctx = Context::new().with_targeting_key(&format!("unit-{unit}"));
                let found = view.evaluate_key(flag, &ctx, at(None));
                let within = |percent: i32| found.as_bool_within(f64::from(percent)) == Some(true);
                assert!(!within(percent - 1) || within(percent));
                within(percent)
            });
            let on = on.count();
            let expected = usize::try_from(percent.min(most)).unwrap() * 40;
            assert!(on.abs_diff(expected) < 160, "{flag} at {percent} %: {on}");
            assert!(on >= before);
            before = on;
        }
    }
}
