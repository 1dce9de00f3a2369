//! Names and ids: text that obeys the rule of its kind.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Code, Violation};

/// The text breaks the rule for names of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct NameError {
    /// The refused text, cut to a printable length.
    pub text: String,
    /// What the text was to name.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl NameError {
    /// The finding about the name at `pointer`.
    pub fn at(&self, pointer: impl Into<String>) -> Violation {
        Violation::new(Code::NameInvalid, pointer, self.to_string())
            .next("correct the name by that rule")
    }

    pub(crate) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self {
            text: text.chars().take(80).flat_map(char::escape_debug).collect(),
            what,
            rule,
        }
    }
}

impl From<NameError> for Violation {
    fn from(error: NameError) -> Self {
        error.at("")
    }
}

/// Says whether `text` starts with a letter, digit or underscore, goes on with those or `extra`, and fits.
fn obeys(text: &str, extra: &[u8], chars_max: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(word)
        && text.len() <= chars_max
        && bytes.all(|byte| word(byte) || extra.contains(&byte))
}

macro_rules! name {
    ($(#[$meta:meta])* $type:ident, $what:literal, $extra:literal, $max:literal, $rule:literal) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `text` against the rule.
            pub fn new(text: &str) -> Result<Self, NameError> {
                if obeys(text, $extra, $max) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError::new(text, $what, $rule))
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let extra = String::from_utf8_lossy($extra);
                let pattern = format!("^[A-Za-z0-9_][A-Za-z0-9_{extra}]{{0,{}}}$", $max - 1);
                let description = format!("The {}: {}.", $what, $rule);
                schemars::json_schema!({
                    "type": "string", "pattern": pattern, "description": description
                })
            }
        }
    };
}

name!(
    /// Names an environment, such as `production`.
    EnvironmentName, "environment name", b"-", 64,
    "1 to 64 letters, digits, `_` or `-`, not starting with `-`"
);
name!(
    /// Names a value that selectors use: a plan, a region or a service.
    Label, "label", b"-", 64,
    "1 to 64 letters, digits, `_` or `-`, not starting with `-`"
);
name!(
    /// Names a flag.
    FlagKey, "flag key", b".-", 128,
    "1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
);
name!(
    /// Names an exclusion group.
    GroupName, "exclusion group name", b".-", 128,
    "1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
);
name!(
    /// Names a schedule.
    ScheduleName, "schedule name", b".-", 128,
    "1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
);
name!(
    /// Names a segment.
    SegmentName, "segment name", b".-", 128,
    "1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
);
name!(
    /// Names a variant of a flag.
    VariantName, "variant name", b".+-", 64,
    "1 to 64 letters, digits, `_`, `.`, `+` or `-`, starting with a letter, digit or `_`"
);
name!(
    /// Names a config document: the first part of a path such as `database.url`.
    ConfigName, "config document name", b"-", 128,
    "1 to 128 letters, digits, `_` or `-`, not starting with `-`"
);
name!(
    /// Names a tenant; it must not carry personal data, because it stays in the log for ever.
    TenantId, "tenant id", b".:@=+-", 128,
    "1 to 128 letters, digits or any of `_.:@=+-`, starting with a letter, digit or `_`"
);
name!(
    /// Names who acts: a person, a service or the system, without personal data.
    PrincipalId, "principal id", b".:@=+-", 128,
    "1 to 128 letters, digits or any of `_.:@=+-`, starting with a letter, digit or `_`"
);
name!(
    /// Names a token or a role binding.
    TokenId, "id", b".-", 128,
    "1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
);
name!(
    /// Names the owner of a set of agents and tools, and of the keys that sign them.
    Namespace, "namespace", b".-", 128,
    "1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
);

impl Namespace {
    /// The namespace of names that are written without one.
    pub const DEFAULT: &'static str = "default";

    /// Says whether this is the namespace of names that are written without one.
    pub fn is_default(&self) -> bool {
        self.as_str() == Self::DEFAULT
    }
}

