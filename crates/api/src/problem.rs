//! Errors over HTTP: RFC 9457 problems with stable codes.

use plane_model::{Code, Violation, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One error, as `application/problem+json`.
///
/// Codes are text here, so that a client reads the problems of a server that is newer than itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:control-plane:error:CODE`; `control-plane explain CODE` prints the page about it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What is wrong, in the caller's terms.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// `urn:request:ID`, by which the server's log names the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Each finding, with its place in the request's body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

/// One finding about one place of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// JSON pointer into the request's body; empty for the whole of it.
    pub pointer: String,
    /// The stable code.
    pub code: String,
    /// What is wrong, in the caller's terms.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Problem {
    /// The media type of problems.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// Makes a problem that is about the request as a whole.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:control-plane:error:{code}"),
            title: title(code),
            status: status(code),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            next: None,
            retryable: is_retryable(code),
            instance: None,
            errors: Vec::new(),
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Makes one problem of all findings about a request; `None` if there are none.
    ///
    /// Its code is the one that decides: what may not be seen or done comes before conflicts, and
    /// those before what is wrong with documents.
    pub fn of_violations(violations: &[Violation]) -> Option<Self> {
        let leading = violations.iter().min_by_key(|it| rank(it.code))?;
        let detail = match violations.len() {
            1 => leading.detail.clone(),
            count => format!("{count} findings; first of all: {}", leading.detail),
        };
        let mut problem = Self::new(leading.code, detail);
        problem.next = Some(leading.next.clone());
        problem.errors = violations
            .iter()
            .take(limits::VIOLATIONS_MAX)
            .map(Finding::from)
            .collect();
        Some(problem)
    }

    /// The code, if this version knows it.
    pub fn known_code(&self) -> Option<Code> {
        self.code.parse().ok()
    }
}

impl From<&Violation> for Finding {
    fn from(violation: &Violation) -> Self {
        Self {
            pointer: violation.pointer.clone(),
            code: violation.code.as_str().to_owned(),
            detail: violation.detail.clone(),
            next: Some(violation.next.clone()),
        }
    }
}

/// Which of several findings gives a problem its code: the smallest.
fn rank(code: Code) -> u8 {
    match status(code) {
        401 => 0,
        403 | 404 => 1,
        428 => 2,
        409 => 3,
        422 => 5,
        _ => 4,
    }
}

