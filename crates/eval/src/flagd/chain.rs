//! What decides a flag, in the order in which it is decided here.

use std::cell::Cell;

use plane_model::documents::{Targeting, Window};
use plane_model::{AttributePath, SLOTS, Serve, Split, Timestamp};
use serde_json::{Value, json};

use super::Said;
use super::logic::{Choice, Test, is_filled, is_whole};
use crate::clause::{Facts, Place};
use crate::context::Context;
use crate::flag::{Chunk, Gate, ranges};
use crate::table::Slot;
use crate::view::View;

/// How deep prerequisites are followed.
const DEPTH_MAX: u8 = 16;
/// How many rules of flags, segments and their ids one flag may take: each stands in it as often as it is
/// asked, for flagd follows nothing but its own prerequisites.
const PARTS_MAX: usize = 100_000;

/// An export for one tenant, or for all alike.
pub(super) struct Export<'a> {
    pub(super) view: &'a View,
    /// What is known beforehand: the tenant, if it is for one.
    pub(super) facts: Facts<'a>,
    /// How many more parts the flag at hand may take.
    parts_left: Cell<usize>,
}

/// What stands at a place of a context.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// The same in every context; none if there is nothing.
    Known(Option<String>),
    /// An id: a string, or missing if it is empty.
    Id(Value),
    /// Anything: what stands at a path.
    Any(Value, String),
}

impl<'a> Export<'a> {
    pub(super) fn new(view: &'a View, ctx: &'a Context) -> Self {
        let tenant = view.tenant_facts(ctx);
        let facts = Facts { ctx, tenant };
        let parts_left = Cell::new(0);
        Self {
            view,
            facts,
            parts_left,
        }
    }

    /// The rule that gives the variant of a flag of the file, or null.
    pub(super) fn flag(&self, place: u32, slot: &Slot) -> Said<Value> {
        self.parts_left.set(PARTS_MAX);
        self.decided(place, slot, true, 0)
    }

    /// Counts parts of the flag at hand.
    pub(super) fn take(&self, parts: usize) -> Said<()> {
        let left = self.parts_left.get().checked_sub(parts);
        self.parts_left.set(left.unwrap_or_default());
        match left {
            Some(_) => Ok(()),
            None => Err(format!(
                "would make the flag more than {PARTS_MAX} rules, segments and ids, each as often as it is asked"
            )),
        }
    }

    /// The rule that gives the variant of a flag, or null.
    ///
    /// For flags that need this one, what it gives while it is off is nothing: `counts_off` is false.
    fn decided(&self, place: u32, slot: &Slot, counts_off: bool, depth: u8) -> Said<Value> {
        let chunk = &*slot.chunk;
        let off = if counts_off {
            self.named(chunk, chunk.off())
        } else {
            Value::Null
        };
        match chunk.gate() {
            Gate::Absent => return Ok(Value::Null),
            Gate::Broken(fault) => return Err(format!("it is broken: {fault}")),
            Gate::Killed | Gate::Off => return Ok(off),
            Gate::Open => {}
        }
        if let Some((group, _)) = self.view.groups().of(chunk.key()).next() {
            return Err(format!(
                "the exclusion group `{group}` says which units it may reach"
            ));
        }
        if depth > DEPTH_MAX {
            return Err(format!("its prerequisites are deeper than {DEPTH_MAX}"));
        }
        let tenant = self.facts.tenant.filter(|_| slot.bound > 0);
        if slot.bound > 0 && self.facts.ctx.tenant().is_none() {
            return Err(
                "some tenant has a pin or a kill of it: export it for one tenant".to_owned(),
            );
        }
        if tenant.is_some_and(|it| it.is_killed(place)) {
            return Ok(off);
        }
        let Some(targeting) = chunk.parts().targeting() else {
            return Ok(off);
        };
        self.take(1 + targeting.rules.len())
            .map_err(|reason| format!("it {reason}"))?;
        let is_met = self.prerequisites(targeting, depth)?;
        let mut choice = Choice::default();
        choice.push(is_met.not(), off);
        let mut rest = Choice::default();
        if let Some(pin) = tenant.and_then(|it| it.pin(place)) {
            let variant = pin
                .variant
                .as_ref()
                .and_then(|it| chunk.variant_index(it.as_str()));
            let variant =
                variant.ok_or("the tenant's pin names a variant that it does not have")?;
            rest.push(until(pin.until)?, self.named(chunk, Some(variant)));
        }
        Ok(choice.end(self.chosen(chunk, targeting, rest)?))
    }

