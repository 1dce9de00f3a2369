//! How a flag's value came about, step by step.
//!
//! The steps are taken anew and not recorded by the evaluation, which must stay quick; a property
//! test holds the two together.

mod trail;

use plane_model::documents::{FlagState, Window};
use plane_model::{EnvironmentName, FlagKey, GroupName, Timestamp, VariantName};
use serde::Serialize;
use serde_json::Value;

use self::trail::Trail;
use crate::clause::{Facts, Verdict};
use crate::context::Context;
use crate::evaluation::{ErrorCode, Evaluation, Reason};
use crate::view::View;

/// How a flag's value came about.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Explanation {
    /// The flag, as it was asked for.
    pub flag: String,
    /// The environment.
    pub environment: EnvironmentName,
    /// The revision of the view.
    pub revision: u64,
    /// The result.
    pub result: Outcome,
    /// What was asked, in order; the last step is the one that decided, unless it is a cap that lets the unit have it.
    pub steps: Vec<ExplainStep>,
}

/// The result of an evaluation, to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Outcome {
    /// The value; without one, the caller's default holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantName>,
    /// Why.
    pub reason: Reason,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<ErrorCode>,
    /// What is wrong, in the user's terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The revision of the last change of the flag, its targeting or its kill in this environment.
    pub flag_revision: u64,
    /// How units are hashed to slots.
    pub bucketing: plane_model::documents::Bucketing,
    /// Whether the context names a tenant that is not known.
    pub tenant_unknown: bool,
}

