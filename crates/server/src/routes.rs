//! The router, made from the table of operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawPathParams, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter};
use plane_api::operations::Method;
use plane_api::{Operation, operations};
use plane_model::Code;
use plane_node::Node;

use crate::admission::check_form;
use crate::auth::Scopes;
use crate::call::{App, enter, finish, request_id};
use crate::failure::Failure;
use crate::handlers::{Handler, handler};
use crate::instances::Instances;
use crate::metrics::Metrics;
use crate::rate::Addresses;
use crate::stream::Streams;
use crate::view::Views;
use crate::{ServerOptions, openapi};

/// Makes the router over a node.
pub fn router(node: Node, options: ServerOptions) -> Router {
    let app = Arc::new(App {
        metrics: Metrics::new(&node),
        streams: Streams::new(options.streams_max),
        instances: Instances::default(),
        node,
        options,
        scopes: Scopes::default(),
        addresses: Addresses::new(),
        views: Views::default(),
        openapi: Bytes::from(openapi().to_string()),
    });
    let mut by_path: BTreeMap<&str, Vec<&'static Operation>> = BTreeMap::new();
    for operation in operations() {
        by_path.entry(&operation.path).or_default().push(operation);
    }
    let mut router = Router::new();
    for (path, operations) in by_path {
        router = router.route(path, methods(&app, &operations));
    }
    router
        .fallback(move |request: Request| {
            let response = refuse(&app, &request.into_parts().0, not_found());
            async move { response }
        })
        // Makes the handlers into routes now, and not at every request.
        .with_state(())
}

fn methods(app: &Arc<App>, operations: &[&'static Operation]) -> MethodRouter {
    let mut methods = MethodRouter::new();
    let mut allowed = Vec::new();
    for operation in operations {
        // A test holds table and handlers together.
        let Some(handler) = handler(&operation.id) else {
            continue;
        };
        methods = methods.on(
            filter(operation.method),
            endpoint(app.clone(), operation, handler),
        );
        allowed.push(operation.method.as_str());
    }
    let allowed = allowed.join(", ");
    let app = app.clone();
    methods.fallback(move |request: Request| {
        let allowed = allowed.clone();
        let failure = Failure::new(
            Code::MethodNotAllowed,
            format!("`{}` is not a method of this path", request.method()),
        )
        .next(format!("use one of: {allowed}"));
        let response = refuse(&app, &request.into_parts().0, failure);
        async move { ([(header::ALLOW, allowed)], response).into_response() }
    })
}

fn endpoint(
    app: Arc<App>,
    operation: &'static Operation,
    handler: Handler,
) -> impl FnOnce(
    Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    Request,
) -> futures_util::future::BoxFuture<'static, Response>
+ Clone
+ Send
+ Sync
+ 'static {
    move |path, request| {
        Box::pin(async move {
            let Ok(path) = path else {
                let detail = "the path is not percent-encoded UTF-8";
                let failure = Failure::new(Code::RequestInvalid, detail)
                    .next("write every byte of UTF-8 as `%XX`");
                return refuse(&app, &request.into_parts().0, failure);
            };
            enter(app, operation, handler, path, request).await
        })
    }
}

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Put => MethodFilter::PUT,
        Method::Post => MethodFilter::POST,
        Method::Delete => MethodFilter::DELETE,
    }
}

fn not_found() -> Failure {
    Failure::new(Code::RouteNotFound, "this path does not exist in this API")
        .next("`GET /v1/openapi.json` lists the paths; a `/` within a name is written `%2F`")
}

/// Answers a request that no operation takes.
fn refuse(app: &App, parts: &Parts, failure: Failure) -> Response {
    let request_id = request_id(&parts.headers);
    let failure = check_form(parts).err().unwrap_or(failure);
    let mut response = failure.about(&request_id).into_response();
    finish(app, &mut response, &request_id);
    let status = response.status().as_u16();
    app.metrics
        .request("other", "other", status, std::time::Duration::ZERO);
    tracing::info!(target: "control_plane::access", request_id, status);
    response
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