    fn prerequisites(&self, targeting: &Targeting, depth: u8) -> Said<Test> {
        let mut tests = Vec::new();
        for needed in &targeting.prerequisites {
            let flag = self.view.flag_table().find(needed.flag.as_str());
            let decided = match flag {
                Some((place, slot)) => self
                    .decided(place, slot, false, depth + 1)
                    .map_err(|reason| format!("it needs `{}`, and {reason}", needed.flag))?,
                None => Value::Null,
            };
            let is_wanted = |name: &str| needed.variants.iter().any(|it| it.as_str() == name);
            tests.push(match decided {
                Value::Null => Test::Known(false),
                Value::String(name) => Test::Known(is_wanted(&name)),
                rule => Test::Logic(json!({"in": [rule, needed.variants]})),
            });
        }
        Ok(Test::all(tests))
    }

    /// Targets, rules and the default, after what was chosen before.
    fn chosen(&self, chunk: &Chunk, targeting: &Targeting, mut choice: Choice) -> Said<Value> {
        for target in &targeting.targets {
            let serve = chunk.variant_index(target.serve.as_str());
            let (is_there, unit) = self.unit(target.by.as_ref())?;
            let is_meant = match &unit {
                Value::String(unit) => Test::Known(target.values.contains(unit)),
                unit => Test::Logic(json!({"in": [unit, target.values]})),
            };
            choice.push(Test::all([is_there, is_meant]), self.named(chunk, serve));
        }
        for rule in &targeting.rules {
            let in_rule = |reason| format!("its rule `{}` {reason}", rule.name);
            let (can_serve, value) = self.serve(chunk, &rule.serve).map_err(in_rule)?;
            let when = self.test(&rule.when, true, 0).map_err(in_rule)?;
            let window = rule
                .window
                .map_or(Ok(Test::Known(true)), open)
                .map_err(in_rule)?;
            choice.push(Test::all([window, when, can_serve]), value);
        }
        let Some(serve) = &targeting.default else {
            return Ok(choice.end(self.named(chunk, chunk.off())));
        };
        let (can_serve, value) = self
            .serve(chunk, serve)
            .map_err(|reason| format!("its default {reason}"))?;
        choice.push(can_serve, value);
        // Who has no unit gets an error here, and with it the caller's default.
        Ok(choice.end(Value::Null))
    }

    /// What is served, and to whom it can be.
    fn serve(&self, chunk: &Chunk, serve: &Serve) -> Said<(Test, Value)> {
        match serve {
            Serve::Variant(name) => {
                let variant = chunk.variant_index(name.as_str());
                Ok((Test::Known(true), self.named(chunk, variant)))
            }
            Serve::CallerDefault => Ok((Test::Known(true), Value::Null)),
            Serve::Split(split) => self.split(chunk, split),
            Serve::Ramp(_) => Err("grows with time".to_owned()),
        }
    }

    fn split(&self, chunk: &Chunk, split: &Split) -> Said<(Test, Value)> {
        let (is_there, unit) = self.unit(split.by.as_ref())?;
        let mut shares: Vec<(Value, u32)> = Vec::new();
        let mut share = |variant: Value, slots: u32| match shares.last_mut() {
            Some((last, sum)) if *last == variant => *sum += slots,
            _ if slots > 0 => shares.push((variant, slots)),
            _ => {}
        };
        let mut free = 0;
        for range in ranges(split) {
            share(
                self.named(chunk, chunk.off()),
                range.start.saturating_sub(free),
            );
            let variant = chunk.variant_index(range.variant.as_str());
            share(
                self.named(chunk, variant),
                range.end.saturating_sub(range.start),
            );
            free = range.end;
        }
        share(self.named(chunk, chunk.off()), SLOTS.saturating_sub(free));
        if let [(only, _)] = shares.as_slice() {
            return Ok((is_there, only.clone()));
        }
        let salt = split.salt.as_deref().unwrap_or(chunk.key().as_str());
        let mut arguments = vec![json!({"cat": [salt, unit]})];
        arguments.extend(
            shares
                .iter()
                .map(|(variant, slots)| json!([variant, slots])),
        );
        Ok((is_there, json!({"fractional": arguments})))
    }

