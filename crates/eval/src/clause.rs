//! Compiled expressions: clauses with their attributes resolved and their operands indexed.
//!
//! A verdict is one of three (Kleene logic). Whether a tree is true, and whether it is false, are
//! two questions that each stop at the first part that decides; unknown is when both say no.

mod place;
mod texts;
mod version;

use std::sync::Arc;

use plane_model::{
    Clause, Document, Expr, Network, Operand, Operator, Pattern, SegmentName, Timestamp,
};
use serde::Serialize;

use crate::context::{Context, Seen};
use crate::hash::Ends;
use crate::tenant::TenantFacts;

pub(crate) use self::place::Place;
pub use self::place::unplaced;
use self::place::whole;
use self::texts::Heads;
pub(crate) use self::texts::Texts;
use self::version::VersionTest;

/// What a clause says of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// The attribute is missing or has the wrong type.
    Unknown,
}

impl Verdict {
    fn negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Verdict {
    #[inline]
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A context, and what is known of its tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) tenant: Option<&'a TenantFacts>,
}

/// A segment, ready to be asked.
pub(crate) type Members = Arc<Audience>;

/// Whom a segment gathers.
#[derive(Debug)]
pub(crate) struct Audience {
    include: Texts,
    exclude: Texts,
    when: Option<Tree>,
    /// Whether who is in it depends on the tenant, here or in a segment that it is made of.
    reads_tenant: bool,
}

impl Audience {
    /// Compiles a segment; none if the document is not one. `segment` finds those that it is made of.
    pub(crate) fn new(
        document: &Document,
        segment: impl Fn(&str) -> Option<Members>,
    ) -> Option<Self> {
        let Document::Segment(body) = document else {
            return None;
        };
        let when = body.when.as_ref().map(|when| Tree::new(when, &segment));
        Some(Self {
            include: Texts::new(body.include.iter().map(String::as_str)),
            exclude: Texts::new(body.exclude.iter().map(String::as_str)),
            reads_tenant: when.as_ref().is_some_and(Tree::reads_tenant),
            when,
        })
    }

    /// Says whether an id is in it.
    fn has(&self, id: &str, facts: Facts<'_>) -> Verdict {
        if self.include.has(id) {
            return Verdict::True;
        }
        match &self.when {
            Some(when) if !self.exclude.has(id) => when.verdict(facts),
            _ => Verdict::False,
        }
    }
}

/// Says whether an id is in one of some segments.
fn in_any(segments: &[Members], complete: bool, id: &str, facts: Facts<'_>) -> Verdict {
    let mut verdict = if complete {
        Verdict::False
    } else {
        Verdict::Unknown
    };
    for segment in segments {
        match segment.has(id, facts) {
            Verdict::True => return Verdict::True,
            Verdict::Unknown => verdict = Verdict::Unknown,
            Verdict::False => {}
        }
    }
    verdict
}

/// A clause, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    place: Place,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    /// Operands that are all strings.
    AmongTexts(Texts),
    Among(Box<Mixed>),
    Contains(Single),
    StartsWith(Heads),
    EndsWith(Box<[Box<str>]>),
    Exists(bool),
    Lt(f64),
    Le(f64),
    Gt(f64),
    Ge(f64),
    Matches(Box<[Pattern]>),
    Version(Box<VersionTest>),
    Before(Timestamp),
    After(Timestamp),
    Cidr(Box<[Network]>),
    /// The segments that exist, and whether all that are named do.
    Segment {
        segments: Box<[Members]>,
        complete: bool,
    },
    /// A clause that no attribute can satisfy or fail.
    Never,
}

/// Operands of several types, or of one that is not a string.
#[derive(Debug, Clone)]
struct Mixed {
    texts: Texts,
    numbers: Box<[f64]>,
    bools: Box<[bool]>,
}

#[derive(Debug, Clone, PartialEq)]
enum Single {
    Bool(bool),
    Number(f64),
    Text(Box<str>),
}

