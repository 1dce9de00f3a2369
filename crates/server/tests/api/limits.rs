//! How often, how many and how long: rates, connections and waits.

use std::num::NonZeroU32;
use std::time::Duration;

use plane_server::{Rate, ServerOptions};
use serde_json::json;

use crate::harness::{ADMIN, Server};
use crate::wire::{Wire, get, request};

fn rate(requests: u32) -> Option<Rate> {
    NonZeroU32::new(requests).map(Rate::per_second)
}

fn metric(text: &str, limit: &str) -> String {
    let name = format!("control_plane_http_held_up_total{{limit=\"{limit}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .to_owned()
}

async fn metrics(server: &Server) -> String {
    let reply = server.bare("GET", "/metrics").send().await;
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_used_too_often_waits_and_no_other_does() {
    let server = Server::with(ServerOptions {
        token_rate: rate(5),
        ..ServerOptions::default()
    })
    .await;
    let other = server.token_of("viewer", json!({})).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..10 {
        server.get("/v1/whoami").await.ok();
    }
    let refused = server.get("/v1/whoami").await;
    assert_eq!(refused.header("retry-after"), "1");
    let problem = refused.problem(429, "RATE_LIMITED");
    assert_eq!(problem["retryable"], true);
    assert!(problem["next"].as_str().unwrap().contains("stream"));
    server
        .bare("GET", "/v1/whoami")
        .token(&other)
        .send()
        .await
        .ok();
    assert_eq!(metric(&metrics(&server).await, "token_rate"), "1");
    tokio::time::advance(Duration::from_millis(200)).await;
    server.get("/v1/whoami").await.ok();
    server.get("/v1/whoami").await.problem(429, "RATE_LIMITED");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_access_refills_nobody_s_bucket() {
    let server = Server::with(ServerOptions {
        token_rate: rate(1),
        ..ServerOptions::default()
    })
    .await;
    tokio::time::advance(Duration::from_secs(2)).await;
    server.token_of("viewer", json!({})).await;
    server.get("/v1/whoami").await.ok();
    server.get("/v1/whoami").await.problem(429, "RATE_LIMITED");
}

#[tokio::test(start_paused = true)]
async fn a_kill_passes_when_nothing_else_does() {
    let server = Server::with(ServerOptions {
        token_rate: rate(1),
        ..ServerOptions::default()
    })
    .await;
    for (kind, body) in [
        ("environment", json!({})),
        ("flag", json!({ "type": "boolean" })),
    ] {
        tokio::time::advance(Duration::from_secs(2)).await;
        server.given(&[(kind, "", "production", body)]).await;
    }
    while server.get("/v1/whoami").await.status != 429 {}
    let path = "/v1/environments/production/kills/flag:production";
    server.put(path, json!({ "reason": "fire" })).await.ok();
    server.get("/v1/whoami").await.problem(429, "RATE_LIMITED");
}

#[tokio::test(start_paused = true)]
async fn strangers_wait_but_never_a_valid_token_or_a_probe() {
    let server = Server::with(ServerOptions {
        stranger_rate: rate(3),
        ..ServerOptions::default()
    })
    .await;
    let guess = |number: usize| {
        let call = server.bare("GET", "/v1/whoami");
        call.token(&format!("cp_guess{number}")).send()
    };
    for number in 0..6 {
        guess(number).await.problem(401, "UNAUTHENTICATED");
    }
    let refused = guess(6).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(429, "RATE_LIMITED");
    server
        .bare("GET", "/v1/openapi.json")
        .send()
        .await
        .problem(429, "RATE_LIMITED");
    server.bare("GET", "/healthz").send().await.ok();
    server.bare("GET", "/readyz").send().await.ok();
    server.get("/v1/whoami").await.ok();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(metric(&metrics(&server).await, "address_rate"), "2");
    guess(7).await.problem(401, "UNAUTHENTICATED");
}

#[tokio::test(start_paused = true)]
async fn who_connects_and_says_nothing_is_closed() {
    let wire = Wire::start(ServerOptions::default()).await;
    let begun = tokio::time::Instant::now();
    let mut silent = wire.connect().await;
    let mut halting = wire.connect().await;
    halting
        .send(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-")
        .await;
    assert_eq!(silent.rest().await, "");
    assert_eq!(halting.rest().await, "");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_connection_idles_longer_between_requests_but_not_for_ever() {
    let wire = Wire::start(ServerOptions::default()).await;
    let mut socket = wire.connect().await;
    for _ in 0..3 {
        assert_eq!(socket.ask(&get("/healthz")).await.0, 200);
        tokio::time::advance(Duration::from_mins(1)).await;
    }
    let begun = tokio::time::Instant::now();
    // The next head begins, one byte at a time, and is never whole.
    socket.send(b"GET /healthz").await;
    assert_eq!(socket.rest().await, "");
    assert!(begun.elapsed() <= Duration::from_secs(75));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends_in_a_time_out_whatever_the_operation() {
    let wire = Wire::start(ServerOptions::default()).await;
    for head in [
        "PUT /v1/flags/x HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 10\r\n",
        "POST /v1/commits HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n",
        "GET /v1/environments/production/view?wait=60 HTTP/1.1\r\ntransfer-encoding: chunked\r\n",
        "GET /v1/environments/production/stream HTTP/1.1\r\ntransfer-encoding: chunked\r\n",
    ] {
        let mut socket = wire.connect().await;
        let head = format!("{head}host: x\r\nauthorization: Bearer {ADMIN}\r\n\r\n");
        socket.send(head.as_bytes()).await;
        let begun = tokio::time::Instant::now();
        let (status, problem) = socket.reply().await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (503, Some("REQUEST_TIMEOUT")),
            "{head}"
        );
        assert_eq!(begun.elapsed().as_secs(), 30, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_the_reply_is_closed() {
    let wire = Wire::start(ServerOptions::default()).await;
    let mut socket = wire.connect().await;
    // Far more replies than the buffers between both sides hold.
    let (_, document) = socket.ask(&get("/v1/openapi.json")).await;
    let count = 64;
    let asking = get("/v1/openapi.json").repeat(count);
    socket.send(asking.as_bytes()).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let given = socket.try_rest().await.len();
    assert!(given < count * document.to_string().len(), "{given}");
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_may_still_kill() {
    let wire = Wire::start(ServerOptions {
        connections_max: 1,
        ..ServerOptions::default()
    })
    .await;
    let mut first = wire.connect().await;
    assert_eq!(first.ask(&get("/healthz")).await.0, 200);
    let mut second = wire.connect().await;
    let (status, problem) = second.ask(&get("/v1/whoami")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (503, Some("OVERLOADED"))
    );
    assert_eq!(second.rest().await, "", "and it makes room");
    let mut third = wire.connect().await;
    let kill = request(
        "PUT",
        "/v1/environments/production/kills/flag:reasoning",
        "{\"reason\": \"fire\"}",
    );
    assert_eq!(third.ask(&kill).await.0, 200);
    drop((first, third));
    while wire.connect().await.ask(&get("/v1/whoami")).await.0 != 200 {}
    let metrics = metrics(&wire.server).await;
    assert_ne!(metric(&metrics, "connections"), "0");
}

#[tokio::test]
async fn heads_have_limits_with_a_code_first_and_a_bare_status_beyond() {
    let wire = Wire::start(ServerOptions::default()).await;
    let padded = |bytes: usize| format!("/v1/flags?cursor={}", "x".repeat(bytes));
    let headed = |bytes: usize| {
        let head = get("/v1/whoami");
        head.replace(
            "\r\n\r\n",
            &format!("\r\nx-pad: {}\r\n\r\n", "x".repeat(bytes)),
        )
    };
    let many = |count: usize| {
        let more: Vec<_> = (0..count).map(|it| format!("x-{it}: 1\r\n")).collect();
        let more = more.concat();
        get("/v1/whoami").replace("\r\n\r\n", &format!("\r\n{more}\r\n"))
    };
    for (asked, status, code) in [
        (get(&padded(8 * 1024 - 17)), 400, "REQUEST_INVALID"),
        (get(&padded(8 * 1024)), 414, "URI_TOO_LONG"),
        (get(&format!("/{}", "x".repeat(9_000))), 414, "URI_TOO_LONG"),
        (headed(31 * 1024), 200, ""),
        (headed(32 * 1024), 431, "HEADERS_TOO_LARGE"),
        (many(90), 200, ""),
    ] {
        let (given, problem) = wire.connect().await.ask(&asked).await;
        let given = (given, problem["code"].as_str().unwrap_or_default());
        assert_eq!(given, (status, code));
    }
    for (asked, status) in [(headed(80 * 1024), 431), (many(120), 431)] {
        let mut socket = wire.connect().await;
        // The server may close while the rest is still being sent.
        socket.try_send(asked.as_bytes()).await;
        let reply = socket.try_rest().await;
        assert!(
            reply.is_empty() || reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{reply}"
        );
    }
    assert_eq!(wire.connect().await.ask(&get("/v1/whoami")).await.0, 200);
}
