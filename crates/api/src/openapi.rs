//! The `OpenAPI` 3.1 document, made from the table of operations.

use std::collections::BTreeMap;

use plane_model::Code;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::operations::{Caller, Dialect, Operation, Query, Reply, SchemaOf, operations};
use crate::{
    AlertEvent, BookmarkEvent, ChangeEvent, GoawayEvent, OfrepEvent, OfrepFailure, Problem,
    RefetchEvent, Signed, is_retryable, is_sent, ofrep_status, status,
};

/// A type of a reply that this crate does not know: its name in the table, and its schema.
pub type External = (&'static str, SchemaOf);

/// Makes the document; `external` gives the schemas that the table names but does not hold.
///
/// The same table gives the same document, byte for byte.
pub fn openapi(external: &[External]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        let described = describe(operation, external, &mut generator);
        paths
            .entry(&operation.path)
            .or_default()
            .insert(operation.method.as_str().to_ascii_lowercase(), described);
    }
    let problem = generator.subschema_for::<Problem>();
    let events = json!({
        "change": generator.subschema_for::<ChangeEvent>(),
        "alert": generator.subschema_for::<AlertEvent>(),
        "refetch": generator.subschema_for::<RefetchEvent>(),
        "message": generator.subschema_for::<OfrepEvent>(),
        "bookmark": generator.subschema_for::<BookmarkEvent>(),
        "goaway": generator.subschema_for::<GoawayEvent>(),
    });
    let mut schemas = generator.take_definitions(true);
    schemas.values_mut().for_each(unwrap_choices);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Control Plane",
            "version": "1",
            "description": "Configuration, feature flags and a registry of agents and tools, over one log of changes.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token that begins with `cp_`, made by `POST /v1/tokens`.",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "The same token, as some clients of OFREP send it.",
                },
            },
            "responses": problems(&problem.to_value()),
        },
        "x-events": events,
    });
    sort(&mut document);
    document
}

fn tags() -> Value {
    let tags = [
        ("environments", "Places where the platform runs."),
        (
            "tenants",
            "Customers of the platform, and what each gets whatever the rules say.",
        ),
        (
            "flags",
            "Flags, who gets which variant, and sets of ids that rules name.",
        ),
        (
            "schedules",
            "Changes that are made later, by the authority of who filed them.",
        ),
        ("kills", "Emergency stops of flags, agents and tools."),
        ("config", "Config documents: their schemas and layers."),
        (
            "registry",
            "Published agents and tools, their status, channels and trust.",
        ),
        ("access", "Tokens and roles."),
        ("commits", "Atomic changes and the log of them."),
        ("trees", "Whole trees of documents."),
        ("runtime", "What services ask at run time."),
        (
            "delivery",
            "Views and streams, for those who evaluate in process.",
        ),
        (
            "ofrep",
            "Evaluated flags for OpenFeature's clients of other languages, browsers among them.",
        ),
        ("server", "About this server."),
    ];
    tags.iter()
        .map(|(name, text)| json!({ "name": name, "description": text }))
        .collect()
}

fn describe(
    operation: &Operation,
    external: &[External],
    generator: &mut SchemaGenerator,
) -> Value {
    let mut parameters: Vec<Value> = operation
        .path_parameters()
        .map(|name| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": "percent-encoded: `/` in a name is `%2F`",
                "schema": { "type": "string" },
            })
        })
        .collect();
    parameters.extend(operation.query.iter().map(query));
    parameters.extend(header_parameters(operation));
    let mut responses = Map::new();
    responses.insert("200".to_owned(), success(operation, external, generator));
    if reads_etag(operation) {
        let text = "Nothing differs from what `If-None-Match` names.";
        let mut unchanged = json!({ "description": text });
        if operation.id == "getView" {
            unchanged["headers"] = json!({ "Control-Plane-Head": head(generator) });
        }
        responses.insert("304".to_owned(), unchanged);
    }
    for status in statuses(operation) {
        if operation.dialect == Dialect::Ofrep && status != 405 {
            responses.insert(status.to_string(), ofrep_failure(status, generator));
            continue;
        }
        let reference = json!({ "$ref": format!("#/components/responses/Problem{status}") });
        responses.insert(status.to_string(), reference);
    }
    let codes: Vec<_> = operation.codes.iter().map(|code| code.as_str()).collect();
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": details(operation),
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": responses,
        "x-error-codes": codes,
    });
    if let Some(request) = operation.request {
        described["requestBody"] = json!({
            "required": operation.id != "resolve",
            "content": { "application/json": content(request, &operation.id, generator) },
        });
    }
    if operation.caller == Caller::Anybody {
        described["security"] = json!([]);
    }
    if operation.dialect == Dialect::Ofrep {
        described["security"] = json!([{ "token": [] }, { "apiKey": [] }]);
    }
    described
}

