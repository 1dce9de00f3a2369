//! Exclusion groups: what they name, how their shares move, and who may not go while they hold.

use expect_test::expect;
use plane_model::{DocumentKey, Kind};
use plane_state::Op;
use plane_state::reconcile::{Options, reconcile};
use serde_json::{Value, json};

use crate::world::{World, delete, put};

fn flag(key: &str, archived: bool) -> Op {
    let body = json!({"type": "boolean", "archived": archived});
    put(Kind::Flag, "", key, body)
}

fn group(name: &str, body: Value) -> Op {
    put(Kind::ExclusionGroup, "", name, body)
}

fn world() -> World {
    let mut world = World::platform();
    world
        .write(vec![flag("a", false), flag("b", false), flag("old", true)])
        .unwrap();
    world
}

fn ranges(world: &World, name: &str) -> Value {
    let key = DocumentKey::new(Kind::ExclusionGroup, "", name).unwrap();
    let document = world.state.document(&key).unwrap();
    document.to_value()["ranges"].clone()
}

#[test]
fn a_commit_lays_out_the_shares_and_moves_no_more_than_it_must() {
    let mut world = world();
    let at = |a: u32, b: u32| json!({"percent": {"a": a, "b": b}, "holdout": 10});
    world.write(vec![group("g", at(20, 20))]).unwrap();
    assert_eq!(
        ranges(&world, "g"),
        json!([
            {"start": 0, "end": 10_000},
            {"flag": "a", "start": 10_000, "end": 30_000},
            {"flag": "b", "start": 30_000, "end": 50_000},
        ])
    );
    world.write(vec![group("g", at(10, 30))]).unwrap();
    assert_eq!(
        ranges(&world, "g"),
        json!([
            {"start": 0, "end": 10_000},
            {"flag": "a", "start": 10_000, "end": 20_000},
            {"flag": "b", "start": 20_000, "end": 50_000},
        ])
    );
    let revision = world.state.head().revision;
    let key = DocumentKey::new(Kind::ExclusionGroup, "", "g").unwrap();
    let tree = [(key, at(10, 30))];
    let options = Options {
        take_over: true,
        ..Options::default()
    };
    let found = reconcile(&world.state, &tree, options).unwrap();
    world.give(plane_state::Action::Apply, found.ops).unwrap();
    let again = reconcile(&world.state, &tree, options).unwrap();
    assert!(again.ops.is_empty(), "{:?}", again.ops);
    assert!(world.state.head().revision <= revision + 1);
}

#[test]
fn a_group_names_flags_that_are_there_and_that_no_other_group_shares_out() {
    let mut world = world();
    world
        .write(vec![group("g", json!({"percent": {"a": 20}}))])
        .unwrap();
    let body = json!({"percent": {"a": 1, "gone": 1, "old": 1}, "holdout": 1, "held": ["missing"]});
    expect![[r"
        /ops/0/body/percent/gone: there is no flag `gone` [REFERENCE_MISSING]; create the flag first
        /ops/0/body/percent/old: `old` is archived, so it reaches nobody [REFERENCE_MISSING]; leave it out, or bring it back: set `archived` to false
        /ops/0/body/held: there is no flag `missing` [REFERENCE_MISSING]; create the flag first
        /ops/0/body/percent/a: `a` has a share of exclusion-group `g` too [FIELD_INVALID]; let each flag compete in one group, and leave it out of the other
    "]].assert_eq(&world.refused(vec![group("h", body)]));
    let held = json!({"holdout": 1, "held": ["a", "b"]});
    world.write(vec![group("h", held)]).unwrap();
}

#[test]
fn a_flag_that_a_group_names_is_neither_deleted_nor_archived() {
    let mut world = world();
    let named = json!({"percent": {"a": 20}, "holdout": 1, "held": ["b"]});
    world.write(vec![group("g", named)]).unwrap();
    expect![[r"
        /ops/0/body/archived: flag `a` is in use by exclusion-group `g` [REFERENCE_IN_USE]; delete or change exclusion-group `g` in the same commit, or before
        /ops/1/body: flag `b` is in use by exclusion-group `g` [REFERENCE_IN_USE]; delete or change exclusion-group `g` in the same commit, or before
    "]].assert_eq(&world.refused(vec![flag("a", true), delete(Kind::Flag, "", "b")]));
    let less = json!({"percent": {"a": 20}});
    world
        .write(vec![delete(Kind::Flag, "", "b"), group("g", less)])
        .unwrap();
    world
        .write(vec![flag("a", true), delete(Kind::ExclusionGroup, "", "g")])
        .unwrap();
}

#[test]
fn a_flag_that_a_tenant_has_pinned_is_not_archived() {
    let mut world = world();
    let tenant = put(Kind::Tenant, "", "acme", json!({}));
    let pin = put(
        Kind::Pin,
        "production/acme",
        "flag:a",
        json!({"variant": "on"}),
    );
    world.write(vec![tenant, pin]).unwrap();
    expect![[r"
        /ops/0/body/archived: flag `a` is in use by pin `flag:a` in `production/acme` [REFERENCE_IN_USE]; delete or change pin `flag:a` in `production/acme` in the same commit, or before
    "]].assert_eq(&world.refused(vec![flag("a", true)]));
    let unpin = delete(Kind::Pin, "production/acme", "flag:a");
    world.write(vec![unpin, flag("a", true)]).unwrap();
}
