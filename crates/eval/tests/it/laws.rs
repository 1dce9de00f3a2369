//! Laws that hold for all documents, contexts and orders of changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_eval::{
    Change, Common, Context, ErrorCode, ExplainServe, ExplainStep, Explanation, Outcome, Reason,
    Verdict, View,
};
use plane_model::documents::{Flag, FlagState, Prerequisite, Rule, Target, Targeting, Window};
use plane_model::{
    AttributePath, Clause, Course, Document, DocumentKey, Expr, Kind, Operand, Operator, Ramp,
    Range, Serve, Shares, Split, Timestamp, VariantName,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::resolution;
use crate::support::{Held, Written, build, changes, context, read};

const NOW: Timestamp = Timestamp(1_780_000_000_000);

#[derive(Deserialize)]
struct Documents {
    documents: Vec<Written>,
}

/// Everything that the vectors hold, and some configuration.
fn pool() -> (Vec<Change>, Held) {
    let flags: Documents = read("evaluation.json");
    let agents: resolution::Vectors = read("resolution.json");
    let config = |selector: &str, body: Value| {
        let written = json!({"kind": "config", "scope": selector, "name": "ai", "body": body});
        serde_json::from_value::<Written>(written).unwrap()
    };
    let mut documents = flags.documents;
    documents.extend(agents.all_documents());
    documents.extend([
        config("base", json!({"a": 1, "o": {"x": 1}})),
        config("production", json!({"o": {"x": 2}})),
        config("staging", json!({"o": {"x": 3}})),
        config("plan=enterprise", json!({"o": {"y": 3}})),
        config("tenant=acme", json!({"a": {"$unset": true}})),
        config("production.tenant=acme", json!({"b": 1})),
    ]);
    let schema =
        json!({"kind": "schema", "name": "ai", "body": {"properties": {"d": {"default": 1}}}});
    documents.push(serde_json::from_value(schema).unwrap());
    let v2 =
        json!({"kind": "environment", "name": "production", "body": {"bucketing": "flagd-v2"}});
    documents.push(serde_json::from_value(v2).unwrap());
    let fewer = json!({"kind": "segment", "name": "pilots", "body": {"include": ["u-7"]}});
    documents.push(serde_json::from_value(fewer).unwrap());
    let piloted = json!({"state": "enabled", "default": "off", "rules": [
        {"name": "pilots", "if": {"attribute": "tenant.id", "segment": "pilots"}, "serve": "on"}]});
    let piloted =
        json!({"kind": "targeting", "scope": "production", "name": "static-on", "body": piloted});
    documents.push(serde_json::from_value(piloted).unwrap());
    (changes(&documents), agents.held())
}

/// All that can be observed of a view for some contexts.
fn observe(view: &View, keys: &[String]) -> Vec<String> {
    let contexts = [
        json!({}),
        json!({"tenant": "acme", "user": "u-1"}),
        json!({"tenant": "bare", "targetingKey": "user-12", "attributes": {"country": "de"}}),
        json!({"tenant": "stranger", "attributes": {"x": 1}}),
    ];
    let mut seen = Vec::new();
    for value in &contexts {
        let ctx = context(value);
        for key in keys {
            let outcome = Outcome::from(&view.evaluate_key(key, &ctx, NOW));
            seen.push(format!(
                "{key}: {}",
                serde_json::to_string(&outcome).unwrap()
            ));
        }
        for agent in ["support", "loner", "unlocked", "nobody"] {
            let resolved = view.resolve(&agent.parse().unwrap(), &ctx, NOW);
            seen.push(match resolved {
                Ok(resolved) => String::from_utf8(resolved.to_json()).unwrap(),
                Err(error) => format!("{agent}: {error}"),
            });
        }
        let document = "ai".parse().unwrap();
        let config = view.config(&document, &ctx);
        seen.push(config.map_or_else(String::new, |it| {
            format!("{} at {}", Value::Object(it.value().clone()), it.revision())
        }));
        let explained = view.explain_config(&document, &["o", "x"], &ctx);
        seen.push(serde_json::to_string(&explained).unwrap());
    }
    let mut agents: Vec<_> = view.agents().map(ToString::to_string).collect();
    agents.sort();
    let mut flags: Vec<_> = view.flags().map(|(_, key)| key.to_string()).collect();
    flags.sort();
    seen.extend(agents);
    seen.extend(flags);
    seen
}

#[test]
fn a_chain_of_segments_is_asked_once_each_however_long_it_is() {
    // Twice at each would be 2^60 questions.
    let mut documents: Vec<Written> = (0..60)
        .map(|at| {
            let next = format!("s{}", at + 1);
            let when = json!({"all": [{"attribute": "user.id", "segment": next}]});
            let name = format!("s{at}");
            json!({"kind": "segment", "name": name, "body": {"when": when}})
        })
        .chain([
            json!({"kind": "segment", "name": "s60", "body": {"include": ["u-1"]}}),
            json!({"kind": "flag", "name": "f", "body": {"type": "boolean"}}),
        ])
        .map(|it| serde_json::from_value(it).unwrap())
        .collect();
    let rules = json!([
        {"name": "out", "if": {"not": {"attribute": "user.id", "segment": "s0"}}, "serve": "off"},
        {"name": "in", "if": {"attribute": "user.id", "segment": "s0"}, "serve": "on"}
    ]);
    let body = json!({"state": "enabled", "default": "off", "rules": rules});
    let targeting = json!({"kind": "targeting", "scope": "production", "name": "f", "body": body});
    documents.push(serde_json::from_value(targeting).unwrap());
    let view = build("production", &changes(&documents), &Held::default());
    for (user, is_on) in [("u-1", true), ("u-2", false)] {
        let ctx = context(&json!({"user": user}));
        assert_eq!(
            view.evaluate_key("f", &ctx, NOW).as_bool(),
            Some(is_on),
            "{user}"
        );
    }
}

/// The documents that there are after changes.
fn surviving(changes: &[Change]) -> BTreeMap<&DocumentKey, (u64, &Arc<Document>)> {
    let mut last = BTreeMap::new();
    for change in changes {
        match &change.document {
            Some(document) => last.insert(&change.key, (change.revision, document)),
            None => last.remove(&change.key),
        };
    }
    last
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn building_all_is_building_some_and_updating_with_the_rest(
        seed in prop::collection::vec((any::<prop::sample::Index>(), 0..6_u8), 1..160),
        first in 0..100_usize,
        step in 1..12_usize,
    ) {
        let (pool, held) = pool();
        let all: Vec<Change> = (1..)
            .zip(&seed)
            .map(|(revision, (index, fate))| {
                let change = index.get(&pool).clone();
                let document = change.document.filter(|_| *fate > 0);
                Change { revision, document, ..change }
            })
            .collect();
        let revision = all.len() as u64;
        let environment = || "production".parse().unwrap();
        let documents = surviving(&all);
        let tenants = Common::of(documents.iter().map(|(key, (_, document))| (*key, *document)));
        let documents = documents.iter().map(|(key, (revision, document))| (*key, *revision, *document));
        let others = documents.clone().filter(|(key, ..)| key.kind() != Kind::Tenant);
        let whole = View::build(environment(), revision, documents, &held);
        let sharing = View::build_with(tenants, environment(), revision, others, &held);

        let (some, rest) = all.split_at(first.min(all.len()));
        let documents = surviving(some);
        let documents = documents.iter().map(|(key, (revision, document))| (*key, *revision, *document));
        let mut stepwise = View::build(environment(), 0, documents, &held);
        let keys: Vec<_> = all
            .iter()
            .filter(|it| matches!(it.key.kind(), Kind::Flag | Kind::Targeting))
            .map(|it| it.key.name().to_owned())
            .collect();
        let handles: Vec<_> = keys.iter().map(|key| (key, stepwise.flag(key))).collect();
        for part in rest.chunks(step) {
            stepwise = stepwise.update(revision, part, &held);
            // Looking between updates must leave nothing behind that is seen later.
            observe(&stepwise, &[]);
        }
        let stepwise = stepwise.update(revision, &[], &held);
        for (whole, sharing) in observe(&whole, &keys).into_iter().zip(observe(&sharing, &keys)) {
            prop_assert_eq!(whole, sharing);
        }
        for (whole, stepwise) in observe(&whole, &keys).into_iter().zip(observe(&stepwise, &keys)) {
            prop_assert_eq!(whole, stepwise);
        }
        for (key, handle) in handles {
            if let (Some(before), Some(after)) = (handle, stepwise.flag(key)) {
                prop_assert_eq!(before, after, "handles survive updates");
            }
        }
    }
}

fn path() -> impl Strategy<Value = AttributePath> {
    let paths = [
        "x",
        "y",
        "n",
        "o.p",
        "tenant.plan",
        "tenant.id",
        "targetingKey",
        "user.id",
        "agent",
    ];
    prop::sample::select(paths.to_vec()).prop_map(|path| AttributePath::new(path).unwrap())
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        any::<bool>().prop_map(Operand::Bool),
        (-2..3_i64).prop_map(|it| Operand::Number(it.into())),
        any::<f64>().prop_filter_map("finite", |it| serde_json::Number::from_f64(it)
            .map(Operand::Number)),
        "[ab]{0,2}".prop_map(Operand::Text),
        "[(]?[ab]?[+.]?".prop_map(Operand::Text),
        "v?[01]([.][01]){0,2}(-a)?".prop_map(Operand::Text),
        "(10|::1)([.]0[.]0[.][01])?(/[01])?".prop_map(Operand::Text),
        "202[56]-0[12]-01".prop_map(Operand::Text),
    ]
}

