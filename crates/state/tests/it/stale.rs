//! Which flags are stale, and which are not.

use plane_model::{EnvironmentName, FlagKey, Kind, Timestamp};
use plane_state::{Action, Seen, StaleInquiry, StaleRule};
use serde_json::{Value, json};

use crate::world::{NOW, World, put};

const DAY_MS: i64 = 86_400_000;
const DAYS: u32 = 30;

/// A flag with its targeting in production, made long ago.
fn world(flag: Value, targeting: Value) -> World {
    let mut world = World::platform();
    let documents = vec![
        put(Kind::Flag, "", "f", flag),
        put(Kind::Flag, "", "other", json!({"type": "boolean"})),
        put(Kind::Targeting, "production", "f", targeting),
    ];
    world.write(documents).unwrap();
    world
}

fn days_ago(days: i64) -> Timestamp {
    Timestamp(NOW.0 - days * DAY_MS)
}

fn seen(variant: &str, first: i64, last: i64) -> Seen<'_> {
    Seen {
        variant,
        first_at: days_ago(first),
        last_at: days_ago(last),
        is_error: false,
    }
}

/// What is found if everything up to `since_revision` is older than what is looked at.
fn found_since(world: &World, seen: &[Seen<'_>], since_revision: u64) -> Vec<StaleRule> {
    let production = EnvironmentName::new("production").unwrap();
    let inquiry = StaleInquiry::new(&world.state, &production, NOW, DAYS, since_revision);
    let found = inquiry.of(&FlagKey::new("f").unwrap(), seen);
    assert!(
        found
            .iter()
            .all(|it| !it.detail.is_empty() && !it.next.is_empty())
    );
    found.iter().map(|it| it.rule).collect()
}

fn found(world: &World, seen: &[Seen<'_>]) -> Vec<StaleRule> {
    found_since(world, seen, world.state.head().revision)
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn half() -> Value {
    json!({"state": "enabled", "default": {"percent": {"on": 50}}})
}

#[test]
fn a_flag_that_has_expired_is_stale_from_that_moment_on() {
    let at = |ms: i64| {
        let expires = Timestamp(NOW.0 + ms).to_string();
        let world = world(json!({"type": "boolean", "expires": expires}), half());
        found(&world, &[seen("on", 40, 1), seen("off", 40, 1)])
    };
    assert_eq!(at(0), [StaleRule::Expired]);
    assert_eq!(at(1), []);
}

#[test]
fn an_archived_flag_is_told_of_only_while_services_ask_for_it() {
    let world = world(
        json!({"type": "boolean", "archived": true, "expires": "2020-01-01"}),
        half(),
    );
    let asked = |last| Seen {
        is_error: true,
        ..seen("", 80, last)
    };
    assert_eq!(found(&world, &[asked(29)]), [StaleRule::ArchivedButUsed]);
    assert_eq!(found(&world, &[asked(31)]), []);
    assert_eq!(found(&world, &[]), []);
}

#[test]
fn a_flag_that_nobody_asks_for_is_stale_once_it_is_old() {
    let world = world(boolean(), half());
    assert_eq!(found(&world, &[]), [StaleRule::NeverEvaluated]);
    let before = world.state.head().revision - 1;
    assert_eq!(found_since(&world, &[], before), []);
}

#[test]
fn one_variant_for_the_time_asked_about_is_stale_and_two_are_not() {
    let world = world(boolean(), half());
    assert_eq!(found(&world, &[seen("on", 40, 1)]), [StaleRule::OneVariant]);
    assert_eq!(
        found(&world, &[seen("on", 40, 1), seen("off", 80, 31)]),
        [StaleRule::OneVariant]
    );
    assert_eq!(found(&world, &[seen("on", 40, 1), seen("off", 40, 29)]), []);
    // It is not known what it gave before.
    assert_eq!(found(&world, &[seen("on", 29, 1)]), []);
    // Nobody asks any more: that is not for the flag to say.
    assert_eq!(found(&world, &[seen("on", 80, 31)]), []);
}

#[test]
fn targeting_that_gives_everybody_the_same_is_settled() {
    let two = [seen("on", 40, 1), seen("off", 40, 1)];
    let check = |targeting: Value, expected: &[StaleRule]| {
        let world = world(boolean(), targeting.clone());
        assert_eq!(found(&world, &two), expected, "{targeting}");
    };
    let settled = &[StaleRule::Settled];
    let rule = |window: Value, serve: &str| {
        json!({
            "state": "enabled",
            "rules": [{
                "name": "r",
                "if": {"attribute": "tenant.plan", "equals": "free"},
                "window": window,
                "serve": serve,
            }],
            "default": "on",
        })
    };
    let ramp = |end: &str| {
        json!({
            "state": "enabled",
            "default": {"ramp": {"variant": "on", "to": 100, "start": "2020-01-01", "end": end}},
        })
    };
    check(
        json!({"state": "disabled", "default": {"percent": {"on": 50}}}),
        settled,
    );
    check(json!({"state": "enabled"}), settled);
    check(json!({"state": "enabled", "default": "on"}), settled);
    check(
        json!({"state": "enabled", "default": {"percent": {"on": 100}}}),
        settled,
    );
    check(
        json!({"state": "enabled", "default": {"percent": {"on": 100, "off": 0}}}),
        settled,
    );
    check(
        json!({"state": "enabled", "default": {"percent": {"off": 40}}}),
        settled,
    );
    check(rule(json!({"until": "2020-01-01"}), "off"), settled);
    check(rule(json!({"from": "2020-01-01"}), "on"), settled);
    check(ramp("2020-02-01"), settled);
    check(half(), &[]);
    check(rule(json!({"from": "2999-01-01"}), "off"), &[]);
    check(ramp("2999-02-01"), &[]);
    check(
        json!({
            "state": "enabled",
            "prerequisites": [{"flag": "other", "variants": ["on"]}],
            "default": "on",
        }),
        &[],
    );
    check(
        json!({
            "state": "enabled",
            "targets": [{"values": ["u1"], "serve": "off"}],
            "default": "on",
        }),
        &[],
    );
}

#[test]
fn pins_kills_groups_and_a_lasting_lifecycle_keep_a_flag_from_being_settled() {
    let on = || json!({"state": "enabled", "default": "on"});
    let two = [seen("on", 40, 1), seen("off", 40, 1)];
    let mut pinned = world(boolean(), on());
    let pin = put(
        Kind::Pin,
        "production/tenant123",
        "flag:f",
        json!({"variant": "off"}),
    );
    pinned.write(vec![pin]).unwrap();
    assert_eq!(found(&pinned, &two), []);
    let mut elsewhere = world(boolean(), on());
    let pin = put(
        Kind::Pin,
        "staging/tenant123",
        "flag:f",
        json!({"variant": "off"}),
    );
    elsewhere.write(vec![pin]).unwrap();
    assert_eq!(found(&elsewhere, &two), [StaleRule::Settled]);
    let mut killed = world(boolean(), on());
    let kill = put(
        Kind::Kill,
        "production",
        "flag:f",
        json!({"reason": "it lies"}),
    );
    killed.give(Action::Kill, vec![kill]).unwrap();
    assert_eq!(found(&killed, &two), []);
    let mut grouped = world(boolean(), on());
    let group = put(Kind::ExclusionGroup, "", "g", json!({"percent": {"f": 10}}));
    grouped.write(vec![group]).unwrap();
    assert_eq!(found(&grouped, &two), []);
    let lasting = world(json!({"type": "boolean", "lifecycle": "permission"}), on());
    assert_eq!(found(&lasting, &[seen("on", 40, 1)]), []);
}
