//! JSON Schema: what tools take and return, and what configuration may hold.
//!
//! Draft 2020-12, or draft-07 where `$schema` says so. A schema is one document: references stay
//! inside it (`#…`), nothing is ever fetched. `format` is a note, not a rule. Patterns run on an
//! engine without backtracking, so none can take long. Messages never show the values that they
//! are about, because these may be secret.

mod messages;
mod references;

use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use plane_model::{Code, Violation, Violations, canonical, limits};
use serde_json::Value;

pub use references::subschemas;

/// The largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
const DRAFT_2020_12: &str = "https://json-schema.org/draft/2020-12/schema";
const DRAFT_07: &str = "http://json-schema.org/draft-07/schema";

/// A schema that is ready to validate; clones share it.
#[derive(Clone)]
pub struct CompiledSchema {
    validator: Arc<Validator>,
}

impl fmt::Debug for CompiledSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompiledSchema")
    }
}

impl CompiledSchema {
    /// Returns whether `value` matches.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Returns everything about `value` that does not match, each with `code` and with a pointer
    /// into `value`; at most [`limits::VIOLATIONS_MAX`].
    pub fn validate(&self, value: &Value, code: Code) -> Violations {
        let mut found = Violations::new();
        for error in self.validator.iter_errors(value) {
            messages::explain(&error, code, &mut found);
            if found.len() >= limits::VIOLATIONS_MAX {
                found.truncate(limits::VIOLATIONS_MAX);
                break;
            }
        }
        found
    }
}

/// Checks a schema against its meta-schema and this product's limits, and compiles it.
///
/// Costs milliseconds for large schemas: keep the result.
///
/// # Errors
/// [`Code::SchemaInvalid`] or [`Code::LimitExceeded`], every finding, with pointers into `schema`.
pub fn compile(schema: &Value) -> Result<CompiledSchema, Violations> {
    check_size(schema)?;
    let draft = draft_of(schema)?;
    let meta = match draft {
        Draft::Draft7 => jsonschema::draft7::meta::validator(),
        _ => jsonschema::draft202012::meta::validator(),
    };
    let mut found = Violations::new();
    for error in meta.iter_errors(schema) {
        messages::explain(&error, Code::SchemaInvalid, &mut found);
    }
    if !found.is_empty() {
        found.truncate(limits::VIOLATIONS_MAX);
        return Err(found);
    }
    references::check(schema, draft == Draft::Draft7)?;
    let engine = PatternOptions::regex()
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX);
    let validator = jsonschema::options()
        .with_draft(draft)
        .offline()
        .should_validate_formats(false)
        .with_pattern_options(engine)
        .build(schema)
        .map_err(|error| vec![messages::explain_compile(&error)])?;
    Ok(CompiledSchema {
        validator: Arc::new(validator),
    })
}

fn check_size(schema: &Value) -> Result<(), Violations> {
    let refused = |code, detail: String| {
        let next = "split the schema, or simplify it";
        Err(vec![Violation::new(code, "", detail).next(next)])
    };
    if crate::manifest::is_deeper(schema, limits::TEXT_DEPTH_MAX) {
        let detail = format!("the schema nests deeper than {}", limits::TEXT_DEPTH_MAX);
        return refused(Code::LimitExceeded, detail);
    }
    match canonical::to_canonical(schema) {
        Ok(bytes) if bytes.len() > limits::DOCUMENT_BYTES_MAX => {
            let (size, max) = (bytes.len(), limits::DOCUMENT_BYTES_MAX);
            refused(
                Code::LimitExceeded,
                format!("the schema has {size} bytes; at most {max} are allowed"),
            )
        }
        Ok(_) => Ok(()),
        Err(error) => refused(Code::SchemaInvalid, error.to_string()),
    }
}

fn draft_of(schema: &Value) -> Result<Draft, Violations> {
    let Some(named) = schema.get("$schema") else {
        return Ok(Draft::Draft202012);
    };
    match named.as_str().map(|uri| uri.trim_end_matches('#')) {
        Some(DRAFT_2020_12) => Ok(Draft::Draft202012),
        Some(DRAFT_07 | "https://json-schema.org/draft-07/schema") => Ok(Draft::Draft7),
        _ => {
            let detail = format!("`$schema` {named} is not a draft that is understood here");
            let next = format!("write `{DRAFT_2020_12}` or `{DRAFT_07}#`, or leave it out");
            Err(vec![
                Violation::new(Code::SchemaInvalid, "/$schema", detail).next(next),
            ])
        }
    }
}

#[cfg(test)]
mod tests;
