//! How flags are written for flagd; that they give the same there, the tests of the Python package prove.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::support::{Held, Written, build, changes};

fn check(targeting: &Value, tenant: Option<&str>, expected: &Expect) {
    check_with(&json!({}), targeting, tenant, expected);
}

fn check_with(metadata: &Value, targeting: &Value, tenant: Option<&str>, expected: &Expect) {
    let documents: Vec<Written> = serde_json::from_value(json!([
        {"kind": "tenant", "name": "acme", "body": {"plan": "free"}},
        {"kind": "flag", "name": "parent", "body": {"type": "boolean"}},
        {"kind": "targeting", "scope": "production", "name": "parent",
         "body": {"state": "enabled", "default": "on"}},
        {"kind": "flag", "name": "f", "body": {"type": "boolean", "metadata": metadata}},
        {"kind": "targeting", "scope": "production", "name": "f", "body": targeting},
    ]))
    .unwrap();
    let view = build("production", &changes(&documents), &Held::default());
    let export = view.to_flagd(tenant);
    let refused: Vec<_> = export
        .refused
        .iter()
        .map(|(flag, why)| format!("{flag}: {why}"))
        .collect();
    let mut flag = export.flags.get("f").cloned().unwrap_or_default();
    if let Some(flag) = flag.as_object_mut() {
        flag.remove("variants");
    }
    expected.assert_eq(&format!("{flag}\n{}", refused.join("\n")));
}

#[test]
fn what_is_the_same_for_everybody_has_no_rules() {
    check(
        &json!({"state": "enabled", "default": "on"}),
        None,
        &expect![[r#"
            {"defaultVariant":"on","state":"ENABLED"}
        "#]],
    );
    check(
        &json!({"state": "enabled", "default": {"caller_default": true}}),
        None,
        &expect![[r#"
            {"state":"DISABLED"}
        "#]],
    );
    check(
        &json!({"state": "enabled", "prerequisites": [{"flag": "parent", "variants": ["off"]}], "default": "on"}),
        None,
        &expect![[r#"
            {"defaultVariant":"off","state":"ENABLED"}
        "#]],
    );
}

#[test]
fn metadata_are_written_as_they_are() {
    check_with(
        &json!({"team": "ml", "ticket": 17, "weight": 0.5, "beta": true}),
        &json!({"state": "enabled", "default": "on"}),
        None,
        &expect![[r#"
            {"defaultVariant":"on","metadata":{"beta":true,"team":"ml","ticket":17,"weight":0.5},"state":"ENABLED"}
        "#]],
    );
}

#[test]
fn a_split_is_written_with_its_salt_and_asks_for_a_unit_first() {
    check(
        &json!({"state": "enabled", "default": {"percent": {"on": 25}, "by": "user.id"}}),
        None,
        &expect![[r#"
            {"state":"ENABLED","targeting":{"if":[{"and":[{"and":[{"!==":[{"var":"user.id"},null]},{"===":[{"cat":[{"var":"user.id"}]},{"var":"user.id"}]}]},{"!==":[{"var":"user.id"},""]}]},{"fractional":[{"cat":["f",{"var":"user.id"}]},["on",25000],["off",75000]]},null]}}
        "#]],
    );
}

#[test]
fn what_the_control_plane_knows_of_a_tenant_is_put_in_or_in_the_way() {
    let targeting = json!({"state": "enabled", "default": "off", "rules": [
        {"name": "free", "if": {"attribute": "tenant.plan", "equals": "free"}, "serve": "on"}]});
    check(
        &targeting,
        Some("acme"),
        &expect![[r#"
            {"defaultVariant":"on","state":"ENABLED"}
        "#]],
    );
    check(
        &targeting,
        None,
        &expect![[r"
            null
            f: its rule `free` reads `tenant.plan`, which the control plane knows: export it for one tenant"]],
    );
}

#[test]
fn what_flagd_has_not_or_not_so_is_refused_with_the_reason() {
    let rule = |when: Value| json!({"state": "enabled", "default": "off", "rules": [{"name": "r", "if": when, "serve": "on"}]});
    check(
        &rule(json!({"attribute": "country", "matches": "^d"})),
        None,
        &expect![[r"
            null
            f: its rule `r` compares with `matches`, which flagd does not have, or not with the same meaning"]],
    );
    check(
        &rule(json!({"attribute": "country.length", "exists": true})),
        None,
        &expect![[r"
            null
            f: its rule `r` reads `country.length`, which flagd looks for elsewhere"]],
    );
}

#[test]
fn a_flag_that_an_exclusion_group_may_keep_from_units_is_refused_with_those_that_need_it() {
    let documents: Vec<Written> = serde_json::from_value(json!([
        {"kind": "flag", "name": "a", "body": {"type": "boolean"}},
        {"kind": "targeting", "scope": "production", "name": "a",
         "body": {"state": "enabled", "default": "on"}},
        {"kind": "flag", "name": "b", "body": {"type": "boolean"}},
        {"kind": "targeting", "scope": "production", "name": "b",
         "body": {"state": "enabled", "prerequisites": [{"flag": "a", "variants": ["on"]}], "default": "on"}},
        {"kind": "exclusion-group", "name": "g", "body": {"percent": {"a": 10}}},
    ]))
    .unwrap();
    let view = build("production", &changes(&documents), &Held::default());
    let refused = view.to_flagd(None).refused;
    let refused: Vec<_> = refused
        .iter()
        .map(|(flag, why)| format!("{flag}: {why}"))
        .collect();
    expect![[r"
        a: the exclusion group `g` says which units it may reach
        b: it needs `a`, and the exclusion group `g` says which units it may reach"]]
    .assert_eq(&refused.join("\n"));
}

#[test]
fn a_flag_that_few_segments_would_make_enormous_is_refused() {
    let ids: Vec<_> = (0..4_000).map(|at| format!("u-{at}")).collect();
    let rule = |names: Vec<&str>| {
        let when = json!({"attribute": "user.id", "segment": names});
        json!({"state": "enabled", "default": "off", "rules": [{"name": "r", "if": when, "serve": "on"}]})
    };
    let documents = |names| -> Vec<Written> {
        serde_json::from_value(json!([
            {"kind": "segment", "name": "s", "body": {"include": ids}},
            {"kind": "flag", "name": "f", "body": {"type": "boolean"}},
            {"kind": "targeting", "scope": "production", "name": "f", "body": rule(names)},
        ]))
        .unwrap()
    };
    let export = |times: usize| {
        let documents = documents(vec!["s"; times]);
        build("production", &changes(&documents), &Held::default()).to_flagd(None)
    };
    assert_eq!(export(2).refused.values().next(), None);
    let refused = export(30).refused;
    expect!["its rule `r` names `s`, which would make the flag more than 100000 rules, segments and ids, each as often as it is asked"]
        .assert_eq(refused.values().next().unwrap());
}
