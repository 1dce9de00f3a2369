//! Views and streams: how documents reach those who evaluate them.

use std::collections::BTreeMap;

use plane_model::{Digest, EnvironmentName, Kind, PrincipalId, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format of views that this version writes.
pub const VIEW_FORMAT: u32 = 1;

/// Everything of one environment that the caller may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewReply {
    /// The format of this reply.
    pub format: u32,
    /// The log that it is a view of.
    pub log: String,
    /// The revision.
    pub revision: u64,
    /// The hash of the log's record at that revision.
    pub head: Digest,
    /// The environment.
    pub environment: EnvironmentName,
    /// How often the log was recovered from a backup: a lower revision is newer only with a higher epoch.
    pub epoch: u64,
    /// For whom it was narrowed: `all` who see all tenants, or `token:ID:` and the first 16 hex digits of the
    /// SHA-256 of the token.
    pub audience: String,
    /// The digest over all documents: whoever computes another one has not received what was sent.
    pub root: Digest,
    /// The documents, in the order of their kinds, scopes and names.
    pub documents: Vec<ViewDocument>,
    /// With `on_demand`: the tenants that have a part, and its digest; their documents are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<BTreeMap<TenantId, Digest>>,
    /// Manifests and locks that the documents refer to, by digest.
    pub blobs: BTreeMap<Digest, String>,
}

/// The part of a view that is a tenant's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewPartReply {
    /// The format of this reply.
    pub format: u32,
    /// The revision.
    pub revision: u64,
    /// The environment.
    pub environment: EnvironmentName,
    /// The tenant.
    pub tenant: TenantId,
    /// The digest of the part, by which views and changes name it.
    pub digest: Digest,
    /// The documents.
    pub documents: Vec<ViewDocument>,
}

/// A statement and the signature over it.
///
/// What is signed is the text of `payload` as it stands here, with the type of statement before it (DSSE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signed {
    /// The statement in canonical JSON.
    pub payload: String,
    /// The signature: `ed25519:`, the id of the key, `:`, and 64 bytes in base64.
    pub signature: String,
}

/// The keys that a server signs heads of views with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeysReply {
    /// The keys, the oldest first; the last one signs.
    pub keys: Vec<ServerKey>,
}

/// A key that a server signs with, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerKey {
    /// The public key: `ed25519:` and 32 bytes in base64.
    pub key: String,
    /// Its id: the SHA-256 of its canonical TUF object, in hex.
    pub key_id: String,
    /// What the key before says of this one; absent for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<Signed>,
}

/// One document of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewDocument {
    /// The kind.
    pub kind: Kind,
    /// The scope; empty where the kind has none.
    pub scope: String,
    /// The name.
    pub name: String,
    /// The tenant in whose part it counts; absent if it is shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The revision of its last change.
    pub revision: u64,
    /// What it says; for agents and tools what the registry keeps beside the manifest.
    pub body: Value,
}

/// Event `change`: one commit, as far as the caller may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeEvent {
    /// The revision.
    pub revision: u64,
    /// The documents that changed.
    pub documents: Vec<ViewChange>,
    /// The digests that the parts of the tenants among them have now, or will have by the next head; null of a
    /// part that is gone. Absent while the server prepares them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<TenantId, Option<Digest>>,
    /// The head of the view after this and all changes before it; absent if another change follows at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// One document that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewChange {
    /// The kind.
    pub kind: Kind,
    /// The scope; empty where the kind has none.
    pub scope: String,
    /// The name.
    pub name: String,
    /// The tenant in whose part it counts; absent if it is shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The revision of the change.
    pub revision: u64,
    /// What it says now; null if it is gone.
    pub body: Option<Value>,
}

/// Event `alert`: somebody stopped a flag, an agent or a tool, or revived it, or what was scheduled failed.
///
/// It comes before the event that tells the change and has no id: who resumes may be told twice. Of what is told
/// by `refetch` because too much was missed there are no alerts; `GET /v1/commits?kind=kill` and `?kind=schedule`
/// have them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertEvent {
    /// What happened.
    pub rule: AlertRule,
    /// How urgent it is: `critical` or `info`.
    pub severity: AlertSeverity,
    /// The environment.
    pub environment: EnvironmentName,
    /// The tenant for whom alone; absent if for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// `flag:KEY`, `agent:NAME`, `tool:NAME` or `schedule:NAME`.
    pub subject: String,
    /// Why it was stopped, or why it failed; why it was revived is in the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who did it: whoever may know of a stop may read its commit, which says so too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<PrincipalId>,
    /// The revision of the commit.
    pub revision: u64,
    /// When it was committed.
    pub at: Timestamp,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertRule {
    /// It was stopped, or the stop was changed.
    Killed,
    /// It was revived.
    Revived,
    /// What was scheduled could not be done when it was due.
    ScheduleFailed,
}

impl AlertRule {
    /// The rule as it stands in events, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Revived => "revived",
            Self::ScheduleFailed => "schedule-failed",
        }
    }

    /// How urgent alerts of the rule are.
    pub const fn severity(self) -> AlertSeverity {
        match self {
            Self::Killed | Self::ScheduleFailed => AlertSeverity::Critical,
            Self::Revived => AlertSeverity::Info,
        }
    }
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertSeverity {
    /// Somebody should look at once.
    Critical,
    /// Good to know.
    Info,
}

impl AlertSeverity {
    /// The severity as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Info => "info",
        }
    }
}

/// Event `refetch`: fetch the whole view, for the change is large, or some were missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefetchEvent {
    /// The revision that the view has at least.
    pub revision: u64,
}

/// Event `bookmark`: up to here nothing changed that the caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BookmarkEvent {
    /// The revision.
    pub revision: u64,
    /// The head of the view at this revision; absent while the server prepares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// Event `goaway`: the node ends the stream; connect again after the delay, with `Last-Event-ID`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoawayEvent {
    /// Why.
    pub reason: String,
    /// How long to wait, in milliseconds.
    pub retry_ms: u64,
}
