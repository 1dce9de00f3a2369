//! Where the value at a path comes from.

use plane_model::Selector;
use serde::Serialize;
use serde_json::{Map, Value};

use super::merge::is_unset;
use super::value_at;

/// Where the value at a path comes from.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ConfigExplanation {
    /// The value; none if nothing sets it, or a layer takes it away.
    pub value: Option<Value>,
    /// The heaviest layer that says something about the path; of an object it need not set all members.
    pub winner: Option<Contribution>,
    /// What lighter layers say, the heaviest first.
    pub shadowed: Vec<Contribution>,
}

/// What one layer says about a path.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Contribution {
    /// What says it.
    pub source: ConfigSource,
    /// The layer's selector; none for the schema's defaults.
    #[serde(serialize_with = "super::write_selector")]
    #[schemars(with = "Option<String>")]
    pub selector: Option<Selector>,
    /// The revision of the last change of the layer or the schema.
    pub revision: u64,
    /// The value; none if the layer takes it away, or sets something above the path that ends before it.
    pub value: Option<Value>,
}

/// What can say something about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConfigSource {
    /// A layer.
    Layer,
    /// A default of the schema.
    Default,
}

/// What one layer does to a path.
enum Saying<'l> {
    Nothing,
    Value(&'l Value),
    Absence,
}

pub(super) fn explain(
    path: &[&str],
    effective: Option<&Value>,
    defaults: &Map<String, Value>,
    schema_revision: u64,
    layers: &[(Selector, u64, Map<String, Value>)],
) -> ConfigExplanation {
    let mut said = Vec::new();
    for (selector, revision, map) in layers.iter().rev() {
        let value = match saying(map, path) {
            Saying::Nothing => continue,
            Saying::Value(value) => Some(value.clone()),
            Saying::Absence => None,
        };
        said.push(Contribution {
            source: ConfigSource::Layer,
            selector: Some(selector.clone()),
            revision: *revision,
            value,
        });
    }
    if let Some(value) = value_at(defaults, path) {
        said.push(Contribution {
            source: ConfigSource::Default,
            selector: None,
            revision: schema_revision,
            value: Some(value.clone()),
        });
    }
    let mut said = said.into_iter();
    ConfigExplanation {
        value: effective.cloned(),
        winner: said.next(),
        shadowed: said.collect(),
    }
}

fn saying<'l>(map: &'l Map<String, Value>, path: &[&str]) -> Saying<'l> {
    let Some((first, rest)) = path.split_first() else {
        return Saying::Nothing;
    };
    let Some(value) = map.get(*first) else {
        return Saying::Nothing;
    };
    if is_unset(value) {
        return Saying::Absence;
    }
    match value {
        _ if rest.is_empty() => Saying::Value(value),
        Value::Object(members) => saying(members, rest),
        _ => Saying::Absence,
    }
}
