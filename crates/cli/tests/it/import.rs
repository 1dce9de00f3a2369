//! Tool definitions of other formats become tools, or it is said why not.

use std::fs;

use crate::support::Server;

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
    let said = server.run(&crate::support::words(IMPORT)).failed();
    assert!(said.contains("trust add lab --signing optional"), "{said}");
}

#[test]
fn definitions_are_refused_fixed_or_left_out_as_asked_and_every_line_is_told() {
    let server = server();
    server.ok("trust add lab --signing optional");
    let refused = server.run(&crate::support::words(IMPORT));
    for line in [
        "tools.jsonl:1 convert/parameters/type: `dict` is not a type of JSON Schema [SCHEMA_INVALID]; write `object`",
        "tools.jsonl:1 convert/parameters/properties/amount/type: `float`",
        "tools.jsonl:3 broken/parameters/type: `quaternion`",
    ] {
        assert!(refused.out.contains(line), "{line}: {refused:#?}");
    }
    assert!(
        refused
            .failed()
            .contains("nothing was published: 2 definitions cannot be")
    );
    let refused = server.run(&crate::support::words(&format!("{IMPORT} --fix")));
    assert!(
        refused.out.contains("`float` became `number`"),
        "{refused:#?}"
    );
    assert!(refused.failed().contains("add --partial"));
    assert!(server.ok("tool list").contains("no tool"));

    let planned = server.json(&format!("{IMPORT} --fix --partial --dry-run"));
    assert_eq!(planned["published"].as_array().unwrap().len(), 2);
    assert!(server.ok("tool list").contains("no tool"));

    let report = server.json(&format!("{IMPORT} --fix --partial"));
    assert_eq!(report["published"][0]["tool"], "lab/convert@1.0.0");
    assert_eq!(report["published"][1]["tool"], "lab/convert@2.0.0");
    assert_eq!(report["refused"][0]["name"], "broken");
    assert_eq!(report["fixed"][0]["fixes"].as_array().unwrap().len(), 2);
    let shown = server.json("tool show lab/convert@1.0.0");
    let inputs = &shown["manifest"]["metadata"]["inputs_schema"];
    assert_eq!(inputs["properties"]["amount"]["type"], "number");
    assert_eq!(shown["manifest"]["owner"], "team-ai");

    let again = server.json(&format!("{IMPORT} --fix --partial --category other"));
    assert_eq!(
        again["published"].as_array().unwrap().len(),
        2,
        "another category is another tool: {again}"
    );
    let again = server
        .run(&crate::support::words(&format!("{IMPORT} --fix --partial")))
        .ok();
    assert!(again.contains("unchanged    2"), "{again}");
}

#[test]
fn a_file_without_definitions_and_an_endless_one_are_refused() {
    let server = server();
    server.ok("trust add lab --signing optional");
    fs::write(server.path("empty"), " \n").unwrap();
    for (file, said) in [
        ("empty", "holds no tool definition"),
        ("/dev/zero", "has more than"),
        ("none", "cannot read"),
    ] {
        let line = IMPORT.replace("tools.jsonl", file);
        let ran = server.run(&crate::support::words(&line)).failed();
        assert!(ran.contains(said), "{ran}");
    }
}
