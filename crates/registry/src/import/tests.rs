use expect_test::{Expect, expect};

use super::*;

/// What reading a definition gives: the metadata and what was done to it, or the findings.
fn check(format: Format, definition: &Value, with_fixes: bool, expected: &Expect) {
    let lines: Vec<String> = match read(format, definition, with_fixes) {
        Ok(it) => {
            let metadata = Value::Object(it.metadata());
            let told = [("fixed", &it.fixes), ("filled", &it.filled)];
            let told = told.into_iter().flat_map(|(what, changes)| {
                let line = move |it: &Change| format!("{what} {}: {}", it.pointer, it.detail);
                changes.iter().map(line)
            });
            [format!("{}: {metadata}", it.name)]
                .into_iter()
                .chain(told)
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
            "either": {"type": ["int", "long", "null"]},
            "type": {"type": "string", "enum": ["dict"]}
        }},
        "response": {"type": "dict", "properties": {"sum": {"type": "double"}}},
        "cost": 7
    })
}

#[test]
fn without_fixes_everything_that_does_not_fit_is_named_with_its_remedy() {
    check(
        Format::OpenAi,
        &wild(),
        false,
        &expect![[r"
        /cost: `cost` is not a field of this format [FIELD_UNKNOWN]; remove it, or import with --fix to keep it in `metadata.openai`
        /response: `response` is not a field of this format [FIELD_UNKNOWN]; remove it, or import with --fix to take it as the output schema
        /parameters/type: `dict` is not a type of JSON Schema [SCHEMA_INVALID]; write `object`, or import with --fix
        /parameters/properties/amount/type: `float` is not a type of JSON Schema [SCHEMA_INVALID]; write `number`, or import with --fix
        /parameters/properties/either/type/0: `int` is not a type of JSON Schema [SCHEMA_INVALID]; write `integer`, or import with --fix
        /parameters/properties/either/type/1: `long` is not a type of JSON Schema [SCHEMA_INVALID]; write `integer`, or import with --fix
        /parameters/properties/extra/type: `any` is not a type of JSON Schema [SCHEMA_INVALID]; leave `type` out, or import with --fix
        /parameters/properties/path/type: `tuple` is not a type of JSON Schema [SCHEMA_INVALID]; write `array`, or import with --fix
        /parameters/properties/path/items/type: `String` is not a type of JSON Schema [SCHEMA_INVALID]; write `string`, or import with --fix
        /response/type: `dict` is not a type of JSON Schema [SCHEMA_INVALID]; write `object`, or import with --fix
        /response/properties/sum/type: `double` is not a type of JSON Schema [SCHEMA_INVALID]; write `number`, or import with --fix
    "]],
    );
}

#[test]
fn a_name_that_no_tool_can_have_is_named_beside_all_else_that_is_wrong() {
    check(
        Format::OpenAi,
        &json!({"name": "rm files", "parameters": {"type": "object", "required": "path"}}),
        false,
        &expect![[r"
            /name: `rm files` is not a valid agent or tool name: `name` or `namespace/name`, each 1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-` [NAME_INVALID]; write letters, digits, `_`, `.` and `-` only, at most 128, a letter, digit or `_` first
            /parameters/required: must be a list, not a string [SCHEMA_INVALID]; write it as JSON Schema says
        "]],
    );
}

#[test]
fn with_fixes_every_change_is_told_and_nothing_is_lost() {
    check(
        Format::OpenAi,
        &wild(),
        true,
        &expect![[r#"
        convert: {"description":"Converts money","inputs_schema":{"properties":{"amount":{"type":"number"},"either":{"type":["integer","null"]},"extra":{},"path":{"items":{"type":"string"},"type":"array"},"type":{"enum":["dict"],"type":"string"}},"required":["amount"],"type":"object"},"openai":{"cost":7},"outputs_schema":{"properties":{"sum":{"type":"number"}},"type":"object"}}
        fixed /cost: `cost`, which the format does not have, was kept in `metadata.openai`
        fixed /response: `response` became the output schema
        fixed /parameters/type: `dict` became `object`
        fixed /parameters/properties/amount/type: `float` became `number`
        fixed /parameters/properties/either/type/0: `int` became `integer`
        fixed /parameters/properties/either/type/1: `long` became `integer`
        fixed /parameters/properties/extra/type: `any` left out: any value will do
        fixed /parameters/properties/path/type: `tuple` became `array`
        fixed /parameters/properties/path/items/type: `String` became `string`
        fixed /response/type: `dict` became `object`
        fixed /response/properties/sum/type: `double` became `number`
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
        /description: `description` is not a text [FIELD_INVALID]; write what the tool does, or leave it out
        /parameters/properties/a/type: `quaternion` is not a type of JSON Schema [SCHEMA_INVALID]; write one of null, boolean, object, array, number, string, integer
    "]],
    );
    let remote = json!({"name": "a", "description": "b", "parameters": {"$ref": "https://example.com/other.json"}});
    let found = read(Format::OpenAi, &remote, true).unwrap_err();
    assert!(
        found.iter().all(|it| it.pointer.starts_with("/parameters")),
        "{found:?}"
    );
    for (value, pointer) in [
        (json!([]), ""),
        (json!({"function": 7}), "/function"),
        (json!(null), ""),
        (json!({"name": "a", "parameters": true}), "/parameters"),
        (
            json!({"name": "a", "parameters": {"properties": {"$file": {"enum": [{"$file": "a.md"}]}}}}),
            "/parameters/properties/$file/enum/0/$file",
        ),
    ] {
        let found = read(Format::OpenAi, &value, true).unwrap_err();
        assert_eq!(found.first().map(|it| it.pointer.as_str()), Some(pointer));
    }
}

#[test]
fn the_fields_that_only_one_format_has_are_kept_word_for_word() {
    let tool = json!({
        "name": "a", "title": "A", "description": "b", "annotations": {"readOnlyHint": true},
        "icons": [{"src": "https://example.com/a.png", "sizes": ["48x48"]}], "execution": {"taskSupport": "optional"},
        "_meta": {"example.com/tier": 2}, "inputSchema": {"type": "object"},
        "outputSchema": {"type": "object", "properties": {"x": {"type": "number"}}}
    });
    check(
        Format::Mcp,
        &tool,
        false,
        &expect![[r#"
        a: {"description":"b","inputs_schema":{"type":"object"},"mcp":{"_meta":{"example.com/tier":2},"annotations":{"readOnlyHint":true},"execution":{"taskSupport":"optional"},"icons":[{"sizes":["48x48"],"src":"https://example.com/a.png"}],"title":"A"},"outputs_schema":{"properties":{"x":{"type":"number"}},"type":"object"}}
    "#]],
    );
    let function =
        json!({"type": "function", "name": "a", "strict": true, "parameters": {"type": "object"}});
    check(
        Format::OpenAi,
        &function,
        false,
        &expect![[r#"
        a: {"inputs_schema":{"type":"object"},"openai":{"strict":true}}
    "#]],
    );
}

#[test]
fn both_shapes_of_functions_say_the_same() {
    let bare =
        json!({"name": "a", "description": "b", "strict": null, "parameters": {"type": "object"}});
    let wrapped = json!({"type": "function", "function": bare});
    let metadata = |definition: &Value| read(Format::OpenAi, definition, false).unwrap().metadata();
    assert_eq!(metadata(&bare), metadata(&wrapped));
    let beside = json!({"type": "function", "strict": true, "cache": 7, "function": {"name": "a", "parameters": {}}});
    check(
        Format::OpenAi,
        &beside,
        false,
        &expect![[r"
        /cache: `cache` is not a field of this format [FIELD_UNKNOWN]; remove it, or import with --fix to keep it in `metadata.openai`
    "]],
    );
    check(
        Format::OpenAi,
        &beside,
        true,
        &expect![[r#"
        a: {"inputs_schema":{},"openai":{"cache":7,"strict":true}}
        fixed /cache: `cache`, which the format does not have, was kept in `metadata.openai`
    "#]],
    );
    let twice =
        json!({"strict": true, "function": {"name": "a", "strict": false, "parameters": {}}});
    check(
        Format::OpenAi,
        &twice,
        true,
        &expect![[r"
        /strict: `strict` stands beside and in `function` [FIELD_INVALID]; keep one of the two
    "]],
    );
}

#[test]
fn a_function_without_parameters_takes_nothing_and_a_tool_without_an_input_schema_is_a_mistake() {
    check(
        Format::OpenAi,
        &json!({"name": "a", "parameters": null}),
        false,
        &expect![[r#"
            a: {"inputs_schema":{"properties":{},"type":"object"}}
            filled /parameters: without `parameters` a function takes no inputs: `{"properties":{},"type":"object"}`
        "#]],
    );
    let tool = json!({"name": "a", "title": "A"});
    check(
        Format::Mcp,
        &tool,
        false,
        &expect![[r#"
        /inputSchema: `inputSchema` is missing [FIELD_INVALID]; write `{"properties":{},"type":"object"}` if the tool takes nothing, or import with --fix
    "#]],
    );
    check(
        Format::Mcp,
        &tool,
        true,
        &expect![[r#"
        a: {"inputs_schema":{"properties":{},"type":"object"},"mcp":{"title":"A"}}
        fixed /inputSchema: a missing `inputSchema` became no inputs: `{"properties":{},"type":"object"}`
    "#]],
    );
}

#[test]
fn a_definition_of_another_format_is_refused_with_its_name_fixes_or_not() {
    let found = |format, definition: Value| {
        let without = read(format, &definition, false).unwrap_err();
        assert_eq!(read(format, &definition, true), Err(without.clone()));
        without
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
            + "\n"
    };
    let schema = json!({"type": "object"});
    let all = [
        found(Format::OpenAi, json!({"name": "a", "inputSchema": schema})),
        found(Format::Mcp, json!({"name": "a", "parameters": schema})),
        found(
            Format::Mcp,
            json!({"type": "function", "function": {"name": "a"}}),
        ),
        found(Format::OpenAi, json!({"name": "a", "input_schema": schema})),
        found(Format::Mcp, json!({"name": "a", "input_schema": schema})),
        found(
            Format::Mcp,
            json!({"name": "a", "version": "1.0.0", "metadata": {}}),
        ),
        found(Format::OpenAi, json!({"type": "web_search"})),
    ];
    expect![[r"
        this is a tool of MCP, not a function of OpenAI's API [FIELD_INVALID]; import it with --format mcp
        this is a function of OpenAI's API, not a tool of MCP [FIELD_INVALID]; import it with --format openai
        this is a function of OpenAI's API, not a tool of MCP [FIELD_INVALID]; import it with --format openai
        this is a tool of Anthropic's API, which is not a format that can be imported [FIELD_INVALID]; name its `input_schema` `inputSchema`, and import it with --format mcp
        this is a tool of Anthropic's API, which is not a format that can be imported [FIELD_INVALID]; name its `input_schema` `inputSchema`, and import it with --format mcp
        this is a manifest, not a tool definition of another format [FIELD_INVALID]; publish it with `control-plane tool publish FILE`
        /type: `type` is `web_search`, not `function`: only functions say what they take [FIELD_INVALID]; take it out of the file, or import with --partial to leave it out
    "]].assert_eq(&all.concat());
}

#[test]
fn a_place_in_a_manifest_leads_back_to_the_definition() {
    let definition = json!({
        "cost": 7, "function": {"name": "a", "strict": true, "parameters": {"type": "object"}, "response": {}}
    });
    let imported = read(Format::OpenAi, &definition, true).unwrap();
    for (manifest, origin) in [
        ("/name", "/function/name"),
        ("/metadata/description", "/function/description"),
        (
            "/metadata/inputs_schema/a~1b/0",
            "/function/parameters/a~1b/0",
        ),
        ("/metadata/outputs_schema/type", "/function/response/type"),
        ("/metadata/openai/strict", "/function/strict"),
        ("/metadata/openai/cost", "/cost"),
        ("/metadata/mcp/title", ""),
        ("/metadata", ""),
        ("", ""),
    ] {
        assert_eq!(imported.origin(manifest).as_str(), origin, "{manifest}");
    }
}

#[test]
fn the_mistakes_of_a_definition_are_bounded_and_the_rest_is_counted() {
    let found = |number: usize| {
        let types = json!(vec![json!({"type": "x"}); number]);
        let definition = json!({"name": "a", "parameters": {"allOf": types}});
        read(Format::OpenAi, &definition, true).unwrap_err()
    };
    assert_eq!(found(limits::VIOLATIONS_MAX).len(), limits::VIOLATIONS_MAX);
    let many = found(limits::VIOLATIONS_MAX + 1);
    assert_eq!(many.len(), limits::VIOLATIONS_MAX);
    let last = many.last().map(|it| it.detail.as_str());
    assert_eq!(
        last,
        Some("2 more mistakes of this definition are not shown")
    );
}

/// Where the definitions of a file begin, where they stand in it, and whether they can be read.
fn cut(text: &[u8]) -> Vec<(usize, String, bool)> {
    let found = sources(text).unwrap().definitions.into_iter();
    found
        .map(|it| (it.line, it.pointer.to_string(), it.value().is_ok()))
        .collect()
}

#[test]
fn files_are_lines_lists_requests_answers_or_one_definition() {
    let at = |line, pointer: &str| (line, pointer.to_owned(), true);
    assert_eq!(
        cut(b"{\"name\": 1}\r\n\r\n{\"name\": 2}\n{torn"),
        [at(1, ""), at(3, ""), (4, String::new(), false)]
    );
    assert_eq!(cut(b"\xef\xbb\xbf[{},\n {}]"), [at(1, "/0"), at(2, "/1")]);
    assert_eq!(cut(b"{\"tools\": [\n{}]}"), [at(2, "/tools/0")]);
    assert_eq!(cut(b"{\"functions\": [{}]}"), [at(1, "/functions/0")]);
    assert_eq!(
        cut(b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {\"tools\": [{}, {}]}}"),
        [at(1, "/result/tools/0"), at(1, "/result/tools/1")]
    );
    assert_eq!(cut(b"\n\n{\n\"name\": 1\n}"), [at(3, "")]);
    assert_eq!(cut(b"{\"a\": 1, \"a\": 2}"), [(1, String::new(), false)]);
    assert_eq!(
        cut(b"{}\n{\"a\": \"\xff\"}\n{}")[1],
        (2, String::new(), false)
    );
    for text in [
        "",
        " \n ",
        "7",
        "[]",
        "{\"tools\": []}",
        "[{}, {",
        "{\n\"a\": 1,\n",
        "name: a",
    ] {
        assert!(sources(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn the_lines_of_a_definition_lead_to_its_parts() {
    let text = b"[\n  {},\n  {\n    \"name\": \"a\",\n    \"parameters\": {\n      \"type\": \"dict\"\n    }\n  }\n]";
    let found = sources(text).unwrap().definitions;
    let lines = found[1].lines();
    for (pointer, line) in [
        ("", 3),
        ("/name", 4),
        ("/parameters/type", 6),
        ("/parameters/other", 5),
    ] {
        assert_eq!(lines.line(pointer), line, "{pointer}");
    }
    let found = sources(b"{}\n{\"a\": 1}\n").unwrap().definitions;
    assert_eq!(found[1].lines().line("/a"), 2);
}

#[test]
fn what_a_file_holds_beside_its_definitions_is_told() {
    let remarks = |text: &str| sources(text.as_bytes()).unwrap().remarks.join("\n");
    assert_eq!(remarks("[{}]"), "");
    assert_eq!(
        remarks(r#"{"jsonrpc": "2.0", "id": 1, "result": {"tools": [{}], "nextCursor": null}}"#),
        ""
    );
    assert_eq!(
        remarks(r#"{"tools": [{}], "nextCursor": "p2"}"#),
        "the list goes on where its `nextCursor` points: import the other pages of it too"
    );
    assert_eq!(
        remarks(r#"{"functions": [], "tools": [{}], "jsonrpc": "2.0"}"#),
        "beside `tools` the file holds `functions`, which was not imported"
    );
    assert_eq!(
        remarks(r#"{"tools": [{}], "model": "m", "tool_choice": "auto"}"#),
        "beside `tools` the file holds `model`, `tool_choice`, which was not imported"
    );
}

#[test]
fn a_file_is_bounded_in_bytes_in_definitions_and_in_the_bytes_of_each() {
    let code = |text: &[u8]| sources(text).unwrap_err().code;
    assert_eq!(code(&vec![b' '; FILE_BYTES_MAX + 1]), Code::TextTooLarge);
    assert_eq!(
        sources("{}\n".repeat(DEFINITIONS_MAX).as_bytes())
            .unwrap()
            .definitions
            .len(),
        DEFINITIONS_MAX
    );
    assert_eq!(
        code("{}\n".repeat(DEFINITIONS_MAX + 1).as_bytes()),
        Code::TextTooLarge
    );
    let list = format!("[{}{{}}]", "{},".repeat(DEFINITIONS_MAX));
    assert_eq!(code(list.as_bytes()), Code::TextTooLarge);
    let long = format!(
        "{{\"name\": \"{}\"}}",
        "a".repeat(limits::MANIFEST_BYTES_MAX)
    );
    for text in [long.clone(), format!("[{long}]"), format!("{long}\n{{}}\n")] {
        let found = sources(text.as_bytes()).unwrap().definitions;
        assert!(found[0].value().is_err());
    }
    let deep = format!("{{\"name\": {}", "[".repeat(10_000));
    assert_eq!(cut(deep.as_bytes()), [(1, String::new(), false)]);
}

#[test]
fn the_table_gives_only_types_of_json_schema() {
    for (from, to) in TYPE_FIXES {
        assert!(
            !types::TYPES.contains(from) && to.is_none_or(|to| types::TYPES.contains(&to)),
            "{from}"
        );
    }
}
