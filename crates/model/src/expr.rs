//! Targeting expressions: clauses over attributes, joined by all, any and not.

mod network;
mod pattern;
mod version;

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

use crate::parse::coded;
use crate::{Code, Pointer, Timestamp, Violation, Violations, limits};

pub use network::{Network, NetworkError};
pub use pattern::{Pattern, PatternError};
pub use version::ReportedVersion;

/// Where in the evaluation context a value is found, such as `tenant.plan` or `targetingKey`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributePath(Box<str>);

impl AttributePath {
    const CHARS_MAX: usize = 256;
    const STEPS_MAX: usize = 8;

    /// Checks `text`: one to eight names joined by dots.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= Self::CHARS_MAX && text.split('.').count() <= Self::STEPS_MAX;
        let named = text.split('.').all(|step| !step.is_empty());
        (fits && named && !text.chars().any(char::is_control)).then(|| Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names that lead to the value.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AttributePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AttributePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            coded(
                Code::FieldInvalid,
                format_args!(
                    "`{}` is not an attribute path",
                    text.chars().take(80).collect::<String>()
                ),
                "write one to eight names joined by dots, such as `tenant.plan`",
            )
        })
    }
}

impl schemars::JsonSchema for AttributePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AttributePath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An attribute of the context: one to eight names joined by dots.",
            "type": "string", "maxLength": Self::CHARS_MAX, "examples": ["tenant.plan"]
        })
    }
}

macro_rules! operators {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// How a clause compares an attribute with its operand.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operator {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Operator {
            /// All operators.
            pub const ALL: &'static [Operator] = &[$(Operator::$variant,)*];

            /// The operator as it stands in a clause.
            pub const fn as_str(self) -> &'static str {
                match self { $(Operator::$variant => $text,)* }
            }

            /// When a clause with it is true.
            fn meaning(self) -> &'static str {
                match self { $(Operator::$variant => concat!($($doc),*).trim(),)* }
            }
        }
    };
}

operators! {
    /// The attribute is the operand.
    Equals = "equals",
    /// The attribute is one of the operands.
    In = "in",
    /// The attribute, a string, holds the operand; or a list that has it.
    Contains = "contains",
    /// The attribute, a string, starts with one of the operands.
    StartsWith = "starts_with",
    /// The attribute, a string, ends with one of the operands.
    EndsWith = "ends_with",
    /// The attribute is there (`true`) or is not (`false`); never unknown.
    Exists = "exists",
    /// The attribute, a number, is less than the operand.
    Lt = "lt",
    /// The attribute, a number, is at most the operand.
    Le = "le",
    /// The attribute, a number, is greater than the operand.
    Gt = "gt",
    /// The attribute, a number, is at least the operand.
    Ge = "ge",
    /// One of the operands, a regular expression, is found in the attribute, a string.
    Matches = "matches",
    /// The attribute, a version, has the precedence of the operand.
    SemverEquals = "semver_equals",
    /// The attribute, a version, comes before the operand.
    SemverLt = "semver_lt",
    /// The attribute, a version, does not come after the operand.
    SemverLe = "semver_le",
    /// The attribute, a version, comes after the operand.
    SemverGt = "semver_gt",
    /// The attribute, a version, does not come before the operand.
    SemverGe = "semver_ge",
    /// The attribute, a version, has the operand's first number.
    SemverSameMajor = "semver_same_major",
    /// The attribute, a version, has the operand's first two numbers.
    SemverSameMinor = "semver_same_minor",
    /// The attribute, a time, is before the operand.
    Before = "before",
    /// The attribute, a time, is after the operand.
    After = "after",
    /// The attribute, an Internet address, is in one of the networks.
    Cidr = "cidr",
    /// The attribute, a string, is in one of the named segments.
    Segment = "segment",
}

/// A value that an attribute is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Operand {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(#[schemars(with = "f64")] Number),
    /// A string.
    Text(String),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// What is compared.
    pub attribute: AttributePath,
    /// How.
    pub operator: Operator,
    /// With what; any one of them is enough.
    pub operands: Vec<Operand>,
    /// Whether the operands were written as a list.
    pub list: bool,
}

/// An expression; true, false or unknown for a context (Kleene logic).
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// True if all parts are; true if there is none.
    All(Vec<Expr>),
    /// True if one part is; false if there is none.
    Any(Vec<Expr>),
    /// True if the part is false; unknown stays unknown.
    Not(Box<Expr>),
    /// A comparison.
    Clause(Clause),
}

