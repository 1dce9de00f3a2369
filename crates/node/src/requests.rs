//! What a node is asked beyond single commands, and what it answers.

use plane_model::{Digest, DocumentKey, Timestamp};
use plane_state::revert::Filter;
use plane_state::{Plan, reconcile};
use serde_json::Value;

use crate::preview::Preview;

/// A commit that was made, or need not be.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its revision; the head's if nothing changed.
    pub revision: u64,
    /// Its hash.
    pub hash: Digest,
    /// When.
    pub at: Timestamp,
    /// Whether anything changed; not if everything was as wanted already.
    pub changed: bool,
    /// Whether an earlier request with the same key had made it.
    pub repeated: bool,
    /// What changed.
    pub plan: Plan,
}

/// A tree to apply.
#[derive(Debug, Clone)]
pub struct TreeRequest {
    /// The idempotency key; empty for a new one.
    pub id: String,
    /// Its documents.
    pub documents: Vec<(DocumentKey, Value)>,
    /// How far to go.
    pub options: reconcile::Options,
    /// Why.
    pub reason: String,
    /// Through what.
    pub source: String,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What applying a tree came to.
#[derive(Debug, Clone)]
pub struct TreeOutcome {
    /// The commit, unless it was a dry run.
    pub committed: Option<Committed>,
    /// What changes.
    pub plan: Plan,
    /// What it would lead to, if it was a dry run of something.
    pub preview: Option<Preview>,
    /// What people changed and the tree leaves as it is.
    pub kept: Vec<DocumentKey>,
    /// What the tree no longer has, and stays.
    pub left: Vec<DocumentKey>,
}

/// Commits to take back.
#[derive(Debug, Clone)]
pub struct RevertRequest {
    /// The idempotency key; empty for a new one.
    pub id: String,
    /// The first revision.
    pub from: u64,
    /// The last revision.
    pub to: u64,
    /// Which documents of them.
    pub filter: Filter,
    /// Why.
    pub reason: String,
    /// Through what.
    pub source: String,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What taking commits back came to.
#[derive(Debug, Clone)]
pub struct RevertOutcome {
    /// The commit, unless it was a dry run.
    pub committed: Option<Committed>,
    /// What changes.
    pub plan: Plan,
    /// What it would lead to, if it was a dry run.
    pub preview: Option<Preview>,
    /// What was not taken back, because its kind never is.
    pub excluded: Vec<DocumentKey>,
}

/// How the node is.
#[derive(Debug, Clone)]
pub struct Status {
    /// Why it writes no more, if so.
    pub halted: Option<String>,
    /// The revision that it serves.
    pub revision: u64,
    /// The revision that the log was last seen to have.
    pub log_revision: u64,
    /// How many things the fold passed over.
    pub anomalies: u64,
    /// How many observations were dropped.
    pub observations_dropped: u64,
}
