//! JSON pointers (RFC 6901): how errors, patches and provenance name a place in a document.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A place in a JSON document, written as an RFC 6901 JSON pointer.
///
/// The root is the empty string. Tokens are escaped when pushed (`~` as `~0`, `/` as `~1`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(String);

/// Says why a text is not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// The text is neither empty nor starts with `/`.
    #[error("a JSON pointer is empty (the whole document) or starts with `/`")]
    NoLeadingSlash,
    /// A `~` is followed by something else than `0` or `1`.
    #[error("in a JSON pointer `~` must be written `~0`, and `/` inside a key `~1`")]
    BadEscape,
}

impl Pointer {
    /// Returns the pointer to the whole document.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Returns the pointer to member `key` of the place that this one names.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut child = self.clone();
        child.push_key(key);
        child
    }

    /// Returns the pointer to item `index` of the place that this one names.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut child = self.clone();
        child.push_index(index);
        child
    }

    /// Returns the pointer with all tokens of `tail` after its own.
    #[must_use]
    pub fn join(&self, tail: &Self) -> Self {
        Self(format!("{}{}", self.0, tail.0))
    }

    /// Descends into member `key`.
    pub fn push_key(&mut self, key: &str) {
        self.0.push('/');
        for character in key.chars() {
            match character {
                '~' => self.0.push_str("~0"),
                '/' => self.0.push_str("~1"),
                other => self.0.push(other),
            }
        }
    }

    /// Descends into item `index`.
    pub fn push_index(&mut self, index: usize) {
        self.0.push('/');
        self.0.push_str(&index.to_string());
    }

    /// Goes back up by one token; returns whether there was one.
    pub fn pop(&mut self) -> bool {
        match self.0.rfind('/') {
            Some(slash) => {
                self.0.truncate(slash);
                true
            }
            None => false,
        }
    }

    /// Returns the place that holds this one, or nothing for the root.
    pub fn parent(&self) -> Option<Self> {
        let mut parent = self.clone();
        parent.pop().then_some(parent)
    }

    /// Returns whether this is the whole document.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `ancestor` names this place or one that holds it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.0
            .strip_prefix(&ancestor.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Yields the unescaped tokens, outermost first.
    pub fn tokens(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.split('/').skip(1).map(unescape)
    }

    /// Returns the value at this place of `document`, if there is one.
    pub fn resolve<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        document.pointer(&self.0)
    }

    /// Returns the pointer as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PointerError::NoLeadingSlash);
        }
        let escapes_are_good = text
            .split('~')
            .skip(1)
            .all(|rest| rest.starts_with('0') || rest.starts_with('1'));
        if escapes_are_good {
            Ok(Self(text.to_owned()))
        } else {
            Err(PointerError::BadEscape)
        }
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.0
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "json-pointer",
            "description": "a place in a JSON document (RFC 6901)",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_of_the_rfc_name_the_values_it_says() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8
        });
        for (text, expected) in [
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ] {
            let pointer: Pointer = text.parse().unwrap();
            assert_eq!(pointer.resolve(&document), Some(&expected), "{text}");
        }
        assert_eq!(Pointer::root().resolve(&document), Some(&document));
        assert_eq!(
            "/foo/00".parse::<Pointer>().unwrap().resolve(&document),
            None
        );
        assert_eq!(
            "/foo/-".parse::<Pointer>().unwrap().resolve(&document),
            None
        );
    }

    #[test]
    fn a_text_that_is_no_pointer_is_refused() {
        assert_eq!("foo".parse::<Pointer>(), Err(PointerError::NoLeadingSlash));
        assert_eq!("/a~2".parse::<Pointer>(), Err(PointerError::BadEscape));
        assert_eq!("/a~".parse::<Pointer>(), Err(PointerError::BadEscape));
    }

    #[test]
    fn a_sibling_whose_name_starts_alike_is_not_inside() {
        let pointer = |text: &str| text.parse::<Pointer>().unwrap();
        assert!(pointer("/ab/c").starts_with(&pointer("/ab")));
        assert!(pointer("/ab").starts_with(&pointer("/ab")));
        assert!(pointer("/ab").starts_with(&Pointer::root()));
        assert!(!pointer("/abc").starts_with(&pointer("/ab")));
    }

    proptest! {
        #[test]
        fn pushed_tokens_come_back_unescaped(tokens in prop::collection::vec(".*", 0..6)) {
            let mut pointer = Pointer::root();
            for token in &tokens {
                pointer.push_key(token);
            }
            prop_assert_eq!(pointer.tokens().map(Cow::into_owned).collect::<Vec<_>>(), tokens.clone());
            let read: Pointer = pointer.as_str().parse().unwrap();
            prop_assert_eq!(&read, &pointer);
            for _ in &tokens {
                prop_assert!(pointer.pop());
            }
            prop_assert!(pointer.is_root() && !pointer.pop());
        }
    }
}
