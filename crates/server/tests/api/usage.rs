use serde_json::{Value, json};

use crate::harness::Server;

const USAGE: &str = "/v1/environments/production/usage";
/// Some time before the clock of these tests begins.
const EARLIER: &str = "2020-01-01T00:00:00Z";

fn report(batch: &str, version: &str, counts: Value) -> Value {
    let mut report = json!({ "service": "orders", "service_version": version, "batch": batch });
    report["counts"] = counts;
    report
}

fn count(flag: &str, variant: &str, count: u64) -> Value {
    let reason = if variant.is_empty() { "ERROR" } else { "SPLIT" };
    json!({ "flag": flag, "variant": variant, "reason": reason, "count": count, "last_at": "2999-01-01T00:00:00Z" })
}

async fn usage(server: &Server, flag: &str) -> Value {
    server.get(&format!("/v1/flags/{flag}/usage")).await.ok()
}

#[tokio::test]
async fn what_services_evaluate_adds_up_by_version_and_variant() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let none = usage(&server, "reasoning").await;
    assert_eq!((&none["count"], &none["usage"]), (&json!(0), &json!([])));
    assert_eq!(none.get("last_at"), None);

    let counts = json!([count("reasoning", "on", 3), count("reasoning", "off", 4)]);
    let reply = server.post(USAGE, report("a", "1.9", counts)).await.ok();
    assert_eq!(reply["again_seconds"], 60);
    let counts = json!([count("reasoning", "on", 2)]);
    server
        .post(USAGE, report("b", "1.9", counts.clone()))
        .await
        .ok();
    server.post(USAGE, report("c", "2.0", counts)).await.ok();
    let told = usage(&server, "reasoning").await;
    assert_eq!(told["count"], 11);
    let rows: Vec<_> = (told["usage"].as_array().unwrap().iter())
        .map(|it| (&it["service_version"], &it["variant"], &it["count"]))
        .collect();
    assert_eq!(
        rows,
        [
            (&json!("1.9"), &json!("off"), &json!(4)),
            (&json!("1.9"), &json!("on"), &json!(5)),
            (&json!("2.0"), &json!("on"), &json!(2)),
        ]
    );
    let last = told["last_at"].as_str().unwrap();
    assert!(
        last < "2999",
        "a clock that is ahead is not believed: {last}"
    );

    let elsewhere = server
        .get("/v1/flags/reasoning/usage?environment=staging")
        .await
        .ok();
    assert_eq!(elsewhere["count"], 0);
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    let line = r#"control_plane_flag_sdk_evaluations_total{flag="reasoning",variant="on",reason="split"} 7"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_batch_that_is_sent_again_counts_once() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for _ in 0..2 {
        let counts = json!([count("reasoning", "on", 3)]);
        server.post(USAGE, report("a", "1.9", counts)).await.ok();
    }
    assert_eq!(usage(&server, "reasoning").await["count"], 3);
}

