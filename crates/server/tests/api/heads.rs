//! What the server signs, read as a holder reads it.

use plane_model::{Digest, TenantId};
use plane_registry::{PublicKey, SigningKey};
use plane_server::{ServerKeys, ServerOptions};
use plane_state::delivery::{
    Endorsement, HeadStatement, KeyRing, Name, Roots, audience_of_token, follow_keys,
};
use serde_json::{Value, json};

use crate::harness::{Events, Reply, Server};

const VIEW: &str = "/v1/environments/production/view";
const STREAM: &str = "/v1/environments/production/stream";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

async fn server() -> (Server, ServerKeys) {
    let keys = ServerKeys::new(KeyRing::new(key(1)));
    let options = ServerOptions {
        keys: keys.clone(),
        ..ServerOptions::default()
    };
    let server = Server::with(options).await;
    server.given_a_platform().await;
    (server, keys)
}

#[track_caller]
fn verified(signed: &Value, key: &PublicKey) -> HeadStatement {
    let signature = signed["signature"].as_str().unwrap().parse().unwrap();
    HeadStatement::verify(signed["payload"].as_str().unwrap(), &signature, &[*key]).unwrap()
}

#[track_caller]
fn head_of(reply: &Reply, key: &PublicKey) -> HeadStatement {
    verified(
        &serde_json::from_str(reply.header("control-plane-head")).unwrap(),
        key,
    )
}

/// Puts documents as they stand on the wire into the digest over them.
fn put(roots: &mut Roots, documents: &Value) {
    for it in documents.as_array().unwrap() {
        let [kind, scope, name] = ["kind", "scope", "name"].map(|of| it[of].as_str().unwrap());
        let name = Name { kind, scope, name };
        let tenant = it
            .get("tenant")
            .map(|id| TenantId::new(id.as_str().unwrap()).unwrap());
        if it["body"].is_null() {
            roots.remove(tenant.as_ref(), name);
        } else {
            let body = plane_model::canonical::to_canonical(&it["body"]).unwrap();
            roots.put(
                tenant.as_ref(),
                name,
                it["revision"].as_u64().unwrap(),
                &body,
            );
        }
    }
}

#[tokio::test]
async fn a_view_and_the_word_that_it_is_unchanged_carry_its_signed_head() {
    let (server, _) = server().await;
    let reply = server.get(VIEW).await;
    let head = head_of(&reply, &key(1).public());
    let view = reply.json();
    assert_eq!(view["root"], head.view_root.to_string());
    assert_eq!(view["head"], head.head.to_string());
    assert_eq!(
        (&view["revision"], &view["log"], &view["epoch"]),
        (&json!(head.revision), &json!(head.log), &json!(head.epoch))
    );
    assert_eq!(
        (head.audience.as_str(), head.environment.as_str()),
        ("all", "production")
    );
    // The view is made by now, and its head is no less signed.
    assert_eq!(
        head_of(&server.get(VIEW).await, &key(1).public()).view_root,
        head.view_root
    );
    server.clock.advance(60);
    let etag = reply.header("etag").to_owned();
    let call = server.call("GET", VIEW).header("if-none-match", &etag);
    let unchanged = call.send().await;
    assert_eq!(unchanged.status, 304);
    let later = head_of(&unchanged, &key(1).public());
    assert_eq!(later.issued.0, head.issued.0 + 60_000);
    assert_eq!(later.view_root, head.view_root);
}

