//! The steps of an evaluation, taken anew.

use plane_model::documents::Target;
use plane_model::{AttributePath, Clause, Expr, Ramp, Serve, Split, Timestamp, VariantName};
use serde_json::Value;

use super::{ExplainExpr, ExplainServe, ExplainStep};
use crate::bucket;
use crate::clause::{Compiled, Facts, Place, Verdict};
use crate::context::Seen;
use crate::evaluation::Reason;
use crate::flag::{Chunk, Gate, group_salt, ranges};
use crate::tenant::TenantFacts;
use crate::view::View;

pub(super) struct Trail<'a> {
    pub(super) view: &'a View,
    pub(super) chunk: &'a Chunk,
    pub(super) place: u32,
    pub(super) facts: Facts<'a>,
    pub(super) now: Timestamp,
    pub(super) steps: &'a mut Vec<ExplainStep>,
}

impl Trail<'_> {
    /// Takes the steps that the evaluation takes; the last one pushed is the one that decides.
    pub(super) fn walk(&mut self) {
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
        if self.tenant_kill()
            || self.prerequisites()
            || self.pin()
            || self.exclusion_groups()
            || self.targets()
            || self.rules()
        {
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

    fn tenant_kill(&mut self) -> bool {
        let Some(id) = self.facts.ctx.tenant() else {
            return false;
        };
        let known = self.facts.tenant;
        let killed = known.is_some_and(|it| it.is_killed(self.place));
        self.steps.push(ExplainStep::TenantKill {
            tenant: id.to_owned(),
            killed,
            reason: known
                .and_then(|it| it.kill(self.place))
                .map(|kill| kill.reason.clone()),
        });
        killed
    }

    /// Asks the flags that this one needs; says whether one of them is in the way.
    fn prerequisites(&mut self) -> bool {
        let targeting = self.chunk.parts().targeting();
        for needed in targeting.iter().flat_map(|it| &it.prerequisites) {
            let place = self.view.flag_table().find(needed.flag.as_str());
            let found = place.and_then(|(place, _)| {
                self.view
                    .decide(place, self.facts.ctx, self.facts.tenant, self.now)
            });
            let variant = found.and_then(|(chunk, decision)| chunk.variant(decision.variant?));
            let variant = variant.map(|(name, _)| name.clone());
            let reason = found.map_or(Reason::Error, |(_, decision)| decision.reason);
            let is_off = matches!(reason, Reason::Disabled | Reason::Error);
            let will_do = variant
                .as_ref()
                .is_some_and(|it| needed.variants.contains(it));
            let is_met = will_do && !is_off;
            self.steps.push(ExplainStep::Prerequisite {
                flag: needed.flag.clone(),
                wanted: needed.variants.clone(),
                variant,
                reason,
                verdict: is_met.into(),
            });
            if !is_met {
                return true;
            }
        }
        false
    }

    fn pin(&mut self) -> bool {
        let Some(id) = self.facts.ctx.tenant() else {
            return false;
        };
        let known = self.facts.tenant;
        let pin = known.and_then(|it: &TenantFacts| it.pin(self.place));
        let holds = pin.is_some_and(|pin| pin.until.is_none_or(|until| self.now < until));
        self.steps.push(ExplainStep::Pin {
            tenant: id.to_owned(),
            variant: pin.and_then(|pin| pin.variant.clone()),
            until: pin.and_then(|pin| pin.until),
            reason: pin.and_then(|pin| pin.reason.clone()),
            verdict: holds.into(),
        });
        holds
    }

    /// Asks the exclusion groups of the flag; says whether one of them is in the way.
    fn exclusion_groups(&mut self) -> bool {
        let flag = self.chunk.key();
        for (name, group) in self.view.groups().of(flag) {
            let salt = group_salt(name, group);
            let unit = self.unit(group.by.as_ref());
            let bucketing = self.view.bucketing();
            let slot = unit.as_ref().map(|it| bucket::slot(bucketing, &salt, it));
            let range = slot.and_then(|slot| {
                let mut ranges = group.ranges.iter();
                ranges.find(|it| (it.start..it.end).contains(&slot))
            });
            let held_out = range.is_some_and(|it| it.flag.is_none());
            let holder = range.and_then(|it| it.flag.clone());
            let verdict = if slot.is_none() {
                Verdict::Unknown
            } else if group.held.contains(flag) {
                (!held_out).into()
            } else {
                (holder.as_ref() == Some(flag)).into()
            };
            self.steps.push(ExplainStep::ExclusionGroup {
                group: name.clone(),
                by: by(group.by.as_ref()),
                unit,
                salt,
                slot,
                holder,
                held_out,
                verdict,
            });
            if verdict != Verdict::True {
                return true;
            }
        }
        false
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
            let is_open = rule.window.is_none_or(|window| window.has(self.now));
            let verdict = match when.verdict() {
                Verdict::True => is_open.into(),
                verdict => verdict,
            };
            let serve = (verdict == Verdict::True).then(|| self.serve(&rule.serve));
            // A split without its unit does not serve: the rule is passed over.
            let decides = match &serve {
                None => false,
                Some(ExplainServe::Split { unit, .. } | ExplainServe::Ramp { unit, .. }) => {
                    unit.is_some()
                }
                Some(_) => true,
            };
            let name = rule.name.clone();
            self.steps.push(ExplainStep::Rule {
                name,
                when,
                window: rule.window,
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
            Serve::Ramp(ramp) => self.ramp(ramp),
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

    fn ramp(&self, ramp: &Ramp) -> ExplainServe {
        let salt = ramp.salt.as_deref().unwrap_or(self.chunk.key().as_str());
        let unit = self.unit(ramp.by.as_ref());
        let slot = unit
            .as_ref()
            .map(|unit| bucket::slot(self.view.bucketing(), salt, unit));
        let share = ramp.share_at(self.now);
        let variant = match slot {
            Some(slot) if slot < share => Some(ramp.course.variant.clone()),
            Some(_) => self.variant_name(self.chunk.off()),
            None => None,
        };
        ExplainServe::Ramp {
            by: by(ramp.by.as_ref()),
            unit,
            salt: salt.to_owned(),
            share,
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
