//! Forms that take little memory, for what there is a hundred thousand of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// What is known of a tenant beside its plan and region: few texts, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks one up.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(it, _)| (**it).cmp(name)).ok()?;
        self.0.get(at).map(|(_, text)| &**text)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (&**name, &**text))
    }

    /// Sets one, or removes it.
    pub fn set(&mut self, name: &str, text: Option<&str>) {
        let mut all: BTreeMap<&str, &str> = self.iter().collect();
        match text {
            Some(text) => all.insert(name, text),
            None => all.remove(name),
        };
        *self = all.into_iter().collect();
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    /// Of labels with the same name the last one holds.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        let sorted: BTreeMap<&str, &str> = labels.into_iter().collect();
        let owned = |(name, text): (&str, &str)| (name.into(), text.into());
        Self(sorted.into_iter().map(owned).collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sorted = BTreeMap::<Box<str>, Box<str>>::deserialize(deserializer)?;
        Ok(Self(sorted.into_iter().collect()))
    }
}

impl schemars::JsonSchema for Labels {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Labels".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, String>::json_schema(generator)
    }
}

/// What one layer of a config document sets, as JSON text: it is looked into where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValues(Arc<[u8]>);

impl ConfigValues {
    /// Keeps stored bytes, and shares them.
    ///
    /// # Errors
    /// They are not an object in JSON.
    pub fn of_bytes(bytes: Arc<[u8]>) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Map<String, Value>>(&bytes)?;
        Ok(Self(bytes))
    }

    /// The values.
    pub fn to_map(&self) -> Map<String, Value> {
        // INVARIANT: the bytes are an object: they were read as one, or written from one.
        serde_json::from_slice(&self.0).unwrap_or_default()
    }
}

impl From<&Map<String, Value>> for ConfigValues {
    fn from(values: &Map<String, Value>) -> Self {
        // Keys are strings: there is nothing that cannot be written.
        Self(serde_json::to_vec(values).unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_read_and_written_as_a_map() {
        let text = r#"{"a":"1","industry":"retail"}"#;
        let mut labels: Labels = serde_json::from_str(r#"{"industry":"retail","a":"1"}"#).unwrap();
        assert_eq!(serde_json::to_string(&labels).unwrap(), text);
        assert_eq!(labels.get("industry"), Some("retail"));
        labels.set("industry", None);
        labels.set("b", Some("2"));
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    }

    #[test]
    fn config_values_are_an_object_and_nothing_else() {
        let of = |text: &str| ConfigValues::of_bytes(text.as_bytes().into());
        let values = of(r#"{"a":{"b":[1,2.5]}}"#).unwrap();
        assert_eq!(
            Value::Object(values.to_map()),
            json!({"a": {"b": [1, 2.5]}})
        );
        for text in ["[]", "1", "{", r#"{"a":1} 2"#, r#"{"a":}"#, ""] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
