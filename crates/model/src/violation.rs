//! One finding about one place of one input.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Code;

/// A finding: which rule was broken, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Violation {
    /// JSON pointer into the input; empty for the whole of it.
    pub pointer: String,
    /// The error's stable code.
    pub code: Code,
    /// What is wrong, in the user's terms.
    pub detail: String,
    /// What to do next.
    pub next: String,
}

/// All findings about one input.
pub type Violations = Vec<Violation>;

/// What is wrong and where; it becomes a [`Violation`] by saying what to do next.
#[must_use = "say what to do next: nobody reads a finding that does not"]
#[derive(Debug)]
pub struct Unadvised {
    pointer: String,
    code: Code,
    detail: String,
}

impl Unadvised {
    /// Says what to do next.
    pub fn next(self, next: impl Into<String>) -> Violation {
        Violation {
            pointer: self.pointer,
            code: self.code,
            detail: self.detail,
            next: next.into(),
        }
    }
}

impl Violation {
    /// Begins a finding about the place at `pointer`.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a finding is whole only with what to do next, so that none can lack it"
    )]
    pub fn new(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Unadvised {
        Unadvised {
            pointer: pointer.into(),
            code,
            detail: detail.into(),
        }
    }

    /// Moves the finding below `prefix`, for a value that was checked apart from its parent.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        write!(f, "{} [{}]; {}", self.detail, self.code, self.next)
    }
}