/// Clauses, also such as no reader lets pass.
fn clause() -> impl Strategy<Value = Clause> {
    let operator = prop::sample::select(Operator::ALL);
    (
        path(),
        operator,
        prop::collection::vec(operand(), 0..12),
        any::<bool>(),
    )
        .prop_map(|(attribute, operator, operands, list)| Clause {
            attribute,
            operator,
            operands,
            list,
        })
}

fn expr() -> impl Strategy<Value = Expr> {
    clause()
        .prop_map(Expr::Clause)
        .prop_recursive(6, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::All),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::Any),
                inner.prop_map(|part| Expr::Not(Box::new(part))),
            ]
        })
}

fn variant() -> impl Strategy<Value = VariantName> {
    let names = ["on", "off", "on", "off", "other"];
    prop::sample::select(names.to_vec()).prop_map(|name| VariantName::new(name).unwrap())
}

fn serve() -> impl Strategy<Value = Serve> {
    let ranges = prop::collection::vec((variant(), 0..100_001_u32, 0..100_001_u32), 0..4);
    let shares = prop_oneof![
        prop::collection::btree_map(variant(), 0..60_000_u32, 0..3).prop_map(Shares::Percent),
        ranges.prop_map(|ranges| {
            let range = |(variant, start, end)| Range {
                variant,
                start,
                end,
            };
            Shares::Ranges(ranges.into_iter().map(range).collect())
        }),
    ];
    let split = (
        prop::option::of(path()),
        prop::option::of("[a-c]{0,3}"),
        shares,
    )
        .prop_map(|(by, salt, shares)| Serve::Split(Split { by, salt, shares }));
    let ramp = (
        variant(),
        0..100_001_u32,
        0..100_001_u32,
        -9..9_i64,
        -9..9_i64,
        path(),
    )
        .prop_map(|(variant, from, to, start, end, by)| {
            let (start, end) = (Timestamp(NOW.0 + start), Timestamp(NOW.0 + end));
            let course = Course {
                variant,
                from,
                to,
                start,
                end,
            };
            Serve::Ramp(Ramp {
                by: Some(by),
                salt: None,
                course,
            })
        });
    prop_oneof![
        variant().prop_map(Serve::Variant),
        Just(Serve::CallerDefault),
        split,
        ramp
    ]
}

