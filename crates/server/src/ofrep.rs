//! OFREP: what its requests have that others do not, its form of errors, and who may ask from a browser.

mod body;
mod events;
mod order;
mod ticket;

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use plane_api::operations::Dialect;
use plane_api::{OfrepFailure, Operation, ofrep_error_code, ofrep_status};
use plane_model::Code;

use crate::failure::Failure;
use crate::percent;

pub(crate) use body::Body;
pub(crate) use events::{config_etag, follow, revision_of};
pub(crate) use order::Orders;
pub(crate) use ticket::Ticket;

/// How long a browser keeps what a preflight said, in seconds; none keeps it longer.
const PREFLIGHT_SECONDS: &str = "7200";
/// How much of a pointer a sentence has room for.
const POINTER_CHARS_MAX: usize = 80;
const METHODS: &str = "GET, POST";
const REQUEST_HEADERS: &str = "authorization, content-type, if-none-match, x-api-key, \
     control-plane-environment, control-plane-min-revision, last-event-id, x-request-id";
const REPLY_HEADERS: &str = "etag, retry-after, control-plane-revision, x-request-id";

/// The origins whose pages may ask by OFREP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// None: browsers refuse the replies.
    #[default]
    None,
    /// All.
    Any,
    /// These, such as `https://app.example.com`.
    Only(Arc<[String]>),
}

impl Origins {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Lets the page of this origin read the reply, if it may.
    fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let allowed = match self {
            Self::None => return,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(list) => {
                headers.append(header::VARY, HeaderValue::from_static("origin"));
                let is_listed = |it: &&HeaderValue| list.iter().any(|known| *it == known.as_str());
                origin.filter(is_listed).cloned()
            }
        };
        if let Some(allowed) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            let exposed = HeaderValue::from_static(REPLY_HEADERS);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Says what pages may send.
    pub(crate) fn preflight(&self, origin: Option<&HeaderValue>) -> Response {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.allow(origin, headers);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What is kept of a request by OFREP until it is answered.
#[derive(Debug)]
pub(crate) struct Asked {
    uri: Uri,
    origin: Option<HeaderValue>,
}

impl Asked {
    /// None if the operation does not speak OFREP.
    pub(crate) fn of(operation: &Operation, parts: &Parts) -> Option<Self> {
        (operation.dialect == Dialect::Ofrep).then(|| Self {
            uri: parts.uri.clone(),
            origin: parts.headers.get(header::ORIGIN).cloned(),
        })
    }

    /// Lets the page that asked read the reply, if it may.
    pub(crate) fn allow(&self, origins: &Origins, response: &mut Response) {
        origins.allow(self.origin.as_ref(), response.headers_mut());
    }

    /// The flag that was asked for, if it was one.
    fn key(&self) -> Option<String> {
        let (_, key) = self.uri.path().split_once("/evaluate/flags/")?;
        percent::decode(key, false).filter(|key| !key.is_empty())
    }

    /// Tells an error as OFREP does.
    pub(crate) fn failed(&self, failure: Failure) -> Response {
        let problem = failure.problem();
        let code = problem.known_code().unwrap_or(Code::Internal);
        let mut details = problem.detail.clone();
        if let Some(first) = problem.errors.first() {
            details = match first.pointer.as_str() {
                "" => first.detail.clone(),
                pointer => format!("{}: {}", shortened(pointer), first.detail),
            };
        }
        let first = problem.errors.first().and_then(|it| it.next.as_ref());
        if let Some(next) = first.or(problem.next.as_ref()) {
            details = format!("{details}; {next}");
        }
        let body = OfrepFailure {
            key: self.key(),
            code: ofrep_error_code(code).to_owned(),
            details,
        };
        failure.into_response_with(
            ofrep_status(code),
            "application/json",
            serde_json::to_vec(&body).unwrap_or_default(),
        )
    }
}

/// A pointer for a sentence; of a long one, which hostile input can nest, where it begins.
fn shortened(pointer: &str) -> Cow<'_, str> {
    match pointer.char_indices().nth(POINTER_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", pointer.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(pointer),
    }
}
