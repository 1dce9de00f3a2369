//! The YAML writer: block style, quotes only where some reader of YAML needs them.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::shape::Shape;

/// YAML readers take a key without `? ` only up to 1024 characters; this leaves a margin.
const PLAIN_KEY_BYTES_MAX: usize = 1_000;

/// The words, in lower case, that YAML 1.1 or 1.2 takes for something else than a string.
const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// Writes `members` as a YAML document with its keys in the order of `shape`.
pub(super) fn document(members: &Map<String, Value>, shape: &Shape) -> String {
    let mut out = String::new();
    if members.is_empty() {
        out.push_str("{}\n");
    } else {
        mapping(&mut out, members, shape, 0);
    }
    out
}

/// Writes the entries at `indent`; where the first one begins, the line is indented already.
fn mapping(out: &mut String, members: &Map<String, Value>, shape: &Shape, indent: usize) {
    for (index, (key, value)) in shape.ordered(members).into_iter().enumerate() {
        if index > 0 {
            spaces(out, indent);
        }
        let start = out.len();
        string(out, key);
        if out.len() - start > PLAIN_KEY_BYTES_MAX {
            out.insert_str(start, "? ");
            out.push('\n');
            spaces(out, indent);
        }
        out.push(':');
        entry(out, value, shape.child(key), indent);
    }
}

/// Writes what follows the colon of a key that stands at `indent`.
fn entry(out: &mut String, value: &Value, shape: &Shape, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            spaces(out, indent + 2);
            mapping(out, members, shape, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            spaces(out, indent + 2);
            sequence(out, items, shape, indent + 2);
        }
        _ => {
            out.push(' ');
            scalar(out, value, indent);
        }
    }
}

/// Writes the items at `indent`; where the first one begins, the line is indented already.
fn sequence(out: &mut String, items: &[Value], shape: &Shape, indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            spaces(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(members) if !members.is_empty() => {
                mapping(out, members, shape, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => sequence(out, items, shape, indent + 2),
            _ => scalar(out, item, indent),
        }
    }
}

/// Writes a scalar or an empty collection, and ends the line.
fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if text.contains('\n') && is_block(text) => block(out, text, indent),
        Value::String(text) => {
            string(out, text);
            out.push('\n');
        }
        Value::Object(_) => out.push_str("{}\n"),
        Value::Array(_) => out.push_str("[]\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = writeln!(out, "{value}");
        }
    }
}

/// Writes a text of several lines below a key or dash at `indent`.
fn block(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        // The reader would take the blanks of the first line for indentation.
        out.push('2');
    }
    let body = text.strip_suffix('\n');
    match body {
        None => out.push('-'),
        Some(body) if body.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    out.push('\n');
    for line in body.unwrap_or(text).split('\n') {
        if !line.is_empty() {
            spaces(out, indent + 2);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// Says whether `text` comes back unchanged from a block.
fn is_block(text: &str) -> bool {
    let is_good = |line: &str| {
        !line.starts_with('\t')
            && line
                .chars()
                .all(|character| character == '\t' || is_printable(character))
            && (line.is_empty() || !line.trim_matches([' ', '\t']).is_empty())
    };
    text.split('\n').all(is_good) && text.bytes().any(|byte| byte != b'\n')
}

fn string(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

/// Says whether `text` is a string without quotes, to readers of YAML 1.1 and 1.2 alike.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let starts_well = first.is_alphabetic() || "_/($".contains(first) || is_version(text);
    starts_well
        && text.chars().all(is_printable)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Says whether `text` begins with three numbers joined by dots, which is a number to nobody.
fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = 0;
    let all_digits = core.split('.').all(|part| {
        numbers += 1;
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    });
    all_digits && numbers == 3
}

fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        )
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if is_printable(other) => out.push(other),
            other => {
                let _ = write!(out, "\\u{:04x}", u32::from(other));
            }
        }
    }
    out.push('"');
}

