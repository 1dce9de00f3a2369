use plane_model::TenantId;
use plane_server::ServerOptions;
use plane_state::delivery::{Name, Roots};
use serde_json::{Value, json};

use crate::harness::{Events, Server};

const VIEW: &str = "/v1/environments/production/view";
const STREAM: &str = "/v1/environments/production/stream";

fn names(view: &Value, kind: &str) -> Vec<String> {
    let documents = view["documents"].as_array().unwrap();
    documents
        .iter()
        .filter(|it| it["kind"] == kind)
        .map(|it| {
            format!(
                "{}:{}",
                it["scope"].as_str().unwrap(),
                it["name"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test]
async fn a_view_has_what_evaluating_needs_and_nothing_about_access() {
    let server = Server::start().await;
    server.given_an_agent().await;
    server
        .post("/v1/agents", super::registry::agent("2.0.0"))
        .await
        .ok();
    let reply = server.get(VIEW).await;
    assert!(plane_model::canonical::is_canonical(&reply.bytes));
    let view = reply.ok();
    assert_eq!(
        (&view["format"], &view["audience"]),
        (&json!(1), &json!("all"))
    );
    assert_eq!(view["revision"], server.revision());
    assert_eq!(names(&view, "environment"), [":production"]);
    assert_eq!(names(&view, "targeting"), ["production:reasoning"]);
    assert_eq!(names(&view, "tenant"), [":acme", ":zeta"]);
    assert_eq!(names(&view, "trust"), [":default"]);
    assert_eq!(
        names(&view, "agent"),
        [":support@1.0.0"],
        "2.0.0 has no channel"
    );
    assert_eq!(names(&view, "tool"), [":crm_tool@1.2.0"]);
    assert_eq!(names(&view, "token"), Vec::<String>::new());
    for (digest, text) in view["blobs"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        assert_eq!(
            *digest,
            plane_model::Digest::of(text.as_bytes()).to_string()
        );
    }
    assert_eq!(
        view["blobs"].as_object().unwrap().len(),
        3,
        "two manifests and a lock"
    );
}

#[tokio::test]
async fn a_view_has_the_root_that_its_holder_computes() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let pin = "/v1/environments/production/tenants/acme/pins/flag:reasoning";
    server.put(pin, json!({ "variant": "on" })).await.ok();
    let narrow = server
        .token_of("viewer", json!({ "tenants": ["acme"] }))
        .await;
    let reply = server.bare("GET", VIEW).token(&narrow).send().await;
    let (all, narrowed) = (held(&server.get(VIEW).await.ok()), held(&reply.ok()));
    assert_ne!(all, narrowed, "zeta is in one of them");
}

/// Holds a view as a client does, and checks its root.
fn held(view: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let documents: Vec<_> = view["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let tenant = it.get("tenant").map(|id| TenantId::new(&text(id)).unwrap());
            let name = [text(&it["kind"]), text(&it["scope"]), text(&it["name"])];
            let body = plane_model::canonical::to_canonical(&it["body"]).unwrap();
            (tenant, name, it["revision"].as_u64().unwrap(), body)
        })
        .collect();
    let mut roots = Roots::default();
    for (tenant, [kind, scope, name], revision, body) in &documents {
        roots.put(tenant.as_ref(), Name { kind, scope, name }, *revision, body);
    }
    assert_eq!(view["root"], roots.root().to_string());
    text(&view["root"])
}

#[tokio::test]
async fn a_view_is_narrowed_to_the_tenants_of_the_token() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for tenant in ["acme", "zeta"] {
        let pin = format!("/v1/environments/production/tenants/{tenant}/pins/flag:reasoning");
        server.put(&pin, json!({ "variant": "on" })).await.ok();
    }
    let token = server
        .token_of("viewer", json!({ "tenants": ["acme"] }))
        .await;
    let reply = server.bare("GET", VIEW).token(&token).send().await;
    assert!(
        !String::from_utf8(reply.bytes.to_vec())
            .unwrap()
            .contains("zeta")
    );
    let view = reply.ok();
    assert_eq!(names(&view, "tenant"), [":acme"]);
    assert_eq!(names(&view, "pin"), ["production/acme:flag:reasoning"]);
    assert_eq!(names(&server.get(VIEW).await.ok(), "pin").len(), 2);
}

#[tokio::test]
async fn a_view_that_is_held_is_not_sent_again() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let first = server.get(VIEW).await;
    let etag = first.header("etag").to_owned();
    assert_eq!(first.header("vary"), "authorization, accept-encoding");
    let held = server
        .call("GET", VIEW)
        .header("if-none-match", &etag)
        .send()
        .await;
    assert_eq!((held.status.as_u16(), held.bytes.len()), (304, 0));
    assert_eq!(held.header("etag"), etag);
    server
        .put("/v1/flags/new", json!({ "type": "boolean" }))
        .await
        .ok();
    let next = server
        .call("GET", VIEW)
        .header("if-none-match", &etag)
        .send()
        .await;
    assert_ne!(next.header("etag"), etag);
    assert_eq!(names(&next.ok(), "flag"), [":new", ":reasoning"]);
}

