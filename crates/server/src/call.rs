//! What happens to every request: name it, let it in, read it, answer, log and count.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use plane_api::operations::{Caller as Who, Dialect};
use plane_api::{Operation, headers};
use plane_eval::View;
use plane_model::{Code, EnvironmentName, Kind, TenantId, Timestamp};
use plane_node::{Node, Snapshot};
use plane_state::Scope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::{Connection, check_connection, check_form, check_stranger, check_token};
use crate::auth::{Caller, Scopes};
use crate::body::{Held, Room};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::handlers::Handler;
use crate::instances::Instances;
use crate::metrics::{Asker, Metrics};
use crate::ofrep::{Asked, Orders, Ticket};
use crate::query::Query;
use crate::rate::Addresses;
use crate::request_id::RequestId;
use crate::routes::Params;
use crate::stream::Streams;
use crate::usage::Usage;
use crate::view::Views;
use crate::{ServerOptions, body, percent};

const REVISION: HeaderName = HeaderName::from_static(headers::REVISION);
const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

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
    pub(crate) orders: Orders,
    pub(crate) usage: Usage,
    pub(crate) room: Room,
    pub(crate) openapi: Bytes,
    /// Who may be handled in place with waiting; the others are handled aside, so that what reads, streams and kills
    /// wait for is short whatever others write.
    pub(crate) in_place: Semaphore,
}

/// How many are handled in place at once: so few cost others less time than the way there and back costs them.
pub(crate) const IN_PLACE_MAX: usize = 4;

impl App {
    /// The usage of flags, with what an earlier process had written and what was evaluated here until now.
    pub(crate) async fn usage(&self) -> Result<&Usage, Failure> {
        self.usage.read(&self.node).await?;
        self.usage.add_served(&self.node, &self.metrics);
        Ok(&self.usage)
    }
}

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Call {
    app: Arc<App>,
    operation: &'static Operation,
    caller: Caller,
    path: Params,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    /// The memory that the body takes, until the request is answered.
    _held: Held,
    request_id: RequestId,
}

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

/// Lets a request in, has it handled, and tells the log and the metrics about it.
pub(crate) async fn enter<B>(
    app: &Arc<App>,
    endpoint: &Endpoint,
    path: Option<Params>,
    parts: Parts,
    body: B,
    connection: Option<Connection>,
) -> Response
where
    B: HttpBody<Data = Bytes> + Send,
{
    let operation = endpoint.operation;
    let ofrep = Asked::of(operation, &parts);
    let arrival = Arrival {
        begun: Instant::now(),
        request_id: RequestId::of(&parts.headers),
        connection,
    };
    let mut scope = None;
    let answer = answer(app, endpoint, path, parts, body, &arrival, &mut scope).await;
    let (mut response, code) = match answer {
        Ok(response) => (response, String::new()),
        Err(failure) => {
            for rule in failure.rules() {
                app.metrics.refused(rule);
            }
            let code = failure.code().to_owned();
            let failure = failure.about(arrival.request_id.as_str());
            let response = match &ofrep {
                Some(asked) => asked.failed(failure),
                None => failure.into_response(),
            };
            (response, code)
        }
    };
    finish(app, &mut response, &arrival.request_id);
    if let Some(asked) = &ofrep {
        asked.allow(&app.options.origins, &mut response);
    }
    let status = response.status().as_u16();
    let took = arrival.begun.elapsed();
    app.metrics.request(endpoint, status, took);
    tracing::info!(
        target: "control_plane::access",
        request_id = arrival.request_id.as_str(),
        principal = scope.as_deref().map_or("", |it: &Scope| it.principal().as_str()),
        operation = operation.id,
        method = operation.method.as_str(),
        route = operation.path,
        status,
        code,
        ms = (took.as_secs_f64() * 1e6).round() / 1e3,
    );
    response
}

/// What is known of a request before anybody looks at what it wants.
struct Arrival {
    begun: Instant,
    request_id: RequestId,
    connection: Option<Connection>,
}

