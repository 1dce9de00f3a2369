//! What happens to every request: name it, let it in, read it, answer, log and count.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use plane_api::operations::Caller as Who;
use plane_api::{Operation, headers};
use plane_eval::View;
use plane_model::{Code, EnvironmentName, TenantId};
use plane_node::{Node, Snapshot};
use plane_state::Scope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::admission::{Connection, check_connection, check_form, check_stranger, check_token};
use crate::auth::{Caller, Scopes};
use crate::failure::Failure;
use crate::handlers::Handler;
use crate::instances::Instances;
use crate::metrics::Metrics;
use crate::query::Query;
use crate::rate::Addresses;
use crate::stream::Streams;
use crate::view::Views;
use crate::{ServerOptions, body, percent};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) options: ServerOptions,
    pub(crate) scopes: Scopes,
    pub(crate) addresses: Addresses,
    pub(crate) metrics: Metrics,
    pub(crate) views: Views,
    pub(crate) streams: Streams,
    pub(crate) instances: Instances,
    pub(crate) openapi: Bytes,
}

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Call {
    app: Arc<App>,
    operation: &'static Operation,
    caller: Caller,
    path: RawPathParams,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    request_id: String,
}

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

/// Lets a request in, has it handled, and tells the log and the metrics about it.
pub(crate) async fn enter(
    app: Arc<App>,
    operation: &'static Operation,
    handler: Handler,
    path: RawPathParams,
    request: Request,
) -> Response {
    let begun = Instant::now();
    let request_id = request_id(request.headers());
    let mut principal = String::new();
    let deadline = begun + app.options.request_timeout;
    let answer = async {
        let admitted = admit(
            &app,
            operation,
            path,
            request,
            begun,
            &request_id,
            &mut principal,
        );
        match within(deadline, admitted).await? {
            Admitted::Caller(call) => handle(*call, handler, deadline).await,
            Admitted::Anybody => open(&app, handler),
        }
    };
    let answer = answer.await;
    let (mut response, code) = match answer {
        Ok(response) => (response, String::new()),
        Err(failure) => {
            for rule in failure.rules() {
                app.metrics.refused(rule);
            }
            let code = failure.code().to_owned();
            (failure.about(&request_id).into_response(), code)
        }
    };
    finish(&app, &mut response, &request_id);
    let status = response.status().as_u16();
    let took = begun.elapsed();
    app.metrics
        .request(&operation.path, operation.method.as_str(), status, took);
    tracing::info!(
        target: "control_plane::access",
        request_id,
        principal,
        operation = operation.id,
        method = operation.method.as_str(),
        route = operation.path,
        status,
        code,
        ms = took.as_secs_f64() * 1e3,
    );
    response
}

/// A request that was let in, by a token or because anybody may ask.
enum Admitted {
    Caller(Box<Call>),
    Anybody,
}

async fn admit(
    app: &Arc<App>,
    operation: &'static Operation,
    path: RawPathParams,
    request: Request,
    now: Instant,
    request_id: &str,
    principal: &mut String,
) -> Result<Admitted, Failure> {
    let (parts, body) = request.into_parts();
    check_form(&parts)?;
    let connection = parts.extensions.get::<Connection>();
    check_connection(connection, operation, &app.metrics)?;
    let check_stranger = || {
        let App {
            addresses,
            options,
            metrics,
            ..
        } = &**app;
        check_stranger(connection, operation, addresses, options, metrics, now)
    };
    if operation.caller == Who::Anybody {
        check_stranger()?;
        Query::parse(operation, parts.uri.query().unwrap_or_default())?;
        return Ok(Admitted::Anybody);
    }
    let caller = match app.scopes.caller(&parts.headers, &app.node) {
        Ok(caller) => caller,
        Err(failure) => return Err(check_stranger().err().unwrap_or(failure)),
    };
    caller.scope.principal().as_str().clone_into(principal);
    check_token(&caller, operation, &app.options, &app.metrics, now)?;
    let query = Query::parse(operation, parts.uri.query().unwrap_or_default())?;
    reach_revision(app, &parts.headers).await?;
    let body = body::receive(operation, &parts.headers, body).await?;
    Ok(Admitted::Caller(Box::new(Call {
        app: app.clone(),
        operation,
        caller,
        path,
        query,
        headers: parts.headers,
        body,
        request_id: request_id.to_owned(),
    })))
}

fn open(app: &App, handler: Handler) -> Answer {
    match handler {
        Handler::Open(handler) => handler(app),
        _ => Err(Failure::internal(
            &"an open operation has a handler that needs a token",
        )),
    }
}

async fn handle(call: Call, handler: Handler, deadline: Instant) -> Answer {
    match handler {
        Handler::Quick(handler) => handler(&call),
        Handler::Async(handler) => within(deadline, handler(call)).await,
        // These wait on purpose, each with a limit of its own.
        Handler::Waiting(handler) => handler(call).await,
        Handler::Open(_) => Err(Failure::internal(
            &"an operation with a token has an open handler",
        )),
    }
}

/// Waits for work, but not beyond `deadline`.
async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout_at(deadline, work).await {
        Ok(done) => done,
        Err(_) => Err(
            Failure::new(Code::RequestTimeout, "the request took too long")
                .next("send it again; a write with the same `Idempotency-Key`"),
        ),
    }
}

/// Takes the caller's name for the request, or makes one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(headers::REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| {
            (1..=128).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        })
        .map_or_else(|| ulid::Ulid::generate().to_string(), str::to_owned)
}

