//! Puts the validator's findings into words, without the values that they are about.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use plane_model::{Code, Pointer, Violation, Violations};
use serde_json::Value;

use crate::manifest::type_of;

/// How many alternatives, allowed values or keys a message lists.
const LISTED_MAX: usize = 10;

/// Adds what `error` says to `found`; one violation for each unexpected key.
pub(super) fn explain(error: &ValidationError<'_>, code: Code, found: &mut Violations) {
    let at = error.instance_path().as_str();
    if let Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } =
        error.kind()
    {
        for key in unexpected {
            let pointer = format!("{at}{}", Pointer::root().key(key));
            found.push(
                Violation::new(
                    code,
                    pointer,
                    format!("the key `{key}` is not allowed here"),
                )
                .next("remove it or correct its spelling"),
            );
        }
        return;
    }
    let violation = Violation::new(code, at, describe(error)).next(advice(error, code));
    // One rule may be reached by several references; it is reported once.
    if !found.contains(&violation) {
        found.push(violation);
    }
}

/// Explains why a schema that follows its meta-schema still cannot be compiled.
pub(super) fn explain_compile(error: &ValidationError<'_>) -> Violation {
    let at = error.instance_path().as_str();
    let is_pattern = matches!(error.kind(), Kind::Format { format } if format == "regex")
        || matches!(error.kind(), Kind::Pattern { .. });
    if is_pattern {
        let detail = "the pattern is not one that is understood here";
        let next = "use the syntax of RE2 (no look-around, no back-references), and keep \
                    repetitions small";
        return Violation::new(Code::SchemaInvalid, at, detail).next(next);
    }
    Violation::new(Code::SchemaInvalid, at, error.masked().to_string())
        .next("write it as JSON Schema, draft 2020-12, says")
}

/// What to do about a value that a schema refuses.
fn advice(error: &ValidationError<'_>, code: Code) -> &'static str {
    match (error.kind(), code) {
        (Kind::Required { .. }, _) => "add the key",
        (_, Code::SchemaInvalid) => "write it as JSON Schema says",
        _ => "change the value, or the schema that governs it",
    }
}

fn describe(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(kind) => article(&kind.to_string()),
                TypeKind::Multiple(kinds) => {
                    let kinds: Vec<_> = kinds
                        .iter()
                        .map(|kind| article(&kind.to_string()))
                        .collect();
                    kinds.join(" or ")
                }
            };
            format!("must be {expected}, not {}", type_of(error.instance()))
        }
        Kind::Required { property } => format!("missing key {}", quoted(property)),
        Kind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let mut listed: Vec<_> = options.iter().take(LISTED_MAX).map(quoted).collect();
            if options.len() > LISTED_MAX {
                listed.push("…".to_owned());
            }
            format!("must be one of {}", listed.join(", "))
        }
        Kind::Constant { expected_value } => format!("must be {}", quoted(expected_value)),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} items"),
        Kind::UnevaluatedItems { .. } => "has items that are not allowed".to_owned(),
        Kind::MinProperties { limit } => format!("must have at least {limit} keys"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        Kind::UniqueItems => "must not have the same item twice".to_owned(),
        Kind::Contains => "has no item of the required form, or too many".to_owned(),
        Kind::Pattern { pattern } => format!("must match the pattern `{pattern}`"),
        Kind::Format { format } => format!("must be of the format `{format}`"),
        Kind::PropertyNames { error } => {
            format!("has a key that is not allowed: a key {}", describe(error))
        }
        Kind::FalseSchema => "nothing is allowed here".to_owned(),
        Kind::Not { .. } => "must not have the form that `not` describes".to_owned(),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => alternatives(error, context),
        Kind::OneOfMultipleValid { .. } => {
            "matches several forms, of which exactly one must match".to_owned()
        }
        _ => error.masked().to_string(),
    }
}

fn alternatives(error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> String {
    let at = error.instance_path().as_str();
    let reasons: Vec<_> = context
        .iter()
        .take(LISTED_MAX)
        .enumerate()
        .filter_map(|(index, errors)| {
            let first = errors.first()?;
            let inner = first.instance_path().as_str();
            let place = match inner.strip_prefix(at) {
                Some("") => String::new(),
                rest => format!(" at `{}`", rest.unwrap_or(inner)),
            };
            Some(format!("form {}{place}: {}", index + 1, describe(first)))
        })
        .collect();
    format!("matches none of the allowed forms ({})", reasons.join("; "))
}

/// Shows a value of the schema, which is no secret.
fn quoted(value: &Value) -> String {
    format!(
        "`{}`",
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    )
}

fn article(kind: &str) -> String {
    match kind {
        "integer" => "a whole number".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "an object".to_owned(),
        "null" => "null".to_owned(),
        other => format!("a {other}"),
    }
}
