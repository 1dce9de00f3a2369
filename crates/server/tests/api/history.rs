use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn the_past_is_read_by_revision_and_by_time() {
    let server = Server::start().await;
    let first = server
        .put("/v1/flags/x", json!({ "type": "boolean", "owner": "a" }))
        .await;
    let etag = first.header("etag").to_owned();
    let revision = first.ok()["revision"].as_u64().unwrap();
    let then = server.node.now();
    server.clock.advance(60);
    let call = server.call("PUT", "/v1/flags/x").header("if-match", &etag);
    call.json(&json!({ "type": "boolean", "owner": "b" }))
        .send()
        .await
        .ok();
    for (at, expected) in [
        (String::new(), "b"),
        (format!("?at={revision}"), "a"),
        (format!("?at={then}"), "a"),
        (format!("?at={}", server.node.now()), "b"),
    ] {
        let document = server.get(&format!("/v1/flags/x{at}")).await.ok();
        assert_eq!(document["body"]["owner"], expected, "{at}");
    }
    server
        .get("/v1/flags/x?at=1")
        .await
        .problem(404, "NOT_FOUND");
    server
        .get("/v1/flags/x?at=999")
        .await
        .problem(404, "REVISION_NOT_FOUND");
    server
        .get("/v1/flags/x?at=2999-01-01")
        .await
        .problem(404, "REVISION_NOT_FOUND");
    for at in ["yesterday", "", "-1", "99999999999999999999"] {
        server
            .get(&format!("/v1/flags/x?at={at}"))
            .await
            .problem(400, "REQUEST_INVALID");
    }
}

#[tokio::test]
async fn commits_are_listed_newest_first_and_found_by_what_they_changed() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let pin = "/v1/environments/production/tenants/acme/pins/flag:reasoning";
    server.put(pin, json!({ "variant": "off" })).await.ok();
    let revisions = |path: &'static str| async {
        let list = server.get(path).await.ok();
        let items = list["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|it| it["revision"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(revisions("/v1/commits").await, [3, 2, 1]);
    assert_eq!(revisions("/v1/commits?since=2").await, [3, 2]);
    assert_eq!(revisions("/v1/commits?until=2").await, [2, 1]);
    assert_eq!(revisions("/v1/commits?kind=pin").await, [3]);
    assert_eq!(revisions("/v1/commits?kind=flag&name=reasoning").await, [2]);
    assert_eq!(revisions("/v1/commits?tenant=acme").await, [3, 2]);
    assert_eq!(revisions("/v1/commits?actor=root").await, [3, 2]);
    assert_eq!(revisions("/v1/commits?scope=production").await, [2]);
    assert_eq!(revisions("/v1/commits?name=zeta").await, [2]);
    let page = server.get("/v1/commits?limit=2").await.ok();
    assert_eq!(page["next_cursor"], "2");
    assert_eq!(revisions("/v1/commits?limit=2&cursor=2").await, [1]);
    server
        .get("/v1/commits?kind=planet")
        .await
        .problem(422, "KIND_UNKNOWN");
}

