//! Flags and what they need of each other.

use expect_test::expect;
use plane_model::{Kind, limits};
use plane_state::Op;
use serde_json::{Value, json};

use crate::world::{World, delete, put};

fn flag(key: &str) -> Op {
    put(Kind::Flag, "", key, json!({"type": "boolean"}))
}

fn targeting(key: &str, body: Value) -> Op {
    put(Kind::Targeting, "production", key, body)
}

/// A flag that needs others.
fn needing(key: &str, needed: &[&str]) -> Op {
    let needed: Vec<_> = needed
        .iter()
        .map(|flag| json!({"flag": flag, "variants": ["on"]}))
        .collect();
    let body = json!({"state": "enabled", "prerequisites": needed, "default": "on"});
    targeting(key, body)
}

fn world(flags: &[&str]) -> World {
    let mut world = World::platform();
    world
        .write(flags.iter().map(|key| flag(key)).collect())
        .unwrap();
    world
}

#[test]
fn what_a_targeting_cannot_mean_is_refused_with_its_place() {
    let mut world = world(&["a"]);
    let body = json!({
        "state": "enabled",
        "prerequisites": [
            {"flag": "gone", "variants": ["on"]},
            {"flag": "a", "variants": []},
            {"flag": "a", "variants": ["maybe"]}
        ],
        "rules": [
            {"name": "one", "if": {"attribute": "x", "matches": "(a"}, "window": {}, "serve": "on"},
            {"name": "two", "if": {"attribute": "x", "matches": "a{1000}{1000}"}, "window": {"from": "2026-02-01", "until": "2026-01-01"}, "serve": "on"}
        ],
        "default": {"ramp": {"variant": "on", "to": 0, "start": "2026-01-01", "end": "2026-02-01"}}
    });
    expect![[r#"
        /ops/0/body/prerequisites/1/variants: no variant of `a` will do [FIELD_INVALID]; name at least one, such as ["on"]
        /ops/0/body/prerequisites/2/flag: `a` is a prerequisite twice [FIELD_INVALID]; name each flag once, with all variants that will do
        /ops/0/body/rules/0/if: `(a` is not a pattern: unclosed group [EXPRESSION_INVALID]; write a regular expression without look-around, back-references and large counts
        /ops/0/body/rules/0/window: the window has neither `from` nor `until` [FIELD_INVALID]; set `from`, `until` or both, the earlier one first, or leave the window out
        /ops/0/body/rules/1/if: `a{1000}{1000}` is not a pattern: its counts multiply to more than a pattern may take in memory [EXPRESSION_INVALID]; write a regular expression without look-around, back-references and large counts
        /ops/0/body/rules/1/window: the window ends at 2026-01-01T00:00:00Z, which is not after 2026-02-01T00:00:00Z, where it begins [FIELD_INVALID]; set `from`, `until` or both, the earlier one first, or leave the window out
        /ops/0/body/default/ramp: the ramp ends with the percentage that it starts with [SPLIT_INVALID]; set `start` before `end`, and `from` and `to` to different percentages
    "#]].assert_eq(&world.refused(vec![targeting("a", body)]));
    let body = json!({
        "state": "enabled",
        "prerequisites": [{"flag": "gone", "variants": ["on"]}, {"flag": "b", "variants": ["maybe"]}],
        "default": {"ramp": {"variant": "never", "to": 1, "start": "2026-01-01", "end": "2026-02-01"}}
    });
    expect![[r"
        /ops/1/body/default: the flag has no variant `never` [VARIANT_UNKNOWN]; use one of `off`, `on`, or add the variant to the flag
        /ops/1/body/prerequisites/0/flag: there is no flag `gone` [REFERENCE_MISSING]; create the flag first
        /ops/1/body/prerequisites/1/variants/0: the flag `b` has no variant `maybe` [VARIANT_UNKNOWN]; use one of `off`, `on`
    "]].assert_eq(&world.refused(vec![flag("b"), targeting("a", body)]));
}

#[test]
fn flags_that_need_each_other_in_a_circle_are_refused() {
    let mut world = world(&["a", "b", "c"]);
    expect![[r"
        /ops/0/body/prerequisites: they refer to each other in a circle: `a` → `a` [REFERENCE_CYCLE]; leave one of these references out
    "]].assert_eq(&world.refused(vec![needing("a", &["a"])]));
    world
        .write(vec![needing("a", &["b"]), needing("b", &["c"])])
        .unwrap();
    expect![[r"
        /ops/0/body/prerequisites: they refer to each other in a circle: `c` → `a` → `b` → `c` [REFERENCE_CYCLE]; leave one of these references out
    "]].assert_eq(&world.refused(vec![needing("c", &["a"])]));
    // Elsewhere they do not need each other.
    let body = json!({"state": "enabled", "prerequisites": [{"flag": "a", "variants": ["on"]}]});
    world
        .write(vec![put(Kind::Targeting, "staging", "c", body)])
        .unwrap();
    // Turning the order around in one commit is no circle.
    world
        .write(vec![needing("a", &[]), needing("c", &["a"])])
        .unwrap();
}

#[test]
fn a_chain_of_prerequisites_is_as_long_as_the_limit_says_wherever_it_grows() {
    let keys: Vec<String> = (0..=limits::PREREQUISITE_DEPTH_MAX + 1)
        .map(|at| format!("f{at}"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut world = world(&keys);
    let links: Vec<Op> = keys
        .windows(2)
        .take(limits::PREREQUISITE_DEPTH_MAX)
        .map(|pair| needing(pair[0], &[pair[1]]))
        .collect();
    world.write(links).unwrap();
    let last = keys[limits::PREREQUISITE_DEPTH_MAX];
    let report = world.refused(vec![needing(
        last,
        &[keys[limits::PREREQUISITE_DEPTH_MAX + 1]],
    )]);
    assert!(
        report.contains("/ops/0/body/prerequisites:") && report.contains("LIMIT_EXCEEDED"),
        "{report}"
    );
}

#[test]
fn flags_are_asked_for_one_flag_as_often_as_the_limit_says_wherever_the_ways_multiply() {
    // Ten in each of some layers, and each needs all of the next layer.
    let key = |layer: usize, at: usize| format!("f{layer}.{at}");
    let keys: Vec<String> = (0..5)
        .flat_map(|layer| (0..10).map(move |at| key(layer, at)))
        .collect();
    let mut world = world(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let layer = |layer: usize| {
        let below: Vec<_> = (0..10).map(|at| key(layer + 1, at)).collect();
        let below: Vec<_> = below.iter().map(String::as_str).collect();
        (0..10)
            .map(|at| needing(&key(layer, at), &below))
            .collect::<Vec<_>>()
    };
    // From the top, so that what is refused is below what then takes too much.
    world.write(layer(0)).unwrap();
    world.write(layer(1)).unwrap();
    let report = world.refused(layer(2));
    expect![[r"
        /ops/0/body/prerequisites: to know `f0.0` others would be asked up to 1110 times, more than 1000: each as often as it is named, by all that name it [LIMIT_EXCEEDED]; name fewer, or what many are made of only once
    "]].assert_eq(&report.lines().next().map(|it| format!("{it}\n")).unwrap());
    let deep: Vec<Op> = (0..4).flat_map(layer).collect();
    let report = world.refused(deep);
    assert!(report.contains("LIMIT_EXCEEDED"), "{report}");
}

#[test]
fn a_flag_that_another_one_needs_is_not_deleted_archived_or_robbed_of_its_variant() {
    let mut world = world(&["a", "b"]);
    world.write(vec![needing("a", &["b"])]).unwrap();
    for op in [
        delete(Kind::Flag, "", "b"),
        put(
            Kind::Flag,
            "",
            "b",
            json!({"type": "boolean", "archived": true}),
        ),
        put(
            Kind::Flag,
            "",
            "b",
            json!({"type": "boolean", "variants": {"yes": true, "off": false}}),
        ),
    ] {
        let report = world.refused(vec![op]);
        assert!(
            report.contains("in use by targeting") && report.contains("REFERENCE_IN_USE"),
            "{report}"
        );
    }
    world
        .write(vec![needing("a", &[]), delete(Kind::Flag, "", "b")])
        .unwrap();
}

#[test]
fn segments_are_made_of_others_that_are_there_and_never_of_themselves() {
    let mut world = world(&["a"]);
    let made_of = |name: &str, parts: &[&str]| {
        let when = json!({"attribute": "user.id", "segment": parts});
        put(
            Kind::Segment,
            "",
            name,
            json!({"include": [], "when": when}),
        )
    };
    let plain = put(
        Kind::Segment,
        "",
        "early",
        json!({"include": ["u1"], "exclude": ["u2"]}),
    );
    expect![[r"
        /ops/1/body/exclude: `u1` is both included and excluded [FIELD_INVALID]; leave it in one of the two lists
        /ops/1/body/when: `(` is not a pattern: unclosed group [EXPRESSION_INVALID]; write a regular expression without look-around, back-references and large counts
    "]].assert_eq(&world.refused(vec![
        made_of("s", &["gone"]),
        put(Kind::Segment, "", "both", json!({"include": ["u1"], "exclude": ["u1"], "when": {"attribute": "x", "matches": "("}})),
    ]));
    expect![[r"
        /ops/0/body/when: there is no segment `gone` [REFERENCE_MISSING]; create the segment first
    "]]
    .assert_eq(&world.refused(vec![made_of("s", &["gone"])]));
    world
        .write(vec![plain, made_of("s", &["early"]), made_of("t", &["s"])])
        .unwrap();
    expect![[r"
        /ops/0/body/when: they refer to each other in a circle: `early` → `t` → `s` → `early` [REFERENCE_CYCLE]; leave one of these references out
    "]].assert_eq(&world.refused(vec![made_of("early", &["t"])]));
    let report = world.refused(vec![delete(Kind::Segment, "", "early")]);
    assert!(report.contains("REFERENCE_IN_USE"), "{report}");
    world
        .write(vec![
            delete(Kind::Segment, "", "t"),
            delete(Kind::Segment, "", "s"),
            delete(Kind::Segment, "", "early"),
        ])
        .unwrap();
}

#[test]
fn segments_are_made_of_each_other_as_deep_as_the_limit_says() {
    let mut world = World::platform();
    let made_of = |at: usize| {
        let when = json!({"attribute": "user.id", "segment": format!("s{}", at + 1)});
        put(
            Kind::Segment,
            "",
            &format!("s{at}"),
            json!({"include": [], "when": when}),
        )
    };
    let last = |at: usize| put(Kind::Segment, "", &format!("s{at}"), json!({"include": []}));
    let max = limits::SEGMENT_DEPTH_MAX;
    world
        .write((0..max).map(made_of).chain([last(max)]).collect())
        .unwrap();
    let report = world.refused(vec![made_of(max), last(max + 1)]);
    assert!(
        report.contains("/ops/0/body/when:") && report.contains("LIMIT_EXCEEDED"),
        "{report}"
    );
}

#[test]
fn segments_are_asked_for_one_segment_or_flag_as_often_as_the_limit_says() {
    let mut world = world(&["f"]);
    let named = |layer: usize, times: usize| {
        let names: Vec<_> = (0..times)
            .map(|at| format!("s{layer}.{}", at % 10))
            .collect();
        json!({"any": [{"attribute": "user.id", "segment": names}]})
    };
    let segment = |layer: usize, at: usize, body: Value| {
        put(Kind::Segment, "", &format!("s{layer}.{at}"), body)
    };
    let layer = |layer: usize| {
        let body = json!({"when": named(layer + 1, 10)});
        (0..10)
            .map(move |at| segment(layer, at, body.clone()))
            .collect::<Vec<_>>()
    };
    let last = |layer: usize| (0..10).map(move |at| segment(layer, at, json!({"include": ["u"]})));
    let three: Vec<Op> = (0..3).flat_map(layer).chain(last(3)).collect();
    let report = world.refused(three);
    assert!(
        report.contains("up to 1110 times") && report.contains("LIMIT_EXCEEDED"),
        "{report}"
    );
    let two: Vec<Op> = (0..2).flat_map(layer).chain(last(2)).collect();
    world.write(two).unwrap();

    let often = |times: usize| {
        let rule = json!({"name": "r", "if": named(0, times), "serve": "on"});
        targeting(
            "f",
            json!({"state": "enabled", "off": "off", "rules": [rule]}),
        )
    };
    world
        .write(vec![often(limits::REFERENCES_ASKED_MAX)])
        .unwrap();
    let report = world.refused(vec![often(limits::REFERENCES_ASKED_MAX + 1)]);
    expect![[r"
        /ops/0/body/rules: the rules name segments 1001 times, more than 1000 [LIMIT_EXCEEDED]; make one segment of those that are named together
    "]]
    .assert_eq(&report);
}
