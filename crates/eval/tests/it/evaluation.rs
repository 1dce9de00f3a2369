//! `spec/evaluation.json`.

use plane_eval::{ErrorCode, Outcome, View};
use plane_model::{Timestamp, VariantName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::laws::concluded;
use crate::support::{Held, Written, at, build, changes, context, read};

#[derive(Deserialize)]
struct Vectors {
    environment: String,
    documents: Vec<Written>,
    cases: Vec<Case>,
    clauses: Vec<ClauseCase>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    flag: String,
    context: Value,
    now: Option<Timestamp>,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    variant: Option<String>,
    reason: String,
    rule: Option<String>,
    error: Option<String>,
    #[serde(default)]
    tenant_unknown: bool,
}

#[derive(Deserialize)]
struct ClauseCase {
    clause: Value,
    context: Value,
    verdict: String,
}

#[test]
fn flags_evaluate_as_in_the_vectors_by_key_by_handle_all_at_once_and_explained() {
    let vectors: Vectors = read("evaluation.json");
    let changes = changes(&vectors.documents);
    let view = build(&vectors.environment, &changes, &Held::default());
    assert!(vectors.cases.len() >= 100);
    for case in &vectors.cases {
        let (ctx, now) = (context(&case.context), at(case.now));
        let found = view.evaluate_key(&case.flag, &ctx, now);
        let name = &case.name;
        let expected = &case.expect;
        assert_eq!(
            found.variant().map(VariantName::as_str),
            expected.variant.as_deref(),
            "{name}"
        );
        assert_eq!(found.reason().as_str(), expected.reason, "{name}");
        assert_eq!(found.rule(), expected.rule.as_deref(), "{name}");
        assert_eq!(
            found.error().map(ErrorCode::as_str),
            expected.error.as_deref(),
            "{name}"
        );
        assert_eq!(
            found.error_detail().is_some(),
            expected.error.is_some(),
            "{name}"
        );
        assert_eq!(found.tenant_unknown(), expected.tenant_unknown, "{name}");
        assert_eq!(
            found.value().is_some(),
            expected.variant.is_some(),
            "{name}"
        );

        let outcome = Outcome::from(&found);
        if let Some(handle) = view.flag(&case.flag) {
            assert_eq!(
                Outcome::from(&view.evaluate(handle, &ctx, now)),
                outcome,
                "{name}"
            );
            let mut all = view.evaluate_all(&ctx, now);
            let (_, among) = all.find(|(key, _)| key.as_str() == case.flag).unwrap();
            assert_eq!(Outcome::from(&among), outcome, "{name}");
        }
        let explanation = view.explain(&case.flag, &ctx, now);
        assert_eq!(explanation.result, outcome, "{name}");
        let concluded = concluded(&explanation);
        assert_eq!((outcome.variant, outcome.error_code), concluded, "{name}");
    }
}

#[test]
fn a_flag_says_its_metadata_whatever_it_gives_but_not_when_it_is_archived() {
    let view = |more: Value| {
        let mut flag = json!({"type": "boolean", "metadata": {"team": "ml"}});
        flag.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let documents: Vec<Written> = serde_json::from_value(json!([
            {"kind": "flag", "name": "f", "body": flag},
            {"kind": "targeting", "scope": "production", "name": "f", "body":
                {"state": "enabled", "default": {"percent": {"on": 50}, "by": "user.id"}}},
        ]))
        .unwrap();
        build("production", &changes(&documents), &Held::default())
    };
    let (known, archived) = (view(json!({})), view(json!({"archived": true})));
    for (view, ctx, reason, said) in [
        (&known, json!({"user": "u"}), "SPLIT", Some("ml")),
        (&known, json!({}), "ERROR", Some("ml")),
        (&archived, json!({"user": "u"}), "ERROR", None),
    ] {
        let ctx = context(&ctx);
        let found = view.evaluate_key("f", &ctx, at(None));
        let team = found.metadata().get("team").map(Value::from);
        assert_eq!(
            (found.reason().as_str(), team),
            (reason, said.map(Value::from))
        );
    }
    let ctx = context(&json!({}));
    assert!(
        known
            .evaluate_key("none", &ctx, at(None))
            .metadata()
            .is_empty()
    );
}

#[test]
fn clauses_have_the_verdicts_of_the_vectors() {
    let vectors: Vectors = read("evaluation.json");
    assert!(vectors.clauses.len() >= 230);
    for case in &vectors.clauses {
        let mut documents = vectors.documents.clone();
        documents.retain(|it| matches!(it.kind.as_str(), "tenant" | "segment"));
        let rule = |name: &str, when: Value| json!({"name": name, "if": when, "serve": "on"});
        let rules = [
            rule("true", case.clause.clone()),
            rule("false", json!({"not": case.clause})),
        ];
        for (kind, scope, body) in [
            ("flag", "", json!({"type": "boolean"})),
            (
                "targeting",
                "production",
                json!({"state": "enabled", "rules": rules}),
            ),
        ] {
            let written = json!({"kind": kind, "scope": scope, "name": "probe", "body": body});
            documents.push(serde_json::from_value(written).unwrap());
        }
        let view = build("production", &changes(&documents), &Held::default());
        let ctx = context(&case.context);
        let verdict = view
            .evaluate_key("probe", &ctx, at(None))
            .rule()
            .unwrap_or("unknown");
        assert_eq!(
            verdict, case.verdict,
            "{} for {}",
            case.clause, case.context
        );
        check_explained(&view, case);
    }
}

fn check_explained(view: &View, case: &ClauseCase) {
    let explanation = view.explain("probe", &context(&case.context), at(None));
    let value = serde_json::to_value(&explanation).unwrap();
    let steps = value["steps"].as_array().unwrap();
    let rule = steps.iter().find(|it| it["step"] == "rule").unwrap();
    assert_eq!(rule["verdict"], case.verdict.as_str(), "{value:#}");
}