/// What there is to know beyond the summary: who may call, and how to repeat it and go on.
fn details(operation: &Operation) -> String {
    let asks = |name: &str| operation.query.iter().any(|it| it.name == name);
    let mut parts = vec![match (operation.caller, operation.dialect) {
        (Caller::Anybody, _) => "Open to anybody.",
        (Caller::Token, Dialect::Problems) => {
            "Needs a token; what the token may not know is `NOT_FOUND`."
        }
        (Caller::Token, Dialect::Ofrep) => {
            "Needs a token, of the kind `client` too. Errors have OFREP's own form."
        }
    }];
    if operation.is_write {
        parts.push(
            "It is one commit, whole or not at all. Sent again with the same `Idempotency-Key` it \
             is not done again.",
        );
    }
    if operation.is_conditional {
        parts.push("With `If-Match` or `If-None-Match` it is done only if nobody was faster.");
    }
    if asks("dry_run") {
        parts.push("With `dry_run` it answers with the plan, and what that would change for whom.");
    }
    if asks("at") {
        parts.push("With `at` it reads the past.");
    }
    if asks("cursor") {
        parts.push("It answers in pages: `next_cursor` is the `cursor` of the next one.");
    }
    if !operation.codes.is_empty() {
        parts.push("`x-error-codes` are the errors of its own.");
    }
    parts.join(" ")
}

/// Says whether an operation answers with an `ETag` and reads `If-None-Match`.
fn reads_etag(operation: &Operation) -> bool {
    operation.id == "getView" || operation.id.starts_with("ofrepEvaluateAll")
}

fn ofrep_failure(status: u16, generator: &mut SchemaGenerator) -> Value {
    let text = match status {
        400 => "The request or its context is not well formed, or the flag cannot be evaluated.",
        401 => "The token is missing, unknown or expired.",
        403 => "The token does not allow this.",
        404 => "There is no such flag.",
        413 | 414 | 431 => "The request is too large.",
        429 => "The token is used too often.",
        503 => "The server cannot answer now.",
        _ => "Something failed inside the server.",
    };
    let schema = generator.subschema_for::<OfrepFailure>();
    let mut response = json!({
        "description": text,
        "content": { "application/json": { "schema": schema } },
    });
    if matches!(status, 429 | 503) {
        response["headers"] = json!({
            "Retry-After": {
                "description": "how many seconds to wait",
                "schema": { "type": "integer" },
            },
        });
    }
    response
}

fn content(schema: SchemaOf, id: &str, generator: &mut SchemaGenerator) -> Value {
    let mut content = json!({ "schema": as_object(schema(generator).to_value()) });
    if let Some(example) = example(id) {
        content["example"] = example;
    }
    content
}

fn query(query: &Query) -> Value {
    json!({
        "name": query.name,
        "in": "query",
        "required": query.is_required,
        "description": query.summary,
        "schema": { "type": query.kind },
    })
}

