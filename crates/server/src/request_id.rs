//! The name of a request, in its reply and in the log.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue};
use plane_api::headers;

/// The caller's name for a request, or one that was made for it.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Takes the caller's name for the request, or makes one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(headers::REQUEST_ID);
        let usable = given.filter(|value| is_usable(value.as_bytes()));
        Self(usable.cloned().unwrap_or_else(make))
    }

    pub(crate) fn as_str(&self) -> &str {
        // Letters, digits and a few marks are always a string.
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn make() -> HeaderValue {
    let text = Bytes::from(ulid::Ulid::generate().to_string());
    HeaderValue::from_maybe_shared(text).expect("letters and digits are a header's value")
}

fn is_usable(bytes: &[u8]) -> bool {
    (1..=128).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}
