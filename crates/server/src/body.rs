//! Request bodies: JSON that every reader understands the same way, within limits.

mod room;

use std::future::poll_fn;
use std::pin::pin;

use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use plane_api::Operation;
use plane_api::operations::Dialect;
use plane_model::json::{self, Limits, TextProblem};
use plane_model::{Code, Violation, limits, parse_strict};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::failure::Failure;

pub(crate) use self::room::{Held, Room};

/// Bytes of a body that carries many documents, or a segment's ids.
const BATCH_BYTES_MAX: usize = 4 * limits::COMMIT_BYTES_MAX;
/// Bytes of a body that carries one document or manifest.
const DOCUMENT_BYTES_MAX: usize = 2 * limits::MANIFEST_BYTES_MAX;
/// Bytes of a body that carries a context.
const CONTEXT_BYTES_MAX: usize = 4 * limits::CONTEXT_BYTES_MAX;
/// Bytes of a body that carries a kill: its reason, however it is escaped.
const KILL_BYTES_MAX: usize = 16 * limits::PROSE_CHARS_MAX;

/// How many bytes an operation's body may have.
pub(crate) fn bytes_max(operation: &Operation) -> usize {
    match operation.id.as_str() {
        _ if operation.request.is_none() => 0,
        "commit" | "applyTree" | "putSegment" => BATCH_BYTES_MAX,
        "resolve" | "evaluate" => CONTEXT_BYTES_MAX,
        "putKill" | "putTenantKill" => KILL_BYTES_MAX,
        _ if operation.dialect == Dialect::Ofrep => CONTEXT_BYTES_MAX,
        _ => DOCUMENT_BYTES_MAX,
    }
}

/// Reads the whole body, but no more than it may have, and holds the memory that it takes.
pub(crate) async fn receive(
    endpoint: &Endpoint,
    room: &Room,
    headers: &HeaderMap,
    body: impl HttpBody<Data = Bytes>,
) -> Result<(Bytes, Held), Failure> {
    let bytes_max = bytes_max(endpoint.operation);
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    // A kill is small, and waits for nobody.
    let room = (!endpoint.is_kill).then_some(room);
    let mut held = Held::default();
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut whole: Vec<u8> = Vec::new();
    while let Some(frame) = poll_fn(|ctx| body.as_mut().poll_frame(ctx)).await {
        let frame = frame.map_err(|_| {
            Failure::new(Code::RequestInvalid, "the body ended before it was whole")
                .next("send the request again")
        })?;
        // What is not data is a trailer, which nothing here reads.
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        let length = first.len() + whole.len() + chunk.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        if let Some(room) = room {
            room.hold(&mut held, length)?;
        }
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.reserve_exact(announced.unwrap_or(length));
                whole.extend_from_slice(&first);
                first = Bytes::new();
            }
            whole.extend_from_slice(&chunk);
        }
    }
    let whole = if whole.is_empty() {
        first
    } else {
        whole.into()
    };
    if let Some(room) = room {
        room.hold_value(&mut held, &whole)?;
    }
    Ok((whole, held))
}

/// Reads the body as one JSON value.
pub(crate) fn value(
    operation: &Operation,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Value, Failure> {
    check_media_type(headers)?;
    let limits = Limits {
        bytes_max: bytes_max(operation),
        depth_max: limits::TEXT_DEPTH_MAX,
    };
    json::parse(bytes, limits).map_err(|error| {
        let code = match error.code {
            TextProblem::Size | TextProblem::Depth => Code::TextTooLarge,
            _ => Code::TextInvalid,
        };
        let pointer = error.pointer.clone().unwrap_or_default();
        Violation::new(code, pointer, error.to_string())
            .next(error.next())
            .into()
    })
}

/// Reads a JSON value as a request; all mistakes of form are reported at once.
pub(crate) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    parse_strict(value).map_err(Failure::from)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let unsupported = |detail: String| {
        Failure::new(Code::MediaTypeUnsupported, detail)
            .next("send JSON with `Content-Type: application/json`")
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unsupported("compressed bodies are not read".to_owned()));
    }
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Err(unsupported(
            "the request does not say what its body is".to_owned(),
        ));
    };
    let text = given.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        let shown: String = essence.chars().take(80).collect();
        Err(unsupported(format!("the body is `{shown}`, not JSON")))
    }
}

fn too_large(bytes_max: usize) -> Failure {
    if bytes_max == 0 {
        return Failure::new(Code::RequestTooLarge, "this operation reads no body")
            .next("send the request without a body");
    }
    Failure::new(
        Code::RequestTooLarge,
        format!("the body has more than {bytes_max} bytes"),
    )
    .next("split the request into several")
}
