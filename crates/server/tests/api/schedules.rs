//! What is scheduled: filed, listed, cancelled; told when it fails; and nobody's business in a view.

use serde_json::{Value, json};

use crate::harness::{Event, Events, Server};

const SCHEDULES: &str = "/v1/environments/production/schedules";
const STREAM: &str = "/v1/environments/production/stream";
/// An hour after the tests begin.
const ONE: &str = "2026-03-01T13:00:00Z";

fn body(at: &str) -> Value {
    let patch = json!({ "state": "disabled" });
    json!({
        "at": at,
        "reason": "the campaign ends",
        "ops": [{
            "op": "patch", "kind": "targeting", "scope": "production", "name": "reasoning",
            "body": patch,
        }],
    })
}

fn path(name: &str) -> String {
    format!("{SCHEDULES}/{name}")
}

/// Files a schedule and gives its revision.
async fn file(server: &Server, name: &str, body: Value) -> u64 {
    let filed = server.put(&path(name), body).await.ok();
    filed["revision"].as_u64().unwrap()
}

/// Lets an hour pass until the next commit.
async fn an_hour_later(server: &Server) {
    let head = server.revision();
    server.clock.advance(3_600);
    let mut revisions = server.node.revisions();
    revisions.wait_for(|it| *it > head).await.unwrap();
}