#[tokio::test]
async fn a_flag_that_services_ask_for_and_that_does_not_exist_is_told_too() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let counts = json!([
        count("gone", "", 3),
        count("reasoning", "no-such-variant", 1)
    ]);
    server.post(USAGE, report("a", "1.9", counts)).await.ok();
    let told = usage(&server, "gone").await;
    assert_eq!(told["usage"][0]["reason"], "ERROR");
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    assert!(
        !text.contains("no-such-variant"),
        "labels are bounded: {text}"
    );
    assert!(!text.contains(r#"flag="gone""#), "{text}");
    let reply = server.get("/v1/flags/never_heard_of/usage").await;
    reply.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn only_what_happens_where_the_token_sees_is_told() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let counts = json!([count("reasoning", "on", 3)]);
    server.post(USAGE, report("a", "1.9", counts)).await.ok();
    let elsewhere = server
        .token_of("viewer", json!({ "environments": ["staging"] }))
        .await;
    let ask = |path: &str| server.bare("GET", path).token(&elsewhere);
    let reply = ask("/v1/flags/reasoning/usage").send().await.ok();
    assert_eq!(reply["usage"], json!([]));
    let path = "/v1/flags/reasoning/usage?environment=production";
    assert_eq!(ask(path).send().await.status, 404);
    let body = report("b", "1.9", json!([]));
    let reply = server.bare("POST", USAGE).token(&elsewhere).json(&body);
    assert_eq!(reply.send().await.status, 404);
}

#[tokio::test]
async fn counts_that_say_nothing_clear_are_refused() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let one = || count("reasoning", "on", 1);
    let with = |field: &str, value: Value| {
        let mut count = one();
        count[field] = value;
        report("a", "1.9", json!([count]))
    };
    for (body, pointer) in [
        (with("reason", json!("BECAUSE")), "/counts/0/reason"),
        (with("flag", json!("")), "/counts/0/flag"),
        (with("variant", json!("a\nb")), "/counts/0/variant"),
        (report("", "1.9", json!([])), "/batch"),
        (report("a", "1.9", json!(vec![one(); 1_001])), "/counts"),
    ] {
        let reply = server.post(USAGE, body).await;
        assert_eq!(reply.status, 422, "{pointer}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer);
    }
    let counted = with("last_at", json!(EARLIER));
    server.post(USAGE, counted).await.ok();
}

#[tokio::test]
async fn what_the_server_evaluates_is_the_usage_of_who_asks_it() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let patches = json!({ "on": { "temperature": 0.3 } });
    let overrides = json!({ "agents": ["support"], "priority": 1, "patches": patches });
    let smart = json!({ "type": "boolean", "overrides": overrides });
    server.put("/v1/flags/smart", smart).await.ok();
    let storefront = server
        .token_of("viewer", json!({ "principal": "storefront" }))
        .await;
    let asks = |path: &str, body: Value| {
        let path = format!("/v1/environments/production{path}");
        server.bare("POST", &path).token(&storefront).json(&body)
    };
    let acme = || json!({ "context": { "tenant": "acme" } });
    let ofrep = "/ofrep/v1/evaluate/flags";
    let one = asks(&format!("{ofrep}/reasoning"), acme());
    one.send().await.ok();
    asks(ofrep, acme()).send().await.ok();
    server.clock.advance(5);
    let named = json!({ "flags": ["reasoning", "no_such_flag"], "context": { "tenant": "acme" } });
    asks("/evaluate", named).send().await.ok();
    let last = server.node.now().to_string();

    let told = usage(&server, "reasoning").await;
    let row = json!({
        "environment": "production", "service": "storefront", "service_version": "", "variant": "on",
        "reason": "TARGETING_MATCH", "count": 3, "last_at": last,
    });
    let rows = told["usage"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{told}");
    for (name, value) in row.as_object().unwrap() {
        assert_eq!(&rows[0][name], value, "{name}");
    }
    assert_eq!(usage(&server, "smart").await["count"], 1);
    asks("/agents/support/resolve", json!({})).send().await.ok();
    let told = usage(&server, "smart").await;
    assert_eq!(
        (&told["count"], &told["usage"][0]["reason"]),
        (&json!(2), &json!("DISABLED"))
    );
    let reply = server.get("/v1/flags/no_such_flag/usage").await;
    reply.problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn who_looks_at_a_flag_does_not_use_it() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let evaluate = "/v1/environments/production/evaluate";
    let asks = |explain: bool| json!({ "flags": ["reasoning"], "explain": explain, "context": { "tenant": "acme" } });
    // The harness asks as a person.
    server.post(evaluate, asks(false)).await.ok();
    let service = server.token_of("viewer", json!({})).await;
    let by_service = |explain| {
        server
            .bare("POST", evaluate)
            .token(&service)
            .json(&asks(explain))
    };
    by_service(true).send().await.ok();
    assert_eq!(usage(&server, "reasoning").await["count"], 0);
    by_service(false).send().await.ok();
    assert_eq!(usage(&server, "reasoning").await["count"], 1);
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    let line = r#"control_plane_flag_evaluations_total{flag="reasoning",variant="on",reason="targeting_match"} 3"#;
    assert!(text.contains(line), "all are counted together: {text}");
}
