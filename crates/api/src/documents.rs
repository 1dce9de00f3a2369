//! Documents as they are read.

use plane_model::documents::Bucketing;
use plane_model::{ConfigName, Digest, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One document with its name, and the revision of its last change, which is its `ETag`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Document_{T}")]
pub struct DocumentReply<T = Value> {
    /// The kind.
    pub kind: Kind,
    /// The scope; empty where the kind has none.
    pub scope: String,
    /// The name.
    pub name: String,
    /// The revision of the last change: send it back as `If-Match` with an update.
    pub revision: u64,
    /// The digest of the body in canonical JSON.
    pub digest: Digest,
    /// What the document says.
    pub body: T,
}

/// The name of a document.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct DocumentName {
    /// The kind.
    pub kind: Kind,
    /// The scope; empty where the kind has none.
    #[serde(default)]
    pub scope: String,
    /// The name.
    pub name: String,
}

/// Asks to have units hashed in another way in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketingRequest {
    /// How they are hashed from then on.
    pub bucketing: Bucketing,
    /// Why: nearly every user of a percentage may move to another variant.
    pub reason: String,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "List_{T}")]
pub struct List<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Where the next page begins: send it as `cursor`; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The revision that was read.
    pub revision: u64,
}

/// A config document: what there is of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigSummary {
    /// The name.
    pub document: ConfigName,
    /// Whether it has a schema.
    pub has_schema: bool,
    /// How many of its layers the caller may see.
    pub layers: u64,
}
