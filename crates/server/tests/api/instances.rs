use serde_json::{Value, json};

use crate::harness::Server;

const ACKS: &str = "/v1/environments/production/acks";

fn ack(instance: &str, serves: u64) -> Value {
    json!({
        "service": "orders",
        "service_version": "1.9",
        "instance": instance,
        "sdk": "rust/0.1.0",
        "serves": serves,
        "revision": serves,
        "state": "applied",
    })
}

async fn status(server: &Server, revision: u64) -> Value {
    server
        .get(&format!("/v1/revisions/{revision}/status"))
        .await
        .ok()
}

#[tokio::test]
async fn a_revision_that_everybody_serves_has_come_all_the_way() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let head = server.revision();
    for instance in ["a", "b"] {
        let reply = server.post(ACKS, ack(instance, head)).await.ok();
        assert_eq!(reply["revision"], head);
        assert_eq!(reply["again_seconds"], 30);
    }
    let found = status(&server, head).await;
    assert_eq!(found["instances"]["applied"], 2);
    assert_eq!(found["services"][0]["service_version"], "1.9");
    assert_eq!(found["behind"], json!([]));
}

#[tokio::test]
async fn who_rejects_or_holds_back_a_revision_is_named_with_the_reason() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let head = server.revision();
    server.post(ACKS, ack("a", head)).await.ok();
    for (instance, state) in [("b", "rejected"), ("c", "held_back")] {
        let mut refused = ack(instance, head - 1);
        refused["revision"] = json!(head);
        refused["state"] = json!(state);
        refused["problems"] = json!([
            { "subject": "config:ai", "pointer": "/temperature", "detail": "3 is more than 2" },
        ]);
        server.post(ACKS, refused).await.ok();
    }
    server.post(ACKS, ack("d", head - 1)).await.ok();
    let found = status(&server, head).await;
    assert_eq!(
        found["instances"],
        json!({ "total": 4, "applied": 1, "rejected": 1, "held_back": 1, "lagging": 1, "silent": 0 })
    );
    let behind = found["behind"].as_array().unwrap();
    assert_eq!(behind.len(), 3);
    assert_eq!(behind[0]["state"], "rejected");
    assert_eq!(behind[0]["problems"][0]["pointer"], "/temperature");
    assert_eq!(behind[2].get("state"), None, "it only lags");
    let earlier = status(&server, head - 1).await;
    assert_eq!(earlier["instances"]["lagging"], 0);
}

#[tokio::test]
async fn what_is_refused_since_a_revision_says_nothing_of_an_earlier_one_that_was_served() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let head = server.revision();
    let mut refused = ack("a", head);
    refused["state"] = json!("rejected");
    refused["problems"] = json!([
        { "subject": "config:ai", "pointer": "/temperature", "detail": "3 is more than 2", "since": head },
    ]);
    server.post(ACKS, refused).await.ok();
    assert_eq!(status(&server, head).await["instances"]["rejected"], 1);
    let earlier = status(&server, head - 1).await;
    assert_eq!(
        (
            &earlier["instances"]["applied"],
            &earlier["instances"]["rejected"]
        ),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn an_instance_is_asked_what_it_relies_on_until_it_says_so() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let reply = server.post(ACKS, ack("a", 1)).await.ok();
    assert_eq!(reply["wants_contract"], true);
    let mut telling = ack("a", 1);
    telling["contract"] = json!({});
    let reply = server.post(ACKS, telling).await.ok();
    assert_eq!(reply.get("wants_contract"), None);
    let reply = server.post(ACKS, ack("a", 2)).await.ok();
    assert_eq!(reply.get("wants_contract"), None);
}

#[tokio::test]
async fn only_what_the_token_covers_is_counted() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let head = server.revision();
    server.post(ACKS, ack("a", head)).await.ok();
    let elsewhere = server
        .token_of("viewer", json!({ "environments": ["staging"] }))
        .await;
    let path = format!("/v1/revisions/{head}/status");
    let reply = server
        .bare("GET", &path)
        .token(&elsewhere)
        .send()
        .await
        .ok();
    assert_eq!(reply["instances"]["total"], 0);
    let path = format!("{path}?environment=production");
    let reply = server.bare("GET", &path).token(&elsewhere).send().await;
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn an_acknowledgement_that_says_nothing_clear_is_refused() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for (field, value) in [
        ("service", json!("")),
        ("instance", json!("x".repeat(300))),
        ("instance", json!("a\nb")),
        ("problems", json!([{ "subject": "", "detail": "" }])),
        (
            "problems",
            json!(vec![json!({ "subject": "s", "detail": "d" }); 51]),
        ),
        ("serves", json!(-1)),
        ("state", json!("fine")),
        ("surprise", json!(1)),
    ] {
        let mut body = ack("a", 1);
        body[field] = value.clone();
        let reply = server.post(ACKS, body).await;
        assert_eq!(reply.status, 422, "{field} = {value}");
    }
    for revision in ["0", "9999", "x"] {
        let reply = server
            .get(&format!("/v1/revisions/{revision}/status"))
            .await;
        assert_eq!(reply.status, 404, "{revision}");
    }
}
