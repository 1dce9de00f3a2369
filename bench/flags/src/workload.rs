//! What is asked of every evaluator: the same five questions, about the same context.

use std::hint::black_box;

use serde_json::{Value, json};

/// The unit that splits divide by, 40 bytes.
pub const USER: &str = "user-0123456789abcdef0123456789abcdef012";
/// The five attributes of the context.
pub const ATTRIBUTES: [(&str, &str); 5] = [
    ("tenant_id", "tenant-0003"),
    ("plan", "enterprise"),
    ("region", "eu-west-1"),
    ("country", "DE"),
    ("app_version", "2.3.4"),
];
/// The tenants that the rule of three clauses lets in.
pub const TENANTS: [&str; 5] =
    ["tenant-0001", "tenant-0002", "tenant-0003", "tenant-0004", "tenant-0005"];
/// The plan that it lets in.
pub const PLAN: &str = "enterprise";
/// How the regions begin that it lets in.
pub const REGION: &str = "eu";
/// How many flags the large set has.
pub const FLAGS: usize = 1000;
/// How many rules each of them has.
pub const RULES: usize = 5;

/// A key of the large set.
pub fn key(flag: usize) -> String {
    format!("feature-flag-{flag:04}")
}

/// Tenants of a rule of the large set; ours is never among them.
pub fn others(flag: usize, rule: usize) -> Vec<String> {
    (0..5).map(|i| format!("tenant-{:04}", 1000 + flag * 5 + rule * 7 + i)).collect()
}

/// One of the five workloads, or building a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Everybody gets true.
    Static,
    /// One rule of three clauses, which applies.
    Rule,
    /// A quarter of the units gets true.
    Split,
    /// One of a thousand flags whose rules all fall through, always the same one.
    Hot,
    /// The same, all flags in turn.
    Turn,
    /// Building a context of five attributes and the unit.
    Context,
}

impl Workload {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Static, Self::Rule, Self::Split, Self::Hot, Self::Turn, Self::Context];

    /// What the table calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Static => "static on",
            Self::Rule => "3-clause rule",
            Self::Split => "25 % split",
            Self::Hot => "5 rules × 2 clauses fall through, 1 of 1,000 flags, hot",
            Self::Turn => "the same, all flags in turn",
            Self::Context => "building a context of 5 attributes",
        }
    }

    /// The budget by key and by handle, in nanoseconds.
    pub const fn budget(self) -> (f64, Option<f64>) {
        match self {
            Self::Static => (15.0, Some(5.0)),
            Self::Rule => (35.0, Some(25.0)),
            Self::Split => (30.0, Some(20.0)),
            Self::Hot => (110.0, Some(95.0)),
            Self::Turn => (200.0, Some(170.0)),
            Self::Context => (100.0, None),
        }
    }

    /// What everybody must answer; a split is answered by each evaluator's own hash.
    pub const fn expected(self) -> Option<bool> {
        match self {
            Self::Static | Self::Rule | Self::Context => Some(true),
            Self::Split => None,
            Self::Hot | Self::Turn => Some(false),
        }
    }

    /// The keys that are asked for in turn.
    pub fn keys(self) -> Vec<String> {
        match self {
            Self::Static => vec!["a".to_owned()],
            Self::Rule => vec!["b".to_owned()],
            Self::Split => vec!["c".to_owned()],
            Self::Hot => vec![key(500)],
            // Far apart, so that no two that follow each other are neighbours in memory.
            Self::Turn => (1..=FLAGS).map(|turn| key(turn * 617 % FLAGS)).collect(),
            Self::Context => Vec::new(),
        }
    }
}

/// An evaluator with one question: asks it as often as it is told, and counts the yeses.
pub struct Asked {
    /// Whose it is.
    pub engine: &'static str,
    /// What is asked.
    pub workload: Workload,
    /// Asks.
    pub ask: Box<dyn FnMut(u32) -> u32>,
}

/// Everything that is measured.
#[derive(Default)]
pub struct Field {
    /// In the order in which it was entered.
    pub asked: Vec<Asked>,
}

impl Field {
    /// Enters an evaluator that is asked by key, for all workloads.
    pub fn enter_all(
        &mut self,
        engine: &'static str,
        ask: impl Fn(&str) -> bool + Clone + 'static,
        context: impl Fn() -> bool + 'static,
    ) {
        for workload in Workload::ALL {
            let ask = ask.clone();
            match workload.keys() {
                keys if keys.len() > 1 => self.enter_turns(engine, workload, keys, move |key| ask(key)),
                keys => {
                    if let Some(key) = keys.into_iter().next() {
                        self.enter(engine, workload, move || ask(black_box(&key)));
                    }
                }
            }
        }
        self.enter(engine, Workload::Context, context);
    }

    /// Enters an evaluator for one workload.
    pub fn enter(
        &mut self,
        engine: &'static str,
        workload: Workload,
        mut ask: impl FnMut() -> bool + 'static,
    ) {
        let ask = Box::new(move |times| (0..times).map(|_| u32::from(black_box(ask()))).sum());
        self.asked.push(Asked { engine, workload, ask });
    }

    /// Enters an evaluator that is asked for things in turn.
    pub fn enter_turns<T: 'static>(
        &mut self,
        engine: &'static str,
        workload: Workload,
        things: Vec<T>,
        mut ask: impl FnMut(&T) -> bool + 'static,
    ) {
        let mut turn = 0;
        self.enter(engine, workload, move || {
            let thing = &things[turn];
            turn += 1;
            if turn == things.len() {
                turn = 0;
            }
            ask(black_box(thing))
        });
    }
}

/// The rule of three clauses as JsonLogic, and those of the large set.
pub fn json_logic(workload: Workload, flag: usize) -> Value {
    let is_region = json!({"starts_with": [{"var": "region"}, REGION]});
    match workload {
        Workload::Rule => json!({"if": [{"and": [
            {"in": [{"var": "tenant_id"}, TENANTS]}, {"==": [{"var": "plan"}, PLAN]}, is_region
        ]}, "on", "off"]}),
        Workload::Split => json!({"fractional": [["on", 25], ["off", 75]]}),
        _ => {
            let mut chain = Vec::new();
            for rule in 0..RULES {
                let among = json!({"in": [{"var": "tenant_id"}, others(flag, rule)]});
                chain.push(json!({"and": [is_region, among]}));
                chain.push(json!("on"));
            }
            chain.push(json!("off"));
            json!({"if": chain})
        }
    }
}
