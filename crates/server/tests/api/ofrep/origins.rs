//! Pages of other origins.

use std::sync::Arc;

use plane_server::{Origins, ServerOptions};
use serde_json::json;

use super::{ALL, IN_PRODUCTION};
use crate::harness::{ADMIN, Server};

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_read() {
    let app = "https://app.example.com";
    let server = Server::with(ServerOptions {
        origins: Origins::Only(Arc::from([app.to_owned()])),
        ..ServerOptions::default()
    })
    .await;
    server.given_flags().await;
    let from =
        |method: &str, origin: &str| server.bare(method, IN_PRODUCTION).header("origin", origin);
    let preflight = from("OPTIONS", app).send().await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), app);
    assert_eq!(preflight.header("vary"), "origin");
    let allowed = preflight.header("access-control-allow-headers");
    for name in [
        "if-none-match",
        "authorization",
        "x-api-key",
        "content-type",
    ] {
        assert!(
            allowed.split(", ").any(|it| it == name),
            "{name} in {allowed}"
        );
    }
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        "GET, POST"
    );
    let reply = from("POST", app).token(ADMIN).asks(json!({})).send().await;
    assert_eq!(reply.header("access-control-allow-origin"), app);
    assert!(
        reply
            .header("access-control-expose-headers")
            .contains("etag")
    );
    let refused = from("POST", app).asks(json!({})).send().await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        app,
        "errors are read as well"
    );
    for method in ["OPTIONS", "POST"] {
        let reply = from(method, "https://elsewhere.example").send().await;
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    let own = server
        .call("GET", "/v1/flags")
        .header("origin", app)
        .send()
        .await;
    assert_eq!(
        own.header("access-control-allow-origin"),
        "",
        "nothing but OFREP"
    );
}

#[tokio::test]
async fn without_origins_no_page_may_ask_and_with_a_star_all_may() {
    let server = Server::start().await;
    let preflight = server
        .bare("OPTIONS", ALL)
        .header("origin", "https://a.example");
    let refused = preflight.send().await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    refused.problem(405, "METHOD_NOT_ALLOWED");
    let server = Server::with(ServerOptions {
        origins: Origins::Any,
        ..ServerOptions::default()
    })
    .await;
    for path in [ALL, "/ofrep/v1/evaluate/flags/", "/ofrep/v1/events"] {
        let preflight = server
            .bare("OPTIONS", path)
            .header("origin", "https://a.example");
        let allowed = preflight.send().await;
        assert_eq!(allowed.header("access-control-allow-origin"), "*");
    }
}
