//! What evaluating a flag gives, in `OpenFeature`'s words.

use plane_model::documents::{Bucketing, FlagType, Metadata};
use plane_model::{AttributePath, FlagKey, Timestamp, VariantName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clause::{Facts, Place};
use crate::context::Context;
use crate::flag::{Chunk, Rank};
use crate::view::View;

/// Why a flag has the value it has, as `OpenFeature` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Every context gets this until the flag changes.
    Static,
    /// No target and no rule applied.
    Default,
    /// A rule, a target or a pin applied.
    TargetingMatch,
    /// The unit's slot decided.
    Split,
    /// The flag is off or killed.
    Disabled,
    /// The flag could not be evaluated; the caller's default holds.
    Error,
}

impl Reason {
    /// All reasons.
    pub const ALL: &'static [Self] = &[
        Self::Static,
        Self::Default,
        Self::TargetingMatch,
        Self::Split,
        Self::Disabled,
        Self::Error,
    ];

    /// The reason as `OpenFeature` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Error => "ERROR",
        }
    }
}

/// Why a flag could not be evaluated, as `OpenFeature` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The flag does not exist or is archived.
    FlagNotFound,
    /// The flag's definition contradicts itself.
    ParseError,
    /// The default divides by a unit that the context does not have.
    TargetingKeyMissing,
}

impl ErrorCode {
    /// The error as `OpenFeature` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::ParseError => "PARSE_ERROR",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
        }
    }
}

/// What a flag that is not there says.
static NO_METADATA: Metadata = Metadata::new();

/// Names the rule that decided, by its place in the flag's targeting.
pub(crate) type RuleIndex = u16;

/// What an evaluation decided, before it is joined with the flag that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) variant: Option<u16>,
    pub(crate) reason: Reason,
    pub(crate) error: Option<ErrorCode>,
    pub(crate) rule: Option<RuleIndex>,
}

impl Decision {
    pub(crate) const fn error(code: ErrorCode) -> Self {
        Self {
            variant: None,
            reason: Reason::Error,
            error: Some(code),
            rule: None,
        }
    }

    pub(crate) const fn of(variant: Option<u16>, reason: Reason) -> Self {
        Self {
            variant,
            reason,
            error: None,
            rule: None,
        }
    }
}

/// The result of evaluating one flag for one context; it borrows from the view.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    pub(crate) view: &'a View,
    pub(crate) ctx: &'a Context,
    pub(crate) now: Timestamp,
    pub(crate) chunk: Option<&'a Chunk>,
    pub(crate) decision: Decision,
}

