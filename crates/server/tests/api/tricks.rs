//! Requests that mean harm or know no better: each gets a problem with a code, or a bare 400 where it
//! is not HTTP at all.

use serde_json::json;

use crate::harness::{ADMIN, Server};
use crate::wire::{Wire, get, request};

#[tokio::test]
async fn what_is_not_http_gets_a_bare_400_and_the_connection_is_closed() {
    let wire = Wire::start(plane_server::ServerOptions::default()).await;
    let lines = |lines: &str| format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{lines}\r\n");
    for asked in [
        "\u{0}\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(),
        "GET /heal\u{0}thz HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET /healthz  HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
        lines("no colon\r\n"),
        lines("x: a\u{0}b\r\n"),
        lines("x: a\u{7}b\r\n"),
        lines("x : space before the colon\r\n"),
        lines("x: folded\r\n over two lines\r\n"),
        lines("content-length: -1\r\n"),
        lines("content-length: +1\r\n"),
        lines("content-length: 0x1\r\n"),
        lines("content-length: 1, 1\r\n"),
        lines("content-length: 99999999999999999999999\r\n"),
        lines("content-length: 1\r\ncontent-length: 2\r\n"),
        lines("transfer-encoding: gzip\r\n"),
        lines("transfer-encoding: chunked, identity\r\n"),
        "POST /v1/commits HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ] {
        let mut socket = wire.connect().await;
        socket.send(asked.as_bytes()).await;
        let reply = socket.try_rest().await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{asked:?}: {reply}");
        assert!(reply.ends_with("\r\n\r\n"), "{asked:?}: {reply}");
    }
    let mut socket = wire.connect().await;
    socket.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(socket.try_rest().await, "", "HTTP/2 is not spoken");
    assert_eq!(wire.connect().await.ask(&get("/healthz")).await.0, 200);
}

#[tokio::test]
async fn no_second_request_is_smuggled_in_a_body() {
    let wire = Wire::start(plane_server::ServerOptions::default()).await;
    let hidden = get("/v1/whoami");
    let head = format!("host: x\r\nauthorization: Bearer {ADMIN}\r\n");
    let chunked = format!("0\r\n\r\n{hidden}");
    let whole = hidden.len();
    for asked in [
        // Chunked wins over a length, and nothing after it is read.
        format!(
            "GET /v1/flags HTTP/1.1\r\n{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}",
            chunked.len()
        ),
        format!(
            "GET /v1/flags HTTP/1.1\r\n{head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunked}"
        ),
        // A body that is refused is not read as the next request.
        format!("GET /v1/flags HTTP/1.1\r\n{head}content-length: {whole}\r\n\r\n{hidden}"),
        format!("GET /v1/nowhere HTTP/1.1\r\n{head}content-length: {whole}\r\n\r\n{hidden}"),
        format!(
            "POST /v1/commits HTTP/1.1\r\n{head}content-type: text/plain\r\ncontent-length: {whole}\r\n\r\n{hidden}"
        ),
    ] {
        let mut socket = wire.connect().await;
        socket.send(asked.as_bytes()).await;
        socket.shut().await;
        let replies = socket.try_rest().await;
        assert_eq!(
            replies.matches("HTTP/1.1 ").count(),
            1,
            "{asked}: {replies}"
        );
        assert!(!replies.contains("\"principal\""), "{asked}: {replies}");
    }
}

