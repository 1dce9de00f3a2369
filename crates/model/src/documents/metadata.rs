//! What a flag's author tells those who evaluate it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

use super::over_limit;
use crate::parse::coded;
use crate::pointer::Pointer;
use crate::{Code, Violation, Violations, limits};

/// The author's names and what each one says; told wherever the flag is evaluated, to browsers too.
pub type Metadata = BTreeMap<String, MetadataValue>;

/// One thing that metadata say: what `OpenFeature` and flagd have a form for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum MetadataValue {
    /// True or false.
    Bool(bool),
    /// A number; one without a fraction is a whole number to all who read it.
    Number(#[schemars(with = "f64")] Number),
    /// A string.
    Text(String),
}

impl<'de> Deserialize<'de> for MetadataValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = match Value::deserialize(deserializer)? {
            Value::Bool(value) => return Ok(Self::Bool(value)),
            Value::Number(value) => return Ok(Self::Number(value)),
            Value::String(text) => return Ok(Self::Text(text)),
            Value::Null => "null",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Err(coded(
            Code::FieldInvalid,
            format_args!("metadata say a string, a number, or true or false, not {what}"),
            "write one of these, or give each part a name of its own",
        ))
    }
}

impl From<&MetadataValue> for Value {
    fn from(value: &MetadataValue) -> Self {
        match value {
            MetadataValue::Bool(value) => (*value).into(),
            MetadataValue::Number(value) => value.clone().into(),
            MetadataValue::Text(value) => value.as_str().into(),
        }
    }
}

/// What the control plane itself says beside them, of an evaluation or of all flags: nobody else may.
pub const METADATA_RESERVED: [&str; 7] = [
    "bucketing",
    "environment",
    "flagSetId",
    "revision",
    "rule",
    "tenant_unknown",
    "warning",
];

pub(super) fn check(metadata: &Metadata, found: &mut Violations) {
    if metadata.len() > limits::FLAG_METADATA_MAX {
        found.push(over_limit(
            "/metadata",
            "entries",
            limits::FLAG_METADATA_MAX,
        ));
    }
    let text_bytes = |value: &MetadataValue| match value {
        MetadataValue::Text(text) => text.len(),
        MetadataValue::Bool(_) | MetadataValue::Number(_) => 0,
    };
    let bytes = metadata
        .iter()
        .map(|(name, value)| name.len() + text_bytes(value));
    if bytes.sum::<usize>() > limits::FLAG_METADATA_BYTES_MAX {
        found.push(over_limit(
            "/metadata",
            "bytes of names and texts",
            limits::FLAG_METADATA_BYTES_MAX,
        ));
    }
    for name in metadata.keys() {
        let wrong = if name.is_empty() {
            "a name is empty".to_owned()
        } else if METADATA_RESERVED.contains(&name.as_str()) {
            format!("`{name}` is what the control plane itself says of every evaluation")
        } else {
            continue;
        };
        let pointer = Pointer::root().key("metadata").key(name).to_string();
        let taken = METADATA_RESERVED.map(|name| format!("`{name}`")).join(", ");
        found.push(
            Violation::new(Code::FieldInvalid, pointer, wrong)
                .next(format!("choose a name other than {taken}")),
        );
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use crate::{Document, DocumentKey, FlagKey};

    fn check(metadata: &serde_json::Value, expected: &Expect) {
        let key = DocumentKey::flag(&FlagKey::new("f").unwrap());
        let body = json!({"type": "boolean", "metadata": metadata});
        let report = match Document::parse(&key, &body) {
            Ok(document) => document.to_value()["metadata"].to_string(),
            Err(found) => {
                let found = found.iter().map(ToString::to_string);
                found.collect::<Vec<_>>().join("\n")
            }
        };
        expected.assert_eq(&report);
    }

    #[test]
    fn metadata_are_strings_numbers_and_truths_as_they_were_written() {
        check(
            &json!({"version": "1.0.2", "ticket": -17, "weight": 0.5, "beta": true}),
            &expect![[r#"{"beta":true,"ticket":-17,"version":"1.0.2","weight":0.5}"#]],
        );
        check(&json!({}), &expect!["null"]);
    }

    #[test]
    fn what_metadata_cannot_say_is_refused_at_its_place() {
        check(
            &json!({"team": "ml", "": "x"}),
            &expect![
                "/metadata/: a name is empty [FIELD_INVALID]; choose a name other than `bucketing`, `environment`, `flagSetId`, `revision`, `rule`, `tenant_unknown`, `warning`"
            ],
        );
        check(
            &json!({"a": null, "b/c": [1], "d": {"e": 1}, "f": 1}),
            &expect![[r"
                /metadata/a: metadata say a string, a number, or true or false, not null [FIELD_INVALID]; write one of these, or give each part a name of its own
                /metadata/b~1c: metadata say a string, a number, or true or false, not a list [FIELD_INVALID]; write one of these, or give each part a name of its own
                /metadata/d: metadata say a string, a number, or true or false, not an object [FIELD_INVALID]; write one of these, or give each part a name of its own"]],
        );
        check(
            &json!(["a"]),
            &expect![
                "/metadata: invalid type: list, expected an object [FIELD_INVALID]; write an object"
            ],
        );
    }

    #[test]
    fn nobody_else_says_what_the_control_plane_itself_says() {
        for name in super::METADATA_RESERVED {
            let metadata = [(name.to_owned(), super::MetadataValue::Bool(true))];
            let mut found = crate::Violations::new();
            super::check(&metadata.into(), &mut found);
            assert_eq!(found.remove(0).pointer, format!("/metadata/{name}"));
        }
        check(
            &json!({"revision": 7, "Revision": 7}),
            &expect![
                "/metadata/revision: `revision` is what the control plane itself says of every evaluation [FIELD_INVALID]; choose a name other than `bucketing`, `environment`, `flagSetId`, `revision`, `rule`, `tenant_unknown`, `warning`"
            ],
        );
    }
}
