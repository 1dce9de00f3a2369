//! The types of JSON Schema, and what other languages call them.

use plane_model::{Code, Pointer};
use serde_json::{Value, json};

use super::{Reader, clipped};

/// The names that other languages give to the types of JSON Schema, in lower case, and what they become.
///
/// None stands for a value of any type: the constraint is left out.
pub const TYPE_FIXES: &[(&str, Option<&str>)] = &[
    ("any", None),
    ("arraylist", Some("array")),
    ("bool", Some("boolean")),
    ("byte", Some("integer")),
    ("char", Some("string")),
    ("dict", Some("object")),
    ("double", Some("number")),
    ("float", Some("number")),
    ("hashmap", Some("object")),
    ("int", Some("integer")),
    ("list", Some("array")),
    ("long", Some("integer")),
    ("map", Some("object")),
    ("set", Some("array")),
    ("short", Some("integer")),
    ("str", Some("string")),
    ("tuple", Some("array")),
];

/// The types of JSON Schema.
pub(super) const TYPES: [&str; 7] = [
    "null", "boolean", "object", "array", "number", "string", "integer",
];

/// Corrects the types of a schema and of those in it; its depth is bounded where the text is read.
pub(super) fn correct(reader: &mut Reader, at: &Pointer, schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    let given = match map.get("type") {
        Some(Value::String(given)) => vec![(at.key("type"), given.clone())],
        Some(Value::Array(list)) => {
            let texts = list.iter().enumerate();
            let texts = texts.filter_map(|(index, it)| Some((index, it.as_str()?)));
            texts
                .map(|(index, it)| (at.key("type").index(index), it.to_owned()))
                .collect()
        }
        _ => Vec::new(),
    };
    for (pointer, given) in given {
        match name(reader, &pointer, &given) {
            Named::AsItIs => {}
            Named::Anything => {
                map.remove("type");
            }
            Named::Corrected(to) => {
                // A union that says the same twice is one that JSON Schema refuses.
                match map.get_mut("type") {
                    Some(Value::Array(list)) if list.contains(&json!(to)) => {
                        list.retain(|it| *it != json!(given));
                    }
                    Some(Value::Array(list)) => {
                        for it in list.iter_mut().filter(|it| **it == json!(given)) {
                            *it = json!(to);
                        }
                    }
                    Some(only) => *only = json!(to),
                    None => {}
                }
            }
        }
    }
    for (keyword, value) in map.iter_mut() {
        let at = at.key(keyword);
        match (keyword.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
                | "dependencies",
                Value::Object(schemas),
            ) => {
                for (name, schema) in schemas {
                    correct(reader, &at.key(name), schema);
                }
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                for (index, schema) in schemas.iter_mut().enumerate() {
                    correct(reader, &at.index(index), schema);
                }
            }
            (
                "items"
                | "additionalItems"
                | "additionalProperties"
                | "propertyNames"
                | "contains"
                | "contentSchema"
                | "not"
                | "if"
                | "then"
                | "else"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                schema @ Value::Object(_),
            ) => correct(reader, &at, schema),
            _ => {}
        }
    }
}

/// What becomes of the name of a type.
enum Named {
    /// It is right, or was refused.
    AsItIs,
    /// It becomes another.
    Corrected(&'static str),
    /// There is no constraint.
    Anything,
}

fn name(reader: &mut Reader, at: &Pointer, given: &str) -> Named {
    if TYPES.contains(&given) {
        return Named::AsItIs;
    }
    let (lower, shown) = (given.to_ascii_lowercase(), clipped(given));
    let same = TYPES.iter().find(|it| **it == lower).map(|it| Some(*it));
    let fix = same.or_else(|| {
        let mut fixes = TYPE_FIXES.iter();
        fixes.find(|(from, _)| *from == lower).map(|(_, to)| *to)
    });
    let detail = format!("`{shown}` is not a type of JSON Schema");
    match fix {
        Some(Some(to)) if reader.with_fixes => {
            reader.fixed(at, format!("`{shown}` became `{to}`"));
            return Named::Corrected(to);
        }
        Some(None) if reader.with_fixes => {
            reader.fixed(at, format!("`{shown}` left out: any value will do"));
            return Named::Anything;
        }
        Some(Some(to)) => {
            let next = format!("write `{to}`, or import with --fix");
            reader.refuse(Code::SchemaInvalid, at, detail, &next);
        }
        Some(None) => {
            let next = "leave `type` out, or import with --fix";
            reader.refuse(Code::SchemaInvalid, at, detail, next);
        }
        None => {
            let next = format!("write one of {}", TYPES.join(", "));
            reader.refuse(Code::SchemaInvalid, at, detail, &next);
        }
    }
    Named::AsItIs
}
