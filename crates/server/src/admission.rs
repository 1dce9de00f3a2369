//! What is asked of every request before anybody looks at what it wants.
//!
//! A kill passes where other requests are held up: it is never counted, and it is served on a
//! connection beyond the limit.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, Version, header, request::Parts};
use plane_api::headers;
use plane_model::Code;
use tokio::time::Instant;

use crate::ServerOptions;
use crate::auth::Caller;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::metrics::{Metrics, Refused};
use crate::rate::Addresses;

/// How long the target of a request may be.
const URI_BYTES_MAX: usize = 8 * 1024;
/// How many bytes the names and values of a request's headers may have.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Headers that say one thing: what is done must not depend on which of two is read.
const ONCE: [&str; 9] = [
    "content-type",
    "if-match",
    "if-none-match",
    "last-event-id",
    headers::ENVIRONMENT,
    headers::IDEMPOTENCY_KEY,
    headers::MIN_REVISION,
    headers::REASON,
    headers::REQUEST_ID,
];

/// What is known of the connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// Where it comes from.
    pub(crate) address: IpAddr,
    /// Whether it is one more than are served.
    pub(crate) is_surplus: bool,
}

/// Refuses what is too large for any request, or not well formed whatever it asks for.
pub(crate) fn check_form(parts: &Parts, connection: Option<Connection>) -> Result<(), Failure> {
    if uri_bytes(&parts.uri) > URI_BYTES_MAX {
        return Err(Failure::new(
            Code::UriTooLong,
            format!("the path and query have more than {URI_BYTES_MAX} bytes"),
        )
        .next("send what is long in the body, where the operation has one"));
    }
    let bytes: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(Failure::new(
            Code::HeadersTooLarge,
            format!("the headers have more than {HEADER_BYTES_MAX} bytes"),
        )
        .next("send fewer or shorter headers; look for cookies that a proxy adds"));
    }
    let has_repeats = parts.headers.len() > parts.headers.keys_len();
    let twice = |name: &&str| parts.headers.get_all(*name).iter().nth(1).is_some();
    if let Some(name) = ONCE.iter().find(|name| has_repeats && twice(name)) {
        return Err(Failure::new(
            Code::RequestInvalid,
            format!("the header `{name}` occurs twice"),
        )
        .next("send it once"));
    }
    // A request that did not come by a connection has no host to name.
    if connection.is_some() && parts.version == Version::HTTP_11 && hosts(&parts.headers) != 1 {
        return Err(Failure::new(
            Code::RequestInvalid,
            "the request has no `Host` header, or more than one",
        )
        .next("send one `Host` header"));
    }
    Ok(())
}

fn uri_bytes(uri: &Uri) -> usize {
    uri.path().len() + uri.query().map_or(0, str::len)
}

fn hosts(headers: &HeaderMap) -> usize {
    headers.get_all(header::HOST).iter().count()
}

/// Refuses what comes by a connection beyond the limit.
pub(crate) fn check_connection(
    connection: Option<Connection>,
    endpoint: &Endpoint,
    metrics: &Metrics,
) -> Result<(), Failure> {
    if connection.is_some_and(|it| it.is_surplus) && !endpoint.is_kill && !endpoint.is_probe {
        metrics.held_up(Refused::Connections);
        return Err(
            Failure::new(Code::Overloaded, "this node serves no more connections")
                .next("use connections again, connect to another node, or again a little later"),
        );
    }
    Ok(())
}

/// Refuses a caller who asked too often.
pub(crate) fn check_token(
    caller: &Caller,
    endpoint: &Endpoint,
    options: &ServerOptions,
    metrics: &Metrics,
    now: Instant,
) -> Result<(), Failure> {
    match options.token_rate {
        Some(rate) if !endpoint.is_kill && !caller.bucket.take(rate, now) => {
            metrics.held_up(Refused::Token);
            Err(Failure::new(
                Code::RateLimited,
                "this token is used for too many requests a second",
            )
            .next(
                "send fewer: keep a view and follow its stream, evaluate many flags by one request, \
                 or put many writes into one commit",
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses an address that asked too often without a valid token.
///
/// A valid token never waits for what others do at its address, so this neither locks out who
/// shares a proxy with a guesser nor needs to: what keeps tokens from being guessed is their length.
pub(crate) fn check_stranger(
    connection: Option<Connection>,
    endpoint: &Endpoint,
    addresses: &Addresses,
    options: &ServerOptions,
    metrics: &Metrics,
    now: Instant,
) -> Result<(), Failure> {
    let address = connection.map(|it| it.address);
    match options.stranger_rate {
        Some(rate) if !endpoint.is_probe && !addresses.take(address, rate, now) => {
            metrics.held_up(Refused::Address);
            Err(Failure::new(
                Code::RateLimited,
                "too many requests a second without a valid token come from this address",
            )
            .next("check that the token is valid here, and send fewer requests"))
        }
        _ => Ok(()),
    }
}
