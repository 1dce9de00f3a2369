//! Holds the answers by OFREP against the protocol's own `OpenAPI` document.
//!
//! The suites live outside the repository: `CONTROL_PLANE_SUITES` names the folder that holds
//! `suites/` (default `../shared` beside the repository). A missing suite fails, it never skips.
//!
//! The document, version 0.3.0, contradicts the protocol's decisions and its own examples in a few
//! places, so that no server could pass by the letter. What is loosened is in [`LOOSENED`], each with
//! the reason, and each only as long as the document says what it says now. Formats are not asserted,
//! as in JSON Schema unless somebody asks for it: one of them denies `Retry-After` the seconds that the
//! words beside it allow.

#[expect(dead_code, reason = "the tests of the API use the rest")]
#[path = "api/harness.rs"]
mod harness;
#[path = "api/ofrep/platform.rs"]
mod platform;

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use plane_model::json::Limits;
use plane_model::yaml;
use plane_server::{Rate, ServerOptions};
use serde_json::{Value, json};

use harness::{ADMIN, Call, Events, Reply, Server};
use platform::{ALL, IN_PRODUCTION};

const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    depth_max: 64,
};
const ONE: &str = "/ofrep/v1/evaluate/flags/{key}";

/// A place of the document that is not taken by the letter.
struct Loosened {
    pointer: &'static str,
    /// The member that is replaced, as the document has it.
    from: (&'static str, fn() -> Value),
    to: (&'static str, fn() -> Value),
}

const LOOSENED: [Loosened; 2] = [
    // The protocol's decision 0006 and flagd answer DEFAULT, and OpenFeature has the reason.
    Loosened {
        pointer: "/components/schemas/evaluationSuccess/allOf/0/properties/reason",
        from: ("enum", || {
            json!(["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"])
        }),
        to: ("enum", || {
            json!([
                "STATIC",
                "TARGETING_MATCH",
                "SPLIT",
                "DISABLED",
                "UNKNOWN",
                "DEFAULT"
            ])
        }),
    },
    // Whole numbers are integers and floats, and the schema of the caller's default takes everything:
    // no flag that has a value is of exactly one of the types.
    Loosened {
        pointer: "/components/schemas/evaluationSuccess/allOf/1",
        from: ("oneOf", flag_types),
        to: ("anyOf", flag_types),
    },
];

/// What the document has no reply for: too large a body, which flagd answers so too, and a fault that
/// passes, for which a 401 would end a client and a 500 would be untrue.
const UNDOCUMENTED: [u16; 2] = [413, 503];

fn flag_types() -> Value {
    [
        "boolean",
        "string",
        "integer",
        "float",
        "object",
        "codeDefault",
    ]
    .map(|kind| json!({ "$ref": format!("#/components/schemas/{kind}Flag") }))
    .into_iter()
    .collect()
}

/// The protocol's document, loosened.
struct Protocol(Value);

impl Protocol {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no binary that reads configuration"
    )]
    fn read() -> Self {
        let root = std::env::var("CONTROL_PLANE_SUITES").map_or_else(
            |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            Into::into,
        );
        let file = root.join("suites/flags/ofrep/service/openapi.yaml");
        let text = fs::read(&file).unwrap_or_else(|error| {
            panic!(
                "the suite {} is missing ({error}): set CONTROL_PLANE_SUITES to the folder that \
                 holds `suites/`",
                file.display()
            )
        });
        let (mut document, _) = yaml::parse(&text, LIMITS).unwrap();
        assert_eq!(document["info"]["version"], "0.3.0");
        for it in LOOSENED {
            let place = document.pointer_mut(it.pointer).unwrap();
            let members = place.as_object_mut().unwrap();
            let (name, expected) = it.from;
            assert_eq!(
                members.remove(name),
                Some(expected()),
                "{} has changed: is it still to be loosened?",
                it.pointer
            );
            members.insert(it.to.0.to_owned(), it.to.1());
        }
        Self(document)
    }