    /// The text that identifies a unit, and whether there is one.
    fn unit(&self, by: Option<&AttributePath>) -> Said<(Test, Value)> {
        let operand = match by {
            Some(path) => self.operand(path)?,
            None => self.targeting_key(),
        };
        Ok(match operand {
            Operand::Known(Some(text)) if !text.is_empty() => (Test::Known(true), text.into()),
            Operand::Known(_) => (Test::Known(false), Value::Null),
            Operand::Id(value) => (is_filled(&value), value),
            Operand::Any(value, path) => {
                let is_there = Test::any([is_filled(&value), is_whole(&value, &path)]);
                // There is a zero below zero, which has other digits.
                let text = json!({"if": [{"===": [value, 0]}, "0", {"cat": [value]}]});
                (is_there, text)
            }
        })
    }

    /// Where an attribute stands in a context of flagd.
    pub(super) fn operand(&self, path: &AttributePath) -> Said<Operand> {
        let text = path.as_str();
        let id = |path: &str| Operand::Id(json!({"var": path}));
        Ok(match Place::new(path) {
            Place::TargetingKey => self.targeting_key(),
            Place::UserId | Place::Agent | Place::Conversation => id(text),
            Place::TenantId => match self.facts.ctx.tenant() {
                Some(tenant) => Operand::Known(Some(tenant.to_owned())),
                None => id(text),
            },
            place if place.reads_tenant() => {
                if self.facts.ctx.tenant().is_none() {
                    return Err(format!(
                        "reads `{text}`, which the control plane knows: export it for one tenant"
                    ));
                }
                Operand::Known(place.unit(self.facts, str::to_owned))
            }
            Place::Nowhere => Operand::Known(None),
            Place::Named { .. } => {
                let misread =
                    |part: &str| part == "length" || part.bytes().all(|it| it.is_ascii_digit());
                if text.split('.').any(misread) || text.starts_with('$') {
                    return Err(format!("reads `{text}`, which flagd looks for elsewhere"));
                }
                Operand::Any(json!({"var": text}), text.to_owned())
            }
            _ => return Err(format!("reads `{text}` as a whole, which flagd cannot")),
        })
    }

    fn targeting_key(&self) -> Operand {
        let mut choice = Choice::default();
        for path in ["targetingKey", "user.id"] {
            let value = json!({"var": path});
            choice.push(is_filled(&value), value);
        }
        let last = match self.facts.ctx.tenant() {
            Some(tenant) => tenant.into(),
            None => json!({"var": "tenant.id"}),
        };
        Operand::Id(choice.end(last))
    }

    #[expect(clippy::unused_self, reason = "it reads like the rest")]
    fn named(&self, chunk: &Chunk, variant: Option<u16>) -> Value {
        let name = variant.and_then(|it| chunk.variant(it));
        name.map_or(Value::Null, |(name, _)| name.to_string().into())
    }
}

/// Says that it is before a time.
fn until(time: Option<Timestamp>) -> Said<Test> {
    time.map_or(Ok(Test::Known(true)), |time| {
        Ok(Test::Logic(
            json!({"<": [{"var": "$flagd.timestamp"}, seconds(time)?]}),
        ))
    })
}

fn open(window: Window) -> Said<Test> {
    let from = match window.from {
        Some(time) => Test::Logic(json!({">=": [{"var": "$flagd.timestamp"}, seconds(time)?]})),
        None => Test::Known(true),
    };
    Ok(Test::all([from, until(window.until)?]))
}

fn seconds(time: Timestamp) -> Said<i64> {
    let is_whole = time.0 % 1000 == 0;
    is_whole
        .then_some(time.0 / 1000)
        .ok_or_else(|| format!("turns at {time}, and flagd counts whole seconds"))
}
