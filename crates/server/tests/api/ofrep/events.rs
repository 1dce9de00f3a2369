//! The stream that tells clients of OFREP to evaluate again, by token and by ticket.

use plane_server::{ServerOptions, Shutdown};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Events, Server};

const EVENTS: &str = "/ofrep/v1/events";

impl Server {
    /// The path of the stream, with its ticket, as all flags of a caller say it.
    async fn events_uri(&self, token: &str) -> String {
        let call = self.bare("POST", super::IN_PRODUCTION).token(token);
        let all = call.json(&json!({ "context": {} })).send().await.ok();
        let stream = &all["eventStreams"][0];
        assert_eq!(stream["type"], "sse");
        assert_eq!(
            stream["endpoint"].as_object().unwrap().len(),
            1,
            "no origin: {stream}"
        );
        stream["endpoint"]["requestUri"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Opens the stream as a browser does, without a header.
    async fn open(&self, uri: &str) -> Events {
        Events::of(self.bare("GET", uri).open().await)
    }
}

#[tokio::test]
async fn a_change_of_flags_is_told_once_and_names_the_configuration() {
    let server = Server::start().await;
    server.given_flags().await;
    let uri = server.events_uri(ADMIN).await;
    assert!(uri.starts_with("/ofrep/v1/events?ticket="), "{uri}");
    assert!(!uri.contains(ADMIN));
    let mut events = server.open(&uri).await;
    assert_eq!(events.comment().await, ": nothing changed");
    let layer = json!({ "colour": "red" });
    server.given(&[("config", "base", "ui", layer)]).await;
    let kill = "/v1/environments/production/kills/flag:theme";
    server.put(kill, json!({ "reason": "too dark" })).await.ok();
    let event = events.next().await.unwrap();
    assert_eq!(event.kind, "message");
    let head = server.node.snapshot().state().head();
    let etag = format!("{}.{}", head.revision, &head.hash.hex()[..8]);
    assert_eq!(event.id, etag, "the layer was not told");
    assert_eq!(
        event.data,
        json!({ "type": "refetchEvaluation", "etag": etag })
    );
}

#[tokio::test]
async fn who_comes_back_is_told_what_was_missed_in_one_piece() {
    let server = Server::start().await;
    server.given_flags().await;
    let uri = server.events_uri(ADMIN).await;
    let mut events = server.open(&uri).await;
    events.comment().await;
    server
        .put("/v1/segments/beta", json!({ "include": ["u1"] }))
        .await
        .ok();
    let last = events.next().await.unwrap().id;
    drop(events);
    for name in ["gamma", "delta"] {
        server
            .put(
                &format!("/v1/segments/{name}"),
                json!({ "include": ["u1"] }),
            )
            .await
            .ok();
    }
    let response = server
        .bare("GET", &uri)
        .header("last-event-id", &last)
        .open()
        .await;
    let mut events = Events::of(response);
    let event = events.next().await.unwrap();
    assert_eq!(event.data["type"], "refetchEvaluation");
    assert!(
        event.id.starts_with(&format!("{}.", server.revision())),
        "{}",
        event.id
    );
}

#[tokio::test]
async fn who_can_send_headers_needs_no_ticket() {
    let server = Server::start().await;
    server.given_flags().await;
    let named = server
        .call("GET", EVENTS)
        .header("control-plane-environment", "production");
    let mut events = Events::of(named.open().await);
    events.comment().await;
    let unnamed = server.get(EVENTS).await;
    assert_eq!(
        (
            unnamed.status.as_u16(),
            unnamed.json()["errorCode"].as_str()
        ),
        (400, Some("GENERAL"))
    );
    let bare = server.bare("GET", EVENTS).send().await;
    assert_eq!(bare.status, 401);
}

#[tokio::test]
async fn a_ticket_opens_the_stream_of_its_environment_and_nothing_else() {
    let server = Server::start().await;
    server.given_flags().await;
    let uri = server.events_uri(ADMIN).await;
    let ticket = uri.split_once('=').unwrap().1.to_owned();
    let (claim, seal) = ticket.rsplit_once('~').unwrap();
    let refused = [
        claim.replace("production", "staging") + "~" + seal,
        format!("{claim}~{}", "0".repeat(64)),
        claim.to_owned(),
        String::new(),
    ];
    for ticket in refused {
        let reply = server
            .bare("GET", &format!("{EVENTS}?ticket={ticket}"))
            .send()
            .await;
        assert_eq!(reply.status, 401, "{ticket}");
    }
    for path in ["/v1/flags", "/v1/environments/production/view"] {
        let reply = server
            .bare("GET", &format!("{path}?ticket={ticket}"))
            .send()
            .await;
        reply.problem(401, "UNAUTHENTICATED");
        server
            .bare("GET", path)
            .token(&ticket)
            .send()
            .await
            .problem(401, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_ticket_is_the_same_for_a_while_then_another_and_over_at_last() {
    let server = Server::start().await;
    server.given_flags().await;
    let uri = server.events_uri(ADMIN).await;
    server.clock.advance(14 * 60);
    assert_eq!(server.events_uri(ADMIN).await, uri);
    server.clock.advance(60);
    assert_ne!(server.events_uri(ADMIN).await, uri);
    server.clock.advance(14 * 60);
    assert_eq!(server.bare("GET", &uri).open().await.status(), 200);
    server.clock.advance(60);
    assert_eq!(server.bare("GET", &uri).send().await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_in_time_to_get_another_ticket_and_ends_with_its_own() {
    let server = Server::start().await;
    server.given_flags().await;
    let uri = server.events_uri(ADMIN).await;
    let mut events = server.open(&uri).await;
    events.comment().await;
    let mut told = 0;
    for _ in 0..30 {
        server.clock.advance(60);
        tokio::time::advance(std::time::Duration::from_mins(1)).await;
        match events.piece().await {
            Some(text) if text.contains("refetchEvaluation") => told += 1,
            Some(text) if text.starts_with("retry: ") => break,
            Some(text) => assert_eq!(text, ": nothing changed"),
            None => panic!("a stream says after how long to come back"),
        }
    }
    assert_eq!(told, 1);
    assert_eq!(events.piece().await, None);
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_its_ticket_was_given_to() {
    let server = Server::start().await;
    server.given_flags().await;
    let request = json!({
        "principal": "web", "kind": "client", "role": "viewer", "environments": ["production"],
    });
    let made = server.post("/v1/tokens", request).await.ok();
    let (token, id) = (
        made["token"].as_str().unwrap(),
        made["id"].as_str().unwrap(),
    );
    let uri = server.events_uri(token).await;
    let mut events = server.open(&uri).await;
    events.comment().await;
    server
        .call("DELETE", &format!("/v1/tokens/{id}"))
        .send()
        .await
        .ok();
    assert!(events.piece().await.unwrap().starts_with("retry: "));
    assert_eq!(events.piece().await, None);
    assert_eq!(server.bare("GET", &uri).send().await.status, 401);
}

#[tokio::test]
async fn streams_end_when_the_server_does_and_when_there_are_too_many() {
    let shutdown = Shutdown::new();
    let server = Server::with(ServerOptions {
        streams_max: 1,
        shutdown: shutdown.clone(),
        ..ServerOptions::default()
    })
    .await;
    server.given_flags().await;
    let uri = server.events_uri(ADMIN).await;
    let mut events = server.open(&uri).await;
    events.comment().await;
    let surplus = server.bare("GET", &uri).send().await;
    let body: Value = surplus.json();
    assert_eq!(
        (surplus.status.as_u16(), body["errorCode"].as_str()),
        (503, Some("GENERAL"))
    );
    assert_eq!(surplus.header("retry-after"), "1");
    shutdown.begin();
    assert!(events.piece().await.unwrap().starts_with("retry: "));
}