fn targeting() -> impl Strategy<Value = Targeting> {
    let target = (
        prop::option::of(path()),
        prop::collection::vec("[ab12]{0,2}", 0..12),
        variant(),
    )
        .prop_map(|(by, values, serve)| Target { by, values, serve });
    let window = (-9..9_i64, -9..9_i64).prop_map(|(from, until)| Window {
        from: Some(Timestamp(NOW.0 + from)),
        until: Some(Timestamp(NOW.0 + until)),
    });
    let rule = (expr(), prop::option::of(window), serve());
    // The flag itself, another one, and one that there is not.
    let needed = prop::sample::select(&["f", "g", "nothing"][..]);
    let needed = (needed, prop::collection::vec(variant(), 1..3)).prop_map(|(flag, variants)| {
        let flag = flag.parse().unwrap();
        Prerequisite { flag, variants }
    });
    (
        prop::bool::weighted(0.9),
        prop::option::of(variant()),
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(needed, 1..3)],
        prop::collection::vec(target, 0..3),
        prop::collection::vec(rule, 0..4),
        prop::option::of(serve()),
    )
        .prop_map(
            |(on, off, prerequisites, targets, rules, default)| Targeting {
                state: if on {
                    FlagState::Enabled
                } else {
                    FlagState::Disabled
                },
                off,
                prerequisites,
                targets,
                rules: (0..)
                    .zip(rules)
                    .map(|(at, (when, window, serve))| Rule {
                        name: format!("r{at}"),
                        when,
                        window,
                        serve,
                    })
                    .collect(),
                default,
            },
        )
}

