use serde_json::json;

use crate::harness::Server;

const RESOLVE: &str = "/v1/environments/production/agents/support/resolve";
const EVALUATE: &str = "/v1/environments/production/evaluate";

#[tokio::test]
async fn an_agent_is_resolved_with_its_tools_for_a_tenant() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let posted = server
        .post(RESOLVE, json!({ "tenant": "acme", "user": "u1" }))
        .await;
    let revision = posted.header("control-plane-revision").to_owned();
    let posted = posted.ok();
    assert_eq!(posted["agent"], "support");
    assert_eq!(posted["version"], "1.0.0");
    assert_eq!(posted["tenant"], "acme");
    assert_eq!(posted["tools"][0]["name"], "crm_tool");
    assert_eq!(posted["revision"].to_string(), revision);
    let got = server
        .get(&format!("{RESOLVE}?tenant=acme&user=u1"))
        .await
        .ok();
    assert_eq!(got, posted);
    server.call("POST", RESOLVE).send().await.ok();
    server
        .post("/v1/environments/moon/agents/support/resolve", json!({}))
        .await
        .problem(404, "ENVIRONMENT_NOT_FOUND");
    server
        .post("/v1/environments/staging/agents/support/resolve", json!({}))
        .await
        .problem(404, "CHANNEL_NOT_FOUND");
    server
        .post("/v1/environments/production/agents/none/resolve", json!({}))
        .await
        .problem(404, "AGENT_NOT_FOUND");
    server
        .post(RESOLVE, json!({ "colour": "red" }))
        .await
        .problem(422, "CONTEXT_INVALID");
}

#[tokio::test]
async fn a_killed_agent_is_not_resolved_until_it_is_revived() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let kill = "/v1/environments/production/kills/agent:support";
    server
        .put(kill, json!({}))
        .await
        .problem(422, "FIELD_MISSING");
    server
        .put(kill, json!({ "reason": "answers in the wrong language" }))
        .await
        .ok();
    let problem = server
        .post(RESOLVE, json!({}))
        .await
        .problem(409, "AGENT_KILLED");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("wrong language"),
        "{problem}"
    );
    let kills = server.get("/v1/environments/production/kills").await.ok();
    assert_eq!(kills["items"][0]["name"], "agent:support");
    let commit = server.get("/v1/commits?limit=1").await.ok();
    assert_eq!(commit["items"][0]["action"], "kill");
    assert_eq!(
        commit["items"][0]["reason"],
        "answers in the wrong language"
    );
    let metrics = server.bare("GET", "/metrics").send().await;
    let text = String::from_utf8(metrics.bytes.to_vec()).unwrap();
    assert!(
        text.contains("kill_switch_active{environment=\"production\",subject=\"agent:support\"} 1")
    );
    server.call("DELETE", kill).send().await.ok();
    server.post(RESOLVE, json!({})).await.ok();
    server
        .call("DELETE", kill)
        .send()
        .await
        .problem(404, "NOT_FOUND");
    let metrics = server.bare("GET", "/metrics").send().await;
    let text = String::from_utf8(metrics.bytes.to_vec()).unwrap();
    assert!(!text.contains("subject=\"agent:support\""));
}

#[tokio::test]
async fn a_kill_for_one_tenant_stops_it_for_that_tenant_only() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let kill = "/v1/environments/production/tenants/acme/kills/agent:support";
    server
        .put(kill, json!({ "reason": "asked for" }))
        .await
        .ok();
    server
        .post(RESOLVE, json!({ "tenant": "acme" }))
        .await
        .problem(409, "AGENT_KILLED");
    server.post(RESOLVE, json!({ "tenant": "zeta" })).await.ok();
    let all = server.get("/v1/environments/production/kills").await.ok();
    assert_eq!(all["items"][0]["scope"], "production/acme");
    let ops = json!([{ "op": "delete", "kind": "kill", "scope": "production/acme", "name": "agent:support" }]);
    let batch = server.post("/v1/commits", json!({ "ops": ops })).await;
    batch.problem(422, "COMMAND_REQUIRED");
}

