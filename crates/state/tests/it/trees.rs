//! Applying trees: three ways, nothing lost.

use expect_test::expect;
use plane_model::{DocumentKey, Kind};
use plane_state::reconcile::{Options, Reconciliation, reconcile};
use plane_state::{Action, Rejection};
use serde_json::{Value, json};

use crate::world::{World, delete, put};

fn document(kind: Kind, scope: &str, name: &str, body: Value) -> (DocumentKey, Value) {
    (DocumentKey::new(kind, scope, name).unwrap(), body)
}

fn tree(percent: u32) -> Vec<(DocumentKey, Value)> {
    vec![
        document(Kind::Flag, "", "a", json!({"type": "boolean"})),
        document(
            Kind::Targeting,
            "production",
            "a",
            json!({"state": "enabled", "default": {"percent": {"on": percent}}}),
        ),
        document(Kind::Segment, "", "early", json!({"include": ["u1"]})),
    ]
}

fn apply(
    world: &mut World,
    tree: &[(DocumentKey, Value)],
    options: Options,
) -> Result<Reconciliation, Rejection> {
    let found = reconcile(&world.state, tree, options)?;
    if !found.ops.is_empty() {
        world.give(Action::Apply, found.ops.clone())?;
    }
    Ok(found)
}

#[test]
fn applying_a_tree_twice_changes_nothing_the_second_time() {
    let mut world = World::platform();
    apply(&mut world, &tree(25), Options::default()).unwrap();
    let revision = world.state.head().revision;
    assert!(
        apply(&mut world, &tree(25), Options::default())
            .unwrap()
            .ops
            .is_empty()
    );
    assert_eq!(world.state.head().revision, revision);
}

#[test]
fn what_a_person_changed_is_kept_or_a_conflict_never_overwritten() {
    let mut world = World::platform();
    apply(&mut world, &tree(25), Options::default()).unwrap();
    let by_hand = json!({"state": "disabled"});
    world
        .write(vec![put(
            Kind::Targeting,
            "production",
            "a",
            by_hand.clone(),
        )])
        .unwrap();
    let found = apply(&mut world, &tree(25), Options::default()).unwrap();
    assert_eq!((found.ops.len(), found.kept.len()), (0, 1));
    let refused = apply(&mut world, &tree(50), Options::default()).unwrap_err();
    assert_eq!(refused.violations[0].pointer, "/documents/1");
    assert_eq!(
        world.body(Kind::Targeting, "production", "a"),
        Some(by_hand)
    );
    apply(
        &mut world,
        &tree(50),
        Options {
            take_over: true,
            ..Options::default()
        },
    )
    .unwrap();
    assert_eq!(
        world.body(Kind::Targeting, "production", "a").unwrap()["state"],
        "enabled"
    );
}

#[test]
fn what_the_tree_no_longer_has_stays_without_prune() {
    let mut world = World::platform();
    apply(&mut world, &tree(25), Options::default()).unwrap();
    let smaller = &tree(25)[..2];
    let found = apply(&mut world, smaller, Options::default()).unwrap();
    assert_eq!((found.ops.len(), found.left.len()), (0, 1));
    apply(
        &mut world,
        smaller,
        Options {
            prune: true,
            ..Options::default()
        },
    )
    .unwrap();
    assert_eq!(world.body(Kind::Segment, "", "early"), None);
    // What no tree ever put is not the tree's to prune.
    assert!(world.body(Kind::Tenant, "", "tenant123").is_some());
}

#[test]
fn what_a_person_made_is_taken_over_only_when_it_is_the_same() {
    let mut world = World::platform();
    world
        .write(vec![put(
            Kind::Segment,
            "",
            "early",
            json!({"include": ["u1"]}),
        )])
        .unwrap();
    apply(&mut world, &tree(25), Options::default()).unwrap();
    assert!(
        apply(&mut world, &tree(25), Options::default())
            .unwrap()
            .ops
            .is_empty()
    );
    world
        .write(vec![put(Kind::Flag, "", "b", json!({"type": "boolean"}))])
        .unwrap();
    let other = [document(
        Kind::Flag,
        "",
        "b",
        json!({"type": "boolean", "owner": "me"}),
    )];
    assert!(apply(&mut world, &other, Options::default()).is_err());
}

#[test]
fn what_a_person_deleted_does_not_come_back_by_itself() {
    let mut world = World::platform();
    apply(&mut world, &tree(25), Options::default()).unwrap();
    world
        .write(vec![delete(Kind::Segment, "", "early")])
        .unwrap();
    let found = apply(&mut world, &tree(25), Options::default()).unwrap();
    assert_eq!((found.ops.len(), found.kept.len()), (0, 1));
}

#[test]
fn what_a_tree_cannot_hold_is_refused_on_its_way_in() {
    let mut world = World::platform();
    let file = json!({"$file": "/etc/passwd"});
    let report = world.refused(vec![
        put(
            Kind::Flag,
            "",
            "a",
            json!({"type": "object", "variants": {"on": file, "off": {}}}),
        ),
        put(Kind::Config, "base", "ai", json!({"prompt": [file]})),
        put(
            Kind::Config,
            "base",
            "more",
            json!({"$schema": "https://example.org/s"}),
        ),
    ]);
    expect![[r"
        /ops/0/body/variants/on/$file: the flag `a` has a field `$file`, which means something else in a tree [FIELD_INVALID]; rename the field: `$file` is reserved in trees
        /ops/1/body/prompt/0/$file: the config `ai` in `base` has a field `$file`, which means something else in a tree [FIELD_INVALID]; rename the field: `$file` is reserved in trees
        /ops/2/body/$schema: the config `more` in `base` has a field `$schema`, which means something else in a tree [FIELD_INVALID]; rename the field: `$schema` is reserved in trees
    "]].assert_eq(&report);
}