fn header_parameters(operation: &Operation) -> Vec<Value> {
    let header = |name: &str, text: &str| {
        json!({
            "name": name,
            "in": "header",
            "required": false,
            "description": text,
            "schema": { "type": "string" },
        })
    };
    let mut found = Vec::new();
    if operation.caller == Caller::Token {
        let text = "wait up to two seconds until the node has applied this revision";
        found.push(header("Control-Plane-Min-Revision", text));
    }
    if operation.is_write {
        let text = "names the request: sent again, it is not done again";
        found.push(header("Idempotency-Key", text));
        let text = "why, as percent-encoded UTF-8; like the query parameter `reason`";
        found.push(header("Control-Plane-Reason", text));
    }
    if operation.is_conditional {
        let text = "the revision of the document that the change is based on, in quotes";
        found.push(header("If-Match", text));
        found.push(header(
            "If-None-Match",
            "`*`: only if the document does not exist",
        ));
    }
    if operation.dialect == Dialect::Ofrep && operation.path_parameters().all(|it| it == "key") {
        let text = "the environment, where the token is for more than one";
        found.push(header("Control-Plane-Environment", text));
    }
    if reads_etag(operation) {
        let text = "the `ETag` of what is held";
        found.push(header("If-None-Match", text));
    }
    match operation.id.as_str() {
        "getStream" | "ofrepEvents" => {
            found.push(header("Last-Event-ID", "the id of the last event received"));
        }
        _ => {}
    }
    found
}

/// Replaces a choice of one schema by that schema.
fn unwrap_choices(schema: &mut Value) {
    if let Value::Object(map) = schema
        && let Some(Value::Array(choices)) = map.get_mut("oneOf")
        && let [Value::Object(only)] = choices.as_mut_slice()
    {
        let only = std::mem::take(only);
        map.remove("oneOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
    match schema {
        Value::Object(map) => map.values_mut().for_each(unwrap_choices),
        Value::Array(list) => list.iter_mut().for_each(unwrap_choices),
        _ => {}
    }
}

/// A schema as an object, also where it has no constraint.
fn as_object(schema: Value) -> Value {
    match schema {
        Value::Bool(true) => json!({}),
        other => other,
    }
}

fn success(operation: &Operation, external: &[External], generator: &mut SchemaGenerator) -> Value {
    let json_content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let content = match operation.reply {
        Reply::Json(schema) => json_content(schema(generator).to_value()),
        Reply::External(name) => {
            let schema = external.iter().find(|(known, _)| *known == name);
            json_content(schema.map_or_else(|| json!({}), |(_, of)| of(generator).to_value()))
        }
        Reply::Events => {
            // One event; the stream is any number of them.
            let events = [
                event(
                    "change",
                    &generator.subschema_for::<ChangeEvent>().to_value(),
                ),
                event_without_id("alert", &generator.subschema_for::<AlertEvent>().to_value()),
                event(
                    "refetch",
                    &generator.subschema_for::<RefetchEvent>().to_value(),
                ),
                event(
                    "bookmark",
                    &generator.subschema_for::<BookmarkEvent>().to_value(),
                ),
                event(
                    "goaway",
                    &generator.subschema_for::<GoawayEvent>().to_value(),
                ),
            ];
            json!({ "text/event-stream": { "schema": { "oneOf": events } } })
        }
        Reply::OfrepEvents => {
            let events = event(
                "message",
                &generator.subschema_for::<OfrepEvent>().to_value(),
            );
            json!({ "text/event-stream": { "schema": events } })
        }
        Reply::Metrics => {
            json!({ "application/openmetrics-text": { "schema": { "type": "string" } } })
        }
        Reply::OpenApi => json_content(json!({ "type": "object" })),
    };
    let mut response = json!({ "description": "It was done.", "content": content });
    if operation.method.as_str() == "GET" {
        response["description"] = json!("What was asked for.");
    }
    if operation.caller == Caller::Token {
        response["headers"] = json!({
            "Control-Plane-Revision": {
                "description": "the revision that the node had applied",
                "schema": { "type": "integer" },
            },
        });
    }
    if operation.id == "getView" {
        response["headers"]["Control-Plane-Head"] = head(generator);
    }
    response
}

/// The header that vouches for a view.
fn head(generator: &mut SchemaGenerator) -> Value {
    let schema = generator.subschema_for::<Signed>().to_value();
    json!({
        "description": "the signed head of the view, as JSON",
        "content": { "application/json": { "schema": schema } },
    })
}

/// An event of a stream: its id, its name, and JSON as its data.
fn event(name: &str, data: &Value) -> Value {
    let mut event = event_without_id(name, data);
    event["required"] = json!(["id", "event", "data"]);
    event["properties"]["id"] = json!({ "type": "string" });
    event
}

/// An event after which nobody resumes.
fn event_without_id(name: &str, data: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": { "const": name },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": data,
            },
        },
    })
}

