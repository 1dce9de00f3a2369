//! Whole trees of documents: applied and exported.

use plane_model::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DocumentName, Plan, Receipt};

/// A tree to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TreeRequest {
    /// Everything that the tree holds; pointers of problems begin with `/documents/INDEX`.
    pub documents: Vec<TreeDocument>,
    /// Delete what an earlier tree put and this one no longer has; never published versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune: bool,
    /// Overwrite what people changed since the tree was last applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One document of a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TreeDocument {
    /// The kind.
    pub kind: Kind,
    /// The scope; left out where the kind has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The name.
    pub name: String,
    /// What it says; for agents and tools the manifest.
    pub body: Value,
}

/// What came of applying a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TreeReply {
    /// Where the commit stands in the log; absent for a dry run and where nothing was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Receipt>,
    /// What changed or would change.
    pub plan: Plan,
    /// What people changed, and the tree leaves as it is.
    pub kept: Vec<DocumentName>,
    /// What the tree no longer has, and stays.
    pub left: Vec<DocumentName>,
}

/// Everything that a tree can hold, for export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TreesReply {
    /// The documents, in the order of their names; agents and tools as whole manifests.
    pub documents: Vec<TreeDocument>,
    /// The revision that was read.
    pub revision: u64,
}
