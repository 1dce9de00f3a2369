//! What layers add up to.

use plane_model::limits;
use serde_json::{Map, Value};

/// The word that a schema says how to merge a path with.
const MERGE: &str = "x-merge";

/// Merges layers, the lightest first, over the defaults of the schema.
///
/// Objects merge member by member; scalars and lists replace; null is a value; a member that is
/// `{"$unset": true}` removes what lighter layers set. Where the schema says `x-merge: append`,
/// lists are joined; with `by-key:FIELD`, their objects merge with those that have the same value
/// in that field; with `replace`, an object replaces.
pub fn merge<'l>(
    layers: impl IntoIterator<Item = &'l Map<String, Value>>,
    schema: Option<&Value>,
) -> Map<String, Value> {
    let mut merged = schema.map(defaults).unwrap_or_default();
    for layer in layers {
        merge_members(&mut merged, layer, schema);
    }
    merged
}

/// Returns what a schema says a document holds where no layer says otherwise.
///
/// A `default` counts at every object that `properties` leads to; one of an object is filled up
/// with those of its own properties. Elsewhere (behind a `$ref`, in a combination, in items) it is the
/// annotation that JSON Schema takes it for, and no layer.
pub fn defaults(schema: &Value) -> Map<String, Value> {
    match default_at(schema, limits::CONFIG_DEPTH_MAX) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn default_at(schema: &Value, depth: usize) -> Option<Value> {
    let own = schema.get("default").cloned();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return own;
    };
    if depth == 0 || own.as_ref().is_some_and(|own| !own.is_object()) {
        return own;
    }
    let mut members = Map::new();
    for (name, property) in properties {
        if let Some(value) = default_at(property, depth - 1) {
            members.insert(name.clone(), value);
        }
    }
    match own {
        Some(Value::Object(own)) => {
            merge_members(&mut members, &own, Some(schema));
            Some(Value::Object(members))
        }
        _ if members.is_empty() => None,
        _ => Some(Value::Object(members)),
    }
}

/// Says whether a value is `{"$unset": true}`.
pub(super) fn is_unset(value: &Value) -> bool {
    value.as_object().is_some_and(|members| {
        members.len() == 1 && members.get("$unset") == Some(&Value::Bool(true))
    })
}

fn merge_members(
    target: &mut Map<String, Value>,
    layer: &Map<String, Value>,
    schema: Option<&Value>,
) {
    for (name, value) in layer {
        if is_unset(value) {
            target.remove(name);
            continue;
        }
        let schema = schema
            .and_then(|it| it.get("properties"))
            .and_then(|it| it.get(name));
        let before = target.remove(name);
        target.insert(name.clone(), merge_value(before, value, schema));
    }
}

fn merge_value(before: Option<Value>, value: &Value, schema: Option<&Value>) -> Value {
    let rule = schema.and_then(|it| it.get(MERGE)).and_then(Value::as_str);
    match (before, value) {
        (Some(Value::Object(before)), Value::Object(members)) if rule != Some("replace") => {
            let mut before = before;
            merge_members(&mut before, members, schema);
            Value::Object(before)
        }
        (Some(Value::Array(mut before)), Value::Array(items)) if rule == Some("append") => {
            before.extend(items.iter().cloned());
            Value::Array(before)
        }
        (Some(Value::Array(before)), Value::Array(items)) => {
            match rule.and_then(|rule| rule.strip_prefix("by-key:")) {
                Some(field) => {
                    let schema = schema.and_then(|it| it.get("items"));
                    Value::Array(merge_by_key(before, items, field, schema))
                }
                None => value.clone(),
            }
        }
        // Members that unset nothing must not stay in the value.
        (_, Value::Object(members)) => {
            let mut fresh = Map::new();
            merge_members(&mut fresh, members, schema);
            Value::Object(fresh)
        }
        _ => value.clone(),
    }
}

fn merge_by_key(
    mut before: Vec<Value>,
    items: &[Value],
    field: &str,
    schema: Option<&Value>,
) -> Vec<Value> {
    for item in items {
        let key = item.get(field);
        let same = before
            .iter_mut()
            .find(|it| key.is_some() && it.get(field) == key);
        match same {
            Some(same) => *same = merge_value(Some(same.take()), item, schema),
            None => before.push(merge_value(None, item, schema)),
        }
    }
    before
}
