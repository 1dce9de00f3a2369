//! Who refers to what: found by one mechanism, for those who ask and for those who would delete.

use expect_test::{Expect, expect};
use plane_model::{DocumentKey, Kind};
use plane_state::{Action, Subject, uses};
use serde_json::json;

use crate::world::{World, delete, put};

/// A platform in which everything that can be referred to is.
fn world() -> World {
    let mut world = World::platform();
    let documents = vec![
        world.tool("crm", "1.0.0"),
        world.tool("mail", "1.0.0"),
        world.agent("support", "1.0.0", &["mail", "crm"]),
        put(Kind::Flag, "", "base", json!({"type": "boolean"})),
        put(
            Kind::Flag,
            "",
            "top",
            json!({
                "type": "boolean",
                "overrides": {
                    "agents": ["support"],
                    "patches": {"on": {"temperature": 0.3}},
                },
            }),
        ),
        put(
            Kind::Flag,
            "",
            "patient",
            json!({
                "type": "boolean",
                "overrides": {"tools": "all", "patches": {"on": {"timeout_ms": 9000}}},
            }),
        ),
        put(
            Kind::Schema,
            "",
            "ai",
            json!({"properties": {"a": {"x-override": ["tenant"]}}}),
        ),
        put(
            Kind::Segment,
            "",
            "friends",
            json!({"include": ["tenant123"]}),
        ),
        put(
            Kind::Segment,
            "",
            "all_friends",
            json!({"when": {"attribute": "tenant.id", "segment": "friends"}}),
        ),
        put(
            Kind::Targeting,
            "production",
            "top",
            json!({
                "state": "enabled",
                "prerequisites": [{"flag": "base", "variants": ["on"]}],
                "targets": [{"by": "tenant.id", "values": ["tenant456", "tenant123"], "serve": "on"}],
                "rules": [{
                    "name": "friends",
                    "if": {"all": [
                        {"attribute": "user.id", "segment": ["friends", "all_friends"]},
                        {"not": {"attribute": "tenant.id", "equals": "tenant456"}},
                    ]},
                    "serve": "on",
                }],
            }),
        ),
        put(
            Kind::Pin,
            "production/tenant123",
            "flag:top",
            json!({"variant": "on"}),
        ),
        put(
            Kind::Pin,
            "staging/tenant123",
            "agent:support",
            json!({"version": "1.0.0"}),
        ),
        put(
            Kind::Channel,
            "production",
            "support",
            json!({"default": {"version": "1.0.0"}}),
        ),
        put(
            Kind::Status,
            "",
            "tool:crm@1.0.0",
            json!({"status": "deprecated", "message": "old"}),
        ),
        put(
            Kind::ExclusionGroup,
            "",
            "pair",
            json!({"percent": {"base": 10, "top": 20}}),
        ),
        put(
            Kind::Config,
            "production.tenant=tenant123",
            "ai",
            json!({"a": 1}),
        ),
    ];
    world.write(documents).unwrap();
    let kill = |scope, name| put(Kind::Kill, scope, name, json!({"reason": "it lies"}));
    let kills = vec![
        kill("production", "flag:base"),
        kill("production/tenant123", "tool:crm"),
    ];
    world.give(Action::Kill, kills).unwrap();
    world
}

