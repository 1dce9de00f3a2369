//! What somebody wants changed.

use std::fmt;

use plane_model::canonical::{self, CanonicalError};
use plane_model::{Digest, DocumentKey, PrincipalId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a command is given; some kinds of document are written by one action only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Somebody writes documents.
    Write,
    /// A tree is applied.
    Apply,
    /// Somebody stops a flag, an agent or a tool.
    Kill,
    /// Somebody clears such a stop.
    Revive,
    /// Somebody takes earlier commits back.
    Revert,
    /// Somebody has units hashed in another way.
    Migrate,
    /// Somebody grants or withdraws access.
    Access,
    /// What was scheduled is due: it is done, or it is written down why not.
    Run,
    /// An operator goes on from a backup: the epoch rises, and no document changes.
    Recover,
}

impl Action {
    /// The action as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Apply => "apply",
            Self::Kill => "kill",
            Self::Revive => "revive",
            Self::Revert => "revert",
            Self::Migrate => "migrate",
            Self::Access => "access",
            Self::Run => "run",
            Self::Recover => "recover",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What must be true of a document for an operation to go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// It is not there.
    Absent,
    /// It was last changed at this revision.
    Revision(u64),
}

/// What is done to a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It gets this body. For agents and tools: the manifest to publish.
    Put(Value),
    /// It is there, and this JSON merge patch (RFC 7396) is applied to what it says.
    Patch(Value),
    /// It goes away.
    Delete,
}

/// One operation of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// On which document.
    pub key: DocumentKey,
    /// What.
    pub change: Change,
    /// Only if.
    pub expect: Expect,
}

/// An atomic list of operations, with who, how and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The key that makes a repeated request one commit.
    pub id: String,
    /// Who.
    pub actor: PrincipalId,
    /// What kind of change.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Through what.
    pub source: String,
    /// The operations; pointers in violations begin with `/ops/INDEX`.
    pub ops: Vec<Op>,
}

impl Command {
    /// Says whether the command stops something, and so goes before others.
    pub fn is_kill(&self) -> bool {
        matches!(self.action, Action::Kill)
    }

    /// The digest that tells a repeated request from another one with the same key.
    pub fn request_digest(&self) -> Digest {
        // A body that has no canonical form is refused when it is prepared.
        Digest::of(
            &self
                .request()
                .unwrap_or_else(|_| format!("{self:?}").into_bytes()),
        )
    }

    /// The canonical form of `[actor, action, reason, source, [[kind, scope, name, expect, body], …]]`, written without
    /// a value of it all: every commit comes by here.
    fn request(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut text = Vec::with_capacity(256);
        let who = [
            self.actor.as_str(),
            self.action.as_str(),
            &self.reason,
            &self.source,
        ];
        for part in who {
            text.push(if text.is_empty() { b'[' } else { b',' });
            string(&mut text, part)?;
        }
        text.extend_from_slice(b",[");
        for (index, op) in self.ops.iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"[" } else { b",[" });
            for part in [op.key.kind().as_str(), op.key.scope(), op.key.name()] {
                string(&mut text, part)?;
                text.push(b',');
            }
            match op.expect {
                Expect::Any => text.extend_from_slice(b"null"),
                Expect::Absent => text.extend_from_slice(b"\"absent\""),
                Expect::Revision(revision) => {
                    text.extend_from_slice(&canonical::to_canonical(&revision.into())?);
                }
            }
            match &op.change {
                Change::Put(body) => {
                    text.extend_from_slice(b",{\"put\":");
                    text.extend_from_slice(&canonical::to_canonical(body)?);
                    text.extend_from_slice(b"}]");
                }
                Change::Patch(body) => {
                    text.extend_from_slice(b",{\"patch\":");
                    text.extend_from_slice(&canonical::to_canonical(body)?);
                    text.extend_from_slice(b"}]");
                }
                Change::Delete => text.extend_from_slice(b",\"delete\"]"),
            }
        }
        text.extend_from_slice(b"]]");
        Ok(text)
    }
}

/// Writes a string as JSON: what serde escapes is what the canonical form escapes.
fn string(text: &mut Vec<u8>, part: &str) -> Result<(), CanonicalError> {
    serde_json::to_writer(text, part).map_err(|error| CanonicalError::NotJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use plane_model::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_digested_in_its_canonical_form() {
        let key = |name: &str| DocumentKey::new(Kind::Segment, "", name).unwrap();
        let body = json!({"b": 1.0, "a": ["\u{7}\u{1f}\n\"\\/é\u{2028}", null]});
        let op = |name, change, expect| Op {
            key: key(name),
            change,
            expect,
        };
        let command = Command {
            id: "not in it".to_owned(),
            actor: PrincipalId::new("ana").unwrap(),
            action: Action::Write,
            reason: "\u{1}\u{8}\u{c}\t\r\n \u{7f}\u{2029} \"why\" \\ é 🦀".to_owned(),
            source: "test".to_owned(),
            ops: vec![
                op("one", Change::Put(body.clone()), Expect::Any),
                op("two", Change::Put(json!(null)), Expect::Absent),
                op("three", Change::Delete, Expect::Revision(7)),
                op("four", Change::Patch(json!({"c": null})), Expect::Any),
            ],
        };
        let expected = json!([
            "ana",
            "write",
            command.reason,
            "test",
            [
                ["segment", "", "one", null, {"put": body}],
                ["segment", "", "two", "absent", {"put": null}],
                ["segment", "", "three", 7, "delete"],
                ["segment", "", "four", null, {"patch": {"c": null}}]
            ]
        ]);
        let expected = canonical::to_canonical(&expected).unwrap();
        assert_eq!(command.request(), Ok(expected.clone()));
        assert_eq!(command.request_digest(), Digest::of(&expected));
        let nothing = Command {
            ops: Vec::new(),
            ..command
        };
        assert!(nothing.request().unwrap().ends_with(b",[]]"));
    }

    #[test]
    fn a_request_without_a_canonical_form_still_has_a_digest_of_its_own() {
        let digest = |number: u64| {
            let command = Command {
                id: String::new(),
                actor: PrincipalId::new("ana").unwrap(),
                action: Action::Write,
                reason: String::new(),
                source: String::new(),
                ops: vec![Op {
                    key: DocumentKey::new(Kind::Segment, "", "one").unwrap(),
                    change: Change::Put(json!(number)),
                    expect: Expect::Any,
                }],
            };
            command.request_digest()
        };
        assert_ne!(digest(u64::MAX), digest(u64::MAX - 1));
    }
}
