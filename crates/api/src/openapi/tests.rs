use std::collections::BTreeSet;

use super::*;
use crate::headers;

/// The names of headers, as they are in use and as the document writes them.
const HEADERS: [(&str, &str); 4] = [
    (headers::REVISION, "Control-Plane-Revision"),
    (headers::MIN_REVISION, "Control-Plane-Min-Revision"),
    (headers::REASON, "Control-Plane-Reason"),
    (headers::IDEMPOTENCY_KEY, "Idempotency-Key"),
];

fn document() -> Value {
    openapi(&[("Resolved", |generator| {
        generator.subschema_for::<Map<String, Value>>()
    })])
}

#[test]
fn every_operation_is_in_the_document_once() {
    let ids: BTreeSet<_> = operations().iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids.len(), operations().len(), "two operations have one id");
    let places: BTreeSet<_> = operations()
        .iter()
        .map(|it| (&it.path, it.method))
        .collect();
    assert_eq!(
        places.len(),
        operations().len(),
        "two operations have one method and path"
    );
    let document = document();
    for operation in operations() {
        let method = operation.method.as_str().to_ascii_lowercase();
        assert_eq!(
            document["paths"][&operation.path][&method]["operationId"],
            json!(operation.id)
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference within");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                map.values().for_each(|it| check(it, document));
            }
            Value::Array(list) => list.iter().for_each(|it| check(it, document)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

#[test]
fn names_of_components_are_those_that_openapi_allows() {
    let document = document();
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!(name.bytes().all(allowed), "{name}");
    }
}

#[test]
fn every_code_that_is_sent_is_in_the_response_of_its_status() {
    let document = document();
    for code in Code::ALL.iter().filter(|code| is_sent(**code)) {
        let response = &document["components"]["responses"][format!("Problem{}", status(*code))];
        let text = response["description"].as_str().unwrap();
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
}

#[test]
fn the_document_is_the_same_every_time() {
    assert_eq!(document().to_string(), document().to_string());
}

#[test]
fn headers_are_documented_by_the_names_in_use() {
    let text = document().to_string();
    for (name, written) in HEADERS {
        assert!(written.eq_ignore_ascii_case(name), "{name}");
        assert!(text.contains(written), "{written}");
    }
}

#[test]
fn examples_are_of_operations_that_read_a_body() {
    for operation in operations().iter().filter(|it| example(&it.id).is_some()) {
        assert!(operation.request.is_some(), "{}", operation.id);
    }
}

#[test]
fn every_schema_every_field_and_every_operation_says_what_it_is() {
    let document = document();
    let is_said = |it: &Value| {
        it["description"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    };
    let mut silent = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let unsaid = fields.filter(|(_, field)| !is_said(field) && field.get("$ref").is_none());
        silent.extend(unsaid.map(|(field, _)| format!("{name}.{field}")));
        silent.extend((!is_said(schema)).then(|| name.clone()));
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        let operations = methods.as_object().unwrap().iter();
        let operations = operations.filter(|(_, it)| it.get("operationId").is_some());
        let unsaid = operations.filter(|(_, operation)| !is_said(operation));
        silent.extend(unsaid.map(|(method, _)| format!("{method} {path}")));
    }
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn what_the_server_fills_in_is_not_for_callers_to_write() {
    let schedule = &document()["components"]["schemas"]["Schedule"]["properties"];
    for field in ["author", "failed"] {
        assert_eq!(schedule[field]["readOnly"], true, "{field}");
    }
    assert!(schedule["at"].get("readOnly").is_none());
}
