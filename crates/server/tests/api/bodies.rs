use expect_test::expect;
use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn text_that_readers_disagree_about_is_refused() {
    let server = Server::start().await;
    for (text, status, code) in [
        ("", 400, "TEXT_INVALID"),
        ("{", 400, "TEXT_INVALID"),
        ("{} {}", 400, "TEXT_INVALID"),
        ("{'type': 1}", 400, "TEXT_INVALID"),
        ("{\"type\": \"boolean\",}", 400, "TEXT_INVALID"),
        (
            "{\"type\": \"boolean\", \"type\": \"string\"}",
            400,
            "TEXT_INVALID",
        ),
        ("{\"type\": 9007199254740993}", 400, "TEXT_INVALID"),
        ("{\"type\": 1e999}", 400, "TEXT_INVALID"),
        ("{\"type\": NaN}", 400, "TEXT_INVALID"),
        ("{\"type\": \"\\ud800\"}", 400, "TEXT_INVALID"),
        ("{\"type\": \"a\\u0000\"}", 400, "TEXT_INVALID"),
        ("[]", 422, "FIELD_INVALID"),
        ("null", 422, "FIELD_INVALID"),
        ("7", 422, "FIELD_INVALID"),
        (&"[".repeat(100), 413, "TEXT_TOO_LARGE"),
    ] {
        let reply = server.call("PUT", "/v1/flags/x").text(text).send().await;
        let problem = reply.json();
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(status), Some(code)),
            "{text}: {problem}"
        );
    }
    let reply = server
        .call("PUT", "/v1/flags/x")
        .header("content-type", "application/json");
    reply
        .raw(vec![b'"', 0xff, b'"'])
        .send()
        .await
        .problem(400, "TEXT_INVALID");
}