#[tokio::test]
async fn one_commit_shows_what_was_there_before_and_after() {
    let server = Server::start().await;
    let first = server
        .put("/v1/flags/x", json!({ "type": "boolean", "owner": "a" }))
        .await;
    let etag = first.header("etag").to_owned();
    let call = server
        .call("PUT", "/v1/flags/x?reason=moved")
        .header("if-match", &etag);
    let body = json!({ "type": "boolean", "owner": "b" });
    let revision = call.json(&body).send().await.ok()["revision"].clone();
    let commit = server.get(&format!("/v1/commits/{revision}")).await.ok();
    assert_eq!(commit["actor"], "root");
    assert_eq!(commit["reason"], "moved");
    assert_eq!(commit["changes"][0]["effect"], "update");
    let diff = json!([{ "pointer": "/owner", "before": "a", "after": "b" }]);
    assert_eq!(commit["changes"][0]["diff"], diff);
    server
        .get("/v1/commits/0")
        .await
        .problem(404, "REVISION_NOT_FOUND");
    server
        .get("/v1/commits/99")
        .await
        .problem(404, "REVISION_NOT_FOUND");
    server
        .get("/v1/commits/x")
        .await
        .problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn reverting_puts_documents_back_by_a_new_commit() {
    let server = Server::start().await;
    let first = server
        .put("/v1/flags/x", json!({ "type": "boolean", "owner": "a" }))
        .await;
    let etag = first.header("etag").to_owned();
    let call = server.call("PUT", "/v1/flags/x").header("if-match", &etag);
    let body = json!({ "type": "boolean", "owner": "b" });
    let revision = call.json(&body).send().await.ok()["revision"]
        .as_u64()
        .unwrap();
    let request = json!({ "from": revision, "reason": "it was better before" });
    let plan = server
        .post("/v1/reverts?dry_run=true", request.clone())
        .await
        .ok();
    assert_eq!(plan["plan"]["changes"][0]["diff"][0]["after"], "a");
    assert_eq!(server.revision(), revision);
    let done = server.post("/v1/reverts", request.clone()).await.ok();
    assert_eq!(done["committed"]["revision"], revision + 1);
    assert_eq!(server.get("/v1/flags/x").await.ok()["body"]["owner"], "a");
    server
        .post("/v1/reverts", request)
        .await
        .problem(409, "NOT_REVERTIBLE");
    let beyond = json!({ "from": 99, "reason": "x" });
    server
        .post("/v1/reverts", beyond)
        .await
        .problem(404, "REVISION_NOT_FOUND");
    server
        .post("/v1/reverts", json!({ "from": 1 }))
        .await
        .problem(422, "FIELD_MISSING");
}

#[tokio::test]
async fn a_tree_is_applied_pruned_and_exported() {
    let server = Server::start().await;
    let documents = json!([
        { "kind": "environment", "name": "production", "body": {} },
        { "kind": "flag", "name": "x", "body": { "type": "boolean" } },
        { "kind": "flag", "name": "y", "body": { "type": "boolean" } },
    ]);
    let request = json!({ "documents": documents, "reason": "first" });
    let applied = server.post("/v1/trees", request.clone()).await.ok();
    assert_eq!(applied["plan"]["changes"].as_array().unwrap().len(), 3);
    let again = server.post("/v1/trees", request).await.ok();
    assert_eq!(again.get("committed"), None);
    let fewer = json!({ "documents": [documents[0], documents[1]] });
    let left = server.post("/v1/trees", fewer.clone()).await.ok();
    assert_eq!(left["left"][0]["name"], "y");
    let mut pruning = fewer;
    pruning["prune"] = json!(true);
    server.post("/v1/trees", pruning).await.ok();
    let exported = server.get("/v1/trees").await.ok();
    let names: Vec<_> = exported["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, ["production", "x"]);
    let wrong = json!({ "documents": [documents[0], { "kind": "flag", "name": "z", "body": { "type": 1 } }] });
    let problem = server
        .post("/v1/trees", wrong)
        .await
        .problem(422, "FIELD_INVALID");
    assert_eq!(problem["errors"][0]["pointer"], "/documents/1/type");
    let twice = json!({ "documents": [documents[1], documents[1]] });
    server
        .post("/v1/trees", twice)
        .await
        .problem(422, "DOCUMENT_REPEATED");
}

#[tokio::test]
async fn a_revert_says_why() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let from = server.revision();
    for reason in ["", "  "] {
        let problem = server
            .post("/v1/reverts", json!({"from": from, "reason": reason}))
            .await
            .problem(422, "FIELD_INVALID");
        assert_eq!(problem["errors"][0]["pointer"], "/reason", "{problem}");
    }
    assert_eq!(server.revision(), from);
}
