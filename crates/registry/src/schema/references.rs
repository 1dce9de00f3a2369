//! Checks the references of a schema before it is compiled: all local, none in a circle.

use std::collections::{BTreeMap, BTreeSet};

use plane_model::{Code, Pointer, Violation, Violations};
use serde_json::{Map, Value};

/// How many subschemas one value may be checked against, through references and combinations.
///
/// Without a bound, thirty definitions that each name the next one twice would be a billion.
const EXPANSION_MAX: u64 = 10_000;

/// Keywords that hold one schema for a part of the value, or none of it.
const INTO_PARTS: [&str; 9] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "prefixItems",
];
/// Keywords that hold schemas by name for parts of the value, or none of it.
const NAMED_PARTS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Keywords that hold one or several schemas for the value itself.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords that hold schemas by name for the value itself.
const NAMED_IN_PLACE: [&str; 2] = ["dependentSchemas", "dependencies"];

/// Refuses references out of the document, and references that never come to an end.
///
/// # Errors
/// [`Code::SchemaInvalid`], every finding, with pointers into `schema`.
pub(super) fn check(schema: &Value, is_draft_07: bool) -> Result<(), Violations> {
    let mut walk = Walk {
        schema,
        is_draft_07,
        anchors: BTreeMap::new(),
        pending: vec![Pointer::root()],
        in_place: BTreeMap::new(),
        references: Vec::new(),
        found: Violations::new(),
    };
    walk.run();
    if walk.found.is_empty() {
        refuse_endless(&walk.in_place, &mut walk.found);
    }
    walk.found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    if walk.found.is_empty() {
        Ok(())
    } else {
        Err(walk.found)
    }
}

/// The schemas that stand in a schema: the keyword of each, the steps that lead to it, and itself.
pub fn subschemas(schema: &Map<String, Value>) -> Vec<(&str, Vec<String>, &Value)> {
    let mut found = Vec::new();
    for (keyword, value) in schema {
        let keyword = keyword.as_str();
        let is_named = NAMED_PARTS.contains(&keyword) || NAMED_IN_PLACE.contains(&keyword);
        let is_plain = INTO_PARTS.contains(&keyword) || IN_PLACE.contains(&keyword);
        match value {
            Value::Object(named) if is_named => {
                let steps = |name: &String| vec![keyword.to_owned(), name.clone()];
                found.extend(named.iter().map(|(name, it)| (keyword, steps(name), it)));
            }
            Value::Array(items) if is_plain => {
                let steps = |index: usize| vec![keyword.to_owned(), index.to_string()];
                let items = items.iter().enumerate();
                found.extend(items.map(|(index, it)| (keyword, steps(index), it)));
            }
            Value::Object(_) if is_plain => {
                found.push((keyword, vec![keyword.to_owned()], value));
            }
            _ => {}
        }
    }
    found
}

struct Walk<'s> {
    schema: &'s Value,
    is_draft_07: bool,
    anchors: BTreeMap<String, Pointer>,
    pending: Vec<Pointer>,
    /// For every schema visited: those that are checked against the same value.
    in_place: BTreeMap<Pointer, Vec<Pointer>>,
    /// Where a reference stands, and its target.
    references: Vec<(Pointer, &'static str, &'s str)>,
    found: Violations,
}

