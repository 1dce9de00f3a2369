//! How a flag's value came about, step by step.
//!
//! The steps are taken anew and not recorded by the evaluation, which must stay quick; a property
//! test holds the two together.

use plane_model::documents::{FlagState, Target};
use plane_model::{
    AttributePath, Clause, EnvironmentName, Expr, Serve, Split, Timestamp, VariantName,
};
use serde::Serialize;
use serde_json::Value;

use crate::bucket;
use crate::clause::{Compiled, Facts, Place, Verdict};
use crate::context::{Context, Seen};
use crate::evaluation::{ErrorCode, Evaluation, Reason};
use crate::flag::{Chunk, Gate, ranges};
use crate::tenant::TenantFacts;
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
    /// What was asked, in order; the last step is the one that decided.
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
        /// Whether its expression holds.
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
}

pub(crate) fn explain(view: &View, key: &str, ctx: &Context, now: Timestamp) -> Explanation {
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
    Explanation {
        flag: key.to_owned(),
        environment: view.environment().clone(),
        revision: view.revision(),
        result: Outcome::from(&view.evaluate_key(key, ctx, now)),
        steps,
    }
}

struct Trail<'a> {
    view: &'a View,
    chunk: &'a Chunk,
    place: u32,
    facts: Facts<'a>,
    now: Timestamp,
    steps: &'a mut Vec<ExplainStep>,
}

