use plane_api::operations;
use plane_api::operations::{Caller, Dialect};
use plane_server::{ServerOptions, Shutdown, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{ADMIN, Server};

const COMMITTED: &str = include_str!("../../../../openapi/control-plane-v1.json");

#[test]
fn the_committed_openapi_document_is_what_the_code_gives() {
    let generated = format!("{:#}\n", plane_server::openapi());
    assert!(
        COMMITTED == generated,
        "run `cargo run -p plane-server --example openapi > openapi/control-plane-v1.json`"
    );
}

#[tokio::test]
async fn every_operation_of_the_table_is_routed() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for operation in operations() {
        let mut path = operation.path.clone();
        for (name, value) in [
            ("environment", "production"),
            ("tenant", "acme"),
            ("subject", "flag:reasoning"),
            ("selector", "base"),
            ("version", "1.0.0"),
            ("revision", "1"),
        ] {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        while let Some((before, rest)) = path.split_once('{') {
            let (_, after) = rest.split_once('}').unwrap();
            path = format!("{before}thing{after}");
        }
        let response = server.call(operation.method.as_str(), &path).open().await;
        let status = response.status().as_u16();
        assert_ne!(status, 405, "{}", operation.id);
        assert_ne!(status, 500, "{}", operation.id);
        assert!(
            response.headers().contains_key("control-plane-revision"),
            "{}",
            operation.id
        );
        if status >= 400 && operation.dialect == Dialect::Problems {
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
                .await
                .unwrap();
            let problem: Value = serde_json::from_slice(&bytes).unwrap();
            let code = problem["code"].as_str().unwrap();
            assert_ne!(code, "ROUTE_NOT_FOUND", "{}", operation.id);
            let known = operation.codes.iter().any(|it| it.as_str() == code);
            assert!(
                known,
                "{} does not say that it may answer {code}",
                operation.id
            );
        }
    }
}

#[tokio::test]
async fn only_operations_that_say_so_are_open_to_anybody() {
    let server = Server::start().await;
    for operation in operations() {
        let path = operation.path.replace(['{', '}'], "");
        let reply = server.bare(operation.method.as_str(), &path).send().await;
        let is_refused = reply.status == 401;
        assert_eq!(
            is_refused,
            operation.caller == Caller::Token,
            "{}",
            operation.id
        );
    }
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_like_any_other() {
    let server = Server::start().await;
    let missing = server.bare("GET", "/v2/flags").send().await;
    assert_eq!(missing.header("x-request-id").len(), 26);
    let problem = missing.problem(404, "ROUTE_NOT_FOUND");
    assert!(
        problem["instance"]
            .as_str()
            .unwrap()
            .starts_with("urn:request:")
    );
    let method = server.call("PATCH", "/v1/flags/x").send().await;
    assert_eq!(method.header("allow"), "GET, PUT, DELETE");
    method.problem(405, "METHOD_NOT_ALLOWED");
    server
        .get("/v1/flags/")
        .await
        .problem(404, "ROUTE_NOT_FOUND");
}

#[tokio::test]
async fn health_and_readiness_are_told_to_anybody() {
    let server = Server::start().await;
    assert_eq!(
        server.bare("GET", "/healthz").send().await.ok()["status"],
        "ok"
    );
    let ready = server.bare("GET", "/readyz").send().await.ok();
    assert_eq!(
        ready,
        json!({ "ready": true, "revision": server.revision(), "epoch": 0 })
    );
    server.shutdown.begin();
    let ready = server.bare("GET", "/readyz").send().await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["ready"], false);
    server.bare("GET", "/healthz").send().await.ok();
}

#[tokio::test]
async fn metrics_count_what_happened_and_begin_at_zero() {
    let server = Server::start().await;
    server.given_an_agent().await;
    server
        .put("/v1/flags/bad", json!({ "type": "colour" }))
        .await
        .problem(422, "FIELD_INVALID");
    let path = "/v1/environments/production/evaluate";
    let request =
        json!({ "flags": ["reasoning", "no_such_flag"], "context": { "tenant": "acme" } });
    server.post(path, request).await.ok();
    server
        .get("/v1/environments/production/agents/support/resolve")
        .await
        .ok();
    server.get("/v1/tools/crm_tool/versions/1.2.0").await.ok();
    let reply = server.bare("GET", "/metrics").send().await;
    assert!(
        reply
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = String::from_utf8(reply.bytes.to_vec()).unwrap();
    let revision = server.revision();
    for line in [
        format!("control_plane_revision {revision}"),
        format!("control_plane_config_reloads_total{{source=\"log\",result=\"success\"}} {revision}"),
        "control_plane_config_reloads_total{source=\"log\",result=\"invalid\"} 0".to_owned(),
        "control_plane_config_last_reload_successful 1".to_owned(),
        "control_plane_config_validation_failures_total{rule=\"FIELD_INVALID\"} 1".to_owned(),
        "control_plane_config_validation_failures_total{rule=\"CONFIG_INVALID\"} 0".to_owned(),
        "control_plane_flag_evaluations_total{flag=\"reasoning\",variant=\"on\",reason=\"targeting_match\"} 1".to_owned(),
        "control_plane_flag_evaluations_total{flag=\"__other__\",variant=\"\",reason=\"error\"} 1".to_owned(),
        "control_plane_registry_lookups_total{kind=\"agent\",result=\"hit\"} 1".to_owned(),
        "control_plane_registry_lookups_total{kind=\"tool\",result=\"hit\"} 1".to_owned(),
        "control_plane_registry_lookups_total{kind=\"tool\",result=\"error\"} 0".to_owned(),
        "control_plane_registry_signature_verifications_total{result=\"unsigned\"} 1".to_owned(),
        "control_plane_registry_integrity_failures_total{cause=\"digest_mismatch\"} 0".to_owned(),
        "control_plane_asset_tenants{environment=\"production\",kind=\"agent\",asset=\"support\",version=\"1.0.0\",lifecycle=\"active\"} 2".to_owned(),
        "control_plane_http_requests_total{route=\"/v1/flags/{flag}\",method=\"PUT\",status=\"422\"} 1".to_owned(),
        "control_plane_streams_open 0".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_server_answers_over_a_socket_and_ends_when_told_to() {
    let shutdown = Shutdown::new();
    let options = ServerOptions {
        shutdown: shutdown.clone(),
        ..ServerOptions::default()
    };
    let server = Server::with(options.clone()).await;
    server.given_a_platform().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve(listener, server.router.clone(), options);
    let asking = async {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /v1/environments/production/stream HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {ADMIN}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("event: bookmark") {
            let count = socket.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        shutdown.begin();
        while !text.contains("event: goaway") {
            let count = socket.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    tokio::join!(serving, asking);
}