/// Adds the headers that every reply has.
pub(crate) fn finish(app: &App, response: &mut Response, request_id: &str) {
    let headers = response.headers_mut();
    let name = HeaderName::from_static(headers::REVISION);
    // A reply about one revision has said so already.
    headers
        .entry(name)
        .or_insert_with(|| HeaderValue::from(app.node.snapshot().revision()));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static(headers::REQUEST_ID), value);
    }
    headers
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
}

async fn reach_revision(app: &App, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(headers::MIN_REVISION) else {
        return Ok(());
    };
    let wanted: u64 = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Failure::new(
                Code::RequestInvalid,
                "`Control-Plane-Min-Revision` is not a revision",
            )
            .next("send the `Control-Plane-Revision` of an earlier reply")
        })?;
    let mut revisions = app.node.revisions();
    let reached = revisions.wait_for(|revision| *revision >= wanted);
    match tokio::time::timeout(app.options.revision_timeout, reached).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Failure::new(
            Code::RevisionNotReached,
            format!(
                "this node has revision {}, not {wanted} yet",
                app.node.snapshot().revision()
            ),
        )
        .next("send the request again, or to another node")),
    }
}

impl Call {
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(crate) fn node(&self) -> &Node {
        &self.app.node
    }

    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.caller.scope
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// A parameter of the path, decoded.
    pub(crate) fn param(&self, name: &str) -> Result<&str, Failure> {
        self.path
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
            .ok_or_else(|| Failure::internal(&format!("the path has no `{name}`")))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        body::value(self.operation, &self.headers, &self.body)
    }

    /// The body as JSON; an empty object if there is no body.
    pub(crate) fn json_or_empty(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            Ok(serde_json::json!({}))
        } else {
            self.json()
        }
    }

    /// The body as a request of its type.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        body::typed(&self.json()?)
    }

    /// The state and views that the request is about: those of `?at=`, else the newest.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Failure> {
        match self.query.moment("at")? {
            None => Ok(self.node().snapshot()),
            Some(at) => Ok(self.node().at(at).await?),
        }
    }

    /// The environment of the path, if the caller may know of it.
    pub(crate) fn environment(&self) -> Result<EnvironmentName, Failure> {
        let text = self.param("environment")?;
        EnvironmentName::new(text)
            .ok()
            .filter(|name| self.scope().sees_environment(name))
            .ok_or_else(|| no_environment(text))
    }

    /// The environment of the path and its view.
    pub(crate) fn view<'s>(&self, snapshot: &'s Snapshot) -> Result<&'s Arc<View>, Failure> {
        let name = self.environment()?;
        snapshot
            .view(&name)
            .ok_or_else(|| no_environment(name.as_str()))
    }

    /// The tenant that a request is about: the one that it names if the token covers it, else the one
    /// that the token is for.
    pub(crate) fn tenant(
        &self,
        environment: &EnvironmentName,
        named: Option<&str>,
    ) -> Result<Option<TenantId>, Failure> {
        let Some(named) = named else {
            return Ok(self.scope().only_tenant().cloned());
        };
        TenantId::new(named)
            .ok()
            .filter(|tenant| self.scope().sees_tenant(environment, tenant))
            .map(Some)
            .ok_or_else(|| {
                let shown: String = named
                    .chars()
                    .take(128)
                    .flat_map(char::escape_debug)
                    .collect();
                Failure::new(
                    Code::TenantNotFound,
                    format!("there is no tenant `{shown}`"),
                )
                .next("correct the id, or use a token that covers the tenant")
            })
    }

    /// Why the caller writes, as the header or the query says.
    pub(crate) fn reason(&self) -> Result<Option<String>, Failure> {
        let Some(value) = self.headers.get(headers::REASON) else {
            return Ok(self.query.get("reason").map(str::to_owned));
        };
        value
            .to_str()
            .ok()
            .and_then(|text| percent::decode(text, false))
            .map(Some)
            .ok_or_else(|| {
                Failure::new(
                    Code::RequestInvalid,
                    "`Control-Plane-Reason` is not percent-encoded UTF-8",
                )
                .next("write every byte that is not ASCII as `%XX`, and `%` as `%25`")
            })
    }

    /// The caller's idempotency key; empty if the node is to make one.
    pub(crate) fn idempotency_key(&self) -> Result<String, Failure> {
        let Some(value) = self.headers.get(headers::IDEMPOTENCY_KEY) else {
            return Ok(String::new());
        };
        value
            .to_str()
            .ok()
            .filter(|text| {
                (1..=128).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic())
            })
            .map(str::to_owned)
            .ok_or_else(|| {
                Failure::new(
                    Code::RequestInvalid,
                    "`Idempotency-Key` is not 1 to 128 printable ASCII characters",
                )
                .next("send a ULID")
            })
    }
}

pub(crate) fn no_environment(text: &str) -> Failure {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    Failure::new(
        Code::EnvironmentNotFound,
        format!("there is no environment `{shown}`"),
    )
    .next("correct the name, or use a token that covers the environment")
}

/// Answers with JSON that is read at one revision.
pub(crate) fn json<T: Serialize>(revision: u64, value: &T) -> Answer {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::internal(&error))?;
    Ok(json_bytes(revision, bytes))
}

/// Answers with JSON that is written already.
pub(crate) fn json_bytes(revision: u64, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static(headers::REVISION),
        HeaderValue::from(revision),
    );
    response
}