    /// What `schema`, as somewhere in the document, finds wrong about `value`.
    fn check(&self, schema: &Value, value: &Value) {
        let mut whole = json!({ "components": self.0["components"] });
        whole
            .as_object_mut()
            .unwrap()
            .extend(schema.as_object().unwrap().clone());
        let validator = jsonschema::validator_for(&whole).unwrap();
        let found: Vec<_> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(found.is_empty(), "{value}\n{}", found.join("\n"));
    }

    fn check_as(&self, name: &str, value: &Value) {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        assert!(self.0["components"]["schemas"][name].is_object(), "{name}");
        self.check(&schema, value);
    }

    /// Holds a reply against what the document says of its status.
    #[track_caller]
    fn check_reply(&self, path: &str, reply: &Reply) {
        let status = reply.status.as_u16();
        let of_path = &self.0["paths"][path]["post"]["responses"];
        if UNDOCUMENTED.contains(&status) {
            assert!(
                of_path.get(status.to_string()).is_none(),
                "it is documented"
            );
            let name = if path == ONE {
                "evaluationFailure"
            } else {
                "bulkEvaluationFailure"
            };
            return self.check_as(name, &reply.json());
        }
        let documented = &of_path[status.to_string()];
        assert!(documented.is_object(), "{path} has no {status}");
        if let Some(schema) = documented.pointer("/content/application~1json/schema") {
            assert_eq!(reply.header("content-type"), "application/json");
            self.check(schema, &reply.json());
        }
        let headers = documented["headers"].as_object();
        for (name, header) in headers.into_iter().flatten() {
            assert_ne!(reply.header(name), "", "{path}: {status} has no {name}");
            self.check(&header["schema"], &json!(reply.header(name)));
        }
    }
}

impl Server {
    fn single(&self, key: &str) -> Call<'_> {
        self.call("POST", &format!("{IN_PRODUCTION}/{key}"))
    }

    fn bulk(&self) -> Call<'_> {
        self.call("POST", IN_PRODUCTION)
    }
}

