//! Flags evaluated for clients of `OpenFeature`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use plane_api::headers;
use plane_eval::{Context, ErrorCode, View};
use plane_model::{Code, Digest, EnvironmentName, Violations};
use plane_node::Snapshot;
use serde_json::Value;

use super::delivery::{events_response, last_event_id};
use crate::call::{Answer, Call, json_bytes, no_environment};
use crate::failure::Failure;
use crate::metrics::Given;
use crate::ofrep::{Body, Ticket, config_etag, follow, revision_of};

/// Says what one flag is.
pub(super) fn evaluate(call: &Call) -> Answer {
    let environment = environment(call)?;
    let ctx = context(call, &environment)?;
    let key = call.param("key")?;
    let snapshot = call.node().snapshot();
    let view = view(&snapshot, &environment)?;
    let metrics = &call.app().metrics;
    let timer = metrics.evaluation_timer();
    let now = call.node().now();
    let evaluation = view.evaluate_key(key, &ctx, now);
    metrics.evaluation_took(timer);
    let asker = call.asker(&environment, now);
    metrics.evaluated(asker.as_ref(), [Given::new(key, &evaluation)]);
    let status = match evaluation.error() {
        None => StatusCode::OK,
        Some(ErrorCode::FlagNotFound) => StatusCode::NOT_FOUND,
        Some(_) => StatusCode::BAD_REQUEST,
    };
    let mut body = Body::new(call.scope().is_client(), 1);
    body.flag(key, &evaluation, warning(view, &ctx));
    let body = body.into_bytes();
    let mut response = json_bytes(snapshot.revision(), body);
    *response.status_mut() = status;
    Ok(response)
}

/// Says what all flags are, unless the caller was told of a revision that this node does not have yet.
pub(super) fn evaluate_all_at_once(call: &Call) -> Option<Answer> {
    let told = told_revision(call);
    let is_here = told.is_none_or(|it| it <= call.node().snapshot().revision());
    is_here.then(|| all(call))
}

/// Says what all flags are, with the revision that the caller was told of if it comes in time.
pub(super) async fn evaluate_all(call: Call) -> Answer {
    if let Some(told) = told_revision(&call) {
        // Another node may have told of a revision that this one is about to have.
        let mut revisions = call.node().revisions();
        let reached = revisions.wait_for(|it| *it >= told);
        drop(tokio::time::timeout(call.app().options.revision_timeout, reached).await);
    }
    all(&call)
}

/// The revision of the event that the request follows.
fn told_revision(call: &Call) -> Option<u64> {
    call.query().get("flagConfigEtag").and_then(revision_of)
}

/// Says what all flags are, or that nothing differs from what the caller holds.
fn all(call: &Call) -> Answer {
    let environment = environment(call)?;
    let ctx = context(call, &environment)?;
    let snapshot = call.node().snapshot();
    let view = view(&snapshot, &environment)?;
    let now = call.node().now();
    let metrics = &call.app().metrics;
    let all: Vec<_> = metrics.timed(view.evaluate_all(&ctx, now)).collect();
    let order = call.app().orders.of(view, snapshot.revision());
    let in_order = (order.iter()).filter_map(|place| all.get(*place));
    let flags = in_order.map(|(key, evaluation)| (key.as_str(), evaluation));
    let evaluated = (flags.clone()).map(|(key, evaluation)| Given::new(key, evaluation));
    let asker = call.asker(&environment, now);
    metrics.evaluated(asker.as_ref(), evaluated);
    let events = call.scope().token().map(|token| {
        let ticket = Ticket::new(environment.clone(), token.clone(), now);
        format!(
            "/ofrep/v1/events?ticket={}",
            ticket.text(&call.caller().hash)
        )
    });
    let mut body = Body::new(call.scope().is_client(), all.len());
    let (environment, warning) = (environment.as_str(), warning(view, &ctx));
    body.flags(flags, environment, warning, events.as_deref());
    let body = body.into_bytes();
    // Over all that is told, so that it covers context, tenant and time, and every node says the same.
    let digest = Digest::of(&body).hex();
    let etag = format!("\"{}\"", digest.get(..32).unwrap_or_default());
    // Who was told of another configuration gets the flags, whatever it holds.
    let head = snapshot.state().head();
    let told = call.query().get("flagConfigEtag");
    let is_current = told.is_none_or(|it| it == config_etag(head.revision, &head.hash))
        && call.query().get("flagConfigLastModified").is_none();
    let mut response = if is_current && holds(call.headers(), &etag) {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        let revision = HeaderValue::from(snapshot.revision());
        let name = HeaderName::from_static(headers::REVISION);
        response.headers_mut().insert(name, revision);
        response
    } else {
        json_bytes(snapshot.revision(), body)
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Follows what says when to evaluate again.
pub(super) fn events(call: &Call) -> Answer {
    let ticket = call.query().get("ticket");
    let read = |text| Ticket::read(text, call.node().snapshot().state(), call.node().now());
    let ticket = ticket.and_then(read).map(|(ticket, _)| ticket);
    let environment = match &ticket {
        Some(ticket) => call.environment_named(ticket.environment.as_str())?,
        None => environment(call)?,
    };
    view(&call.node().snapshot(), &environment)?;
    let last = last_event_id(call);
    let events = follow(
        call.app(),
        call.caller(),
        environment,
        ticket.as_ref(),
        last,
    );
    events_response(call, events)
}

/// The environment that the path, the header or the token says.
fn environment(call: &Call) -> Result<EnvironmentName, Failure> {
    if let Some(text) = call.param_if_any("environment") {
        return call.environment_named(text);
    }
    if let Some(value) = call.headers().get(headers::ENVIRONMENT) {
        return call.environment_named(value.to_str().unwrap_or_default());
    }
    call.scope().only_environment().cloned().ok_or_else(|| {
        Failure::new(Code::RequestInvalid, "the request names no environment").next(
            "send `Control-Plane-Environment: NAME`, use the base URL `/v1/environments/NAME`, or a \
             token for one environment",
        )
    })
}

fn view<'s>(snapshot: &'s Snapshot, environment: &EnvironmentName) -> Result<&'s View, Failure> {
    let view = snapshot.view(environment);
    view.map(|it| &**it)
        .ok_or_else(|| no_environment(environment.as_str()))
}

/// The context in the body, with the tenant that the token is for.
fn context(call: &Call, environment: &EnvironmentName) -> Result<Context, Failure> {
    let body = call.json()?;
    let Value::Object(members) = &body else {
        return Err(Failure::new(Code::TextInvalid, "the body is not an object")
            .next("send `{\"context\": {…}}`"));
    };
    let ctx = match members.get("context") {
        // A client that knows nothing of the context leaves it out.
        None | Some(Value::Null) => Context::new(),
        Some(given) => Context::parse_flat(given).map_err(|found| {
            let below = found.into_iter().map(|it| it.below("/context"));
            below.collect::<Violations>()
        })?,
    };
    let tenant = call.tenant(environment, ctx.tenant())?;
    Ok(match tenant {
        Some(tenant) if ctx.tenant().is_none() => ctx.with_tenant(tenant.as_str()),
        _ => ctx,
    })
}

fn warning(view: &View, ctx: &Context) -> Option<&'static str> {
    super::runtime::warnings(view, ctx).next()
}

/// Says whether the caller holds what this names.
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let held = headers.get(header::IF_NONE_MATCH);
    held.and_then(|it| it.to_str().ok()).is_some_and(|held| {
        held.split(',')
            .map(|it| it.trim().trim_start_matches("W/"))
            .any(|it| it == "*" || it == etag)
    })
}
