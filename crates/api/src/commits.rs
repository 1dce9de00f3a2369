//! Commits: what is asked for, what would change, and what came of it.

use plane_model::{ArtifactName, Digest, Kind, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DocumentName, Impact, PlannedInstances};

/// An atomic list of changes to documents of any kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRequest {
    /// Why, for those who read the log later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is done to which document; each document occurs once.
    pub ops: Vec<OpRequest>,
}

/// What is done to one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpRequest {
    /// Put or delete.
    pub op: OpChange,
    /// The kind.
    pub kind: Kind,
    /// The scope; left out where the kind has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The name.
    pub name: String,
    /// What the document says afterwards; for agents and tools the manifest. Only with `put`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Only if the document was last changed at this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Only if the document is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_absent: bool,
}

/// Put or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OpChange {
    /// The document is there afterwards, with the body of the operation.
    Put,
    /// The document is not there afterwards.
    Delete,
}

/// Where a commit stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The revision at which everything is as it was asked for.
    pub revision: u64,
    /// The hash of the log's record at that revision.
    pub hash: Digest,
    /// When it was committed.
    pub at: Timestamp,
    /// False if everything was as asked for already, so that nothing was written.
    pub changed: bool,
    /// Whether an earlier request with the same idempotency key did it.
    pub repeated: bool,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// Where it stands in the log.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// What changed.
    pub plan: Plan,
}

/// What a commit would do; the answer to a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// What would change.
    pub plan: Plan,
}

/// The answer to a write: what it did, or with `dry_run=true` what it would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CommitReply {
    /// It was committed.
    Committed(Committed),
    /// It was a dry run.
    Planned(Planned),
}

impl CommitReply {
    /// What changed or would change.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Committed(it) => &it.plan,
            Self::Planned(it) => &it.plan,
        }
    }

    /// Where it stands in the log; none for a dry run.
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Committed(it) => Some(&it.receipt),
            Self::Planned(_) => None,
        }
    }
}

/// The answer to publishing a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PublishReply {
    /// The agent or tool.
    pub name: ArtifactName,
    /// The version.
    pub version: String,
    /// The digest of the manifest: its `checksum_sha256`. Absent in a dry run of a manifest that
    /// was not signed, whose date is set by publishing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What was committed.
    #[serde(flatten)]
    pub commit: CommitReply,
}

/// What a command changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The revision that it was made against.
    pub revision: u64,
    /// The changes, in the order of the documents' names; empty if there is nothing to do.
    pub changes: Vec<PlannedChange>,
    /// The environments that are touched; all of them where a document holds in every one.
    pub environments: Vec<String>,
    /// The tenants that a changed document is bound to.
    pub tenants: Vec<TenantId>,
    /// What it would change for the tenants that are known, where it changes anything; in dry runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impact: Vec<Impact>,
    /// What live instances would make of it; in dry runs, where instances are live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<PlannedInstances>,
}

/// What a command does to one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedChange {
    /// The kind.
    pub kind: Kind,
    /// The scope; empty where the kind has none.
    pub scope: String,
    /// The name.
    pub name: String,
    /// What becomes of it.
    pub effect: Effect,
    /// Where it differs: one entry for every value that is added, changed or removed.
    pub diff: Vec<Difference>,
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What is there before; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there afterwards; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Asks to take earlier commits back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevertRequest {
    /// The first revision to take back.
    pub from: u64,
    /// The last one; the first if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Only documents of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only documents of this scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Only documents of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why.
    pub reason: String,
}

/// What came of taking commits back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevertReply {
    /// Where the new commit stands in the log; absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Receipt>,
    /// What changed or would change.
    pub plan: Plan,
    /// Documents of kinds that are not taken back: published versions, kills and access.
    pub excluded: Vec<DocumentName>,
}
