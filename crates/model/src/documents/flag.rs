//! Flags, kills and pins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::metadata::{self, Metadata};
use super::{check_prose, check_reason, over_limit};
use crate::{
    ArtifactName, Code, DocumentKey, Timestamp, VariantName, Violation, Violations, limits,
};

/// The type of a flag's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlagType {
    /// True or false.
    Boolean,
    /// A string.
    String,
    /// A whole number within ±(2^53 − 1).
    Integer,
    /// A number.
    Float,
    /// A JSON object.
    Object,
}

impl FlagType {
    /// The type as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Object => "object",
        }
    }

    /// Says whether `value` is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Float => value.is_number(),
            Self::Object => value.is_object(),
        }
    }
}

/// The variants of a flag: their names and values.
pub type Variants = BTreeMap<VariantName, Value>;

/// A flag: what it can be, not who gets what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Flag {
    /// The type of all its values.
    #[serde(rename = "type")]
    pub kind: FlagType,
    /// Its variants; a boolean flag has `on` and `off` unless it names others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variants: Variants,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it is there for, which says whether it should ever be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// When it should be gone; it goes on working after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether it is retired: evaluating it is then like evaluating an unknown flag.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// What is told wherever it is evaluated, to browsers too: nothing secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: Metadata,
    /// What its variants change in the manifests of agents and tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
}

/// What a flag is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Brings a change to more and more users, and should be gone when all have it.
    Release,
    /// Compares variants, and should be gone when one has won.
    Experiment,
    /// Sets how the platform works, for good.
    Operational,
    /// Says who may use what, for good.
    Permission,
    /// Stops something in an emergency, and is there for good.
    KillSwitch,
}

impl Lifecycle {
    /// Says whether the flag should be gone some day.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Release | Self::Experiment)
    }
}

/// What the variants of a flag change in manifests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Overrides {
    /// The agents that are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Applies>,
    /// The tools that are changed, in whichever agent they are locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Applies>,
    /// Where two flags change the same path, the larger priority wins.
    #[serde(default)]
    pub priority: i32,
    /// For each variant a JSON merge patch on the manifest's `metadata`.
    pub patches: BTreeMap<VariantName, Map<String, Value>>,
}

/// Which agents or tools something applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "`all` or a list of names")]
pub enum Applies {
    /// The word `all`.
    All(All),
    /// These.
    Names(Vec<ArtifactName>),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum All {
    /// All there are.
    #[serde(rename = "all")]
    All,
}

impl Applies {
    /// Says whether it applies to `name`.
    pub fn to(&self, name: &ArtifactName) -> bool {
        match self {
            Self::All(All::All) => true,
            Self::Names(names) => names.contains(name),
        }
    }
}

impl Flag {
    /// The variant that a boolean flag is off with.
    pub const OFF: &'static str = "off";

    /// The flag's variants, with those that a boolean flag has without naming them.
    pub fn all_variants(&self) -> Variants {
        if self.variants.is_empty() && self.kind == FlagType::Boolean {
            [("off", false), ("on", true)]
                .into_iter()
                .filter_map(|(name, value)| Some((VariantName::new(name).ok()?, value.into())))
                .collect()
        } else {
            self.variants.clone()
        }
    }

    pub(super) fn check(&self, found: &mut Violations) {
        check_prose("/description", self.description.as_deref(), found);
        check_prose("/owner", self.owner.as_deref(), found);
        if self.tags.len() > limits::LABELS_MAX {
            found.push(over_limit("/tags", "tags", limits::LABELS_MAX));
        }
        for (index, tag) in self.tags.iter().enumerate() {
            check_prose(&format!("/tags/{index}"), Some(tag), found);
        }
        metadata::check(&self.metadata, found);
        let variants = self.all_variants();
        if variants.is_empty() {
            found.push(
                Violation::new(
                    Code::FieldMissing,
                    "/variants",
                    format!("a flag of type {} has no variants", self.kind.as_str()),
                )
                .next("add `variants` with at least one name and value"),
            );
        }
        if variants.len() > limits::FLAG_VARIANTS_MAX {
            found.push(over_limit(
                "/variants",
                "variants",
                limits::FLAG_VARIANTS_MAX,
            ));
        }
        for (name, value) in &variants {
            if !self.kind.admits(value) {
                found.push(
                    Violation::new(
                        Code::VariantTypeMismatch,
                        format!("/variants/{name}"),
                        format!(
                            "the value of `{name}` is not of type {}",
                            self.kind.as_str()
                        ),
                    )
                    .next("change the value or the flag's type"),
                );
            }
        }
        if let Some(overrides) = &self.overrides {
            overrides.check(&variants, found);
        }
    }
}

impl Overrides {
    fn check(&self, variants: &Variants, found: &mut Violations) {
        if self.agents.is_none() && self.tools.is_none() {
            found.push(
                Violation::new(
                    Code::FieldMissing,
                    "/overrides",
                    "overrides name neither agents nor tools",
                )
                .next("add `agents` or `tools`: `all` or a list of names"),
            );
        }
        for variant in self.patches.keys() {
            if !variants.contains_key(variant) {
                found.push(unknown_variant(
                    &format!("/overrides/patches/{variant}"),
                    variant,
                    variants,
                ));
            }
        }
    }
}

pub(super) fn unknown_variant(
    pointer: &str,
    variant: &VariantName,
    variants: &Variants,
) -> Violation {
    let known: Vec<_> = variants.keys().map(|name| format!("`{name}`")).collect();
    Violation::new(
        Code::VariantUnknown,
        pointer,
        format!("the flag has no variant `{variant}`"),
    )
    .next(format!(
        "use one of {}, or add the variant to the flag",
        known.join(", ")
    ))
}

/// An emergency stop of a flag, an agent or a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Kill {
    /// Why.
    pub reason: String,
    /// The version of the killed agent that is given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub fallback: Option<semver::Version>,
}

impl Kill {
    pub(super) fn check(&self, key: &DocumentKey, found: &mut Violations) {
        check_reason("/reason", &self.reason, found);
        if self.fallback.is_some() && key.subject().is_none_or(|(what, _)| what != "agent") {
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "/fallback",
                    "only a killed agent has a fallback version",
                )
                .next("remove `fallback`"),
            );
        }
    }
}

/// What one tenant gets, whatever the rules or the channel say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pin {
    /// The variant of the pinned flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantName>,
    /// The version of the pinned agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<semver::Version>,
    /// The lock that the pinned version is given with; a commit fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<crate::Digest>,
    /// When the pin ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Pin {
    pub(super) fn check(&self, key: &DocumentKey, found: &mut Violations) {
        check_prose("/reason", self.reason.as_deref(), found);
        let of_flag = key.subject().is_some_and(|(what, _)| what == "flag");
        let (wanted, has_wanted, has_other) = if of_flag {
            (
                "variant",
                self.variant.is_some(),
                self.version.is_some() || self.lock.is_some(),
            )
        } else {
            ("version", self.version.is_some(), self.variant.is_some())
        };
        if !has_wanted || has_other {
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "",
                    format!(
                        "a pin of `{}` holds a `{wanted}` and nothing else",
                        key.name()
                    ),
                )
                .next(format!("set `{wanted}`")),
            );
        }
    }
}
