//! Names of attributes that no context can have.

use expect_test::expect;
use plane_model::Kind;
use plane_state::{Action, Op};
use serde_json::{Value, json};

use crate::world::{World, put};

fn world() -> World {
    let mut world = World::platform();
    let agent = world.agent("support", "1.0.0", &[]);
    let flag = put(Kind::Flag, "", "a", json!({"type": "boolean"}));
    world.write(vec![agent, flag]).unwrap();
    world
}

fn targeting(state: &str, attribute: &str) -> Op {
    let when = json!({"all": [{"not": {"attribute": attribute, "equals": "x"}}]});
    let body = json!({"state": state, "rules": [{"name": "r", "if": when, "serve": "on"}]});
    put(Kind::Targeting, "production", "a", body)
}

#[test]
fn a_name_that_no_attribute_can_have_is_refused_wherever_one_is_named() {
    let mut world = world();
    let everywhere = |name: &str| {
        let split = json!({"percent": {"on": 10}, "by": name});
        let ramp = json!({"ramp": {"variant": "on", "to": 1, "start": "2026-01-01", "end": "2026-02-01"}, "by": name});
        let clause = |operator: &str, operand: Value| json!({"attribute": name, operator: operand});
        vec![
            put(
                Kind::Targeting,
                "production",
                "a",
                json!({
                    "state": "enabled",
                    "targets": [{"by": name, "values": ["x"], "serve": "on"}],
                    "rules": [{
                        "name": "r", "serve": split,
                        "if": {"any": [{"not": clause("exists", json!(true))}, clause("in", json!(["x"]))]}
                    }],
                    "default": ramp
                }),
            ),
            put(
                Kind::Segment,
                "",
                "s",
                json!({"when": clause("equals", json!("x"))}),
            ),
            put(
                Kind::ExclusionGroup,
                "",
                "g",
                json!({"by": name, "percent": {"a": 10}}),
            ),
            put(
                Kind::Channel,
                "production",
                "support",
                json!({"default": {"version": "1.0.0"}, "split": {"percent": {"1.0.0": 10}, "by": name}}),
            ),
        ]
    };
    expect![[r"
        /ops/1/body/when/attribute: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/0/body/targets/0/by: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/0/body/rules/0/if/any/0/not/attribute: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/0/body/rules/0/if/any/1/attribute: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/0/body/rules/0/serve/by: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/0/body/default/by: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/2/body/by: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
        /ops/3/body/split/by: no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
    "]].assert_eq(&world.refused(everywhere("tenant.plna")));
    assert_eq!(world.write(everywhere("tenant.plan")).unwrap(), 4);
}

#[test]
fn a_document_that_has_such_a_name_from_before_can_be_changed_without_its_mending() {
    let mut world = world();
    // A revert puts back what was; this stands for what a log has from before names were checked.
    world
        .give(Action::Revert, vec![targeting("enabled", "tenant.plna")])
        .unwrap();
    world
        .write(vec![targeting("disabled", "tenant.plna")])
        .unwrap();
    expect![[r"
        /ops/0/body/rules/0/if/all/0/not/attribute: no attribute can be called `tenant.colour` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
    "]].assert_eq(&world.refused(vec![targeting("disabled", "tenant.colour")]));
    world
        .write(vec![targeting("enabled", "tenant.plan")])
        .unwrap();
    let refused = world.refused(vec![targeting("enabled", "tenant.plna")]);
    assert!(
        refused.contains("no attribute can be called `tenant.plna`"),
        "{refused}"
    );
}
