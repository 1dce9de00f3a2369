//! Expressions: whether one is true, and whether one is false, are two tests, for a clause can be neither.

use plane_model::documents::Segment;
use plane_model::{Clause, Document, Expr, Operand as Literal, Operator};
use serde_json::{Value, json};

use super::Said;
use super::chain::{Export, Operand};
use super::logic::{Test, is_bool, is_filled, is_number, is_string};
use crate::clause::{Compiled, Verdict};

/// How many ids are written into a rule.
const IDS_MAX: usize = 5_000;
/// How deep segments are followed.
const DEPTH_MAX: u8 = 16;

impl Export<'_> {
    /// The test of whether an expression is `wanted`: true, or false.
    pub(super) fn test(&self, expr: &Expr, wanted: bool, depth: u8) -> Said<Test> {
        let tests = |parts: &[Expr]| -> Said<Vec<Test>> {
            parts
                .iter()
                .map(|part| self.test(part, wanted, depth))
                .collect()
        };
        Ok(match expr {
            Expr::All(parts) if wanted => Test::all(tests(parts)?),
            Expr::All(parts) => Test::any(tests(parts)?),
            Expr::Any(parts) if wanted => Test::any(tests(parts)?),
            Expr::Any(parts) => Test::all(tests(parts)?),
            Expr::Not(part) => self.test(part, !wanted, depth)?,
            Expr::Clause(clause) => self.clause(clause, wanted, depth)?,
        })
    }

    fn clause(&self, clause: &Clause, wanted: bool, depth: u8) -> Said<Test> {
        let operand = self.operand(&clause.attribute)?;
        if clause.operator == Operator::Segment {
            return self.segments(clause, &operand, wanted, depth);
        }
        let (value, path) = match operand {
            Operand::Known(_) => {
                let compiled = Compiled::new(clause, |name| self.view.segment(name));
                let sought = if wanted {
                    Verdict::True
                } else {
                    Verdict::False
                };
                return Ok(Test::Known(compiled.verdict(self.facts) == sought));
            }
            Operand::Id(value) => (value, None),
            Operand::Any(value, path) => (value, Some(path)),
        };
        let is_text = if path.is_none() {
            is_filled(&value)
        } else {
            is_string(&value)
        };
        let numbers: Vec<&Literal> = clause
            .operands
            .iter()
            .filter(|it| matches!(it, Literal::Number(_)))
            .collect();
        match clause.operator {
            Operator::Equals | Operator::In => {
                let texts: Vec<&Literal> = clause
                    .operands
                    .iter()
                    .filter(|it| matches!(it, Literal::Text(_)))
                    .collect();
                let mut kinds = vec![among(&is_text, &value, &json!(texts), texts.len(), wanted)];
                if let Some(path) = &path {
                    let is_a_number = is_number(&value, path);
                    kinds.push(among(
                        &is_a_number,
                        &value,
                        &json!(numbers),
                        numbers.len(),
                        wanted,
                    ));
                    kinds.push(bools(clause, &value, wanted));
                }
                Ok(Test::any(kinds))
            }
            Operator::StartsWith | Operator::EndsWith => {
                let operator = if clause.operator == Operator::StartsWith {
                    "starts_with"
                } else {
                    "ends_with"
                };
                let ends = clause.operands.iter();
                let has = Test::any(ends.map(|end| Test::Logic(json!({operator: [value, end]}))));
                Ok(Test::all([is_text, if wanted { has } else { has.not() }]))
            }
            Operator::Exists => {
                let is_there = if path.is_none() {
                    is_text
                } else {
                    Test::Logic(json!({"!==": [value, null]}))
                };
                let asks = clause.operands.first() == Some(&Literal::Bool(true));
                Ok(if asks == wanted {
                    is_there
                } else {
                    is_there.not()
                })
            }
            Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => {
                let Some(path) = path else {
                    return Ok(Test::Known(false));
                };
                let operator = match clause.operator {
                    Operator::Lt => "<",
                    Operator::Le => "<=",
                    Operator::Gt => ">",
                    _ => ">=",
                };
                let holds = Test::Logic(json!({operator: [value, clause.operands.first()]}));
                let holds = if wanted { holds } else { holds.not() };
                Ok(Test::all([is_number(&value, &path), holds]))
            }
            other => Err(format!(
                "compares with `{}`, which flagd does not have, or not with the same meaning",
                other.as_str()
            )),
        }
    }

    fn segments(&self, clause: &Clause, operand: &Operand, wanted: bool, depth: u8) -> Said<Test> {
        if depth > DEPTH_MAX {
            return Err(format!("names segments that are deeper than {DEPTH_MAX}"));
        }
        let mut tests = Vec::new();
        let mut is_complete = true;
        for name in clause.operands.iter().filter_map(|it| match it {
            Literal::Text(name) => Some(name.as_str()),
            _ => None,
        }) {
            match self.view.segment_document(name).map(|it| &**it) {
                Some(Document::Segment(segment)) => {
                    let test = self.segment(segment, operand, wanted, depth);
                    tests.push(test.map_err(|reason| format!("names `{name}`, which {reason}"))?);
                }
                _ => is_complete = false,
            }
        }
        Ok(match wanted {
            true => Test::any(tests),
            false if is_complete => Test::all(tests),
            // Whether somebody is in a segment that does not exist, nobody knows.
            false => Test::Known(false),
        })
    }

    fn segment(&self, segment: &Segment, operand: &Operand, wanted: bool, depth: u8) -> Said<Test> {
        if segment.include.len() + segment.exclude.len() > IDS_MAX {
            return Err(format!("has more than {IDS_MAX} ids"));
        }
        self.take(1 + segment.include.len() + segment.exclude.len())?;
        let when = match &segment.when {
            Some(when) => self.test(when, wanted, depth + 1)?,
            None => Test::Known(!wanted),
        };
        let (is_text, is_included, is_excluded) = match operand {
            Operand::Known(None) => return Ok(Test::Known(false)),
            Operand::Known(Some(id)) => (
                Test::Known(true),
                Test::Known(segment.include.contains(id)),
                Test::Known(segment.exclude.contains(id)),
            ),
            Operand::Id(value) | Operand::Any(value, _) => {
                let is_in = |ids: &Value, count: usize| match count {
                    0 => Test::Known(false),
                    _ => Test::Logic(json!({"in": [value, ids]})),
                };
                let is_text = if matches!(operand, Operand::Id(_)) {
                    is_filled(value)
                } else {
                    is_string(value)
                };
                let included = is_in(&json!(segment.include), segment.include.len());
                let excluded = is_in(&json!(segment.exclude), segment.exclude.len());
                (is_text, included, excluded)
            }
        };
        Ok(if wanted {
            let gathered = Test::all([is_excluded.not(), when]);
            Test::all([is_text, Test::any([is_included, gathered])])
        } else {
            let gathered = Test::any([is_excluded, when]);
            Test::all([is_text, is_included.not(), gathered])
        })
    }
}

/// Whether a value of one type is among those of that type, or is not; false where there are none.
fn among(is_typed: &Test, value: &Value, literals: &Value, count: usize, wanted: bool) -> Test {
    if count == 0 {
        return Test::Known(false);
    }
    let is_in = Test::Logic(json!({"in": [value, literals]}));
    Test::all([is_typed.clone(), if wanted { is_in } else { is_in.not() }])
}

fn bools(clause: &Clause, value: &Value, wanted: bool) -> Test {
    let named = |it: bool| clause.operands.contains(&Literal::Bool(it));
    if !named(true) && !named(false) {
        return Test::Known(false);
    }
    let sought = [true, false].into_iter().filter(|it| named(*it) == wanted);
    Test::any(sought.map(|it| is_bool(value, it)))
}