impl<'a> Evaluation<'a> {
    /// The flag; none if there never was one of the name.
    #[inline]
    pub fn flag(&self) -> Option<&'a FlagKey> {
        Some(self.chunk?.key())
    }

    /// The value; none means the caller's default.
    #[inline]
    pub fn value(&self) -> Option<&'a Value> {
        self.entry().map(|(_, value)| value)
    }

    /// The value of a boolean flag; none means the caller's default, or a flag of another type.
    #[inline]
    pub fn as_bool(&self) -> Option<bool> {
        self.chunk?.truth(self.decision.variant?)
    }

    /// The value of a boolean flag, true for at most `percent` of the units that rules and defaults reach.
    ///
    /// The caller's cap: true if and only if the flag is true and fewer than `percent` % of all
    /// slots are true slots of the flag below the unit's own, so that a larger cap takes nothing
    /// away. Pins and targets by id are exempt. Without a unit the answer is false.
    pub fn as_bool_within(&self, percent: f64) -> Option<bool> {
        let value = self.as_bool()?;
        let tenant = self.view.tenant_facts(self.ctx);
        let is_within =
            |chunk: &Chunk| chunk.is_within(self.decision, percent, self.ctx, tenant, self.now);
        Some(value && self.chunk.is_some_and(is_within))
    }

    /// How many true slots are below the unit's, and whether there are fewer than `percent` %; none if no cap
    /// of a caller can change what is given.
    pub(crate) fn capped(&self, percent: f64) -> Option<(Option<u32>, bool)> {
        let chunk = self.chunk.filter(|_| self.as_bool() == Some(true))?;
        let tenant = self.view.tenant_facts(self.ctx);
        let rank = match chunk.rank(self.decision, self.ctx, tenant, self.now) {
            Rank::Exempt => return None,
            Rank::Unknown => None,
            Rank::Below(rank) => Some(rank),
        };
        Some((rank, !self.is_capped(percent)))
    }

    /// Whether a caller who lets at most `percent` % of the units have true keeps it from this one, which gets
    /// false then: of no variant, and by a split.
    pub fn is_capped(&self, percent: f64) -> bool {
        self.as_bool() == Some(true) && self.as_bool_within(percent) == Some(false)
    }

    /// The variant; none means the caller's default.
    #[inline]
    pub fn variant(&self) -> Option<&'a VariantName> {
        self.entry().map(|(name, _)| name)
    }

    /// The type of the flag's values.
    pub fn flag_type(&self) -> Option<FlagType> {
        self.chunk?.parts().flag().map(|flag| flag.kind)
    }

    /// Why.
    #[inline]
    pub fn reason(&self) -> Reason {
        self.decision.reason
    }

    /// Why not; set if and only if the reason is [`Reason::Error`].
    #[inline]
    pub fn error(&self) -> Option<ErrorCode> {
        self.decision.error
    }

    /// What is wrong, in the user's terms, if the flag could not be evaluated.
    pub fn error_detail(&self) -> Option<String> {
        let code = self.decision.error?;
        Some(match (code, self.chunk) {
            (ErrorCode::ParseError, Some(chunk)) => chunk.fault().to_owned(),
            (ErrorCode::TargetingKeyMissing, Some(chunk)) => self.unit_missing(chunk),
            _ => "the flag does not exist or is archived".to_owned(),
        })
    }

    /// Says which unit the context does not have.
    fn unit_missing(&self, chunk: &Chunk) -> String {
        let tenant = self.view.tenant_facts(self.ctx);
        let facts = Facts {
            ctx: self.ctx,
            tenant,
        };
        let flag = chunk.key();
        let without = |by: Option<&AttributePath>| {
            let place = by.map_or(Place::TargetingKey, Place::new);
            place.unit(facts, |_| ()).is_none()
        };
        let mut groups = self.view.groups().of(flag);
        match groups.find(|(_, group)| without(group.by.as_ref())) {
            Some((name, group)) => format!(
                "the exclusion group `{name}` of `{flag}` divides by `{}`, which the context does not have",
                group
                    .by
                    .as_ref()
                    .map_or("targetingKey", AttributePath::as_str)
            ),
            None => format!(
                "the default of `{flag}` divides by `{}`, which the context does not have",
                chunk.default_unit()
            ),
        }
    }

    /// The name of the rule that decided, if one did.
    pub fn rule(&self) -> Option<&'a str> {
        self.chunk?.rule_name(self.decision.rule?)
    }

    /// The revision of the last change of the flag, its targeting or its kill in this environment.
    pub fn revision(&self) -> u64 {
        self.chunk.map_or(0, Chunk::revision)
    }

    /// How units are hashed to slots.
    pub fn bucketing(&self) -> Bucketing {
        self.view.bucketing()
    }

    /// What the flag's author tells those who evaluate it, whatever it gives.
    pub fn metadata(&self) -> &'a Metadata {
        let metadata = self.chunk.and_then(Chunk::metadata);
        metadata.unwrap_or(&NO_METADATA)
    }

    /// Says whether the context names a tenant that is not known.
    pub fn tenant_unknown(&self) -> bool {
        self.view.tenant_unknown(self.ctx)
    }

    #[inline]
    fn entry(&self) -> Option<&'a (VariantName, Value)> {
        self.chunk?.variant(self.decision.variant?)
    }
}

impl std::fmt::Debug for Evaluation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluation")
            .field("variant", &self.variant())
            .field("reason", &self.reason())
            .field("error", &self.error())
            .field("rule", &self.rule())
            .finish_non_exhaustive()
    }
}