#[tokio::test]
async fn every_outcome_of_a_single_flag_is_what_the_protocol_says() {
    let protocol = Protocol::read();
    let server = Server::start().await;
    server.given_flags().await;
    let contexts = [
        json!({}),
        json!({ "targetingKey": "u-1" }),
        json!({ "targetingKey": "u-1", "country": "DE" }),
        json!({ "targetingKey": "u-1", "tenant": "acme" }),
        json!({ "tenant": "nobody" }),
        json!({ "targetingKey": 7 }),
    ];
    let mut told = std::collections::BTreeSet::new();
    for key in [
        "theme",
        "ratio",
        "limits",
        "half",
        "unset",
        "reasoning",
        "no%2Fsuch",
    ] {
        for context in &contexts {
            let reply = server.ofrep(key, context.clone()).await;
            protocol.check_reply(ONE, &reply);
            let body = reply.json();
            let word = body.get("reason").or(body.get("errorCode")).unwrap();
            told.insert(word.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        [
            "DEFAULT",
            "DISABLED",
            "FLAG_NOT_FOUND",
            "INVALID_CONTEXT",
            "SPLIT",
            "STATIC",
            "TARGETING_KEY_MISSING",
            "TARGETING_MATCH",
        ]
    );
}

#[tokio::test]
async fn all_flags_their_streams_and_their_events_are_what_the_protocol_says() {
    let protocol = Protocol::read();
    let server = Server::start().await;
    server.given_flags().await;
    for context in [
        json!({}),
        json!({ "targetingKey": "u-1" }),
        json!({ "tenant": [] }),
    ] {
        let reply = server.ofrep("", context).await;
        protocol.check_reply(ALL, &reply);
    }
    let all = server.bulk().asks(json!({})).send().await;
    let again = server.bulk().asks(json!({}));
    let held = again
        .header("if-none-match", all.header("etag"))
        .send()
        .await;
    assert_eq!((held.status.as_u16(), held.bytes.len()), (304, 0));
    protocol.check_reply(ALL, &held);

    let stream = &all.json()["eventStreams"][0];
    protocol.check_as("eventStream", stream);
    let uri = stream["endpoint"]["requestUri"].as_str().unwrap();
    let mut events = Events::of(server.bare("GET", uri).open().await);
    events.comment().await;
    let off = json!({ "state": "disabled" });
    server
        .given(&[("targeting", "production", "theme", off)])
        .await;
    let event = events.next().await.unwrap();
    protocol.check_as("sseEventData", &event.data);
    let raw = json!({ "event": event.kind, "id": event.id, "data": event.data.to_string() });
    protocol.check_as("sseEvent", &raw);
    assert_eq!(event.kind, "message");
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_what_the_protocol_says() {
    let protocol = Protocol::read();
    let server = Server::with(ServerOptions {
        token_rate: NonZeroU32::new(20).map(Rate::per_second),
        ..ServerOptions::default()
    })
    .await;
    server.given_flags().await;
    let client = json!({ "principal": "web", "kind": "client", "environments": ["staging"] });
    let client = server.token(client).await;
    let (key, one) = ("theme", format!("{IN_PRODUCTION}/theme"));
    let mut seen = Vec::new();
    for path in [ONE, ALL] {
        let uri = if path == ONE {
            one.as_str()
        } else {
            IN_PRODUCTION
        };
        let ask = || server.call("POST", uri);
        let large = json!({ "text": "x".repeat(1 << 20) });
        let refused = [
            ask().text("{").send().await,
            ask().raw("{}").send().await,
            ask().asks(json!([])).send().await,
            server.bare("POST", uri).asks(json!({})).send().await,
            server.bare("POST", uri).token("cp_unknown").send().await,
            server
                .bare("POST", uri)
                .token(&client)
                .asks(json!({}))
                .send()
                .await,
            ask().asks(large).send().await,
            ask()
                .header("control-plane-min-revision", "1000")
                .asks(json!({}))
                .send()
                .await,
        ];
        for reply in &refused {
            protocol.check_reply(path, reply);
            assert_eq!(
                reply.json().get("key"),
                (path == ONE).then(|| json!(key)).as_ref()
            );
        }
        seen.extend(refused.map(|it| it.status.as_u16()));
    }
    loop {
        let reply = server.single(key).asks(json!({})).send().await;
        protocol.check_reply(ONE, &reply);
        if reply.status == 429 {
            break;
        }
    }
    protocol.check_reply(ALL, &server.bulk().asks(json!({})).send().await);
    assert_eq!(server.bulk().asks(json!({})).send().await.status, 429);
    let of_one = [400, 400, 400, 401, 401, 400, 413, 503];
    assert_eq!(seen, [of_one, of_one].concat());
}

#[tokio::test]
async fn what_a_fault_of_the_server_says_has_the_protocol_s_form() {
    let protocol = Protocol::read();
    let fault = plane_api::OfrepFailure {
        key: Some("theme".to_owned()),
        code: plane_api::ofrep_error_code(plane_model::Code::Internal).to_owned(),
        details: "something failed on the server".to_owned(),
    };
    assert_eq!(plane_api::ofrep_status(plane_model::Code::Internal), 500);
    protocol.check_as(
        "generalErrorResponse",
        &serde_json::to_value(fault).unwrap(),
    );
}

#[tokio::test]
async fn the_protocol_s_own_examples_are_answered() {
    let protocol = Protocol::read();
    let server = Server::start().await;
    server.given_flags().await;
    for (path, uri) in [
        (ONE, format!("{IN_PRODUCTION}/theme")),
        (ALL, IN_PRODUCTION.to_owned()),
    ] {
        let operation = &protocol.0["paths"][path]["post"];
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        let by_bearer = server.call("POST", &uri).json(example).send().await;
        let by_key = server.bare("POST", &uri).header("x-api-key", ADMIN);
        let by_key = by_key.json(example).send().await;
        for reply in [by_bearer, by_key] {
            assert_eq!(reply.status, 200);
            protocol.check_reply(path, &reply);
        }
    }
}
