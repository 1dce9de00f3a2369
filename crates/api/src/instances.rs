//! What the instances of services say of the revisions that they hold, and what that adds up to.

pub use plane_model::{AgentContract, Contract};
use plane_model::{Digest, EnvironmentName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an instance did about a revision.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AckState {
    /// It serves the revision.
    Applied,
    /// It does not serve part of the revision, or all of it, and says why; what it had before still serves.
    Rejected,
    /// It has crashed with the revision, or parts of it, and serves what it had before until they change.
    HeldBack,
}

/// Something of a revision that an instance does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AckProblem {
    /// What it is about, such as `config:ai`, `flag:new_search`, `agent:support` or `view`.
    pub subject: String,
    /// Where in it, as a JSON pointer; empty for all of it.
    #[serde(default)]
    pub pointer: String,
    /// Why, in the instance's words.
    pub detail: String,
    /// The revision since which it is so; 0 if the instance does not know.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the serializer passes the field as it is"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Says what an instance of a service holds. The last one of an instance counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// The service.
    pub service: String,
    /// The service's version.
    #[serde(default)]
    pub service_version: String,
    /// Tells the instance from others of the service.
    pub instance: String,
    /// The SDK and its version, such as `rust/0.1.0`.
    #[serde(default)]
    pub sdk: String,
    /// The revision that it serves; 0 for none.
    pub serves: u64,
    /// The revision that the rest is about: the newest one it has seen.
    pub revision: u64,
    /// What it did about that revision.
    pub state: AckState,
    /// What of it it does not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<AckProblem>,
    /// The digest of what it relies on, in canonical JSON; absent if it relies on nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_digest: Option<Digest>,
    /// What it relies on, if the server asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
}

/// What became of an [`AckRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AckReply {
    /// The server's revision.
    pub revision: u64,
    /// After how many seconds the instance should say it again, changed or not.
    pub again_seconds: u64,
    /// Whether the server does not have what the digest of the contract names: the instance should
    /// send its contract next time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wants_contract: bool,
}

/// How many instances are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InstanceCounts {
    /// All that were heard of lately.
    pub total: u64,
    /// Serve the revision, or a later one.
    pub applied: u64,
    /// Have rejected it, or a part of it.
    pub rejected: u64,
    /// Hold it back, because they crashed with it.
    pub held_back: u64,
    /// Are there and serve an earlier revision.
    pub lagging: u64,
    /// Were not heard of for a while, and served an earlier revision then.
    pub silent: u64,
}

/// The instances of one version of a service in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// The environment.
    pub environment: EnvironmentName,
    /// The service.
    pub service: String,
    /// Its version; empty if it does not say.
    pub service_version: String,
    /// How many are where.
    pub instances: InstanceCounts,
}

/// An instance that does not serve a revision as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// The environment.
    pub environment: EnvironmentName,
    /// The service.
    pub service: String,
    /// Its version.
    pub service_version: String,
    /// The instance.
    pub instance: String,
    /// The revision that it serves.
    pub serves: u64,
    /// What it did: rejected or held back; absent if it lags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AckState>,
    /// Why.
    pub problems: Vec<AckProblem>,
    /// When it was last heard of.
    pub heard_at: Timestamp,
}

/// How far a revision has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionStatusReply {
    /// The revision.
    pub revision: u64,
    /// All instances together.
    pub instances: InstanceCounts,
    /// By environment, service and version.
    pub services: Vec<ServiceStatus>,
    /// Those that do not serve it as it is, at most 1,000.
    pub behind: Vec<InstanceStatus>,
}

/// What the live instances of services would make of a plan, by what they say they rely on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlannedInstances {
    /// The live instances in the environments that the plan touches.
    pub live: u64,
    /// Of them, those that rely on something that the server does not know yet: nothing is said of them.
    pub unknown: u64,
    /// The services that would reject a part of what the plan leads to.
    pub rejections: Vec<PlannedRejection>,
}

/// Live instances of one version of a service that would reject a part of what a plan leads to, and
/// go on with what they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRejection {
    /// The environment.
    pub environment: EnvironmentName,
    /// The service.
    pub service: String,
    /// Its version; empty if it does not say.
    pub service_version: String,
    /// How many instances would reject it.
    pub instances: u64,
    /// How many live instances of the version there are.
    pub live: u64,
    /// What they rely on and would no longer be so: at most 20.
    pub breaches: Vec<PlannedBreach>,
}

/// Something that a service relies on and would no longer be so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PlannedBreach {
    /// What it is about, such as `config:ai`, `flag:new_search` or `agent:support`.
    pub subject: String,
    /// Where in it, as a JSON pointer; empty for all of it.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}