impl Expr {
    /// How deeply the expression nests; a clause has depth 1.
    pub fn depth(&self) -> usize {
        match self {
            Self::Clause(_) => 1,
            Self::Not(part) => 1 + part.depth(),
            Self::All(parts) | Self::Any(parts) => {
                1 + parts.iter().map(Self::depth).max().unwrap_or(0)
            }
        }
    }

    /// Checks how deep the expression nests, and compiles its patterns.
    pub(crate) fn check(&self, pointer: &str, found: &mut Violations) {
        if self.depth() > limits::EXPRESSION_DEPTH_MAX {
            found.push(crate::documents::over_limit(
                pointer,
                "levels of nesting",
                limits::EXPRESSION_DEPTH_MAX,
            ));
        }
        self.for_each_clause(&mut |clause| {
            for operand in &clause.operands {
                if let (Operator::Matches, Operand::Text(text)) = (clause.operator, operand)
                    && let Err(error) = Pattern::new(text)
                {
                    let shown: String = text.chars().take(80).collect();
                    found.push(
                        Violation::new(
                            Code::ExpressionInvalid,
                            pointer,
                            format!("`{shown}` is not a pattern: {error}"),
                        )
                        .next("write a regular expression without look-around, back-references and large counts"),
                    );
                }
            }
        });
    }

    /// Calls `visit` on every clause, which can ask where it stands; `at` says where the expression does.
    pub fn for_each_clause_at(
        &self,
        at: &dyn Fn() -> Pointer,
        visit: &mut dyn FnMut(&Clause, &dyn Fn() -> Pointer),
    ) {
        let (name, parts) = match self {
            Self::Clause(clause) => return visit(clause, at),
            Self::Not(part) => return part.for_each_clause_at(&|| at().key("not"), visit),
            Self::All(parts) => ("all", parts),
            Self::Any(parts) => ("any", parts),
        };
        for (index, part) in parts.iter().enumerate() {
            part.for_each_clause_at(&|| at().key(name).index(index), visit);
        }
    }

    /// Calls `visit` on every clause.
    pub fn for_each_clause<'a>(&'a self, visit: &mut impl FnMut(&'a Clause)) {
        match self {
            Self::Clause(clause) => visit(clause),
            Self::Not(part) => part.for_each_clause(visit),
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.for_each_clause(visit);
                }
            }
        }
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::All(parts) => map.serialize_entry("all", parts)?,
            Self::Any(parts) => map.serialize_entry("any", parts)?,
            Self::Not(part) => map.serialize_entry("not", part)?,
            Self::Clause(clause) => {
                map.serialize_entry("attribute", &clause.attribute)?;
                match clause.operands.as_slice() {
                    [one] if !clause.list => {
                        map.serialize_entry(clause.operator.as_str(), one)?;
                    }
                    many => map.serialize_entry(clause.operator.as_str(), many)?,
                }
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExprVisitor)
    }
}

struct ExprVisitor;

impl<'de> Visitor<'de> for ExprVisitor {
    type Value = Expr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `all`, `any`, `not`, or `attribute` and an operator")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expr, A::Error> {
        let mut expr = None;
        let mut attribute = None;
        let mut comparison = None;
        let mut fields = 0;
        while let Some(field) = map.next_key::<String>()? {
            fields += 1;
            match field.as_str() {
                "all" => expr = Some(Expr::All(map.next_value()?)),
                "any" => expr = Some(Expr::Any(map.next_value()?)),
                "not" => expr = Some(Expr::Not(Box::new(map.next_value()?))),
                "attribute" => attribute = Some(map.next_value()?),
                other => {
                    let operator = Operator::ALL
                        .iter()
                        .copied()
                        .find(|it| it.as_str() == other);
                    let Some(operator) = operator else {
                        return Err(unknown_operator(other));
                    };
                    if comparison.is_some() {
                        return Err(coded(
                            Code::ExpressionInvalid,
                            "a clause has one operator",
                            "put two clauses under `all`",
                        ));
                    }
                    comparison = Some((operator, map.next_value::<Operands>()?));
                }
            }
        }
        match (expr, attribute, comparison) {
            (Some(expr), None, None) if fields == 1 => Ok(expr),
            (None, Some(attribute), Some((operator, operands))) => {
                clause(attribute, operator, operands).map(Expr::Clause)
            }
            (None, Some(_), None) => Err(coded(
                Code::ExpressionInvalid,
                "the clause has no operator",
                format_args!("add one of {}", operator_list()),
            )),
            (None, None, Some(_)) => Err(coded(
                Code::ExpressionInvalid,
                "missing field `attribute`",
                "add the `attribute` to compare, such as `tenant.plan`",
            )),
            _ => Err(coded(
                Code::ExpressionInvalid,
                "an expression is one thing",
                "write exactly one of `all`, `any`, `not`, or `attribute` with an operator",
            )),
        }
    }
}

