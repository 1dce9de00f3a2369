//! The one place where errors become problems.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plane_api::{Problem, is_retryable};
use plane_eval::ResolveError;
use plane_model::{Code, NameError, Violation, Violations};
use plane_node::{AtError, CommitError};
use plane_state::Rejection;

use crate::call::COMMITS_TELL;

/// A request that ends in a problem.
#[derive(Debug)]
pub(crate) struct Failure(Box<Problem>);

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.0.next = Some(next.into());
        self
    }

    /// A failure inside: the caller learns nothing but that, the log has the rest.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed inside");
        Self::new(Code::Internal, "something failed inside the server")
            .next("look into the server's log under the request's id")
    }

    pub(crate) fn problem(&self) -> &Problem {
        &self.0
    }

    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// The codes of all findings.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.0.errors.iter().map(|it| it.code.as_str())
    }

    /// Points findings about the command's only operation at the body of the request.
    pub(crate) fn rebased(mut self) -> Self {
        for finding in &mut self.0.errors {
            if let Some(rest) = finding.pointer.strip_prefix("/ops/0") {
                finding.pointer = rest.strip_prefix("/body").unwrap_or(rest).to_owned();
            } else if finding.pointer == "/ops" {
                finding.pointer.clear();
            }
        }
        self
    }

    /// Names the request.
    pub(crate) fn about(mut self, request_id: &str) -> Self {
        self.0.instance = Some(format!("urn:request:{request_id}"));
        self
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<Violations> for Failure {
    fn from(violations: Violations) -> Self {
        Problem::of_violations(&violations)
            .unwrap_or_else(|| Problem::new(Code::Internal, "refused without a finding"))
            .into()
    }
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        vec![violation].into()
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(Code::NameInvalid, error.to_string()).next("correct the name")
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        rejection.violations.into()
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        let code = error.code();
        let detail = error.to_string();
        match error {
            CommitError::Rejected(rejection) => rejection.into(),
            CommitError::IdReused { .. } => Self::new(code, detail)
                .next("send a new key with a new request; the same key only repeats one"),
            CommitError::Overloaded => {
                Self::new(code, detail).next("send the request again, with the same key")
            }
            CommitError::StoreFull => {
                Self::new(code, detail).next("free space under the data directory; reads go on")
            }
            CommitError::StoreUnavailable(detail) => {
                tracing::error!(detail, "the store takes no writes");
                Self::new(code, "the store takes no writes now; reads go on")
                    .next("send the request again, with the same key")
            }
            CommitError::Halted(_) => Self::new(code, detail)
                .next("reads go on; an operator looks at the server's log, and runs `log verify`"),
        }
    }
}

impl From<AtError> for Failure {
    fn from(error: AtError) -> Self {
        match error {
            AtError::Ahead { .. } | AtError::Future(_) => {
                Self::new(Code::RevisionNotFound, error.to_string()).next(COMMITS_TELL)
            }
            AtError::Store(error) => store(&error),
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        Self::new(error.code(), error.detail()).next(error.next())
    }
}

/// A store that cannot be read now.
pub(crate) fn store(error: &dyn std::fmt::Display) -> Failure {
    tracing::error!(%error, "the store cannot be read");
    Failure::new(Code::StoreUnavailable, "the store cannot be read now")
        .next("send the request again a little later")
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let bytes = serde_json::to_vec(&self.0).unwrap_or_default();
        let status = self.0.status;
        self.into_response_with(status, Problem::MEDIA_TYPE, bytes)
    }
}

impl Failure {
    /// Answers with a body of another form, and with the headers that errors have.
    pub(crate) fn into_response_with(
        self,
        status: u16,
        media_type: &'static str,
        body: Vec<u8>,
    ) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let code = self.0.known_code();
        if code.is_some_and(is_retryable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if code == Some(Code::Unauthenticated) {
            let challenge = "Bearer realm=\"control-plane\"";
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        response
    }
}
