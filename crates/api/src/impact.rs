//! What a change would change for the tenants that are known.

use plane_model::{
    ArtifactName, Code, ConfigName, Digest, EnvironmentName, FlagKey, TenantId, VariantName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a change would change in one environment: for its tenants, each asked for as itself, without a user,
/// and for units that only requests name, such as users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// The environment.
    pub environment: EnvironmentName,
    /// The tenants that are known and that the caller may know of.
    pub tenants: usize,
    /// Those that were asked for: fewer than all, and evenly spread, only where all would take too long. All
    /// counts are of these.
    pub asked: usize,
    /// The flags that would give some tenant something else, by key.
    pub flags: Vec<FlagImpact>,
    /// The agents that some tenant would get differently, by name.
    pub agents: Vec<AgentImpact>,
    /// The config documents that would differ for some tenant, by name.
    pub configs: Vec<ConfigImpact>,
    /// The flags whose answers would change with what only requests tell, by key.
    pub units: Vec<UnitImpact>,
}

/// A flag that would give some tenants something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagImpact {
    /// The flag.
    pub flag: FlagKey,
    /// How many tenants it would give something else.
    pub tenants: usize,
    /// From what to what, the most frequent first.
    pub shifts: Vec<FlagShift>,
}

/// What a flag gives and would give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagShift {
    /// What it gives now.
    pub before: Given,
    /// What it would give.
    pub after: Given,
    /// To how many tenants.
    pub tenants: usize,
    /// Some of them: as many as were asked to be named.
    pub named: Vec<TenantId>,
}

/// What a flag gives; with neither variant nor error, the caller's default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// The variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantName>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Why it gives the caller's default though it should not, as `OpenFeature` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An agent that some tenants would get differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentImpact {
    /// The agent.
    pub agent: ArtifactName,
    /// How many tenants would get it differently.
    pub tenants: usize,
    /// From what to what, the most frequent first.
    pub shifts: Vec<AgentShift>,
}

/// How an agent is given and would be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentShift {
    /// What is given now.
    pub before: Offered,
    /// What would be given.
    pub after: Offered,
    /// To how many tenants.
    pub tenants: usize,
    /// Some of them: as many as were asked to be named.
    pub named: Vec<TenantId>,
}

/// What of an agent a tenant gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Offered {
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The digest of the manifests with overrides applied: where only this differs, parameters or tools do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_digest: Option<Digest>,
    /// Why it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Code>,
}

/// A config document that would differ for some tenants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigImpact {
    /// The document.
    pub document: ConfigName,
    /// For how many tenants.
    pub tenants: usize,
    /// Where it would differ for any of them, as JSON pointers; at most 50.
    pub pointers: Vec<String>,
    /// Some of the tenants: as many as were asked to be named.
    pub named: Vec<TenantId>,
}

/// A flag whose answers a change would change, or may change, for what only requests tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnitImpact {
    /// The flag.
    pub flag: FlagKey,
    /// What of a request the flag divides by, before or after: attributes such as `user.id`.
    pub by: Vec<String>,
    /// How many units were invented and asked for, spread over the known tenants; 0 if the flag divides by none.
    pub asked: usize,
    /// How many of those it would give something else: about the same share as of real ones.
    pub units: usize,
    /// From what to what, the most frequent first.
    pub shifts: Vec<UnitShift>,
    /// What else of a request its rules and targets ask for, where those change: what comes of that is not foreseen.
    pub unforeseen: Vec<String>,
}

/// What a flag gives and would give to invented units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnitShift {
    /// What it gives now.
    pub before: Given,
    /// What it would give.
    pub after: Given,
    /// To how many units.
    pub units: usize,
}