#[tokio::test]
async fn a_compressed_view_is_the_same_view() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let plain = server.get(VIEW).await;
    let compressed = server
        .call("GET", VIEW)
        .header("accept-encoding", "gzip, zstd")
        .send()
        .await;
    assert_eq!(compressed.header("content-encoding"), "zstd");
    assert_ne!(compressed.header("etag"), plain.header("etag"));
    assert_eq!(
        zstd::stream::decode_all(&*compressed.bytes).unwrap(),
        plain.bytes
    );
    let etag = compressed.header("etag").to_owned();
    let held = server
        .call("GET", VIEW)
        .header("if-none-match", &etag)
        .send()
        .await;
    assert_eq!(held.status, 304);
    let refused = server
        .call("GET", VIEW)
        .header("accept-encoding", "zstd;q=0")
        .send()
        .await;
    assert_eq!(refused.header("content-encoding"), "");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_answers_when_something_changes_or_the_time_is_over() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let etag = server.get(VIEW).await.header("etag").to_owned();
    let poll = |seconds: u32| {
        let call = server.call("GET", &format!("{VIEW}?wait={seconds}"));
        call.header("if-none-match", &etag).send()
    };
    assert_eq!(poll(60).await.status, 304);
    let (polled, _) = tokio::join!(
        poll(60),
        server.put("/v1/flags/x", json!({ "type": "boolean" }))
    );
    assert_eq!(names(&polled.ok(), "flag"), [":reasoning", ":x"]);
    server
        .get(&format!("{VIEW}?wait=61"))
        .await
        .problem(400, "REQUEST_INVALID");
}

#[tokio::test]
async fn a_stream_tells_each_change_once_and_resumes_after_the_last_one_seen() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let first = events.next().await.unwrap();
    assert_eq!(first.kind, "bookmark");
    assert_eq!(first.data["revision"], server.revision());

    server
        .put("/v1/flags/a", json!({ "type": "boolean" }))
        .await
        .ok();
    let a = events.news().await;
    assert_eq!(a.kind, "change");
    let revision = server.revision();
    assert!(a.id.starts_with(&format!("{revision}.")), "{}", a.id);
    let document = json!({
        "kind": "flag", "scope": "", "name": "a", "revision": revision, "body": { "type": "boolean" },
    });
    assert_eq!(
        a.data,
        json!({ "revision": revision, "documents": [document] })
    );
    drop(events);

    server
        .put("/v1/flags/b", json!({ "type": "boolean" }))
        .await
        .ok();
    let etag = server.get("/v1/flags/a").await.header("etag").to_owned();
    server
        .call("DELETE", "/v1/flags/a")
        .header("if-match", &etag)
        .send()
        .await
        .ok();
    let resumed = server
        .call("GET", STREAM)
        .header("last-event-id", &a.id)
        .open()
        .await;
    let mut resumed = Events::of(resumed);
    assert_eq!(resumed.news().await.data["documents"][0]["name"], "b");
    let gone = resumed.news().await;
    assert_eq!(gone.data["documents"][0]["body"], Value::Null);
    let again = server
        .call("GET", STREAM)
        .header("last-event-id", &gone.id)
        .open()
        .await;
    assert_eq!(Events::of(again).next().await.unwrap().kind, "bookmark");
}