impl Compiled {
    pub(crate) fn new(clause: &Clause, segment: impl Fn(&str) -> Option<Members>) -> Self {
        let texts = || clause.operands.iter().filter_map(operand_text);
        let number = || clause.operands.first().and_then(operand_number);
        let time = || {
            texts()
                .next()
                .and_then(|text| text.parse::<Timestamp>().ok())
        };
        let compare = |test: fn(f64) -> Test| number().map_or(Test::Never, test);
        let test = match clause.operator {
            Operator::Equals | Operator::In if texts().count() == clause.operands.len() => {
                Test::AmongTexts(Texts::new(texts().collect::<Vec<_>>().into_iter()))
            }
            Operator::Equals | Operator::In => Test::Among(Box::new(Mixed {
                texts: Texts::new(texts().collect::<Vec<_>>().into_iter()),
                numbers: clause.operands.iter().filter_map(operand_number).collect(),
                bools: clause.operands.iter().filter_map(operand_bool).collect(),
            })),
            Operator::Contains => match clause.operands.first() {
                Some(Operand::Bool(value)) => Test::Contains(Single::Bool(*value)),
                Some(Operand::Number(number)) => {
                    Test::Contains(Single::Number(number.as_f64().unwrap_or_default()))
                }
                Some(Operand::Text(text)) => Test::Contains(Single::Text(text.as_str().into())),
                None => Test::Never,
            },
            Operator::StartsWith => Test::StartsWith(Heads::new(texts())),
            Operator::EndsWith => Test::EndsWith(texts().map(Into::into).collect()),
            Operator::Exists => clause
                .operands
                .first()
                .and_then(operand_bool)
                .map_or(Test::Never, Test::Exists),
            Operator::Lt => compare(Test::Lt),
            Operator::Le => compare(Test::Le),
            Operator::Gt => compare(Test::Gt),
            Operator::Ge => compare(Test::Ge),
            Operator::Matches => {
                let patterns: Option<_> = texts().map(|text| Pattern::new(text).ok()).collect();
                patterns.map_or(Test::Never, Test::Matches)
            }
            Operator::SemverEquals
            | Operator::SemverLt
            | Operator::SemverLe
            | Operator::SemverGt
            | Operator::SemverGe
            | Operator::SemverSameMajor
            | Operator::SemverSameMinor => texts()
                .next()
                .and_then(|text| VersionTest::new(clause.operator, text))
                .map_or(Test::Never, |test| Test::Version(Box::new(test))),
            Operator::Before => time().map_or(Test::Never, Test::Before),
            Operator::After => time().map_or(Test::Never, Test::After),
            Operator::Cidr => {
                let networks: Option<_> = texts().map(|text| text.parse().ok()).collect();
                networks.map_or(Test::Never, Test::Cidr)
            }
            Operator::Segment => {
                let segments: Box<[_]> = texts().filter_map(segment).collect();
                let complete = segments.len() == clause.operands.len();
                Test::Segment { segments, complete }
            }
        };
        Self {
            place: Place::new(&clause.attribute),
            test,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    fn reads_tenant(&self) -> bool {
        let segments = match &self.test {
            Test::Segment { segments, .. } => &segments[..],
            _ => &[],
        };
        self.place.reads_tenant() || segments.iter().any(|it| it.reads_tenant)
    }

    #[inline]
    pub(crate) fn verdict(&self, facts: Facts<'_>) -> Verdict {
        // The commonest first: a string of the caller's.
        if let Place::Named { ends, path } = &self.place
            && let Some(text) = facts.ctx.attribute_text(*ends, path)
        {
            return self.test.of_text(text.ends(), || text.get(), facts);
        }
        match self.place.read(facts) {
            Seen::Text(text) => {
                let ends = Ends::of(text.as_bytes());
                self.test.of_text(ends, || text, facts)
            }
            seen => self.test.of_other(seen),
        }
    }
}

impl Test {
    #[inline]
    fn of_text<'t>(&self, ends: Ends, text: impl Fn() -> &'t str, facts: Facts<'_>) -> Verdict {
        match self {
            Self::AmongTexts(texts) => texts.has_ends(ends, text).into(),
            Self::StartsWith(heads) => heads.start(ends, text).into(),
            _ => self.of_whole_text(text(), facts),
        }
    }

    /// As [`Test::of_text`], where the ends do not help.
    fn of_whole_text(&self, text: &str, facts: Facts<'_>) -> Verdict {
        match self {
            Self::Among(mixed) if !mixed.texts.is_empty() => mixed.texts.has(text).into(),
            Self::EndsWith(tails) => tails.iter().any(|tail| text.ends_with(&**tail)).into(),
            Self::Contains(Single::Text(part)) => text.contains(&**part).into(),
            Self::Exists(wanted) => (*wanted).into(),
            Self::Matches(patterns) => patterns.iter().any(|it| it.is_in(text)).into(),
            Self::Version(test) => test.of(text),
            Self::Before(limit) => of_time(text.parse().ok(), |time| time < *limit),
            Self::After(limit) => of_time(text.parse().ok(), |time| time > *limit),
            Self::Cidr(networks) => match text.parse() {
                Ok(address) => networks.iter().any(|it| it.has(address)).into(),
                Err(_) => Verdict::Unknown,
            },
            Self::Segment { segments, complete } => in_any(segments, *complete, text, facts),
            _ => Verdict::Unknown,
        }
    }

    fn of_other(&self, seen: Seen<'_>) -> Verdict {
        match (self, seen) {
            (Self::Among(mixed), Seen::Number(number)) if !mixed.numbers.is_empty() => {
                mixed.numbers.iter().any(|it| same(*it, number)).into()
            }
            (Self::Among(mixed), Seen::Bool(value)) if !mixed.bools.is_empty() => {
                mixed.bools.contains(&value).into()
            }
            (Self::Contains(single), Seen::List(items)) => {
                items.iter().any(|item| single.is(item)).into()
            }
            (Self::Exists(wanted), seen) => ((seen != Seen::Missing) == *wanted).into(),
            (Self::Lt(limit), Seen::Number(number)) => (number < *limit).into(),
            (Self::Le(limit), Seen::Number(number)) => (number <= *limit).into(),
            (Self::Gt(limit), Seen::Number(number)) => (number > *limit).into(),
            (Self::Ge(limit), Seen::Number(number)) => (number >= *limit).into(),
            (Self::Before(limit), Seen::Number(ms)) => of_time(instant(ms), |it| it < *limit),
            (Self::After(limit), Seen::Number(ms)) => of_time(instant(ms), |it| it > *limit),
            _ => Verdict::Unknown,
        }
    }
}

fn of_time(time: Option<Timestamp>, holds: impl FnOnce(Timestamp) -> bool) -> Verdict {
    time.map_or(Verdict::Unknown, |time| holds(time).into())
}

/// The time that a number means: milliseconds since 1970, as far as they are whole.
fn instant(ms: f64) -> Option<Timestamp> {
    whole(ms).map(Timestamp)
}

impl Single {
    fn is(&self, item: Seen<'_>) -> bool {
        match (self, item) {
            (Self::Bool(a), Seen::Bool(b)) => *a == b,
            (Self::Number(a), Seen::Number(b)) => same(*a, b),
            (Self::Text(a), Seen::Text(b)) => **a == *b,
            _ => false,
        }
    }
}

/// Compares two numbers as JSON has them: by value, and both are finite.
#[expect(clippy::float_cmp, reason = "equality of JSON numbers is exact")]
fn same(a: f64, b: f64) -> bool {
    a == b
}

fn operand_text(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Text(text) => Some(text),
        _ => None,
    }
}

