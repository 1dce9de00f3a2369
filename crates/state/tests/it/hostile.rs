//! Input that means harm or is plainly wrong: each is refused with a code, a place and a next step.

use std::io::Write as _;

use plane_model::{Kind, Violations};
use plane_registry::{Manifest, SigningKey};
use plane_state::{Action, Change, Op};
use serde_json::{Map, Value, json};

use crate::world::{NOW, World, lines, put};

/// What is refused, with every finding as `POINTER CODE`.
type Case = (&'static str, Vec<Op>, &'static [&'static str]);

fn check(world: &mut World, cases: Vec<Case>) {
    let count = cases.len();
    for (what, ops, expected) in cases {
        let before = world.state.head();
        let rejection = match world.write(ops) {
            Err(rejection) => rejection,
            Ok(count) => panic!("{what}: committed {count} changes"),
        };
        assert_eq!(world.state.head(), before, "{what}");
        assert_eq!(
            findings(&rejection.violations),
            expected,
            "{what}: {}",
            lines(&rejection.violations)
        );
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "figure: {count} hostile commits, each refused with code, pointer and next step"
    )
    .unwrap();
}

fn findings(violations: &Violations) -> Vec<String> {
    for violation in violations {
        let says = !violation.detail.is_empty() && !violation.next.is_empty();
        assert!(says && violation.detail.len() < 4_096, "{violation:?}");
    }
    let mut found: Vec<_> = violations
        .iter()
        .map(|it| format!("{} {}", it.pointer, it.code))
        .collect();
    found.sort();
    found
}

fn flag(body: Value) -> Op {
    put(Kind::Flag, "", "f", body)
}

fn targeting(body: Value) -> Op {
    put(Kind::Targeting, "production", "f", body)
}

fn rule(when: &Value) -> Op {
    targeting(json!({"state": "enabled", "rules": [{"name": "r", "if": when, "serve": "on"}]}))
}

fn serving(serve: &Value) -> Op {
    targeting(json!({"state": "enabled", "default": serve}))
}

fn pin(body: Value) -> Op {
    put(Kind::Pin, "production/tenant123", "flag:f", body)
}

fn schema(body: Value) -> Op {
    put(Kind::Schema, "", "ai", body)
}

/// A platform with the boolean flag `f`.
fn flagged() -> World {
    let mut world = World::platform();
    world.write(vec![flag(json!({"type": "boolean"}))]).unwrap();
    world
}

#[test]
fn hostile_flags_are_refused() {
    let deep = |depth: usize| {
        (1..depth).fold(
            json!({"attribute": "a", "exists": true}),
            |inner, _| json!({"not": inner}),
        )
    };
    let mut world = flagged();
    world.write(vec![rule(&deep(16))]).unwrap();
    check(
        &mut world,
        vec![
            (
                "a list for an object",
                vec![flag(json!(["boolean"]))],
                &["/ops/0/body FIELD_INVALID"],
            ),
            (
                "a list for an object in a list",
                vec![targeting(
                    json!({"state": "enabled", "rules": [["r", {"all": []}, "on"]]}),
                )],
                &["/ops/0/body/rules/0 FIELD_INVALID"],
            ),
            (
                "a split that gives nobody anything",
                vec![serving(&json!({"percent": {}}))],
                &["/ops/0/body/default/percent SPLIT_INVALID"],
            ),
            (
                "over 100 %",
                vec![serving(&json!({"percent": {"on": 60, "off": 50}}))],
                &["/ops/0/body/default/percent SPLIT_INVALID"],
            ),
            (
                "less than nothing",
                vec![serving(&json!({"percent": {"on": -1}}))],
                &["/ops/0/body/default SPLIT_INVALID"],
            ),
            (
                "more than all",
                vec![serving(&json!({"percent": {"on": 1e300}}))],
                &["/ops/0/body/default SPLIT_INVALID"],
            ),
            (
                "not a number",
                vec![serving(&json!({"percent": {"on": "NaN"}}))],
                &["/ops/0/body/default/percent/on FIELD_INVALID"],
            ),
            (
                "finer than a slot",
                vec![serving(&json!({"percent": {"on": 0.000_1}}))],
                &["/ops/0/body/default SPLIT_INVALID"],
            ),
            (
                "ranges that overlap",
                vec![serving(
                    &json!({"ranges": [{"variant": "on", "start": 0, "end": 9}, {"variant": "off", "start": 8, "end": 10}]}),
                )],
                &["/ops/0/body/default/ranges SPLIT_INVALID"],
            ),
            (
                "ranges past the last slot",
                vec![serving(
                    &json!({"ranges": [{"variant": "on", "start": 0, "end": 4_000_000_000_u32}]}),
                )],
                &["/ops/0/body/default/ranges SPLIT_INVALID"],
            ),
            (
                "a variant that traverses",
                vec![serving(&json!("../on"))],
                &["/ops/0/body/default FIELD_INVALID"],
            ),
            (
                "an expression of depth 17",
                vec![rule(&deep(17))],
                &["/ops/0/body/rules/0/if LIMIT_EXCEEDED"],
            ),
            (
                "an operator that runs code",
                vec![rule(&json!({"attribute": "a", "eval": "1"}))],
                &["/ops/0/body/rules/0/if EXPRESSION_INVALID"],
            ),
            (
                "an attribute path without end",
                vec![rule(
                    &json!({"attribute": "a.b.c.d.e.f.g.h.i", "exists": true}),
                )],
                &["/ops/0/body/rules/0/if/attribute FIELD_INVALID"],
            ),
            (
                "a segment that traverses",
                vec![rule(
                    &json!({"attribute": "a", "segment": "../../etc/passwd"}),
                )],
                &["/ops/0/body/rules/0/if NAME_INVALID"],
            ),
            (
                "a pin that is over",
                vec![pin(
                    json!({"variant": "on", "until": "2025-12-31T23:59:59Z"}),
                )],
                &["/ops/0/body/until FIELD_INVALID"],
            ),
            (
                "a pin that is over now",
                vec![pin(json!({"variant": "on", "until": NOW.to_string()}))],
                &["/ops/0/body/until FIELD_INVALID"],
            ),
        ],
    );
}

#[test]
fn a_pin_that_runs_out_does_not_keep_others_from_being_written() {
    let mut world = flagged();
    let until = plane_model::Timestamp(NOW.0 + 1).to_string();
    world
        .write(vec![pin(json!({"variant": "on", "until": until}))])
        .unwrap();
}

#[test]
fn a_commit_is_not_taken_back_without_a_reason() {
    let world = flagged();
    for reason in ["", " \n"] {
        let mut command = world.command(
            Action::Revert,
            vec![flag(json!({"type": "boolean", "owner": "a"}))],
        );
        command.reason = reason.to_owned();
        let rejection = plane_state::prepare(&world.state, &command.into(), NOW).unwrap_err();
        assert_eq!(findings(&rejection.violations), ["/reason FIELD_INVALID"]);
    }
}

#[test]
fn hostile_schemas_are_refused() {
    let property =
        |keyword: &str, value: Value| schema(json!({"properties": {"a": {keyword: value}}}));
    let wide: Map<String, Value> = (0..100_000)
        .map(|index| (format!("p{index}"), json!({})))
        .collect();
    let many: Vec<Value> = (0..10_001).map(|index| json!({"const": index})).collect();
    check(
        &mut World::platform(),
        vec![
            (
                "a reference to elsewhere",
                vec![property("$ref", json!("http://169.254.169.254/latest"))],
                &["/ops/0/body/properties/a/$ref SCHEMA_INVALID"],
            ),
            (
                "a reference to a file",
                vec![property("$ref", json!("file:///etc/passwd"))],
                &["/ops/0/body/properties/a/$ref SCHEMA_INVALID"],
            ),
            (
                "a dynamic reference to elsewhere",
                vec![property("$dynamicRef", json!("https://example.com#meta"))],
                &["/ops/0/body/properties/a/$dynamicRef SCHEMA_INVALID"],
            ),
            (
                "a dynamic reference to itself",
                vec![schema(json!({"$dynamicAnchor": "x", "$dynamicRef": "#x"}))],
                &["/ops/0/body SCHEMA_INVALID"],
            ),
            (
                "a circle",
                vec![schema(
                    json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
                )],
                &["/ops/0/body/$defs/a SCHEMA_INVALID"],
            ),
            (
                "a pattern that explodes",
                vec![property("pattern", json!("((a{1000}){1000}){1000}"))],
                &["/ops/0/body/properties/a/pattern SCHEMA_INVALID"],
            ),
            (
                "a pattern of properties that explodes",
                vec![schema(
                    json!({"patternProperties": {"(x{1000}){1000}": {}}}),
                )],
                &["/ops/0/body/patternProperties/(x{1000}){1000} SCHEMA_INVALID"],
            ),
            (
                "100,000 properties",
                vec![schema(json!({"properties": wide}))],
                &["/ops/0/body LIMIT_EXCEEDED"],
            ),
            (
                "too many alternatives",
                vec![schema(json!({"anyOf": many}))],
                &["/ops/0/body SCHEMA_INVALID"],
            ),
            (
                "another draft",
                vec![schema(json!({"$schema": "http://evil.example/schema"}))],
                &["/ops/0/body/$schema SCHEMA_INVALID"],
            ),
            (
                "an override of no layer",
                vec![property("x-override", json!(["plan", "tennant"]))],
                &["/ops/0/body/properties/a/x-override/1 SCHEMA_INVALID"],
            ),
            (
                "an override that is no name",
                vec![schema(
                    json!({"additionalProperties": {"x-override": true}}),
                )],
                &["/ops/0/body/additionalProperties/x-override SCHEMA_INVALID"],
            ),
            (
                "overrides where nobody reads them",
                vec![schema(json!({
                    "$defs": {"d": {"properties": {"b": {"x-override": "tenant"}}}},
                    "properties": {
                        "a": {"$ref": "#/$defs/d"},
                        "c": {"allOf": [{"x-override": ["plan"]}]},
                        "e": {"type": "array", "items": {"x-override": "tenant"}},
                        "x-override": {"const": {"x-override": "a value"}},
                    },
                    "patternProperties": {"^p": {"x-override": "plan"}},
                }))],
                &[
                    "/ops/0/body/$defs/d/properties/b/x-override SCHEMA_INVALID",
                    "/ops/0/body/patternProperties/^p/x-override SCHEMA_INVALID",
                    "/ops/0/body/properties/c/allOf/0/x-override SCHEMA_INVALID",
                    "/ops/0/body/properties/e/items/x-override SCHEMA_INVALID",
                ],
            ),
            (
                "ways to merge that are none",
                vec![schema(json!({"properties": {
                    "a": {"x-merge": "apend"},
                    "b": {"x-merge": "by-key:"},
                    "c": {"x-merge": ["append"]},
                    "d": {"x-merge": "replace"},
                }}))],
                &[
                    "/ops/0/body/properties/a/x-merge SCHEMA_INVALID",
                    "/ops/0/body/properties/b/x-merge SCHEMA_INVALID",
                    "/ops/0/body/properties/c/x-merge SCHEMA_INVALID",
                ],
            ),
            (
                "ways to merge where nobody reads them",
                vec![schema(json!({
                    "x-merge": "replace",
                    "$defs": {"d": {"x-merge": "append"}},
                    "properties": {
                        "a": {"$ref": "#/$defs/d"},
                        "b": {"$ref": "#/$defs/d", "x-merge": "append"},
                        "c": {"x-merge": "by-key:name", "items": {"properties": {"hosts": {"x-merge": "append"}}}},
                        "e": {"x-merge": "append", "items": {"properties": {"hosts": {"x-merge": "append"}}}},
                        "f": {"anyOf": [{"x-merge": "append"}]},
                    },
                }))],
                &[
                    "/ops/0/body/$defs/d/x-merge SCHEMA_INVALID",
                    "/ops/0/body/properties/e/items/properties/hosts/x-merge SCHEMA_INVALID",
                    "/ops/0/body/properties/f/anyOf/0/x-merge SCHEMA_INVALID",
                    "/ops/0/body/x-merge SCHEMA_INVALID",
                ],
            ),
        ],
    );
}

#[test]
fn a_schema_with_very_many_properties_within_its_bytes_is_compiled() {
    let mut world = World::platform();
    let wide: Map<String, Value> = (0..9_000)
        .map(|index| (format!("p{index}"), json!({})))
        .collect();
    world
        .write(vec![schema(json!({"properties": wide}))])
        .unwrap();
}

/// The manifest that an operation publishes, changed.
fn changed(mut op: Op, change: impl FnOnce(&mut Map<String, Value>)) -> Op {
    if let Change::Put(Value::Object(manifest)) = &mut op.change {
        change(manifest);
    }
    op
}

/// A manifest without what its signer fills in, changed.
fn unsigned(op: Op, change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let op = changed(op, |manifest| {
        manifest.remove("checksum_sha256");
        manifest.remove("signature");
        change(manifest);
    });
    match op.change {
        Change::Put(manifest) | Change::Patch(manifest) => manifest,
        Change::Delete => Value::Null,
    }
}

fn signed_by(op: Op, seed: u8) -> Op {
    let key = op.key.clone();
    let manifest = unsigned(op, |_| {});
    let manifest = Manifest::parse(plane_model::ArtifactKind::Tool, &manifest).unwrap();
    let signed = manifest.signed(&SigningKey::from_seed(&[seed; 32]));
    put(Kind::Tool, "", key.name(), signed.to_value())
}

#[test]
fn hostile_manifests_are_refused() {
    let mut world = World::platform();
    let key = |seed: u8| SigningKey::from_seed(&[seed; 32]).public().to_string();
    world
        .write(vec![
            world.tool("crm", "1.0.0"),
            put(
                Kind::Trust,
                "",
                "default",
                json!({"keys": [
                    {"public_key": key(7)},
                    {"public_key": key(8), "not_after": "2025-01-01T00:00:00Z"},
                    {"public_key": key(9), "revoked_at": "2025-01-01T00:00:00Z"}
                ]}),
            ),
        ])
        .unwrap();
    let tool = || world.tool("order", "1.0.0");
    let checksum = |text: &str| {
        let text = text.to_owned();
        changed(tool(), |it| {
            it.insert("checksum_sha256".to_owned(), text.into());
        })
    };
    let signature = |text: &str| {
        let text = text.to_owned();
        changed(tool(), |it| {
            it.insert("signature".to_owned(), text.into());
        })
    };
    let other = changed(world.tool("crm", "1.0.0"), |_| {});
    let Change::Put(other) = other.change else {
        unreachable!()
    };
    let of_another = other["signature"].as_str().unwrap().to_owned();
    let republished = unsigned(world.tool("crm", "1.0.0"), |it| {
        it["metadata"]["timeout_ms"] = json!(1);
    });
    let governed = unsigned(world.tool("crm", "1.0.0"), |it| {
        it["changelog"] = json!("another");
    });
    let traversing = unsigned(tool(), |it| it["name"] = json!("../../order"));
    let agent = |tools: &[&str]| world.agent("support", "1.0.0", tools);
    let tools: Vec<String> = (0..513).map(|index| format!("tool{index}")).collect();
    let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
    let many = unsigned(world.agent("support", "1.0.0", &[]), |it| {
        it["metadata"]["tools"] = json!(tools);
    });
    let bad_tool = unsigned(tool(), |it| it["metadata"]["timeout_ms"] = json!(-1));
    let cases: Vec<Case> = vec![
        (
            "a wrong checksum",
            vec![checksum(&"0".repeat(64))],
            &["/ops/0/body/checksum_sha256 CHECKSUM_MISMATCH"],
        ),
        (
            "a placeholder for a checksum",
            vec![checksum("a1b2c3…")],
            &["/ops/0/body/checksum_sha256 CHECKSUM_MISMATCH"],
        ),
        (
            "a placeholder for a signature",
            vec![signature("def456")],
            &["/ops/0/body/signature SIGNATURE_INVALID"],
        ),
        (
            "a signature over other bytes",
            vec![signature(&of_another)],
            &[
                "/ops/0/body/signature SIGNATURE_INVALID",
                "/ops/0/body/signature SIGNATURE_MISSING",
            ],
        ),
        (
            "an unknown signer",
            vec![signed_by(tool(), 6)],
            &[
                "/ops/0/body/signature SIGNATURE_INVALID",
                "/ops/0/body/signature SIGNATURE_MISSING",
            ],
        ),
        (
            "an expired signer",
            vec![signed_by(tool(), 8)],
            &[
                "/ops/0/body/signature KEY_EXPIRED",
                "/ops/0/body/signature SIGNATURE_MISSING",
            ],
        ),
        (
            "a revoked signer",
            vec![signed_by(tool(), 9)],
            &[
                "/ops/0/body/signature KEY_REVOKED",
                "/ops/0/body/signature SIGNATURE_MISSING",
            ],
        ),
        (
            "a published version with other bytes",
            vec![put(Kind::Tool, "", "crm@1.0.0", republished)],
            &["/ops/0/body/version VERSION_EXISTS"],
        ),
        (
            "what a status governs",
            vec![put(Kind::Tool, "", "crm@1.0.0", governed)],
            &["/ops/0/body GOVERNANCE_CHANGE"],
        ),
        (
            "a name that is not the published one",
            vec![put(
                Kind::Tool,
                "",
                "order@1.0.0",
                unsigned(world.tool("crm", "1.0.0"), |_| {}),
            )],
            &["/ops/0/body/version NAME_INVALID"],
        ),
        (
            "a name that traverses",
            vec![put(Kind::Tool, "", "order@1.0.0", traversing)],
            &["/ops/0/body/name NAME_INVALID"],
        ),
        (
            "a name that looks like another",
            vec![world.tool("CRM", "2.0.0")],
            &["/ops/0/body NAME_COLLISION"],
        ),
        (
            "a tool that is not there",
            vec![agent(&["crn"])],
            &["/ops/0/body/metadata/tools/0 DEPENDENCY_UNSATISFIED"],
        ),
        (
            "a version that is not there",
            vec![agent(&["crm@^2"])],
            &["/ops/0/body/metadata/tools/0 DEPENDENCY_UNSATISFIED"],
        ),
        (
            "an agent that requires itself",
            vec![agent(&["support"])],
            &["/ops/0/body/metadata/tools/0 DEPENDENCY_UNSATISFIED"],
        ),
        (
            "the same tool twice",
            vec![put(
                Kind::Agent,
                "",
                "support@1.0.0",
                unsigned(agent(&[]), |it| {
                    it["metadata"]["tools"] = json!(["crm", "crm@^1"]);
                }),
            )],
            &["/ops/0/body/metadata/tools/1 FIELD_INVALID"],
        ),
        (
            "more tools than a lock has room for",
            vec![put(Kind::Agent, "", "support@1.0.0", many)],
            &["/ops/0/body/metadata/tools LIMIT_EXCEEDED"],
        ),
        // An agent whose tool was refused in the same commit: only the tool is to be corrected.
        (
            "a tool and who needs it",
            vec![
                put(Kind::Tool, "", "order@1.0.0", bad_tool),
                agent(&["order", "crm"]),
            ],
            &["/ops/0/body/metadata/timeout_ms FIELD_INVALID"],
        ),
        (
            "trust and who needs it",
            vec![
                put(Kind::Trust, "", "acme", json!({"keys": [], "threshold": 1})),
                world.tool("acme/crm", "1.0.0"),
            ],
            &["/ops/0/body/keys FIELD_INVALID"],
        ),
    ];
    check(&mut world, cases);
}

#[test]
fn patches_that_reach_what_is_not_theirs_are_refused() {
    let mut world = World::platform();
    world.write(vec![world.tool("crm", "1.0.0")]).unwrap();
    world
        .write(vec![world.agent("support", "1.0.0", &["crm"])])
        .unwrap();
    world
        .write(vec![put(
            Kind::Channel,
            "production",
            "support",
            json!({"default": {"version": "1.0.0"}}),
        )])
        .unwrap();
    let patch = |patch: Value| {
        flag(
            json!({"type": "boolean", "overrides": {"agents": ["support"], "patches": {"on": patch}}}),
        )
    };
    check(
        &mut world,
        vec![
            (
                "tools",
                vec![patch(json!({"tools": ["shell"]}))],
                &["/ops/0/body/overrides/patches/on/tools OVERRIDE_REFUSED"],
            ),
            (
                "tools taken away",
                vec![patch(json!({"tools": null}))],
                &["/ops/0/body/overrides/patches/on/tools OVERRIDE_REFUSED"],
            ),
            (
                "the prompt",
                vec![patch(json!({"system_prompt": "Obey me."}))],
                &["/ops/0/body/overrides/patches/on/system_prompt OVERRIDE_REFUSED"],
            ),
            (
                "what may be overridden",
                vec![patch(json!({"overridable": {"tools": {}}}))],
                &["/ops/0/body/overrides/patches/on/overridable/tools OVERRIDE_REFUSED"],
            ),
            (
                "a name out of the patch",
                vec![patch(json!({"../name": "x"}))],
                &["/ops/0/body/overrides/patches/on/..~1name OVERRIDE_REFUSED"],
            ),
            (
                "a value out of bounds",
                vec![patch(json!({"temperature": 1e9}))],
                &["/ops/0/body/overrides/patches/on/temperature FIELD_INVALID"],
            ),
        ],
    );
}

#[test]
fn two_flags_that_patch_thousands_of_paths_are_compared_in_no_time() {
    let paths = |prefix: &str| -> Map<String, Value> {
        (0..9_000)
            .map(|index| (format!("{prefix}{index}"), json!(1)))
            .collect()
    };
    let overriding = |name: &str, patch: Map<String, Value>| {
        let body =
            json!({"type": "boolean", "overrides": {"agents": "all", "patches": {"on": patch}}});
        put(Kind::Flag, "", name, body)
    };
    let mut world = World::platform();
    let flags = ["a", "b", "c", "d"].map(|name| overriding(name, paths(name)));
    world.write(flags.into()).unwrap();
    let same = overriding(
        "e",
        [("a8999".to_owned(), json!({"x": 1}))]
            .into_iter()
            .collect(),
    );
    let report = world.refused(vec![same]);
    assert!(
        report.contains("`e` and `a` both set `/a8999/x`"),
        "{report}"
    );
}
