//! Who refers to a document, as callers may know of it.

use serde_json::{Value, json};

use crate::harness::{Reply, Server};

async fn platform() -> Server {
    let server = Server::start().await;
    server.given_a_platform().await;
    let targeting = json!({
        "state": "enabled",
        "rules": [{
            "name": "friends",
            "if": { "attribute": "user.id", "segment": "friends" },
            "serve": "on",
        }],
    });
    server
        .given(&[
            ("segment", "", "friends", json!({ "include": ["u1"] })),
            ("targeting", "staging", "reasoning", targeting),
            (
                "pin",
                "production/acme",
                "flag:reasoning",
                json!({ "variant": "on" }),
            ),
            (
                "pin",
                "production/zeta",
                "flag:reasoning",
                json!({ "variant": "off" }),
            ),
        ])
        .await;
    server
}

fn places(reply: Reply) -> Vec<String> {
    let reply = reply.ok();
    let uses = reply["uses"].as_array().unwrap();
    assert_eq!(reply["count"], uses.len());
    let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    uses.iter()
        .map(|it| {
            ["kind", "scope", "name", "pointer"]
                .map(|name| text(it, name))
                .join(" ")
        })
        .collect()
}

#[tokio::test]
async fn uses_are_told_of_one_environment_with_the_place_in_the_document() {
    let server = platform().await;
    let staging = server
        .get("/v1/environments/staging/uses/segment/friends")
        .await;
    assert_eq!(
        places(staging),
        ["targeting staging reasoning /rules/0/if/segment"]
    );
    let production = server
        .get("/v1/environments/production/uses/segment/friends")
        .await;
    assert!(places(production).is_empty());
    let flag = server
        .get("/v1/environments/production/uses/flag/reasoning")
        .await;
    assert_eq!(
        places(flag),
        [
            "targeting production reasoning ",
            "pin production/acme flag:reasoning ",
            "pin production/zeta flag:reasoning ",
        ]
    );
}

#[tokio::test]
async fn the_past_is_told_too() {
    let server = platform().await;
    let before = server.revision();
    server
        .given(&[(
            "pin",
            "staging/acme",
            "flag:reasoning",
            json!({ "variant": "on" }),
        )])
        .await;
    let path = "/v1/environments/staging/uses/tenant/acme";
    assert_eq!(
        places(server.get(path).await),
        ["pin staging/acme flag:reasoning "]
    );
    let past = server.get(&format!("{path}?at={before}")).await;
    assert!(places(past).is_empty());
}

#[tokio::test]
async fn a_token_is_told_what_it_covers_and_of_tenants_that_it_covers() {
    let server = platform().await;
    let grant = json!({ "environments": ["production"], "tenants": ["acme"] });
    let token = server.token_of("viewer", grant).await;
    let get = |path: &'static str| server.bare("GET", path).token(&token).send();
    let flag = get("/v1/environments/production/uses/flag/reasoning").await;
    assert_eq!(
        places(flag),
        [
            "targeting production reasoning ",
            "pin production/acme flag:reasoning "
        ]
    );
    get("/v1/environments/production/uses/tenant/zeta")
        .await
        .problem(404, "NOT_FOUND");
    get("/v1/environments/staging/uses/flag/reasoning")
        .await
        .problem(404, "ENVIRONMENT_NOT_FOUND");
    // Tokens are for admins to see: that one is for this tenant is not told.
    let tenant = get("/v1/environments/production/uses/tenant/acme").await;
    assert_eq!(places(tenant), ["pin production/acme flag:reasoning "]);
    let admin = server
        .get("/v1/environments/production/uses/tenant/acme")
        .await;
    assert!(
        places(admin)
            .iter()
            .any(|it| it.starts_with("token ") && it.ends_with("/tenants/0"))
    );
}

#[tokio::test]
async fn what_is_not_there_or_not_referred_to_is_refused_with_what_to_do() {
    let server = platform().await;
    let get = |path: &'static str| server.get(path);
    get("/v1/environments/production/uses/flag/nowhere")
        .await
        .problem(404, "NOT_FOUND");
    let problem = get("/v1/environments/production/uses/pin/flag:reasoning")
        .await
        .problem(422, "KIND_UNKNOWN");
    assert!(
        problem["next"].as_str().unwrap().contains("segment"),
        "{problem}"
    );
    get("/v1/environments/production/uses/tool/crm@one")
        .await
        .problem(422, "NAME_INVALID");
}