#[tokio::test]
async fn flags_are_evaluated_all_or_by_name_and_explained() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let acme = server
        .post(EVALUATE, json!({ "context": { "tenant": "acme" } }))
        .await
        .ok();
    assert_eq!(acme["flags"]["reasoning"]["value"], true);
    assert_eq!(acme["flags"]["reasoning"]["reason"], "TARGETING_MATCH");
    assert_eq!(acme["flags"]["reasoning"]["rule"], "enterprise");
    assert_eq!(
        acme["flags"]["reasoning"]["metadata"]["bucketing"],
        "flagd-v3"
    );
    assert_eq!(acme["flags"]["reasoning"]["metadata"]["team"], "ml");
    assert_eq!(acme["warnings"], json!([]));
    let zeta =
        json!({ "context": { "tenant": "zeta" }, "flags": ["reasoning", "none"], "explain": true });
    let zeta = server.post(EVALUATE, zeta).await.ok();
    assert_eq!(zeta["flags"]["reasoning"]["value"], false);
    assert!(zeta["flags"]["reasoning"]["explanation"]["steps"].is_array());
    assert_eq!(zeta["flags"]["none"]["error_code"], "FLAG_NOT_FOUND");
    let capped = json!({
        "context": { "tenant": "acme" }, "flags": ["reasoning"], "rollout_percentage": 0, "explain": true,
    });
    let capped = &server.post(EVALUATE, capped).await.ok()["flags"]["reasoning"];
    assert_eq!(
        (&capped["value"], &capped["reason"]),
        (&json!(false), &json!("SPLIT"))
    );
    assert_eq!(capped.get("variant"), None);
    let steps = capped["explanation"]["steps"].as_array().unwrap();
    let cap = steps.last().unwrap();
    assert_eq!(
        (&cap["step"], &cap["within"]),
        (&json!("cap"), &json!(false))
    );
    let wrong = json!({ "flags": ["reasoning"], "rollout_percentage": 101 });
    let problem = server.post(EVALUATE, wrong).await;
    let problem = problem.problem(422, "FIELD_INVALID");
    assert_eq!(problem["errors"][0]["pointer"], "/rollout_percentage");
    let unknown = server
        .post(EVALUATE, json!({ "context": { "tenant": "who" } }))
        .await
        .ok();
    assert_eq!(unknown["warnings"], json!(["TENANT_UNKNOWN"]));
    let named = json!({ "context": { "user": "Jürgen" } });
    let told = server.post(EVALUATE, named.clone()).await.ok();
    assert_eq!(told["warnings"], json!([]));
    let migration = json!({ "bucketing": "flagd-v2", "reason": "as before" });
    let path = "/v1/environments/production/bucketing";
    server.put(path, migration).await.ok();
    let told = server.post(EVALUATE, named).await.ok();
    assert_eq!(told["warnings"], json!(["UNIT_NOT_ASCII"]));
    let told = server
        .ofrep("reasoning", json!({ "user": "Jürgen" }))
        .await
        .ok();
    assert_eq!(told["metadata"]["warning"], "UNIT_NOT_ASCII");
    let problem = server
        .post(EVALUATE, json!({ "context": { "x": 1 } }))
        .await;
    assert_eq!(
        problem.problem(422, "CONTEXT_INVALID")["errors"][0]["pointer"],
        "/context/x"
    );
}

#[tokio::test]
async fn a_killed_flag_is_off_at_once_and_as_it_was_in_the_past() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let before = server.revision();
    let kill = "/v1/environments/production/kills/flag:reasoning";
    server.put(kill, json!({ "reason": "too slow" })).await.ok();
    let request = json!({ "context": { "tenant": "acme" } });
    let now = server.post(EVALUATE, request.clone()).await.ok();
    assert_eq!(now["flags"]["reasoning"]["value"], false);
    assert_eq!(now["flags"]["reasoning"]["reason"], "DISABLED");
    let then = server
        .post(&format!("{EVALUATE}?at={before}"), request)
        .await
        .ok();
    assert_eq!(then["flags"]["reasoning"]["value"], true);
    assert_eq!(then["revision"], before);
}

