use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json;

const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    depth_max: 64,
};

fn read(text: &str) -> Value {
    parse(text.as_bytes(), LIMITS)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .0
}

fn problem(text: &str) -> (TextProblem, usize, usize, Option<String>) {
    let error = parse(text.as_bytes(), LIMITS).unwrap_err();
    (error.code, error.line, error.column, error.pointer)
}

#[test]
fn plain_scalars_resolve_by_the_core_schema() {
    for (text, value) in [
        ("", json!(null)),
        ("# only a comment\n", json!(null)),
        ("---\n...\n", json!(null)),
        ("~", json!(null)),
        ("Null", json!(null)),
        ("True", json!(true)),
        ("FALSE", json!(false)),
        ("no", json!("no")),
        ("on", json!("on")),
        ("Yes", json!("Yes")),
        ("y", json!("y")),
        ("tRUE", json!("tRUE")),
        ("0", json!(0)),
        ("-0", json!(0)),
        ("+12", json!(12)),
        ("007", json!(7)),
        ("0o17", json!(15)),
        ("0xff", json!(255)),
        ("0o8", json!("0o8")),
        ("0x", json!("0x")),
        ("-0x1", json!("-0x1")),
        ("0b1", json!("0b1")),
        ("1_000", json!("1_000")),
        ("1:30", json!("1:30")),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("5.", json!(5)),
        ("1.0", json!(1)),
        ("1e3", json!(1000)),
        ("-1.5e-3", json!(-0.0015)),
        ("1e", json!("1e")),
        (".", json!(".")),
        ("+", json!("+")),
        ("e3", json!("e3")),
        ("1.2.3", json!("1.2.3")),
        ("2024-01-01", json!("2024-01-01")),
        ("inf", json!("inf")),
        ("nan", json!("nan")),
        ("'1'", json!("1")),
        ("\"true\"", json!("true")),
        ("\"\\u00e9\\n\"", json!("é\n")),
        ("\u{feff}a", json!("a")),
        ("!!str 1", json!("1")),
        ("!!int '1'", json!(1)),
        ("!!float 1", json!(1)),
        ("! 1", json!("1")),
        (
            "!!map {a: !!seq [!!null ~, !!bool true]}",
            json!({"a": [null, true]}),
        ),
    ] {
        assert_eq!(read(text), value, "{text:?}");
    }
}

#[test]
fn the_manifest_of_the_brief_is_read() {
    let text = "name: crm_tool\nversion: 1.2.0\ncreated_at: \"2024-01-02T00:00:00Z\"\n\
                deprecated: false\nmetadata:\n  inputs_schema:\n    type: object\n    \
                required: [\"action\", \"data\"]\n  timeout_ms: 5000\n  prompt: |\n    one\n    \
                two\nsignature: \"def456\"\n";
    assert_eq!(
        read(text),
        json!({
            "name": "crm_tool", "version": "1.2.0", "created_at": "2024-01-02T00:00:00Z",
            "deprecated": false,
            "metadata": {
                "inputs_schema": { "type": "object", "required": ["action", "data"] },
                "timeout_ms": 5000, "prompt": "one\ntwo\n"
            },
            "signature": "def456"
        })
    );
}

#[test]
fn words_that_only_yaml_1_1_takes_for_booleans_are_good_keys() {
    assert_eq!(
        read("on: 1\nno: 2\ny: 3"),
        json!({"on": 1, "no": 2, "y": 3})
    );
    assert_eq!(read("\"<<\": 1\n'1': 2"), json!({"<<": 1, "1": 2}));
}

