//! Flags by OFREP: every status and error code, who may ask, and what a browser needs.

use std::num::NonZeroU32;
use std::sync::Arc;

use plane_server::{Origins, Rate, ServerOptions};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Call, Reply, Server};

pub(crate) const ALL: &str = "/ofrep/v1/evaluate/flags";
pub(crate) const IN_PRODUCTION: &str = "/v1/environments/production/ofrep/v1/evaluate/flags";

impl Server {
    /// A platform with a flag of each kind of outcome.
    pub(crate) async fn given_flags(&self) {
        self.given_a_platform().await;
        let enabled = |more: Value| {
            let mut body = json!({ "state": "enabled" });
            let members = more.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(members);
            body
        };
        let theme = json!({
            "type": "string", "variants": { "dark": "#000", "light": "#fff" },
        });
        let ratio = json!({ "type": "float", "variants": { "whole": 1.0, "half": 0.5 } });
        let limits = json!({ "type": "object", "variants": { "small": { "rows": 10 } } });
        let by_country = json!({
            "rules": [{
                "name": "germany",
                "if": { "attribute": "country", "equals": "DE" },
                "serve": "dark",
            }],
            "default": "light",
        });
        let half = json!({ "default": { "percent": { "on": 50 } } });
        self.given(&[
            ("flag", "", "theme", theme.clone()),
            ("targeting", "production", "theme", enabled(by_country)),
            ("flag", "", "ratio", ratio),
            (
                "targeting",
                "production",
                "ratio",
                enabled(json!({ "default": "whole" })),
            ),
            ("flag", "", "limits", limits),
            (
                "targeting",
                "production",
                "limits",
                enabled(json!({ "default": "small" })),
            ),
            ("flag", "", "half", json!({ "type": "boolean" })),
            ("targeting", "production", "half", enabled(half)),
            ("flag", "", "unset", theme),
        ])
        .await;
    }

    /// Asks for one flag, or with an empty key for all, in production.
    pub(crate) async fn ofrep(&self, key: &str, context: Value) -> Reply {
        let path = format!("{IN_PRODUCTION}/{key}");
        self.post(&path, json!({ "context": context })).await
    }
}

impl Call<'_> {
    fn asks(self, context: Value) -> Self {
        self.json(&json!({ "context": context }))
    }
}

#[track_caller]
fn failed(reply: &Reply, status: u16, code: &str) -> Value {
    let body = reply.json();
    assert_eq!(
        (reply.status.as_u16(), body["errorCode"].as_str()),
        (status, Some(code)),
        "{body}"
    );
    assert_eq!(reply.header("content-type"), "application/json");
    assert!(!body["errorDetails"].as_str().unwrap().is_empty(), "{body}");
    body
}

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
            "metadata": { "revision": revision, "bucketing": "flagd-v3", "rule": "germany" },
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
        .ofrep("reasoning", json!({ "tenant": "nobody" }))
        .await
        .ok();
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

#[tokio::test]
async fn all_flags_come_in_the_order_of_their_keys_and_fail_alone() {
    let server = Server::start().await;
    server.given_flags().await;
    let all = server.ofrep("", json!({})).await.ok();
    let flags = all["flags"].as_array().unwrap();
    let keys: Vec<_> = flags.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(
        keys,
        ["half", "limits", "ratio", "reasoning", "theme", "unset"]
    );
    assert_eq!(flags[0]["errorCode"], "TARGETING_KEY_MISSING");
    assert_eq!(all["metadata"], json!({ "environment": "production" }));
    for flag in flags.iter().skip(1) {
        let key = flag["key"].as_str().unwrap();
        assert_eq!(
            *flag,
            server.ofrep(key, json!({})).await.ok(),
            "as if asked for alone"
        );
    }
    let plain = server
        .post(IN_PRODUCTION, json!({ "context": {} }))
        .await
        .ok();
    assert_eq!(plain, all, "with and without a slash at the end");
}

#[tokio::test]
async fn an_etag_covers_flags_context_and_tenant_and_nothing_else() {
    let server = Server::start().await;
    server.given_flags().await;
    let etag = async |context: Value| server.ofrep("", context).await.header("etag").to_owned();
    let first = etag(json!({})).await;
    assert_eq!(etag(json!({})).await, first);
    assert_ne!(etag(json!({ "country": "DE" })).await, first);
    assert_ne!(etag(json!({ "tenant": "acme" })).await, first);
    let held = |etag: &str| {
        let call = server.call("POST", IN_PRODUCTION).asks(json!({}));
        call.header("if-none-match", etag)
    };
    let unchanged = held(&first).send().await;
    assert_eq!((unchanged.status.as_u16(), unchanged.bytes.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), first);
    assert_eq!(held(&format!("W/{first}, \"b\"")).send().await.status, 304);
    server.put("/v1/environments/moon", json!({})).await.ok();
    assert_eq!(
        held(&first).send().await.status,
        304,
        "of no concern to these flags"
    );
    let kill = "/v1/environments/production/kills/flag:theme";
    server.put(kill, json!({ "reason": "too dark" })).await.ok();
    assert_eq!(held(&first).send().await.status, 200);
}

