//! The router, made from the table of operations.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header, request::Parts};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use plane_api::operations::Dialect;
use plane_api::{Operation, operations};
use plane_model::Code;
use plane_node::Node;
use tokio::sync::Semaphore;

use crate::admission::{Connection, check_form};
use crate::auth::Scopes;
use crate::body::Room;
use crate::call::{App, IN_PLACE_MAX, enter, finish};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::handlers::handler;
use crate::instances::Instances;
use crate::metrics::{Metrics, Refused};
use crate::ofrep::Orders;
use crate::percent;
use crate::rate::Addresses;
use crate::request_id::RequestId;
use crate::stream::Streams;
use crate::usage::Usage;
use crate::view::Views;
use crate::{ServerOptions, openapi};

/// Answers requests; clones share everything.
#[derive(Debug, Clone)]
pub struct Router(Arc<Routes>);

#[derive(Debug)]
struct Routes {
    app: Arc<App>,
    paths: matchit::Router<Path>,
}

/// The operations of one path.
#[derive(Debug)]
struct Path {
    /// The names of the parameters, in the order in which they stand.
    params: Vec<&'static str>,
    endpoints: Vec<Endpoint>,
    /// Whether pages of browsers may ask here, if their origin may.
    has_preflight: bool,
    allowed: String,
}

/// The parameters of a path, decoded.
pub(crate) type Params = Vec<(&'static str, String)>;

/// Makes the router over a node.
pub fn router(node: Node, options: ServerOptions) -> Router {
    let metrics = Metrics::new(&node);
    let app = Arc::new(App {
        streams: Streams::new(options.streams_max),
        instances: Instances::default(),
        usage: Usage::default(),
        room: Room::new(
            options.bodies_memory,
            metrics.held_up_by(Refused::BodiesMemory),
        ),
        metrics,
        node,
        options,
        scopes: Scopes::default(),
        addresses: Addresses::new(),
        views: Views::default(),
        orders: Orders::default(),
        openapi: Bytes::from(openapi().to_string()),
        in_place: Semaphore::new(IN_PLACE_MAX),
    });
    let mut by_path: BTreeMap<&'static str, Vec<&'static Operation>> = BTreeMap::new();
    for operation in operations() {
        by_path.entry(&operation.path).or_default().push(operation);
    }
    let mut paths = matchit::Router::new();
    for (path, operations) in by_path {
        let mut add = |path: String, it: Path| {
            paths
                .insert(path, it)
                .expect("the paths of the table are well formed and no two are the same");
        };
        let made = || Path::new(path, &operations, &app.options);
        if speaks_ofrep(&operations) && path.ends_with("/flags") {
            // Some clients end the path of all flags with a slash.
            add(format!("{path}/"), made());
        }
        add(path.to_owned(), made());
    }
    Router(Arc::new(Routes { app, paths }))
}

impl Path {
    fn new(path: &'static str, operations: &[&'static Operation], options: &ServerOptions) -> Self {
        let has_preflight = speaks_ofrep(operations) && !options.origins.is_none();
        let params = path.split('/').filter_map(|it| it.strip_prefix('{'));
        let mut methods: Vec<_> = operations.iter().map(|it| it.method.as_str()).collect();
        methods.extend(has_preflight.then_some("OPTIONS"));
        Self {
            params: params.map(|it| it.trim_end_matches('}')).collect(),
            // A test holds table and handlers together.
            endpoints: operations
                .iter()
                .filter_map(|it| Some(Endpoint::new(it, handler(&it.id)?)))
                .collect(),
            has_preflight,
            allowed: methods.join(", "),
        }
    }

    fn endpoint(&self, method: &str) -> Option<&Endpoint> {
        // What a GET gives, hyper sends without its body to a HEAD.
        let method = if method == "HEAD" { "GET" } else { method };
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|it| it.operation.method.as_str() == method)
    }

    /// The decoded parameters; none if they are not UTF-8.
    fn params(&self, matched: &matchit::Params<'_, '_>) -> Option<Params> {
        let values = matched
            .iter()
            .map(|(_, value)| percent::decode(value, false));
        self.params
            .iter()
            .zip(values)
            .map(|(name, value)| Some((*name, value?)))
            .collect()
    }
}

fn speaks_ofrep(operations: &[&'static Operation]) -> bool {
    operations.iter().any(|it| it.dialect == Dialect::Ofrep)
}

impl Router {
    /// Adds up for whom flags were evaluated; what cannot be added now is the next time.
    pub(crate) async fn settle_usage(&self) {
        if let Err(failure) = self.0.app.usage().await {
            tracing::warn!(code = failure.code(), "the usage of flags is not added up");
        }
    }

    /// Answers a request, which came by `connection` unless it was made in this process.
    pub(crate) async fn answer<B>(
        &self,
        request: Request<B>,
        connection: Option<Connection>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Send,
    {
        let (parts, body) = request.into_parts();
        let Routes { app, paths } = &*self.0;
        let Ok(matched) = paths.at(parts.uri.path()) else {
            return refuse(app, &parts, connection, not_found());
        };
        let path = matched.value;
        let Some(endpoint) = path.endpoint(parts.method.as_str()) else {
            if parts.method == Method::OPTIONS && path.has_preflight {
                return preflight(app, &parts);
            }
            let failure = Failure::new(
                Code::MethodNotAllowed,
                format!("`{}` is not a method of this path", parts.method),
            )
            .next(format!("use one of: {}", path.allowed));
            let mut response = refuse(app, &parts, connection, failure);
            if let Ok(allowed) = HeaderValue::from_str(&path.allowed) {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            return response;
        };
        let params = path.params(&matched.params);
        enter(app, endpoint, params, parts, body, connection).await
    }
}

impl tower::Service<Request> for Router {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let router = self.clone();
        Box::pin(async move { Ok(router.answer::<Body>(request, None).await) })
    }
}

fn not_found() -> Failure {
    Failure::new(Code::RouteNotFound, "this path does not exist in this API")
        .next("`GET /v1/openapi.json` lists the paths; a `/` within a name is written `%2F`")
}

/// Answers a request that no operation takes.
fn refuse(app: &App, parts: &Parts, connection: Option<Connection>, failure: Failure) -> Response {
    let request_id = RequestId::of(&parts.headers);
    let failure = check_form(parts, connection).err().unwrap_or(failure);
    let mut response = failure.about(request_id.as_str()).into_response();
    stray(app, &mut response, &request_id);
    response
}

/// Answers what a browser asks before it lets a page ask.
fn preflight(app: &App, parts: &Parts) -> Response {
    let origin = parts.headers.get(header::ORIGIN);
    let mut response = app.options.origins.preflight(origin);
    stray(app, &mut response, &RequestId::of(&parts.headers));
    response
}

/// Tells the log and the metrics about a request that no operation takes.
fn stray(app: &App, response: &mut Response, request_id: &RequestId) {
    finish(app, response, request_id);
    let status = response.status().as_u16();
    app.metrics.stray_request(status);
    tracing::info!(target: "control_plane::access", request_id = request_id.as_str(), status);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::IDS;

    #[test]
    fn every_operation_has_a_handler_and_every_handler_an_operation() {
        for operation in operations() {
            assert!(
                handler(&operation.id).is_some(),
                "no handler for `{}`",
                operation.id
            );
        }
        for id in IDS {
            let known = operations().iter().any(|operation| operation.id == *id);
            assert!(known, "no operation for the handler `{id}`");
        }
    }
}