#[tokio::test]
async fn one_host_is_named_and_its_name_means_nothing() {
    let wire = Wire::start(plane_server::ServerOptions::default()).await;
    let auth = format!("authorization: Bearer {ADMIN}\r\n\r\n");
    for (head, status, code) in [
        ("GET /v1/whoami HTTP/1.1\r\n", 400, "REQUEST_INVALID"),
        (
            "GET /v1/whoami HTTP/1.1\r\nhost: a\r\nhost: a\r\n",
            400,
            "REQUEST_INVALID",
        ),
        ("GET /v1/whoami HTTP/1.1\r\nhost: evil.example\r\n", 200, ""),
        ("GET /v1/whoami HTTP/1.1\r\nhost: \r\n", 200, ""),
        ("GET /v1/whoami HTTP/1.0\r\n", 200, ""),
        (
            "GET http://evil.example/v1/whoami HTTP/1.1\r\nhost: x\r\n",
            200,
            "",
        ),
        (
            "GET http://evil.example HTTP/1.1\r\nhost: x\r\n",
            404,
            "ROUTE_NOT_FOUND",
        ),
        ("GET whoami HTTP/1.1\r\nhost: x\r\n", 404, "ROUTE_NOT_FOUND"),
    ] {
        let mut socket = wire.connect().await;
        let (given, problem) = socket.ask(&format!("{head}{auth}")).await;
        let given = (given, problem["code"].as_str().unwrap_or_default());
        assert_eq!(given, (status, code), "{head}: {problem}");
    }
}

#[tokio::test]
async fn a_path_is_taken_as_it_is_written() {
    let wire = Wire::start(plane_server::ServerOptions::default()).await;
    let flag = "/v1/flags/reasoning";
    let mut socket = wire.connect().await;
    assert_eq!(socket.ask(&get(flag)).await.0, 200);
    for (path, status, code) in [
        ("/v1/flags/%72easoning", 200, ""),
        ("/v1/flags/Reasoning", 404, "NOT_FOUND"),
        ("/V1/flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("//v1/flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1//flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1/flags//reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1/flags/reasoning/", 404, "ROUTE_NOT_FOUND"),
        ("/v1/./flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1/flags/../flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/healthz/../v1/flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1%2Fflags%2Freasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1;x=1/flags/reasoning", 404, "ROUTE_NOT_FOUND"),
        ("/v1/flags/..", 422, "NAME_INVALID"),
        ("/v1/flags/%2e%2e", 422, "NAME_INVALID"),
        ("/v1/flags/%2e%2e%2freasoning", 422, "NAME_INVALID"),
        ("/v1/flags/reasoning%00", 422, "NAME_INVALID"),
        ("/v1/flags/reasoning%0d%0ax:1", 422, "NAME_INVALID"),
        ("/v1/flags/reasoning;x=1", 422, "NAME_INVALID"),
        ("/v1/flags/%20", 422, "NAME_INVALID"),
        ("/v1/flags/%ef%bc%8e", 422, "NAME_INVALID"),
        ("/v1/flags/%c0%ae%c0%ae", 400, "REQUEST_INVALID"),
        ("/v1/flags/%ff", 400, "REQUEST_INVALID"),
        ("/v1/flags/%ed%a0%80", 400, "REQUEST_INVALID"),
        ("/v1/environments/%2e%2e/view", 404, "ENVIRONMENT_NOT_FOUND"),
        (
            "/v1/environments/production%00/view",
            404,
            "ENVIRONMENT_NOT_FOUND",
        ),
    ] {
        let (given, problem) = socket.ask(&get(path)).await;
        let given = (given, problem["code"].as_str().unwrap_or_default());
        assert_eq!(given, (status, code), "{path}: {problem}");
    }
}

#[tokio::test]
async fn methods_are_the_ones_of_the_path_in_capitals() {
    let wire = Wire::start(plane_server::ServerOptions::default()).await;
    for method in [
        "get", "Get", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "DEBUG", "X-\u{21}",
    ] {
        let mut socket = wire.connect().await;
        let (status, problem) = socket
            .ask(&request(method, "/v1/flags/reasoning", ""))
            .await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (405, Some("METHOD_NOT_ALLOWED")),
            "{method}"
        );
        assert!(
            problem["next"]
                .as_str()
                .unwrap()
                .contains("GET, PUT, DELETE"),
            "{problem}"
        );
    }
    for target in ["CONNECT localhost:80", "OPTIONS *"] {
        let mut socket = wire.connect().await;
        let asked = format!("{target} HTTP/1.1\r\nhost: x\r\n\r\n");
        let (status, problem) = socket.ask(&asked).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (404, Some("ROUTE_NOT_FOUND")),
            "{target}"
        );
    }
    let mut socket = wire.connect().await;
    let head = get("/v1/flags/reasoning")
        .replace("GET", "HEAD")
        .replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    socket.send(head.as_bytes()).await;
    let reply = socket.rest().await;
    assert!(
        reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_token_of_any_wrong_shape_is_refused_alike() {
    let wire = Wire::start(plane_server::ServerOptions::default()).await;
    let long = format!("Bearer cp_{}", "x".repeat(30_000));
    let mut details = std::collections::BTreeSet::new();
    for value in [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer cp_",
        "Bearer  ",
        "Basic cm9vdDo=",
        "Token cp_x",
        ADMIN,
        "BearerX cp_first_admin",
        "Bearer\tcp_first_admin",
        "Bearer cp_first_admin,",
        "Bearer cp_first_admin cp_first_admin",
        "Bearer \"cp_first_admin\"",
        "Bearer CP_first_admin",
        "Bearer cp_first_admi",
        "Bearer cp_first_admin0",
        "Bearer cp_FIRST_ADMIN",
        "Bearer cp_f\u{e9}",
        "Bearer cp_\u{202e}",
        "Bearer cp_first_admin\u{a0}",
        &long,
    ] {
        let asked = format!("GET /v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: {value}\r\n\r\n");
        let (status, problem) = wire.connect().await.ask(&asked).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (401, Some("UNAUTHENTICATED")),
            "{value}"
        );
        assert!(!problem.to_string().contains("first_adm"), "{problem}");
        details.insert(problem["detail"].to_string());
    }
    assert_eq!(
        details.len(),
        2,
        "malformed or unknown, and no more: {details:?}"
    );
    let huge = format!(
        "GET /v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Bearer cp_{}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let mut socket = wire.connect().await;
    socket.try_send(huge.as_bytes()).await;
    let reply = socket.try_rest().await;
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 431 "),
        "{reply}"
    );
}