#[tokio::test]
async fn a_list_never_stands_for_an_object_in_a_request() {
    let server = Server::start().await;
    server.given_a_platform().await;
    for (method, path, body, pointer) in [
        (
            "POST",
            "/v1/commits",
            json!({"ops": [["put", "flag", "", "x", {"type": "boolean"}]]}),
            "/ops/0",
        ),
        ("POST", "/v1/commits", json!([null, []]), ""),
        ("POST", "/v1/reverts", json!([1, 1]), ""),
        (
            "POST",
            "/v1/environments/production/evaluate",
            json!({"context": ["x"]}),
            "/context",
        ),
        (
            "POST",
            "/v1/environments/production/evaluate",
            json!({"context": {"attributes": []}}),
            "/context/attributes",
        ),
        (
            "POST",
            "/v1/environments/production/evaluate",
            json!({"context": {"user": ["u"]}}),
            "/context/user",
        ),
    ] {
        let reply = server.call(method, path).json(&body).send().await;
        let problem = reply.json();
        assert_eq!(problem["status"], 422, "{body}: {problem}");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
        assert!(problem["errors"][0]["next"].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn only_json_that_says_so_is_read() {
    let server = Server::start().await;
    let put = || server.call("PUT", "/v1/flags/x");
    put()
        .raw("{\"type\":\"boolean\"}")
        .send()
        .await
        .problem(415, "MEDIA_TYPE_UNSUPPORTED");
    for media_type in [
        "text/plain",
        "application/yaml",
        "application/x-www-form-urlencoded",
        "",
    ] {
        let call = put()
            .header("content-type", media_type)
            .raw("{\"type\":\"boolean\"}");
        call.send().await.problem(415, "MEDIA_TYPE_UNSUPPORTED");
    }
    let call = put()
        .header("content-encoding", "gzip")
        .text("{\"type\":\"boolean\"}");
    call.send().await.problem(415, "MEDIA_TYPE_UNSUPPORTED");
    let call = put().header("content-type", "Application/JSON; charset=utf-8");
    call.raw("{\"type\":\"boolean\"}").send().await.ok();
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_announced_or_not() {
    let server = Server::start().await;
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let call = server.call("PUT", "/v1/flags/x").text(&large);
    call.send().await.problem(413, "REQUEST_TOO_LARGE");
    let announced = server
        .call("PUT", "/v1/flags/x")
        .header("content-length", "9999999999");
    announced
        .text("{}")
        .send()
        .await
        .problem(413, "REQUEST_TOO_LARGE");
    let chunks = futures_util::stream::iter(
        (0..64).map(|_| Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![b' '; 64 << 10]))),
    );
    let call = server
        .call("PUT", "/v1/flags/x")
        .header("content-type", "application/json");
    let chunked = call.raw(axum::body::Body::from_stream(chunks));
    chunked.send().await.problem(413, "REQUEST_TOO_LARGE");
    let get = server.call("GET", "/v1/flags").text("{}").send().await;
    get.problem(413, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn a_body_in_many_pieces_is_read_whole() {
    let server = Server::start().await;
    let pieces = futures_util::stream::iter(
        ["{\"ty", "pe\": \"bo", "olean\"}"].map(|it| Ok::<_, std::io::Error>(it.to_owned())),
    );
    let call = server
        .call("PUT", "/v1/flags/x")
        .header("content-type", "application/json");
    call.raw(axum::body::Body::from_stream(pieces))
        .send()
        .await
        .ok();
    assert_eq!(
        server.get("/v1/flags/x").await.ok()["body"]["type"],
        "boolean"
    );
}

#[tokio::test]
async fn query_parameters_are_known_ones_each_once() {
    let server = Server::start().await;
    let problem = server
        .get("/v1/flags?limt=10")
        .await
        .problem(400, "REQUEST_INVALID");
    assert_eq!(problem["next"], "known are: `at`, `limit`, `cursor`");
    server
        .get("/v1/flags?limit=1&limit=2")
        .await
        .problem(400, "REQUEST_INVALID");
    server.get("/v1/flags?%6Cimit=1").await.ok();
    server
        .get("/v1/flags?limit=%zz")
        .await
        .problem(400, "REQUEST_INVALID");
    server
        .get("/v1/whoami?x=1")
        .await
        .problem(400, "REQUEST_INVALID");
    server
        .bare("GET", "/healthz?x")
        .send()
        .await
        .problem(400, "REQUEST_INVALID");
    server.get("/v1/flags?&&limit=1&").await.ok();
}

#[tokio::test]
async fn a_problem_says_what_is_wrong_and_what_to_do() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let body = json!({ "state": "enabled", "off": "blue", "default": "green" });
    let call = server.call("PUT", "/v1/environments/staging/targeting/reasoning");
    let reply = call
        .header("x-request-id", "req-1")
        .json(&body)
        .send()
        .await;
    assert_eq!(reply.header("x-request-id"), "req-1");
    expect![[r#"
        {
          "code": "VARIANT_UNKNOWN",
          "detail": "2 findings; first of all: the flag has no variant `blue`",
          "errors": [
            {
              "code": "VARIANT_UNKNOWN",
              "detail": "the flag has no variant `blue`",
              "next": "use one of `off`, `on`, or add the variant to the flag",
              "pointer": "/off"
            },
            {
              "code": "VARIANT_UNKNOWN",
              "detail": "the flag has no variant `green`",
              "next": "use one of `off`, `on`, or add the variant to the flag",
              "pointer": "/default"
            }
          ],
          "instance": "urn:request:req-1",
          "next": "use one of `off`, `on`, or add the variant to the flag",
          "retryable": false,
          "status": 422,
          "title": "Variant unknown",
          "type": "urn:control-plane:error:VARIANT_UNKNOWN"
        }"#]]
    .assert_eq(&format!("{:#}", reply.json()));
}

#[tokio::test]
async fn a_request_id_that_could_forge_a_log_line_is_replaced() {
    let server = Server::start().await;
    let reply = server
        .call("GET", "/v1/flags")
        .header("x-request-id", "a b=\"c\"")
        .send()
        .await;
    assert_eq!(reply.header("x-request-id").len(), 26);
}
