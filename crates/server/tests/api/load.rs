//! More than the server takes at once: what is refused, who waits, and what nobody has to wait for.

use std::io::Error;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use plane_server::ServerOptions;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::harness::{Events, Reply, Server};

const STREAM: &str = "/v1/environments/production/stream";
/// How many commits wait at most.
const QUEUE: usize = 1_024;

/// A server that waits for as long as the machine takes, and tells nobody in between that nothing happened.
///
/// These tests ask thousands of times. One that was stopped for half a minute, with a request under way, would have it
/// end in a time-out; what waits for how long is tested with a clock that tests move.
async fn patient() -> Server {
    const LONG: Duration = Duration::from_hours(1);
    let server = Server::with(ServerOptions {
        request_timeout: LONG,
        bookmark_every: LONG,
        ..ServerOptions::default()
    });
    server.await
}

async fn label(server: &Server, count: usize) {
    let body = json!({ "labels": { "n": count.to_string() } });
    server.given(&[("tenant", "", "acme", body)]).await;
}

/// Sends requests that all wait for the writer before it gets to run: there is one thread.
async fn all_at_once(server: &Server, requests: Vec<(String, Value)>) -> Vec<Reply> {
    let mut sent = JoinSet::new();
    for (index, (path, body)) in requests.into_iter().enumerate() {
        let call = server.call("PUT", &path).json(&body).owned();
        sent.spawn(async move { (index, call.await) });
    }
    let mut replies = sent.join_all().await;
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

#[tokio::test]
async fn a_full_queue_refuses_writes_with_a_time_to_come_back_and_takes_kills_first() {
    let server = patient().await;
    server.given_a_platform().await;
    let before = server.revision();
    let segment = |index: usize| format!("/v1/segments/s{index}");
    let mut requests: Vec<_> = (0..QUEUE + 100)
        .map(|index| (segment(index), json!({ "include": ["u"] })))
        .collect();
    let kill = "/v1/environments/production/kills/flag:reasoning".to_owned();
    requests.push((kill, json!({ "reason": "now" })));
    let mut replies = all_at_once(&server, requests).await;

    let killed = replies.pop().unwrap();
    assert_eq!(killed.status, 200);
    assert_eq!(
        killed.header("control-plane-revision"),
        (before + 1).to_string(),
        "the kill is written before all that waited"
    );
    let refused = replies.split_off(QUEUE);
    for reply in refused {
        assert_eq!(reply.header("retry-after"), "1");
        let problem = reply.problem(503, "OVERLOADED");
        assert_eq!(problem["retryable"], true);
    }
    for reply in replies {
        reply.ok();
    }
    assert_eq!(server.revision(), before + 1 + QUEUE as u64);
    let stored = server.node.snapshot().state().len();
    // What was refused can be sent again.
    server
        .put(&segment(QUEUE), json!({ "include": ["u"] }))
        .await
        .ok();
    assert_eq!(server.node.snapshot().state().len(), stored + 1);
}

#[tokio::test]
async fn a_thousand_readers_that_never_read_hold_up_nobody() {
    let server = patient().await;
    server.given_a_platform().await;
    let mut slow = Vec::new();
    for _ in 0..1_000 {
        slow.push(server.call("GET", STREAM).open().await);
    }
    let mut quick = Events::of(server.call("GET", STREAM).open().await);
    quick.next().await.unwrap();
    // More than is kept for those who lag.
    for count in 0..1_100 {
        label(&server, count).await;
        let event = quick.next().await.unwrap();
        assert_eq!(
            (event.kind.as_str(), &event.data["revision"]),
            ("change", &json!(server.revision()))
        );
    }
    for response in slow {
        let mut events = Events::of(response);
        let event = events.news().await;
        assert_eq!(
            (event.kind.as_str(), &event.data["revision"]),
            ("refetch", &json!(server.revision())),
            "nothing was kept for it but where it stood"
        );
    }
}

#[tokio::test]
async fn who_lags_is_told_what_it_missed_and_who_lags_too_far_goes_on_after_fetching() {
    let server = patient().await;
    server.given_a_platform().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    events.next().await.unwrap();
    let before = server.revision();
    for count in 0..200 {
        label(&server, count).await;
    }
    for revision in before + 1..=server.revision() {
        let event = events.news().await;
        assert_eq!(
            (event.kind.as_str(), &event.data["revision"]),
            ("change", &json!(revision))
        );
    }
    for count in 0..1_100 {
        label(&server, count).await;
    }
    let event = events.news().await;
    assert_eq!(
        (event.kind.as_str(), &event.data["revision"]),
        ("refetch", &json!(server.revision()))
    );
    label(&server, 0).await;
    let event = events.news().await;
    assert_eq!(event.data["documents"][0]["name"], "acme");
}

#[tokio::test]
async fn who_resumes_across_a_change_of_what_it_may_see_fetches_the_view() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let seen = events.next().await.unwrap();
    drop(events);
    let binding = json!({ "principal": "ann", "role": "viewer", "tenants": ["acme"] });
    server.put("/v1/role-bindings/ann", binding).await.ok();
    let resumed = server
        .call("GET", STREAM)
        .header("last-event-id", &seen.id)
        .open()
        .await;
    let event = Events::of(resumed).next().await.unwrap();
    assert_eq!(
        (event.kind.as_str(), &event.data["revision"]),
        ("refetch", &json!(server.revision()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_not_waited_for() {
    let server = Server::start().await;
    let endless = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let begun = tokio::time::Instant::now();
    let call = server
        .call("PUT", "/v1/flags/x")
        .header("content-type", "application/json");
    let reply = call.raw(Body::from_stream(endless)).send().await;
    let problem = reply.problem(503, "REQUEST_TIMEOUT");
    assert_eq!(problem["retryable"], true);
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn bodies_take_no_more_memory_together_than_there_is_for_them_and_kills_are_apart() {
    let server = Server::with(ServerOptions {
        bodies_memory: 1 << 20,
        ..ServerOptions::default()
    })
    .await;
    server.given_a_platform().await;
    let flag = |description: &str| json!({ "type": "boolean", "description": description });
    let put = || server.call("PUT", "/v1/flags/x");
    // A body of which all but the end is there holds what has come.
    let came = Bytes::from(vec![b' '; 900 << 10]);
    let (taken, is_taken) = oneshot::channel();
    let (end, is_over) = oneshot::channel::<()>();
    let rest = stream::once(async {
        taken.send(()).unwrap();
        drop(is_over.await);
        Err(Error::other("gone"))
    });
    let half = stream::iter([Ok(came)]).chain(rest);
    let call = put().header("content-type", "application/json");
    let mut half = pin!(call.raw(Body::from_stream(half)).owned());
    tokio::select! {
        reply = &mut half => panic!("{reply:?}"),
        taken = is_taken => taken.unwrap(),
    }

    let metric = async |name: &str| {
        let text = server.bare("GET", "/metrics").send().await.bytes;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        line.map_or_else(
            || panic!("no {name} in {text}"),
            |it| it.parse::<u64>().unwrap(),
        )
    };
    let used = "control_plane_http_bodies_memory_bytes";
    let refusals = "control_plane_http_held_up_total{limit=\"bodies_memory\"}";
    assert_eq!((metric(used).await, metric(refusals).await), (900 << 10, 0));
    let large = flag(&"x".repeat(60 << 10));
    let refused = put().json(&large).send().await;
    assert_eq!(refused.header("retry-after"), "1", "{refused:?}");
    let problem = refused.problem(503, "OVERLOADED");
    assert_eq!(problem["retryable"], true);
    put().json(&flag("small")).send().await.ok();
    let kill = json!({ "reason": "x".repeat(4_000) });
    let kill = kill.to_string() + &" ".repeat(8 << 10);
    let path = "/v1/environments/production/kills/flag:reasoning";
    server.call("PUT", path).text(&kill).send().await.ok();

    end.send(()).unwrap();
    half.await.problem(400, "REQUEST_INVALID");
    // It is read now, and found to say too much.
    let call = server.call("PUT", "/v1/flags/y").json(&large);
    assert_eq!(call.send().await.status, 422);
    assert_eq!((metric(used).await, metric(refusals).await), (0, 1));
}