#[tokio::test]
async fn headers_that_say_nonsense_are_refused_and_change_nothing() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let before = server.revision();
    let flag = json!({ "type": "boolean", "description": "changed" });
    for (name, value) in [
        ("if-match", ""),
        ("if-match", "2"),
        ("if-match", "\"x\""),
        ("if-match", "W/\"2\""),
        ("if-match", "\"2\", \"3\""),
        ("if-match", "\"-1\""),
        ("if-match", "\"99999999999999999999\""),
        ("if-match", "\"2"),
        ("if-match", "**"),
        ("if-none-match", "\"2\""),
        ("if-none-match", ""),
        ("idempotency-key", ""),
        ("idempotency-key", "a b"),
        ("idempotency-key", &"x".repeat(129)),
        ("control-plane-min-revision", "-1"),
        ("control-plane-min-revision", "1.5"),
        ("control-plane-min-revision", ""),
        ("control-plane-min-revision", "99999999999999999999"),
        ("control-plane-reason", "%"),
        ("control-plane-reason", "%ff"),
    ] {
        let call = server
            .call("PUT", "/v1/flags/reasoning")
            .header(name, value);
        let reply = call.json(&flag).send().await;
        assert_eq!(reply.header("control-plane-revision"), before.to_string());
        let problem = reply.problem(400, "REQUEST_INVALID");
        assert!(problem["next"].is_string(), "{name}: {value}: {problem}");
    }
    for name in [
        "if-match",
        "idempotency-key",
        "control-plane-min-revision",
        "control-plane-reason",
    ] {
        let call = server
            .call("PUT", "/v1/flags/reasoning")
            .bytes(name, b"\xff\xfe");
        call.json(&flag)
            .send()
            .await
            .problem(400, "REQUEST_INVALID");
    }
    let call = server
        .call("PUT", "/v1/flags/nowhere")
        .header("if-match", "*");
    call.json(&flag).send().await.problem(404, "NOT_FOUND");
    for encoding in ["gzip", "zstd", "br", "gzip, gzip", "identity", "x"] {
        let call = server
            .call("PUT", "/v1/flags/reasoning")
            .header("content-encoding", encoding);
        call.json(&flag)
            .send()
            .await
            .problem(415, "MEDIA_TYPE_UNSUPPORTED");
    }
    assert_eq!(server.revision(), before);
}

