//! Reads a typed value from JSON and reports every mistake of form at once.

mod strict;

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::strict::Strict;
use crate::pointer::Pointer;
use crate::{Code, Violation, Violations, limits};

/// Separates the parts of an error that one of our own readers raises inside serde.
const CODED: char = '\u{1f}';

/// Makes the error of one of our readers carry its code, and what to do next, through serde.
///
/// The detail stands last: it may quote the author's text, whatever that holds.
pub(crate) fn coded<E: serde::de::Error>(
    code: Code,
    detail: impl std::fmt::Display,
    next: impl std::fmt::Display,
) -> E {
    E::custom(format_args!("{code}{CODED}{next}{CODED}{detail}"))
}

/// How many parts of a value are read in all, however many mistakes it has.
const PARTS_READ_MAX: usize = 4_000_000;

/// Reads `T` and refuses unknown fields and lists in place of objects; every mistake of form is in
/// the report, not just the first.
///
/// Serde stops at the first mistake, so the place of each mistake is cut out and the rest read again.
/// Takes one pass per mistake, at most [`limits::VIOLATIONS_MAX`], and fewer for a large value, so
/// that a report never costs more than a few readings of the largest one.
pub fn parse_strict<T: DeserializeOwned>(value: &Value) -> Result<T, Violations> {
    let mut violations = Violations::new();
    let mut pruned = Pruned::new(value);
    let passes_max = (PARTS_READ_MAX / parts(value)).clamp(1, limits::VIOLATIONS_MAX);
    for _ in 0..passes_max {
        let mut unknown = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| unknown.push(ignored_steps(&path));
        let reader = serde_ignored::Deserializer::new(Strict(pruned.value()), &mut note);
        match serde_path_to_error::deserialize::<_, T>(reader) {
            Ok(parsed) => {
                for steps in unknown.iter().take(limits::VIOLATIONS_MAX) {
                    violations.push(unknown_field(&pruned.original(steps)));
                }
                return if violations.is_empty() {
                    Ok(parsed)
                } else {
                    Err(violations)
                };
            }
            Err(error) => {
                let steps = error_steps(error.path());
                let at = pruned.original(&steps);
                let violation = explain(&at, &error.into_inner());
                // A field that was refused, whole or in part, and cut out is not missing as well.
                let cut = missing_field(&violation).is_some_and(|field| {
                    let field = at.key(field).to_string();
                    violations.iter().any(|it| {
                        let inside = it.pointer.strip_prefix(&field);
                        inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    })
                });
                if !cut {
                    violations.push(violation);
                }
                if !pruned.cut(&steps) {
                    // Nothing is left to read on, but what was read until here is known.
                    for steps in unknown.iter().take(limits::VIOLATIONS_MAX) {
                        violations.push(unknown_field(&pruned.original(steps)));
                    }
                    break;
                }
            }
        }
    }
    Err(violations)
}

/// Counts a value and all that is in it.
fn parts(value: &Value) -> usize {
    let mut count = 0;
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        count += 1;
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(members) => left.extend(members.values()),
            _ => {}
        }
    }
    count
}

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A copy of the input from which refused parts are cut, and where the kept parts were.
struct Pruned<'a> {
    input: &'a Value,
    copy: Option<Value>,
    /// For every array that lost elements (as steps in the original): the original indices kept.
    kept: Vec<(Vec<Step>, Vec<usize>)>,
}

impl<'a> Pruned<'a> {
    fn new(input: &'a Value) -> Self {
        Self {
            input,
            copy: None,
            kept: Vec::new(),
        }
    }

    fn value(&self) -> &Value {
        self.copy.as_ref().unwrap_or(self.input)
    }

    fn original_steps(&self, steps: &[Step]) -> Vec<Step> {
        let mut path: Vec<Step> = Vec::with_capacity(steps.len());
        for step in steps {
            let step = match step {
                Step::Index(index) => {
                    let kept = self.kept.iter().find(|(array, _)| *array == path);
                    Step::Index(
                        kept.and_then(|(_, kept)| kept.get(*index))
                            .map_or(*index, |i| *i),
                    )
                }
                Step::Key(key) => Step::Key(key.clone()),
            };
            path.push(step);
        }
        path
    }

    fn original(&self, steps: &[Step]) -> Pointer {
        let mut pointer = Pointer::root();
        for step in self.original_steps(steps) {
            match step {
                Step::Key(key) => pointer.push_key(&key),
                Step::Index(index) => pointer.push_index(index),
            }
        }
        pointer
    }

    /// Cuts out the part at `steps`; false if that leaves nothing to read on.
    fn cut(&mut self, steps: &[Step]) -> bool {
        let Some((last, parents)) = steps.split_last() else {
            return false;
        };
        let original = self.original_steps(parents);
        let mut place = self.copy.get_or_insert_with(|| self.input.clone());
        for step in parents {
            let next = match step {
                Step::Key(key) => place.get_mut(key),
                Step::Index(index) => place.get_mut(*index),
            };
            let Some(next) = next else { return false };
            place = next;
        }
        match (last, place) {
            (Step::Key(key), Value::Object(map)) => map.remove(key).is_some(),
            (Step::Index(index), Value::Array(list)) if *index < list.len() => {
                let count = list.len();
                list.remove(*index);
                if let Some((_, kept)) = self.kept.iter_mut().find(|(array, _)| *array == original)
                {
                    kept.remove(*index);
                } else {
                    let kept = (0..count).filter(|at| at != index).collect();
                    self.kept.push((original, kept));
                }
                true
            }
            _ => false,
        }
    }
}

