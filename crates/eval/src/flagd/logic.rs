//! Tests in flagd's rules: what is known beforehand is never written down.

use serde_json::{Value, json};

/// A test of a context.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Known(bool),
    Logic(Value),
}

impl Test {
    pub(super) fn all(tests: impl IntoIterator<Item = Self>) -> Self {
        Self::join(tests, "and", true)
    }

    pub(super) fn any(tests: impl IntoIterator<Item = Self>) -> Self {
        Self::join(tests, "or", false)
    }

    /// Joins tests, of which those that are known to be `neutral` do not matter.
    fn join(tests: impl IntoIterator<Item = Self>, operator: &str, neutral: bool) -> Self {
        let mut parts = Vec::new();
        for test in tests {
            match test {
                Self::Known(known) if known == neutral => {}
                Self::Known(known) => return Self::Known(known),
                Self::Logic(logic) => parts.push(logic),
            }
        }
        match parts.len() {
            0 => Self::Known(neutral),
            1 => Self::Logic(parts.swap_remove(0)),
            _ => Self::Logic(json!({ operator: parts })),
        }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Known(known) => Self::Known(!known),
            Self::Logic(logic) => Self::Logic(json!({"!": [logic]})),
        }
    }
}

/// Says that a value is a string: joining only one gives the same one back.
pub(super) fn is_string(value: &Value) -> Test {
    Test::all([
        // Without it, one of the engines of npm fails on null.
        Test::Logic(json!({"!==": [value, null]})),
        Test::Logic(json!({"===": [{"cat": [value]}, value]})),
    ])
}

/// Says that a value is a string with something in it, as an id is.
pub(super) fn is_filled(value: &Value) -> Test {
    Test::all([is_string(value), Test::Logic(json!({"!==": [value, ""]}))])
}

/// Says that what stands at a path is a number: that it is nothing else.
///
/// Calculating with it would tell, but npm's evaluator gives up a flag whose rule calculates with a
/// list or an object. Those are told by how they are written.
pub(super) fn is_number(value: &Value, path: &str) -> Test {
    let text = json!({"cat": [value]});
    let others = [
        "true",
        "True",
        "false",
        "False",
        "",
        "null",
        "[object Object]",
    ];
    Test::all([
        Test::Logic(json!({"!==": [value, null]})),
        Test::Logic(json!({"!==": [text, value]})),
        Test::Logic(json!({"in": [text, others]})).not(),
        Test::Logic(json!({"in": [",", text]})).not(),
        Test::Logic(json!({"===": [{"var": format!("{path}.0")}, null]})),
    ])
}

/// Says that a value is true, or false; Python takes 1 and 0 for them.
pub(super) fn is_bool(value: &Value, wanted: bool) -> Test {
    let words = if wanted {
        ["true", "True"]
    } else {
        ["false", "False"]
    };
    Test::all([
        Test::Logic(json!({"===": [value, wanted]})),
        Test::Logic(json!({"in": [{"cat": [value]}, words]})),
    ])
}

/// Says that a value is a whole number that every engine writes with the same digits.
pub(super) fn is_whole(value: &Value, path: &str) -> Test {
    const BOUND: i64 = 1_000_000_000_000_000;
    Test::all([
        is_number(value, path),
        Test::Logic(json!({"<": [value, BOUND]})),
        Test::Logic(json!({">": [value, -BOUND]})),
        Test::Logic(json!({"===": [{"%": [value, 1]}, 0]})),
    ])
}

/// A choice: the first value whose test is true, else the last.
#[derive(Debug, Default)]
pub(super) struct Choice {
    parts: Vec<Value>,
    /// Set once a test is known to be true: what comes after it is never reached.
    last: Option<Value>,
}

impl Choice {
    pub(super) fn push(&mut self, test: Test, value: Value) {
        match test {
            _ if self.last.is_some() => {}
            Test::Known(false) => {}
            Test::Known(true) => self.last = Some(value),
            Test::Logic(logic) => self.parts.extend([logic, value]),
        }
    }

    pub(super) fn end(mut self, otherwise: Value) -> Value {
        let last = self.last.take().unwrap_or(otherwise);
        let is_all_the_same = self.parts.iter().skip(1).step_by(2).all(|it| *it == last);
        if self.parts.is_empty() || (is_all_the_same && !last.is_object()) {
            return last;
        }
        self.parts.push(last);
        json!({"if": self.parts})
    }
}
