//! OFREP, `OpenFeature`'s protocol for evaluating flags elsewhere: its bodies, and how it tells errors.

use plane_model::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::status;

/// Asks what one flag or all flags are for a context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepRequest {
    /// What is known: `targetingKey`, `tenant`, `user`, `agent`, `conversation`; all else is an attribute.
    #[serde(default)]
    pub context: Map<String, Value>,
}

/// What one flag is for a context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepFlag {
    /// The flag.
    pub key: String,
    /// The value; absent where the caller's default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The variant; absent where the caller's default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Why.
    pub reason: String,
    /// About the result: `revision`, `bucketing`, and `rule` if one decided; and what the flag's own metadata say.
    pub metadata: Map<String, Value>,
}

/// Why there is no result: of one flag, or of the whole request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepFailure {
    /// The flag; absent where the request is about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The error as `OpenFeature` names it.
    #[serde(rename = "errorCode")]
    pub code: String,
    /// What is wrong, and what to do next.
    #[serde(rename = "errorDetails")]
    pub details: String,
}

/// What all flags are for a context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepFlags {
    /// The flags, in the order of their keys.
    pub flags: Vec<OfrepResult>,
    /// About all of them: `environment`, and `warning` if something is odd about the request.
    pub metadata: Map<String, Value>,
    /// Where to hear of changes.
    #[serde(rename = "eventStreams", default)]
    pub event_streams: Vec<OfrepEventStream>,
}

/// What one of all flags is, or why it has no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OfrepResult {
    /// What it is.
    Flag(OfrepFlag),
    /// Why it has no result.
    Failure(OfrepFailure),
}

/// A stream that tells when to evaluate again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepEventStream {
    /// Always `sse`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is.
    pub endpoint: OfrepEndpoint,
    /// After how many seconds without a user the client should close it.
    #[serde(rename = "inactivityDelaySec")]
    pub inactivity_delay_seconds: u32,
}

/// Where a stream is: on this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepEndpoint {
    /// The path, with a ticket that opens the stream and nothing else.
    #[serde(rename = "requestUri")]
    pub request_uri: String,
}

/// What an event `message` of the stream says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfrepEvent {
    /// Always `refetchEvaluation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names the configuration that there is now; to be sent back as `flagConfigEtag`.
    pub etag: String,
}

/// The status with which OFREP tells an error.
///
/// What is wrong with a request is 400 there, and 404 says only that there is no such flag.
pub const fn ofrep_status(code: Code) -> u16 {
    match code {
        Code::TextTooLarge => 413,
        _ => match status(code) {
            404 | 409 | 415 | 422 => 400,
            other => other,
        },
    }
}

/// The error code with which OFREP tells an error.
pub const fn ofrep_error_code(code: Code) -> &'static str {
    match code {
        Code::TextInvalid
        | Code::MediaTypeUnsupported
        | Code::FieldUnknown
        | Code::FieldMissing
        | Code::FieldInvalid => "PARSE_ERROR",
        Code::ContextInvalid | Code::TenantNotFound => "INVALID_CONTEXT",
        _ => "GENERAL",
    }
}
