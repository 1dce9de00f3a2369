//! Why the SDK gave no answer, and what to do next.

use std::fmt::Write as _;

use plane_api::Problem;
use plane_eval::ResolveError;
use plane_model::{ArtifactKind, Code, Timestamp, Violation};

/// Why the SDK gave no answer.
///
/// Each error has a stable [`code`](Self::code) with a page of its own (`control-plane explain CODE`)
/// and says what to do [`next`](Self::next).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nobody said where the control plane is.
    #[error("no control plane is named")]
    UrlMissing,
    /// Nobody said which environment to read.
    #[error("no environment is named")]
    EnvironmentMissing {
        /// What there is to choose from, as far as that is known.
        known: Vec<String>,
    },
    /// A setting cannot be used.
    #[error("the setting {setting} cannot be used: {detail}")]
    Settings {
        /// Its name, as the environment variable is called.
        setting: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A name or a value that was given cannot be one; the findings say why.
    #[error("{}", list(.0))]
    Invalid(Vec<Violation>),
    /// There is nothing to answer from yet.
    #[error("the environment `{environment}` is not loaded yet: {detail}")]
    NotReady {
        /// Which.
        environment: String,
        /// How far it got.
        detail: String,
    },
    /// It was used after it was closed.
    #[error("the control plane's client is closed")]
    Closed,
    /// The environment does not exist in the tree.
    #[error("the environment `{environment}` does not exist")]
    EnvironmentNotFound {
        /// As it was asked for.
        environment: String,
        /// Those that do exist.
        known: Vec<String>,
    },
    /// The local tree has mistakes.
    #[error("the tree `{root}` has {}:{}", count(.findings.len()), lines(.findings))]
    Tree {
        /// Where the tree is.
        root: String,
        /// All that is wrong.
        findings: Vec<Finding>,
    },
    /// The server refused, and asking again will not help.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// No server answered.
    #[error("cannot reach the control plane at {url}: {detail}")]
    Unreachable {
        /// Which.
        url: String,
        /// What happened.
        detail: String,
    },
    /// A server, a proxy or a file gave something that is not a view that can be served.
    #[error("what came from {origin} cannot be served: {detail}")]
    View {
        /// The address or the file.
        origin: String,
        /// What is wrong.
        detail: String,
    },
    /// A server tells another past than the one that is held.
    #[error("what came from {origin} has another history: {detail}")]
    Forked {
        /// The address.
        origin: String,
        /// How they differ.
        detail: String,
    },
    /// A server, or what is between, gave something that no trusted server has signed so.
    #[error("what came from {origin} is not what a server signed: {detail}")]
    Unverified {
        /// The address or the file.
        origin: String,
        /// What is wrong.
        detail: String,
    },
    /// A key that is not trusted has signed.
    #[error("what came from {origin} is signed by a key that is not trusted: {detail}")]
    KeyUntrusted {
        /// The address or the file.
        origin: String,
        /// Which key, and why it is not trusted.
        detail: String,
    },
    /// A server answers, and vouches for nothing that is recent.
    #[error(
        "there may be news that does not get through: {origin} vouches for nothing after {until}"
    )]
    Expired {
        /// The address.
        origin: String,
        /// Until when what is served was vouched for.
        until: Timestamp,
    },
    /// Tenants are held on demand, and what this one has of its own is not to be had.
    #[error("what the tenant `{tenant}` has of its own is not loaded: {detail}")]
    TenantNotLoaded {
        /// Which.
        tenant: String,
        /// Why.
        detail: String,
    },
    /// There is no such config document, or nothing at that path.
    #[error("there is no configuration at `{path}`")]
    ConfigNotFound {
        /// As it was asked for.
        path: String,
    },
    /// There is no such agent or tool, or no such version of it.
    #[error("the {subject} is not published")]
    NotPublished {
        /// What was asked for, such as ``tool `crm_tool@1.2.0` ``.
        subject: String,
        /// What it would be.
        kind: ArtifactKind,
    },
    /// The value at a path of the configuration is not what the caller reads it as.
    #[error("the configuration at `{path}` is not what is read: {detail}")]
    ConfigType {
        /// As it was asked for.
        path: String,
        /// What was expected.
        detail: String,
    },
    /// The agent cannot be given.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

/// A mistake in a local tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file below the tree's root; empty if it is about the tree as a whole.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub violation: Violation,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            column,
            violation,
        } = self;
        if !file.is_empty() {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        write!(f, "{violation}")
    }
}

impl Error {
    /// The stable code; none only for a problem of a server that is newer than this client.
    pub fn code(&self) -> Option<Code> {
        Some(match self {
            Self::UrlMissing => Code::SdkUrlMissing,
            Self::EnvironmentMissing { .. } => Code::SdkEnvironmentMissing,
            Self::Settings { .. } => Code::SdkSettingsInvalid,
            Self::Invalid(found) => found.first().map_or(Code::FieldInvalid, |it| it.code),
            Self::NotReady { .. } => Code::SdkNotReady,
            Self::Closed => Code::SdkClosed,
            Self::EnvironmentNotFound { .. } => Code::EnvironmentNotFound,
            Self::Tree { .. } => Code::TreeInvalid,
            Self::Refused(problem) => return problem.known_code(),
            Self::Unreachable { .. } => Code::ServerUnreachable,
            Self::View { .. } => Code::ViewInvalid,
            Self::Forked { .. } => Code::LogForked,
            Self::Unverified { .. } => Code::ViewUnverified,
            Self::KeyUntrusted { .. } => Code::ServerKeyUntrusted,
            Self::Expired { .. } => Code::HeadExpired,
            Self::TenantNotLoaded { .. } => Code::TenantNotLoaded,
            Self::ConfigNotFound { .. } => Code::ConfigNotFound,
            Self::ConfigType { .. } => Code::ConfigInvalid,
            Self::NotPublished { .. } => Code::VersionNotFound,
            Self::Resolve(error) => error.code(),
        })
    }

