//! What each kind of document holds, and the checks that need nothing but the document itself.

mod access;
mod compact;
mod exclusion;
mod flag;
mod metadata;
mod place;
mod registry;
mod schedule;
mod targeting;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use access::{Allowed, Role, RoleBinding, Token, TokenKind};
pub use compact::{ConfigValues, Labels};
pub use exclusion::{ExclusionGroup, GroupRange};
pub use flag::{All, Applies, Flag, FlagType, Kill, Lifecycle, Overrides, Pin, Variants};
pub use metadata::{METADATA_RESERVED, Metadata, MetadataValue};
pub use place::{Bucketing, Environment, Segment, Tenant, TenantStatus};
pub use registry::{Channel, Published, Release, Signing, Status, StatusState, Trust, TrustedKey};
pub use schedule::{Author, Schedule, ScheduleFailure, ScheduledChange, ScheduledOp};
pub use targeting::{FlagState, Prerequisite, Rule, Target, Targeting, Window};

use crate::{Code, DocumentKey, Kind, Violation, Violations, limits, parse_strict};

/// The content of a document. What is large is boxed, so that what there is most of stays small.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A place where the platform runs.
    Environment(Environment),
    /// A customer of the platform.
    Tenant(Tenant),
    /// A set of ids that rules can name.
    Segment(Box<Segment>),
    /// A flag.
    Flag(Box<Flag>),
    /// A flag's targeting in one environment.
    Targeting(Box<Targeting>),
    /// Flags that exclude each other.
    ExclusionGroup(Box<ExclusionGroup>),
    /// An emergency stop.
    Kill(Box<Kill>),
    /// What one tenant gets.
    Pin(Box<Pin>),
    /// A JSON Schema, as it was written.
    Schema(Value),
    /// One layer of a config document.
    Config(ConfigValues),
    /// The keys of a namespace.
    Trust(Box<Trust>),
    /// A published tool.
    Tool(Box<Published>),
    /// A published agent.
    Agent(Box<Published>),
    /// Whether a published version may be used.
    Status(Box<Status>),
    /// Which version of an agent an environment gets.
    Channel(Box<Channel>),
    /// A right to use this control plane.
    Token(Box<Token>),
    /// A role that a principal has.
    RoleBinding(Box<RoleBinding>),
    /// Changes to be made later.
    Schedule(Box<Schedule>),
}

/// Stored bytes that are not a document of their kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {kind} cannot be read: {detail}")]
pub struct DecodeError {
    /// The kind that was expected.
    pub kind: Kind,
    /// Why the bytes are not one.
    pub detail: String,
}

impl Document {
    /// Reads what a user wrote: unknown fields are refused, and all mistakes are reported at once.
    ///
    /// References to other documents are not followed here. For agents and tools this reads the
    /// stored facts, not the manifest that a user publishes.
    pub fn parse(key: &DocumentKey, value: &Value) -> Result<Self, Violations> {
        let document = match key.kind() {
            Kind::Environment => Self::Environment(parse_strict(value)?),
            Kind::Tenant => Self::Tenant(parse_strict(value)?),
            Kind::Segment => Self::Segment(parse_strict(value)?),
            Kind::Flag => Self::Flag(parse_strict(value)?),
            Kind::Targeting => Self::Targeting(parse_strict(value)?),
            Kind::ExclusionGroup => Self::ExclusionGroup(parse_strict(value)?),
            Kind::Kill => Self::Kill(parse_strict(value)?),
            Kind::Pin => Self::Pin(parse_strict(value)?),
            Kind::Schema => Self::Schema(value.clone()),
            Kind::Config => {
                let values = parse_strict::<Map<String, Value>>(value)?;
                Self::Config(ConfigValues::from(&values))
            }
            Kind::Trust => Self::Trust(parse_strict(value)?),
            Kind::Tool => Self::Tool(parse_strict(value)?),
            Kind::Agent => Self::Agent(parse_strict(value)?),
            Kind::Status => Self::Status(parse_strict(value)?),
            Kind::Channel => Self::Channel(parse_strict(value)?),
            Kind::Token => Self::Token(parse_strict(value)?),
            Kind::RoleBinding => Self::RoleBinding(parse_strict(value)?),
            Kind::Schedule => Self::Schedule(parse_strict(value)?),
        };
        let mut found = Violations::new();
        document.check(key, &mut found);
        if found.is_empty() {
            Ok(document)
        } else {
            Err(found)
        }
    }

