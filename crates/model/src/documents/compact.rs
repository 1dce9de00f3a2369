//! Forms that take little memory, for what there is a hundred thousand of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// What is known of a tenant beside its plan and region: few texts, in the order of their names.
///
/// They are one text in memory: each name and each text follows its length, which is written as two characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Box<str>);

/// What the first character of a length counts; a character less than this is always one.
const LENGTH_BASE: usize = 0x8000;

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks one up.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.iter().find(|(it, _)| *it == name);
        found.map(|(_, text)| text)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((take(&mut rest)?, take(&mut rest)?)))
    }

    /// Sets one, or removes it.
    pub fn set(&mut self, name: &str, text: Option<&str>) {
        let mut all: BTreeMap<&str, &str> = self.iter().collect();
        match text {
            Some(text) => all.insert(name, text),
            None => all.remove(name),
        };
        *self = Self::of(&all);
    }

    fn of(sorted: &BTreeMap<impl AsRef<str>, impl AsRef<str>>) -> Self {
        let mut all = String::new();
        for (name, text) in sorted {
            for part in [name.as_ref(), text.as_ref()] {
                all.extend([part.len() / LENGTH_BASE, part.len() % LENGTH_BASE].map(digit));
                all.push_str(part);
            }
        }
        Self(all.into())
    }
}

/// A digit of a length. What has no digit is longer than any text in memory.
fn digit(number: usize) -> char {
    let number = u32::try_from(number).ok();
    number.and_then(char::from_u32).unwrap_or_default()
}

/// Takes the first part of what is left.
fn take<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let mut digits = rest.chars();
    let length = u32::from(digits.next()?) as usize * LENGTH_BASE;
    let length = length + u32::from(digits.next()?) as usize;
    let (part, after) = digits.as_str().split_at_checked(length)?;
    *rest = after;
    Some(part)
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    /// Of labels with the same name the last one holds.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        Self::of(&labels.into_iter().collect::<BTreeMap<_, _>>())
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
        Ok(Self::of(&sorted))
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
    use proptest::prelude::*;
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

    proptest! {
        #[test]
        fn labels_say_what_a_map_says(
            map in prop::collection::btree_map(".{0,3}", prop_oneof![".{0,8}", Just("é".repeat(20_000))], 0..6),
        ) {
            let labels: Labels = map.iter().map(|(name, text)| (&**name, &**text)).collect();
            let all: BTreeMap<String, String> =
                labels.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            prop_assert_eq!(labels.len(), map.len());
            prop_assert!(map.iter().all(|(name, text)| labels.get(name) == Some(text)));
            prop_assert_eq!(labels.get("none of them"), None);
            prop_assert_eq!(all, map);
        }
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
