//! Where and for whom: environments, tenants, segments.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Labels, check_prose, over_limit};
use crate::{Code, Expr, Label, Pointer, Violation, Violations, limits};

/// How units are hashed to slots.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Bucketing {
    /// `MurmurHash3` over the CBOR text string of salt and unit.
    #[default]
    #[serde(rename = "flagd-v3")]
    FlagdV3,
    /// `MurmurHash3` over the bare bytes of salt and unit.
    #[serde(rename = "flagd-v2")]
    FlagdV2,
}

impl Bucketing {
    /// The name, as it stands in documents and in the metadata of an evaluation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlagdV3 => "flagd-v3",
            Self::FlagdV2 => "flagd-v2",
        }
    }
}

/// A place where the platform runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Environment {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it stands when environments are listed; the smallest first.
    #[serde(default)]
    pub order: u32,
    /// Whether changes need approval.
    #[serde(default)]
    pub protected: bool,
    /// How units are hashed; once the environment exists, only a migration changes it.
    #[serde(default)]
    pub bucketing: Bucketing,
}

impl Environment {
    pub(super) fn check(&self, found: &mut Violations) {
        check_prose("/description", self.description.as_deref(), found);
        if self.protected {
            found.push(
                Violation::new(
                    Code::ProtectionUnavailable,
                    "/protected",
                    "a protected environment needs approvals, which this version does not have",
                )
                .next("set `protected: false`, and limit who may write by roles and tokens"),
            );
        }
    }
}

/// Whether a tenant is served.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// It is.
    #[default]
    Active,
    /// It is known, and rules can tell by `tenant.status`.
    Suspended,
}

impl TenantStatus {
    /// The status as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// A customer of the platform, and what the platform knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tenant {
    /// What it pays for; rules read it as `tenant.plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Label>,
    /// Where it is served; rules read it as `tenant.region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Label>,
    /// What else is known; rules read it as `tenant.labels.NAME`.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Whether it is served.
    #[serde(default)]
    pub status: TenantStatus,
}

impl Tenant {
    pub(super) fn check(&self, found: &mut Violations) {
        if self.labels.len() > limits::LABELS_MAX {
            found.push(over_limit("/labels", "labels", limits::LABELS_MAX));
        }
        for (name, text) in self.labels.iter() {
            let pointer = Pointer::root().key("labels").key(name);
            if let Err(error) = Label::new(name) {
                found.push(error.at(pointer.as_str()));
            }
            check_prose(pointer.as_str(), Some(text), found);
        }
    }
}

/// A set of ids that rules can name.
///
/// An id that is included is in it, whatever else is said; one that is excluded is not; of all
/// others the expression decides, and without one they are not in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Segment {
    /// Whom it gathers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The ids that are in it.
    #[serde(default)]
    pub include: BTreeSet<String>,
    /// The ids that are not in it, even where `when` holds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<String>,
    /// Whom it gathers besides: those for whose context this is true. May name other segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
}

impl Segment {
    pub(super) fn check(&self, found: &mut Violations) {
        check_prose("/description", self.description.as_deref(), found);
        for (pointer, ids) in [("/include", &self.include), ("/exclude", &self.exclude)] {
            if ids.len() > limits::SEGMENT_IDS_MAX {
                found.push(over_limit(pointer, "ids", limits::SEGMENT_IDS_MAX));
            }
        }
        if let Some(both) = self.include.intersection(&self.exclude).next() {
            let shown: String = both.chars().take(80).collect();
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "/exclude",
                    format!("`{shown}` is both included and excluded"),
                )
                .next("leave it in one of the two lists"),
            );
        }
        if let Some(when) = &self.when {
            when.check("/when", found);
        }
    }
}
