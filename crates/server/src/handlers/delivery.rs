//! Views and streams.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::Stream;
use plane_api::headers;

use crate::call::{Answer, Call, json, json_bytes, no_environment, no_tenant};
use crate::failure::Failure;
use crate::query::refuse;
use crate::stream;
use crate::view::{self, Audience, Prepared};

/// How long a request may wait for another view.
const WAIT_SECONDS_MAX: u64 = 60;

/// Reads everything of an environment that the token covers, if it is made and the caller does not
/// hold it.
pub(super) fn view_at_once(call: &Call) -> Option<Answer> {
    if call.query().get("wait").is_some() {
        return None;
    }
    // What is wrong is said by the one that waits.
    let audience = Audience::of(call).ok()?;
    let audience = audience.on_demand(call.query().flag("on_demand").ok()?);
    let prepared = call.app().views.ready(call.node(), &audience)?;
    (!holds(call.headers(), &prepared))
        .then(|| Ok(signed(call, &prepared, whole(call.headers(), &prepared))))
}

/// Reads everything of an environment that the token covers, or waits until it is another.
pub(super) async fn view(call: Call) -> Answer {
    let form = "write a whole number of seconds from 0 to 60";
    let wait: u64 = call.query().read("wait", form)?.unwrap_or(0);
    if wait > WAIT_SECONDS_MAX {
        return Err(refuse("wait", &wait.to_string(), form));
    }
    let is_on_demand = call.query().flag("on_demand")?;
    let environment = call.view(&call.node().snapshot())?.environment().clone();
    let mut scope = call.scope().clone();
    let mut revisions = call.node().revisions();
    let ends = tokio::time::Instant::now() + Duration::from_secs(wait);
    loop {
        revisions.mark_unchanged();
        let views = &call.app().views;
        let hash = call.caller().hash;
        let audience = Audience::new(environment.clone(), &scope, hash, &views.stranger);
        let audience = audience.on_demand(is_on_demand);
        let prepared = views.get(call.node(), &scope, &audience).await?;
        if !holds(call.headers(), &prepared) {
            return Ok(signed(&call, &prepared, whole(call.headers(), &prepared)));
        }
        let changed = tokio::time::timeout_at(ends, revisions.changed());
        let woken = tokio::select! {
            changed = changed => matches!(changed, Ok(Ok(()))),
            () = call.app().options.shutdown.begun() => false,
        };
        if !woken {
            return Ok(signed(&call, &prepared, unchanged(&prepared)));
        }
        // What the token covers may have changed with the revision.
        let snapshot = call.node().snapshot();
        let known = (call.app().scopes).known(hash, snapshot.state(), call.node().now())?;
        scope = known.scope;
        if !scope.sees_environment(&environment) || snapshot.view(&environment).is_none() {
            return Err(no_environment(environment.as_str()));
        }
    }
}

/// Reads the part of a view that is a tenant's own.
pub(super) async fn part(call: Call) -> Answer {
    let snapshot = call.node().snapshot();
    let environment = call.view(&snapshot)?.environment().clone();
    let named = call.param("tenant")?.to_owned();
    let tenant = call.tenant(&environment, Some(&named))?;
    let scope = call.scope().clone();
    let revision = snapshot.revision();
    let composed = tokio::task::spawn_blocking(move || {
        let tenant = tenant.as_ref();
        tenant.map_or(Ok(None), |it| {
            view::part(&snapshot, &scope, &environment, it)
        })
    });
    let part = composed
        .await
        .map_err(|error| Failure::internal(&error))??;
    part.map(|bytes| json_bytes(revision, bytes))
        .ok_or_else(|| no_tenant(&named))
}

/// Adds the head, signed not long ago: also who holds the view learns that it is still the newest.
fn signed(call: &Call, prepared: &Prepared, mut response: Response) -> Response {
    if let Some(head) = prepared.head(&call.app().options.keys, call.node().now()) {
        let name = HeaderName::from_static(headers::HEAD);
        response.headers_mut().insert(name, head);
    }
    response
}

/// Reads the public keys that heads are signed with.
pub(super) fn keys(call: &Call) -> Answer {
    let revision = call.node().snapshot().revision();
    json(revision, &call.app().options.keys.listed())
}

/// Says whether the caller holds this very view.
fn holds(headers: &HeaderMap, prepared: &Prepared) -> bool {
    let Some(held) = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|it| it.to_str().ok())
    else {
        return false;
    };
    let etags = [false, true].map(|it| prepared.etag(it));
    held.split(',')
        .map(str::trim)
        .any(|held| held == "*" || etags.iter().any(|etag| *etag == held))
}

fn takes_zstd(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .any(|text| {
            text.split(',').any(|coding| {
                let mut parts = coding.split(';').map(str::trim);
                let is_zstd = parts
                    .next()
                    .is_some_and(|name| name.eq_ignore_ascii_case("zstd"));
                let is_refused =
                    parts.any(|it| matches!(it, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
                is_zstd && !is_refused
            })
        })
}

fn whole(request: &HeaderMap, prepared: &Prepared) -> Response {
    let compressed = if takes_zstd(request) {
        prepared.zstd()
    } else {
        None
    };
    let is_compressed = compressed.is_some();
    let mut response = Response::new(Body::from(compressed.unwrap_or_else(|| prepared.bytes())));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    describe(headers, prepared, is_compressed);
    response
}

fn unchanged(prepared: &Prepared) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    describe(response.headers_mut(), prepared, false);
    response
}

fn describe(headers: &mut HeaderMap, prepared: &Prepared, is_compressed: bool) {
    headers.insert(header::ETAG, prepared.etag(is_compressed).clone());
    headers.insert(
        header::VARY,
        HeaderValue::from_static("authorization, accept-encoding"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    let revision = HeaderValue::from(prepared.revision());
    headers.insert(HeaderName::from_static(headers::REVISION), revision);
}

/// Follows the changes of an environment.
pub(super) fn stream(call: &Call) -> Answer {
    let audience = Audience::of(call)?;
    let last = last_event_id(call);
    let events = stream::follow(call.app(), call.caller(), audience, last);
    events_response(call, events)
}

/// The id of the event that the caller saw last.
pub(super) fn last_event_id(call: &Call) -> Option<&str> {
    let value = call.headers().get("last-event-id");
    value.map(|value| value.to_str().unwrap_or_default())
}

/// Answers with a stream; there is none if too many are open.
pub(super) fn events_response<S>(call: &Call, events: Option<S>) -> Answer
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    let events = events.ok_or_else(|| {
        Failure::new(
            plane_model::Code::Overloaded,
            "this node serves no more streams",
        )
        .next("connect to another node, or again a little later")
    })?;
    tracing::debug!(request_id = call.request_id(), "a stream is open");
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    // Proxies that gather replies, or compress them, would hold events back.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