/// Lets a request in and has it handled; notes in `scope` who called.
async fn answer<B>(
    app: &Arc<App>,
    endpoint: &Endpoint,
    path: Option<Params>,
    parts: Parts,
    body: B,
    arrival: &Arrival,
    scope: &mut Option<Arc<Scope>>,
) -> Answer
where
    B: HttpBody<Data = Bytes> + Send,
{
    let operation = endpoint.operation;
    let deadline = arrival.begun + app.options.request_timeout;
    let path = path.ok_or_else(|| {
        let detail = "the path is not percent-encoded UTF-8";
        Failure::new(Code::RequestInvalid, detail).next("write every byte of UTF-8 as `%XX`")
    })?;
    let Some(caller) = admit(app, endpoint, &parts, arrival)? else {
        Query::parse(operation, parts.uri.query().unwrap_or_default())?;
        return open(app, endpoint.handler);
    };
    *scope = Some(caller.scope.clone());
    let query = Query::parse(operation, parts.uri.query().unwrap_or_default())?;
    let headers = parts.headers;
    let body = within(deadline, async {
        reach_revision(app, &headers).await?;
        body::receive(endpoint, &app.room, &headers, body).await
    });
    let (body, held) = body.await?;
    let call = Call {
        body,
        _held: held,
        app: app.clone(),
        operation,
        caller,
        path,
        query,
        headers,
        request_id: arrival.request_id.clone(),
    };
    handle(call, endpoint, deadline).await
}

/// Says who calls, or nobody where anybody may.
fn admit(
    app: &App,
    endpoint: &Endpoint,
    parts: &Parts,
    arrival: &Arrival,
) -> Result<Option<Caller>, Failure> {
    let App {
        addresses,
        options,
        metrics,
        ..
    } = app;
    let (connection, now) = (arrival.connection, arrival.begun);
    check_form(parts, connection)?;
    check_connection(connection, endpoint, metrics)?;
    let check_stranger = || check_stranger(connection, endpoint, addresses, options, metrics, now);
    if endpoint.operation.caller == Who::Anybody {
        check_stranger()?;
        return Ok(None);
    }
    let operation = endpoint.operation;
    let found = match Ticket::of(operation, &parts.uri) {
        Some(ticket) => app.scopes.holder(&ticket, &app.node),
        None => app
            .scopes
            .caller(&parts.headers, operation.dialect, &app.node),
    };
    let caller = match found {
        Ok(caller) => caller,
        Err(failure) => return Err(check_stranger().err().unwrap_or(failure)),
    };
    check_token(&caller, endpoint, options, metrics, now)?;
    if caller.scope.is_client() && operation.dialect != Dialect::Ofrep {
        return Err(Failure::new(
            Code::Forbidden,
            "a token of the kind `client` gets evaluated flags and nothing else",
        )
        .next("use OFREP under `/ofrep/v1`, or a token of the kind `service`"));
    }
    Ok(Some(caller))
}

fn open(app: &App, handler: Handler) -> Answer {
    match handler {
        Handler::Open(handler) => handler(app),
        _ => Err(Failure::internal(
            &"an open operation has a handler that needs a token",
        )),
    }
}

async fn handle(call: Call, endpoint: &Endpoint, deadline: Instant) -> Answer {
    match endpoint.handler {
        Handler::Quick(handler) => handler(&call),
        Handler::Moment(handler) => {
            let snapshot = match call.query.moment("at")? {
                None => call.node().snapshot(),
                Some(_) => within(deadline, Box::pin(call.snapshot())).await?,
            };
            handler(&call, &snapshot)
        }
        Handler::Async(handler) => {
            let app = call.app().clone();
            let place = app.in_place.try_acquire();
            if endpoint.is_kill || place.is_ok() || !app.node.is_apart() {
                within(deadline, handler(call)).await
            } else {
                within(deadline, aside(call, handler)).await
            }
        }
        // These wait on purpose, each with a limit of its own.
        Handler::Waiting { at_once, waiting } => match at_once(&call) {
            Some(answer) => answer,
            None => waiting(call).await,
        },
        Handler::Open(_) => Err(Failure::internal(
            &"an operation with a token has an open handler",
        )),
    }
}

/// Handles a request on the threads for what takes long; ends with the future.
async fn aside(call: Call, handler: fn(Call) -> BoxFuture<'static, Answer>) -> Answer {
    let mut handling = JoinSet::new();
    let work = call.node().work().clone();
    handling.spawn_on(handler(call), &work);
    match handling.join_next().await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => Err(Failure::internal(&error)),
        None => Err(Failure::internal(&"a request is not handled")),
    }
}

