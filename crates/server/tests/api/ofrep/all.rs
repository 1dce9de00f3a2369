//! All flags at once, and when a client holds them already.

use serde_json::{Value, json};

use super::IN_PRODUCTION;
use crate::harness::Server;

#[tokio::test]
async fn all_flags_come_in_the_order_of_their_keys_and_fail_alone() {
    let server = Server::start().await;
    server.given_flags().await;
    let all = server.ofrep("", json!({})).await.ok();
    let flags = all["flags"].as_array().unwrap();
    let keys: Vec<_> = flags.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(
        keys,
        ["half", "limits", "ratio", "reasoning", "theme", "unset"]
    );
    assert_eq!(flags[0]["errorCode"], "TARGETING_KEY_MISSING");
    assert_eq!(all["metadata"], json!({ "environment": "production" }));
    for flag in flags.iter().skip(1) {
        let key = flag["key"].as_str().unwrap();
        assert_eq!(
            *flag,
            server.ofrep(key, json!({})).await.ok(),
            "as if asked for alone"
        );
    }
    let plain = server
        .post(IN_PRODUCTION, json!({ "context": {} }))
        .await
        .ok();
    assert_eq!(plain, all, "with and without a slash at the end");
}

#[tokio::test]
async fn an_etag_covers_flags_context_and_tenant_and_nothing_else() {
    let server = Server::start().await;
    server.given_flags().await;
    let etag = async |context: Value| server.ofrep("", context).await.header("etag").to_owned();
    let first = etag(json!({})).await;
    assert_eq!(etag(json!({})).await, first);
    assert_ne!(etag(json!({ "country": "DE" })).await, first);
    assert_ne!(etag(json!({ "tenant": "acme" })).await, first);
    let held = |etag: &str| {
        let call = server.call("POST", IN_PRODUCTION).asks(json!({}));
        call.header("if-none-match", etag)
    };
    let unchanged = held(&first).send().await;
    assert_eq!((unchanged.status.as_u16(), unchanged.bytes.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), first);
    assert_eq!(held(&format!("W/{first}, \"b\"")).send().await.status, 304);
    server.put("/v1/environments/moon", json!({})).await.ok();
    assert_eq!(
        held(&first).send().await.status,
        304,
        "of no concern to these flags"
    );
    let kill = "/v1/environments/production/kills/flag:theme";
    server.put(kill, json!({ "reason": "too dark" })).await.ok();
    assert_eq!(held(&first).send().await.status, 200);
}

#[tokio::test]
async fn an_etag_covers_the_time_where_a_flag_depends_on_it() {
    let server = Server::start().await;
    server.given_flags().await;
    let window = json!({
        "state": "enabled",
        "rules": [{
            "name": "later",
            "if": { "attribute": "country", "exists": true },
            "window": { "from": "2026-03-01T12:05:00Z" },
            "serve": "dark",
        }],
        "default": "light",
    });
    server
        .given(&[("targeting", "production", "theme", window)])
        .await;
    let before = server.ofrep("", json!({ "country": "FR" })).await;
    server.clock.advance(299);
    let held = server
        .call("POST", IN_PRODUCTION)
        .asks(json!({ "country": "FR" }));
    let held = held
        .header("if-none-match", before.header("etag"))
        .send()
        .await;
    assert_eq!(held.status, 304);
    server.clock.advance(1);
    let after = server.ofrep("", json!({ "country": "FR" })).await;
    assert_ne!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn who_was_told_of_another_configuration_gets_the_flags() {
    let server = Server::start().await;
    server.given_flags().await;
    let etag = server.ofrep("", json!({})).await.header("etag").to_owned();
    let head = server.node.snapshot().state().head();
    let current = format!("{}.{}", head.revision, &head.hash.hex()[..8]);
    for (query, status) in [
        (format!("flagConfigEtag={current}"), 304),
        ("flagConfigEtag=1.00000000".to_owned(), 200),
        ("flagConfigEtag=another".to_owned(), 200),
        ("flagConfigLastModified=1771622898".to_owned(), 200),
    ] {
        let call = server
            .call("POST", &format!("{IN_PRODUCTION}?{query}"))
            .asks(json!({}));
        let reply = call.header("if-none-match", &etag).send().await;
        assert_eq!(reply.status, status, "{query}");
    }
}

#[tokio::test]
async fn flags_beyond_those_that_have_counters_share_one_whatever_their_variants() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let keys: Vec<_> = (0..2_010).map(|number| format!("f{number}")).collect();
    for keys in keys.chunks(1_000) {
        let made: Vec<_> = (keys.iter())
            .map(|key| ("flag", "", key.as_str(), json!({ "type": "boolean" })))
            .collect();
        server.given(&made).await;
    }
    for _ in 0..2 {
        server.ofrep("", json!({})).await.ok();
    }
    let text = server.get("/metrics").await.bytes;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let counted: Vec<_> = (text.lines())
        .filter(|line| line.starts_with("control_plane_flag_evaluations_total"))
        .collect();
    // The last by key is the platform's own, and it is on.
    for shared in ["reason=\"disabled\"} 20", "reason=\"default\"} 2"] {
        let line = format!("{{flag=\"__other__\",variant=\"\",{shared}");
        assert!(counted.iter().any(|it| it.ends_with(&line)), "{line}");
    }
    assert_eq!(counted.len(), 2_000 + 2);
}

#[tokio::test]
async fn evaluations_of_all_flags_are_timed_as_those_of_one_are() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let timed = async || {
        let text = server.get("/metrics").await.bytes;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let name = "control_plane_flag_evaluation_duration_seconds_count ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        count.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(timed().await, 0);
    server.ofrep("", json!({})).await.ok();
    assert_eq!(timed().await, 1, "the first is");
    for _ in 0..128 {
        let all = json!({ "context": {} });
        let path = "/v1/environments/production/evaluate";
        server.post(path, all).await.ok();
    }
    assert!(timed().await > 1);
}