#[tokio::test]
async fn the_head_of_a_token_of_some_tenants_names_it_by_its_digest() {
    let (server, _) = server().await;
    let request =
        json!({ "principal": "svc", "kind": "service", "role": "viewer", "tenants": ["acme"] });
    let made = server.post("/v1/tokens", request).await.ok();
    let (id, token) = (
        made["id"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    let reply = server.bare("GET", VIEW).token(token).send().await;
    let head = head_of(&reply, &key(1).public());
    let id = plane_model::TokenId::new(id).unwrap();
    assert_eq!(
        head.audience,
        audience_of_token(&id, &Digest::of(token.as_bytes()))
    );
    assert_eq!(reply.json()["audience"], head.audience);
}

#[tokio::test]
async fn who_follows_a_stream_computes_the_roots_that_are_signed() {
    let (server, _) = server().await;
    let mut roots = Roots::default();
    put(&mut roots, &server.get(VIEW).await.ok()["documents"]);
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let first = events.next().await.unwrap();
    let head = verified(&first.data["signed"], &key(1).public());
    assert_eq!(head.view_root, roots.root());
    let pin = "/v1/environments/production/tenants/acme/pins/flag:reasoning";
    server.put(pin, json!({ "variant": "on" })).await.ok();
    // Nobody's business in production.
    let staging = "/v1/environments/staging/targeting/reasoning";
    server
        .put(staging, json!({ "state": "disabled" }))
        .await
        .ok();
    server
        .put("/v1/flags/x", json!({ "type": "boolean" }))
        .await
        .ok();
    let etag = server.get(pin).await.header("etag").to_owned();
    let call = server.call("DELETE", pin).header("if-match", &etag);
    call.send().await.ok();
    let mut id = String::new();
    for _ in 0..3 {
        let event = events.next().await.unwrap();
        assert_eq!(event.kind, "change");
        put(&mut roots, &event.data["documents"]);
        if let Some(signed) = event.data.get("signed") {
            let head = verified(signed, &key(1).public());
            assert_eq!(head.view_root, roots.root());
            assert_eq!(json!(head.revision), event.data["revision"]);
        }
        id = event.id;
    }
    drop(events);
    // Who comes back later gets what it missed, and a head over all of it.
    server
        .put("/v1/flags/y", json!({ "type": "boolean" }))
        .await
        .ok();
    let call = server.call("GET", STREAM).header("last-event-id", &id);
    let mut events = Events::of(call.open().await);
    loop {
        let event = events.next().await.unwrap();
        if let Some(documents) = event.data.get("documents") {
            put(&mut roots, documents);
        }
        if let Some(signed) = event.data.get("signed") {
            let head = verified(signed, &key(1).public());
            assert_eq!(
                (head.view_root, head.revision),
                (roots.root(), server.revision())
            );
            break;
        }
    }
}

#[tokio::test]
async fn another_key_signs_after_a_rotation_and_is_endorsed_by_the_one_before() {
    let (server, keys) = server().await;
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    events.next().await.unwrap();
    assert!(!keys.succeed(KeyRing::new(key(2))));
    head_of(&server.get(VIEW).await, &key(1).public());
    let ring = KeyRing::new(key(1)).rotate(key(2), server.node.now());
    assert!(keys.succeed(ring.unwrap()));
    head_of(&server.get(VIEW).await, &key(2).public());
    server
        .put("/v1/flags/x", json!({ "type": "boolean" }))
        .await
        .ok();
    verified(
        &events.next().await.unwrap().data["signed"],
        &key(2).public(),
    );
    let listed = server.get("/v1/keys").await.ok()["keys"].clone();
    let listed: Vec<_> = (listed.as_array().unwrap().iter())
        .map(|it| {
            let key: PublicKey = it["key"].as_str().unwrap().parse().unwrap();
            assert_eq!(it["key_id"], key.keyid().to_string());
            let endorsement = it.get("endorsement").cloned();
            (
                key,
                endorsement.map(|it| serde_json::from_value::<Endorsement>(it).unwrap()),
            )
        })
        .collect();
    assert_eq!(listed.len(), 2);
    let next = (listed[1].0, listed[1].1.as_ref());
    let led = follow_keys(key(1).public(), [next]).unwrap();
    assert_eq!(led[0].key, key(2).public());
    server
        .bare("GET", "/v1/keys")
        .send()
        .await
        .problem(401, "UNAUTHENTICATED");
}
