//! The log as it is read.

use plane_model::{Digest, PrincipalId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{OpChange, PlannedChange};

/// One commit of the log, without the documents' contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRecord {
    /// Its place in the log.
    pub revision: u64,
    /// The hash of the record before it.
    pub parent: Digest,
    /// The idempotency key of the request.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: PrincipalId,
    /// What kind of change: write, apply, kill, revive, revert or access.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Through what.
    pub source: String,
    /// The documents that were put and deleted, as far as the caller may know of them.
    pub ops: Vec<CommitRecordOp>,
}

/// What a commit did to one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRecordOp {
    /// Put or delete.
    pub op: OpChange,
    /// The kind; a later version may have written kinds that this one does not know.
    pub kind: String,
    /// The scope.
    pub scope: String,
    /// The name.
    pub name: String,
}

/// One commit with what it changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordReply {
    /// The commit.
    #[serde(flatten)]
    pub record: CommitRecord,
    /// Each changed document, with what was there before and after.
    pub changes: Vec<PlannedChange>,
}
