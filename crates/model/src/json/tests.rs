use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::canonical::{is_canonical, to_canonical};

const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    depth_max: 64,
};

fn problem(text: &str) -> (TextProblem, usize, usize, Option<String>) {
    let error = parse(text.as_bytes(), LIMITS).unwrap_err();
    assert!(!error.detail.is_empty() && !error.next().is_empty());
    (error.code, error.line, error.column, error.pointer)
}

#[test]
fn json_texts_give_their_values() {
    for (text, value) in [
        ("null", json!(null)),
        (" \r\n\t true ", json!(true)),
        ("-0", json!(0)),
        ("1.0", json!(1)),
        ("1e2", json!(100)),
        ("-1.5E-1", json!(-0.15)),
        ("1e21", json!(1e21)),
        ("0.30", json!(0.3)),
        ("9007199254740991", json!(9_007_199_254_740_991_i64)),
        ("[]", json!([])),
        ("{}", json!({})),
        ("[1,[2,[3]],{}]", json!([1, [2, [3]], {}])),
        (
            r#"{"a":{"b":[null,false]},"":""}"#,
            json!({"a": {"b": [null, false]}, "": ""}),
        ),
        (
            r#""\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00é""#,
            json!("\"\\/\u{8}\u{c}\n\r\té😀é"),
        ),
        ("\u{feff}1", json!(1)),
    ] {
        assert_eq!(parse(text.as_bytes(), LIMITS).unwrap(), value, "{text}");
    }
}

#[test]
fn each_kind_of_bad_text_is_named_with_its_place() {
    use TextProblem::{ControlCharacter, DuplicateKey, Encoding, Nul, NumberRange, Syntax};
    for (text, code, line, column, pointer) in [
        ("", Syntax, 1, 1, ""),
        ("[1,2", Syntax, 1, 5, "/2"),
        ("[1,]", Syntax, 1, 4, "/1"),
        ("{\"a\":1,}", Syntax, 1, 8, ""),
        ("{\"a\" 1}", Syntax, 1, 6, "/a"),
        ("{a:1}", Syntax, 1, 2, ""),
        ("[1 2]", Syntax, 1, 4, "/1"),
        ("[1}", Syntax, 1, 3, "/1"),
        ("01", Syntax, 1, 1, ""),
        ("+1", Syntax, 1, 1, ""),
        ("-", Syntax, 1, 1, ""),
        ("1.", Syntax, 1, 3, ""),
        (".5", Syntax, 1, 1, ""),
        ("1e", Syntax, 1, 3, ""),
        ("NaN", Syntax, 1, 1, ""),
        ("tru", Syntax, 1, 1, ""),
        ("truex", Syntax, 1, 5, ""),
        ("1 2", Syntax, 1, 3, ""),
        ("// no", Syntax, 1, 1, ""),
        ("['a']", Syntax, 1, 2, "/0"),
        ("\"abc", Syntax, 1, 1, ""),
        ("\"\\x\"", Syntax, 1, 2, ""),
        ("\"\\u12g4\"", Syntax, 1, 3, ""),
        ("\"\\u+123\"", Syntax, 1, 3, ""),
        ("\"\\u", Syntax, 1, 3, ""),
        ("\"a\nb\"", ControlCharacter, 1, 3, ""),
        ("\"\\u0000\"", Nul, 1, 2, ""),
        ("\"a\0\"", Nul, 1, 3, ""),
        ("\"\\ud800\"", Encoding, 1, 2, ""),
        ("\"\\ud800\\u0041\"", Encoding, 1, 2, ""),
        ("\"\\udc00\\ud800\"", Encoding, 1, 2, ""),
        (
            "{\"a\":1,\n \"b\":{\"c\":1,\"c\":2}}",
            DuplicateKey,
            2,
            13,
            "/b/c",
        ),
        ("{\"\\u0061\":1,\"a\":2}", DuplicateKey, 1, 13, "/a"),
        ("{\"é\":[1,\n9007199254740992]}", NumberRange, 2, 1, "/é/1"),
        ("-9007199254740992", NumberRange, 1, 1, ""),
        ("99999999999999999999999", NumberRange, 1, 1, ""),
        ("9007199254740992.0", NumberRange, 1, 1, ""),
        ("1e20", NumberRange, 1, 1, ""),
        ("1e400", NumberRange, 1, 1, ""),
        ("-1e400", NumberRange, 1, 1, ""),
    ] {
        assert_eq!(
            problem(text),
            (code, line, column, Some(pointer.to_owned())),
            "{text}"
        );
    }
    let next = parse(b"\"a\\u0000b\"", LIMITS).unwrap_err().next();
    assert!(next.contains("nor its escape"), "{next}");
}