/// What an artifact of the registry is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// An agent.
    Agent,
    /// A tool.
    Tool,
}

impl ArtifactKind {
    /// The kind as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Tool => "tool",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names an agent or a tool: `name` in the default namespace, `namespace/name` in another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName {
    text: Arc<str>,
    /// Where the name proper begins in `text`.
    start: usize,
}

impl ArtifactName {
    const WHAT: &'static str = "agent or tool name";
    const RULE: &'static str = "`name` or `namespace/name`, each 1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`";

    /// Checks `text`; `default/name` is the same name as `name`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new(text, Self::WHAT, Self::RULE);
        let part = |part: &str| obeys(part, b".-", 128);
        match text.split_once('/') {
            None if part(text) => Ok(Self {
                text: text.into(),
                start: 0,
            }),
            Some((Namespace::DEFAULT, name)) if part(name) => Ok(Self {
                text: name.into(),
                start: 0,
            }),
            Some((namespace, name)) if part(namespace) && part(name) => Ok(Self {
                text: text.into(),
                start: namespace.len() + 1,
            }),
            _ => Err(error()),
        }
    }

    /// The whole name, without the default namespace.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name without its namespace.
    pub fn name(&self) -> &str {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// The namespace.
    pub fn namespace(&self) -> Namespace {
        let text = match self.start {
            0 => Namespace::DEFAULT,
            start => self.text.get(..start - 1).unwrap_or_default(),
        };
        Namespace(text.into())
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Borrow<str> for ArtifactName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl FromStr for ArtifactName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// One published version of an agent or a tool: `name@1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactVersion {
    /// The agent or tool.
    pub name: ArtifactName,
    /// Its version.
    pub version: semver::Version,
}

impl fmt::Display for ArtifactVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for ArtifactVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || {
            NameError::new(
                text,
                "version of an agent or a tool",
                "write `name@MAJOR.MINOR.PATCH`",
            )
        };
        let (name, version) = text.split_once('@').ok_or_else(error)?;
        let name = ArtifactName::new(name)?;
        let version = version.parse().map_err(|_| error())?;
        Ok(Self { name, version })
    }
}

macro_rules! text_form {
    ($type:ident, $example:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "examples": [$example], "description": $description
                })
            }
        }
    };
}

text_form!(
    ArtifactName,
    "acme/crm_tool",
    "The name of an agent or a tool: `name` in the namespace `default`, `namespace/name` in another."
);
text_form!(
    ArtifactVersion,
    "acme/crm_tool@1.2.0",
    "One version of an agent or a tool: its name, `@` and a semantic version."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_traverse_or_hide_are_refused() {
        for text in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-a",
            "a b",
            "a\0",
            "é",
            "a\u{200b}",
            "\u{202e}a",
        ] {
            assert!(FlagKey::new(text).is_err(), "{text:?}");
        }
        assert!(FlagKey::new(&"a".repeat(128)).is_ok());
        assert!(FlagKey::new(&"a".repeat(129)).is_err());
    }

    #[test]
    fn the_default_namespace_is_not_written() {
        assert_eq!(
            ArtifactName::new("default/crm").unwrap(),
            ArtifactName::new("crm").unwrap()
        );
        let name = ArtifactName::new("acme/crm").unwrap();
        assert_eq!((name.namespace().as_str(), name.name()), ("acme", "crm"));
        assert!(ArtifactName::new("a/b/c").is_err());
        assert!(ArtifactName::new("/b").is_err());
    }

    #[test]
    fn a_version_is_strict_semver() {
        assert_eq!(
            "crm@1.2.0".parse::<ArtifactVersion>().unwrap().to_string(),
            "crm@1.2.0"
        );
        for text in [
            "crm",
            "crm@1.2",
            "crm@v1.2.0",
            "crm@01.2.0",
            "crm@latest",
            "@1.0.0",
        ] {
            assert!(text.parse::<ArtifactVersion>().is_err(), "{text}");
        }
    }
}