#[tokio::test]
async fn a_header_that_may_occur_once_is_refused_when_it_occurs_twice() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let before = server.revision();
    let flag = json!({ "type": "boolean", "description": "changed" });
    for (name, values) in [
        ("if-match", ["*", "\"1\""]),
        ("idempotency-key", ["a", "b"]),
        ("control-plane-min-revision", ["1", "2"]),
        ("control-plane-reason", ["a", "b"]),
        ("content-type", ["application/json", "text/plain"]),
    ] {
        let call = server.call("PUT", "/v1/flags/reasoning");
        let call = call.header(name, values[0]).header(name, values[1]);
        let reply = call.json(&flag).send().await;
        let problem = reply.problem(400, "REQUEST_INVALID");
        assert!(
            problem["detail"].as_str().unwrap().contains("twice"),
            "{name}: {problem}"
        );
    }
    assert_eq!(server.revision(), before);
}

#[tokio::test]
async fn the_past_the_wait_and_the_place_in_a_stream_are_checked() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let view = "/v1/environments/production/view";
    for (path, status, code) in [
        (format!("{view}?wait=-1"), 400, "REQUEST_INVALID"),
        (format!("{view}?wait=61"), 400, "REQUEST_INVALID"),
        (format!("{view}?wait=1e3"), 400, "REQUEST_INVALID"),
        (
            format!("{view}?wait=99999999999999999999"),
            400,
            "REQUEST_INVALID",
        ),
        (format!("{view}?wait="), 400, "REQUEST_INVALID"),
        (format!("{view}?wait=1&wait=2"), 400, "REQUEST_INVALID"),
        (format!("{view}?nothing=1"), 400, "REQUEST_INVALID"),
        (format!("{view}?wait"), 400, "REQUEST_INVALID"),
        ("/v1/flags?at=".to_owned(), 400, "REQUEST_INVALID"),
        ("/v1/flags?at=-1".to_owned(), 400, "REQUEST_INVALID"),
        ("/v1/flags?at=yesterday".to_owned(), 400, "REQUEST_INVALID"),
        ("/v1/flags?at=2026-02-30".to_owned(), 400, "REQUEST_INVALID"),
        (
            "/v1/flags?at=99999999999999999999".to_owned(),
            400,
            "REQUEST_INVALID",
        ),
        ("/v1/flags?at=%D9%A1".to_owned(), 400, "REQUEST_INVALID"),
        (
            "/v1/flags?at=18446744073709551615".to_owned(),
            404,
            "REVISION_NOT_FOUND",
        ),
        ("/v1/flags?limit=0".to_owned(), 400, "REQUEST_INVALID"),
        ("/v1/flags?limit=1001".to_owned(), 400, "REQUEST_INVALID"),
        ("/v1/flags?cursor=%00".to_owned(), 400, "REQUEST_INVALID"),
        ("/v1/commits/0x1".to_owned(), 400, "REQUEST_INVALID"),
        (
            "/v1/commits/99999999999999999999".to_owned(),
            400,
            "REQUEST_INVALID",
        ),
    ] {
        let problem = server.get(&path).await.json();
        let given = (problem["status"].as_u64(), problem["code"].as_str());
        assert_eq!(given, (Some(status), Some(code)), "{path}: {problem}");
    }
    for id in [
        "",
        "0",
        "x",
        "-1.00000000",
        "1",
        "1.",
        ".00000000",
        "99999999999999999999.00000000",
        "18446744073709551615.00000000",
        "1.0000000000000000000000000",
        "1.zzzzzzzz",
        "1.0000\u{e9}",
        &"9".repeat(20_000),
    ] {
        let call = server.call("GET", "/v1/environments/production/stream");
        let mut events = crate::harness::Events::of(call.header("last-event-id", id).open().await);
        let first = events.next().await.unwrap();
        assert_eq!(first.kind, "refetch", "{id}: {first:?}");
    }
}
