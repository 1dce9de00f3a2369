//! Flags that have done what they were made for.

use plane_model::documents::Lifecycle;
use plane_model::{FlagKey, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A flag that should be gone, or is gone and still asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StaleFlag {
    /// The flag.
    pub flag: FlagKey,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// When services evaluated it last in this environment; absent if none has said so in 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
    /// What is found, and what to do about it; at least one.
    pub findings: Vec<StaleFinding>,
}

/// What is found about a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StaleFinding {
    /// What.
    pub rule: StaleRule,
    /// The same in words.
    pub detail: String,
    /// What to do about it.
    pub next: String,
}

/// Why a flag should go, or should not have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaleRule {
    /// It should have been gone by now.
    Expired,
    /// It is archived, and services still ask for it.
    ArchivedButUsed,
    /// No service has said that it evaluates it, and nobody has changed it.
    NeverEvaluated,
    /// Everybody is given the same by its targeting, and nobody has changed it.
    Settled,
    /// Everybody who asked was given the same.
    OneVariant,
}

impl StaleRule {
    /// The rule in words, for a table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::ArchivedButUsed => "archived but used",
            Self::NeverEvaluated => "never evaluated",
            Self::Settled => "settled",
            Self::OneVariant => "one variant",
        }
    }
}