fn operand_number(operand: &Operand) -> Option<f64> {
    match operand {
        Operand::Number(number) => number.as_f64(),
        _ => None,
    }
}

fn operand_bool(operand: &Operand) -> Option<bool> {
    match operand {
        Operand::Bool(value) => Some(*value),
        _ => None,
    }
}

/// An expression, compiled.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    All(Box<[Tree]>),
    Any(Box<[Tree]>),
    Not(Box<Tree>),
    Clause(Compiled),
}

impl Tree {
    pub(crate) fn new(expr: &Expr, segment: &impl Fn(&str) -> Option<Members>) -> Self {
        let parts = |parts: &[Expr]| parts.iter().map(|it| Self::new(it, segment)).collect();
        match expr {
            Expr::All(all) => Self::All(parts(all)),
            Expr::Any(any) => Self::Any(parts(any)),
            Expr::Not(part) => Self::Not(Box::new(Self::new(part, segment))),
            Expr::Clause(clause) => Self::Clause(Compiled::new(clause, segment)),
        }
    }

    #[inline]
    pub(crate) fn is_true(&self, facts: Facts<'_>) -> bool {
        match self {
            Self::Clause(clause) => clause.verdict(facts) == Verdict::True,
            Self::All(parts) => parts.iter().all(|part| part.leads_to_true(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.leads_to_true(facts)),
            Self::Not(part) => part.is_false(facts),
        }
    }

    /// As [`Tree::is_true`], without a call where the part is a clause.
    #[inline]
    pub(crate) fn leads_to_true(&self, facts: Facts<'_>) -> bool {
        match self {
            Self::Clause(clause) => clause.verdict(facts) == Verdict::True,
            part => part.is_true(facts),
        }
    }

    pub(crate) fn is_false(&self, facts: Facts<'_>) -> bool {
        match self {
            Self::Clause(clause) => clause.verdict(facts) == Verdict::False,
            Self::All(parts) => parts.iter().any(|part| part.is_false(facts)),
            Self::Any(parts) => parts.iter().all(|part| part.is_false(facts)),
            Self::Not(part) => part.is_true(facts),
        }
    }

    /// Asks each part once at most: segments ask so, and one after the other would double at each.
    fn verdict(&self, facts: Facts<'_>) -> Verdict {
        let (parts, decides) = match self {
            Self::Clause(clause) => return clause.verdict(facts),
            Self::Not(part) => return part.verdict(facts).negated(),
            Self::All(parts) => (parts, Verdict::False),
            Self::Any(parts) => (parts, Verdict::True),
        };
        let mut verdict = decides.negated();
        for part in parts {
            match part.verdict(facts) {
                Verdict::Unknown => verdict = Verdict::Unknown,
                it if it == decides => return decides,
                _ => {}
            }
        }
        verdict
    }

    pub(crate) fn reads_tenant(&self) -> bool {
        match self {
            Self::Clause(clause) => clause.reads_tenant(),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::reads_tenant),
            Self::Not(part) => part.reads_tenant(),
        }
    }
}

/// The segments that an expression names.
pub(crate) fn segments_of(expr: &Expr, mut visit: impl FnMut(SegmentName)) {
    expr.for_each_clause(&mut |clause| {
        if clause.operator == Operator::Segment {
            let names = clause.operands.iter().filter_map(operand_text);
            names
                .filter_map(|name| SegmentName::new(name).ok())
                .for_each(&mut visit);
        }
    });
}
