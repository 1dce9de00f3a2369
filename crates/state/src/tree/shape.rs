//! In which order people like to read the fields of a document.

use serde_json::{Map, Value};

/// The order of an object's keys, and the shapes of their values.
///
/// The items of a list have the shape of the list.
#[derive(Debug)]
pub(super) struct Shape {
    /// The keys that come first, in this order.
    first: &'static [(&'static str, &'static Shape)],
    /// The shape of the value of any other key; those keys are in alphabetical order.
    other: Option<&'static Shape>,
    /// The keys that come after all others.
    last: &'static [&'static str],
}

impl Shape {
    const fn new(first: &'static [(&'static str, &'static Shape)]) -> Self {
        Self {
            first,
            other: None,
            last: &[],
        }
    }

    const fn each(other: &'static Shape) -> Self {
        Self {
            first: &[],
            other: Some(other),
            last: &[],
        }
    }

    /// The members in the order of the shape.
    pub(super) fn ordered<'v>(&self, members: &'v Map<String, Value>) -> Vec<(&'v str, &'v Value)> {
        let mut ordered: Vec<_> = members
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        ordered.sort_by_key(|(key, _)| (self.rank(key), *key));
        ordered
    }

    fn rank(&self, key: &str) -> (usize, usize) {
        let last = self.last.iter().position(|last| *last == key);
        let first = self.first.iter().position(|(first, _)| *first == key);
        match (last, first) {
            (Some(at), _) => (2, at),
            (None, Some(at)) => (0, at),
            (None, None) => (1, 0),
        }
    }

    /// The shape of the value of `key`.
    pub(super) fn child(&self, key: &str) -> &'static Self {
        let first = self.first.iter().find(|(first, _)| *first == key);
        first
            .map(|(_, shape)| *shape)
            .or(self.other)
            .unwrap_or(&ANY)
    }
}

/// Alphabetical, all the way down.
pub(super) static ANY: Shape = Shape::new(&[]);

/// An environment.
pub(super) static ENVIRONMENT: Shape = Shape::new(&[
    ("description", &ANY),
    ("order", &ANY),
    ("protected", &ANY),
    ("bucketing", &ANY),
]);

/// A tenant with its pins.
pub(super) static TENANT: Shape = Shape::new(&[
    ("plan", &ANY),
    ("region", &ANY),
    ("status", &ANY),
    ("labels", &ANY),
    ("pins", &PINS),
]);

static PINS: Shape = Shape::each(&PINS_IN_ENVIRONMENT);
static PINS_IN_ENVIRONMENT: Shape = Shape::each(&PIN);
static PIN: Shape = Shape::new(&[
    ("variant", &ANY),
    ("version", &ANY),
    ("lock", &ANY),
    ("until", &ANY),
    ("reason", &ANY),
]);

/// A segment.
pub(super) static SEGMENT: Shape = Shape::new(&[
    ("description", &ANY),
    ("include", &ANY),
    ("exclude", &ANY),
    ("when", &EXPRESSION),
]);

/// An exclusion group.
pub(super) static EXCLUSION_GROUP: Shape = Shape::new(&[
    ("description", &ANY),
    ("by", &ANY),
    ("salt", &ANY),
    ("percent", &ANY),
    ("holdout", &ANY),
    ("held", &ANY),
    ("ranges", &GROUP_RANGE),
]);
static GROUP_RANGE: Shape = Shape::new(&[("flag", &ANY), ("start", &ANY), ("end", &ANY)]);

/// A flag with its targeting in each environment.
pub(super) static FLAG: Shape = Shape::new(&[
    ("key", &ANY),
    ("type", &ANY),
    ("owner", &ANY),
    ("description", &ANY),
    ("tags", &ANY),
    ("lifecycle", &ANY),
    ("expires", &ANY),
    ("archived", &ANY),
    ("metadata", &ANY),
    ("variants", &ANY),
    ("overrides", &OVERRIDES),
    ("environments", &TARGETINGS),
]);