    /// Says whether it may go away without anybody doing something here.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotReady { .. }
            | Self::Unreachable { .. }
            | Self::View { .. }
            | Self::Unverified { .. }
            | Self::TenantNotLoaded { .. }
            | Self::Expired { .. } => true,
            Self::Refused(problem) => problem.retryable,
            Self::UrlMissing
            | Self::EnvironmentMissing { .. }
            | Self::Settings { .. }
            | Self::Invalid(_)
            | Self::Closed
            | Self::EnvironmentNotFound { .. }
            | Self::Tree { .. }
            | Self::Forked { .. }
            | Self::KeyUntrusted { .. }
            | Self::ConfigNotFound { .. }
            | Self::ConfigType { .. }
            | Self::NotPublished { .. }
            | Self::Resolve(_) => false,
        }
    }

    /// Says whether somebody should look at once, though what is held goes on being served.
    pub(crate) fn is_alarm(&self) -> bool {
        matches!(
            self,
            Self::Forked { .. }
                | Self::Unverified { .. }
                | Self::KeyUntrusted { .. }
                | Self::Expired { .. }
        )
    }

    /// The code as text, whichever version of the product it is of.
    pub fn code_text(&self) -> &str {
        match self {
            Self::Refused(problem) => &problem.code,
            _ => self.code().map_or("INTERNAL", Code::as_str),
        }
    }

    /// What to do next.
    pub fn next(&self) -> String {
        match self {
            Self::UrlMissing => {
                "set CONTROL_PLANE_URL to a server such as `http://127.0.0.1:7400`, \
                or to a tree such as `file:platform/`"
                    .to_owned()
            }
            Self::EnvironmentMissing { known } => format!(
                "set CONTROL_PLANE_ENVIRONMENT{}, or name the environment in the call",
                choice(known)
            ),
            Self::Settings { setting, .. } => format!("correct {setting}"),
            Self::Invalid(found) => found
                .iter()
                .map(|it| it.next.clone())
                .next()
                .unwrap_or_else(|| "correct what was given".to_owned()),
            Self::NotReady { .. } => {
                "wait for `wait_ready`, and see `status()` for what hinders it; \
                a state directory (CONTROL_PLANE_STATE_DIR) or a bundled tree lets a start go on \
                without a server"
                    .to_owned()
            }
            Self::Closed => "make a new client, or close it later".to_owned(),
            Self::EnvironmentNotFound { known, .. } => {
                format!(
                    "correct the name{}, or create the environment",
                    choice(known)
                )
            }
            Self::Tree { .. } => "correct the files; `control-plane plan` says the same".to_owned(),
            Self::Refused(problem) => problem
                .next
                .clone()
                .unwrap_or_else(|| "correct what the server refused".to_owned()),
            Self::Unreachable { .. } => "start the server, or correct CONTROL_PLANE_URL; what is \
                held goes on being served"
                .to_owned(),
            Self::View { .. } => "look for a proxy that alters answers, and at the server's log; \
                what is held goes on being served"
                .to_owned(),
            Self::Forked { .. } => {
                "find out which server is right; to accept a restored one, raise \
                its epoch with `control-plane log recover`"
                    .to_owned()
            }
            Self::Unverified { .. } => "find out what alters answers between here and the server; \
                what is held goes on being served"
                .to_owned(),
            Self::KeyUntrusted { .. } => "compare with `control-plane server-key show` on the \
                server; if its key is right, set CONTROL_PLANE_SERVER_KEY to it"
                .to_owned(),
            Self::Expired { .. } => {
                "compare the clocks of both machines, and look for a proxy that \
                repeats old answers; what is held goes on being served"
                    .to_owned()
            }
            Self::TenantNotLoaded { .. } => {
                "ask again when a server answers; tenants that must be \
                answered for without one are loaded beforehand (`load_tenant`), kept in a state \
                directory, or held eagerly"
                    .to_owned()
            }
            Self::ConfigNotFound { .. } => {
                "correct the path (`document.key.key`), add the value, or give a default".to_owned()
            }
            Self::ConfigType { .. } => {
                "read it as what it is, or let the document's schema say its type".to_owned()
            }
            Self::NotPublished { kind, .. } => {
                format!(
                    "correct the name or the version; `control-plane {kind} list` shows what there is"
                )
            }
            Self::Resolve(error) => error.next(),
        }
    }
}

fn choice(known: &[String]) -> String {
    if known.is_empty() {
        String::new()
    } else {
        format!(" (there is: {})", known.join(", "))
    }
}

fn count(findings: usize) -> String {
    if findings == 1 {
        "a mistake".to_owned()
    } else {
        format!("{findings} mistakes")
    }
}

fn list(found: &[Violation]) -> String {
    let details: Vec<_> = found.iter().map(|it| it.detail.as_str()).collect();
    details.join("; ")
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().fold(String::new(), |mut text, finding| {
        let _ = write!(text, "\n  {finding}");
        text
    })
}
