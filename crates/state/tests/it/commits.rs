//! What may be committed, and what a refusal says.

use expect_test::expect;
use plane_model::{Kind, limits};
use plane_state::{Action, Expect};
use serde_json::json;

use crate::world::{World, delete, put};

#[test]
fn percentages_become_ranges_that_a_repeated_commit_does_not_change() {
    let mut world = World::platform();
    let flag = || put(Kind::Flag, "", "beta", json!({"type": "boolean"}));
    let targeting = |percent: u32| {
        put(
            Kind::Targeting,
            "production",
            "beta",
            json!({"state": "enabled", "default": {"percent": {"on": percent}, "by": "user.id"}}),
        )
    };
    assert_eq!(world.write(vec![flag(), targeting(25)]).unwrap(), 2);
    assert_eq!(world.write(vec![flag(), targeting(25)]).unwrap(), 0);
    world.write(vec![targeting(30)]).unwrap();
    assert_eq!(
        world.body(Kind::Targeting, "production", "beta").unwrap()["default"]["ranges"],
        json!([{"variant": "on", "start": 0, "end": 30_000}])
    );
}

#[test]
fn all_findings_of_a_commit_come_at_once() {
    let mut world = World::platform();
    let report = world.refused(vec![
        put(Kind::Flag, "", "a", json!({"type": "boolean", "owners": 1})),
        put(Kind::Flag, "", "b", json!({"type": "string"})),
        put(
            Kind::Pin,
            "production/tenant123",
            "flag:a",
            json!({"version": "1.0.0"}),
        ),
        delete(Kind::Segment, "", "nobody"),
    ]);
    expect![[r"
        /ops/3: there is no segment `nobody` [NOT_FOUND]; correct the name; if it is gone already, there is nothing left to do
        /ops/0/body/owners: unknown field `owners` [FIELD_UNKNOWN]; remove it or correct its spelling
        /ops/1/body/variants: a flag of type string has no variants [FIELD_MISSING]; add `variants` with at least one name and value
        /ops/2/body: a pin of `flag:a` holds a `variant` and nothing else [FIELD_INVALID]; set `variant`
    "]]
    .assert_eq(&report);
}

#[test]
fn what_a_document_names_must_be_there() {
    let mut world = World::platform();
    world
        .write(vec![put(Kind::Flag, "", "a", json!({"type": "boolean"}))])
        .unwrap();
    let report = world.refused(vec![
        put(Kind::Targeting, "qa", "a", json!({"state": "enabled"})),
        put(
            Kind::Targeting,
            "production",
            "b",
            json!({"state": "enabled"}),
        ),
        put(
            Kind::Targeting,
            "production",
            "a",
            json!({"state": "enabled", "off": "gone", "rules": [
                {"name": "r", "if": {"attribute": "user.id", "segment": "early"}, "serve": "on"}
            ]}),
        ),
        put(
            Kind::Pin,
            "production/nobody",
            "flag:a",
            json!({"variant": "maybe"}),
        ),
    ]);
    expect![[r"
        /ops/0/body: there is no environment `qa` [REFERENCE_MISSING]; use one of staging, production, or create it first
        /ops/3/body: there is no tenant `nobody` [REFERENCE_MISSING]; create the tenant first
        /ops/2/body/off: the flag has no variant `gone` [VARIANT_UNKNOWN]; use one of `off`, `on`, or add the variant to the flag
        /ops/2/body/rules/0/if: there is no segment `early` [REFERENCE_MISSING]; create the segment first
        /ops/1/body: there is no flag `b` [REFERENCE_MISSING]; create the flag first
        /ops/3/body/variant: the flag `a` has no variant `maybe` [VARIANT_UNKNOWN]; `control-plane flag show a` lists its variants
    "]]
    .assert_eq(&report);
}

#[test]
fn what_is_in_use_stays() {
    let mut world = World::platform();
    world
        .write(vec![
            put(Kind::Flag, "", "a", json!({"type": "boolean"})),
            put(Kind::Segment, "", "early", json!({"include": ["u1"]})),
            put(
                Kind::Targeting,
                "production",
                "a",
                json!({"state": "enabled", "rules": [
                    {"name": "r", "if": {"attribute": "user.id", "segment": "early"}, "serve": "on"}
                ]}),
            ),
            put(
                Kind::Pin,
                "production/tenant123",
                "flag:a",
                json!({"variant": "on"}),
            ),
        ])
        .unwrap();
    for (kind, name) in [
        (Kind::Flag, "a"),
        (Kind::Segment, "early"),
        (Kind::Environment, "production"),
        (Kind::Tenant, "tenant123"),
    ] {
        let report = world.refused(vec![delete(kind, "", name)]);
        assert!(report.contains("REFERENCE_IN_USE"), "{kind}: {report}");
    }
    world
        .write(vec![
            delete(Kind::Pin, "production/tenant123", "flag:a"),
            delete(Kind::Targeting, "production", "a"),
            delete(Kind::Segment, "", "early"),
            delete(Kind::Flag, "", "a"),
        ])
        .unwrap();
}

#[test]
fn names_that_differ_only_in_case_are_refused() {
    let mut world = World::platform();
    world
        .write(vec![put(
            Kind::Flag,
            "",
            "Beta",
            json!({"type": "boolean"}),
        )])
        .unwrap();
    let report = world.refused(vec![put(
        Kind::Flag,
        "",
        "beta",
        json!({"type": "boolean"}),
    )]);
    assert!(
        report.contains("differs from `Beta` only in case [NAME_COLLISION]"),
        "{report}"
    );
    let report = world.refused(vec![
        put(Kind::Segment, "", "x", json!({})),
        put(Kind::Segment, "", "X", json!({})),
    ]);
    assert!(report.contains("NAME_COLLISION"), "{report}");
}

#[test]
fn kills_are_made_and_cleared_by_their_own_actions_only() {
    let mut world = World::platform();
    world
        .write(vec![put(Kind::Flag, "", "a", json!({"type": "boolean"}))])
        .unwrap();
    let kill = || {
        put(
            Kind::Kill,
            "production",
            "flag:a",
            json!({"reason": "incident"}),
        )
    };
    let clear = || delete(Kind::Kill, "production", "flag:a");
    assert!(world.refused(vec![kill()]).contains("COMMAND_REQUIRED"));
    world.give(Action::Kill, vec![kill()]).unwrap();
    for action in [Action::Write, Action::Apply, Action::Revert, Action::Kill] {
        assert!(
            world
                .refused_as(action, vec![clear()])
                .contains("COMMAND_REQUIRED"),
            "{action}"
        );
    }
    assert!(
        world
            .refused_as(Action::Kill, vec![delete(Kind::Flag, "", "a")])
            .contains("COMMAND_REQUIRED")
    );
    world.give(Action::Revive, vec![clear()]).unwrap();
    assert_eq!(world.body(Kind::Kill, "production", "flag:a"), None);
}

#[test]
fn an_expectation_that_does_not_hold_is_a_conflict() {
    let mut world = World::platform();
    let mut op = put(Kind::Flag, "", "a", json!({"type": "boolean"}));
    op.expect = Expect::Absent;
    world.write(vec![op.clone()]).unwrap();
    assert!(
        world
            .refused(vec![op.clone()])
            .contains("REVISION_CONFLICT")
    );
    op.expect = Expect::Revision(1);
    let report = world.refused(vec![op.clone()]);
    expect![[r#"
        /ops/0: flag `a` changed: you sent revision 1, it was last changed at 2 [REVISION_CONFLICT]; read it again, make your change again, and send `If-Match: "2"`
    "#]]
    .assert_eq(&report);
    op.expect = Expect::Revision(2);
    assert_eq!(world.write(vec![op]).unwrap(), 0);
}

#[test]
fn a_commit_has_at_most_as_many_operations_as_the_limit_says() {
    let mut world = World::platform();
    let ops = |count: usize| {
        (0..count)
            .map(|index| put(Kind::Tenant, "", &format!("t{index}"), json!({})))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        world.write(ops(limits::COMMIT_OPS_MAX)).unwrap(),
        limits::COMMIT_OPS_MAX
    );
    assert!(
        world
            .refused(ops(limits::COMMIT_OPS_MAX + 1))
            .contains("LIMIT_EXCEEDED")
    );
    assert!(world.refused(Vec::new()).contains("COMMIT_EMPTY"));
}

#[test]
fn a_document_has_at_most_as_many_bytes_as_the_limit_says() {
    let mut world = World::platform();
    let layer = |bytes: usize| {
        let text = "x".repeat(bytes - "{\"text\":\"\"}".len());
        put(Kind::Config, "base", "large", json!({ "text": text }))
    };
    world
        .write(vec![layer(limits::DOCUMENT_BYTES_MAX)])
        .unwrap();
    assert!(
        world
            .refused(vec![layer(limits::DOCUMENT_BYTES_MAX + 1)])
            .contains("LIMIT_EXCEEDED")
    );
}

#[test]
fn a_migration_changes_the_bucketing_of_an_environment_and_nothing_else() {
    let mut world = World::platform();
    let environment = |name: &str, body| put(Kind::Environment, "", name, body);
    let mut migrate = |op| world.refused_as(Action::Migrate, vec![op]);
    let moved_too = json!({"bucketing": "flagd-v2", "order": 9});
    let report = migrate(environment("production", moved_too));
    assert!(report.contains("COMMAND_REQUIRED"), "{report}");
    let report = migrate(environment("fresh", json!({"bucketing": "flagd-v2"})));
    assert!(report.contains("REFERENCE_MISSING"), "{report}");
    let report = migrate(put(Kind::Tenant, "", "acme", json!({})));
    assert!(report.contains("COMMAND_REQUIRED"), "{report}");
    let report = migrate(delete(Kind::Environment, "", "staging"));
    assert!(report.contains("COMMAND_REQUIRED"), "{report}");

    let was = world.body(Kind::Environment, "", "staging").unwrap();
    let mut wanted = was.clone();
    wanted["bucketing"] = json!("flagd-v2");
    let op = environment("staging", wanted.clone());
    assert_eq!(world.give(Action::Migrate, vec![op]).unwrap(), 1);
    assert_eq!(world.body(Kind::Environment, "", "staging"), Some(wanted));
    let report = world.refused_as(Action::Revert, vec![environment("staging", was)]);
    assert!(report.contains("IMMUTABLE"), "{report}");
}

#[test]
fn protected_environments_and_another_bucketing_are_refused() {
    let mut world = World::platform();
    let report = world.refused(vec![put(
        Kind::Environment,
        "",
        "live",
        json!({"protected": true}),
    )]);
    assert!(report.contains("PROTECTION_UNAVAILABLE"), "{report}");
    let report = world.refused(vec![put(
        Kind::Environment,
        "",
        "production",
        json!({"bucketing": "flagd-v2"}),
    )]);
    assert!(report.contains("IMMUTABLE"), "{report}");
}
