//! Decides about a command: what it would change, or everything that is wrong with it.
//!
//! Runs off the writer's thread. What the decision rests on is in its read-set, so that
//! [`admit`](crate::admit) can tell in no time whether it still holds on a newer state.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_model::{
    Code, Digest, Document, DocumentKey, Kind, Timestamp, Violation, Violations, canonical, limits,
    merge::merge_patch,
};

use crate::command::{Action, Change, Command, Expect};
use crate::draft::{Draft, ReadSet};
use crate::state::State;
use crate::{schedule, tree, validate};

/// A command that was found valid, and what it changes.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The command.
    pub command: Arc<Command>,
    /// The digest of the request.
    pub request: Digest,
    /// What changes; empty if everything is already as the command wants it.
    pub ops: Vec<PreparedOp>,
    /// The blobs that the changed documents bring.
    pub blobs: Vec<(Digest, Arc<[u8]>)>,
    /// What the decision rests on.
    pub reads: ReadSet,
}

/// A change to one document.
#[derive(Debug, Clone)]
pub struct PreparedOp {
    /// Which.
    pub key: DocumentKey,
    /// Its content afterwards; none if it is deleted.
    pub document: Option<Arc<Document>>,
    /// The content's canonical bytes; empty if it is deleted.
    pub bytes: Arc<[u8]>,
    /// The blobs that the content refers to.
    pub blobs: Vec<Digest>,
}

/// Everything that is wrong with a command; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the commit is refused: {} findings", violations.len())]
pub struct Rejection {
    /// The findings.
    pub violations: Violations,
}

impl From<Violation> for Rejection {
    fn from(violation: Violation) -> Self {
        Self {
            violations: vec![violation],
        }
    }
}

/// Which operation of the command touches which document.
#[derive(Debug, Default)]
pub(crate) struct Touched(BTreeMap<DocumentKey, usize>);

