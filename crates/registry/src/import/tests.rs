use expect_test::{Expect, expect};

use super::*;

/// What reading a definition gives: the schemas and fixes, or the findings.
fn check(format: Format, definition: &Value, with_fixes: bool, expected: &Expect) {
    let lines: Vec<String> = match read(format, definition, with_fixes) {
        Ok(it) => {
            let schemas = format!("{} -> {}", it.inputs_schema, it.outputs_schema);
            let fixes = it
                .fixes
                .iter()
                .map(|it| format!("{}: {}", it.pointer, it.detail));
            [format!("{}: {}", it.name, it.description), schemas]
                .into_iter()
                .chain(fixes)
                .collect()
        }
        Err(found) => found.iter().map(ToString::to_string).collect(),
    };
    let text = lines.join("\n") + "\n";
    expected.assert_eq(&text);
}

fn wild() -> Value {
    json!({
        "name": "convert", "description": "Converts money",
        "parameters": {"type": "dict", "required": ["amount"], "properties": {
            "amount": {"type": "float"},
            "path": {"type": "tuple", "items": {"type": "String"}},
            "extra": {"type": "any"},
            "type": {"type": "string", "enum": ["dict"]}
        }},
        "response": {}
    })
}

#[test]
fn without_fixes_everything_that_does_not_fit_is_named_with_its_remedy() {
    check(
        Format::OpenAi,
        &wild(),
        false,
        &expect![[r"
        /response: `response` is not a field of this format [FIELD_UNKNOWN]; remove it, or import with --fix to leave it out
        /parameters/type: `dict` is not a type of JSON Schema [SCHEMA_INVALID]; write `object`, or import with --fix
        /parameters/properties/amount/type: `float` is not a type of JSON Schema [SCHEMA_INVALID]; write `number`, or import with --fix
        /parameters/properties/extra/type: `any` is not a type of JSON Schema [SCHEMA_INVALID]; leave `type` out, or import with --fix
        /parameters/properties/path/type: `tuple` is not a type of JSON Schema [SCHEMA_INVALID]; write `array`, or import with --fix
        /parameters/properties/path/items/type: `String` is not a type of JSON Schema [SCHEMA_INVALID]; write `string`, or import with --fix
    "]],
    );
}

#[test]
fn with_fixes_every_change_is_told() {
    check(
        Format::OpenAi,
        &wild(),
        true,
        &expect![[r#"
        convert: Converts money
        {"properties":{"amount":{"type":"number"},"extra":{},"path":{"items":{"type":"string"},"type":"array"},"type":{"enum":["dict"],"type":"string"}},"required":["amount"],"type":"object"} -> {}
        /response: `response` left out: a manifest has no place for it
        /parameters/type: `dict` became `object`
        /parameters/properties/amount/type: `float` became `number`
        /parameters/properties/extra/type: `any` left out: any value will do
        /parameters/properties/path/type: `tuple` became `array`
        /parameters/properties/path/items/type: `String` became `string`
    "#]],
    );
}

#[test]
fn what_no_table_mends_is_refused_with_fixes_too() {
    let definition = json!({
        "name": "", "description": 7,
        "parameters": {"type": "object", "properties": {
            "a": {"type": "quaternion"},
            "b": {"$ref": "https://example.com/other.json"}
        }}
    });
    check(
        Format::OpenAi,
        &definition,
        true,
        &expect![[r"
        /name: `name` is missing, empty or not a text [FIELD_INVALID]; write the tool's name
        /description: `description` is missing, empty or not a text [FIELD_INVALID]; write the tool's description
        /parameters/properties/a/type: `quaternion` is not a type of JSON Schema [SCHEMA_INVALID]; write one of null, boolean, object, array, number, string, integer
    "]],
    );
    let remote = json!({"name": "a", "description": "b", "parameters": {"$ref": "https://example.com/other.json"}});
    let found = read(Format::OpenAi, &remote, true).unwrap_err();
    assert!(
        found
            .iter()
            .all(|it| it.pointer.starts_with("/parameters") && it.next.is_some()),
        "{found:?}"
    );
    for (value, pointer) in [
        (json!([]), ""),
        (json!({"function": 7}), "/function"),
        (json!(null), ""),
    ] {
        let found = read(Format::OpenAi, &value, true).unwrap_err();
        assert_eq!(found.first().map(|it| it.pointer.as_str()), Some(pointer));
    }
}

#[test]
fn both_shapes_of_functions_and_tools_of_mcp_are_read() {
    let bare = json!({"name": "a", "description": "b", "parameters": {"type": "object"}});
    let wrapped = json!({"type": "function", "function": bare});
    assert_eq!(
        read(Format::OpenAi, &bare, false),
        read(Format::OpenAi, &wrapped, false)
    );
    let tool = json!({
        "name": "a", "title": "A", "description": "b", "annotations": {"readOnlyHint": true},
        "inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "properties": {"x": {"type": "number"}}}
    });
    check(
        Format::Mcp,
        &tool,
        false,
        &expect![[r#"
        a: b
        {"type":"object"} -> {"properties":{"x":{"type":"number"}},"type":"object"}
    "#]],
    );
}

#[test]
fn files_are_lines_lists_or_answers_of_a_server() {
    let numbers = |text: &str| -> Vec<(usize, bool)> {
        let found = sources(text.as_bytes()).unwrap();
        found
            .into_iter()
            .map(|it| (it.number, it.value.is_ok()))
            .collect()
    };
    assert_eq!(
        numbers("{\"name\": 1}\r\n\r\n{\"name\": 2}\n{torn"),
        [(1, true), (3, true), (4, false)]
    );
    assert_eq!(numbers("[{}, {}]"), [(1, true), (2, true)]);
    assert_eq!(numbers("{\"tools\": [{}]}"), [(1, true)]);
    assert_eq!(numbers("{\"a\": 1, \"a\": 2}"), [(1, false)]);
    assert!(sources(b" \n ").is_err());
    assert!(sources(b"[{}, {").is_err());
    assert_eq!(
        numbers(&"[".repeat(9).replace('[', "{\"a\":")),
        [(1, false)]
    );
}

#[test]
fn the_table_gives_only_types_of_json_schema() {
    for (from, to) in TYPE_FIXES {
        assert!(
            !TYPES.contains(from) && to.is_none_or(|to| TYPES.contains(&to)),
            "{from}"
        );
    }
}