#[test]
fn each_kind_of_bad_text_is_named_with_its_place() {
    use TextProblem::{
        Anchor, ControlCharacter, DuplicateKey, ManyDocuments, NonStringKey, Nul, NumberRange,
        Syntax, Tag,
    };
    let some = |pointer: &str| Some(pointer.to_owned());
    for (text, code, line, column, pointer) in [
        ("a: 1\nb: 2\na: 3", DuplicateKey, 3, 1, some("/a")),
        ("x: {a: 1, \"a\": 2}", DuplicateKey, 1, 11, some("/x/a")),
        ("a: &x 1", Anchor, 1, 4, some("/a")),
        ("a: *x", Anchor, 1, 4, some("/a")),
        ("a: &x {}\nb: *x", Anchor, 1, 4, some("/a")),
        ("a:\n  <<: {b: 1}", Anchor, 2, 3, some("/a")),
        ("a: !secret b", Tag, 1, 4, some("/a")),
        ("a: !!binary aGk=", Tag, 1, 4, some("/a")),
        ("a: !!int x", Tag, 1, 4, some("/a")),
        ("a: !!str [1]", Tag, 1, 4, some("/a")),
        ("a: !custom {}", Tag, 1, 4, some("/a")),
        ("1: a", NonStringKey, 1, 1, some("")),
        ("v:\n  1.10: a", NonStringKey, 2, 3, some("/v")),
        ("true: a", NonStringKey, 1, 1, some("")),
        ("~: a", NonStringKey, 1, 1, some("")),
        (": a", NonStringKey, 1, 1, some("")),
        (".nan: a", NonStringKey, 1, 1, some("")),
        ("[a]: b", NonStringKey, 1, 1, some("")),
        ("? {a: b}\n: c", NonStringKey, 1, 3, some("")),
        ("a: 1\n---\nb: 2", ManyDocuments, 2, 1, None),
        ("a: .nan", NumberRange, 1, 4, some("/a")),
        ("a: [1, -.inf]", NumberRange, 1, 8, some("/a/1")),
        ("a: 9007199254740992", NumberRange, 1, 4, some("/a")),
        ("a: 0xffffffffffffffffffff", NumberRange, 1, 4, some("/a")),
        ("a: 12e34567", NumberRange, 1, 4, some("/a")),
        ("a: 1e20", NumberRange, 1, 4, some("/a")),
        ("a: \"\\0\"", Nul, 1, 4, some("/a")),
        ("a: b\0c", Nul, 1, 5, None),
        ("a: \u{7f}", ControlCharacter, 1, 4, None),
    ] {
        assert_eq!(problem(text), (code, line, column, pointer), "{text:?}");
    }
    for text in [
        "a: [1",
        "a: b: c",
        "a:\n\t- b",
        "\"a",
        "a: @b",
        "%",
        "a: \"\\ud800\"",
        "- a\nb",
    ] {
        assert_eq!(problem(text).0, Syntax, "{text:?}");
    }
}

#[test]
fn messages_say_what_to_do() {
    let error = parse(b"versions:\n  1.10: a", LIMITS).unwrap_err();
    assert!(
        error.detail.contains("write it as \"1.10\""),
        "{}",
        error.detail
    );
    let error = parse(b"a: 1\na: 2", LIMITS).unwrap_err();
    assert!(
        error.detail.contains("the first is on line 1"),
        "{}",
        error.detail
    );
}

#[test]
fn a_text_at_the_limits_is_read_and_one_beyond_is_refused() {
    let limits = Limits {
        bytes_max: 16,
        depth_max: 4,
    };
    assert!(parse(b"- - - - a", limits).is_ok());
    assert_eq!(
        parse(b"- - - - - a", limits).unwrap_err().code,
        TextProblem::Depth
    );
    assert!(parse("a".repeat(16).as_bytes(), limits).is_ok());
    assert_eq!(
        parse("a".repeat(17).as_bytes(), limits).unwrap_err().code,
        TextProblem::Size
    );
}

#[test]
fn hostile_nesting_is_refused_without_using_the_stack() {
    let no_limit = Limits {
        bytes_max: usize::MAX,
        depth_max: usize::MAX,
    };
    for unit in ["[", "{a: ", "- ", "? ", "a:\n "] {
        let text = unit.repeat(100_000);
        assert!(parse(text.as_bytes(), no_limit).is_err(), "{unit}");
    }
}

#[test]
fn the_source_map_finds_keys_and_values() {
    let (_, source) = parse(b"a:\n  - 10\n  - b/c: 2\nd: |\n  text\n", LIMITS).unwrap();
    let line = |text: &str| {
        let position = source.line(&text.parse().unwrap());
        (position.line, position.column)
    };
    assert_eq!(line(""), (1, 1));
    assert_eq!(line("/a"), (1, 1));
    assert_eq!(line("/a/0"), (2, 5));
    assert_eq!(line("/a/1/b~1c"), (3, 5));
    assert_eq!(line("/d"), (4, 1));
    assert_eq!(line("/d/nowhere"), (4, 1));
    assert_eq!(line("/a/9"), (1, 1));
    let value = source.value(&"/a".parse().unwrap());
    assert_eq!((value.line, value.column), (2, 3));
}

proptest! {
    #[test]
    fn json_text_is_read_alike_by_both_readers(value in json::tests::value()) {
        // YAML has no surrogate pairs and no raw control characters, so such texts are left out.
        let text = serde_json::to_string(&value).unwrap();
        prop_assume!(!text.chars().any(char::is_control));
        prop_assert_eq!(parse(text.as_bytes(), LIMITS).unwrap().0, value);
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        text in "([-?:,\\[\\]{}#&*!|>'\"%@` \n\ta0.~<\\\\]|---|\r\n|é|😀|!!|key: ){0,60}"
    ) {
        drop(parse(text.as_bytes(), LIMITS));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(parse(&bytes, LIMITS));
    }
}
