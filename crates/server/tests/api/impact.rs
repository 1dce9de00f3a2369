//! What dry runs say of the tenants that a change would reach.

use serde_json::{Value, json};

use crate::harness::{Reply, Server};

const TARGETING: &str = "/v1/environments/production/targeting/reasoning";

async fn put(server: &Server, path: &str, body: Value) -> Reply {
    let call = server.call("PUT", path).header("if-match", "*");
    call.json(&body).send().await
}

fn off_for_all() -> Value {
    json!({ "state": "enabled", "default": "off" })
}

#[tokio::test]
async fn a_dry_run_counts_the_tenants_that_a_change_would_reach_and_names_some() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let found = put(&server, &format!("{TARGETING}?dry_run=true"), off_for_all())
        .await
        .ok();
    let impact = &found["plan"]["impact"];
    assert_eq!(impact.as_array().unwrap().len(), 1);
    let impact = &impact[0];
    assert_eq!(impact["environment"], "production");
    assert_eq!(
        (&impact["tenants"], &impact["asked"]),
        (&json!(2), &json!(2))
    );
    let flag = &impact["flags"][0];
    assert_eq!(
        (&flag["flag"], &flag["tenants"]),
        (&json!("reasoning"), &json!(1))
    );
    assert_eq!(
        flag["shifts"][0]["before"],
        json!({ "variant": "on", "value": true })
    );
    assert_eq!(
        flag["shifts"][0]["after"],
        json!({ "variant": "off", "value": false })
    );
    assert_eq!(flag["shifts"][0]["named"], json!(["acme"]));
    let by_user = json!({"state": "enabled", "default": {"percent": {"on": 10}, "by": "user.id"}});
    let path = format!("{TARGETING}?dry_run=true");
    let divided = put(&server, &path, by_user).await.ok();
    let units = &divided["plan"]["impact"][0]["units"][0];
    assert_eq!(units["flag"], "reasoning");
    assert_eq!(units["by"], json!(["user.id"]));
    let counted = [&units["units"], &units["asked"]].map(|it| it.as_u64().unwrap());
    assert!(0 < counted[0] && counted[0] <= counted[1], "{units}");
    let unnamed = put(
        &server,
        &format!("{TARGETING}?dry_run=true&impact_tenants=0"),
        off_for_all(),
    )
    .await
    .ok();
    let shift = &unnamed["plan"]["impact"][0]["flags"][0]["shifts"][0];
    assert_eq!(shift["named"], json!([]));
    put(
        &server,
        &format!("{TARGETING}?dry_run=true&impact_tenants=10001"),
        off_for_all(),
    )
    .await
    .problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn what_reaches_nobody_and_what_is_committed_has_no_impact_in_the_answer() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let flag = json!({ "type": "boolean", "description": "thinks longer" });
    let found = put(&server, "/v1/flags/reasoning?dry_run=true", flag)
        .await
        .ok();
    assert_eq!(found["plan"].get("impact"), None);
    let done = put(&server, TARGETING, off_for_all()).await.ok();
    assert_eq!(done["plan"].get("impact"), None);
}

#[tokio::test]
async fn whoever_may_know_of_one_tenant_learns_of_no_other() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let narrow = json!({ "tenants": ["zeta"], "environments": ["production"] });
    let token = server.token_of("releaser", narrow).await;
    let on = json!({ "variant": "on", "reason": "trial" });
    let path = "/v1/environments/production/tenants/zeta/pins/flag:reasoning?dry_run=true";
    let found = server
        .bare("PUT", path)
        .token(&token)
        .json(&on)
        .send()
        .await
        .ok();
    let impact = &found["plan"]["impact"][0];
    assert_eq!(impact["tenants"], 1);
    assert_eq!(impact["flags"][0]["shifts"][0]["named"], json!(["zeta"]));
}

#[tokio::test]
async fn another_bucketing_comes_by_a_migration_that_says_whom_it_moves_and_changes_nothing_else() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let tenants = (0..40).map(|at| format!("t{at}")).collect::<Vec<_>>();
    let known = tenants
        .iter()
        .map(|id| ("tenant", "", id.as_str(), json!({})));
    server.given(&known.collect::<Vec<_>>()).await;
    let half = json!({ "state": "enabled", "default": { "percent": { "on": 50 } } });
    put(&server, TARGETING, half).await.ok();

    let environment = "/v1/environments/production";
    let by_hand = json!({ "order": 1, "bucketing": "flagd-v2" });
    let problem = put(&server, environment, by_hand).await;
    let problem = problem.problem(409, "IMMUTABLE");
    let next = problem["next"].as_str().unwrap();
    assert!(next.contains("environment migrate production"), "{next}");

    let path = format!("{environment}/bucketing");
    let wish = json!({ "bucketing": "flagd-v2", "reason": "the fleet hashes so" });
    let given = |query: &str| server.call("PUT", &format!("{path}{query}")).json(&wish);
    let foreseen = given("?dry_run=true").send().await.ok();
    let moved = &foreseen["plan"]["impact"][0]["flags"][0];
    assert_eq!(moved["flag"], "reasoning");
    let count = moved["tenants"].as_u64().unwrap();
    assert!((1..=42).contains(&count), "{count}");

    let done = given("").header("idempotency-key", "m-1").send().await.ok();
    assert_eq!(done["plan"]["impact"], foreseen["plan"]["impact"]);
    let found = server.get(environment).await.ok();
    assert_eq!(
        found["body"],
        json!({ "order": 1, "protected": false, "bucketing": "flagd-v2" })
    );
    let log = server.get("/v1/commits?limit=1").await.ok();
    assert_eq!(log["items"][0]["action"], "migrate");
    let again = given("").header("idempotency-key", "m-1").send().await.ok();
    assert_eq!(again["revision"], done["revision"]);
    let nothing = given("").send().await.ok();
    assert_eq!(nothing["changed"], false);

    let bad = json!({ "bucketing": "md5", "reason": "because" });
    let call = server.call("PUT", &path).json(&bad);
    call.send().await.problem(422, "FIELD_INVALID");
    let silent = json!({ "bucketing": "flagd-v3", "reason": " " });
    let call = server.call("PUT", &path).json(&silent);
    call.send().await.problem(422, "FIELD_INVALID");
    let call = server
        .call("PUT", "/v1/environments/nowhere/bucketing")
        .json(&wish);
    call.send().await.problem(404, "NOT_FOUND");
}
