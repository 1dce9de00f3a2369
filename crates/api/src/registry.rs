//! Published agents and tools.

use plane_model::documents::{Status, StatusState};
use plane_model::{ArtifactName, Digest, PrincipalId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent or a tool, with its newest version in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactSummary {
    /// The name.
    pub name: ArtifactName,
    /// The highest version that is active, else the highest there is.
    pub latest: String,
    /// What it is, as the manifest of that version says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it, as that manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is for, as that manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What it can do, as that manifest says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Its versions, the highest first.
    pub versions: Vec<VersionSummary>,
}

/// One published version in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionSummary {
    /// The version.
    pub version: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// When it was published.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: PrincipalId,
    /// How far it may be used.
    pub status: StatusState,
}

/// One published version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionReply {
    /// The agent or tool.
    pub name: ArtifactName,
    /// The version.
    pub version: String,
    /// The whole manifest, with its checksum and signatures.
    pub manifest: Value,
    /// The digest of the manifest's canonical bytes: its checksum.
    pub digest: Digest,
    /// When it was published.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: PrincipalId,
    /// Whether its signatures hold by today's keys.
    pub signature: SignatureReply,
    /// How far it may be used.
    pub status: Status,
    /// The digest of the lock that publishing resolved; agents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_digest: Option<Digest>,
    /// That lock: every tool with its version and digest; agents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Value>,
    /// The revision at which it was published.
    pub revision: u64,
}

/// What is known of a version's signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignatureReply {
    /// The verdict.
    pub state: SignatureState,
    /// The keys whose signatures hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What is wrong, if they are invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A verdict about signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureState {
    /// Enough trusted keys signed it.
    Verified,
    /// Nobody signed it, and its namespace does not require that.
    Unsigned,
    /// They do not hold.
    Invalid,
}