#[tokio::test]
async fn who_comes_back_from_elsewhere_is_told_to_fetch_the_view() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let revision = server.revision();
    for id in [
        format!("{revision}.00000000"),
        "999.00000000".to_owned(),
        "nonsense".to_owned(),
        String::new(),
    ] {
        let response = server
            .call("GET", STREAM)
            .header("last-event-id", &id)
            .open()
            .await;
        let event = Events::of(response).next().await.unwrap();
        assert_eq!(
            (event.kind.as_str(), &event.data["revision"]),
            ("refetch", &json!(revision))
        );
    }
}

#[tokio::test]
async fn a_change_that_is_large_or_brings_manifests_is_fetched_with_the_view() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    events.next().await.unwrap();
    let ids: Vec<_> = (0..3_000).map(|it| format!("user-{it}")).collect();
    server
        .put("/v1/segments/large", json!({ "include": ids }))
        .await
        .ok();
    assert_eq!(events.news().await.kind, "refetch");
    let pin = "/v1/environments/production/tenants/acme/pins/agent:support";
    server.put(pin, json!({ "version": "1.0.0" })).await.ok();
    assert_eq!(events.news().await.kind, "refetch");
    let kill = "/v1/environments/production/kills/agent:support";
    server.put(kill, json!({ "reason": "now" })).await.ok();
    assert_eq!(
        events.news().await.kind,
        "change",
        "a kill is never behind a fetch"
    );
}

#[tokio::test]
async fn a_stream_says_nothing_of_other_tenants_environments_and_access() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let token = server
        .token_of(
            "viewer",
            json!({ "environments": ["production"], "tenants": ["acme"] }),
        )
        .await;
    let mut events = Events::of(server.bare("GET", STREAM).token(&token).open().await);
    events.next().await.unwrap();
    let pin =
        |tenant: &str| format!("/v1/environments/production/tenants/{tenant}/pins/flag:reasoning");
    server
        .put(&pin("zeta"), json!({ "variant": "on" }))
        .await
        .ok();
    let staging = "/v1/environments/staging/targeting/reasoning";
    server
        .put(staging, json!({ "state": "disabled" }))
        .await
        .ok();
    server.token_of("viewer", json!({})).await;
    server
        .put(&pin("acme"), json!({ "variant": "off" }))
        .await
        .ok();
    let event = events.next().await.unwrap();
    assert_eq!(event.data["documents"][0]["scope"], "production/acme");
    assert_eq!(event.data["documents"].as_array().unwrap().len(), 1);
    server
        .bare("GET", "/v1/environments/staging/stream")
        .token(&token)
        .send()
        .await
        .problem(404, "ENVIRONMENT_NOT_FOUND");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_withdrawn() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let request = json!({ "principal": "svc", "kind": "service", "role": "viewer" });
    let made = server.post("/v1/tokens", request).await.ok();
    let token = made["token"].as_str().unwrap();
    let mut events = Events::of(server.bare("GET", STREAM).token(token).open().await);
    events.next().await.unwrap();
    let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    server.call("DELETE", &path).send().await.ok();
    let last = events.next().await.unwrap();
    assert_eq!(
        (last.kind.as_str(), &last.data["reason"]),
        ("goaway", &json!("the token is no longer valid"))
    );
    assert_eq!(events.next().await, None);
}