fn any_context() -> impl Strategy<Value = Context> {
    let value = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        prop::collection::vec("[ab]{0,2}", 0..3).prop_map(Value::from),
        Just(json!({"p": "a"})),
    ];
    let id = || prop::option::of("[ab12]{1,2}");
    let names = prop::sample::select(&["x", "y", "n", "o"][..]);
    (id(), id(), id(), prop::collection::btree_map(names, value, 0..5)).prop_map(
        |(key, tenant, user, attributes)| {
            context(&json!({"targetingKey": key, "tenant": tenant, "user": user, "attributes": attributes}))
        },
    )
}

fn view_of(targeting: Targeting) -> View {
    let environment = "production".parse().unwrap();
    let flag: Flag = serde_json::from_value(json!({"type": "boolean"})).unwrap();
    let key = "f".parse().unwrap();
    let tenant: plane_model::documents::Tenant =
        serde_json::from_value(json!({"plan": "a"})).unwrap();
    let other = "g".parse().unwrap();
    let on = serde_json::from_value(json!({"state": "enabled", "default": "on"})).unwrap();
    let documents = [
        (
            DocumentKey::flag(&other),
            Arc::new(Document::Flag(Box::new(flag.clone()))),
        ),
        (
            DocumentKey::targeting(&environment, &other),
            Arc::new(Document::Targeting(Box::new(on))),
        ),
        (
            DocumentKey::flag(&key),
            Arc::new(Document::Flag(Box::new(flag))),
        ),
        (
            DocumentKey::targeting(&environment, &key),
            Arc::new(Document::Targeting(Box::new(targeting))),
        ),
        (
            DocumentKey::tenant(&"a".parse().unwrap()),
            Arc::new(Document::Tenant(tenant)),
        ),
    ];
    let documents = documents.iter().map(|(key, document)| (key, 1, document));
    View::build(environment, 1, documents, &Held::default())
}

