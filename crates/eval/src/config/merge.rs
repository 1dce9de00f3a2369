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
/// A `default` counts at every object that `properties` and `$ref`s to places in the schema lead to; one
/// of an object is filled up with those of its own properties, and these with what is behind its `$ref`.
/// A `$ref` that leads back to where it is followed from adds nothing. Elsewhere (in a combination, in
/// items) a `default` is the annotation that JSON Schema takes it for, and no layer.
pub fn defaults(schema: &Value) -> Map<String, Value> {
    let mut defaults = Defaults::of(schema);
    match defaults.at(schema, limits::CONFIG_DEPTH_MAX) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Says whether a schema's `$ref`s are followed to all the defaults that they lead to; some are left out
/// where they are more than [`limits::DEFAULTS_REFERRED_BYTES_MAX`].
pub fn follows_all_defaults(schema: &Value) -> bool {
    let mut defaults = Defaults::of(schema);
    drop(defaults.at(schema, limits::CONFIG_DEPTH_MAX));
    !defaults.is_exhausted
}

/// The way through a schema along which its defaults are gathered.
struct Defaults<'s> {
    root: &'s Value,
    /// The schemas that `$ref`s led to, from the root to here.
    open: Vec<&'s Value>,
    /// How much more is taken from behind `$ref`s.
    bytes_left: usize,
    is_exhausted: bool,
}

impl<'s> Defaults<'s> {
    fn of(root: &'s Value) -> Self {
        Self {
            root,
            open: vec![root],
            bytes_left: limits::DEFAULTS_REFERRED_BYTES_MAX,
            is_exhausted: false,
        }
    }

    fn at(&mut self, schema: &'s Value, depth: usize) -> Option<Value> {
        let own = schema.get("default");
        if self.open.len() > 1 {
            // Few definitions that refer to each other can be many places.
            let Some(left) = self.bytes_left.checked_sub(own.map_or(8, bytes)) else {
                self.is_exhausted = true;
                return None;
            };
            self.bytes_left = left;
        }
        if own.is_some_and(|own| !own.is_object()) {
            return own.cloned();
        }
        let behind = self.behind(schema, depth);
        let members = self.of_properties(schema, depth);
        let mut lighter = match (behind, members) {
            (Some(Value::Object(behind)), Some(members)) => {
                let mut lighter = behind;
                merge_members(&mut lighter, &members, Some(schema));
                lighter
            }
            (_, Some(members)) | (Some(Value::Object(members)), None) => members,
            (behind, None) => return own.cloned().or(behind),
        };
        if let Some(own) = own.and_then(Value::as_object) {
            merge_members(&mut lighter, own, Some(schema));
        }
        Some(Value::Object(lighter))
    }

    fn of_properties(&mut self, schema: &'s Value, depth: usize) -> Option<Map<String, Value>> {
        let properties = schema.get("properties")?.as_object()?;
        let depth = depth.checked_sub(1)?;
        let mut members = Map::new();
        for (name, property) in properties {
            let value = self.at(property, depth);
            members.extend(value.map(|value| (name.clone(), value)));
        }
        (!members.is_empty()).then_some(members)
    }

    /// What the schema that this one refers to says.
    fn behind(&mut self, schema: &'s Value, depth: usize) -> Option<Value> {
        let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        let target = self.root.pointer(pointer)?;
        if self.open.iter().any(|open| std::ptr::eq(*open, target)) {
            return None;
        }
        self.open.push(target);
        let value = self.at(target, depth);
        self.open.pop();
        value
    }
}

/// About how many bytes a value takes.
fn bytes(value: &Value) -> usize {
    let within: usize = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, it)| name.len() + bytes(it))
            .sum(),
        _ => 0,
    };
    8 + within
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