impl Touched {
    /// Where the document's body stands in the command; of the whole command if it is not there.
    pub(crate) fn pointer(&self, key: &DocumentKey) -> String {
        self.0
            .get(key)
            .map_or_else(String::new, |index| format!("/ops/{index}/body"))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &DocumentKey> {
        self.0.keys()
    }

    pub(crate) fn has(&self, key: &DocumentKey) -> bool {
        self.0.contains_key(key)
    }
}

/// Runs every validator over the state as the command would leave it.
///
/// # Errors
/// All findings, each with a pointer into the command's operations.
pub fn prepare(
    state: &State,
    command: &Arc<Command>,
    now: Timestamp,
) -> Result<Prepared, Rejection> {
    let mut found = Violations::new();
    let is_recovery = command.action == Action::Recover;
    let why = match command.action {
        Action::Recover => Some("say which backup was restored, and why"),
        Action::Revert => Some("say why the commits are taken back"),
        Action::Migrate => Some("say why units are hashed in another way"),
        _ => None,
    };
    if let Some(next) = why.filter(|_| command.reason.trim().is_empty()) {
        found.push(Violation::new(Code::FieldInvalid, "/reason", "the reason is empty").next(next));
    }
    if command.ops.is_empty() && !is_recovery {
        found.push(
            Violation::new(Code::CommitEmpty, "/ops", "the commit holds no operation")
                .next("name at least one document to put or delete"),
        );
    }
    if command.ops.len() > limits::COMMIT_OPS_MAX {
        found.push(
            Violation::new(
                Code::LimitExceeded,
                "/ops",
                format!(
                    "{} operations, more than the {} of one commit",
                    command.ops.len(),
                    limits::COMMIT_OPS_MAX
                ),
            )
            .next("split it into several commits"),
        );
    }
    if command.reason.chars().count() > limits::PROSE_CHARS_MAX {
        let length = command.reason.chars().count();
        let detail = format!(
            "{length} characters, more than the {} of a reason",
            limits::PROSE_CHARS_MAX
        );
        found.push(
            Violation::new(Code::LimitExceeded, "/reason", detail)
                .next("say it in fewer words, and link to the rest"),
        );
    }
    if !found.is_empty() {
        return Err(Rejection { violations: found });
    }
    let mut draft = Draft::new(state);
    let touched = read_ops(&mut draft, command, now, &mut found);
    if found.is_empty() {
        validate::check_counts(&draft, &mut found);
        validate::registry::fill_locks(&mut draft, &touched, &mut found);
        validate::access::check(&mut draft, &touched, now, &mut found);
        validate::places::check(&mut draft, command, &touched, &mut found);
        validate::flags::check(&mut draft, &touched, &mut found);
        validate::attributes::check(&draft, command, &touched, &mut found);
        validate::flags::check_ends(&draft, command, &touched, now, &mut found);
        validate::registry::check(&mut draft, &touched, &mut found);
        validate::config::check(&mut draft, &touched, &mut found);
    }
    let (ops, blobs) = write_ops(&draft, command, &touched, &mut found);
    if found.is_empty() {
        Ok(Prepared {
            command: command.clone(),
            request: command.request_digest(),
            ops,
            blobs,
            reads: draft.into_reads(),
        })
    } else {
        found.truncate(limits::VIOLATIONS_MAX);
        Err(Rejection { violations: found })
    }
}

/// Reads every operation into the draft, those that others refer to first.
fn read_ops(
    draft: &mut Draft<'_>,
    command: &Command,
    now: Timestamp,
    found: &mut Violations,
) -> Touched {
    let mut touched = Touched::default();
    let mut order: Vec<usize> = (0..command.ops.len()).collect();
    order.sort_by_key(|index| command.ops.get(*index).map(|op| op.key.kind()));
    for index in order {
        let Some(op) = command.ops.get(index) else {
            continue;
        };
        let pointer = format!("/ops/{index}");
        if touched.0.insert(op.key.clone(), index).is_some() {
            found.push(
                Violation::new(
                    Code::DocumentRepeated,
                    pointer,
                    format!("{} occurs twice in the commit", op.key),
                )
                .next("keep one of the two operations"),
            );
            continue;
        }
        draft.read(&op.key);
        if let Err(violation) = check_action(command.action, op) {
            found.push(violation.below(&pointer));
            continue;
        }
        if let Err(violation) = check_expectation(draft.base(), &op.key, op.expect) {
            found.push(violation.below(&pointer));
            continue;
        }
        match &op.change {
            Change::Put(body) => {
                let read = read_put(draft, &op.key, body, command, now);
                take(draft, &op.key, read, &pointer, found);
            }
            Change::Patch(patch) => match patched(draft.base(), &op.key, patch) {
                Ok(body) => {
                    let read = read_put(draft, &op.key, &body, command, now);
                    take(draft, &op.key, read, &pointer, found);
                }
                Err(violation) => found.push(violation.below(&pointer)),
            },
            Change::Delete if matches!(op.key.kind(), Kind::Agent | Kind::Tool) => found.push(
                Violation::new(
                    Code::Immutable,
                    pointer,
                    format!("{} is published, and published versions stay", op.key),
                )
                .next("set its status to `yanked` or `revoked` instead"),
            ),
            Change::Delete if draft.base().entry(&op.key).is_none() => found.push(
                Violation::new(Code::NotFound, pointer, format!("there is no {}", op.key))
                    .next("correct the name; if it is gone already, there is nothing left to do"),
            ),
            Change::Delete => draft.put(op.key.clone(), None),
        }
    }
    touched
}

/// Takes over what was read of a body, or what is wrong with it.
fn take(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    read: Result<Option<Arc<Document>>, Violations>,
    pointer: &str,
    found: &mut Violations,
) {
    match read {
        Ok(Some(document)) => draft.put(key.clone(), Some(document)),
        Ok(None) => {}
        Err(violations) => {
            draft.refuse(key.clone());
            let body = format!("{pointer}/body");
            found.extend(violations.into_iter().map(|it| it.below(&body)));
        }
    }
}

/// What a document says after a patch.
fn patched(
    state: &State,
    key: &DocumentKey,
    patch: &serde_json::Value,
) -> Result<serde_json::Value, Violation> {
    if matches!(key.kind(), Kind::Agent | Kind::Tool) {
        let detail = format!("{key} is published, and published versions stay");
        let violation = Violation::new(Code::Immutable, "", detail);
        return Err(violation.next("publish another version, or set its status"));
    }
    match state.document(key) {
        Some(document) => Ok(merge_patch(document.to_value(), patch)),
        None => Err(
            Violation::new(Code::NotFound, "", format!("there is no {key} to patch"))
                .next("put the whole document, or correct the name"),
        ),
    }
}

/// Some kinds are written by one action only, so that nothing else undoes a stop or grants access.
fn check_action(action: Action, op: &crate::command::Op) -> Result<(), Violation> {
    let by = match action {
        Action::Run => "schedule",
        action => action.as_str(),
    };
    let refuse = |next: &str| {
        Err(Violation::new(
            Code::CommandRequired,
            "",
            format!("a {} is not changed by a {by}", op.key.kind()),
        )
        .next(next))
    };
    match (op.key.kind(), &op.change, action) {
        (Kind::Kill, Change::Put(_), Action::Kill) => Ok(()),
        (Kind::Kill, Change::Delete, Action::Revive) => Ok(()),
        (Kind::Kill, _, _) => refuse(
            "use `kill` and `revive`: `PUT /v1/environments/ENVIRONMENT/kills/SUBJECT`, or `control-plane flag kill`",
        ),
        (Kind::Token | Kind::RoleBinding, _, Action::Access) => Ok(()),
        (Kind::Token | Kind::RoleBinding, _, _) => {
            refuse("use `POST /v1/tokens` and `PUT /v1/role-bindings/ID`, or `control-plane token`")
        }
        (Kind::Schedule, _, Action::Apply) => refuse(
            "leave it out of the tree: `PUT /v1/environments/ENVIRONMENT/schedules/NAME` files it",
        ),
        (Kind::Environment, Change::Put(_), Action::Migrate) => Ok(()),
        (
            _,
            _,
            Action::Kill | Action::Revive | Action::Migrate | Action::Access | Action::Recover,
        ) => refuse("send the other documents in a commit of their own"),
        _ => Ok(()),
    }
}

fn check_expectation(state: &State, key: &DocumentKey, expect: Expect) -> Result<(), Violation> {
    let current = state.entry(key).map(|entry| entry.revision);
    let conflict = |detail: String, next: String| {
        Err(Violation::new(Code::RevisionConflict, "", detail).next(next))
    };
    match (expect, current) {
        (Expect::Any, _) | (Expect::Absent, None) => Ok(()),
        (Expect::Revision(expected), Some(current)) if expected == current => Ok(()),
        (Expect::Absent, Some(current)) => conflict(
            format!("{key} exists already, last changed at revision {current}"),
            format!("read it, and send `If-Match: \"{current}\"` to change it"),
        ),
        (Expect::Revision(expected), Some(current)) => conflict(
            format!(
                "{key} changed: you sent revision {expected}, it was last changed at {current}"
            ),
            format!("read it again, make your change again, and send `If-Match: \"{current}\"`"),
        ),
        (Expect::Revision(expected), None) => conflict(
            format!("{key} is gone: you sent revision {expected}"),
            "send it without `If-Match` to create it anew".to_owned(),
        ),
    }
}

/// Reads the body of a put; none if the same thing is published already.
fn read_put(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    body: &serde_json::Value,
    command: &Command,
    now: Timestamp,
) -> Result<Option<Arc<Document>>, Violations> {
    // Taken in, it would stand in the way of every export.
    tree::refuse_reserved(key, body).map_err(|error| vec![error.violation()])?;
    if let Some(used) = draft.collision(key) {
        return Err(vec![
            Violation::new(
                Code::NameCollision,
                "",
                format!("`{}` differs from `{used}` only in case", key.name()),
            )
            .next("choose a name that people cannot mistake for the other"),
        ]);
    }
    if matches!(key.kind(), Kind::Agent | Kind::Tool) {
        return validate::registry::publish(draft, key, body, &command.actor, now);
    }
    let document = match Document::parse(key, body)? {
        Document::Schedule(it) => {
            let filed = schedule::file(draft, key, *it, command, now)?;
            Document::Schedule(filed.into())
        }
        document => document,
    };
    let previous = draft.base().document(key).map(|document| &**document);
    Ok(Some(Arc::new(document.settled(previous))))
}

type Written = (Vec<PreparedOp>, Vec<(Digest, Arc<[u8]>)>);

/// Writes what really changes as canonical bytes, within the limits.
fn write_ops(
    draft: &Draft<'_>,
    command: &Command,
    touched: &Touched,
    found: &mut Violations,
) -> Written {
    let mut ops = Vec::new();
    let mut blobs = BTreeMap::new();
    let mut total = 0;
    for (key, document) in draft.changed() {
        let Some(document) = document else {
            let bytes = Arc::from([]);
            ops.push(PreparedOp {
                key: key.clone(),
                document: None,
                bytes,
                blobs: Vec::new(),
            });
            continue;
        };
        let bytes = match canonical::to_canonical(&document.to_value()) {
            Ok(bytes) => bytes,
            Err(error) => {
                let pointer = touched.pointer(key);
                found.push(
                    Violation::new(Code::FieldInvalid, pointer, error.to_string())
                        .next("write numbers that JSON can carry"),
                );
                continue;
            }
        };
        // Segments are bounded by their ids, and schemas where they are compiled.
        // That a schedule failed has to be written into it, however large it is.
        let has_failed = matches!(&**document, Document::Schedule(it) if it.failed.is_some());
        let has_another_bound = matches!(key.kind(), Kind::Segment | Kind::Schema) || has_failed;
        if bytes.len() > limits::DOCUMENT_BYTES_MAX && !has_another_bound {
            let detail = format!(
                "{key} has {} bytes, more than the {} of one document",
                bytes.len(),
                limits::DOCUMENT_BYTES_MAX
            );
            found.push(
                Violation::new(Code::LimitExceeded, touched.pointer(key), detail)
                    .next("split it into several documents"),
            );
        }
        let same = draft
            .base()
            .entry(key)
            .is_some_and(|entry| entry.document().is_some() && *entry.bytes == *bytes);
        // A tree that says what a person wrote before takes the document over, which is a change.
        let adopted = command.action == Action::Apply
            && draft.base().managed(key) != Some(Digest::of(&bytes));
        if same && !adopted {
            continue;
        }
        total += bytes.len();
        let named = named_blobs(document);
        for blob in &named {
            if let Some(bytes) = draft.blob(blob) {
                blobs.insert(*blob, bytes);
            }
        }
        ops.push(PreparedOp {
            key: key.clone(),
            document: Some(document.clone()),
            bytes: bytes.into(),
            blobs: named,
        });
    }
    if total > limits::COMMIT_BYTES_MAX {
        found.push(
            Violation::new(
                Code::LimitExceeded,
                "/ops",
                format!(
                    "{total} bytes of documents, more than the {} of one commit",
                    limits::COMMIT_BYTES_MAX
                ),
            )
            .next("split it into several commits"),
        );
    }
    (ops, blobs.into_iter().collect())
}

/// Says whether a document of this kind can name blobs.
pub fn may_name_blobs(kind: Kind) -> bool {
    matches!(kind, Kind::Agent | Kind::Tool | Kind::Channel | Kind::Pin)
}

/// The blobs that a document refers to.
pub fn named_blobs(document: &Document) -> Vec<Digest> {
    match document {
        Document::Agent(it) | Document::Tool(it) => {
            it.lock.into_iter().chain([it.manifest]).collect()
        }
        Document::Channel(it) => it
            .default
            .lock
            .into_iter()
            .chain(it.locks.values().copied())
            .collect(),
        Document::Pin(it) => it.lock.into_iter().collect(),
        _ => Vec::new(),
    }
}
