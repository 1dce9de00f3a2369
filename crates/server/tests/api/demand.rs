//! Views without the parts of tenants, which are read one by one.

use std::collections::BTreeMap;

use plane_model::{Digest, TenantId};
use plane_server::ServerOptions;
use plane_state::delivery::{Name, Part, Roots};
use serde_json::{Value, json};

use crate::harness::{Events, Server};

const VIEW: &str = "/v1/environments/production/view";
const STREAM: &str = "/v1/environments/production/stream";

fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

/// A document: the tenant that it says it is of, its name, its revision, its body.
type Told = (Option<TenantId>, [String; 3], u64, Vec<u8>);

fn documents(of: &Value) -> Vec<Told> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let documents = of["documents"].as_array().unwrap().iter();
    documents
        .map(|it| {
            let of = it.get("tenant").map(|id| tenant(id.as_str().unwrap()));
            let name = [text(&it["kind"]), text(&it["scope"]), text(&it["name"])];
            let body = plane_model::canonical::to_canonical(&it["body"]).unwrap();
            (of, name, it["revision"].as_u64().unwrap(), body)
        })
        .collect()
}

/// What a reply or an event says of the parts of tenants.
fn parts(of: &Value) -> BTreeMap<TenantId, Option<Digest>> {
    serde_json::from_value(of.clone()).unwrap()
}

/// Takes what all share, and the digests of the parts of tenants.
fn take(roots: &mut Roots, of: &Value, told: &Value) {
    for (tenant, [kind, scope, name], revision, body) in &documents(of) {
        if tenant.is_none() {
            let name = Name { kind, scope, name };
            roots.put(None, name, *revision, body);
        }
    }
    for (tenant, digest) in parts(told) {
        roots.tell(&tenant, digest);
    }
}

async fn given_tenants() -> Server {
    let server = Server::with(ServerOptions::default()).await;
    server.given_an_agent().await;
    for id in ["acme", "zeta"] {
        let of = format!("/v1/environments/production/tenants/{id}");
        let pin = format!("{of}/pins/flag:reasoning");
        server.put(&pin, json!({ "variant": "on" })).await.ok();
    }
    server
}

#[tokio::test]
async fn a_view_on_demand_names_the_parts_that_are_read_one_by_one() {
    let server = given_tenants().await;
    let reply = server.get(&format!("{VIEW}?on_demand=true")).await;
    assert!(plane_model::canonical::is_canonical(&reply.bytes));
    let whole = server.get(VIEW).await;
    assert_ne!(reply.header("etag"), whole.header("etag"));
    assert_eq!(
        reply.header("control-plane-head"),
        whole.header("control-plane-head")
    );
    let (view, whole) = (reply.ok(), whole.ok());
    assert!(documents(&view).iter().all(|it| it.0.is_none()));
    assert_eq!(whole.get("tenants"), None);
    let mut roots = Roots::default();
    take(&mut roots, &view, &view["tenants"]);
    assert_eq!(whole["root"], roots.root().to_string());
    for id in ["acme", "zeta"] {
        let part = server.get(&format!("{VIEW}/tenants/{id}")).await;
        assert!(plane_model::canonical::is_canonical(&part.bytes));
        let reply = part.ok();
        let mut part = Part::default();
        for (of, [kind, scope, name], revision, body) in &documents(&reply) {
            assert_eq!(*of, Some(tenant(id)));
            part.put(Name { kind, scope, name }, *revision, Some(body));
        }
        assert_eq!(reply["digest"], part.digest().to_string());
        assert_eq!(parts(&view["tenants"])[&tenant(id)], Some(part.digest()));
        let mut own = documents(&whole);
        own.retain(|it| it.0 == Some(tenant(id)));
        let mut sent = documents(&reply);
        sent.sort();
        own.sort();
        assert_eq!(sent, own);
        assert!(
            !reply
                .to_string()
                .contains(if id == "acme" { "zeta" } else { "acme" })
        );
    }
}

#[tokio::test]
async fn a_part_that_is_not_the_tokens_business_is_not_there() {
    let server = given_tenants().await;
    let token = server
        .token_of("viewer", json!({ "tenants": ["acme"] }))
        .await;
    let read = async |path: &str| server.bare("GET", path).token(&token).send().await;
    read(&format!("{VIEW}/tenants/acme")).await.ok();
    for id in ["zeta", "stranger", "%2e%2e"] {
        let refused = read(&format!("{VIEW}/tenants/{id}")).await;
        assert_eq!(refused.status, 404, "{id}");
        assert_eq!(refused.json()["code"], "TENANT_NOT_FOUND");
    }
    let stranger = server.get(&format!("{VIEW}/tenants/stranger")).await;
    assert_eq!(stranger.status, 404);
    let view = read(&format!("{VIEW}?on_demand=true")).await.ok();
    assert_eq!(parts(&view["tenants"]).len(), 1);
    assert!(!view.to_string().contains("zeta"));
}

#[tokio::test]
async fn who_holds_no_tenant_follows_the_roots_by_what_changes_say_of_parts() {
    let server = given_tenants().await;
    let view = server.get(&format!("{VIEW}?on_demand=true")).await.ok();
    let mut roots = Roots::default();
    take(&mut roots, &view, &view["tenants"]);
    let mut events = Events::of(server.call("GET", STREAM).open().await);
    let first = events.next().await.unwrap();
    let of = "/v1/environments/production/tenants/acme/pins/flag:reasoning";
    for _ in 0..2 {
        let etag = server.get(of).await.header("etag").to_owned();
        let call = server.call("PUT", of).header("if-match", &etag);
        call.json(&json!({ "variant": "off" })).send().await.ok();
        let etag = server.get(of).await.header("etag").to_owned();
        let call = server.call("DELETE", of).header("if-match", &etag);
        call.send().await.ok();
        server.put(of, json!({ "variant": "on" })).await.ok();
    }
    // Who comes back later is told digests of the newest revision, and has the root at its end.
    let call = server
        .call("GET", STREAM)
        .header("last-event-id", &first.id);
    for mut events in [events, Events::of(call.open().await)] {
        let mut roots = roots.clone();
        let mut revision = 0;
        while revision < server.revision() {
            let event = events.next().await.unwrap();
            if event.kind == "change" {
                take(&mut roots, &event.data, &event.data["parts"]);
            }
            if let Some(signed) = event.data.get("signed") {
                let payload: Value =
                    serde_json::from_str(signed["payload"].as_str().unwrap()).unwrap();
                assert_eq!(payload["view_root"], roots.root().to_string());
                revision = payload["revision"].as_u64().unwrap();
            }
        }
    }
}