#[test]
fn a_text_at_the_limits_is_read_and_one_beyond_is_refused() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let limits = Limits {
        bytes_max: 20,
        depth_max: 4,
    };
    assert!(parse(nested(4).as_bytes(), limits).is_ok());
    assert_eq!(
        parse(nested(5).as_bytes(), limits).unwrap_err().code,
        TextProblem::Depth
    );
    assert!(parse(format!("{:20}", 1).as_bytes(), limits).is_ok());
    assert_eq!(
        parse(format!("{:21}", 1).as_bytes(), limits)
            .unwrap_err()
            .code,
        TextProblem::Size
    );
    let no_limit = Limits {
        bytes_max: usize::MAX,
        depth_max: usize::MAX,
    };
    assert!(parse(nested(DEPTH_CEILING).as_bytes(), no_limit).is_ok());
    let hostile = "[{\"a\":".repeat(1_000_000);
    assert_eq!(
        parse(hostile.as_bytes(), no_limit).unwrap_err().code,
        TextProblem::Depth
    );
}

#[test]
fn bytes_that_are_not_utf8_are_refused_where_they_stand() {
    let error = parse(b"{\n\"\xc3\xa9\xff\":1}", LIMITS).unwrap_err();
    assert_eq!(
        (error.code, error.line, error.column),
        (TextProblem::Encoding, 2, 3)
    );
    let error = parse(b"\xff\xfe1\0", LIMITS).unwrap_err();
    assert!(error.detail.contains("UTF-16"));
}

#[test]
fn the_source_map_finds_keys_and_values() {
    let text = b"{\n  \"a\": [10,\n    {\"b~/\": 2}],\n  \"c\":\n    3\n}";
    let (_, source) = parse_with_source(text, LIMITS).unwrap();
    let line = |text: &str| {
        let position = source.line(&text.parse().unwrap());
        (position.line, position.column)
    };
    let value = |text: &str| {
        let position = source.value(&text.parse().unwrap());
        (position.line, position.column)
    };
    assert_eq!(line(""), (1, 1));
    assert_eq!(line("/a"), (2, 3));
    assert_eq!(value("/a"), (2, 8));
    assert_eq!(line("/a/0"), (2, 9));
    assert_eq!(line("/a/1/b~0~1"), (3, 6));
    assert_eq!((line("/c"), value("/c")), ((4, 3), (5, 5)));
    // Places that the text does not have fall back to what is around them.
    assert_eq!(line("/a/7/x"), (2, 3));
    assert_eq!(line("/missing"), (1, 1));
}

#[test]
fn the_memory_that_a_text_asks_for_is_known_before_it_is_read() {
    let many = |part: &str| format!("[{}0]", format!("{part},").repeat(1_000));
    for (text, least, most) in [
        ("\"a, {[\\\"{[\"".to_owned(), 32, 64),
        (many("0"), 32, 132),
        (many("[]"), 32, 300),
        (many("[0]"), 160, 300),
        (many("{\"a\":0}"), 32 + 640, 900),
        (many("{\"a\":{\"a\":0}}"), 2 * (32 + 640), 1_600),
        (many("\"\""), 32, 180),
    ] {
        let parts = if text.len() > 1_000 { 1_000 } else { 1 };
        let part = memory_max(text.as_bytes()) / parts;
        assert!((least..=most).contains(&part), "{part}: {}", clip(&text));
    }
}

/// Any value that a reader can return.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::from),
        any::<f64>().prop_filter_map("a number that readers accept", |number| {
            float(&format!("{number:?}")).ok().map(Value::Number)
        }),
    ];
    let string = "[^\u{0}]*";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        string.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(string, inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_read_back_as_the_same_value(value in value()) {
        let bytes = to_canonical(&value).unwrap();
        prop_assert_eq!(&parse(&bytes, LIMITS).unwrap(), &value);
        prop_assert!(is_canonical(&bytes));
    }

    #[test]
    fn pretty_text_reads_back_as_the_same_value(value in value()) {
        let text = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(parse(&text, LIMITS).unwrap(), value);
    }

    #[test]
    fn what_is_accepted_has_the_value_that_serde_json_reads(text in "[\\[\\]{}:,\"a\\\\u0-9eE.+ -]{0,24}") {
        if let Ok(value) = parse(text.as_bytes(), LIMITS) {
            let other: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(to_canonical(&value).unwrap(), to_canonical(&other).unwrap());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(parse_with_source(&bytes, LIMITS));
    }
}
