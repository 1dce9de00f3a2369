//! Layers and schemas.

use expect_test::expect;
use plane_model::Kind;
use serde_json::{Value, json};

use crate::world::{World, delete, put};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "model": {"type": "string", "x-override": ["environment", "plan", "tenant"]},
            "limits": {
                "type": "object",
                "properties": {
                    "tokens": {"type": "integer", "maximum": 8000, "x-override": ["plan"]},
                    "depth": {"type": "integer"}
                },
                "additionalProperties": false
            }
        },
        "required": ["model"]
    })
}

fn configured() -> World {
    let mut world = World::platform();
    world
        .write(vec![
            put(Kind::Schema, "", "ai", schema()),
            put(
                Kind::Config,
                "base",
                "ai",
                json!({"model": "m1", "limits": {"depth": 3}}),
            ),
            put(
                Kind::Config,
                "production.plan=free",
                "ai",
                json!({"limits": {"tokens": 1000}}),
            ),
        ])
        .unwrap();
    world
}

#[test]
fn every_effective_document_must_match_the_schema() {
    let mut world = configured();
    let report = world.refused(vec![put(
        Kind::Config,
        "production.plan=free",
        "ai",
        json!({"limits": {"tokens": 9000}}),
    )]);
    expect![[r"
        /ops/0/body/limits/tokens: the effective `ai` in production on plan free is invalid at `/limits/tokens`: must be at most 8000 [CONFIG_INVALID]; change the value, or the schema that governs it
    "]]
    .assert_eq(&report);
    let report = world.refused(vec![delete(Kind::Config, "base", "ai")]);
    assert!(
        report.contains("CONFIG_INVALID") && report.contains("model"),
        "{report}"
    );
}

#[test]
fn a_schema_that_stored_documents_do_not_match_is_refused() {
    let mut world = configured();
    let mut narrower = schema();
    narrower["properties"]["limits"]["properties"]["tokens"]["maximum"] = json!(500);
    let report = world.refused(vec![put(Kind::Schema, "", "ai", narrower)]);
    assert!(
        report.contains("on plan free") && report.contains("CONFIG_INVALID"),
        "{report}"
    );
}

#[test]
fn layers_set_only_what_the_schema_lets_them() {
    let mut world = configured();
    let report = world.refused(vec![put(
        Kind::Config,
        "production.tenant=tenant123",
        "ai",
        json!({"model": "m2", "limits": {"tokens": 1, "depth": 4}}),
    )]);
    expect![[r"
        /ops/0/body/limits/depth: the layer `production.tenant=tenant123` of `ai` may not set `/limits/depth` [LAYER_NOT_ALLOWED]; add `x-override: [tenant]` to that property in the schema, or set it in another layer
        /ops/0/body/limits/tokens: the layer `production.tenant=tenant123` of `ai` may not set `/limits/tokens` [LAYER_NOT_ALLOWED]; add `x-override: [tenant]` to that property in the schema, or set it in another layer
    "]]
    .assert_eq(&report);
    world
        .write(vec![put(
            Kind::Config,
            "production.tenant=tenant123",
            "ai",
            json!({"model": "m2"}),
        )])
        .unwrap();
}

#[test]
fn an_override_word_at_the_root_holds_for_every_path_that_says_nothing_else() {
    let mut world = World::platform();
    let schema = json!({
        "x-override": ["environment", "tenant"],
        "properties": {
            "model": {"type": "string"},
            "url": {"$ref": "#/$defs/url", "x-override": "environment"}
        },
        "$defs": {"url": {"type": "string"}}
    });
    world
        .write(vec![put(Kind::Schema, "", "ai", schema)])
        .unwrap();
    let layer = |body: Value| put(Kind::Config, "production.tenant=tenant123", "ai", body);
    world
        .write(vec![layer(json!({"model": "m2", "new": {"deep": 1}}))])
        .unwrap();
    let report = world.refused(vec![layer(json!({"model": "m2", "url": "u"}))]);
    assert!(
        report.starts_with("/ops/0/body/url: ") && report.contains("LAYER_NOT_ALLOWED"),
        "{report}"
    );
    let plan = put(Kind::Config, "plan=free", "ai", json!({"model": "m3"}));
    let report = world.refused(vec![plan]);
    assert!(report.contains("LAYER_NOT_ALLOWED"), "{report}");
}

#[test]
fn a_plan_layer_without_a_schema_is_refused() {
    let mut world = World::platform();
    let report = world.refused(vec![put(
        Kind::Config,
        "plan=free",
        "other",
        json!({"anything": 1}),
    )]);
    assert!(report.contains("LAYER_NOT_ALLOWED"), "{report}");
    world
        .write(vec![put(
            Kind::Config,
            "production",
            "other",
            json!({"anything": 1}),
        )])
        .unwrap();
}

#[test]
fn a_tenant_that_moves_to_another_plan_gets_a_valid_document_or_stays() {
    let mut world = World::platform();
    world
        .write(vec![
            put(
                Kind::Schema,
                "",
                "ai",
                json!({
                    "properties": {
                        "a": {"type": "integer", "x-override": "plan"},
                        "b": {"type": "integer", "x-override": "tenant"}
                    },
                    "not": {"required": ["a", "b"]}
                }),
            ),
            put(Kind::Config, "plan=free", "ai", json!({"a": 1})),
            put(Kind::Config, "tenant=tenant123", "ai", json!({"b": 1})),
        ])
        .unwrap();
    let moved = put(Kind::Tenant, "", "tenant123", json!({"plan": "free"}));
    let report = world.refused(vec![moved]);
    assert!(report.contains("for tenant tenant123"), "{report}");
}

/// A model that must not be given so many tokens: what each layer says is right, and together they are wrong.
fn choosy() -> World {
    let mut world = World::platform();
    let layers = ["plan", "tenant"];
    let clash = json!({
        "required": ["model", "tokens"],
        "properties": {"model": {"const": "m2"}, "tokens": {"const": 1000}}
    });
    let schema = json!({
        "type": "object",
        "properties": {"model": {"x-override": layers}, "tokens": {"x-override": layers}},
        "not": clash
    });
    let put = |scope: &str, body: Value| put(Kind::Config, scope, "ai", body);
    world
        .write(vec![
            crate::world::put(Kind::Schema, "", "ai", schema),
            put("base", json!({"model": "m1"})),
            put("production.plan=free", json!({"tokens": 1000})),
            put("tenant=tenant123", json!({"model": "m2"})),
            put("production.tenant=tenant999", json!({"model": "m3"})),
            crate::world::put(Kind::Tenant, "", "tenant999", json!({"plan": "free"})),
        ])
        .unwrap();
    world
}

#[test]
fn a_tenants_layer_is_checked_with_the_layers_of_its_plan() {
    let mut world = choosy();
    let layer = |tenant: &str| {
        let scope = format!("production.tenant={tenant}");
        vec![put(Kind::Config, &scope, "ai", json!({"model": "m2"}))]
    };
    world.write(layer("tenant123")).unwrap();
    let report = world.refused(layer("tenant456"));
    assert!(report.contains("for tenant tenant456"), "{report}");
    assert!(!report.contains("tenant123"), "{report}");
}

#[test]
fn a_tenant_that_moves_is_checked_with_all_of_its_layers() {
    let mut world = choosy();
    let moved = vec![put(Kind::Tenant, "", "tenant123", json!({"plan": "free"}))];
    let report = world.refused(moved);
    assert!(report.contains("for tenant tenant123"), "{report}");
}

#[test]
fn a_layer_that_goes_away_leaves_its_tenant_with_what_is_right() {
    let mut world = choosy();
    let scope = "production.tenant=tenant123";
    world
        .write(vec![
            put(Kind::Config, scope, "ai", json!({"model": "m1"})),
            put(Kind::Tenant, "", "tenant123", json!({"plan": "free"})),
        ])
        .unwrap();
    let report = world.refused(vec![delete(Kind::Config, scope, "ai")]);
    assert!(report.contains("for tenant tenant123"), "{report}");
    let other = "production.tenant=tenant999";
    world
        .write(vec![delete(Kind::Config, other, "ai")])
        .unwrap();
}

#[test]
fn defaults_behind_references_add_up_within_bounds_and_count_in_what_is_validated() {
    let mut world = World::platform();
    // Each of a few definitions refers to the next one twice.
    let chain = |depth: usize| {
        let definition = |level: usize| {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            (
                format!("d{level}"),
                json!({"properties": {"a": next, "b": next}}),
            )
        };
        let mut definitions: serde_json::Map<_, _> = (0..depth).map(definition).collect();
        definitions.insert(
            format!("d{depth}"),
            json!({"type": "string", "default": "x"}),
        );
        json!({"properties": {"root": {"$ref": "#/$defs/d0"}}, "$defs": definitions})
    };
    world
        .write(vec![put(Kind::Schema, "", "few", chain(8))])
        .unwrap();
    let report = world.refused(vec![put(Kind::Schema, "", "many", chain(28))]);
    expect![[r"
        /ops/0/body: the defaults behind `$ref`s, at all places that these lead to, are more than 65536 bytes [LIMIT_EXCEEDED]; let fewer properties refer to definitions that refer to others
    "]]
    .assert_eq(&report);
    let schema = json!({
        "properties": {"size": {"$ref": "#/$defs/size"}},
        "$defs": {"size": {"type": "integer", "maximum": 5, "default": 6}}
    });
    let report = world.refused(vec![
        put(Kind::Schema, "", "ai", schema),
        put(Kind::Config, "base", "ai", json!({})),
    ]);
    assert!(
        report.contains("CONFIG_INVALID") && report.contains("/size"),
        "{report}"
    );
}
