//! A server over a node in memory, and requests to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::StreamExt as _;
use plane_log::observations::MemoryObservations;
use plane_log::{LogId, MemoryLog};
use plane_model::{Digest, DocumentKey, PrincipalId, Timestamp, TokenId};
use plane_node::{Clock, Node, Options};
use plane_server::{Router, ServerOptions, Shutdown, router};
use plane_state::{Action, Change, Command, Expect, Op, Scope};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// The token of the first admin.
pub(crate) const ADMIN: &str = "cp_first_admin";
/// When the tests begin.
const NOON: i64 = 1_772_366_400_000;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) node: Node,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) shutdown: Shutdown,
}

/// A reply that was read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// The problem, which has to have this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(
            (self.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{problem}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["type"], format!("urn:control-plane:error:{code}"));
        problem
    }
}

/// A request that is being put together.
pub(crate) struct Call<'s> {
    server: &'s Server,
    builder: axum::http::request::Builder,
    body: Body,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    pub(crate) fn text(self, body: &str) -> Self {
        let mut call = self.header("content-type", "application/json");
        call.body = Body::from(body.to_owned());
        call
    }

    pub(crate) fn raw(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn open(self) -> axum::response::Response {
        let request = self.builder.body(self.body).unwrap();
        self.server.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(self) -> Reply {
        self.owned().await
    }

    /// Sends it from a task of its own.
    pub(crate) fn owned(self) -> impl Future<Output = Reply> + Send + 'static {
        let request = self.builder.body(self.body).unwrap();
        let router = self.server.router.clone();
        async move {
            let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            Reply {
                status: parts.status,
                headers: parts.headers,
                bytes,
            }
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(NOON)));
        let node = Node::start(Options {
            log: Arc::new(MemoryLog::new(LogId::new("test").unwrap())),
            observations: Arc::new(MemoryObservations::new()),
            clock: clock.clone(),
        })
        .await
        .unwrap();
        let shutdown = options.shutdown.clone();
        let server = Self {
            router: router(node.clone(), options),
            node,
            clock,
            shutdown,
        };
        server.first_token().await;
        server.node.run_schedules();
        server
    }

    async fn first_token(&self) {
        let principal = PrincipalId::new("system").unwrap();
        let body = json!({
            "kind": "person",
            "principal": "root",
            "role": "admin",
            "hash": Digest::of(ADMIN.as_bytes()),
        });
        let command = Command {
            id: String::new(),
            actor: principal.clone(),
            action: Action::Access,
            reason: "first start".to_owned(),
            source: "test".to_owned(),
            ops: vec![Op {
                key: DocumentKey::token(&TokenId::new("first").unwrap()),
                change: Change::Put(body),
                expect: Expect::Absent,
            }],
        };
        self.node
            .commit(&Scope::system(principal), command)
            .await
            .unwrap();
    }

    /// A request without a token.
    pub(crate) fn bare(&self, method: &str, path: &str) -> Call<'_> {
        let builder = Request::builder().method(method).uri(path);
        Call {
            server: self,
            builder,
            body: Body::empty(),
        }
    }

    /// A request by the first admin.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        self.bare(method, path).token(ADMIN)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.call("PUT", path).json(&body).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path).json(&body).send().await
    }

    /// Makes documents, all in one commit.
    pub(crate) async fn given(&self, documents: &[(&str, &str, &str, Value)]) {
        let ops: Vec<_> = documents
            .iter()
            .map(|(kind, scope, name, body)| {
                json!({ "op": "put", "kind": kind, "scope": scope, "name": name, "body": body })
            })
            .collect();
        self.post("/v1/commits", json!({ "ops": ops })).await.ok();
    }

    /// Two environments, two tenants, and a flag that is on in production for enterprise tenants.
    pub(crate) async fn given_a_platform(&self) {
        let targeting = json!({
            "state": "enabled",
            "rules": [{
                "name": "enterprise",
                "if": { "attribute": "tenant.plan", "in": ["enterprise"] },
                "serve": "on",
            }],
        });
        self.given(&[
            ("environment", "", "production", json!({ "order": 1 })),
            ("environment", "", "staging", json!({})),
            ("tenant", "", "acme", json!({ "plan": "enterprise" })),
            ("tenant", "", "zeta", json!({ "plan": "free" })),
            (
                "flag",
                "",
                "reasoning",
                json!({ "type": "boolean", "metadata": { "team": "ml" } }),
            ),
            ("targeting", "production", "reasoning", targeting),
        ])
        .await;
    }

    /// Makes a token and gives its text.
    pub(crate) async fn token(&self, request: Value) -> String {
        self.post("/v1/tokens", request).await.ok()["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A token of a service, narrowed by what `more` says.
    pub(crate) async fn token_of(&self, role: &str, more: Value) -> String {
        let mut request = json!({ "principal": "svc", "kind": "service", "role": role });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.token(request).await
    }

    pub(crate) fn revision(&self) -> u64 {
        self.node.snapshot().revision()
    }
}

/// An open stream.
pub(crate) struct Events {
    body: axum::body::BodyDataStream,
    /// What arrived and was not read yet: several events may come in one piece.
    text: String,
}

/// One event of a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn of(response: axum::response::Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        // A proxy passes events on as they come.
        assert_eq!(headers["cache-control"], "no-store, no-transform");
        assert_eq!(headers["x-accel-buffering"], "no");
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The next event that is neither a bookmark nor an alert, without its signed head.
    pub(crate) async fn news(&mut self) -> Event {
        loop {
            let mut event = self.next().await.unwrap();
            if event.kind != "bookmark" && event.kind != "alert" {
                event.data.as_object_mut().unwrap().remove("signed");
                return event;
            }
        }
    }

    /// The next piece up to an empty line; none if the stream has ended.
    pub(crate) async fn piece(&mut self) -> Option<String> {
        if self.text.is_empty() {
            let bytes = self.body.next().await?.unwrap();
            self.text = String::from_utf8(bytes.to_vec()).unwrap();
        }
        let end = self.text.find("\n\n").unwrap() + 2;
        let rest = self.text.split_off(end);
        let text = std::mem::replace(&mut self.text, rest);
        Some(text.trim_end().to_owned())
    }

    /// The next piece, which is a comment.
    pub(crate) async fn comment(&mut self) -> String {
        let text = self.piece().await.unwrap();
        assert!(text.starts_with(':'), "{text}");
        text
    }

    /// The next event; none if the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let text = self.piece().await?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no `{name}` in {text}"))
                .to_owned()
        };
        let is_alert = text.starts_with("event: alert\n");
        Some(Event {
            id: if is_alert {
                String::new()
            } else {
                field("id: ")
            },
            kind: field("event: "),
            data: serde_json::from_str(&field("data: ")).unwrap(),
        })
    }
}
