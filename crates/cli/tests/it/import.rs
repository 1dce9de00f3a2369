//! Tool definitions of other formats become tools, or it is said why not.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Server, words};

const FUNCTIONS: &str = r#"{"name": "convert", "description": "Converts money", "parameters": {"type": "dict", "properties": {"amount": {"type": "float"}}}}
{"name": "convert", "description": "Converts money, again", "parameters": {"type": "object"}}
{"name": "broken", "description": "Does nothing", "parameters": {"type": "quaternion"}}
"#;

fn server() -> Server {
    let server = Server::empty();
    fs::write(server.path("tools.jsonl"), FUNCTIONS).unwrap();
    server
}

const IMPORT: &str = "tool import tools.jsonl --format openai --owner team-ai --namespace lab";

#[test]
fn a_namespace_that_wants_signatures_takes_no_imports() {
    let server = server();
    let said = server.run(&words(IMPORT)).failed();
    assert!(said.contains("trust add lab --signing optional"), "{said}");
}

#[test]
fn definitions_are_refused_fixed_or_left_out_as_asked_and_every_line_is_told() {
    let server = server();
    server.ok("trust add lab --signing optional");
    let refused = server.run(&words(IMPORT));
    for line in [
        "tools.jsonl:1 convert /parameters/type: `dict` is not a type of JSON Schema [SCHEMA_INVALID]; write `object`",
        "tools.jsonl:1 convert /parameters/properties/amount/type: `float`",
        "tools.jsonl:3 broken /parameters/type: `quaternion`",
    ] {
        assert!(refused.out.contains(line), "{line}: {refused:#?}");
    }
    let said = refused.failed();
    assert!(
        said.contains("nothing was published: 2 of 3 definitions cannot be"),
        "{said}"
    );
    assert!(said.contains("add --fix"), "{said}");
    let refused = server.run(&words(&format!("{IMPORT} --fix")));
    for line in [
        "Would be fixed",
        "tools.jsonl:1 convert /parameters/properties/amount/type: `float` became `number`",
        "published    nothing",
    ] {
        assert!(refused.out.contains(line), "{line}: {refused:#?}");
    }
    assert!(refused.failed().contains("add --partial"));
    assert!(server.ok("tool list").contains("no tool"));

    let planned = server.json(&format!("{IMPORT} --fix --partial --dry-run"));
    assert_eq!(planned["published"].as_array().unwrap().len(), 2);
    assert!(server.ok("tool list").contains("no tool"));

    let before = server.json("whoami")["revision"].clone();
    let report = server.json(&format!("{IMPORT} --fix --partial"));
    assert_eq!(
        report["published"][0],
        json!({"line": 1, "tool": "lab/convert@1.0.0"})
    );
    assert_eq!(
        report["published"][1],
        json!({"line": 2, "tool": "lab/convert@2.0.0"})
    );
    assert_eq!(report["unchanged"], json!([]));
    assert_eq!(report["refused"][0]["name"], "broken");
    assert_eq!(report["refused"][0]["findings"][0]["line"], 3);
    assert_eq!(report["fixed"][0]["changes"].as_array().unwrap().len(), 2);
    assert_ne!(report["revision"], before);
    let shown = server.json("tool show lab/convert@1.0.0");
    let metadata = &shown["manifest"]["metadata"];
    assert_eq!(
        metadata["inputs_schema"]["properties"]["amount"]["type"],
        "number"
    );
    let fields: Vec<_> = metadata.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["description", "inputs_schema"],
        "nothing is made up"
    );
    assert_eq!(shown["manifest"]["owner"], "team-ai");
}

