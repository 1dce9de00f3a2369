use serde_json::{Value, json};

use crate::harness::Server;

#[tokio::test]
async fn a_document_is_created_read_changed_and_deleted_by_its_etag() {
    let server = Server::start().await;
    let created = server
        .put("/v1/flags/checkout", json!({ "type": "boolean" }))
        .await;
    let etag = created.header("etag").to_owned();
    let revision = created.ok()["revision"].as_u64().unwrap();
    assert_eq!(etag, format!("\"{revision}\""));

    let read = server.get("/v1/flags/checkout").await;
    assert_eq!(read.header("etag"), etag);
    let document = read.ok();
    assert_eq!(document["kind"], "flag");
    assert_eq!(document["name"], "checkout");
    assert_eq!(document["revision"], revision);
    assert_eq!(document["body"]["type"], "boolean");

    let body = json!({ "type": "boolean", "owner": "team-a" });
    let changed = server
        .call("PUT", "/v1/flags/checkout")
        .header("if-match", &etag)
        .json(&body);
    let changed = changed.send().await;
    let next = changed.header("etag").to_owned();
    assert_eq!(
        changed.ok()["plan"]["changes"][0]["diff"][0]["pointer"],
        "/owner"
    );

    server
        .call("DELETE", "/v1/flags/checkout")
        .header("if-match", &next)
        .send()
        .await
        .ok();
    server
        .get("/v1/flags/checkout")
        .await
        .problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_change_without_its_revision_is_refused_and_told_which_one() {
    let server = Server::start().await;
    server
        .put("/v1/flags/checkout", json!({ "type": "boolean" }))
        .await
        .ok();
    let revision = server.revision();
    let refused = server
        .put("/v1/flags/checkout", json!({ "type": "string" }))
        .await;
    let problem = refused.problem(428, "PRECONDITION_REQUIRED");
    let next = problem["next"].as_str().unwrap();
    assert!(
        next.contains(&format!("If-Match: \"{revision}\"")),
        "{next}"
    );
    server
        .call("DELETE", "/v1/flags/checkout")
        .send()
        .await
        .problem(428, "PRECONDITION_REQUIRED");
    server
        .call("DELETE", "/v1/flags/none")
        .send()
        .await
        .problem(404, "NOT_FOUND");
    assert_eq!(server.revision(), revision);
}

#[tokio::test]
async fn a_change_that_is_based_on_an_old_revision_is_a_conflict() {
    let server = Server::start().await;
    server
        .put("/v1/flags/checkout", json!({ "type": "boolean" }))
        .await
        .ok();
    let stale = server
        .call("PUT", "/v1/flags/checkout")
        .header("if-match", "\"999\"");
    let body = json!({ "type": "boolean", "owner": "a" });
    stale
        .json(&body)
        .send()
        .await
        .problem(409, "REVISION_CONFLICT");
    let create = server
        .call("PUT", "/v1/flags/checkout")
        .header("if-none-match", "*");
    create
        .json(&body)
        .send()
        .await
        .problem(409, "REVISION_CONFLICT");
    for (name, value) in [
        ("if-match", "7"),
        ("if-match", "\"x\""),
        ("if-none-match", "\"7\""),
    ] {
        let call = server
            .call("PUT", "/v1/flags/checkout")
            .header(name, value)
            .json(&body);
        call.send().await.problem(400, "REQUEST_INVALID");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_writes_nothing() {
    let server = Server::start().await;
    let before = server.revision();
    let body = json!({ "type": "boolean" });
    let reply = server
        .put("/v1/flags/checkout?dry_run=true", body)
        .await
        .ok();
    assert_eq!(reply["plan"]["changes"][0]["effect"], "create");
    assert_eq!(reply.get("revision"), None);
    assert_eq!(server.revision(), before);
    server
        .get("/v1/flags/checkout")
        .await
        .problem(404, "NOT_FOUND");
    let refused = server
        .put("/v1/flags/checkout?dry_run=perhaps", json!({}))
        .await;
    refused.problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn a_request_that_is_sent_twice_is_done_once() {
    let server = Server::start().await;
    let send = |body: Value| {
        let call = server
            .call("PUT", "/v1/flags/checkout")
            .header("idempotency-key", "01KEY");
        call.json(&body).send()
    };
    let first = send(json!({ "type": "boolean" })).await.ok();
    let second = send(json!({ "type": "boolean" })).await.ok();
    assert_eq!(first["revision"], second["revision"]);
    assert_eq!(
        (&first["repeated"], &second["repeated"]),
        (&json!(false), &json!(true))
    );
    send(json!({ "type": "string", "variants": { "a": "b" } }))
        .await
        .problem(422, "IDEMPOTENCY_KEY_REUSED");
    let malformed = server
        .call("PUT", "/v1/flags/x")
        .header("idempotency-key", "a b");
    malformed
        .json(&json!({ "type": "boolean" }))
        .send()
        .await
        .problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn a_commit_is_all_or_none() {
    let server = Server::start().await;
    let before = server.revision();
    let ops = json!([
        { "op": "put", "kind": "flag", "name": "good", "body": { "type": "boolean" } },
        { "op": "put", "kind": "flag", "name": "bad", "body": { "type": "colour" } },
        { "op": "put", "kind": "flag", "name": "none" },
    ]);
    let problem = server
        .post("/v1/commits", json!({ "ops": ops }))
        .await
        .problem(422, "FIELD_MISSING");
    assert_eq!(problem["errors"][0]["pointer"], "/ops/2/body");
    let ops = json!([ops[0], ops[1]]);
    let refused = server.post("/v1/commits", json!({ "ops": ops })).await;
    let problem = refused.problem(422, "FIELD_INVALID");
    assert_eq!(problem["errors"][0]["pointer"], "/ops/1/body/type");
    assert_eq!(server.revision(), before);
    server
        .post("/v1/commits", json!({ "ops": [] }))
        .await
        .problem(422, "COMMIT_EMPTY");
}

#[tokio::test]
async fn findings_about_one_document_point_into_its_body() {
    let server = Server::start().await;
    let problem = server
        .put(
            "/v1/flags/checkout",
            json!({ "type": "boolean", "ownr": "a" }),
        )
        .await
        .problem(422, "FIELD_UNKNOWN");
    assert_eq!(problem["errors"][0]["pointer"], "/ownr");
    let problem = server
        .put("/v1/environments/prod", json!({ "protected": true }))
        .await
        .problem(422, "PROTECTION_UNAVAILABLE");
    assert_eq!(problem["errors"][0]["pointer"], "/protected");
}

#[tokio::test]
async fn lists_come_in_pages_that_miss_and_repeat_nothing() {
    let server = Server::start().await;
    let documents: Vec<_> = (0..7).map(|it| format!("flag{it}")).collect();
    let given: Vec<_> = documents
        .iter()
        .map(|it| ("flag", "", it.as_str(), json!({ "type": "boolean" })))
        .collect();
    server.given(&given).await;
    let mut found = Vec::new();
    let mut path = "/v1/flags?limit=3".to_owned();
    loop {
        let page = server.get(&path).await.ok();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        found.extend(
            items
                .iter()
                .map(|it| it["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page.get("next_cursor") else {
            break;
        };
        path = format!("/v1/flags?limit=3&cursor={}", cursor.as_str().unwrap());
    }
    assert_eq!(found, documents);
    for limit in ["0", "1001", "-1", "x", ""] {
        let reply = server.get(&format!("/v1/flags?limit={limit}")).await;
        reply.problem(400, "REQUEST_INVALID");
    }
    server
        .get("/v1/flags?cursor=nonsense")
        .await
        .problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn pages_have_what_stays_once_while_documents_come_and_go() {
    let server = Server::start().await;
    let create = async |name: &str| {
        let body = json!({ "type": "boolean" });
        server.put(&format!("/v1/flags/{name}"), body).await.ok();
    };
    let stays: Vec<_> = (10..30).map(|it| format!("flag{it}")).collect();
    for name in &stays {
        create(name).await;
    }
    let (mut found, mut path) = (Vec::new(), "/v1/flags?limit=3".to_owned());
    for round in 0.. {
        let page = server.get(&path).await.ok();
        let names = page["items"].as_array().unwrap().iter();
        found.extend(names.map(|it| it["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page.get("next_cursor") else {
            break;
        };
        path = format!("/v1/flags?limit=3&cursor={}", cursor.as_str().unwrap());
        // One before the place that was reached, one after it, and one that is gone before it is reached.
        for name in [
            format!("a{round}"),
            format!("flag{}x", 10 + 2 * round),
            format!("z{round}"),
        ] {
            create(&name).await;
        }
        let gone = server.call("DELETE", &format!("/v1/flags/z{round}"));
        gone.header("if-match", "*").send().await.ok();
    }
    let of_those: Vec<_> = found.iter().filter(|it| stays.contains(it)).collect();
    assert!(of_those.into_iter().eq(&stays), "{found:?}");
    assert!(found.is_sorted());
}

#[tokio::test]
async fn a_cursor_from_elsewhere_does_not_leave_the_list() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let list = "/v1/environments/production/targeting";
    let all = server.get(list).await.ok();
    assert_ne!(all["items"], json!([]));
    for (cursor, expected) in [
        ("development%7Cz", &all["items"]),
        ("staging%7Ca", &json!([])),
    ] {
        let page = server.get(&format!("{list}?cursor={cursor}")).await.ok();
        assert_eq!(page["items"], *expected, "{cursor}");
    }
}

#[tokio::test]
async fn documents_of_an_environment_have_paths_below_it() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let targeting = server
        .get("/v1/environments/production/targeting/reasoning")
        .await
        .ok();
    assert_eq!(targeting["scope"], "production");
    let list = server
        .get("/v1/environments/production/targeting")
        .await
        .ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let pin = "/v1/environments/production/tenants/acme/pins/flag:reasoning";
    server.put(pin, json!({ "variant": "off" })).await.ok();
    assert_eq!(server.get(pin).await.ok()["body"]["variant"], "off");
    let pins = server
        .get("/v1/environments/production/tenants/acme/pins")
        .await
        .ok();
    assert_eq!(pins["items"][0]["name"], "flag:reasoning");
    let none = server
        .get("/v1/environments/production/tenants/zeta/pins")
        .await
        .ok();
    assert_eq!(none["items"], json!([]));
    let missing = server
        .put("/v1/environments/moon/targeting/reasoning", json!({}))
        .await;
    missing.problem(404, "ENVIRONMENT_NOT_FOUND");
}

#[tokio::test]
async fn why_a_document_changed_comes_in_a_header_or_the_query() {
    let server = Server::start().await;
    let put = |path: &'static str| server.call("PUT", path).json(&json!({ "type": "boolean" }));
    put("/v1/flags/a?reason=so+it+is").send().await.ok();
    let encoded = put("/v1/flags/b").header("control-plane-reason", "caf%C3%A9 100%25");
    encoded.send().await.ok();
    let commits = server.get("/v1/commits?limit=2").await.ok();
    let reasons: Vec<_> = commits["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["reason"].clone())
        .collect();
    assert_eq!(reasons, ["café 100%", "so it is"]);
    let wrong = put("/v1/flags/c").header("control-plane-reason", "100%");
    wrong.send().await.problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn names_in_paths_are_decoded_once_and_checked() {
    let server = Server::start().await;
    server
        .get("/v1/flags/a%2Fb")
        .await
        .problem(422, "NAME_INVALID");
    server
        .get("/v1/flags/%2e%2e")
        .await
        .problem(422, "NAME_INVALID");
    server
        .get("/v1/flags/a%00b")
        .await
        .problem(422, "NAME_INVALID");
    server
        .get("/v1/flags/a%252Fb")
        .await
        .problem(422, "NAME_INVALID");
    server
        .get("/v1/flags/%ff")
        .await
        .problem(400, "REQUEST_INVALID");
    server
        .get("/v1/flags/a/b")
        .await
        .problem(404, "ROUTE_NOT_FOUND");
    server
        .get("/v1//flags")
        .await
        .problem(404, "ROUTE_NOT_FOUND");
    server.put("/v1/tenants/a+b%40c", json!({})).await.ok();
    assert_eq!(
        server.get("/v1/tenants/a%2Bb@c").await.ok()["name"],
        "a+b@c"
    );
}