impl Walk<'_> {
    fn run(&mut self) {
        loop {
            while let Some(at) = self.pending.pop() {
                self.visit(&at);
            }
            // Anchors are all known only now; targets may be places that no keyword led to.
            for (at, keyword, target) in std::mem::take(&mut self.references) {
                self.follow(&at, keyword, target);
            }
            if self.pending.is_empty() {
                return;
            }
        }
    }

    fn visit(&mut self, at: &Pointer) {
        let Some(Value::Object(members)) = at.resolve(self.schema) else {
            return;
        };
        if self.in_place.contains_key(at) {
            return;
        }
        self.in_place.insert(at.clone(), Vec::new());
        self.note_identity(at, members);
        for keyword in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(target)) = members.get(keyword) {
                self.references.push((at.clone(), keyword, target));
            }
        }
        // In draft-07 nothing beside a `$ref` is a rule, but definitions may still be named.
        let is_alone = self.is_draft_07 && members.contains_key("$ref");
        let children = subschemas(members);
        for (keyword, below, _) in children {
            let child = below.iter().fold(at.clone(), |at, step| at.key(step));
            let is_in_place = IN_PLACE.contains(&keyword) || NAMED_IN_PLACE.contains(&keyword);
            if is_in_place && !is_alone {
                self.in_place
                    .entry(at.clone())
                    .or_default()
                    .push(child.clone());
            }
            self.pending.push(child);
        }
    }

    fn note_identity(&mut self, at: &Pointer, members: &Map<String, Value>) {
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(Value::String(name)) = members.get(keyword) {
                self.anchors.insert(name.clone(), at.clone());
            }
        }
        let Some(Value::String(id)) = members.get("$id") else {
            return;
        };
        match id.strip_prefix('#') {
            Some(name) => {
                self.anchors.insert(name.to_owned(), at.clone());
            }
            None if at.is_root() => {}
            None => self.found.push(
                Violation::new(
                    Code::SchemaInvalid,
                    at.key("$id").to_string(),
                    "an embedded `$id` makes a second document; a schema here is one document",
                )
                .next("use `$anchor`, or refer to the place with `#/$defs/…`"),
            ),
        }
    }

    fn follow(&mut self, at: &Pointer, keyword: &str, target: &str) {
        let pointer = at.key(keyword).to_string();
        let Some(fragment) = target.strip_prefix('#') else {
            self.found.push(
                Violation::new(
                    Code::SchemaInvalid,
                    pointer,
                    format!(
                        "`{keyword}` to `{target}` leaves the document; nothing is ever fetched"
                    ),
                )
                .next("copy the definition below `$defs` and refer to it with `#/$defs/…`"),
            );
            return;
        };
        let place = if fragment.is_empty() || fragment.starts_with('/') {
            percent_decoded(fragment).and_then(|text| text.parse::<Pointer>().ok())
        } else {
            self.anchors.get(fragment).cloned()
        };
        match place.filter(|place| place.resolve(self.schema).is_some()) {
            Some(place) => {
                self.in_place
                    .entry(at.clone())
                    .or_default()
                    .push(place.clone());
                self.pending.push(place);
            }
            None => self.found.push(
                Violation::new(
                    Code::SchemaInvalid,
                    pointer,
                    format!("`{keyword}` to `{target}`: the document has no such place"),
                )
                .next("correct the reference or add the definition"),
            ),
        }
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('%') {
        bytes.extend_from_slice(head.as_bytes());
        let digits = tail
            .get(..2)
            .filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Refuses circles among schemas of one value, and combinations of too many.
///
/// Depth-first with a stack of its own; every schema is expanded once.
fn refuse_endless(in_place: &BTreeMap<Pointer, Vec<Pointer>>, found: &mut Violations) {
    let mut sizes: BTreeMap<&Pointer, u64> = BTreeMap::new();
    for start in in_place.keys() {
        let mut open: BTreeSet<&Pointer> = BTreeSet::new();
        let mut stack = vec![(start, false)];
        while let Some((at, is_done)) = stack.pop() {
            let children = in_place.get(at).map(Vec::as_slice).unwrap_or_default();
            if is_done {
                open.remove(at);
                let size = children
                    .iter()
                    .filter_map(|child| sizes.get(child))
                    .fold(1_u64, |sum, size| sum.saturating_add(*size));
                sizes.insert(at, size);
                if size > EXPANSION_MAX {
                    let detail = format!(
                        "one value would be checked against more than {EXPANSION_MAX} subschemas"
                    );
                    found.push(
                        Violation::new(Code::SchemaInvalid, at.to_string(), detail)
                            .next("combine fewer references with allOf, anyOf and oneOf"),
                    );
                    return;
                }
                continue;
            }
            if sizes.contains_key(at) {
                continue;
            }
            if !open.insert(at) {
                let detail = "the references go round in a circle without going into the value";
                found.push(
                    Violation::new(Code::SchemaInvalid, at.to_string(), detail)
                        .next("let one of the references stand below `properties` or `items`"),
                );
                return;
            }
            stack.push((at, true));
            stack.extend(
                children
                    .iter()
                    .filter(|it| in_place.contains_key(*it))
                    .map(|it| (it, false)),
            );
        }
    }
}
