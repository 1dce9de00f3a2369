//! Reads the members of one object by hand, so that every mistake is in the report.

use std::ops::RangeInclusive;

use plane_model::{Code, Pointer, Violation, Violations};
use serde_json::{Map, Value};

/// The members of one object and where it stands; findings gather in `found`.
pub(super) struct Fields<'v, 'f> {
    pub(super) members: &'v Map<String, Value>,
    pub(super) at: Pointer,
    pub(super) found: &'f mut Violations,
}

impl<'v> Fields<'v, '_> {
    pub(super) fn report(
        &mut self,
        key: &str,
        code: Code,
        detail: String,
        next: impl Into<String>,
    ) {
        let violation = Violation::new(code, self.at.key(key).to_string(), detail);
        self.found.push(violation.next(next));
    }

    fn wrong_type(&mut self, key: &str, value: &Value, expected: &str) {
        let detail = format!("`{key}` must be {expected}, not {}", type_of(value));
        let is_unquoted = expected == "a string" && (value.is_number() || value.is_boolean());
        let next = if is_unquoted {
            format!("put the value in quotes: \"{value}\"")
        } else {
            format!("write {expected}")
        };
        self.report(key, Code::FieldInvalid, detail, next);
    }

    pub(super) fn missing(&mut self, key: &str) {
        let pointer = self.at.to_string();
        let violation = Violation::new(
            Code::FieldMissing,
            pointer,
            format!("missing field `{key}`"),
        );
        self.found.push(violation.next(format!("add `{key}`")));
    }

    pub(super) fn text(&mut self, key: &str) -> Option<&'v str> {
        match self.members.get(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(key, other, "a string");
                None
            }
        }
    }

    pub(super) fn required_text(&mut self, key: &str) -> Option<&'v str> {
        if !self.members.contains_key(key) {
            self.missing(key);
        }
        self.text(key)
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        match self.members.get(key)? {
            Value::Bool(flag) => Some(*flag),
            other => {
                self.wrong_type(key, other, "true or false");
                None
            }
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Option<&'v Map<String, Value>> {
        match self.members.get(key)? {
            Value::Object(members) => Some(members),
            other => {
                self.wrong_type(key, other, "an object");
                None
            }
        }
    }

    pub(super) fn list(&mut self, key: &str) -> Option<&'v [Value]> {
        match self.members.get(key)? {
            Value::Array(items) => Some(items),
            other => {
                self.wrong_type(key, other, "a list");
                None
            }
        }
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.members.get(key)?;
        let Some(number) = value.as_number() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let integer = number.as_u64().filter(|integer| range.contains(integer));
        if integer.is_none() {
            let bounds = match *range.end() {
                u64::MAX => format!("at least {}", range.start()),
                end => format!("from {} to {end}", range.start()),
            };
            let detail = format!("`{key}` must be a whole number {bounds}, not {number}");
            let next = format!("write a whole number {bounds}");
            self.report(key, Code::FieldInvalid, detail, next);
        }
        integer
    }

    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.members.get(key)?;
        let Some(number) = value.as_f64() else {
            self.wrong_type(key, value, "a number");
            return None;
        };
        if range.contains(&number) {
            return Some(number);
        }
        let (start, end) = range.into_inner();
        let detail = format!("`{key}` must be a number from {start} to {end}, not {value}");
        let next = format!("write a number from {start} to {end}");
        self.report(key, Code::FieldInvalid, detail, next);
        None
    }
}

/// Names the JSON type of a value in a message.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
