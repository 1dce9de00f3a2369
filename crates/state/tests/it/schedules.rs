//! Schedules: what is decided when they are filed, what they hold in use, and their limits.

use plane_model::{Document, DocumentKey, Kind, Timestamp, limits};
use plane_state::schedule::pending;
use plane_state::{Action, Change, Op, Subject, uses};
use serde_json::{Value, json};

use crate::world::{NOW, World, delete, put};

const HOUR_MS: i64 = 3_600_000;

/// A platform with a flag and its targeting.
fn world() -> World {
    let mut world = World::platform();
    let targeting = json!({"state": "disabled", "default": "on"});
    let documents = vec![
        put(Kind::Flag, "", "f", json!({"type": "boolean"})),
        put(Kind::Targeting, "production", "f", targeting),
    ];
    world.write(documents).unwrap();
    world
}

/// A schedule by whoever gives the commands of the tests.
fn schedule(name: &str, hours: i64, ops: Value) -> Op {
    at(name, Timestamp(NOW.0 + hours * HOUR_MS), ops)
}

fn at(name: &str, at: Timestamp, ops: Value) -> Op {
    let author = json!({"principal": "tester", "token": "t"});
    let mut body = json!({"at": at, "reason": "launch", "author": author});
    body["ops"] = ops;
    put(Kind::Schedule, "production", name, body)
}

fn patch() -> Value {
    op("patch", Kind::Targeting, "f", json!({"state": "enabled"}))
}

fn op(op: &str, kind: Kind, name: &str, body: Value) -> Value {
    let scope = match kind {
        Kind::Targeting => "production",
        _ => "",
    };
    let mut op = json!({"op": op, "kind": kind, "scope": scope, "name": name});
    if !body.is_null() {
        op["body"] = body;
    }
    op
}

fn ops(world: &World, name: &str) -> Value {
    world.body(Kind::Schedule, "production", name).unwrap()["ops"].clone()
}

#[test]
fn what_is_put_or_deleted_whole_gets_the_revision_that_it_has() {
    let mut world = world();
    let filed = json!([
        op("put", Kind::Targeting, "f", json!({"state": "enabled"})),
        op("put", Kind::Segment, "s", json!({"include": ["a"]})),
        op("delete", Kind::Tenant, "tenant456", Value::Null),
    ]);
    world.write(vec![schedule("s", 1, filed)]).unwrap();
    let filed = ops(&world, "s");
    assert_eq!(filed[0]["if_revision"], 2);
    assert_eq!(filed[1]["if_absent"], true);
    assert_eq!(filed[2]["if_revision"], 1);
    world
        .write(vec![schedule("p", 1, json!([patch()]))])
        .unwrap();
    assert_eq!(ops(&world, "p"), json!([patch()]));
}

#[test]
fn a_schedule_is_decided_about_as_if_it_were_made_at_its_time() {
    let mut world = world();
    let pin = |until: i64| {
        let until = Timestamp(NOW.0 + until * HOUR_MS);
        let body = json!({"variant": "on", "until": until});
        json!([{
            "op": "put", "kind": "pin", "scope": "production/tenant123", "name": "flag:f",
            "body": body,
        }])
    };
    let refused = world.refused(vec![schedule("s", 5, pin(4))]);
    let place = "/ops/0/body/ops/0/body/until: the pin ends at";
    assert!(refused.starts_with(place), "{refused}");
    world.write(vec![schedule("s", 5, pin(6))]).unwrap();
    let unknown = op("patch", Kind::Targeting, "f", json!({"default": "blue"}));
    let refused = world.refused(vec![schedule("s", 5, json!([unknown]))]);
    let place = "/ops/0/body/ops/0/body/default: ";
    assert!(refused.starts_with(place), "{refused}");
}

#[test]
fn those_that_come_before_count_as_gone() {
    let mut world = world();
    world
        .write(vec![schedule("b", 2, json!([patch()]))])
        .unwrap();
    let removal = || {
        json!([
            op("delete", Kind::Targeting, "f", Value::Null),
            op("delete", Kind::Flag, "f", Value::Null),
        ])
    };
    let refused = world.refused(vec![schedule("early", 1, removal())]);
    let found = "flag `f` is in use by schedule `b` in `production` [REFERENCE_IN_USE]";
    assert!(refused.contains(found), "{refused}");
    // At the same time they go by their names.
    world.refused(vec![schedule("a", 2, removal())]);
    world.write(vec![schedule("c", 2, removal())]).unwrap();
    world.write(vec![schedule("c", 3, removal())]).unwrap();
    let order: Vec<_> = pending(&world.state)
        .into_iter()
        .map(|(_, key)| key.name().to_owned())
        .collect();
    assert_eq!(order, ["b", "c"]);
}