    /// Reads stored bytes: fields of a later version are passed over, nothing else is checked.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::Environment => Self::Environment(decode(kind, bytes)?),
            Kind::Tenant => Self::Tenant(decode(kind, bytes)?),
            Kind::Segment => Self::Segment(decode(kind, bytes)?),
            Kind::Flag => Self::Flag(decode(kind, bytes)?),
            Kind::Targeting => Self::Targeting(decode(kind, bytes)?),
            Kind::ExclusionGroup => Self::ExclusionGroup(decode(kind, bytes)?),
            Kind::Kill => Self::Kill(decode(kind, bytes)?),
            Kind::Pin => Self::Pin(decode(kind, bytes)?),
            Kind::Schema => Self::Schema(decode(kind, bytes)?),
            Kind::Config => {
                let values = ConfigValues::of_bytes(bytes.into());
                Self::Config(values.map_err(|error| refused(kind, &error))?)
            }
            Kind::Trust => Self::Trust(decode(kind, bytes)?),
            Kind::Tool => Self::Tool(decode(kind, bytes)?),
            Kind::Agent => Self::Agent(decode(kind, bytes)?),
            Kind::Status => Self::Status(decode(kind, bytes)?),
            Kind::Channel => Self::Channel(decode(kind, bytes)?),
            Kind::Token => Self::Token(decode(kind, bytes)?),
            Kind::RoleBinding => Self::RoleBinding(decode(kind, bytes)?),
            Kind::Schedule => Self::Schedule(decode(kind, bytes)?),
        })
    }

    /// Reads stored bytes as [`decode`](Self::decode) does; what keeps them as they are shares them.
    pub fn decode_shared(kind: Kind, bytes: &Arc<[u8]>) -> Result<Self, DecodeError> {
        if kind == Kind::Config {
            let values = ConfigValues::of_bytes(Arc::clone(bytes));
            return Ok(Self::Config(values.map_err(|error| refused(kind, &error))?));
        }
        Self::decode(kind, bytes)
    }

    /// The document as JSON, in the one form of file, API, log and view.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Environment(it) => value(it),
            Self::Tenant(it) => value(it),
            Self::Segment(it) => value(it),
            Self::Flag(it) => value(it),
            Self::Targeting(it) => value(it),
            Self::ExclusionGroup(it) => value(it),
            Self::Kill(it) => value(it),
            Self::Pin(it) => value(it),
            Self::Schema(it) => it.clone(),
            Self::Config(it) => Value::Object(it.to_map()),
            Self::Trust(it) => value(it),
            Self::Tool(it) | Self::Agent(it) => value(it),
            Self::Status(it) => value(it),
            Self::Channel(it) => value(it),
            Self::Token(it) => value(it),
            Self::RoleBinding(it) => value(it),
            Self::Schedule(it) => value(it),
        }
    }

    /// The document as a commit stores it: percentages as ranges that move no more units than they must.
    ///
    /// `previous` is the document that this one replaces.
    #[must_use]
    pub fn settled(self, previous: Option<&Self>) -> Self {
        match (self, previous) {
            (Self::Targeting(new), Some(Self::Targeting(old))) => {
                Self::Targeting(new.settled(Some(old)).into())
            }
            (Self::Targeting(new), _) => Self::Targeting(new.settled(None).into()),
            (Self::ExclusionGroup(new), Some(Self::ExclusionGroup(old))) => {
                Self::ExclusionGroup(new.settled(Some(old)).into())
            }
            (Self::ExclusionGroup(new), _) => Self::ExclusionGroup(new.settled(None).into()),
            (Self::Channel(new), Some(Self::Channel(old))) => {
                Self::Channel(new.settled(Some(old)).into())
            }
            (Self::Channel(new), _) => Self::Channel(new.settled(None).into()),
            (document, _) => document,
        }
    }

    fn check(&self, key: &DocumentKey, found: &mut Violations) {
        match self {
            Self::Environment(it) => it.check(found),
            Self::Tenant(it) => it.check(found),
            Self::Segment(it) => it.check(found),
            Self::Flag(it) => it.check(found),
            Self::Targeting(it) => it.check(found),
            Self::ExclusionGroup(it) => it.check(found),
            Self::Kill(it) => it.check(key, found),
            Self::Pin(it) => it.check(key, found),
            Self::Config(it) => check_depth(&it.to_map(), found),
            Self::Trust(it) => it.check(found),
            Self::Status(it) => it.check(found),
            Self::Channel(it) => it.check(found),
            Self::Token(it) => it.check(found),
            Self::Schedule(it) => it.check(key, found),
            Self::Schema(_) | Self::Tool(_) | Self::Agent(_) | Self::RoleBinding(_) => {}
        }
    }
}

fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| refused(kind, &error))
}

fn refused(kind: Kind, error: &serde_json::Error) -> DecodeError {
    DecodeError {
        kind,
        detail: crate::parse::readable(error),
    }
}

/// Writes a document; none of them has a map with keys that are not strings, so none can fail.
fn value<T: Serialize>(document: &T) -> Value {
    serde_json::to_value(document).unwrap_or(Value::Null)
}

/// Refuses prose that is longer than the limit.
fn check_prose(pointer: &str, text: Option<&str>, found: &mut Violations) {
    if let Some(text) = text
        && text.chars().count() > limits::PROSE_CHARS_MAX
    {
        found.push(over_limit(pointer, "characters", limits::PROSE_CHARS_MAX));
    }
}

/// Refuses a reason that is missing or longer than the limit.
fn check_reason(pointer: &str, text: &str, found: &mut Violations) {
    if text.trim().is_empty() {
        let field = pointer.rsplit('/').next().unwrap_or_default();
        found.push(
            Violation::new(Code::FieldInvalid, pointer, format!("the {field} is empty"))
                .next(format!("say why in `{field}`, for those who read it later")),
        );
    } else if text.chars().count() > limits::PROSE_CHARS_MAX {
        found.push(over_limit(pointer, "characters", limits::PROSE_CHARS_MAX));
    }
}

pub(crate) fn over_limit(pointer: &str, what: &str, limit: usize) -> Violation {
    Violation::new(
        Code::LimitExceeded,
        pointer,
        format!("more than {limit} {what}"),
    )
    .next(format!("keep it to {limit} {what}"))
}

fn check_depth(config: &Map<String, Value>, found: &mut Violations) {
    let mut level: Vec<&Value> = config.values().collect();
    for _ in 0..limits::CONFIG_DEPTH_MAX {
        level = level
            .into_iter()
            .flat_map(|value| match value {
                Value::Object(map) => map.values().collect::<Vec<_>>(),
                Value::Array(list) => list.iter().collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    if !level.is_empty() {
        let detail = format!(
            "the config document nests deeper than {}",
            limits::CONFIG_DEPTH_MAX
        );
        found.push(
            Violation::new(Code::LimitExceeded, "", detail)
                .next("make it flatter, or split it into several documents"),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_not_taken_for_an_object() {
        let check = |kind: Kind, name: &str, body: Value| {
            let key = DocumentKey::new(kind, "", name).unwrap();
            Document::parse(&key, &body).unwrap_err().remove(0).pointer
        };
        assert_eq!(check(Kind::Tenant, "t", json!(["enterprise"])), "");
        assert_eq!(check(Kind::Segment, "s", json!(["d", ["a"]])), "");
        let trust = json!({"keys": [["ed25519:x"]]});
        assert_eq!(check(Kind::Trust, "n", trust), "/keys/0");
    }
}