async fn next(events: &mut Events) -> Event {
    loop {
        let event = events.next().await.unwrap();
        if event.kind != "bookmark" {
            return event;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_is_filed_shown_and_done() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let filed = server.put(&path("end"), body(ONE)).await;
    assert_eq!(filed.header("etag"), format!("\"{}\"", server.revision()));
    let shown = server.get(&path("end")).await.ok();
    assert_eq!(
        shown["body"]["author"],
        json!({ "principal": "root", "token": "first" })
    );
    an_hour_later(&server).await;
    let targeting = "/v1/environments/production/targeting/reasoning";
    let targeting = server.get(targeting).await.ok();
    assert_eq!(targeting["body"]["state"], "disabled");
    assert_eq!(targeting["body"]["rules"][0]["name"], "enterprise");
    server.get(&path("end")).await.problem(404, "NOT_FOUND");
    let past = format!("{}?at={}", path("end"), server.revision() - 1);
    assert_eq!(server.get(&past).await.ok(), shown);
    let log = server.get("/v1/commits?kind=schedule").await.ok();
    let told: Vec<_> = log["items"].as_array().unwrap().iter().collect();
    assert_eq!((told.len(), &told[0]["action"]), (2, &json!("run")));
    assert_eq!(told[0]["actor"], "root");
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    for line in [
        "control_plane_schedules_total{result=\"ran\"} 1\n",
        "control_plane_schedules_total{result=\"failed\"} 0\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn schedules_are_listed_page_by_page_replaced_and_cancelled() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for name in ["a", "b", "c"] {
        file(&server, name, body(ONE)).await;
    }
    let page = server.get(&format!("{SCHEDULES}?limit=2")).await.ok();
    assert_eq!(page["items"][1]["name"], "b");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = format!("{SCHEDULES}?limit=2&cursor={cursor}");
    let rest = server.get(&rest).await.ok();
    assert_eq!(rest["items"][0]["name"], "c");
    assert!(rest["next_cursor"].is_null());
    let again = server.put(&path("a"), body(ONE)).await;
    again.problem(428, "PRECONDITION_REQUIRED");
    let later = body("2026-03-02");
    let replace = server.call("PUT", &path("a")).header("if-match", "*");
    replace.json(&later).send().await.ok();
    let cancel = server.call("DELETE", &path("b")).header("if-match", "*");
    cancel.send().await.ok();
    let left = server.get(SCHEDULES).await.ok();
    let left = left["items"].as_array().unwrap().iter();
    let left: Vec<_> = left.map(|it| (&it["name"], &it["body"]["at"])).collect();
    let (a, c) = (json!("a"), json!("c"));
    let (day, hour) = (json!("2026-03-02T00:00:00Z"), json!(ONE));
    assert_eq!(left, [(&a, &day), (&c, &hour)]);
}

#[tokio::test]
async fn a_dry_run_checks_and_files_nothing() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let head = server.revision();
    let dry = format!("{}?dry_run=true", path("end"));
    let plan = server.put(&dry, body(ONE)).await.ok();
    assert_eq!(plan["plan"]["changes"][0]["kind"], "schedule");
    assert_eq!(plan["plan"]["environments"], json!(["production"]));
    let mut wrong = body(ONE);
    wrong["ops"][0]["body"]["default"] = json!("purple");
    let problem = server.put(&dry, wrong).await;
    let problem = problem.problem(422, "VARIANT_UNKNOWN");
    assert_eq!(problem["errors"][0]["pointer"], "/ops/0/body/default");
    assert_eq!(server.revision(), head);
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_said_with_its_place() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let with = |pointer: &str, value: Value| {
        let mut body = body(ONE);
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let mut forged = body(ONE);
    forged["author"] = json!({ "principal": "ana", "token": "other" });
    let mut failed = body(ONE);
    failed["failed"] = json!({ "code": "INTERNAL", "detail": "no", "at": ONE });
    let op = |kind: &str, scope: &str, name: &str| {
        let op = json!({ "op": "delete", "kind": kind, "scope": scope, "name": name });
        with("/ops/0", op)
    };
    for (body, status, code, pointer) in [
        (
            with("/at", json!("2026-03-01T12:00:00Z")),
            422,
            "FIELD_INVALID",
            "/at",
        ),
        (
            with("/at", json!("2027-03-03")),
            422,
            "LIMIT_EXCEEDED",
            "/at",
        ),
        (with("/at", json!("tomorrow")), 422, "FIELD_INVALID", "/at"),
        (with("/reason", json!(" ")), 422, "FIELD_INVALID", "/reason"),
        (with("/ops", json!([])), 422, "COMMIT_EMPTY", "/ops"),
        (
            with("/ops/0/body", json!([])),
            422,
            "FIELD_INVALID",
            "/ops/0/body",
        ),
        (
            with("/ops/0/name", json!("gone")),
            404,
            "NOT_FOUND",
            "/ops/0",
        ),
        (
            with("/ops/0/scope", json!("staging")),
            422,
            "FIELD_INVALID",
            "/ops/0/scope",
        ),
        (
            with("/ops/0/kind", json!("schedule")),
            422,
            "COMMAND_REQUIRED",
            "/ops/0/kind",
        ),
        (
            op("kill", "production", "flag:reasoning"),
            422,
            "COMMAND_REQUIRED",
            "/ops/0",
        ),
        (op("token", "", "first"), 422, "COMMAND_REQUIRED", "/ops/0"),
        (forged, 422, "FIELD_INVALID", "/author"),
        (failed, 422, "FIELD_INVALID", "/failed"),
    ] {
        let reply = server.put(&path("s"), body.clone()).await;
        let problem = reply.json();
        let found = (reply.status.as_u16(), problem["code"].as_str().unwrap());
        assert_eq!(found, (status, code), "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(!problem.to_string().contains("by a run"), "{problem}");
        assert!(!problem["errors"][0]["next"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn schedules_are_for_those_who_may_change_all_that_is_there() {
    let server = Server::start().await;
    server.given_a_platform().await;
    file(&server, "end", body(ONE)).await;
    let viewer = server.token_of("viewer", json!({})).await;
    let read = server.bare("GET", &path("end")).token(&viewer);
    read.send().await.ok();
    let write = server.bare("PUT", &path("s")).token(&viewer);
    let refused = write.json(&body(ONE)).send().await;
    refused.problem(403, "FORBIDDEN");
    let of_acme = json!({ "environments": ["production"], "tenants": ["acme"] });
    let elsewhere = json!({ "environments": ["staging"] });
    for (grant, code) in [(of_acme, "NOT_FOUND"), (elsewhere, "ENVIRONMENT_NOT_FOUND")] {
        let token = server.token_of("admin", grant).await;
        let read = server.bare("GET", &path("end")).token(&token);
        read.send().await.problem(404, code);
        let write = server.bare("PUT", &path("s")).token(&token);
        let refused = write.json(&body(ONE)).send().await;
        refused.problem(404, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_an_alert_and_views_hold_no_schedules() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let id = events.next().await.unwrap().id;
    let editor = server.post(
        "/v1/tokens",
        json!({
            "principal": "ana", "kind": "person", "role": "editor",
        }),
    );
    let editor = editor.await.ok();
    let file = server.bare("PUT", &path("end"));
    let file = file.token(editor["token"].as_str().unwrap());
    file.json(&body(ONE)).send().await.ok();
    let view = server.get("/v1/environments/production/view").await.ok();
    assert!(!view.to_string().contains("the campaign ends"), "{view}");
    let token = format!("/v1/tokens/{}", editor["id"].as_str().unwrap());
    server.call("DELETE", &token).send().await.ok();
    an_hour_later(&server).await;
    let told = next(&mut events).await;
    assert_eq!((told.kind.as_str(), told.id.as_str()), ("alert", ""));
    let expected = json!({
        "rule": "schedule-failed",
        "severity": "critical",
        "environment": "production",
        "subject": "schedule:end",
        "reason": "UNAUTHENTICATED: the token of ana: the token is not known",
        "actor": "control-plane",
        "revision": server.revision(),
        "at": ONE,
    });
    assert_eq!(told.data, expected);
    let change = events.news().await;
    let nothing = json!({ "revision": server.revision(), "documents": [] });
    assert_eq!((change.kind.as_str(), change.data), ("change", nothing));
    let resumed = server.call("GET", STREAM).header("last-event-id", &id);
    let mut resumed = Events::of(resumed.open().await);
    loop {
        let event = resumed.next().await.unwrap();
        assert_ne!(event.kind, "refetch");
        if event.kind == "alert" {
            assert_eq!(event.data, expected);
            break;
        }
    }
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    for line in [
        "control_plane_schedules_total{result=\"failed\"} 1\n",
        "control_plane_alerts_total{rule=\"schedule-failed\"} 1\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let export = server.get("/v1/trees").await.ok();
    assert!(!export.to_string().contains("the campaign ends"));
}

#[tokio::test]
async fn what_a_schedule_changes_is_in_use() {
    let server = Server::start().await;
    server.given_a_platform().await;
    file(&server, "end", body(ONE)).await;
    let uses = "/v1/environments/production/uses/flag/reasoning";
    let uses = server.get(uses).await.ok();
    let used = json!({
        "kind": "schedule", "scope": "production", "name": "end", "pointer": "/ops/0",
    });
    assert!(uses["uses"].as_array().unwrap().contains(&used), "{uses}");
    let archive = server.call("PUT", "/v1/flags/reasoning");
    let archive = archive.header("if-match", "*");
    let archived = json!({ "type": "boolean", "archived": true });
    let problem = archive.json(&archived).send().await;
    let problem = problem.problem(409, "REFERENCE_IN_USE");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("schedule `end`")
    );
    let remove = server.call("DELETE", "/v1/environments/production");
    let remove = remove.header("if-match", "*").send().await;
    remove.problem(409, "REFERENCE_IN_USE");
}

#[tokio::test]
async fn a_tree_neither_files_nor_cancels() {
    let server = Server::start().await;
    server.given_a_platform().await;
    file(&server, "end", body(ONE)).await;
    let document = json!({
        "kind": "schedule", "scope": "production", "name": "s", "body": body(ONE),
    });
    let tree = json!({ "documents": [document], "reason": "a tree" });
    let problem = server.post("/v1/trees", tree).await;
    let problem = problem.problem(422, "COMMAND_REQUIRED");
    assert_eq!(problem["errors"][0]["pointer"], "/documents/0");
    let tree = json!({ "documents": [], "prune": true, "take_over": true });
    server.post("/v1/trees", tree).await.ok();
    server.get(&path("end")).await.ok();
}
