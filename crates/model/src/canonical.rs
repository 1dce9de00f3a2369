//! Canonical JSON (RFC 8785): the one byte form of a value, which digests and signatures cover.
//!
//! INVARIANT: `json::parse(to_canonical(v)) == v` for every value that a reader of this crate
//! returned; canonical bytes are therefore never rejected when they are read back.

use serde::Serialize;
use serde_json::Value;

use crate::digest::Digest;
use crate::json;
use crate::text::{INTEGER_MAX, Limits};

/// Says why a value has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// An integer lies outside ±(2^53 - 1), where readers of JSON stop to agree.
    #[error("the integer {0} is outside ±9007199254740991 (2^53 - 1); write it as a string")]
    IntegerRange(String),
    /// The value cannot be written as JSON at all.
    #[error("the value cannot be written as JSON: {0}")]
    NotJson(String),
}

/// Returns the RFC 8785 bytes of `value`.
///
/// # Errors
/// [`CanonicalError::IntegerRange`] for integers that a double cannot hold exactly. A value that
/// [`json::parse`] or [`crate::yaml::parse`] returned never fails.
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    check_integers(value)?;
    serde_json_canonicalizer::to_vec(value)
        .map_err(|error| CanonicalError::NotJson(error.to_string()))
}

/// Returns the RFC 8785 bytes of anything that serializes.
///
/// # Errors
/// As [`to_canonical`], and [`CanonicalError::NotJson`] when the type does not serialize to JSON.
pub fn canonical_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value =
        serde_json::to_value(value).map_err(|error| CanonicalError::NotJson(error.to_string()))?;
    to_canonical(&value)
}

/// Returns the digest of the RFC 8785 bytes of `value`.
///
/// # Errors
/// As [`to_canonical`].
pub fn canonical_digest(value: &Value) -> Result<Digest, CanonicalError> {
    to_canonical(value).map(|bytes| Digest::of(&bytes))
}

/// Returns whether `bytes` are the canonical form of the value that they hold.
pub fn is_canonical(bytes: &[u8]) -> bool {
    let limits = Limits {
        bytes_max: bytes.len(),
        depth_max: crate::text::DEPTH_CEILING,
    };
    json::parse(bytes, limits)
        .ok()
        .and_then(|value| to_canonical(&value).ok())
        .is_some_and(|canonical| canonical == bytes)
}

/// Walks with a stack of its own, so that the depth of `value` does not matter.
fn check_integers(value: &Value) -> Result<(), CanonicalError> {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            Value::Array(items) => pending.extend(items),
            Value::Object(members) => pending.extend(members.values()),
            Value::Number(number) if !number.is_f64() => {
                let in_range = number
                    .as_i64()
                    .is_some_and(|integer| (-INTEGER_MAX..=INTEGER_MAX).contains(&integer));
                if !in_range {
                    return Err(CanonicalError::IntegerRange(number.to_string()));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canonical(value: &Value) -> String {
        String::from_utf8(to_canonical(value).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_sorted_by_utf16_code_units() {
        // U+10000 is D800 DC00 in UTF-16, so it sorts before U+FB33; by code points it would not.
        let value = json!({ "\u{fb33}": 1, "\u{10000}": 2, "\u{20ac}": 3, "1": 4, "\r": 5 });
        assert_eq!(
            canonical(&value),
            "{\"\\r\":5,\"1\":4,\"\u{20ac}\":3,\"\u{10000}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn numbers_take_their_shortest_ecmascript_form() {
        for (value, expected) in [
            (json!(0), "0"),
            (json!(-0.0), "0"),
            (json!(0.30), "0.3"),
            (json!(1.0), "1"),
            (json!(1e21), "1e+21"),
            (json!(1e-7), "1e-7"),
            (json!(0.000_001), "0.000001"),
            (json!(5e-324), "5e-324"),
            (json!(f64::MAX), "1.7976931348623157e+308"),
            (json!(9_007_199_254_740_991_i64), "9007199254740991"),
            (json!(-9_007_199_254_740_991_i64), "-9007199254740991"),
        ] {
            assert_eq!(canonical(&value), expected);
        }
    }

    #[test]
    fn an_integer_that_a_double_cannot_hold_has_no_canonical_form() {
        for value in [
            json!(9_007_199_254_740_992_i64),
            json!([{ "a": -9_007_199_254_740_992_i64 }]),
            json!(u64::MAX),
        ] {
            assert!(matches!(
                to_canonical(&value),
                Err(CanonicalError::IntegerRange(_))
            ));
        }
    }

    #[test]
    fn only_canonical_bytes_are_canonical() {
        assert!(is_canonical(b"{\"a\":1,\"b\":[]}"));
        for other in [
            "{\"b\":1,\"a\":1}",
            "{\"a\":1 }",
            "1.0",
            "\"\\u0041\"",
            "",
            "1\n",
            "{\"a\":1,\"a\":1}",
        ] {
            assert!(!is_canonical(other.as_bytes()), "{other}");
        }
    }
}
