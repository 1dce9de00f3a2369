//! Flags by OFREP: every status and error code, who may ask, and what a browser needs.

mod all;
mod callers;
mod events;
mod one;
mod origins;
mod platform;

use serde_json::Value;

use crate::harness::Reply;

use platform::{ALL, IN_PRODUCTION};

/// The body of an error, which has to have this status and code.
#[track_caller]
fn failed(reply: &Reply, status: u16, code: &str) -> Value {
    let body = reply.json();
    assert_eq!(
        (reply.status.as_u16(), body["errorCode"].as_str()),
        (status, Some(code)),
        "{body}"
    );
    assert_eq!(reply.header("content-type"), "application/json");
    assert!(!body["errorDetails"].as_str().unwrap().is_empty(), "{body}");
    body
}