#[track_caller]
fn check(world: &World, kind: Kind, name: &str, expected: &Expect) {
    let subject = Subject::new(kind, name).unwrap();
    assert!(subject.is_in(&world.state), "{subject}");
    let found = uses(&world.state, &subject, |_| true);
    let lines: Vec<_> = found
        .iter()
        .map(|it| {
            format!("{:?} {}", it.key, it.pointer.as_str())
                .trim_end()
                .to_owned()
                + "\n"
        })
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn segments_are_used_by_rules_and_by_other_segments() {
    let world = world();
    check(
        &world,
        Kind::Segment,
        "friends",
        &expect![[r#"
        segment("", "all_friends") /when/segment
        targeting("production", "top") /rules/0/if/all/0/segment/0
    "#]],
    );
    check(
        &world,
        Kind::Segment,
        "all_friends",
        &expect![[r#"
        targeting("production", "top") /rules/0/if/all/0/segment/1
    "#]],
    );
}

#[test]
fn flags_are_used_by_their_targeting_and_as_prerequisites_by_pins_kills_and_groups() {
    let world = world();
    check(
        &world,
        Kind::Flag,
        "base",
        &expect![[r#"
            targeting("production", "top") /prerequisites/0
            exclusion-group("", "pair") /percent/base
            kill("production", "flag:base")
        "#]],
    );
    check(
        &world,
        Kind::Flag,
        "top",
        &expect![[r#"
            targeting("production", "top")
            exclusion-group("", "pair") /percent/top
            pin("production/tenant123", "flag:top")
        "#]],
    );
}

#[test]
fn tenants_are_used_by_what_is_bound_to_them_by_rules_and_by_segments_of_tenants() {
    let world = world();
    check(
        &world,
        Kind::Tenant,
        "tenant123",
        &expect![[r#"
            segment("", "friends") /include/0
            targeting("production", "top") /targets/0/values/1
            kill("production/tenant123", "tool:crm")
            pin("production/tenant123", "flag:top")
            pin("staging/tenant123", "agent:support")
            config("production.tenant=tenant123", "ai")
        "#]],
    );
    check(
        &world,
        Kind::Tenant,
        "tenant456",
        &expect![[r#"
        targeting("production", "top") /rules/0/if/all/1/not/equals
        targeting("production", "top") /targets/0/values/0
    "#]],
    );
}

#[test]
fn agents_and_tools_are_used_by_channels_pins_overrides_and_locks() {
    let world = world();
    check(
        &world,
        Kind::Agent,
        "support",
        &expect![[r#"
        flag("", "top") /overrides/agents/0
        pin("staging/tenant123", "agent:support") /version
        channel("production", "support") /default/version
    "#]],
    );
    check(
        &world,
        Kind::Tool,
        "crm",
        &expect![[r#"
            flag("", "patient") /overrides/tools
            kill("production/tenant123", "tool:crm")
            pin("staging/tenant123", "agent:support") /lock
            agent("", "support@1.0.0") /metadata/tools/1
            status("", "tool:crm@1.0.0")
            channel("production", "support") /default/lock
        "#]],
    );
    check(
        &world,
        Kind::Tool,
        "mail@1.0.0",
        &expect![[r#"
        flag("", "patient") /overrides/tools
        pin("staging/tenant123", "agent:support") /lock
        agent("", "support@1.0.0") /metadata/tools/0
        channel("production", "support") /default/lock
    "#]],
    );
}

#[test]
fn another_version_is_used_only_by_what_names_all_of_them() {
    let mut world = world();
    let newer = world.tool("crm", "1.1.0");
    world.write(vec![newer]).unwrap();
    check(
        &world,
        Kind::Tool,
        "crm@1.1.0",
        &expect![[r#"
            flag("", "patient") /overrides/tools
            kill("production/tenant123", "tool:crm")
        "#]],
    );
}

#[test]
fn what_keeps_a_document_from_going_is_among_its_uses() {
    let mut world = world();
    for (kind, name) in [
        (Kind::Segment, "friends"),
        (Kind::Flag, "base"),
        (Kind::Tenant, "tenant123"),
        (Kind::Environment, "production"),
    ] {
        let refused = world.refused(vec![delete(kind, "", name)]);
        let subject = Subject::new(kind, name).unwrap();
        let found = uses(&world.state, &subject, |_| true);
        let named = |key: &DocumentKey| refused.contains(&format!("is in use by {key}"));
        assert!(found.iter().any(|it| named(&it.key)), "{refused}");
    }
}

#[test]
fn a_rule_that_names_a_tenant_does_not_keep_it() {
    let mut world = world();
    assert_eq!(
        world
            .write(vec![delete(Kind::Tenant, "", "tenant456")])
            .unwrap(),
        1
    );
}

#[test]
fn nothing_refers_to_documents_of_other_kinds() {
    let refused = Subject::new(Kind::Pin, "flag:top").unwrap_err();
    expect!["KIND_UNKNOWN: no document refers to documents of the kind pin: use one of: environment, tenant, segment, flag, agent, tool"].assert_eq(&format!(
        "{}: {}: {}",
        refused.code, refused.detail, refused.next
    ));
}
