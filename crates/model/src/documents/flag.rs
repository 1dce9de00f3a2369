//! Flags, their targeting, kills and pins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{check_prose, check_reason, over_limit};
use crate::serve::Shares;
use crate::{
    ArtifactName, AttributePath, Code, DocumentKey, Expr, Serve, Timestamp, VariantName, Violation,
    Violations, limits,
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
    /// When it should be gone; it goes on working after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether it is retired: evaluating it is then like evaluating an unknown flag.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// What its variants change in the manifests of agents and tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
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

fn unknown_variant(pointer: &str, variant: &VariantName, variants: &Variants) -> Violation {
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

/// Whether a flag is on in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlagState {
    /// Its targets, rules and default decide.
    Enabled,
    /// Everybody gets the off variant.
    Disabled,
}

/// Which variant of a flag whom gets in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Targeting {
    /// Whether the flag is on.
    pub state: FlagState,
    /// What is served while it is off, and to what a split leaves over; a boolean flag has `off`,
    /// any other type the caller's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<VariantName>,
    /// Units that get a variant by their id, before any rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Asked in order; the first whose expression is true serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What is served where no rule is true; the off variant if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Serve>,
}

/// Units that get a variant by their id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Target {
    /// The attribute that holds the id; the targeting key if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AttributePath>,
    /// The ids.
    pub values: Vec<String>,
    /// What they get.
    pub serve: VariantName,
}

/// A rule: to whom it applies and what they get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rule {
    /// What explanations call it.
    pub name: String,
    /// To whom it applies.
    #[serde(rename = "if")]
    pub when: Expr,
    /// What they get.
    pub serve: Serve,
}

impl Targeting {
    pub(super) fn check(&self, found: &mut Violations) {
        if self.rules.len() > limits::FLAG_RULES_MAX {
            found.push(over_limit("/rules", "rules", limits::FLAG_RULES_MAX));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let pointer = format!("/rules/{index}");
            if rule.name.trim().is_empty() || rule.name.chars().count() > 128 {
                found.push(
                    Violation::new(
                        Code::FieldInvalid,
                        format!("{pointer}/name"),
                        "a rule's name has 1 to 128 characters",
                    )
                    .next("give it a short name: explanations show it"),
                );
            }
            if self
                .rules
                .iter()
                .take(index)
                .any(|before| before.name == rule.name)
            {
                found.push(
                    Violation::new(
                        Code::FieldInvalid,
                        format!("{pointer}/name"),
                        format!("two rules are called `{}`", rule.name),
                    )
                    .next("give each rule a name of its own: explanations show it"),
                );
            }
            rule.when.check(&format!("{pointer}/if"), found);
            check_serve(&format!("{pointer}/serve"), &rule.serve, found);
        }
        if let Some(serve) = &self.default {
            check_serve("/default", serve, found);
        }
    }

    /// Checks every variant that is named against those that the flag has.
    pub fn check_variants(&self, flag: &Flag) -> Violations {
        let variants = flag.all_variants();
        let mut found = Violations::new();
        let mut check = |pointer: String, variant: &VariantName| {
            if !variants.contains_key(variant) {
                found.push(unknown_variant(&pointer, variant, &variants));
            }
        };
        if let Some(off) = &self.off {
            check("/off".to_owned(), off);
        }
        for (index, target) in self.targets.iter().enumerate() {
            check(format!("/targets/{index}/serve"), &target.serve);
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.serve
                .for_each_variant(|it| check(format!("/rules/{index}/serve"), it));
        }
        if let Some(serve) = &self.default {
            serve.for_each_variant(|it| check("/default".to_owned(), it));
        }
        found
    }

    /// The targeting with every percentage as ranges that move no more units than they must.
    #[must_use]
    pub fn settled(self, previous: Option<&Self>) -> Self {
        let settle = |serve: Serve, before: Option<&Serve>| match (serve, before) {
            (Serve::Split(split), Some(Serve::Split(before))) => {
                Serve::Split(split.settled(Some(before)))
            }
            (Serve::Split(split), _) => Serve::Split(split.settled(None)),
            (serve, _) => serve,
        };
        let rules = self
            .rules
            .into_iter()
            .map(|rule| {
                let before = previous
                    .and_then(|it| it.rules.iter().find(|before| before.name == rule.name))
                    .map(|before| &before.serve);
                Rule {
                    serve: settle(rule.serve, before),
                    ..rule
                }
            })
            .collect();
        let default = self
            .default
            .map(|serve| settle(serve, previous.and_then(|before| before.default.as_ref())));
        Self {
            rules,
            default,
            ..self
        }
    }
}

/// Checks what a rule or a default serves.
pub(super) fn check_serve(pointer: &str, serve: &Serve, found: &mut Violations) {
    if let Serve::Split(split) = serve {
        check_split(pointer, split, found);
    }
}

/// Checks the shares of a split.
pub(super) fn check_split(pointer: &str, split: &crate::Split, found: &mut Violations) {
    if let Some(fault) = split.fault() {
        let field = match split.shares {
            Shares::Percent(_) => "percent",
            Shares::Ranges(_) => "ranges",
        };
        found.push(
            Violation::new(Code::SplitInvalid, format!("{pointer}/{field}"), fault)
                .next("correct the shares: each variant its own, 100 % at most in all"),
        );
    }
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
