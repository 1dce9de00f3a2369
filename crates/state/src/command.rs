//! What somebody wants changed.

use std::fmt;

use plane_model::{Digest, DocumentKey, PrincipalId, canonical};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// Somebody grants or withdraws access.
    Access,
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
            Self::Access => "access",
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
        let ops: Vec<Value> = self
            .ops
            .iter()
            .map(|op| {
                let expect = match op.expect {
                    Expect::Any => Value::Null,
                    Expect::Absent => json!("absent"),
                    Expect::Revision(revision) => json!(revision),
                };
                let body = match &op.change {
                    Change::Put(body) => json!({ "put": body }),
                    Change::Delete => json!("delete"),
                };
                json!([
                    op.key.kind().as_str(),
                    op.key.scope(),
                    op.key.name(),
                    expect,
                    body
                ])
            })
            .collect();
        let request = json!([
            self.actor.as_str(),
            self.action.as_str(),
            self.reason,
            self.source,
            ops
        ]);
        // A body that has no canonical form is refused when it is prepared.
        canonical::to_canonical(&request).map_or_else(
            |_| Digest::of(request.to_string().as_bytes()),
            |bytes| Digest::of(&bytes),
        )
    }
}
