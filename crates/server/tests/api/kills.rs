//! Stops and revivals: each is an alert, stands in the log, and no tree takes it back.

use plane_log::observations::Filter;
use serde_json::{Value, json};

use crate::harness::{Event, Events, Server};

const STREAM: &str = "/v1/environments/production/stream";
/// Everything that can be stopped, for everybody and for one tenant.
const STOPS: [(&str, &str); 6] = [
    ("", "flag:reasoning"),
    ("", "agent:support"),
    ("", "tool:crm_tool"),
    ("tenants/acme/", "flag:reasoning"),
    ("tenants/acme/", "agent:support"),
    ("tenants/acme/", "tool:crm_tool"),
];

async fn alert(events: &mut Events) -> Event {
    loop {
        let event = events.next().await.unwrap();
        if event.kind == "alert" {
            return event;
        }
    }
}

fn path(tenant: &str, subject: &str) -> String {
    format!("/v1/environments/production/{tenant}kills/{subject}")
}

#[tokio::test]
async fn every_stop_and_every_revival_is_an_alert_before_its_change() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    events.next().await.unwrap();
    for (tenant, subject) in STOPS {
        let path = path(tenant, subject);
        server.put(&path, json!({ "reason": "it lies" })).await.ok();
        let told = alert(&mut events).await;
        assert_eq!(told.id, "", "who resumes after it would miss the change");
        let mut expected = json!({
            "rule": "killed",
            "severity": "critical",
            "environment": "production",
            "subject": subject,
            "reason": "it lies",
            "actor": "root",
            "revision": server.revision(),
            "at": told.data["at"],
        });
        if !tenant.is_empty() {
            expected["tenant"] = json!("acme");
        }
        assert_eq!(told.data, expected);
        let change = events.next().await.unwrap();
        assert_eq!(change.data["revision"], server.revision(), "{change:?}");

        server.call("DELETE", &path).send().await.ok();
        let told = alert(&mut events).await;
        assert_eq!(
            (&told.data["rule"], &told.data["severity"]),
            (&json!("revived"), &json!("info"))
        );
        assert_eq!(told.data["subject"], subject);
    }
}

#[tokio::test]
async fn who_resumes_is_told_of_the_stops_that_were_missed() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let id = events.next().await.unwrap().id;
    drop(events);
    for subject in ["flag:reasoning", "agent:support"] {
        server
            .put(&path("", subject), json!({ "reason": "now" }))
            .await
            .ok();
    }
    let resumed = server.call("GET", STREAM).header("last-event-id", &id);
    let mut events = Events::of(resumed.open().await);
    for subject in ["flag:reasoning", "agent:support"] {
        assert_eq!(alert(&mut events).await.data["subject"], subject);
    }
}

#[tokio::test]
async fn nobody_is_alerted_of_other_tenants_and_environments() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let grant = json!({ "environments": ["production"], "tenants": ["zeta"] });
    let token = server.token_of("viewer", grant).await;
    let mut events = Events::of(server.bare("GET", STREAM).token(&token).open().await);
    events.next().await.unwrap();
    let kill = json!({ "reason": "now" });
    server
        .put(&path("tenants/acme/", "flag:reasoning"), kill.clone())
        .await
        .ok();
    let staging = "/v1/environments/staging/kills/flag:reasoning";
    server.put(staging, kill.clone()).await.ok();
    server
        .put(&path("tenants/zeta/", "flag:reasoning"), kill)
        .await
        .ok();
    assert_eq!(alert(&mut events).await.data["tenant"], "zeta");
}

#[tokio::test]
async fn alerts_are_counted_and_observed_once_each() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let kill = path("tenants/acme/", "flag:reasoning");
    for _ in 0..2 {
        server.put(&kill, json!({ "reason": "it lies" })).await.ok();
    }
    server
        .put(&format!("{kill}?dry_run=true"), json!({ "reason": "else" }))
        .await
        .ok();
    server.call("DELETE", &kill).send().await.ok();
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    for rule in ["killed", "revived"] {
        let line = format!("control_plane_alerts_total{{rule=\"{rule}\"}} 1\n");
        assert!(text.contains(&line), "{text}");
    }
    server.node.shutdown().await;
    let filter = Filter {
        kind: Some("alert".to_owned()),
        ..Filter::default()
    };
    let found = server
        .node
        .observations()
        .list(&filter, None, 10)
        .await
        .unwrap();
    let mut rules: Vec<_> = found
        .iter()
        .map(|(_, it)| (it.subject.as_str(), it.labels["rule"].as_str(), it.count))
        .collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        [
            ("flag:reasoning", "killed", 1),
            ("flag:reasoning", "revived", 1)
        ]
    );
}

#[tokio::test]
async fn the_log_has_every_stop_with_who_and_why() {
    let server = Server::start().await;
    server.given_an_agent().await;
    for (tenant, subject) in STOPS {
        server
            .put(&path(tenant, subject), json!({ "reason": "it lies" }))
            .await
            .ok();
    }
    let revive = format!("{}?reason=mended", path("", "agent:support"));
    server.call("DELETE", &revive).send().await.ok();
    let all = server.get("/v1/commits?kind=kill").await.ok();
    assert_eq!(all["items"].as_array().unwrap().len(), STOPS.len() + 1);
    let of_agent = server
        .get("/v1/commits?kind=kill&scope=production&name=agent:support")
        .await
        .ok();
    let told: Vec<_> = (of_agent["items"].as_array().unwrap().iter())
        .map(|it| [&it["action"], &it["reason"], &it["actor"]].map(|it| it.as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [["revive", "mended", "root"], ["kill", "it lies", "root"]]
    );
    let of_tenant = server.get("/v1/commits?kind=kill&tenant=acme").await.ok();
    assert_eq!(of_tenant["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn no_tree_takes_a_stop_back() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let apply = |documents: Value| {
        server.post(
            "/v1/trees",
            json!({ "documents": documents, "prune": true, "take_over": true }),
        )
    };
    let flag = json!({ "kind": "flag", "name": "dark", "body": { "type": "boolean" } });
    apply(json!([flag])).await.ok();
    server
        .put(&path("", "flag:dark"), json!({ "reason": "it lies" }))
        .await
        .ok();
    let changed = json!({
        "kind": "targeting",
        "scope": "production",
        "name": "dark",
        "body": { "state": "enabled", "default": "on" },
    });
    apply(json!([flag, changed])).await.ok();
    let kill = server.get(&path("", "flag:dark")).await.ok();
    assert_eq!(kill["body"]["reason"], "it lies");
    // Not even a tree that no longer has the flag.
    apply(json!([])).await.problem(409, "REFERENCE_IN_USE");
    let kill = json!({ "kind": "kill", "scope": "production", "name": "flag:dark", "body": { "reason": "" } });
    apply(json!([flag, kill]))
        .await
        .problem(422, "COMMAND_REQUIRED");
}
