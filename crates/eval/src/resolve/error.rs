//! Why an agent cannot be resolved.

use std::fmt;

use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, EnvironmentName, TenantId,
};

/// A version of an agent or a tool that a resolve is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it is.
    pub kind: ArtifactKind,
    /// Which.
    pub version: ArtifactVersion,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.version)
    }
}

/// Why an agent cannot be resolved.
///
/// None of these goes away by asking again; each says in [`ResolveError::next`] what makes it go away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The environment does not exist; made by whoever looks up the view.
    #[error("the environment `{environment}` does not exist")]
    EnvironmentNotFound {
        /// As it was asked for.
        environment: String,
    },
    /// No version of the agent is published.
    #[error("no version of the agent `{agent}` is published")]
    AgentNotFound {
        /// Which.
        agent: ArtifactName,
    },
    /// The agent is killed, and the kill names no fallback.
    #[error("the agent `{agent}` is killed{}: {reason}", for_tenant(.tenant.as_ref()))]
    AgentKilled {
        /// Which.
        agent: ArtifactName,
        /// The tenant, if the kill is for one.
        tenant: Option<TenantId>,
        /// Why.
        reason: String,
    },
    /// The agent has no channel in the environment.
    #[error("the agent `{agent}` has no channel in `{environment}`")]
    ChannelNotFound {
        /// Which.
        agent: ArtifactName,
        /// Where.
        environment: EnvironmentName,
    },
    /// The version that a channel, a pin, a fallback or a lock names is not published.
    #[error("`{subject}` is not published")]
    VersionNotFound {
        /// Which.
        subject: Subject,
    },
    /// The version is revoked.
    #[error("`{subject}` is revoked: {message}")]
    VersionRevoked {
        /// Which.
        subject: Subject,
        /// Why.
        message: String,
    },
    /// The version is quarantined.
    #[error("`{subject}` is quarantined: {message}")]
    VersionQuarantined {
        /// Which.
        subject: Subject,
        /// Why.
        message: String,
    },
    /// The manifest or the lock is not held here, or cannot be read.
    #[error("the {what} of `{subject}` {detail}")]
    ManifestMissing {
        /// Whose.
        subject: Subject,
        /// `manifest` or `lock`.
        what: &'static str,
        /// How it is missing.
        detail: String,
    },
    /// The bytes held, or the digest in the lock, are not the ones that were published.
    #[error("the {what} of `{subject}` has the digest {found}, not {expected}")]
    DigestMismatch {
        /// Whose.
        subject: Subject,
        /// `manifest` or `lock`.
        what: &'static str,
        /// The digest that was published or locked.
        expected: Box<Digest>,
        /// The digest that was met.
        found: Box<Digest>,
    },
    /// The publisher's signatures do not hold.
    #[error("the signatures of `{subject}` do not hold: {detail}")]
    SignatureInvalid {
        /// Whose.
        subject: Subject,
        /// Why.
        detail: String,
    },
}

fn for_tenant(tenant: Option<&TenantId>) -> String {
    tenant
        .map(|tenant| format!(" for `{tenant}`"))
        .unwrap_or_default()
}

impl ResolveError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::EnvironmentNotFound { .. } => Code::EnvironmentNotFound,
            Self::AgentNotFound { .. } => Code::AgentNotFound,
            Self::AgentKilled { .. } => Code::AgentKilled,
            Self::ChannelNotFound { .. } => Code::ChannelNotFound,
            Self::VersionNotFound { .. } => Code::VersionNotFound,
            Self::VersionRevoked { .. } => Code::VersionRevoked,
            Self::VersionQuarantined { .. } => Code::VersionQuarantined,
            Self::ManifestMissing { .. } => Code::ManifestMissing,
            Self::DigestMismatch { .. } => Code::DigestMismatch,
            Self::SignatureInvalid { .. } => Code::SignatureInvalid,
        }
    }

    /// What it is about: `environment:NAME`, `agent:NAME`, or `agent:` or `tool:NAME@VERSION`.
    pub fn subject(&self) -> String {
        match self {
            Self::EnvironmentNotFound { environment } => format!("environment:{environment}"),
            Self::AgentNotFound { agent }
            | Self::AgentKilled { agent, .. }
            | Self::ChannelNotFound { agent, .. } => format!("agent:{agent}"),
            Self::VersionNotFound { subject }
            | Self::VersionRevoked { subject, .. }
            | Self::VersionQuarantined { subject, .. }
            | Self::ManifestMissing { subject, .. }
            | Self::DigestMismatch { subject, .. }
            | Self::SignatureInvalid { subject, .. } => subject.to_string(),
        }
    }

    /// What is wrong, in the user's terms.
    pub fn detail(&self) -> String {
        self.to_string()
    }

    /// What to do next.
    pub fn next(&self) -> String {
        match self {
            Self::EnvironmentNotFound { .. } => {
                "correct the name, or create the environment".to_owned()
            }
            Self::AgentNotFound { agent } => {
                format!("correct the name, or publish a version of `{agent}`")
            }
            Self::AgentKilled { agent, .. } => format!(
                "wait until `agent:{agent}` is revived, or give the kill a `fallback` version"
            ),
            Self::ChannelNotFound { agent, environment } => {
                format!("give it one: `control-plane channel set {agent} VERSION -e {environment}`")
            }
            Self::VersionNotFound { subject } => {
                format!("publish `{subject}`, or choose a published version")
            }
            Self::VersionRevoked { subject, .. } | Self::VersionQuarantined { subject, .. } => {
                match subject.kind {
                    ArtifactKind::Agent => {
                        "point the channel or the pin to another version".to_owned()
                    }
                    ArtifactKind::Tool => {
                        "promote a version of the agent whose lock names another version of the tool"
                            .to_owned()
                    }
                }
            }
            Self::ManifestMissing { subject, .. } => format!(
                "fetch it, or restore it from a backup, or publish `{subject}` again with the same content"
            ),
            Self::DigestMismatch { .. } => {
                "restore the store from a backup; the altered bytes are not served".to_owned()
            }
            Self::SignatureInvalid { subject, .. } => {
                format!("sign `{subject}` with a trusted key, or restore the trust of the key that signed it")
            }
        }
    }
}
