//! `spec/config.json`.

use plane_eval::{ConfigSource, Contribution, config};
use plane_model::limits;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{Held, Written, build, changes, context, read};

#[derive(Deserialize)]
struct Vectors {
    environment: String,
    documents: Vec<Written>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    schema: Option<Value>,
    layers: Layers,
    context: Value,
    value: Value,
    explain: Option<Expected>,
}

/// The layers in the order in which they are written.
struct Layers(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ordered;

        impl<'de> serde::de::Visitor<'de> for Ordered {
            type Value = Layers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("layers by selector")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Layers, A::Error> {
                let mut layers = Vec::new();
                while let Some(layer) = map.next_entry()? {
                    layers.push(layer);
                }
                Ok(Layers(layers))
            }
        }

        deserializer.deserialize_map(Ordered)
    }
}

#[derive(Deserialize)]
struct Expected {
    path: Vec<String>,
    value: Option<Value>,
    winner: Option<Said>,
    shadowed: Vec<Said>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Said {
    selector: Option<String>,
    value: Option<Value>,
    revision: u64,
}

impl Said {
    fn of(contribution: &Contribution) -> Self {
        let by_layer = contribution.source == ConfigSource::Layer;
        assert_eq!(contribution.selector.is_some(), by_layer);
        Self {
            selector: contribution.selector.as_ref().map(ToString::to_string),
            value: contribution.value.clone(),
            revision: contribution.revision,
        }
    }
}

#[test]
fn layers_add_up_and_are_explained_as_in_the_vectors() {
    let vectors: Vectors = read("config.json");
    assert!(vectors.cases.len() >= 36);
    let document = "ai".parse().unwrap();
    for case in &vectors.cases {
        let name = &case.name;
        let mut documents = Vec::new();
        if let Some(schema) = &case.schema {
            documents.push(json!({"kind": "schema", "name": "ai", "body": schema}));
        }
        for (selector, body) in &case.layers.0 {
            documents
                .push(json!({"kind": "config", "scope": selector, "name": "ai", "body": body}));
        }
        let documents = serde_json::from_value(Value::Array(documents));
        let mut documents: Vec<Written> = documents.unwrap();
        documents.extend(vectors.documents.iter().cloned());
        let view = build(&vectors.environment, &changes(&documents), &Held::default());
        let ctx = context(&case.context);
        let found = view.config(&document, &ctx).unwrap();
        assert_eq!(Value::Object(found.value().clone()), case.value, "{name}");
        let again = view.config(&document, &ctx).unwrap();
        assert!(std::ptr::eq(found.value(), again.value()), "{name}: kept");
        let Some(expected) = &case.explain else {
            continue;
        };
        let path: Vec<_> = expected.path.iter().map(String::as_str).collect();
        assert_eq!(found.get(&path), expected.value.as_ref(), "{name}");
        let explained = view.explain_config(&document, &path, &ctx).unwrap();
        assert_eq!(explained.value, expected.value, "{name}");
        assert_eq!(
            explained.winner.as_ref().map(Said::of),
            expected.winner,
            "{name}"
        );
        let shadowed: Vec<_> = explained.shadowed.iter().map(Said::of).collect();
        assert_eq!(shadowed, expected.shadowed, "{name}");
    }
}

#[test]
fn a_document_without_schema_and_layers_is_none() {
    let layer = json!({"kind": "config", "scope": "staging", "name": "ai", "body": Map::new()});
    let layer = serde_json::from_value(layer).unwrap();
    let view = build("production", &changes(&[layer]), &Held::default());
    let document = "ai".parse().unwrap();
    assert!(view.config(&document, &context(&json!({}))).is_none());
    assert_eq!(view.configs().count(), 0);
}

#[test]
fn defaults_behind_references_are_followed_up_to_their_limit_and_no_further() {
    // The schema behind the reference, and the value that it says: eight bytes each and its text.
    let schema = |bytes: usize| {
        json!({
            "properties": { "a": { "$ref": "#/$defs/long" } },
            "$defs": { "long": { "default": "x".repeat(bytes - 8) } }
        })
    };
    let within = schema(limits::DEFAULTS_REFERRED_BYTES_MAX);
    assert!(config::follows_all_defaults(&within));
    assert!(config::defaults(&within).contains_key("a"));
    let beyond = schema(limits::DEFAULTS_REFERRED_BYTES_MAX + 1);
    assert!(!config::follows_all_defaults(&beyond));
    assert!(config::defaults(&beyond).is_empty());
}
