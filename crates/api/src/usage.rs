//! How often flags are evaluated, and by whom.

use plane_model::{EnvironmentName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says how often an instance of a service has evaluated flags since it said so last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageRequest {
    /// The service.
    pub service: String,
    /// The service's version.
    #[serde(default)]
    pub service_version: String,
    /// Names this batch: one that is sent again, because its reply was lost, counts once.
    pub batch: String,
    /// The counts: at most 1,000.
    pub counts: Vec<UsageCount>,
}

/// How often a flag was evaluated to one variant for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageCount {
    /// The flag, whether it exists or not.
    pub flag: String,
    /// The variant; empty where the caller's default held.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Why, as `OpenFeature` names it, such as `STATIC`.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// When that was last.
    pub last_at: Timestamp,
}

/// What became of a [`UsageRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageReply {
    /// The server's revision.
    pub revision: u64,
    /// After how many seconds the instance should say what it has counted since.
    pub again_seconds: u64,
}

/// Who evaluates a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlagUsageReply {
    /// The flag.
    pub flag: String,
    /// The server's revision.
    pub revision: u64,
    /// How often it was evaluated in the last 90 days: by this server, and as far as instances have said by them.
    pub count: u64,
    /// When that was last; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
    /// By environment, service, version, variant and reason; of more than 1,000, those evaluated last.
    pub usage: Vec<FlagUsage>,
}

/// How often instances of one version of a service evaluated a flag to one variant for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct FlagUsage {
    /// The environment.
    pub environment: EnvironmentName,
    /// The service; where the server evaluated, the principal of the token that asked.
    pub service: String,
    /// Its version; empty if it does not say.
    pub service_version: String,
    /// The variant; empty where the caller's default held.
    pub variant: String,
    /// Why, as `OpenFeature` names it.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// Since when it is counted.
    pub first_at: Timestamp,
    /// When it was evaluated last.
    pub last_at: Timestamp,
}
