//! Which variant of a flag whom gets in one environment.

use serde::{Deserialize, Serialize};

use super::flag::unknown_variant;
use super::{Flag, over_limit};
use crate::serve::Shares;
use crate::{
    AttributePath, Code, Expr, FlagKey, Serve, Timestamp, VariantName, Violation, Violations,
    limits,
};

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
    /// Flags that must give one of these variants, or this flag gives its off variant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<Prerequisite>,
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

/// A flag that another one needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Prerequisite {
    /// The flag that is needed.
    pub flag: FlagKey,
    /// The variants that will do; what the flag gives while it is off or killed never does.
    pub variants: Vec<VariantName>,
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
    /// When it applies; always if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What they get.
    pub serve: Serve,
}

/// A time in which a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Window {
    /// The first moment of it; there was none before if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The first moment after it; it never ends if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Window {
    /// Says whether the window is open.
    pub fn has(self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    fn check(self, pointer: &str, found: &mut Violations) {
        let fault = match (self.from, self.until) {
            (None, None) => "the window has neither `from` nor `until`".to_owned(),
            (Some(from), Some(until)) if from >= until => {
                format!("the window ends at {until}, which is not after {from}, where it begins")
            }
            _ => return,
        };
        found.push(
            Violation::new(Code::FieldInvalid, pointer, fault).next(
                "set `from`, `until` or both, the earlier one first, or leave the window out",
            ),
        );
    }
}

impl Targeting {
    pub(super) fn check(&self, found: &mut Violations) {
        self.check_prerequisites(found);
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
            if let Some(window) = rule.window {
                window.check(&format!("{pointer}/window"), found);
            }
            check_serve(&format!("{pointer}/serve"), &rule.serve, found);
        }
        if let Some(serve) = &self.default {
            check_serve("/default", serve, found);
        }
    }

    fn check_prerequisites(&self, found: &mut Violations) {
        if self.prerequisites.len() > limits::FLAG_PREREQUISITES_MAX {
            found.push(over_limit(
                "/prerequisites",
                "prerequisites",
                limits::FLAG_PREREQUISITES_MAX,
            ));
        }
        for (index, prerequisite) in self.prerequisites.iter().enumerate() {
            let pointer = format!("/prerequisites/{index}");
            if prerequisite.variants.is_empty() {
                found.push(
                    Violation::new(
                        Code::FieldInvalid,
                        format!("{pointer}/variants"),
                        format!("no variant of `{}` will do", prerequisite.flag),
                    )
                    .next("name at least one, such as [\"on\"]"),
                );
            }
            let mut before = self.prerequisites.iter().take(index);
            if before.any(|it| it.flag == prerequisite.flag) {
                found.push(
                    Violation::new(
                        Code::FieldInvalid,
                        format!("{pointer}/flag"),
                        format!("`{}` is a prerequisite twice", prerequisite.flag),
                    )
                    .next("name each flag once, with all variants that will do"),
                );
            }
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
fn check_serve(pointer: &str, serve: &Serve, found: &mut Violations) {
    match serve {
        Serve::Variant(_) | Serve::CallerDefault => {}
        Serve::Split(split) => check_split(pointer, split, found),
        Serve::Ramp(ramp) => {
            if let Some(fault) = ramp.fault() {
                found.push(
                    Violation::new(Code::SplitInvalid, format!("{pointer}/ramp"), fault).next(
                        "set `start` before `end`, and `from` and `to` to different percentages",
                    ),
                );
            }
        }
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