fn operator_list() -> String {
    let names: Vec<_> = Operator::ALL
        .iter()
        .map(|it| format!("`{}`", it.as_str()))
        .collect();
    names.join(", ")
}

fn unknown_operator<E: serde::de::Error>(name: &str) -> E {
    let name: String = name.chars().take(80).collect();
    coded(
        Code::ExpressionInvalid,
        format_args!("`{name}` is not an operator"),
        format_args!("use one of {}", operator_list()),
    )
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a string, a number, true or false, or a list of these"
)]
enum Operands {
    One(Operand),
    Many(Vec<Operand>),
}

fn clause<E: serde::de::Error>(
    attribute: AttributePath,
    operator: Operator,
    operands: Operands,
) -> Result<Clause, E> {
    let (operands, list) = match operands {
        Operands::One(one) => (vec![one], false),
        Operands::Many(many) => (many, true),
    };
    let text = |it: &Operand| matches!(it, Operand::Text(_));
    let one_text = |reads: fn(&str) -> bool| match operands.as_slice() {
        [Operand::Text(text)] if !list => reads(text),
        _ => false,
    };
    let network = |it: &Operand| match it {
        Operand::Text(text) => text.parse::<Network>().is_ok(),
        _ => false,
    };
    let wrong = match operator {
        Operator::Equals if list => Some(("takes one value", "use `in` for several")),
        Operator::In if !list => Some(("takes a list", "use `equals` for one value")),
        Operator::In if operands.is_empty() => Some(("takes at least one value", "add one")),
        Operator::Contains if list => Some(("takes one value", "put several clauses under `any`")),
        Operator::StartsWith | Operator::EndsWith | Operator::Matches | Operator::Segment
            if operands.is_empty() || !operands.iter().all(text) =>
        {
            Some(("takes a string or a list of strings", "write one"))
        }
        Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge
            if list || !operands.iter().all(|it| matches!(it, Operand::Number(_))) =>
        {
            Some(("takes a number", "write it without quotes"))
        }
        Operator::Exists if list || !operands.iter().all(|it| matches!(it, Operand::Bool(_))) => {
            Some(("takes true or false", "write one of the two"))
        }
        Operator::SemverEquals
        | Operator::SemverLt
        | Operator::SemverLe
        | Operator::SemverGt
        | Operator::SemverGe
        | Operator::SemverSameMajor
        | Operator::SemverSameMinor
            if !one_text(|text| ReportedVersion::new(text).is_some()) =>
        {
            Some(("takes a version", "write one in quotes, such as \"1.4.0\""))
        }
        Operator::Before | Operator::After
            if !one_text(|text| text.parse::<Timestamp>().is_ok()) =>
        {
            Some((
                "takes a time",
                "write one such as 2026-03-01T09:30:00Z or 2026-03-01",
            ))
        }
        Operator::Cidr if operands.is_empty() || !operands.iter().all(network) => Some((
            "takes a network or a list of networks",
            "write one such as 10.0.0.0/8 or 2001:db8::/32",
        )),
        _ => None,
    };
    match wrong {
        Some((wrong, next)) => Err(coded(
            Code::ExpressionInvalid,
            format_args!("`{}` {wrong}", operator.as_str()),
            next,
        )),
        None => Ok(Clause {
            attribute,
            operator,
            operands,
            list,
        }),
    }
}