/// Waits for work, but not beyond `deadline`.
async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    if let Some(done) = soon(work.as_mut()).await {
        return done;
    }
    match tokio::time::timeout_at(deadline, work).await {
        Ok(done) => done,
        Err(_) => Err(
            Failure::new(Code::RequestTimeout, "the request took too long")
                .next("send it again; a write with the same `Idempotency-Key`"),
        ),
    }
}

/// Waits for one more turn of the connection: a body that came with its head is there by then, and
/// needs no timer.
async fn soon<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut is_first = true;
    poll_fn(|ctx| match work.as_mut().poll(ctx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if is_first => {
            is_first = false;
            ctx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Adds the headers that every reply has.
pub(crate) fn finish(app: &App, response: &mut Response, request_id: &RequestId) {
    let headers = response.headers_mut();
    // A reply about one revision has said so already.
    headers
        .entry(REVISION)
        .or_insert_with(|| HeaderValue::from(app.node.snapshot().revision()));
    headers.insert(REQUEST_ID, request_id.value());
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

    /// Who asks for evaluations; none where a person does: whoever looks at a flag does not use it.
    pub(crate) fn asker<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        at: Timestamp,
    ) -> Option<Asker<'a>> {
        let scope = &self.caller.scope;
        (!scope.is_person()).then(|| Asker {
            principal: scope.principal(),
            environment,
            at,
        })
    }

    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    /// A parameter of the path, decoded; none if the path has none of this name.
    pub(crate) fn param_if_any(&self, name: &str) -> Option<&str> {
        let found = self.path.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter of the path, decoded.
    pub(crate) fn param(&self, name: &str) -> Result<&str, Failure> {
        self.param_if_any(name)
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

    /// The state of [`snapshot`](Self::snapshot), which may have documents of this kind only, and no views.
    pub(crate) async fn documents(&self, kind: Kind) -> Result<Arc<Snapshot>, Failure> {
        match self.query.moment("at")? {
            None => Ok(self.node().snapshot()),
            Some(at) => Ok(self.node().kind_at(at, kind).await?),
        }
    }

    /// The environment of the path, if the caller may know of it.
    pub(crate) fn environment(&self) -> Result<EnvironmentName, Failure> {
        self.environment_named(self.param("environment")?)
    }

    /// The environment of this name, if the caller may know of it.
    pub(crate) fn environment_named(&self, text: &str) -> Result<EnvironmentName, Failure> {
        EnvironmentName::new(text)
            .ok()
            .filter(|name| self.scope().sees_environment(name))
            .ok_or_else(|| no_environment(text))
    }

    /// The environment of the path and its view.
    pub(crate) fn view<'s>(&self, snapshot: &'s Snapshot) -> Result<&'s Arc<View>, Failure> {
        let name = self.environment()?;
        snapshot.view(&name).ok_or_else(|| {
            if self.query.get("at").is_none() {
                return no_environment(name.as_str());
            }
            let revision = snapshot.revision();
            let detail = match revision {
                0 => "nothing was there yet: the log begins later".to_owned(),
                _ => format!("there was no environment `{name}` at revision {revision}"),
            };
            Failure::new(Code::EnvironmentNotFound, detail).next(COMMITS_TELL)
        })
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
            .ok_or_else(|| no_tenant(named))
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

/// What to do where a moment of the past is not in the log.
pub(crate) const COMMITS_TELL: &str =
    "name a revision or a time that `control-plane log` lists (`GET /v1/commits`)";

pub(crate) fn no_environment(text: &str) -> Failure {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    Failure::new(
        Code::EnvironmentNotFound,
        format!("there is no environment `{shown}`"),
    )
    .next("correct the name, or use a token that covers the environment")
}

pub(crate) fn no_tenant(text: &str) -> Failure {
    let shown: String = text
        .chars()
        .take(128)
        .flat_map(char::escape_debug)
        .collect();
    let detail = format!("there is no tenant `{shown}`");
    Failure::new(Code::TenantNotFound, detail)
        .next("correct the id, or use a token that covers the tenant")
}

/// Answers with JSON that is read at one revision.
pub(crate) fn json<T: Serialize>(revision: u64, value: &T) -> Answer {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::internal(&error))?;
    Ok(json_bytes(revision, bytes))
}

/// Answers with JSON that is written already.
pub(crate) fn json_bytes(revision: u64, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REVISION, HeaderValue::from(revision));
    response
}
