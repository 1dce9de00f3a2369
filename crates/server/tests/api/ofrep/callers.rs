//! Who may ask, about which environment and tenant, and how often.

use std::num::NonZeroU32;

use plane_server::{Rate, ServerOptions};
use serde_json::{Value, json};

use super::{ALL, IN_PRODUCTION, failed};
use crate::harness::{ADMIN, Server};

#[tokio::test]
async fn the_environment_comes_from_the_path_the_header_or_the_token() {
    let server = Server::start().await;
    server.given_flags().await;
    let path = format!("{ALL}/theme");
    let body = failed(&server.post(&path, json!({})).await, 400, "GENERAL");
    let details = body["errorDetails"].as_str().unwrap();
    assert!(details.contains("Control-Plane-Environment"), "{details}");
    let named = |name: &str| {
        let call = server.call("POST", &path).asks(json!({}));
        call.header("control-plane-environment", name)
    };
    assert_eq!(named("production").send().await.ok()["value"], "#fff");
    assert_eq!(named("staging").send().await.ok()["reason"], "DISABLED");
    failed(&named("moon").send().await, 400, "GENERAL");
    let one = server
        .token_of("viewer", json!({ "environments": ["production"] }))
        .await;
    let by = |path: &str| server.bare("POST", path).token(&one).asks(json!({}));
    assert_eq!(by(&path).send().await.ok()["value"], "#fff");
    let elsewhere = by(&path)
        .header("control-plane-environment", "staging")
        .send()
        .await;
    failed(&elsewhere, 400, "GENERAL");
    let elsewhere = by("/v1/environments/staging/ofrep/v1/evaluate/flags/theme")
        .send()
        .await;
    failed(&elsewhere, 400, "GENERAL");
}

#[tokio::test]
async fn what_the_token_says_of_the_tenant_beats_the_body() {
    let server = Server::start().await;
    server.given_flags().await;
    let mine = json!({ "environments": ["production"], "tenants": ["acme"] });
    let token = server.token_of("viewer", mine).await;
    let ask = |context: Value| {
        server
            .bare("POST", &format!("{ALL}/reasoning"))
            .token(&token)
            .asks(context)
    };
    assert_eq!(ask(json!({})).send().await.ok()["value"], true);
    let free = json!({ "tenant": { "id": "acme", "plan": "free" } });
    assert_eq!(
        ask(free).send().await.ok()["value"],
        true,
        "the document says the plan"
    );
    let other = ask(json!({ "tenant": "zeta" })).send().await;
    failed(&other, 400, "INVALID_CONTEXT");
    let unknown = server
        .ofrep(
            "reasoning",
            json!({ "tenant": { "id": "nobody", "plan": "enterprise" }, "plan": "enterprise" }),
        )
        .await
        .ok();
    assert_eq!(unknown["value"], false, "nobody knows its plan");
    assert_eq!(unknown["metadata"]["warning"], "TENANT_UNKNOWN");
    let unknown = server.ofrep("", json!({ "tenant": "nobody" })).await.ok();
    assert_eq!(unknown["metadata"]["warning"], "TENANT_UNKNOWN");
}

#[tokio::test]
async fn a_token_comes_as_bearer_or_as_api_key_and_not_as_two() {
    let server = Server::start().await;
    server.given_flags().await;
    let path = format!("{IN_PRODUCTION}/theme");
    let bare = || server.bare("POST", &path).asks(json!({}));
    bare().header("x-api-key", ADMIN).send().await.ok();
    bare()
        .header("x-api-key", ADMIN)
        .token(ADMIN)
        .send()
        .await
        .ok();
    let other = server.token_of("viewer", json!({})).await;
    let calls = [
        bare(),
        bare().header("x-api-key", "secret"),
        bare().header("x-api-key", "cp_unknown"),
        bare().header("x-api-key", ADMIN).token(&other),
    ];
    for call in calls {
        let reply = call.send().await;
        failed(&reply, 401, "GENERAL");
        assert!(reply.header("www-authenticate").starts_with("Bearer"));
    }
    let elsewhere = server.bare("GET", "/v1/whoami").header("x-api-key", ADMIN);
    elsewhere.send().await.problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_client_s_token_gets_evaluated_flags_and_nothing_else() {
    let server = Server::start().await;
    server.given_flags().await;
    let request = json!({
        "principal": "web", "kind": "client", "role": "viewer", "environments": ["production"],
    });
    let token = server.token(request).await;
    let ask = server.bare("POST", ALL).token(&token).asks(json!({}));
    let text = String::from_utf8(ask.send().await.bytes.to_vec()).unwrap();
    assert!(text.contains("#fff") && !text.contains("#000"), "{text}");
    let german = json!({ "country": "DE" });
    for path in [ALL, "/ofrep/v1/evaluate/flags/theme"] {
        let ask = server.bare("POST", path).token(&token);
        let reply = ask.asks(german.clone()).send().await;
        let text = String::from_utf8(reply.bytes.to_vec()).unwrap();
        assert!(text.contains("#000"), "{text}");
        assert!(
            text.contains("\"ticket\":7"),
            "metadata are for all: {text}"
        );
        assert!(
            !text.contains("germany"),
            "the rule's name says how: {text}"
        );
    }
    for operation in plane_api::operations() {
        let path = operation.path.replace(['{', '}'], "");
        if operation.caller == plane_api::operations::Caller::Token && operation.tag != "ofrep" {
            let call = server.bare(operation.method.as_str(), &path).token(&token);
            call.send().await.problem(403, "FORBIDDEN");
        }
    }
}

#[tokio::test]
async fn a_client_s_token_can_have_no_role_but_viewer_even_by_a_binding() {
    let server = Server::start().await;
    server.given_flags().await;
    let editor = json!({ "principal": "web", "kind": "client", "role": "editor" });
    let problem = server
        .post("/v1/tokens", editor)
        .await
        .problem(422, "FIELD_INVALID");
    assert_eq!(problem["errors"][0]["pointer"], "/role");
    let binding = json!({ "principal": "web", "role": "admin" });
    server
        .put("/v1/role-bindings/web-admin", binding)
        .await
        .ok();
    let token = server
        .token(json!({ "principal": "web", "kind": "client" }))
        .await;
    let call = server.bare("PUT", "/v1/tenants/new").token(&token);
    call.json(&json!({})).send().await.problem(403, "FORBIDDEN");
    let path = format!("{IN_PRODUCTION}/theme");
    server
        .bare("POST", &path)
        .token(&token)
        .asks(json!({}))
        .send()
        .await
        .ok();
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let server = Server::with(ServerOptions {
        token_rate: NonZeroU32::new(1).map(Rate::per_second),
        ..ServerOptions::default()
    })
    .await;
    let mut replies = Vec::new();
    for _ in 0..4 {
        replies.push(server.ofrep("theme", json!({})).await);
    }
    let refused = replies.iter().find(|it| it.status == 429).unwrap();
    failed(refused, 429, "GENERAL");
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_never_told_as_a_fault_of_the_token() {
    let server = Server::start().await;
    server.given_flags().await;
    let call = server
        .call("POST", &format!("{IN_PRODUCTION}/theme"))
        .asks(json!({}));
    let ahead = call
        .header("control-plane-min-revision", "1000")
        .send()
        .await;
    failed(&ahead, 503, "GENERAL");
    assert_eq!(ahead.header("retry-after"), "1");
}
