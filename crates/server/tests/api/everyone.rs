//! Every operation of the `OpenAPI` document, asked by those whom it is not for: each answers with a problem.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Reply, Server};

/// An operation as the document has it.
struct Asked {
    method: String,
    path: String,
    /// Whether it says that nobody needs a token.
    is_open: bool,
    has_body: bool,
}

fn operations() -> Vec<Asked> {
    let document = plane_server::openapi();
    assert!(
        document["security"]
            .as_array()
            .is_some_and(|it| !it.is_empty()),
        "a token is needed where nothing else is said"
    );
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push(Asked {
                method: method.to_uppercase(),
                path: path.clone(),
                is_open: operation["security"].as_array().is_some_and(Vec::is_empty),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    operations
}

impl Asked {
    /// The path about this environment and this tenant.
    fn about(&self, environment: &str, tenant: &str) -> String {
        let mut path = self.path.clone();
        for (name, value) in [
            ("environment", environment),
            ("tenant", tenant),
            ("agent", "support"),
            ("tool", "crm"),
            ("version", "1.0.0"),
            ("revision", "1"),
            ("document", "ai"),
            ("selector", "base"),
            ("subject", "flag:reasoning"),
            ("flag", "reasoning"),
            ("segment", "staff"),
            ("group", "checkout"),
            ("schedule", "launch"),
            ("namespace", "default"),
            ("id", "nobody"),
            ("key", "reasoning"),
            ("kind", "flag"),
            ("name", "reasoning"),
        ] {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(
            !path.contains('{'),
            "{path} has a parameter that this test does not know"
        );
        if path.ends_with("/explain") {
            path.push_str("?path=model");
        }
        path
    }

    /// Whether it answers in the protocol's own words; `ofrep.rs` holds whom it hides what from.
    fn is_ofrep(&self) -> bool {
        self.path.contains("/ofrep/")
    }

    /// A body that the operation can read.
    fn body(&self) -> Value {
        match self.path.rsplit('/').next().unwrap() {
            "{flag}" if self.path.contains("targeting") => json!({ "state": "disabled" }),
            "{flag}" => json!({ "type": "boolean" }),
            "{subject}" if self.path.contains("pins") => json!({ "variant": "on" }),
            "{subject}" => json!({ "reason": "a test" }),
            "{agent}" => json!({ "default": { "version": "1.0.0" } }),
            "{namespace}" => json!({ "signing": "optional" }),
            "{id}" => json!({ "principal": "ann", "role": "viewer" }),
            "status" => json!({ "status": "yanked", "message": "a test" }),
            "schema" => json!({ "type": "object" }),
            "{segment}" => json!({ "include": ["u1"] }),
            "{group}" => json!({ "percent": { "reasoning": 10 } }),
            "commits" => json!({ "ops": [
                { "op": "put", "kind": "flag", "name": "new", "body": { "type": "boolean" } }
            ] }),
            "reverts" => json!({ "from": 2, "reason": "a test" }),
            "tokens" => json!({ "principal": "ann", "kind": "person", "role": "viewer" }),
            "trees" => json!({ "documents": [
                { "kind": "flag", "name": "new", "body": { "type": "boolean" } }
            ] }),
            "acks" => json!({
                "service": "s", "instance": "i", "serves": 1, "revision": 1, "state": "applied"
            }),
            _ => json!({}),
        }
    }

    async fn by(&self, server: &Server, token: &str, path: &str) -> Reply {
        let call = server.bare(&self.method, path).token(token);
        let call = if self.has_body {
            call.json(&self.body())
        } else {
            call
        };
        call.send().await
    }
}

/// What a refusal says, if it is one that helps: its status, and the problem without what is of this request alone.
#[track_caller]
fn refusal(asked: &Asked, path: &str, reply: &Reply) -> (u16, Value) {
    let status = reply.status.as_u16();
    let what = format!(
        "{} {path}: {status} {}",
        asked.method,
        String::from_utf8_lossy(&reply.bytes)
    );
    assert!((400..500).contains(&status), "{what}");
    assert_eq!(
        reply.header("content-type"),
        "application/problem+json",
        "{what}"
    );
    let mut problem = reply.json();
    assert_eq!(problem["status"], status, "{what}");
    for member in ["code", "title", "detail", "next"] {
        assert!(
            problem[member].as_str().is_some_and(|it| !it.is_empty()),
            "{what}"
        );
    }
    let code = problem["code"].as_str().unwrap();
    assert!(code.parse::<plane_model::Code>().is_ok(), "{what}");
    problem.as_object_mut().unwrap().remove("instance");
    (status, problem)
}

#[tokio::test]
async fn no_operation_answers_without_a_token_that_is_valid_now() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let expires = plane_model::Timestamp(server.node.now().as_ms() + 60_000).to_string();
    let expired = server
        .token_of("admin", json!({ "expires_at": expires }))
        .await;
    let request = json!({ "principal": "svc", "kind": "service", "role": "admin" });
    let made = server.post("/v1/tokens", request).await.ok();
    let revoked = made["token"].as_str().unwrap().to_owned();
    // Both are known to the server by the time that they stop to be valid.
    for token in [&expired, &revoked] {
        server
            .bare("GET", "/v1/whoami")
            .token(token)
            .send()
            .await
            .ok();
    }
    let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    server.call("DELETE", &path).send().await.ok();
    server.clock.advance(61);
    let before = server.revision();
    let mut asked_for = 0;
    for asked in operations() {
        let path = asked.about("production", "acme");
        let headers = [
            None,
            Some("Bearer cp_".to_owned()),
            Some("Basic cm9vdDpyb290".to_owned()),
            Some(format!("Bearer {ADMIN}x")),
            Some(format!("Bearer {expired}")),
            Some(format!("Bearer {revoked}")),
        ];
        for header in headers {
            let call = server.bare(&asked.method, &path);
            let call = match &header {
                Some(header) => call.header("authorization", header),
                None => call,
            };
            let call = if asked.has_body {
                call.json(&asked.body())
            } else {
                call
            };
            let reply = call.send().await;
            if asked.is_open {
                assert_eq!(reply.status, 200, "{path} is open");
                continue;
            }
            asked_for += 1;
            if asked.is_ofrep() {
                assert_eq!(reply.status, 401, "{} {path} by {header:?}", asked.method);
                let details = reply.json()["errorDetails"].as_str().map(str::len);
                assert!(details.is_some_and(|length| length > 0), "{path}");
                continue;
            }
            let (status, problem) = refusal(&asked, &path, &reply);
            assert_eq!(
                (status, problem["code"].as_str()),
                (401, Some("UNAUTHENTICATED")),
                "{} {path} by {header:?}",
                asked.method
            );
            assert!(
                reply.header("www-authenticate").starts_with("Bearer"),
                "{path}"
            );
        }
    }
    assert!(asked_for > 400, "{asked_for} requests");
    assert_eq!(server.revision(), before, "nothing was written");
}

#[tokio::test]
async fn every_operation_about_an_environment_hides_one_that_the_token_does_not_cover() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let token = server
        .token_of("admin", json!({ "environments": ["staging"] }))
        .await;
    hides(&server, &token, "{environment}", |asked, hidden| {
        asked.about(if hidden { "production" } else { "nowhere" }, "acme")
    })
    .await;
}

#[tokio::test]
async fn every_operation_about_a_tenant_hides_one_that_the_token_does_not_cover() {
    let server = Server::start().await;
    server.given_a_platform().await;
    let token = server
        .token_of("admin", json!({ "tenants": ["acme"] }))
        .await;
    hides(&server, &token, "{tenant}", |asked, hidden| {
        asked.about("production", if hidden { "zeta" } else { "nobody" })
    })
    .await;
}

/// What is hidden is answered like what is not there, in every operation whose path has `parameter`.
async fn hides(
    server: &Server,
    token: &str,
    parameter: &str,
    path: impl Fn(&Asked, bool) -> String,
) {
    let before = server.revision();
    let concerned = |asked: &&Asked| asked.path.contains(parameter) && !asked.is_ofrep();
    for asked in operations().iter().filter(concerned) {
        let (there, absent) = (path(asked, true), path(asked, false));
        let (status, hidden) = refusal(asked, &there, &asked.by(server, token, &there).await);
        let (_, unknown) = refusal(asked, &absent, &asked.by(server, token, &absent).await);
        assert_eq!(status, 404, "{} {there}: {hidden}", asked.method);
        let named = |problem: &Value| {
            let text = problem.to_string();
            let text = text.replace("production", "nowhere");
            text.replace("zeta", "nobody")
        };
        assert_eq!(named(&hidden), named(&unknown), "{} {there}", asked.method);
    }
    assert_eq!(server.revision(), before, "nothing was written");
}
