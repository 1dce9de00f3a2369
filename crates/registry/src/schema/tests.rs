#![expect(
    clippy::needless_pass_by_value,
    reason = "the cases hand over literals"
)]

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn lines(found: &[Violation]) -> String {
    let lines: Vec<_> = found
        .iter()
        .map(|violation| format!("{violation}\n"))
        .collect();
    lines.concat()
}

fn check_schema(schema: Value, expected: Expect) {
    expected.assert_eq(&lines(&compile(&schema).unwrap_err()));
}

fn check_value(schema: Value, value: Value, expected: Expect) {
    let compiled = compile(&schema).unwrap_or_else(|found| panic!("{}", lines(&found)));
    let found = compiled.validate(&value, Code::ConfigInvalid);
    assert_eq!(found.is_empty(), compiled.is_valid(&value));
    expected.assert_eq(&lines(&found));
}

#[test]
fn every_mismatch_is_reported_with_its_place() {
    let schema = json!({
        "type": "object",
        "properties": {
            "temperature": { "type": "number", "minimum": 0, "maximum": 2 },
            "mode": { "enum": ["a", "b"] },
            "tags": { "type": "array", "items": { "type": "string", "maxLength": 3 }, "uniqueItems": true },
            "port": { "type": ["integer", "null"], "exclusiveMinimum": 0 },
            "url": { "type": "string", "pattern": "^https://" },
            "x/y": { "const": 1 },
            "either": { "anyOf": [{ "type": "string" }, { "type": "object", "required": ["id"] }] }
        },
        "required": ["temperature", "model"],
        "additionalProperties": false
    });
    check_value(
        schema,
        json!({
            "temperature": 3, "mode": "c", "tags": ["long", "x", "x"], "port": "80",
            "url": "http://a", "x/y": 2, "either": {}, "temprature": 1
        }),
        expect![[r"
            missing key `model` [CONFIG_INVALID]; add the key
            /either: matches none of the allowed forms (form 1: must be a string, not an object; form 2: missing key `id`) [CONFIG_INVALID]; change the value, or the schema that governs it
            /mode: must be one of `a`, `b` [CONFIG_INVALID]; change the value, or the schema that governs it
            /port: must be null or a whole number, not a string [CONFIG_INVALID]; change the value, or the schema that governs it
            /tags: must not have the same item twice [CONFIG_INVALID]; change the value, or the schema that governs it
            /tags/0: must have at most 3 characters [CONFIG_INVALID]; change the value, or the schema that governs it
            /temperature: must be at most 2 [CONFIG_INVALID]; change the value, or the schema that governs it
            /url: must match the pattern `^https://` [CONFIG_INVALID]; change the value, or the schema that governs it
            /x~1y: must be `1` [CONFIG_INVALID]; change the value, or the schema that governs it
            /temprature: the key `temprature` is not allowed here [CONFIG_INVALID]; remove it or correct its spelling
        "]],
    );
}

#[test]
fn messages_never_show_the_values_that_they_are_about() {
    let schema = json!({
        "properties": {
            "password": { "type": "string", "x-secret": true, "minLength": 30, "pattern": "^a" },
            "any": { "anyOf": [{ "type": "integer" }, { "const": 1 }] },
            "one": { "oneOf": [{ "type": "integer" }, { "enum": [1] }] },
            "not": { "not": { "type": "string" } },
            "list": { "items": { "maximum": 1 }, "uniqueItems": true, "contains": { "const": 3 } },
            "format": { "format": "email", "maxLength": 2 }
        },
        "propertyNames": { "maxLength": 8 },
        "unevaluatedProperties": { "type": "integer" }
    });
    let secret = "hunter2-secret";
    let value = json!({
        "password": secret, "any": secret, "one": secret, "not": secret,
        "list": [secret, secret, 77_777], "format": secret, "extra": secret
    });
    let found = compile(&schema)
        .unwrap()
        .validate(&value, Code::ConfigInvalid);
    assert!(found.len() >= 8, "{}", lines(&found));
    assert!(
        !lines(&found).contains("hunter2") && !lines(&found).contains("77777"),
        "{}",
        lines(&found)
    );
}

#[test]
fn a_schema_that_breaks_its_meta_schema_is_refused_with_every_place() {
    check_schema(
        json!({ "type": "text", "properties": { "a": { "minimum": "1" } } }),
        expect![[r"
            /properties/a/minimum: must be a number, not a string [SCHEMA_INVALID]; write it as JSON Schema says
            /type: matches none of the allowed forms (form 1: must be one of `array`, `boolean`, `integer`, `null`, `number`, `object`, `string`; form 2: must be a list, not a string) [SCHEMA_INVALID]; write it as JSON Schema says
        "]],
    );
    check_schema(
        json!(7),
        expect![[r"
            must be a boolean or an object, not a number [SCHEMA_INVALID]; write it as JSON Schema says
        "]],
    );
    check_schema(
        json!({ "$schema": "http://json-schema.org/draft-04/schema#" }),
        expect![[r#"
        /$schema: `$schema` "http://json-schema.org/draft-04/schema#" is not a draft that is understood here [SCHEMA_INVALID]; write `https://json-schema.org/draft/2020-12/schema` or `http://json-schema.org/draft-07/schema#`, or leave it out
    "#]],
    );
    check_schema(
        json!({ "$schema": 4 }),
        expect![[r"
        /$schema: `$schema` 4 is not a draft that is understood here [SCHEMA_INVALID]; write `https://json-schema.org/draft/2020-12/schema` or `http://json-schema.org/draft-07/schema#`, or leave it out
    "]],
    );
}

#[test]
fn references_stay_inside_the_document() {
    check_schema(
        json!({
            "properties": {
                "a": { "$ref": "https://example.com/schema.json" },
                "b": { "$ref": "other.json#/x" },
                "c": { "$ref": "#/$defs/none" },
                "d": { "$id": "https://example.com/inner" },
                "e": { "$ref": "#nowhere" }
            }
        }),
        expect![[r"
            /properties/a/$ref: `$ref` to `https://example.com/schema.json` leaves the document; nothing is ever fetched [SCHEMA_INVALID]; copy the definition below `$defs` and refer to it with `#/$defs/…`
            /properties/b/$ref: `$ref` to `other.json#/x` leaves the document; nothing is ever fetched [SCHEMA_INVALID]; copy the definition below `$defs` and refer to it with `#/$defs/…`
            /properties/c/$ref: `$ref` to `#/$defs/none`: the document has no such place [SCHEMA_INVALID]; correct the reference or add the definition
            /properties/d/$id: an embedded `$id` makes a second document; a schema here is one document [SCHEMA_INVALID]; use `$anchor`, or refer to the place with `#/$defs/…`
            /properties/e/$ref: `$ref` to `#nowhere`: the document has no such place [SCHEMA_INVALID]; correct the reference or add the definition
        "]],
    );
    // Text that only looks like a reference is not one.
    let compiled = compile(&json!({
        "properties": { "$ref": { "const": { "$ref": "https://example.com" } } },
        "default": { "$ref": "https://example.com" }
    }));
    assert!(compiled.is_ok());
    let local = json!({
        "$id": "https://example.com/root",
        "$ref": "#/$defs/a%25b",
        "$defs": { "a%b": { "$ref": "#there" }, "t": { "$anchor": "there", "type": "integer" } }
    });
    let compiled = compile(&local).unwrap();
    assert!(compiled.is_valid(&json!(1)) && !compiled.is_valid(&json!("a")));
}

#[test]
fn references_that_never_end_are_refused() {
    check_schema(
        json!({ "$ref": "#" }),
        expect![[r"
        the references go round in a circle without going into the value [SCHEMA_INVALID]; let one of the references stand below `properties` or `items`
    "]],
    );
    check_schema(
        json!({
            "$ref": "#/$defs/a",
            "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } }
        }),
        expect![[r"
            /$defs/a: the references go round in a circle without going into the value [SCHEMA_INVALID]; let one of the references stand below `properties` or `items`
        "]],
    );
    let tree = json!({
        "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } },
        "additionalProperties": false
    });
    let compiled = compile(&tree).unwrap();
    assert!(compiled.is_valid(&json!({ "left": { "right": {} } })));
    assert!(!compiled.is_valid(&json!({ "left": { "middle": {} } })));
}

#[test]
fn references_that_multiply_are_refused() {
    let doubled = |levels: usize| {
        let definitions: serde_json::Map<_, _> = (0..levels)
            .map(|level| {
                let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
                (format!("d{level}"), json!({ "allOf": [next, next] }))
            })
            .chain([(format!("d{levels}"), json!({ "type": "integer" }))])
            .collect();
        json!({ "$ref": "#/$defs/d0", "$defs": definitions })
    };
    assert!(compile(&doubled(8)).is_ok());
    let found = compile(&doubled(40)).err().unwrap();
    assert!(
        found[0].detail.contains("more than 10000 subschemas"),
        "{}",
        lines(&found)
    );
}

#[test]
fn patterns_without_linear_time_are_refused() {
    check_schema(
        json!({ "properties": { "a": { "pattern": "(?=a)b" } } }),
        expect![[r"
        /properties/a/pattern: the pattern is not one that is understood here [SCHEMA_INVALID]; use the syntax of RE2 (no look-around, no back-references), and keep repetitions small
    "]],
    );
    check_schema(
        json!({ "pattern": "(a)\\1" }),
        expect![[r"
        /pattern: the pattern is not one that is understood here [SCHEMA_INVALID]; use the syntax of RE2 (no look-around, no back-references), and keep repetitions small
    "]],
    );
    check_schema(
        json!({ "pattern": "a(" }),
        expect![[r"
        /pattern: the pattern is not one that is understood here [SCHEMA_INVALID]; use the syntax of RE2 (no look-around, no back-references), and keep repetitions small
    "]],
    );
    check_schema(
        json!({ "pattern": "((a{1000}){1000}){1000}" }),
        expect![[r"
        /pattern: the pattern is not one that is understood here [SCHEMA_INVALID]; use the syntax of RE2 (no look-around, no back-references), and keep repetitions small
    "]],
    );
    let compiled = compile(&json!({ "pattern": "^(a+)+$" })).unwrap();
    assert!(!compiled.is_valid(&json!(format!("{}!", "a".repeat(50_000)))));
}

#[test]
fn a_schema_at_the_limits_is_compiled_and_one_beyond_is_refused() {
    let nested = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({ "not": inner }));
    assert!(compile(&nested(63)).is_ok());
    assert_eq!(
        compile(&nested(64)).unwrap_err()[0].code,
        Code::LimitExceeded
    );
    let sized = |length: usize| json!({ "title": "x".repeat(length) });
    let overhead = canonical::to_canonical(&sized(0)).unwrap().len();
    assert!(compile(&sized(limits::DOCUMENT_BYTES_MAX - overhead)).is_ok());
    let found = compile(&sized(limits::DOCUMENT_BYTES_MAX - overhead + 1)).unwrap_err();
    assert_eq!(found[0].code, Code::LimitExceeded);
}

#[test]
fn draft_07_is_understood_when_it_is_named() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{ "type": "integer" }],
        "dependencies": { "a": ["b"] }
    });
    let compiled = compile(&schema).unwrap();
    assert!(!compiled.is_valid(&json!(["x"])));
    assert!(!compiled.is_valid(&json!({ "a": 1 })));
}

#[test]
fn a_report_is_cut_at_its_limit() {
    let compiled = compile(&json!({ "items": { "type": "string" } })).unwrap();
    let found = compiled.validate(&json!(vec![1; 5_000]), Code::ConfigInvalid);
    assert_eq!(found.len(), limits::VIOLATIONS_MAX);
}