impl Trail<'_> {
    /// Takes the steps that the evaluation takes; the last one pushed is the one that decides.
    fn walk(&mut self) {
        let parts = self.chunk.parts();
        let flag = parts.flag();
        self.steps.push(ExplainStep::Flag {
            exists: flag.is_some(),
            archived: flag.is_some_and(|flag| flag.archived),
        });
        if *self.chunk.gate() == Gate::Absent {
            return;
        }
        self.steps.push(ExplainStep::Kill {
            killed: parts.kill.is_some(),
            reason: parts.kill().map(|kill| kill.reason.clone()),
        });
        let state = parts.targeting().map(|targeting| targeting.state);
        match self.chunk.gate() {
            Gate::Absent | Gate::Killed => return,
            Gate::Broken(detail) => {
                let detail = detail.to_string();
                self.steps.push(ExplainStep::Broken { detail });
                return;
            }
            Gate::Off => {
                self.steps.push(ExplainStep::State { state });
                return;
            }
            Gate::Open => self.steps.push(ExplainStep::State { state }),
        }
        if self.tenant() || self.targets() || self.rules() {
            return;
        }
        let serve = match parts.targeting().and_then(|it| it.default.as_ref()) {
            Some(serve) => self.serve(serve),
            None => ExplainServe::Variant {
                variant: self.variant_name(self.chunk.off()),
            },
        };
        self.steps.push(ExplainStep::Default { serve });
    }

    fn tenant(&mut self) -> bool {
        let Some(id) = self.facts.ctx.tenant() else {
            return false;
        };
        let known = self.facts.tenant;
        let killed = known.is_some_and(|it| it.is_killed(self.place));
        self.steps.push(ExplainStep::TenantKill {
            tenant: id.to_owned(),
            killed,
        });
        if killed {
            return true;
        }
        let pin = known.and_then(|it: &TenantFacts| it.pin(self.place));
        let holds = pin.is_some_and(|pin| pin.until.is_none_or(|until| self.now < until));
        self.steps.push(ExplainStep::Pin {
            tenant: id.to_owned(),
            variant: pin.and_then(|pin| pin.variant.clone()),
            until: pin.and_then(|pin| pin.until),
            verdict: holds.into(),
        });
        holds
    }

    fn targets(&mut self) -> bool {
        let targeting = self.chunk.parts().targeting();
        for target in targeting.iter().flat_map(|it| &it.targets) {
            let step = self.target(target);
            let decides = matches!(
                step,
                ExplainStep::Target {
                    verdict: Verdict::True,
                    ..
                }
            );
            self.steps.push(step);
            if decides {
                return true;
            }
        }
        false
    }

    fn target(&self, target: &Target) -> ExplainStep {
        let unit = self.unit(target.by.as_ref());
        ExplainStep::Target {
            by: by(target.by.as_ref()),
            serve: target.serve.clone(),
            verdict: match &unit {
                None => Verdict::Unknown,
                Some(unit) => target.values.contains(unit).into(),
            },
            unit,
        }
    }

    fn rules(&mut self) -> bool {
        let targeting = self.chunk.parts().targeting();
        for rule in targeting.iter().flat_map(|it| &it.rules) {
            let when = self.expr(&rule.when);
            let verdict = when.verdict();
            let serve = (verdict == Verdict::True).then(|| self.serve(&rule.serve));
            // A split without its unit does not serve: the rule is passed over.
            let decides = match &serve {
                None => false,
                Some(ExplainServe::Split { unit, .. }) => unit.is_some(),
                Some(_) => true,
            };
            let name = rule.name.clone();
            self.steps.push(ExplainStep::Rule {
                name,
                when,
                verdict,
                serve,
            });
            if decides {
                return true;
            }
        }
        false
    }

    fn expr(&self, expr: &Expr) -> ExplainExpr {
        let parts = |parts: &[Expr]| parts.iter().map(|it| self.expr(it)).collect::<Vec<_>>();
        match expr {
            Expr::All(all) => {
                let all = parts(all);
                let verdict = settle(&all, Verdict::False, Verdict::True);
                ExplainExpr::All { all, verdict }
            }
            Expr::Any(any) => {
                let any = parts(any);
                let verdict = settle(&any, Verdict::True, Verdict::False);
                ExplainExpr::Any { any, verdict }
            }
            Expr::Not(part) => {
                let not = Box::new(self.expr(part));
                let verdict = match not.verdict() {
                    Verdict::True => Verdict::False,
                    Verdict::False => Verdict::True,
                    Verdict::Unknown => Verdict::Unknown,
                };
                ExplainExpr::Not { not, verdict }
            }
            Expr::Clause(clause) => self.clause(clause),
        }
    }

    fn clause(&self, clause: &Clause) -> ExplainExpr {
        let compiled = Compiled::new(clause, |name| self.view.segment(name));
        let expr = Expr::Clause(clause.clone());
        ExplainExpr::Clause {
            clause: serde_json::to_value(expr).unwrap_or(Value::Null),
            found: to_value(compiled.place().read(self.facts)),
            verdict: compiled.verdict(self.facts),
        }
    }

    fn serve(&self, serve: &Serve) -> ExplainServe {
        match serve {
            Serve::Variant(variant) => ExplainServe::Variant {
                variant: Some(variant.clone()),
            },
            Serve::CallerDefault => ExplainServe::CallerDefault,
            Serve::Split(split) => self.split(split),
        }
    }

    fn split(&self, split: &Split) -> ExplainServe {
        let salt = split.salt.as_deref().unwrap_or(self.chunk.key().as_str());
        let unit = self.unit(split.by.as_ref());
        let slot = unit
            .as_ref()
            .map(|unit| bucket::slot(self.view.bucketing(), salt, unit));
        let variant = slot.and_then(|slot| {
            let ranges = ranges(split);
            let range = ranges.iter().find(|it| (it.start..it.end).contains(&slot));
            match range {
                Some(range) => Some(range.variant.clone()),
                None => self.variant_name(self.chunk.off()),
            }
        });
        ExplainServe::Split {
            by: by(split.by.as_ref()),
            unit,
            salt: salt.to_owned(),
            slot,
            variant,
        }
    }

    fn unit(&self, by: Option<&AttributePath>) -> Option<String> {
        let place = by.map_or(Place::TargetingKey, Place::new);
        place.unit(self.facts, str::to_owned)
    }

    fn variant_name(&self, index: Option<u16>) -> Option<VariantName> {
        self.chunk.variant(index?).map(|(name, _)| name.clone())
    }
}

/// The verdict of parts where one that is `decisive` decides, and all must be `other` otherwise.
fn settle(parts: &[ExplainExpr], decisive: Verdict, other: Verdict) -> Verdict {
    let mut verdicts = parts.iter().map(ExplainExpr::verdict);
    if verdicts.clone().any(|it| it == decisive) {
        decisive
    } else if verdicts.any(|it| it == Verdict::Unknown) {
        Verdict::Unknown
    } else {
        other
    }
}

fn by(path: Option<&AttributePath>) -> String {
    path.map_or("targetingKey", AttributePath::as_str)
        .to_owned()
}

fn to_value(seen: Seen<'_>) -> Option<Value> {
    Some(match seen {
        Seen::Missing => return None,
        Seen::Bool(value) => value.into(),
        Seen::Number(number) => number.into(),
        Seen::Text(text) => text.into(),
        Seen::List(items) => items.iter().filter_map(to_value).collect(),
        Seen::Object => Value::Object(serde_json::Map::new()),
    })
}
