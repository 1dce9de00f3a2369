use expect_test::{Expect, expect};
use plane_model::limits;
use serde_json::{Map, Value, json};

use super::*;

fn seen<'a>(ctx: &'a Context, path: &str) -> Seen<'a> {
    ctx.attribute(Ends::of(path.as_bytes()), path)
}

fn check(value: &Value, expected: &Expect) {
    let found = Context::parse(value).unwrap_err();
    let lines: Vec<_> = found.iter().map(|it| format!("{it}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn the_targeting_key_is_the_one_given_else_the_user_else_the_tenant() {
    for (value, expected) in [
        (
            json!({"targetingKey": "k", "user": "u", "tenant": "t"}),
            Some("k"),
        ),
        (
            json!({"targetingKey": "", "user": {"id": "u"}, "tenant": "t"}),
            Some("u"),
        ),
        (
            json!({"user": {"country": "de"}, "tenant": {"id": "t"}}),
            Some("t"),
        ),
        (json!({"agent": "a", "conversation": "c"}), None),
    ] {
        let ctx = Context::parse(&value).unwrap();
        assert_eq!(ctx.targeting_key(), expected, "{value}");
    }
}

#[test]
fn nested_attributes_are_found_by_their_path() {
    let value = json!({
        "user": {"id": "u", "country": "de"},
        "attributes": {"device": {"os": "ios", "ram": 8}, "beta": true, "tags": ["a", 1], "gone": null}
    });
    let ctx = Context::parse(&value).unwrap();
    assert_eq!(seen(&ctx, "device.os"), Seen::Text("ios"));
    assert_eq!(seen(&ctx, "device.ram"), Seen::Number(8.0));
    assert_eq!(seen(&ctx, "device"), Seen::Object);
    assert_eq!(seen(&ctx, "user.country"), Seen::Text("de"));
    assert_eq!(seen(&ctx, "beta"), Seen::Bool(true));
    assert_eq!(seen(&ctx, "gone"), Seen::Missing);
    assert_eq!(seen(&ctx, "os"), Seen::Missing);
    let Seen::List(items) = seen(&ctx, "tags") else {
        panic!("a list was given")
    };
    let items: Vec<_> = items.iter().collect();
    assert_eq!(items, [Seen::Text("a"), Seen::Number(1.0)]);
}

#[test]
fn every_mistake_in_a_context_is_reported_at_its_place() {
    check(
        &json!([]),
        &expect![[r"
        a context is an object [CONTEXT_INVALID]; write `{}` for none
    "]],
    );
    check(
        &json!({
            "agent": 1, "attributes": {"tenant": "t", "a.b": 1, "a": {"b": 2}}, "country": "de",
            "tenant": {"id": "a b", "plan": "free"}
        }),
        &expect![[r"
            /agent: expected a string [CONTEXT_INVALID]; put the value in quotes
            /attributes/a.b: two attributes are called `a.b` [CONTEXT_INVALID]; a dot in a name means the same as an object: write only one of the two
            /attributes/tenant: no attribute can be called `tenant` [CONTEXT_INVALID]; put it beside `attributes`, not into it
            /country: unknown field `country` [CONTEXT_INVALID]; put attributes of your own under `attributes`
            /tenant/plan: unknown field `plan` [CONTEXT_INVALID]; plan, region, status and labels come from the tenant's document; send only `id`
            /tenant/id: `a b` is not a valid tenant id: 1 to 128 letters, digits or any of `_.:@=+-`, starting with a letter, digit or `_` [CONTEXT_INVALID]; send the tenant's id
        "]],
    );
}

#[test]
fn a_context_at_its_limits_is_read_and_one_beyond_is_refused() {
    let many = |count: usize| {
        let attributes: Map<_, _> = (0..count).map(|i| (format!("a{i}"), json!(i))).collect();
        Context::parse(&json!({"attributes": attributes}))
    };
    let ctx = many(limits::CONTEXT_ATTRIBUTES_MAX).unwrap();
    for i in [0, 100, 255] {
        assert_eq!(seen(&ctx, &format!("a{i}")), Seen::Number(f64::from(i)));
    }
    assert!(many(limits::CONTEXT_ATTRIBUTES_MAX + 1).is_err());

    let frame = read::json_bytes(&json!({"attributes": {"a": ""}}));
    let long = |bytes: usize| Context::parse(&json!({"attributes": {"a": "x".repeat(bytes)}}));
    assert!(long(limits::CONTEXT_BYTES_MAX - frame).is_ok());
    assert!(long(limits::CONTEXT_BYTES_MAX - frame + 1).is_err());

    let deep = |depth: usize| {
        let value = (0..depth).fold(json!(1), |value, _| json!({"a": value}));
        Context::parse(&json!({"attributes": value}))
    };
    assert!(deep(ATTRIBUTE_DEPTH_MAX).is_ok());
    assert!(deep(ATTRIBUTE_DEPTH_MAX + 1).is_err());
}

#[test]
fn a_flat_context_is_the_same_as_a_structured_one() {
    let flat = json!({"targetingKey": "k", "country": "de", "tenant": {"id": "t", "plan": "x"}});
    let structured = json!({"targetingKey": "k", "attributes": {"country": "de"}, "tenant": "t"});
    let flat = Context::parse_flat(&flat).unwrap();
    let structured = Context::parse(&structured).unwrap();
    assert_eq!(flat.targeting_key(), structured.targeting_key());
    assert_eq!(flat.tenant(), structured.tenant());
    assert_eq!(seen(&flat, "country"), seen(&structured, "country"));
    assert_eq!(seen(&flat, "tenant.plan"), Seen::Missing);
}

#[test]
fn an_attribute_that_is_set_again_replaces_itself_however_many_there_are() {
    let name = |i: usize| format!("{}{i}", "x".repeat(i));
    let mut ctx = Context::new();
    for i in (0..40).chain((0..40).rev()) {
        ctx = ctx.with(&name(i), "before");
    }
    for i in (0..40).step_by(3) {
        ctx = ctx.with(&name(i), "after");
    }
    for i in 0..40 {
        let expected = if i % 3 == 0 { "after" } else { "before" };
        assert_eq!(seen(&ctx, &name(i)), Seen::Text(expected), "{i}");
    }
    assert_eq!(ctx.entries.len(), 40);
    assert!(format!("{ctx:?}").contains(r#""xxx3""#));
}

#[test]
fn the_builder_sets_attributes_but_no_reserved_names() {
    let ctx = Context::new()
        .with_tenant("t")
        .with("country", "de")
        .with("country", "fr")
        .with("tenant.plan", "enterprise")
        .with("targetingKey", "x")
        .with("ratio", f64::NAN);
    assert_eq!(seen(&ctx, "country"), Seen::Text("fr"));
    assert_eq!(seen(&ctx, "tenant.plan"), Seen::Missing);
    assert_eq!(seen(&ctx, "ratio"), Seen::Missing);
    assert_eq!(ctx.targeting_key(), Some("t"));
}
