//! About this server: what it is, how it is.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use plane_api::{HealthReply, ReadyReply};

use crate::call::{Answer, App, json, json_bytes};

/// Reads the `OpenAPI` document.
pub(super) fn openapi(app: &App) -> Response {
    json_bytes(app.node.snapshot().revision(), app.openapi.clone())
}

/// Says that the process runs.
pub(super) fn health(app: &App) -> Answer {
    let revision = app.node.snapshot().revision();
    json(
        revision,
        &HealthReply {
            status: "ok".to_owned(),
        },
    )
}

/// Says whether the node serves what the log says.
pub(super) fn readiness(app: &App) -> Answer {
    let status = app.node.status();
    let detail = if let Some(reason) = status.halted {
        Some(format!("the node writes no more: {reason}"))
    } else if status.revision < status.log_revision {
        Some(format!("the log has revision {}", status.log_revision))
    } else if app.options.shutdown.has_begun() {
        Some("the server is shutting down".to_owned())
    } else {
        None
    };
    let ready = detail.is_none();
    let mut response = json(
        status.revision,
        &ReadyReply {
            ready,
            revision: status.revision,
            epoch: app.node.snapshot().state().epoch(),
            detail,
        },
    )?;
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Reads the metrics.
pub(super) fn metrics(app: &App) -> Answer {
    let (streams, bodies) = (app.streams.open(), app.room.used());
    let text = app.metrics.text(&app.node, streams, bodies)?;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut response: Response = text.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}