#[tokio::test]
async fn an_etag_covers_the_time_where_a_flag_depends_on_it() {
    let server = Server::start().await;
    server.given_flags().await;
    let window = json!({
        "state": "enabled",
        "rules": [{
            "name": "later",
            "if": { "attribute": "country", "exists": true },
            "window": { "from": "2026-03-01T12:05:00Z" },
            "serve": "dark",
        }],
        "default": "light",
    });
    server
        .given(&[("targeting", "production", "theme", window)])
        .await;
    let before = server.ofrep("", json!({ "country": "FR" })).await;
    server.clock.advance(299);
    let held = server
        .call("POST", IN_PRODUCTION)
        .asks(json!({ "country": "FR" }));
    let held = held
        .header("if-none-match", before.header("etag"))
        .send()
        .await;
    assert_eq!(held.status, 304);
    server.clock.advance(1);
    let after = server.ofrep("", json!({ "country": "FR" })).await;
    assert_ne!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn who_was_told_of_another_configuration_gets_the_flags() {
    let server = Server::start().await;
    server.given_flags().await;
    let etag = server.ofrep("", json!({})).await.header("etag").to_owned();
    let head = server.node.snapshot().state().head();
    let current = format!("{}.{}", head.revision, &head.hash.hex()[..8]);
    for (query, status) in [
        (format!("flagConfigEtag={current}"), 304),
        ("flagConfigEtag=1.00000000".to_owned(), 200),
        ("flagConfigEtag=another".to_owned(), 200),
        ("flagConfigLastModified=1771622898".to_owned(), 200),
    ] {
        let call = server
            .call("POST", &format!("{IN_PRODUCTION}?{query}"))
            .asks(json!({}));
        let reply = call.header("if-none-match", &etag).send().await;
        assert_eq!(reply.status, status, "{query}");
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_read() {
    let app = "https://app.example.com";
    let server = Server::with(ServerOptions {
        origins: Origins::Only(Arc::from([app.to_owned()])),
        ..ServerOptions::default()
    })
    .await;
    server.given_flags().await;
    let from =
        |method: &str, origin: &str| server.bare(method, IN_PRODUCTION).header("origin", origin);
    let preflight = from("OPTIONS", app).send().await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), app);
    assert_eq!(preflight.header("vary"), "origin");
    let allowed = preflight.header("access-control-allow-headers");
    for name in [
        "if-none-match",
        "authorization",
        "x-api-key",
        "content-type",
    ] {
        assert!(
            allowed.split(", ").any(|it| it == name),
            "{name} in {allowed}"
        );
    }
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        "GET, POST"
    );
    let reply = from("POST", app).token(ADMIN).asks(json!({})).send().await;
    assert_eq!(reply.header("access-control-allow-origin"), app);
    assert!(
        reply
            .header("access-control-expose-headers")
            .contains("etag")
    );
    let refused = from("POST", app).asks(json!({})).send().await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        app,
        "errors are read as well"
    );
    for method in ["OPTIONS", "POST"] {
        let reply = from(method, "https://elsewhere.example").send().await;
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    let own = server
        .call("GET", "/v1/flags")
        .header("origin", app)
        .send()
        .await;
    assert_eq!(
        own.header("access-control-allow-origin"),
        "",
        "nothing but OFREP"
    );
}

#[tokio::test]
async fn without_origins_no_page_may_ask_and_with_a_star_all_may() {
    let server = Server::start().await;
    let preflight = server
        .bare("OPTIONS", ALL)
        .header("origin", "https://a.example");
    let refused = preflight.send().await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    refused.problem(405, "METHOD_NOT_ALLOWED");
    let server = Server::with(ServerOptions {
        origins: Origins::Any,
        ..ServerOptions::default()
    })
    .await;
    for path in [ALL, "/ofrep/v1/evaluate/flags/", "/ofrep/v1/events"] {
        let preflight = server
            .bare("OPTIONS", path)
            .header("origin", "https://a.example");
        let allowed = preflight.send().await;
        assert_eq!(allowed.header("access-control-allow-origin"), "*");
    }
}
