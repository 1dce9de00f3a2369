//! Evaluations and effective configuration.

use std::collections::BTreeMap;

use plane_model::documents::Metadata;
use plane_model::{PrincipalId, VariantName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Asks what flags are for a context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluateRequest {
    /// The flags; all of the environment if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    /// What is known: `targetingKey`, `tenant`, `user`, `agent`, `conversation`, `attributes`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// At most this share of the units, in percent, is given true by the rules and the default of a boolean flag, as
    /// a caller of an SDK may ask; pins and targets are exempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub rollout_percentage: Option<f64>,
    /// Whether each result tells the path that was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
}

/// What flags are for a context, all at one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluateReply {
    /// The revision that was read.
    pub revision: u64,
    /// The result of each flag, by its key.
    pub flags: BTreeMap<String, FlagReply>,
    /// What is odd about the request: `TENANT_UNKNOWN`; `UNIT_NOT_ASCII` where the environment's bucketing is
    /// `flagd-v2`, whose implementations do not agree about such units.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What one flag is for a context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagReply {
    /// The value; absent where the caller's default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The variant; absent where the caller's default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantName>,
    /// Why, as `OpenFeature` names it.
    pub reason: String,
    /// Why not, as `OpenFeature` names it; present if and only if the reason is `ERROR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<String>,
    /// The rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// About the result.
    pub metadata: FlagMetadata,
    /// The path that was taken, rule by rule, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Value>,
}

/// About the result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlagMetadata {
    /// The revision of the last change of the flag in this environment.
    pub revision: u64,
    /// How units are hashed to slots.
    pub bucketing: String,
    /// What the flag's own metadata say.
    #[serde(flatten)]
    pub own: Metadata,
}

/// What a config document is for a context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveReply {
    /// The document with all its layers merged.
    pub value: Value,
    /// The revision that was read.
    pub revision: u64,
    /// The layers that apply, from the weakest to the strongest.
    pub layers: Vec<String>,
}

/// Where a value of a config document comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainReply {
    /// The value.
    pub value: Value,
    /// The layer that sets it; `default` if the schema does, `merged` if several layers have a part.
    pub layer: String,
    /// The revision at which that layer was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Who changed it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<PrincipalId>,
    /// The values of weaker layers, from the strongest to the weakest.
    pub shadowed: Vec<ShadowedValue>,
}

/// A value that a stronger layer hides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShadowedValue {
    /// The layer; `default` if the schema says it.
    pub layer: String,
    /// The value there.
    pub value: Value,
    /// The revision at which that layer was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// That the process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthReply {
    /// Always `ok`.
    pub status: String,
}

/// Whether the node serves what the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadyReply {
    /// Whether it does.
    pub ready: bool,
    /// The revision that it has applied.
    pub revision: u64,
    /// How often the log was recovered from a backup.
    pub epoch: u64,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