/// What the last step of an explanation says the result is.
pub(crate) fn concluded(explanation: &Explanation) -> (Option<VariantName>, Option<ErrorCode>) {
    let served = |serve: &ExplainServe, rule: bool| match serve {
        ExplainServe::Variant { variant } => (variant.clone(), None),
        ExplainServe::CallerDefault => (None, None),
        ExplainServe::Split { unit: None, .. } | ExplainServe::Ramp { unit: None, .. } if !rule => {
            (None, Some(ErrorCode::TargetingKeyMissing))
        }
        ExplainServe::Split { variant, .. } | ExplainServe::Ramp { variant, .. } => {
            (variant.clone(), None)
        }
    };
    match explanation.steps.last().unwrap() {
        ExplainStep::Flag { .. } => (None, Some(ErrorCode::FlagNotFound)),
        ExplainStep::Broken { .. } => (None, Some(ErrorCode::ParseError)),
        ExplainStep::Kill { .. } | ExplainStep::State { .. } | ExplainStep::TenantKill { .. } => {
            assert_eq!(explanation.result.reason, Reason::Disabled);
            (explanation.result.variant.clone(), None)
        }
        ExplainStep::Prerequisite { verdict, .. } | ExplainStep::ExclusionGroup { verdict, .. } => {
            assert_ne!(*verdict, Verdict::True);
            (
                explanation.result.variant.clone(),
                explanation.result.error_code,
            )
        }
        ExplainStep::Pin { variant, .. } => match explanation.result.error_code {
            Some(error) => (None, Some(error)),
            None => (variant.clone(), None),
        },
        ExplainStep::Target { serve, verdict, .. } => {
            assert_eq!(*verdict, Verdict::True);
            (Some(serve.clone()), None)
        }
        ExplainStep::Rule {
            name,
            serve,
            verdict,
            ..
        } => {
            assert_eq!(*verdict, Verdict::True);
            assert_eq!(explanation.result.rule.as_ref(), Some(name));
            served(serve.as_ref().unwrap(), true)
        }
        ExplainStep::Default { serve } => served(serve, false),
        ExplainStep::Cap { .. } => unreachable!("no caller sets a cap here"),
    }
}

fn ranges_are_sound(targeting: &Targeting) -> bool {
    let rules = targeting.rules.iter().map(|rule| &rule.serve);
    let mut serves = rules.chain(&targeting.default);
    serves.all(|serve| !matches!(serve, Serve::Split(split) if split.fault().is_some()))
}

proptest! {
    #[test]
    fn evaluation_is_total_and_agrees_with_its_explanation(targeting in targeting(), ctx in any_context()) {
        let sound = ranges_are_sound(&targeting);
        let view = view_of(targeting);
        let found = view.evaluate_key("f", &ctx, NOW);
        let explanation = view.explain("f", &ctx, NOW);
        let expected = concluded(&explanation);
        prop_assert_eq!((found.variant().cloned(), found.error()), expected);
        prop_assert!(sound || found.reason() == Reason::Error);
        prop_assert_eq!(found.error().is_some(), found.reason() == Reason::Error);
        prop_assert!(serde_json::to_string(&explanation).is_ok());
    }

    #[test]
    fn no_clause_but_exists_matches_a_missing_attribute_negated_or_not(mut clause in clause(), negations in 0..4_usize) {
        prop_assume!(clause.operator != Operator::Exists);
        clause.attribute = AttributePath::new("absent").unwrap();
        let when = (0..negations).fold(Expr::Clause(clause), |expr, _| Expr::Not(Box::new(expr)));
        let on = VariantName::new("on").unwrap();
        let view = view_of(Targeting {
            state: FlagState::Enabled,
            off: None,
            prerequisites: Vec::new(),
            targets: Vec::new(),
            rules: vec![Rule { name: "r".to_owned(), when, window: None, serve: Serve::Variant(on) }],
            default: None,
        });
        let ctx = context(&json!({"tenant": "a", "attributes": {"x": 1}}));
        prop_assert_eq!(view.evaluate_key("f", &ctx, NOW).rule(), None);
    }

    #[test]
    fn a_unit_stays_in_when_a_percentage_grows(from in 0..=100_000_u32, more in 0..=100_000_u32, units in prop::collection::vec("[a-z0-9]{1,8}", 1..40)) {
        let at = |share: u32| {
            let percent = f64::from(share) / 1000.0;
            let body = json!({"state": "enabled", "default": {"percent": {"on": percent}}});
            plane_model::parse_strict::<Targeting>(&body).unwrap()
        };
        let before = at(from).settled(None);
        let after = at((from + more).min(100_000)).settled(Some(&before));
        let (before, after) = (view_of(before), view_of(after));
        for unit in units {
            let ctx = Context::new().with_targeting_key(&unit);
            let was_in = before.evaluate_key("f", &ctx, NOW).as_bool();
            let is_in = after.evaluate_key("f", &ctx, NOW).as_bool();
            prop_assert!(was_in != Some(true) || is_in == Some(true), "{}", unit);
        }
    }
}