#[test]
fn what_is_published_already_is_not_published_again_and_what_the_options_say_is() {
    let server = server();
    server.ok("trust add lab --signing optional");
    fs::write(
        server.path("tools.jsonl"),
        "{\"name\": \"a\", \"parameters\": {}}\n{\"name\": \"a\", \"parameters\": {}}\n",
    )
    .unwrap();
    let first = server.ok(IMPORT);
    assert!(first.contains("1 version of 1 tool"), "{first}");
    assert!(first.contains("repeated in the file  1"), "{first}");
    let again = server.json(IMPORT);
    assert_eq!(again["published"], json!([]));
    assert_eq!(
        again["unchanged"],
        json!([{"line": 1, "tool": "lab/a@1.0.0"}, {"line": 2, "tool": "lab/a@1.0.0"}])
    );
    assert_eq!(again["revision"], Value::Null);
    let options =
        "--category money --timeout-ms 500 --retry-attempts 2 --circuit-breaker-threshold 4";
    let other = server.json(&format!("{IMPORT} {options}"));
    assert_eq!(other["published"][0]["tool"], "lab/a@2.0.0");
    let shown = server.json("tool show lab/a@2.0.0");
    assert_eq!(
        shown["manifest"]["metadata"],
        json!({
            "category": "money", "timeout_ms": 500, "retry_attempts": 2, "circuit_breaker_threshold": 4,
            "inputs_schema": {}
        })
    );
    let owner = server.json(&IMPORT.replace("team-ai", "team-b"));
    assert_eq!(owner["published"][0]["tool"], "lab/a@3.0.0");
    let long = format!("{IMPORT} --category {}", "a".repeat(129));
    let said = server.run(&words(&long)).failed();
    assert!(
        said.contains("--category: `category` has more than 128"),
        "{said}"
    );
}

#[test]
fn a_name_stays_in_the_namespace_that_was_asked_for() {
    let server = server();
    server.ok("trust add default --signing optional");
    for name in ["evil/a", "default/a", "../a", "a b"] {
        fs::write(
            server.path("a.json"),
            json!({"name": name, "parameters": {}}).to_string(),
        )
        .unwrap();
        let ran = server.run(&words("tool import a.json --format openai --owner o"));
        assert!(
            ran.out.contains(" /name: ") && ran.out.contains("[NAME_INVALID]"),
            "{ran:#?}"
        );
        ran.failed();
    }
    assert!(server.ok("tool list").contains("no tool"));
}

#[test]
fn a_file_of_another_format_is_refused_with_the_format_that_it_is() {
    let server = server();
    server.ok("trust add lab --signing optional");
    fs::write(server.path("mcp.json"), MCP).unwrap();
    fs::write(server.path("openai.json"), OPENAI).unwrap();
    for (file, format, other) in [("mcp", "openai", "mcp"), ("openai", "mcp", "openai")] {
        let line = format!(
            "tool import {file}.json --format {format} --owner o --namespace lab --fix --partial"
        );
        let ran = server.run(&words(&line));
        assert!(
            ran.out
                .contains(&format!("import it with --format {other}")),
            "{ran:#?}"
        );
        ran.failed();
    }
}

/// What a server of MCP answers.
const MCP: &str = r#"{
  "jsonrpc": "2.0", "id": 7,
  "result": {
    "nextCursor": "page-2",
    "tools": [
      {
        "name": "read_file", "title": "Read a file", "description": "Reads \u001b[31mone\u001b[0m file: größer 😀",
        "inputSchema": {
          "type": "object", "required": ["path"], "additionalProperties": false,
          "properties": {"path": {"type": "string", "default": "a"}, "$file": {"type": "string"}, "a/b~c": {"const": 1.5}}
        },
        "outputSchema": {"type": "object", "properties": {"text": {"type": ["string", "null"]}}},
        "annotations": {"title": "Read", "readOnlyHint": true, "openWorldHint": false},
        "icons": [{"src": "data:image/png;base64,AAAA", "mimeType": "image/png", "sizes": ["48x48"]}],
        "execution": {"taskSupport": "optional"},
        "_meta": {"example.com/tier": 2, "nothing": null}
      },
      {"name": "now", "inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}}
    ]
  }
}"#;