fn statuses(operation: &Operation) -> Vec<u16> {
    let told = |code: &Code| match operation.dialect {
        Dialect::Problems => status(*code),
        Dialect::Ofrep => ofrep_status(*code),
    };
    let mut statuses: Vec<_> = operation.codes.iter().map(told).collect();
    if operation.path_parameters().any(|name| name == "key") {
        statuses.push(404);
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// One response for each status that a problem may have, with the codes that have it.
fn problems(schema: &Value) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL.iter().filter(|code| is_sent(**code)) {
        by_status.entry(status(*code)).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| {
            let lines: Vec<_> = codes
                .iter()
                .map(|code| format!("- `{code}`: {}", code.summary().trim()))
                .collect();
            let mut response = json!({
                "description": lines.join("\n"),
                "content": { Problem::MEDIA_TYPE: { "schema": schema } },
            });
            if let Some(code) = codes.first() {
                let mut problem = Problem::new(*code, code.summary().trim());
                problem.instance = Some("urn:request:01J8X4T6Z0AAAAAAAAAAAAAAAA".to_owned());
                response["content"][Problem::MEDIA_TYPE]["example"] = json!(problem);
            }
            if codes.iter().any(|code| is_retryable(*code)) {
                response["headers"] = json!({
                    "Retry-After": {
                        "description": "how many seconds to wait",
                        "schema": { "type": "integer" },
                    },
                });
            }
            (format!("Problem{status}"), response)
        })
        .collect()
}

/// What a request may look like.
fn example(id: &str) -> Option<Value> {
    Some(match id {
        "commit" => json!({
            "reason": "free tenants get the cheaper model",
            "ops": [{
                "op": "put",
                "kind": "config",
                "scope": "production.plan=free",
                "name": "ai",
                "body": { "model": "small" },
                "if_revision": 41,
            }],
        }),
        "putTargeting" => json!({
            "state": "enabled",
            "rules": [{
                "name": "enterprise",
                "if": { "attribute": "tenant.plan", "in": ["enterprise"] },
                "serve": "on",
            }],
            "default": { "percent": { "on": 25 }, "by": "tenant.id" },
        }),
        "putFlag" => json!({ "type": "boolean", "owner": "team-ml" }),
        "putBucketing" => json!({
            "bucketing": "flagd-v2",
            "reason": "the mobile fleet evaluates with flagd's older hash",
        }),
        "putTenant" => json!({ "plan": "enterprise", "region": "eu-west" }),
        "putKill" | "putTenantKill" => json!({ "reason": "answers in the wrong language" }),
        "putSchedule" => json!({
            "at": "2026-12-10T09:00:00Z",
            "reason": "the launch",
            "ops": [{
                "op": "patch",
                "kind": "targeting",
                "scope": "production",
                "name": "enhanced_reasoning",
                "body": { "state": "enabled" },
            }],
        }),
        "putPin" => json!({ "version": "1.2.0", "reason": "asked for by the customer" }),
        "resolve" => json!({ "tenant": "acme", "user": "u-17" }),
        "evaluate" => json!({ "flags": ["enhanced_reasoning"], "context": { "tenant": "acme" } }),
        "ofrepEvaluate" | "ofrepEvaluateAll" | "ofrepEvaluateIn" | "ofrepEvaluateAllIn" => {
            json!({ "context": { "targetingKey": "u-17", "tenant": "acme", "country": "DE" } })
        }
        "revert" => json!({ "from": 41, "reason": "error rate doubled" }),
        "createToken" => json!({
            "principal": "checkout-service",
            "kind": "service",
            "role": "viewer",
            "environments": ["production"],
        }),
        _ => return None,
    })
}

/// Puts the keys of all objects in order, so that the document does not depend on how it was made.
fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        Value::Array(list) => list.iter_mut().for_each(sort),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