#[tokio::test]
async fn a_token_for_one_tenant_supplies_it_and_no_other_may_be_named() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let token = server
        .token_of("viewer", json!({ "tenants": ["acme"] }))
        .await;
    let post = |path: &'static str, body: serde_json::Value| {
        server.bare("POST", path).token(&token).json(&body).send()
    };
    let silent = post(EVALUATE, json!({})).await.ok();
    assert_eq!(silent["flags"]["reasoning"]["value"], true);
    assert_eq!(post(RESOLVE, json!({})).await.ok()["tenant"], "acme");
    post(RESOLVE, json!({ "tenant": "acme" })).await.ok();
    post(RESOLVE, json!({ "tenant": "zeta" }))
        .await
        .problem(404, "TENANT_NOT_FOUND");
    post(
        EVALUATE,
        json!({ "context": { "tenant": { "id": "zeta" } } }),
    )
    .await
    .problem(404, "TENANT_NOT_FOUND");
    let path = format!("{RESOLVE}?tenant=zeta");
    let get = server.bare("GET", &path).token(&token).send().await;
    let hidden = get.problem(404, "TENANT_NOT_FOUND");
    let path = format!("{RESOLVE}?tenant=nobody");
    let absent = server.bare("GET", &path).token(&token).send().await;
    let absent = absent.problem(404, "TENANT_NOT_FOUND");
    assert_eq!(
        hidden["detail"].as_str().unwrap().replace("zeta", "nobody"),
        absent["detail"].as_str().unwrap()
    );
    let config = "/v1/environments/production/config/ai/effective?tenant=zeta";
    let config = server.bare("GET", config).token(&token).send().await;
    config.problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn configuration_is_merged_for_a_tenant_and_explained() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let schema = json!({
        "type": "object",
        "properties": {
            "model": { "type": "string", "default": "small", "x-override": ["base", "environment", "plan", "tenant"] },
            "limits": { "type": "object" },
        },
    });
    server.given(&[("schema", "", "ai", schema)]).await;
    let base = json!({ "limits": { "tokens": 100 } });
    server.put("/v1/config/ai/layers/base", base).await.ok();
    let layer = "/v1/config/ai/layers/production.plan=enterprise";
    server.put(layer, json!({ "model": "large" })).await.ok();

    let path = "/v1/environments/production/config/ai/effective";
    let acme = server.get(&format!("{path}?tenant=acme")).await.ok();
    assert_eq!(
        acme["value"],
        json!({ "model": "large", "limits": { "tokens": 100 } })
    );
    assert_eq!(
        acme["layers"],
        json!(["default", "base", "production.plan=enterprise"])
    );
    let zeta = server.get(&format!("{path}?tenant=zeta")).await.ok();
    assert_eq!(zeta["value"]["model"], "small");
    server
        .get("/v1/environments/production/config/none/effective")
        .await
        .problem(404, "CONFIG_NOT_FOUND");

    let explain = "/v1/environments/production/config/ai/explain";
    let model = server
        .get(&format!("{explain}?path=model&tenant=acme"))
        .await
        .ok();
    assert_eq!(model["value"], "large");
    assert_eq!(model["layer"], "production.plan=enterprise");
    assert_eq!(model["author"], "root");
    assert_eq!(model["shadowed"][0]["layer"], "default");
    let tokens = server
        .get(&format!("{explain}?path=limits.tokens"))
        .await
        .ok();
    assert_eq!(
        (&tokens["value"], &tokens["layer"]),
        (&json!(100), &json!("base"))
    );
    let pointer = server
        .get(&format!("{explain}?path=/limits/tokens"))
        .await
        .ok();
    assert_eq!(pointer, tokens);
    server.get(explain).await.problem(400, "REQUEST_INVALID");
    server
        .get(&format!("{explain}?path=a..b"))
        .await
        .problem(400, "REQUEST_INVALID");
    server
        .get(&format!("{explain}?path=none"))
        .await
        .problem(404, "CONFIG_NOT_FOUND");

    let list = server.get("/v1/config").await.ok();
    assert_eq!(
        list["items"],
        json!([{ "document": "ai", "has_schema": true, "layers": 2 }])
    );
    let layers = server.get("/v1/config/ai/layers").await.ok();
    assert_eq!(layers["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_least_revision_is_waited_for_and_then_refused() {
    let server = Server::start().await;
    let head = server.revision();
    let ask = |revision: u64| {
        let call = server.call("GET", "/v1/flags");
        call.header("control-plane-min-revision", &revision.to_string())
            .send()
    };
    ask(head).await.ok();
    let (reply, _) = tokio::join!(
        ask(head + 1),
        server.put("/v1/flags/x", json!({ "type": "boolean" }))
    );
    assert_eq!(reply.ok()["items"][0]["name"], "x");
    let late = ask(head + 9).await;
    assert_eq!(late.header("retry-after"), "1");
    assert_eq!(late.problem(503, "REVISION_NOT_REACHED")["retryable"], true);
    let wrong = server
        .call("GET", "/v1/flags")
        .header("control-plane-min-revision", "new");
    wrong.send().await.problem(400, "REQUEST_INVALID");
}