/// The tools of a request to the API of `OpenAI`.
const OPENAI: &str = r#"{
  "model": "m",
  "tools": [
    {
      "type": "function",
      "function": {
        "name": "convert", "description": "", "strict": true,
        "parameters": {
          "type": "object", "required": ["to"], "additionalProperties": false,
          "properties": {"to": {"anyOf": [{"type": "string", "enum": ["EUR", "USD"]}, {"type": "null"}]}}
        }
      }
    },
    {"type": "function", "name": "ping"}
  ]
}"#;

#[test]
fn every_fact_of_a_tool_is_in_the_registry_and_in_the_tree_that_it_exports() {
    let server = server();
    server.ok("trust add lab --signing optional");
    for (name, text) in [("mcp", MCP), ("openai", OPENAI)] {
        fs::write(server.path(&format!("{name}.json")), text).unwrap();
        let line = format!("tool import {name}.json --format {name} --owner o --namespace lab");
        let report = server.json(&line);
        assert_eq!(report["published"].as_array().unwrap().len(), 2);
        assert_eq!(report["fixed"], json!([]));
        assert_eq!(report["remarks"].as_array().unwrap().len(), 1);
    }
    let mcp: Value = serde_json::from_str(MCP).unwrap();
    let openai: Value = serde_json::from_str(OPENAI).unwrap();
    let metadata = |name: &str| {
        server.json(&format!("tool show lab/{name}@1.0.0"))["manifest"]["metadata"].clone()
    };

    let mut said = metadata("read_file");
    for (manifest, mcp) in [
        ("inputs_schema", "inputSchema"),
        ("outputs_schema", "outputSchema"),
    ] {
        said["mcp"][mcp] = said[manifest].take();
    }
    said["mcp"]["description"] = said["description"].take();
    said["mcp"]["name"] = json!("read_file");
    assert_eq!(said["mcp"], mcp["result"]["tools"][0]);
    assert_eq!(
        metadata("now"),
        json!({"inputs_schema": mcp["result"]["tools"][1]["inputSchema"]})
    );

    let function = &openai["tools"][0]["function"];
    assert_eq!(
        metadata("convert"),
        json!({"description": "", "inputs_schema": function["parameters"], "openai": {"strict": true}})
    );
    assert_eq!(
        metadata("ping"),
        json!({"inputs_schema": {"type": "object", "properties": {}}})
    );

    server.ok("export exported");
    let other = Server::empty();
    other.ok(&format!("apply {}", server.path("exported").display()));
    for name in ["read_file", "now", "convert", "ping"] {
        let line = format!("tool show lab/{name}@1.0.0");
        assert_eq!(
            other.json(&line)["manifest"],
            server.json(&line)["manifest"]
        );
    }
    let shown = server.ok("tool show lab/read_file@1.0.0");
    assert!(
        !shown.contains('\u{1b}') && shown.contains("\\u{1b}[31m"),
        "{shown}"
    );
}

#[test]
fn a_pipe_is_shown_no_progress() {
    let server = server();
    server.ok("trust add lab --signing optional");
    let many: Vec<Value> = (0..50)
        .map(|it| json!({"name": format!("t{it}")}))
        .collect();
    let many = json!(many).to_string();
    fs::write(server.path("tools.jsonl"), many).unwrap();
    for _ in 0..2 {
        let ran = server.run(&words(IMPORT));
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    }
}

#[test]
fn a_file_without_definitions_an_endless_one_and_one_that_is_no_json_are_refused() {
    let server = server();
    server.ok("trust add lab --signing optional");
    fs::write(server.path("empty"), " \n").unwrap();
    fs::write(server.path("large"), vec![b' '; 64 << 20]).unwrap();
    fs::write(server.path("yaml"), "name: a\nparameters: {}\n").unwrap();
    for (file, said) in [
        ("empty", "holds no tool definition"),
        ("/dev/zero", "has more than"),
        ("large", "has more than 16777216 bytes"),
        ("yaml", "yaml: line 1, column 1: "),
        ("none", "cannot read"),
    ] {
        let line = IMPORT.replace("tools.jsonl", file);
        let ran = server.run(&words(&line)).failed();
        assert!(ran.contains(said), "{ran}");
    }
}