fn error_steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn ignored_steps(path: &serde_ignored::Path<'_>) -> Vec<Step> {
    use serde_ignored::Path;
    let mut steps = Vec::new();
    let mut path = path;
    loop {
        path = match path {
            Path::Root => break,
            Path::Seq { parent, index } => {
                steps.push(Step::Index(*index));
                parent
            }
            Path::Map { parent, key } => {
                steps.push(Step::Key(key.clone()));
                parent
            }
            Path::Some { parent }
            | Path::NewtypeStruct { parent }
            | Path::NewtypeVariant { parent } => parent,
        };
    }
    steps.reverse();
    steps
}

fn unknown_field(pointer: &Pointer) -> Violation {
    let pointer = pointer.to_string();
    let field = pointer.rsplit('/').next().unwrap_or_default().to_owned();
    Violation::new(
        Code::FieldUnknown,
        pointer,
        format!("unknown field `{field}`"),
    )
    .next("remove it or correct its spelling")
}

fn explain(pointer: &Pointer, error: &serde_json::Error) -> Violation {
    let text = error.to_string();
    let pointer = pointer.to_string();
    if let Some((code, next, detail)) = decoded(&text) {
        return Violation::new(code, pointer, detail).next(next);
    }
    if let Some(field) = text.strip_prefix("missing field ") {
        return Violation::new(
            Code::FieldMissing,
            pointer,
            format!("missing field {field}"),
        )
        .next(format!("add {field}"));
    }
    let detail = plain(&text);
    let next = match detail.rsplit_once(", expected ") {
        Some((_, expected)) => format!("write {expected}"),
        None => "correct the value".to_owned(),
    };
    Violation::new(Code::FieldInvalid, pointer, detail).next(next)
}

/// The parts of an error that [`coded`] made.
fn decoded(text: &str) -> Option<(Code, &str, &str)> {
    let (code, rest) = text.split_once(CODED)?;
    let (next, detail) = rest.split_once(CODED)?;
    Some((code.parse().ok()?, next, detail))
}

/// The words of an error of serde's for people, without what our own readers packed into it.
pub(crate) fn readable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match decoded(&text) {
        Some((_, _, detail)) => detail.to_owned(),
        None => text,
    }
}

/// The field that the violation says is missing.
fn missing_field(violation: &Violation) -> Option<&str> {
    violation
        .detail
        .strip_prefix("missing field `")?
        .strip_suffix('`')
}

/// Puts serde's words for types in the user's terms.
fn plain(text: &str) -> String {
    // A variant is what a flag gives.
    let text = &text.replacen("unknown variant `", "unknown value `", 1);
    let Some((head, expected)) = text.rsplit_once(", expected ") else {
        return text.to_owned();
    };
    let words = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "an object",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a borrowed string" => "a string",
        other if other.starts_with("struct ") || other.starts_with("internally") => "an object",
        other => other,
    };
    let head = head.replace("invalid type: map", "invalid type: object");
    let head = head.replace("invalid type: sequence", "invalid type: list");
    format!("{head}, expected {words}")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the fields are only read by the derived reader")]
    struct Outer {
        count: Option<u32>,
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the fields are only read by the derived reader")]
    struct Inner {
        name: String,
    }

    fn check(value: &Value, expected: &Expect) {
        let violations = parse_strict::<Outer>(value).unwrap_err();
        let lines: Vec<_> = violations.iter().map(|it| format!("{it}\n")).collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn unknown_fields_are_reported_beside_a_required_field_that_is_wrong() {
        check(
            &json!({"inner": 1, "other": 2}),
            &expect![[r"
                /inner: invalid type: integer `1`, expected a list [FIELD_INVALID]; write a list
                /other: unknown field `other` [FIELD_UNKNOWN]; remove it or correct its spelling
            "]],
        );
    }

    #[test]
    fn every_mistake_of_form_is_reported_at_its_place() {
        check(
            &json!({"count": "x", "inner": [{"name": 1}, {"name": "a", "mane": 2}, {}, {"name": "b", "z/": 3}], "other": 1}),
            &expect![[r#"
                /count: invalid type: string "x", expected a whole number that is not negative [FIELD_INVALID]; write a whole number that is not negative
                /inner/0/name: invalid type: integer `1`, expected a string [FIELD_INVALID]; write a string
                /inner/2: missing field `name` [FIELD_MISSING]; add `name`
                /inner/1/mane: unknown field `mane` [FIELD_UNKNOWN]; remove it or correct its spelling
                /inner/3/z~1: unknown field `z~1` [FIELD_UNKNOWN]; remove it or correct its spelling
                /other: unknown field `other` [FIELD_UNKNOWN]; remove it or correct its spelling
            "#]],
        );
    }
}
