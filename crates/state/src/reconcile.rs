//! Applies a tree: three ways between what it says, what it said last, and what is there.
//!
//! INVARIANT: nothing is deleted that `prune` was not asked for, and nothing that a person changed
//! since the last apply is overwritten without `take_over`.

use std::collections::BTreeMap;

use plane_model::{Code, Digest, Document, DocumentKey, Kind, Violation, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::{Change, Expect, Op};
use crate::prepare::Rejection;
use crate::state::{Entry, State};

/// How far applying a tree may go.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Options {
    /// Delete what the tree put earlier and no longer has; never published versions.
    #[serde(default)]
    pub prune: bool,
    /// Overwrite what people changed since the tree was last applied.
    #[serde(default)]
    pub take_over: bool,
}

/// What applying a tree comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconciliation {
    /// The operations.
    pub ops: Vec<Op>,
    /// For each operation the index of the document in the tree; none for a deletion.
    pub origins: Vec<Option<usize>>,
    /// What people changed and the tree leaves as it is.
    pub kept: Vec<DocumentKey>,
    /// What the tree no longer has, and stays because `prune` was not asked for.
    pub left: Vec<DocumentKey>,
}

/// Compares a tree's documents with the state.
///
/// # Errors
/// [`Code::RevisionConflict`] for every document that both the tree and a person changed; the
/// pointers begin with `/documents/INDEX`.
pub fn reconcile(
    state: &State,
    documents: &[(DocumentKey, Value)],
    options: Options,
) -> Result<Reconciliation, Rejection> {
    let mut result = Reconciliation {
        ops: Vec::new(),
        origins: Vec::new(),
        kept: Vec::new(),
        left: Vec::new(),
    };
    let mut violations = Vec::new();
    let mut named: BTreeMap<&DocumentKey, usize> = BTreeMap::new();
    for (index, (key, body)) in documents.iter().enumerate() {
        if named.insert(key, index).is_some() {
            violations.push(
                Violation::new(
                    Code::DocumentRepeated,
                    format!("/documents/{index}"),
                    format!("{key} occurs twice in the tree"),
                )
                .next("keep one of the two"),
            );
            continue;
        }
        match decide(state, key, body, options) {
            Decision::Put => {
                let expect = state
                    .entry(key)
                    .map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
                result.ops.push(Op {
                    key: key.clone(),
                    change: Change::Put(body.clone()),
                    expect,
                });
                result.origins.push(Some(index));
            }
            Decision::Keep => result.kept.push(key.clone()),
            Decision::Nothing => {}
            Decision::Conflict(detail) => violations.push(
                Violation::new(
                    Code::RevisionConflict,
                    format!("/documents/{index}"),
                    detail,
                )
                .next("bring the change into the tree, or apply with `--take-over`"),
            ),
        }
    }
    let mut unnamed: Vec<_> = state
        .managed_keys()
        .filter(|key| !named.contains_key(key))
        .collect();
    unnamed.sort_unstable();
    for key in unnamed {
        let Some(entry) = state.entry(key) else {
            continue;
        };
        let published = matches!(key.kind(), Kind::Agent | Kind::Tool | Kind::Status);
        let changed = state.managed(key) != Some(entry.content_digest());
        if !options.prune || published || (changed && !options.take_over) {
            result.left.push(key.clone());
        } else {
            let expect = Expect::Revision(entry.revision);
            result.ops.push(Op {
                key: key.clone(),
                change: Change::Delete,
                expect,
            });
            result.origins.push(None);
        }
    }
    if violations.is_empty() {
        Ok(result)
    } else {
        Err(Rejection { violations })
    }
}

enum Decision {
    Put,
    Keep,
    Nothing,
    Conflict(String),
}

fn decide(state: &State, key: &DocumentKey, body: &Value, options: Options) -> Decision {
    // Publishing settles by itself what is published already.
    if matches!(key.kind(), Kind::Agent | Kind::Tool) {
        return Decision::Put;
    }
    let entry = state.entry(key);
    let applied = state.managed(key);
    let current = entry.map(Entry::content_digest);
    // What is written as it is stored need not be read.
    let same = |entry: &Entry| {
        entry.document().is_some()
            && canonical::to_canonical(body).is_ok_and(|bytes| *bytes == *entry.bytes)
    };
    let wanted = if entry.is_some_and(same) {
        current
    } else {
        settled_digest(state, key, body)
    };
    if wanted.is_some() && wanted == current {
        return if applied == current {
            Decision::Nothing
        } else {
            Decision::Put
        };
    }
    if options.take_over || current == applied {
        return Decision::Put;
    }
    if wanted.is_some() && wanted == applied {
        return Decision::Keep;
    }
    Decision::Conflict(match (current, applied) {
        (Some(_), Some(_)) => format!("{key} was changed by hand since the tree was last applied"),
        (Some(_), None) => format!("{key} was made by hand, and not by a tree"),
        (None, _) => format!("{key} was deleted by hand since the tree was last applied"),
    })
}

/// The digest that the body would have once it is committed; none if it is not valid.
fn settled_digest(state: &State, key: &DocumentKey, body: &Value) -> Option<Digest> {
    let document = Document::parse(key, body).ok()?;
    let previous = state.document(key).map(|document| &**document);
    let document = match (document.settled(previous), previous) {
        (Document::Channel(new), Some(Document::Channel(old))) => {
            Document::Channel(crate::validate::registry::keep_locks(*new, old).into())
        }
        (Document::Pin(new), Some(Document::Pin(old))) => {
            Document::Pin(crate::validate::registry::keep_lock(*new, old).into())
        }
        (document, _) => document,
    };
    canonical::canonical_digest(&document.to_value()).ok()
}