impl schemars::JsonSchema for Expr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expr".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let expr = generator.subschema_for::<Expr>();
        let attribute = generator.subschema_for::<AttributePath>();
        let operand = generator.subschema_for::<Operand>();
        let one = |name: &str, schema: serde_json::Value, description: &str| {
            serde_json::json!({
                "description": description,
                "type": "object", "properties": { name: schema },
                "required": [name], "additionalProperties": false
            })
        };
        let mut forms = vec![
            one(
                "all",
                serde_json::json!({ "type": "array", "items": expr }),
                "True if all parts are; true if there is none.",
            ),
            one(
                "any",
                serde_json::json!({ "type": "array", "items": expr }),
                "True if one part is; false if there is none.",
            ),
            one(
                "not",
                serde_json::json!(expr),
                "True if the part is false, false if it is true; unknown if that is unknown.",
            ),
        ];
        forms.extend(Operator::ALL.iter().map(|operator| {
            let name = operator.as_str();
            serde_json::json!({
                "description": operator.meaning(),
                "type": "object",
                "properties": {
                    "attribute": attribute,
                    name: { "anyOf": [operand, { "type": "array", "items": operand }] }
                },
                "required": ["attribute", name], "additionalProperties": false
            })
        }));
        schemars::json_schema!({
            "description": format!("A targeting expression, nested at most {} deep. An attribute that is missing or of another type makes it unknown, and what is unknown does not match.", limits::EXPRESSION_DEPTH_MAX),
            "oneOf": forms
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;
    use crate::parse_strict;

    fn check(value: &Value, expected: &Expect) {
        match parse_strict::<Expr>(value) {
            Ok(expr) => {
                assert_eq!(serde_json::to_value(&expr).unwrap(), *value);
                expected.assert_eq("ok");
            }
            Err(violations) => {
                let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
                expected.assert_eq(&lines.join("\n"));
            }
        }
    }

    #[test]
    fn expressions_are_read_and_written_in_one_form() {
        check(
            &json!({"all": [{"attribute": "tenant.plan", "in": ["a", 1, true]}, {"not": {"any": [{"attribute": "x", "exists": false}]}}]}),
            &expect![["ok"]],
        );
        check(
            &json!({"attribute": "a", "starts_with": ["x"]}),
            &expect![["ok"]],
        );
        check(&json!({"attribute": "a", "lt": 1.5}), &expect![["ok"]]);
    }

    #[test]
    fn an_operand_that_its_operator_cannot_compare_with_is_refused() {
        check(
            &json!({"any": [
                {"attribute": "a", "semver_ge": 1}, {"attribute": "a", "semver_lt": "x"}, {"attribute": "a", "semver_gt": ["1.0"]},
                {"attribute": "a", "before": "soon"}, {"attribute": "a", "cidr": ["10.0.0.0/8", "10.0.0.0/99"]}, {"attribute": "a", "matches": 1}
            ]}),
            &expect![[r#"
                /any/0: `semver_ge` takes a version [EXPRESSION_INVALID]; write one in quotes, such as "1.4.0"
                /any/1: `semver_lt` takes a version [EXPRESSION_INVALID]; write one in quotes, such as "1.4.0"
                /any/2: `semver_gt` takes a version [EXPRESSION_INVALID]; write one in quotes, such as "1.4.0"
                /any/3: `before` takes a time [EXPRESSION_INVALID]; write one such as 2026-03-01T09:30:00Z or 2026-03-01
                /any/4: `cidr` takes a network or a list of networks [EXPRESSION_INVALID]; write one such as 10.0.0.0/8 or 2001:db8::/32
                /any/5: `matches` takes a string or a list of strings [EXPRESSION_INVALID]; write one"#]],
        );
        check(
            &json!({"all": [
                {"attribute": "a", "semver_ge": "v1.2"}, {"attribute": "a", "after": "2026-03-01"}, {"attribute": "a", "cidr": ["10.0.0.0/8"]}, {"attribute": "a", "matches": "^a"}
            ]}),
            &expect![[r"ok"]],
        );
    }

    #[test]
    fn a_malformed_expression_says_what_is_wrong_and_where() {
        check(
            &json!({"all": [{"attribute": "a", "equal": 1}]}),
            &expect![
                "/all/0: `equal` is not an operator [EXPRESSION_INVALID]; use one of `equals`, `in`, `contains`, `starts_with`, `ends_with`, `exists`, `lt`, `le`, `gt`, `ge`, `matches`, `semver_equals`, `semver_lt`, `semver_le`, `semver_gt`, `semver_ge`, `semver_same_major`, `semver_same_minor`, `before`, `after`, `cidr`, `segment`"
            ],
        );
        check(
            &json!({"any": [{"attribute": "a", "lt": "1"}, {"attribute": "a", "equals": 1, "lt": 2}, {"attribute": "a"}, {"equals": 1}]}),
            &expect![[r"
                /any/0: `lt` takes a number [EXPRESSION_INVALID]; write it without quotes
                /any/1: a clause has one operator [EXPRESSION_INVALID]; put two clauses under `all`
                /any/2: the clause has no operator [EXPRESSION_INVALID]; add one of `equals`, `in`, `contains`, `starts_with`, `ends_with`, `exists`, `lt`, `le`, `gt`, `ge`, `matches`, `semver_equals`, `semver_lt`, `semver_le`, `semver_gt`, `semver_ge`, `semver_same_major`, `semver_same_minor`, `before`, `after`, `cidr`, `segment`
                /any/3: missing field `attribute` [EXPRESSION_INVALID]; add the `attribute` to compare, such as `tenant.plan`"]],
        );
    }
}