static OVERRIDES: Shape = Shape::new(&[
    ("agents", &ANY),
    ("tools", &ANY),
    ("priority", &ANY),
    ("patches", &ANY),
]);
static TARGETINGS: Shape = Shape::each(&TARGETING);
static TARGETING: Shape = Shape::new(&[
    ("state", &ANY),
    ("off", &ANY),
    ("prerequisites", &PREREQUISITE),
    ("targets", &TARGET),
    ("rules", &RULE),
    ("default", &SERVE),
]);
static TARGET: Shape = Shape::new(&[("by", &ANY), ("values", &ANY), ("serve", &ANY)]);
static PREREQUISITE: Shape = Shape::new(&[("flag", &ANY), ("variants", &ANY)]);
static RULE: Shape = Shape::new(&[
    ("name", &ANY),
    ("if", &EXPRESSION),
    ("window", &WINDOW),
    ("serve", &SERVE),
]);
static WINDOW: Shape = Shape::new(&[("from", &ANY), ("until", &ANY)]);
static EXPRESSION: Shape = Shape {
    first: &[("attribute", &ANY)],
    other: Some(&EXPRESSION),
    last: &[],
};
static SERVE: Shape = Shape::new(&[
    ("percent", &ANY),
    ("ranges", &RANGE),
    ("ramp", &RAMP),
    ("by", &ANY),
    ("salt", &ANY),
]);
static RAMP: Shape = Shape::new(&[
    ("variant", &ANY),
    ("from", &ANY),
    ("to", &ANY),
    ("start", &ANY),
    ("end", &ANY),
]);
static RANGE: Shape = Shape::new(&[("variant", &ANY), ("start", &ANY), ("end", &ANY)]);

/// A JSON Schema.
pub(super) static SCHEMA: Shape = Shape {
    first: &[
        ("$schema", &ANY),
        ("$id", &ANY),
        ("title", &ANY),
        ("description", &ANY),
        ("type", &ANY),
        ("x-override", &ANY),
        ("enum", &ANY),
        ("const", &ANY),
        ("required", &ANY),
        ("properties", &SCHEMAS),
        ("patternProperties", &SCHEMAS),
        ("additionalProperties", &SCHEMA),
        ("items", &SCHEMA),
        ("prefixItems", &SCHEMA),
    ],
    other: Some(&ANY),
    last: &["$defs"],
};
static SCHEMAS: Shape = Shape::each(&SCHEMA);

/// A manifest of an agent or a tool.
pub(super) static MANIFEST: Shape = Shape {
    first: &[
        ("name", &ANY),
        ("version", &ANY),
        ("checksum_sha256", &ANY),
        ("created_at", &ANY),
        ("owner", &ANY),
        ("changelog", &ANY),
        ("deprecated", &ANY),
        ("metadata", &METADATA),
    ],
    other: None,
    last: &["signature"],
};
static METADATA: Shape = Shape {
    first: &[
        ("description", &ANY),
        ("category", &ANY),
        ("capabilities", &ANY),
        ("model", &ANY),
        ("max_tokens", &ANY),
        ("temperature", &ANY),
        ("tools", &REQUIREMENT),
        ("inputs_schema", &SCHEMA),
        ("outputs_schema", &SCHEMA),
        ("timeout_ms", &ANY),
        ("retry_attempts", &ANY),
        ("circuit_breaker_threshold", &ANY),
    ],
    other: None,
    last: &["overridable", "system_prompt"],
};
static REQUIREMENT: Shape = Shape::new(&[
    ("name", &ANY),
    ("version", &ANY),
    ("as", &ANY),
    ("optional", &ANY),
    ("reason", &ANY),
]);

/// The channels of an environment, by agent.
pub(super) static CHANNELS: Shape = Shape::each(&CHANNEL);
static CHANNEL: Shape = Shape::new(&[
    ("version", &ANY),
    ("lock", &ANY),
    ("default", &RELEASE),
    ("split", &SERVE),
    ("locks", &ANY),
]);
static RELEASE: Shape = Shape::new(&[("version", &ANY), ("lock", &ANY)]);

/// The trust of a namespace.
pub(super) static TRUST: Shape =
    Shape::new(&[("signing", &ANY), ("threshold", &ANY), ("keys", &KEY)]);
static KEY: Shape = Shape::new(&[
    ("public_key", &ANY),
    ("description", &ANY),
    ("not_after", &ANY),
    ("revoked_at", &ANY),
]);

/// The status of published versions.
pub(super) static STATUSES: Shape = Shape::each(&STATUS);
static STATUS: Shape = Shape::new(&[
    ("status", &ANY),
    ("message", &ANY),
    ("replacement", &ANY),
    ("sunset", &ANY),
]);
