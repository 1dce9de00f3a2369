//! One flag, and what is wrong with a request.

use serde_json::json;

use super::{IN_PRODUCTION, failed};
use crate::harness::Server;

#[tokio::test]
async fn one_flag_has_value_variant_reason_and_metadata() {
    let server = Server::start().await;
    server.given_flags().await;
    let revision = server.revision();
    let reply = server.ofrep("theme", json!({ "country": "DE" })).await;
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(
        reply.ok(),
        json!({
            "key": "theme", "value": "#000", "variant": "dark", "reason": "TARGETING_MATCH",
            "metadata": {
                "revision": revision, "bucketing": "flagd-v3", "rule": "germany",
                "team \"ui\"": "shop", "ticket": 7, "weight": 0.5, "beta": true,
            },
        })
    );
    let light = server.ofrep("theme", json!({})).await.ok();
    assert_eq!(
        (&light["value"], &light["reason"]),
        (&json!("#fff"), &json!("DEFAULT"))
    );
    let small = server.ofrep("limits", json!({})).await.ok();
    assert_eq!(
        (&small["value"], &small["reason"]),
        (&json!({ "rows": 10 }), &json!("STATIC"))
    );
    let half = server
        .ofrep("half", json!({ "targetingKey": "u-1" }))
        .await
        .ok();
    assert_eq!(half["reason"], "SPLIT");
}

#[tokio::test]
async fn a_float_is_written_as_one_although_it_is_whole() {
    let server = Server::start().await;
    server.given_flags().await;
    let reply = server.ofrep("ratio", json!({})).await;
    let text = String::from_utf8(reply.bytes.to_vec()).unwrap();
    assert!(text.contains("\"value\":1.0,"), "{text}");
}

#[tokio::test]
async fn where_the_caller_s_default_holds_there_is_no_value() {
    let server = Server::start().await;
    server.given_flags().await;
    let unset = server.ofrep("unset", json!({})).await.ok();
    assert_eq!(unset["reason"], "DISABLED");
    assert_eq!((unset.get("value"), unset.get("variant")), (None, None));
}

#[tokio::test]
async fn an_unknown_flag_is_404_and_its_key_is_decoded() {
    let server = Server::start().await;
    server.given_flags().await;
    let body = failed(
        &server.ofrep("no%2Fsuch%20flag", json!({})).await,
        404,
        "FLAG_NOT_FOUND",
    );
    assert_eq!(body["key"], "no/such flag");
}

#[tokio::test]
async fn a_missing_targeting_key_is_an_error_only_where_it_decides() {
    let server = Server::start().await;
    server.given_flags().await;
    let body = failed(
        &server.ofrep("half", json!({})).await,
        400,
        "TARGETING_KEY_MISSING",
    );
    assert_eq!(body["key"], "half");
    for body in ["{}", "{\"context\":null}", "{\"context\":{}}"] {
        let path = format!("{IN_PRODUCTION}/theme");
        server.call("POST", &path).text(body).send().await.ok();
    }
}

#[tokio::test]
async fn a_request_that_is_not_well_formed_says_what_is_wrong() {
    let server = Server::start().await;
    server.given_flags().await;
    let path = format!("{IN_PRODUCTION}/theme");
    for text in ["", "{", "[]", "{\"context\":{},\"context\":{}}"] {
        let reply = server.call("POST", &path).text(text).send().await;
        assert_eq!(failed(&reply, 400, "PARSE_ERROR")["key"], "theme");
    }
    let empty = server.call("POST", &path).text("").send().await.json();
    let details = empty["errorDetails"].as_str().unwrap();
    assert!(details.starts_with("line 1, column 1: "), "{details}");
    let nested = format!("{{\"context\":{}{}}}", "[".repeat(70), "]".repeat(70));
    let reply = server.call("POST", &path).text(&nested).send().await;
    let body = failed(&reply, 413, "GENERAL");
    let details = body["errorDetails"].as_str().unwrap();
    assert!(details.starts_with("/context/0/0/"), "{details}");
    assert!(details.contains("0…: line 1, column 75: "), "{details}");
    let untyped = server.call("POST", &path).raw("{}").send().await;
    failed(&untyped, 400, "PARSE_ERROR");
    for context in [
        json!([]),
        json!({ "targetingKey": 7 }),
        json!({ "tenant": "no such" }),
    ] {
        failed(
            &server.ofrep("theme", context.clone()).await,
            400,
            "INVALID_CONTEXT",
        );
        let all = failed(&server.ofrep("", context).await, 400, "INVALID_CONTEXT");
        assert_eq!(all.get("key"), None);
    }
    let large = json!({ "text": "x".repeat(1 << 20) });
    failed(&server.ofrep("theme", large).await, 413, "GENERAL");
    let query = server.post(&format!("{path}?colour=red"), json!({})).await;
    failed(&query, 400, "GENERAL");
}
