use serde_json::json;

use crate::harness::{ADMIN, Server};

#[tokio::test]
async fn without_a_valid_token_nothing_is_answered() {
    let server = Server::start().await;
    let bare = server.bare("GET", "/v1/flags").send().await;
    assert!(bare.header("www-authenticate").starts_with("Bearer"));
    bare.problem(401, "UNAUTHENTICATED");
    for header in [
        "Bearer",
        "Bearer ",
        "Basic cp_first_admin",
        "Bearer first_admin",
        "Bearer cp_unknown",
        "Bearer cp_first_admin cp_first_admin",
        "cp_first_admin",
        &format!("Bearer cp_{}", "x".repeat(300)),
    ] {
        let call = server
            .bare("GET", "/v1/flags")
            .header("authorization", header);
        call.send().await.problem(401, "UNAUTHENTICATED");
    }
    let twice = server.call("GET", "/v1/flags").token(ADMIN).send().await;
    twice.problem(401, "UNAUTHENTICATED");
    let lower = server
        .bare("GET", "/v1/flags")
        .header("authorization", "bearer cp_first_admin");
    lower.send().await.ok();
}

#[tokio::test]
async fn bytes_that_are_no_text_in_the_header_are_no_token() {
    let server = Server::start().await;
    let request = axum::http::Request::builder()
        .uri("/v1/flags")
        .header(
            "authorization",
            axum::http::HeaderValue::from_bytes(b"Bearer cp_\xff").unwrap(),
        )
        .body(axum::body::Body::empty())
        .unwrap();
    let response = tower::ServiceExt::oneshot(server.router.clone(), request)
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_token_works_until_it_expires_or_is_withdrawn() {
    let server = Server::start().await;
    let expires = server.node.now().as_ms() + 60_000;
    let expires = plane_model::Timestamp(expires).to_string();
    let short = server
        .token_of("viewer", json!({ "expires_at": expires }))
        .await;
    server
        .bare("GET", "/v1/flags")
        .token(&short)
        .send()
        .await
        .ok();
    server.clock.advance(61);
    let late = server.bare("GET", "/v1/flags").token(&short).send().await;
    let problem = late.problem(401, "UNAUTHENTICATED");
    assert!(
        problem["detail"].as_str().unwrap().contains("expired"),
        "{problem}"
    );

    let request = json!({ "principal": "svc", "kind": "service", "role": "viewer" });
    let made = server.post("/v1/tokens", request).await.ok();
    let token = made["token"].as_str().unwrap();
    server
        .bare("GET", "/v1/flags")
        .token(token)
        .send()
        .await
        .ok();
    let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    server.call("DELETE", &path).send().await.ok();
    server
        .bare("GET", "/v1/flags")
        .token(token)
        .send()
        .await
        .problem(401, "UNAUTHENTICATED");
    let past = json!({ "principal": "a", "kind": "service", "role": "viewer", "expires_at": "2020-01-01" });
    server
        .post("/v1/tokens", past)
        .await
        .problem(422, "FIELD_INVALID");
}

#[tokio::test]
async fn the_text_of_a_token_and_its_digest_are_shown_nowhere_else() {
    let server = Server::start().await;
    let token = server.token_of("viewer", json!({})).await;
    let digest = plane_model::Digest::of(token.as_bytes()).to_string();
    let revision = server.revision();
    for path in [
        "/v1/tokens".to_owned(),
        "/v1/commits".to_owned(),
        format!("/v1/commits/{revision}"),
        "/v1/trees".to_owned(),
        "/metrics".to_owned(),
    ] {
        let reply = server.get(&path).await;
        assert_eq!(reply.status, 200, "{path}");
        let text = String::from_utf8(reply.bytes.to_vec()).unwrap();
        assert!(
            !text.contains(&token) && !text.contains(&digest),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn a_role_may_do_what_it_says_and_no_more() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let viewer = server.token_of("viewer", json!({})).await;
    let editor = server.token_of("editor", json!({})).await;
    let flag = json!({ "type": "boolean" });
    let by = |token: &str, path: &str, body: &serde_json::Value| {
        server.bare("PUT", path).token(token).json(body).send()
    };
    let problem = by(&viewer, "/v1/flags/new", &flag)
        .await
        .problem(403, "FORBIDDEN");
    assert!(
        problem["detail"].as_str().unwrap().contains("editor"),
        "{problem}"
    );
    by(&editor, "/v1/flags/new", &flag).await.ok();
    by(&editor, "/v1/environments/new", &json!({}))
        .await
        .problem(403, "FORBIDDEN");
    let get = |path: &'static str| server.bare("GET", path).token(&viewer).send();
    get("/v1/tokens").await.problem(403, "FORBIDDEN");
    get("/v1/role-bindings").await.problem(403, "FORBIDDEN");
    let request = json!({ "principal": "svc", "kind": "service", "role": "admin" });
    let refused = server
        .bare("POST", "/v1/tokens")
        .token(&editor)
        .json(&request)
        .send()
        .await
        .problem(403, "FORBIDDEN");
    assert_eq!(
        refused["detail"], "changing tokens needs the role admin",
        "the id that the token would have had is not said"
    );
}

#[tokio::test]
async fn what_a_token_does_not_cover_is_answered_like_what_is_not_there() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let token = server
        .token_of(
            "admin",
            json!({ "environments": ["staging"], "tenants": ["acme"] }),
        )
        .await;
    let get = |path: String| server.bare("GET", &path).token(&token).send();
    let hidden = get("/v1/environments/production/view".to_owned()).await;
    let absent = get("/v1/environments/nowhere/view".to_owned()).await;
    let hidden = hidden.problem(404, "ENVIRONMENT_NOT_FOUND");
    let absent = absent.problem(404, "ENVIRONMENT_NOT_FOUND");
    assert_eq!(
        hidden["detail"]
            .as_str()
            .unwrap()
            .replace("production", "nowhere"),
        absent["detail"].as_str().unwrap()
    );
    assert_eq!(hidden["next"], absent["next"]);

    get("/v1/environments/production".to_owned())
        .await
        .problem(404, "NOT_FOUND");
    get("/v1/tenants/zeta".to_owned())
        .await
        .problem(404, "NOT_FOUND");
    get("/v1/environments/staging/tenants/zeta/pins".to_owned())
        .await
        .problem(404, "TENANT_NOT_FOUND");
    get("/v1/environments/production/targeting/reasoning".to_owned())
        .await
        .problem(404, "ENVIRONMENT_NOT_FOUND");
    let names = get("/v1/tenants".to_owned()).await.ok();
    assert_eq!(names["items"].as_array().unwrap().len(), 1);
    let environments = get("/v1/environments".to_owned()).await.ok();
    assert_eq!(environments["items"][0]["name"], "staging");
    assert_eq!(environments["items"].as_array().unwrap().len(), 1);

    let path = "/v1/environments/production/targeting/reasoning";
    let write = server
        .bare("PUT", path)
        .token(&token)
        .json(&json!({ "state": "disabled" }));
    write.send().await.problem(404, "ENVIRONMENT_NOT_FOUND");
    let ops = json!([{ "op": "put", "kind": "tenant", "name": "zeta", "body": {} }]);
    let write = server
        .bare("POST", "/v1/commits")
        .token(&token)
        .json(&json!({ "ops": ops }));
    write.send().await.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn commits_about_other_tenants_are_not_in_the_history() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let pin = "/v1/environments/production/tenants/zeta/pins/flag:reasoning?reason=secret+deal";
    server.put(pin, json!({ "variant": "on" })).await.ok();
    let revision = server.revision();
    let token = server
        .token_of("viewer", json!({ "tenants": ["acme"] }))
        .await;
    let list = server.bare("GET", "/v1/commits").token(&token).send().await;
    let text = String::from_utf8(list.bytes.to_vec()).unwrap();
    assert!(
        !text.contains("zeta") && !text.contains("secret deal"),
        "{text}"
    );
    let one = server
        .bare("GET", &format!("/v1/commits/{revision}"))
        .token(&token)
        .send()
        .await;
    one.problem(404, "REVISION_NOT_FOUND");
    server.get(&format!("/v1/commits/{revision}")).await.ok();
}

#[tokio::test]
async fn whoami_says_what_the_token_covers() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let token = server
        .token_of(
            "viewer",
            json!({ "environments": ["staging"], "tenants": ["acme"] }),
        )
        .await;
    let me = server
        .bare("GET", "/v1/whoami")
        .token(&token)
        .send()
        .await
        .ok();
    assert_eq!(me["principal"], "svc");
    assert_eq!(me["role"], "viewer");
    assert_eq!(me["environments"], json!(["staging"]));
    assert_eq!(me["all_tenants"], false);
    assert_eq!(me["tenant"], "acme");
}

#[tokio::test]
async fn a_role_binding_gives_and_takes_rights_at_once() {
    let server = Server::start().await;
    let token = server
        .token(json!({ "principal": "ann", "kind": "person" }))
        .await;
    let write = |name: &'static str| {
        let call = server.bare("PUT", name).token(&token);
        call.json(&json!({ "type": "boolean" })).send()
    };
    write("/v1/flags/a").await.problem(404, "NOT_FOUND");
    let binding = json!({ "principal": "ann", "role": "editor" });
    let made = server.put("/v1/role-bindings/ann", binding).await;
    let etag = made.header("etag").to_owned();
    made.ok();
    write("/v1/flags/a").await.ok();
    server
        .call("DELETE", "/v1/role-bindings/ann")
        .header("if-match", &etag)
        .send()
        .await
        .ok();
    write("/v1/flags/b").await.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_clock_that_is_set_back_withdraws_nothing_and_the_log_s_time_goes_on() {
    let server = Server::start().await;
    let token = server.token_of("editor", json!({})).await;
    let expires = plane_model::Timestamp(server.node.now().as_ms() + 60_000).to_string();
    let short = server
        .token_of("viewer", json!({ "expires_at": expires }))
        .await;
    let at = |server: &Server| server.node.snapshot().state().head().at;
    let before = at(&server);
    server.clock.advance(-86_400);
    for token in [&token, &short] {
        let call = server.bare("GET", "/v1/whoami").token(token);
        call.send().await.ok();
    }
    // Found anew: the change of access makes the server forget what it knew.
    server.token_of("viewer", json!({})).await;
    let call = server.bare("PUT", "/v1/flags/new").token(&token);
    call.json(&json!({ "type": "boolean" })).send().await.ok();
    assert_eq!(at(&server), before);
    server.clock.advance(86_400 + 61);
    let call = server.bare("GET", "/v1/whoami").token(&short);
    call.send().await.problem(401, "UNAUTHENTICATED");
    server.get("/v1/flags/new").await.ok();
}