#[test]
fn what_a_schedule_changes_or_names_stays() {
    let mut world = world();
    let body = json!({"include": ["tenant123"]});
    let segments = vec![put(Kind::Segment, "", "friends", body)];
    world.write(segments).unwrap();
    let rule = json!({
        "name": "friends",
        "if": {"attribute": "user.id", "segment": "friends"},
        "serve": "on",
    });
    let whole = json!({"state": "enabled", "rules": [rule]});
    let filed = json!([op("put", Kind::Targeting, "f", whole)]);
    world.write(vec![schedule("s", 1, filed)]).unwrap();
    let mut elsewhere = schedule(
        "s",
        1,
        json!([op("put", Kind::Flag, "g", json!({"type": "boolean"}))]),
    );
    elsewhere.key = DocumentKey::new(Kind::Schedule, "staging", "s").unwrap();
    world.write(vec![elsewhere]).unwrap();
    let found = |kind, name| {
        let subject = Subject::new(kind, name).unwrap();
        let found = uses(&world.state, &subject, |key| key.kind() == Kind::Schedule);
        let found = found.into_iter();
        found.map(|it| it.pointer.to_string()).collect::<Vec<_>>()
    };
    let rule = "/ops/0/body/rules/0/if/segment";
    assert_eq!(found(Kind::Segment, "friends"), [rule]);
    assert_eq!(found(Kind::Flag, "f"), ["/ops/0", "/ops/0/body"]);
    assert_eq!(
        found(Kind::Environment, "production"),
        ["", "/ops/0", "/ops/0/body"]
    );
    for op in [
        delete(Kind::Segment, "", "friends"),
        delete(Kind::Environment, "", "staging"),
        put(
            Kind::Flag,
            "",
            "f",
            json!({"type": "boolean", "archived": true}),
        ),
    ] {
        let refused = world.refused(vec![op]);
        assert!(refused.contains("in use by schedule `s`"), "{refused}");
    }
    // One that failed is a note, and keeps nothing.
    let mut failed = world.body(Kind::Schedule, "production", "s").unwrap();
    failed["failed"] = json!({"code": "INTERNAL", "detail": "no", "at": NOW});
    let failed = put(Kind::Schedule, "production", "s", failed);
    world.give(Action::Run, vec![failed]).unwrap();
    world
        .write(vec![delete(Kind::Segment, "", "friends")])
        .unwrap();
    assert_eq!(pending(&world.state).len(), 1);
}

#[test]
fn a_patch_is_merged_into_what_is_there() {
    let mut world = world();
    let patch = |name: &str, body| Op {
        key: DocumentKey::new(Kind::Targeting, "production", name).unwrap(),
        change: Change::Patch(body),
        expect: plane_state::Expect::Any,
    };
    let body = json!({"state": "enabled", "default": null, "off": "on"});
    world.give(Action::Run, vec![patch("f", body)]).unwrap();
    let expected = json!({"state": "enabled", "off": "on"});
    let now = world.body(Kind::Targeting, "production", "f");
    assert_eq!(now, Some(expected));
    let refused = world.refused_as(Action::Run, vec![patch("g", json!({}))]);
    assert!(
        refused.starts_with("/ops/0: there is no targeting `g`"),
        "{refused}"
    );
    let refused = world.refused_as(Action::Run, vec![patch("f", json!({"state": 5}))]);
    assert!(refused.starts_with("/ops/0/body/state: "), "{refused}");
}

#[test]
fn a_schedule_is_at_most_so_far_away_and_not_past() {
    let mut world = world();
    let days = limits::SCHEDULE_DAYS_MAX * 24 * HOUR_MS;
    for (ms, found) in [
        (
            0,
            Some("/ops/0/body/at: 2026-01-01T00:00:00Z has passed already"),
        ),
        (1, None),
        (days, None),
        (
            days + 1,
            Some("is more than 366 days away [LIMIT_EXCEEDED]"),
        ),
    ] {
        let op = at("s", Timestamp(NOW.0 + ms), json!([patch()]));
        match found {
            None => assert_eq!(world.write(vec![op]), Ok(1)),
            Some(found) => {
                let refused = world.refused(vec![op]);
                assert!(refused.contains(found), "{refused}");
            }
        }
    }
}

#[test]
fn an_installation_has_at_most_so_many_schedules() {
    let mut world = world();
    let max = limits::SCHEDULES_MAX;
    let filed = |name: usize| schedule(&format!("s{name}"), 1, json!([patch()]));
    world.write((0..max).map(filed).collect()).unwrap();
    let refused = world.refused(vec![filed(max)]);
    let found = format!("there would be {} schedules, more than the {max}", max + 1);
    assert!(refused.contains(&found), "{refused}");
    let cancel = delete(Kind::Schedule, "production", "s0");
    world.write(vec![cancel, filed(max)]).unwrap();
    assert_eq!(world.state.count(Kind::Schedule), max);
}

#[test]
fn that_it_failed_is_written_into_the_largest_schedule() {
    let mut world = world();
    let filed = |bytes: usize| {
        let description = "x".repeat(4_000);
        let tags: Vec<_> = (0..60).map(|it| format!("{it:060}")).collect();
        let flag = json!({"type": "boolean", "description": description, "tags": tags});
        let mut ops: Vec<_> = (0..33)
            .map(|it| op("put", Kind::Flag, &format!("g{it}"), flag.clone()))
            .collect();
        let rest = json!({"type": "boolean", "description": "x".repeat(bytes)});
        ops.push(op("put", Kind::Flag, "rest", rest));
        schedule("s", 1, ops.into())
    };
    world.write(vec![filed(0)]).unwrap();
    let key = DocumentKey::new(Kind::Schedule, "production", "s").unwrap();
    let used = world.state.entry(&key).unwrap().bytes.len();
    let left = limits::DOCUMENT_BYTES_MAX - used;
    assert!(left < limits::PROSE_CHARS_MAX, "{left} bytes are left");
    world.write(vec![filed(left)]).unwrap();
    let refused = world.refused(vec![filed(left + 1)]);
    assert!(refused.contains("[LIMIT_EXCEEDED]"), "{refused}");
    let Some(Document::Schedule(schedule)) = world.state.document(&key).map(|it| &**it) else {
        panic!("it is a schedule")
    };
    let mut failed = Document::Schedule(schedule.clone()).to_value();
    let detail = "y".repeat(limits::PROSE_CHARS_MAX / 2);
    failed["failed"] = json!({"code": "REVISION_CONFLICT", "detail": detail, "at": NOW});
    let failed = put(Kind::Schedule, "production", "s", failed);
    assert_eq!(world.give(Action::Run, vec![failed]), Ok(1));
}