fn spaces(out: &mut String, count: usize) {
    for _ in 0..count {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use plane_model::yaml;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::shape;
    use super::super::tests::json_value;
    use super::*;

    fn written(value: &Value) -> String {
        document(value.as_object().unwrap(), &shape::ANY)
    }

    fn read(text: &str) -> Value {
        let limits = yaml::Limits {
            bytes_max: 1 << 20,
            depth_max: 64,
        };
        yaml::parse(text.as_bytes(), limits)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
            .0
    }

    #[test]
    fn texts_have_quotes_only_where_a_reader_needs_them() {
        let value = json!({
            "words": ["plain", "two words", "on", "No", "null", "y", "", " x", "x ", "a: b", "a #b",
                "a:b", "a#b", "it's", "-", "- a", "#a", "&a", "*a", "!a", "%a", "@a", "`a", "|", ">",
                "[a]", "{a}", "a, b", "?", "1", "1.5", "1.10", "1.0.0", "1.0.0-rc.1", "0x1f", "1_000",
                "1:30", "2024-01-01", ".5", "~", "é", "日本", "tab\there", "nul\u{1}", "\u{feff}"],
            "on": 1, "3": 2, "": 3, "a: b": 4, "sha": "sha256:ab", "url": "https://a.example/x?y=z",
            "numbers": [0, -1, 0.7, 1e21, 1.5e-7], "empty": [{}, [], null, true]
        });
        let text = written(&value);
        assert_eq!(read(&text), value);
        expect![[r##"
            "": 3
            "3": 2
            "a: b": 4
            empty:
              - {}
              - []
              - null
              - true
            numbers:
              - 0
              - -1
              - 0.7
              - 1e+21
              - 1.5e-7
            "on": 1
            sha: sha256:ab
            url: https://a.example/x?y=z
            words:
              - plain
              - two words
              - "on"
              - "No"
              - "null"
              - "y"
              - ""
              - " x"
              - "x "
              - "a: b"
              - "a #b"
              - a:b
              - a#b
              - it's
              - "-"
              - "- a"
              - "#a"
              - "&a"
              - "*a"
              - "!a"
              - "%a"
              - "@a"
              - "`a"
              - "|"
              - ">"
              - "[a]"
              - "{a}"
              - a, b
              - "?"
              - "1"
              - "1.5"
              - "1.10"
              - 1.0.0
              - 1.0.0-rc.1
              - "0x1f"
              - "1_000"
              - "1:30"
              - "2024-01-01"
              - ".5"
              - "~"
              - é
              - 日本
              - "tab\there"
              - "nul\u0001"
              - "\ufeff"
        "##]]
        .assert_eq(&text);
    }

    #[test]
    fn texts_of_several_lines_are_blocks() {
        let value = json!({
            "a": "one\ntwo\n", "b": ["one\n\ntwo", {"c": " one\ntwo\n\n"}, ["\none\n"]],
            "d": "\n", "e": "a\r\nb", "f": "a\n  ", "g": "x\n# no comment\n---\n- y\n",
        });
        let text = written(&value);
        assert_eq!(read(&text), value);
        expect![[r#"
            a: |
              one
              two
            b:
              - |-
                one

                two
              - c: |2+
                   one
                  two

              - - |2

                  one
            d: "\n"
            e: "a\r\nb"
            f: "a\n  "
            g: |
              x
              # no comment
              ---
              - y
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_very_long_key_is_read_back() {
        let value = json!({ "k".repeat(5_000): { "a": [1] }, "z": "x".repeat(5_000) });
        assert_eq!(read(&written(&value)), value);
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_value(value in json_value()) {
            let value = json!({ "value": value });
            prop_assert_eq!(read(&written(&value)), value);
        }

        #[test]
        fn any_text_comes_back(text in "([-?:,\\[\\]{}#&*!|>'\"%@` \n\t\ra0.~<\\\\éonyes]|\\PC|\n){0,40}") {
            let value = json!({ &text: [&text, { "x": &text }] });
            prop_assert_eq!(read(&written(&value)), value);
        }
    }
}
