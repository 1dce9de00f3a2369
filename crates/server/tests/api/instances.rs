use plane_model::limits;
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

/// An acknowledgement of one that relies on something, as `contract` says.
fn relying(instance: &str, contract: &Value) -> Value {
    let digest = plane_model::canonical::canonical_digest(contract).unwrap();
    let mut ack = ack(instance, 1);
    ack["contract_digest"] = json!(digest);
    ack
}

#[tokio::test]
async fn one_instance_is_asked_what_its_service_relies_on_until_it_says_so() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let reply = server.post(ACKS, ack("z", 1)).await.ok();
    assert_eq!(reply.get("wants_contract"), None, "it relies on nothing");
    let contract = json!({ "flags": { "reasoning": "boolean" } });
    let a = relying("a", &contract);
    let reply = server.post(ACKS, a.clone()).await.ok();
    assert_eq!(reply["wants_contract"], true);
    let mut telling = a.clone();
    telling["contract"] = contract.clone();
    let reply = server.post(ACKS, telling.clone()).await.ok();
    assert_eq!(reply.get("wants_contract"), None);
    let reply = server.post(ACKS, relying("b", &contract)).await.ok();
    assert_eq!(reply.get("wants_contract"), None, "the other has told it");

    telling["contract_digest"] = json!("0".repeat(64));
    let problem = server.post(ACKS, telling.clone()).await;
    let problem = problem.problem(422, "FIELD_INVALID");
    assert_eq!(problem["errors"][0]["pointer"], "/contract_digest");
    telling.as_object_mut().unwrap().remove("contract_digest");
    telling["contract"] = json!({ "configs": { "ai": { "type": "number-ish" } } });
    let problem = server.post(ACKS, telling.clone()).await;
    assert_eq!(problem.status, 422);
    let pointer = &problem.json()["errors"][0]["pointer"];
    assert!(
        pointer
            .as_str()
            .unwrap()
            .starts_with("/contract/configs/ai"),
        "{pointer}"
    );
    let of_bytes = |bytes: usize| {
        let titled = |title: String| json!({ "configs": { "ai": { "title": title } } });
        let around = titled(String::new()).to_string().len();
        titled("x".repeat(bytes - around))
    };
    telling["contract"] = of_bytes(limits::CONTRACT_BYTES_MAX);
    server.post(ACKS, telling.clone()).await.ok();
    telling["contract"] = of_bytes(limits::CONTRACT_BYTES_MAX + 1);
    let problem = server.post(ACKS, telling).await;
    problem.problem(422, "LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_plan_says_which_live_instances_would_reject_it_and_why() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let schema = json!({ "type": "object" });
    let layer = |value: Value| ("config", "production", "ai", value);
    server
        .given(&[
            ("schema", "", "ai", schema),
            layer(json!({ "temperature": 1 })),
        ])
        .await;
    let contract = json!({
        "configs": { "ai": { "properties": { "temperature": { "maximum": 2 } } } },
        "flags": { "reasoning": "boolean", "gone_long_ago": "string" },
    });
    let mut first = relying("a", &contract);
    first["contract"] = contract.clone();
    server.post(ACKS, first).await.ok();
    for instance in ["b", "c"] {
        server.post(ACKS, relying(instance, &contract)).await.ok();
    }
    server.post(ACKS, ack("relies-on-nothing", 1)).await.ok();
    let mut other = relying("other", &json!({ "flags": { "beta": "boolean" } }));
    other["service"] = json!("search");
    server.post(ACKS, other).await.ok();

    let commits = "/v1/commits?dry_run=true";
    let ops = json!([
        { "op": "put", "kind": "config", "scope": "production", "name": "ai", "body": { "temperature": 3 } },
        { "op": "delete", "kind": "targeting", "scope": "production", "name": "reasoning" },
        { "op": "delete", "kind": "flag", "name": "reasoning" },
    ]);
    let request = json!({ "reason": "try", "ops": ops });
    let plan = server.post(commits, request.clone()).await.ok()["plan"].clone();
    let told = &plan["instances"];
    assert_eq!((&told["live"], &told["unknown"]), (&json!(5), &json!(1)));
    let rejections = told["rejections"].as_array().unwrap();
    assert_eq!(rejections.len(), 1, "{told:#}");
    let it = &rejections[0];
    assert_eq!(
        (&it["service"], &it["service_version"], &it["environment"]),
        (&json!("orders"), &json!("1.9"), &json!("production"))
    );
    assert_eq!((&it["instances"], &it["live"]), (&json!(3), &json!(4)));
    let breaches = it["breaches"].as_array().unwrap();
    let about: Vec<_> = breaches
        .iter()
        .map(|it| (&it["subject"], &it["pointer"]))
        .collect();
    assert_eq!(
        about,
        [
            (&json!("config:ai"), &json!("/temperature")),
            (&json!("flag:reasoning"), &json!("")),
        ],
        "what is broken already is not the plan's doing"
    );

    let fine = json!({ "reason": "try", "ops": [
        { "op": "put", "kind": "config", "scope": "production", "name": "ai", "body": { "temperature": 2 } },
    ] });
    let plan = server.post(commits, fine).await.ok()["plan"].clone();
    assert_eq!(plan["instances"]["rejections"], json!([]));
    let elsewhere = json!({ "reason": "try", "ops": [
        { "op": "put", "kind": "config", "scope": "staging", "name": "ai", "body": { "temperature": 3 } },
    ] });
    let plan = server.post(commits, elsewhere).await.ok()["plan"].clone();
    assert_eq!(plan.get("instances"), None, "nobody is live there");
    server.clock.advance(91);
    let plan = server.post(commits, request).await.ok()["plan"].clone();
    assert_eq!(plan.get("instances"), None, "all are silent");
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
