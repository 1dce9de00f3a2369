//! Flags that should be gone, as the usage that services report and the log's times have it.

use serde_json::{Value, json};

use crate::harness::Server;

const STALE: &str = "/v1/environments/production/stale-flags";
const USAGE: &str = "/v1/environments/production/usage";
const DAY: i64 = 86_400;

async fn evaluated(server: &Server, batch: &str, flag: &str, variant: &str) {
    let count = json!({
        "flag": flag,
        "variant": variant,
        "reason": "SPLIT",
        "count": 1,
        "last_at": "2999-01-01T00:00:00Z",
    });
    let report = json!({ "service": "orders", "batch": batch, "counts": [count] });
    server.post(USAGE, report).await.ok();
}

fn rules(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    let rules = items.iter().flat_map(|it| {
        let findings = it["findings"].as_array().unwrap();
        findings.iter().map(|found| {
            let (flag, rule) = (
                it["flag"].as_str().unwrap(),
                found["rule"].as_str().unwrap(),
            );
            assert!(!found["next"].as_str().unwrap().is_empty());
            format!("{flag}: {rule}")
        })
    });
    rules.collect()
}

#[tokio::test]
async fn flags_become_stale_by_the_servers_clock() {
    let server = Server::start().await;
    server.given_a_platform().await;
    evaluated(&server, "a", "reasoning", "on").await;
    assert!(rules(&server.get(STALE).await.ok()).is_empty());
    server.clock.advance(31 * DAY);
    // Nobody has asked for 31 days: of that nothing is said while the counts are kept.
    assert!(rules(&server.get(STALE).await.ok()).is_empty());
    evaluated(&server, "b", "reasoning", "on").await;
    let stale = server.get(STALE).await.ok();
    assert_eq!(rules(&stale), ["reasoning: one_variant"]);
    assert!(stale["items"][0]["last_at"].is_string());
    let longer = server.get(&format!("{STALE}?days=32")).await.ok();
    assert!(rules(&longer).is_empty());
    evaluated(&server, "c", "reasoning", "off").await;
    assert!(rules(&server.get(STALE).await.ok()).is_empty());
}

#[tokio::test]
async fn a_flag_that_nobody_asks_for_is_stale_when_nobody_has_changed_it() {
    let server = Server::start().await;
    server.given_a_platform().await;
    server.clock.advance(31 * DAY);
    server.given(&[("tenant", "", "new", json!({}))]).await;
    let stale = server.get(STALE).await.ok();
    assert_eq!(rules(&stale), ["reasoning: never_evaluated"]);
    server
        .given(&[(
            "flag",
            "",
            "reasoning",
            json!({ "type": "boolean", "owner": "ml" }),
        )])
        .await;
    assert!(rules(&server.get(STALE).await.ok()).is_empty());
}

#[tokio::test]
async fn stale_flags_come_in_pages() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let old = json!({ "type": "boolean", "expires": "2020-01-01" });
    let flags = ["a", "b", "c"].map(|name| ("flag", "", name, old.clone()));
    server.given(&flags).await;
    let first = server.get(&format!("{STALE}?limit=2")).await.ok();
    assert_eq!(rules(&first), ["a: expired", "b: expired"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let cursor = cursor.replace('|', "%7C");
    let rest = server
        .get(&format!("{STALE}?limit=2&cursor={cursor}"))
        .await
        .ok();
    assert_eq!(rules(&rest), ["c: expired"]);
    assert_eq!(rest.get("next_cursor"), None);
}

#[tokio::test]
async fn days_beyond_what_is_kept_and_foreign_environments_are_refused() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for days in ["0", "91", "many"] {
        let reply = server.get(&format!("{STALE}?days={days}")).await;
        reply.problem(400, "REQUEST_INVALID");
    }
    let grant = json!({ "environments": ["staging"] });
    let token = server.token_of("viewer", grant).await;
    let reply = server.bare("GET", STALE).token(&token).send().await;
    reply.problem(404, "ENVIRONMENT_NOT_FOUND");
}