/// A server with long silences, and a token that is good for a minute.
async fn expiring() -> (Server, String) {
    let options = ServerOptions {
        bookmark_every: std::time::Duration::from_hours(1),
        ..ServerOptions::default()
    };
    let server = Server::with(options).await;
    server.given_a_platform().await;
    let expires = plane_model::Timestamp(server.node.now().as_ms() + 60_000).to_string();
    let token = server
        .token_of("viewer", json!({ "expires_at": expires }))
        .await;
    (server, token)
}

#[tokio::test]
async fn a_stream_tells_nothing_that_happens_after_its_token_expired() {
    let (server, token) = expiring().await;
    let mut events = Events::of(server.bare("GET", STREAM).token(&token).open().await);
    events.next().await.unwrap();
    server
        .put("/v1/flags/before", json!({ "type": "boolean" }))
        .await
        .ok();
    assert_eq!(events.next().await.unwrap().kind, "change");
    server.clock.advance(60);
    server
        .put("/v1/flags/after", json!({ "type": "boolean" }))
        .await
        .ok();
    let last = events.next().await.unwrap();
    assert_eq!(
        (last.kind.as_str(), &last.data["reason"]),
        ("goaway", &json!("the token is no longer valid"))
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_ends_when_its_token_expires() {
    let (server, token) = expiring().await;
    let mut events = Events::of(server.bare("GET", STREAM).token(&token).open().await);
    events.next().await.unwrap();
    let begun = tokio::time::Instant::now();
    let minute = async {
        tokio::time::sleep(std::time::Duration::from_mins(1)).await;
        server.clock.advance(60);
    };
    let (last, ()) = tokio::join!(events.next(), minute);
    assert_eq!(last.unwrap().kind, "goaway");
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_stream_is_told_to_fetch_when_its_token_covers_something_else() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let binding = json!({ "principal": "ann", "role": "viewer", "tenants": ["acme"] });
    let made = server.put("/v1/role-bindings/ann", binding).await;
    let etag = made.header("etag").to_owned();
    let token = server
        .token(json!({ "principal": "ann", "kind": "person" }))
        .await;
    let mut events = Events::of(server.bare("GET", STREAM).token(&token).open().await);
    events.next().await.unwrap();
    let binding = json!({ "principal": "ann", "role": "viewer", "tenants": ["acme", "zeta"] });
    let call = server
        .call("PUT", "/v1/role-bindings/ann")
        .header("if-match", &etag);
    call.json(&binding).send().await.ok();
    assert_eq!(events.next().await.unwrap().kind, "refetch");
    // Its view is prepared anew.
    assert_eq!(events.next().await.unwrap().kind, "bookmark");
    let pin = "/v1/environments/production/tenants/zeta/pins/flag:reasoning";
    server.put(pin, json!({ "variant": "on" })).await.ok();
    assert_eq!(events.next().await.unwrap().kind, "change");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_given_bookmarks() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let first = events.next().await.unwrap();
    let begun = tokio::time::Instant::now();
    let second = events.next().await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(first, second);
}

#[tokio::test]
async fn streams_are_told_to_go_elsewhere_at_shutdown() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    events.next().await.unwrap();
    server.shutdown.begin();
    let last = events.next().await.unwrap();
    assert_eq!(last.kind, "goaway");
    let wait = last.data["retry_ms"].as_u64().unwrap();
    assert!((250..=5_000).contains(&wait), "{wait}");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn no_more_streams_are_open_than_the_limit() {
    let options = ServerOptions {
        streams_max: 1,
        ..ServerOptions::default()
    };
    let server = Server::with(options).await;
    server.given_a_platform().await;
    let first = server.call("GET", STREAM).open().await;
    server
        .call("GET", STREAM)
        .send()
        .await
        .problem(503, "OVERLOADED");
    drop(first);
    assert_eq!(server.call("GET", STREAM).open().await.status(), 200);
}