/// The code in words: `REVISION_CONFLICT` is "Revision conflict".
pub fn title(code: Code) -> String {
    let words = code.as_str().replace('_', " ");
    let lower = words.to_ascii_lowercase();
    let words: Vec<_> = lower.split(' ').map(capitals).collect();
    let mut title = words.join(" ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// Writes abbreviations as they are written.
fn capitals(word: &str) -> String {
    match word {
        "uri" | "url" | "sdk" | "id" => word.to_ascii_uppercase(),
        _ => word.to_owned(),
    }
}

/// The HTTP status of a code.
pub const fn status(code: Code) -> u16 {
    match code {
        Code::RequestInvalid | Code::TextInvalid => 400,
        // No server sends the codes of in-process clients; who passes them on says so much.
        Code::SdkUrlMissing
        | Code::SdkEnvironmentMissing
        | Code::SdkSettingsInvalid
        | Code::SdkClosed
        | Code::TreeInvalid => 400,
        Code::ViewInvalid
        | Code::LogForked
        | Code::ViewUnverified
        | Code::ServerKeyUntrusted
        | Code::HeadExpired => 502,
        Code::SdkNotReady | Code::TenantNotLoaded | Code::ServerUnreachable => 503,
        Code::Unauthenticated => 401,
        Code::Forbidden => 403,
        Code::RouteNotFound
        | Code::NotFound
        | Code::RevisionNotFound
        | Code::FlagNotFound
        | Code::ConfigNotFound
        | Code::EnvironmentNotFound
        | Code::AgentNotFound
        | Code::ChannelNotFound
        | Code::VersionNotFound
        | Code::TenantNotFound => 404,
        Code::MethodNotAllowed => 405,
        Code::RevisionConflict
        | Code::NameCollision
        | Code::ReferenceInUse
        | Code::ReferenceCycle
        | Code::Immutable
        | Code::LastAdmin
        | Code::NotRevertible
        | Code::VersionExists
        | Code::GovernanceChange
        | Code::AgentKilled
        | Code::VersionRevoked
        | Code::VersionQuarantined => 409,
        Code::RequestTooLarge | Code::TextTooLarge => 413,
        Code::MediaTypeUnsupported => 415,
        Code::IdempotencyKeyReused
        | Code::NameInvalid
        | Code::KindUnknown
        | Code::FieldUnknown
        | Code::FieldMissing
        | Code::FieldInvalid
        | Code::LimitExceeded
        | Code::ReferenceMissing
        | Code::CommandRequired
        | Code::CommitEmpty
        | Code::DocumentRepeated
        | Code::ProtectionUnavailable
        | Code::VariantUnknown
        | Code::VariantTypeMismatch
        | Code::SplitInvalid
        | Code::ExpressionInvalid
        | Code::OverrideRefused
        | Code::OverrideConflict
        | Code::ConfigInvalid
        | Code::SchemaInvalid
        | Code::LayerNotAllowed
        | Code::ChecksumMismatch
        | Code::SignatureMissing
        | Code::SignatureInvalid
        | Code::TrustMissing
        | Code::VersionInvalid
        | Code::DependencyUnsatisfied
        | Code::KeyInvalid
        | Code::KeyExpired
        | Code::KeyRevoked
        | Code::ContextInvalid => 422,
        Code::UriTooLong => 414,
        Code::PreconditionRequired => 428,
        Code::RateLimited => 429,
        Code::HeadersTooLarge => 431,
        Code::Internal | Code::ManifestMissing | Code::DigestMismatch => 500,
        Code::RequestTimeout
        | Code::RevisionNotReached
        | Code::Overloaded
        | Code::StoreUnavailable
        | Code::LogDiverged => 503,
        Code::StoreFull => 507,
    }
}

/// Says whether a server sends the code; the others are raised in the client's process.
pub const fn is_sent(code: Code) -> bool {
    !matches!(
        code,
        Code::SdkUrlMissing
            | Code::SdkEnvironmentMissing
            | Code::SdkSettingsInvalid
            | Code::SdkNotReady
            | Code::TenantNotLoaded
            | Code::SdkClosed
            | Code::ServerUnreachable
            | Code::TreeInvalid
            | Code::ViewInvalid
            | Code::LogForked
            | Code::ViewUnverified
            | Code::ServerKeyUntrusted
            | Code::HeadExpired
    )
}

/// Says whether the same request may succeed later, without anybody changing it.
pub const fn is_retryable(code: Code) -> bool {
    match code {
        Code::RequestTimeout
        | Code::RateLimited
        | Code::RevisionNotReached
        | Code::Overloaded
        | Code::StoreUnavailable
        | Code::SdkNotReady
        | Code::TenantNotLoaded
        | Code::ServerUnreachable => true,
        // These need somebody to act on the server first.
        Code::StoreFull | Code::LogDiverged | Code::Internal => false,
        Code::RequestInvalid
        | Code::RequestTooLarge
        | Code::UriTooLong
        | Code::HeadersTooLarge
        | Code::RouteNotFound
        | Code::MethodNotAllowed
        | Code::MediaTypeUnsupported
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::PreconditionRequired
        | Code::RevisionConflict
        | Code::IdempotencyKeyReused
        | Code::RevisionNotFound
        | Code::TextInvalid
        | Code::TextTooLarge
        | Code::NameInvalid
        | Code::NameCollision
        | Code::KindUnknown
        | Code::FieldUnknown
        | Code::FieldMissing
        | Code::FieldInvalid
        | Code::LimitExceeded
        | Code::ReferenceMissing
        | Code::ReferenceInUse
        | Code::ReferenceCycle
        | Code::Immutable
        | Code::CommandRequired
        | Code::CommitEmpty
        | Code::DocumentRepeated
        | Code::ProtectionUnavailable
        | Code::LastAdmin
        | Code::NotRevertible
        | Code::VariantUnknown
        | Code::VariantTypeMismatch
        | Code::SplitInvalid
        | Code::ExpressionInvalid
        | Code::OverrideRefused
        | Code::OverrideConflict
        | Code::FlagNotFound
        | Code::ConfigInvalid
        | Code::SchemaInvalid
        | Code::LayerNotAllowed
        | Code::ConfigNotFound
        | Code::ChecksumMismatch
        | Code::SignatureMissing
        | Code::SignatureInvalid
        | Code::TrustMissing
        | Code::VersionExists
        | Code::VersionInvalid
        | Code::DependencyUnsatisfied
        | Code::GovernanceChange
        | Code::KeyInvalid
        | Code::KeyExpired
        | Code::KeyRevoked
        | Code::EnvironmentNotFound
        | Code::AgentNotFound
        | Code::AgentKilled
        | Code::ChannelNotFound
        | Code::VersionNotFound
        | Code::VersionRevoked
        | Code::VersionQuarantined
        | Code::ManifestMissing
        | Code::DigestMismatch
        | Code::TenantNotFound
        | Code::ContextInvalid
        | Code::SdkUrlMissing
        | Code::SdkEnvironmentMissing
        | Code::SdkSettingsInvalid
        | Code::SdkClosed
        | Code::TreeInvalid
        | Code::ViewInvalid
        | Code::LogForked
        | Code::ViewUnverified
        | Code::ServerKeyUntrusted
        | Code::HeadExpired => false,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_problem_has_the_shape_that_clients_rely_on() {
        let violation = Violation::new(Code::VariantUnknown, "/off", "the flag has no variant `x`")
            .next("use one of `on`, `off`");
        let problem = Problem::of_violations(&[violation]).unwrap();
        expect![[r#"
            {
              "type": "urn:control-plane:error:VARIANT_UNKNOWN",
              "title": "Variant unknown",
              "status": 422,
              "code": "VARIANT_UNKNOWN",
              "detail": "the flag has no variant `x`",
              "next": "use one of `on`, `off`",
              "retryable": false,
              "errors": [
                {
                  "pointer": "/off",
                  "code": "VARIANT_UNKNOWN",
                  "detail": "the flag has no variant `x`",
                  "next": "use one of `on`, `off`"
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&problem).unwrap());
    }

    #[test]
    fn what_may_not_be_seen_decides_before_conflicts_and_those_before_mistakes() {
        let of = |codes: &[Code]| {
            let violations: Vec<_> = codes
                .iter()
                .map(|code| Violation::new(*code, "", "x").next("y"))
                .collect();
            Problem::of_violations(&violations)
                .unwrap()
                .known_code()
                .unwrap()
        };
        let (missing, conflict, mistake) =
            (Code::NotFound, Code::RevisionConflict, Code::FieldUnknown);
        assert_eq!(of(&[mistake, conflict, missing]), missing);
        assert_eq!(of(&[mistake, conflict]), conflict);
        assert_eq!(of(&[mistake, Code::FieldMissing]), mistake);
    }

    #[test]
    fn only_errors_of_the_server_s_moment_are_retryable() {
        for code in Code::ALL {
            let is_of_the_moment = matches!(status(*code), 429 | 503);
            assert!(!is_retryable(*code) || is_of_the_moment, "{code}");
        }
    }

    #[test]
    fn titles_write_abbreviations_as_they_are_written() {
        assert_eq!(title(Code::UriTooLong), "URI too long");
        assert_eq!(title(Code::NotFound), "Not found");
    }

    #[test]
    fn a_code_of_a_later_version_is_read() {
        let text =
            r#"{"type":"t","title":"t","status":422,"code":"NEW","detail":"d","retryable":false}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!((problem.code.as_str(), problem.known_code()), ("NEW", None));
    }
}