impl From<&Evaluation<'_>> for Outcome {
    fn from(evaluation: &Evaluation<'_>) -> Self {
        Self {
            value: evaluation.value().cloned(),
            variant: evaluation.variant().cloned(),
            reason: evaluation.reason(),
            error_code: evaluation.error(),
            error_detail: evaluation.error_detail(),
            rule: evaluation.rule().map(str::to_owned),
            flag_revision: evaluation.revision(),
            bucketing: evaluation.bucketing(),
            tenant_unknown: evaluation.tenant_unknown(),
        }
    }
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ExplainStep {
    /// Whether the flag exists and is not archived.
    Flag {
        /// Whether it exists.
        exists: bool,
        /// Whether it is archived.
        archived: bool,
    },
    /// Whether the flag is killed in the environment.
    Kill {
        /// Whether it is.
        killed: bool,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// What contradicts what in the flag's definition.
    Broken {
        /// The contradiction.
        detail: String,
    },
    /// Whether the flag is on in the environment.
    State {
        /// `enabled`, `disabled`, or none where the environment has no targeting for the flag.
        state: Option<FlagState>,
    },
    /// Whether the flag is killed for the tenant.
    TenantKill {
        /// The tenant.
        tenant: String,
        /// Whether it is.
        killed: bool,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Whether a flag that this one needs gives what is needed.
    Prerequisite {
        /// The flag that is needed.
        flag: FlagKey,
        /// The variants that will do.
        wanted: Vec<VariantName>,
        /// What it gives; none means the caller's default.
        #[serde(skip_serializing_if = "Option::is_none")]
        variant: Option<VariantName>,
        /// Why.
        reason: Reason,
        /// Whether that will do; what a flag gives while it is off or killed never does.
        verdict: Verdict,
    },
    /// Whether an exclusion group keeps the unit from the flag.
    ExclusionGroup {
        /// The group.
        group: GroupName,
        /// The attribute that holds the unit.
        by: String,
        /// The unit; none if the context has none, and then the flag gives nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// What is hashed before the unit.
        salt: String,
        /// The slot of the unit.
        #[serde(skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
        /// The flag that the slot may get; none if it gets no flag that has a share.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<FlagKey>,
        /// Whether the unit is held out of all flags of the group.
        held_out: bool,
        /// Whether the flag may reach the unit.
        verdict: Verdict,
    },
    /// Whether the tenant has a pin of the flag.
    Pin {
        /// The tenant.
        tenant: String,
        /// What the pin gives; none without a pin.
        #[serde(skip_serializing_if = "Option::is_none")]
        variant: Option<VariantName>,
        /// When the pin ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Why there is a pin.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whether there is a pin that holds now.
        verdict: Verdict,
    },
    /// Whether a unit is among those that get a variant by their id.
    Target {
        /// The attribute that holds the id.
        by: String,
        /// The id; none if the context has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// What the units get.
        serve: VariantName,
        /// Whether the unit is among them.
        verdict: Verdict,
    },
    /// Whether a rule applies.
    Rule {
        /// The rule.
        name: String,
        /// Its expression, with what was found.
        when: ExplainExpr,
        /// The time in which it applies.
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<Window>,
        /// Whether its expression holds, and its window is open.
        verdict: Verdict,
        /// What it serves, if it holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        serve: Option<ExplainServe>,
    },
    /// What is served where no rule applies.
    Default {
        /// What.
        serve: ExplainServe,
    },
    /// Whether a caller who lets only a share of the units have true lets this one; pins and targets are exempt.
    Cap {
        /// The share, in percent.
        percent: f64,
        /// How many true slots are below the unit's own; none if the context has no unit.
        #[serde(skip_serializing_if = "Option::is_none")]
        rank: Option<u32>,
        /// Whether these are fewer than the share.
        within: bool,
    },
}

/// An expression, with what was found.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ExplainExpr {
    /// All parts must hold.
    All {
        /// The parts.
        all: Vec<ExplainExpr>,
        /// Whether they do.
        verdict: Verdict,
    },
    /// One part must hold.
    Any {
        /// The parts.
        any: Vec<ExplainExpr>,
        /// Whether one does.
        verdict: Verdict,
    },
    /// The part must not hold.
    Not {
        /// The part.
        not: Box<ExplainExpr>,
        /// Whether it is so.
        verdict: Verdict,
    },
    /// A comparison.
    Clause {
        /// The clause, as it was written.
        clause: Value,
        /// What the context has there; nothing if it is missing.
        #[serde(skip_serializing_if = "Option::is_none")]
        found: Option<Value>,
        /// Whether it holds.
        verdict: Verdict,
    },
}

impl ExplainExpr {
    fn verdict(&self) -> Verdict {
        match self {
            Self::All { verdict, .. }
            | Self::Any { verdict, .. }
            | Self::Not { verdict, .. }
            | Self::Clause { verdict, .. } => *verdict,
        }
    }
}

/// What a rule or a default serves.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "serve", rename_all = "snake_case")]
pub enum ExplainServe {
    /// A variant; none means the off variant of a flag that has none.
    Variant {
        /// Which.
        variant: Option<VariantName>,
    },
    /// The caller's default.
    CallerDefault,
    /// A share of the units.
    Split {
        /// The attribute that holds the unit.
        by: String,
        /// The unit; none if the context has none, and then the split does not serve.
        #[serde(skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// What is hashed before the unit.
        salt: String,
        /// The slot of the unit.
        #[serde(skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
        /// What the slot gets; none means the caller's default.
        #[serde(skip_serializing_if = "Option::is_none")]
        variant: Option<VariantName>,
    },
    /// A share of the units that changes with time.
    Ramp {
        /// The attribute that holds the unit.
        by: String,
        /// The unit; none if the context has none, and then the ramp does not serve.
        #[serde(skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// What is hashed before the unit.
        salt: String,
        /// How many slots the share has now.
        share: u32,
        /// The slot of the unit.
        #[serde(skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
        /// What the slot gets; none means the caller's default.
        #[serde(skip_serializing_if = "Option::is_none")]
        variant: Option<VariantName>,
    },
}

pub(crate) fn explain(
    view: &View,
    key: &str,
    ctx: &Context,
    now: Timestamp,
    percent: Option<f64>,
) -> Explanation {
    let mut steps = Vec::new();
    if let Some((place, slot)) = view.flag_table().find(key) {
        let tenant = view.tenant_facts(ctx);
        let facts = Facts { ctx, tenant };
        Trail {
            view,
            chunk: &slot.chunk,
            place,
            facts,
            now,
            steps: &mut steps,
        }
        .walk();
    } else {
        steps.push(ExplainStep::Flag {
            exists: false,
            archived: false,
        });
    }
    let evaluation = view.evaluate_key(key, ctx, now);
    let mut result = Outcome::from(&evaluation);
    if let Some(percent) = percent
        && let Some((rank, within)) = evaluation.capped(percent)
    {
        steps.push(ExplainStep::Cap {
            percent,
            rank,
            within,
        });
        if !within {
            result.value = Some(false.into());
            result.variant = None;
            result.reason = Reason::Split;
        }
    }
    Explanation {
        flag: key.to_owned(),
        environment: view.environment().clone(),
        revision: view.revision(),
        result,
        steps,
    }
}
