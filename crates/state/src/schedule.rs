//! Schedules: who files them, what is checked then, and what they become when they are due.

use std::sync::Arc;

use plane_model::documents::{Author, Schedule, ScheduledChange, ScheduledOp};
use plane_model::{Code, Document, DocumentKey, Kind, Timestamp, Violation, Violations};
use serde::Deserialize as _;
use serde_json::Value;

use crate::access::{Denied, Scope};
use crate::command::{Action, Change, Command, Expect, Op};
use crate::draft::Draft;
use crate::prepare::prepare;
use crate::state::State;

/// Through what the changes of schedules come.
pub const SOURCE: &str = "schedule";

impl Scope {
    /// Writes into the schedules that a command files who files them, and checks that they may make the changes.
    ///
    /// # Errors
    /// As [`check`](Self::check), for what is filed; or the body names somebody else as its author.
    pub fn sign(&self, command: &mut Command) -> Result<(), Violations> {
        let mut found = Violations::new();
        // When a schedule is due its author stays who they are.
        if command.action == Action::Run {
            return Ok(());
        }
        for (index, op) in command.ops.iter_mut().enumerate() {
            let Change::Put(Value::Object(body)) = &mut op.change else {
                continue;
            };
            if op.key.kind() != Kind::Schedule {
                continue;
            }
            let pointer = format!("/ops/{index}/body");
            let token = self.token().cloned();
            let author = token.map(|token| Author {
                principal: self.principal().clone(),
                token,
            });
            let author = serde_json::to_value(author).unwrap_or_default();
            match body.get("author") {
                Some(named) if *named != author => found.push(
                    Violation::new(
                        Code::FieldInvalid,
                        format!("{pointer}/author"),
                        "the author is who files the schedule, and nobody else",
                    )
                    .next("leave `author` out: the server fills it in"),
                ),
                _ => {
                    body.insert("author".to_owned(), author);
                }
            }
            let ops = body.get("ops").and_then(Value::as_array);
            for (index, inner) in ops.into_iter().flatten().enumerate() {
                // What cannot be read is refused when the command is prepared.
                let inner = ScheduledOp::deserialize(inner).ok();
                if let Some(Ok(key)) = inner.map(|it| it.key())
                    && let Err(violation) = self.check_write(&key)
                {
                    found.push(violation.below(&format!("{pointer}/ops/{index}")));
                }
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    /// What a schedule's author may do now, by the token that it was filed with.
    ///
    /// # Errors
    /// The token was withdrawn, or its time is over.
    pub fn of_author(state: &State, author: &Author, now: Timestamp) -> Result<Self, Denied> {
        let scope = Self::of_token(state, &author.token, now)?;
        if *scope.principal() == author.principal {
            Ok(scope)
        } else {
            Err(Denied::Unknown)
        }
    }
}

/// The schedules that wait for their time, those that are due first in front.
pub fn pending(state: &State) -> Vec<(Timestamp, &DocumentKey)> {
    let mut pending: Vec<_> = state
        .of_kind(Kind::Schedule)
        .filter_map(|(key, entry)| match &**entry.document()? {
            Document::Schedule(it) if it.failed.is_none() => Some((it.at, key)),
            _ => None,
        })
        .collect();
    pending.sort_unstable();
    pending
}

/// The command that a schedule becomes when it is due: its changes, and its own end at the revision that it has.
///
/// # Errors
/// An operation has a name that none of its kind can have.
pub fn due(
    key: &DocumentKey,
    revision: u64,
    schedule: &Schedule,
    author: &Author,
) -> Result<Command, Violation> {
    let end = Op {
        key: key.clone(),
        change: Change::Delete,
        expect: Expect::Revision(revision),
    };
    // No client can send a key with a space, so that none can take it before.
    let id = format!("schedule {}/{} {revision}", key.scope(), key.name());
    command(key, schedule, author, id, [end])
}

fn command(
    key: &DocumentKey,
    schedule: &Schedule,
    author: &Author,
    id: String,
    ends: impl IntoIterator<Item = Op>,
) -> Result<Command, Violation> {
    let ops = schedule.ops.iter().enumerate();
    let ops: Result<Vec<_>, _> = ops
        .map(|(index, it)| op(it).map_err(|violation| violation.below(&format!("/ops/{index}"))))
        .collect();
    let mut ops = ops?;
    ops.extend(ends);
    Ok(Command {
        id,
        actor: author.principal.clone(),
        action: Action::Run,
        reason: format!("{} (schedule `{}`)", schedule.reason, key.name()),
        source: SOURCE.to_owned(),
        ops,
    })
}

fn op(scheduled: &ScheduledOp) -> Result<Op, Violation> {
    let body = scheduled.body.clone().unwrap_or_default();
    Ok(Op {
        key: scheduled.key()?,
        change: match scheduled.op {
            ScheduledChange::Put => Change::Put(body),
            ScheduledChange::Patch => Change::Patch(body),
            ScheduledChange::Delete => Change::Delete,
        },
        expect: match (scheduled.if_revision, scheduled.if_absent) {
            (Some(revision), _) => Expect::Revision(revision),
            (None, true) => Expect::Absent,
            (None, false) => Expect::Any,
        },
    })
}

/// Reads a schedule that is filed: its changes are decided about as if they were due now, at its time.
///
/// What is put or deleted whole gets the revision that it has now as its condition.
pub(crate) fn file(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    schedule: Schedule,
    command: &Command,
    now: Timestamp,
) -> Result<Schedule, Violations> {
    // That it failed is written by the control plane, which keeps all else as it is.
    if command.action == Action::Run {
        return Ok(schedule);
    }
    let mut found = Violations::new();
    if schedule.failed.is_some() {
        let detail = "that a schedule failed is found out when it is due";
        found.push(
            Violation::new(Code::FieldInvalid, "/failed", detail)
                .next("leave `failed` out: it is tried again at its new time"),
        );
    }
    let author = schedule.author.as_ref();
    let Some(author) = author.filter(|it| it.principal == command.actor) else {
        found.push(
            Violation::new(Code::Forbidden, "/author", "nobody files it with a token")
                .next("file it with a token: its changes are made by that authority"),
        );
        return Err(found);
    };
    found.extend(schedule.check_time(now).err());
    if !found.is_empty() {
        return Err(found);
    }
    let base = draft.base();
    let mut filed = schedule.clone();
    for op in &mut filed.ops {
        let has_condition = op.if_absent || op.if_revision.is_some();
        if has_condition || op.op == ScheduledChange::Patch {
            continue;
        }
        let current = op.key().ok().and_then(|it| base.entry(&it));
        op.if_revision = current.map(|it| it.revision);
        op.if_absent = current.is_none() && op.op == ScheduledChange::Put;
    }
    // Those that come before have run by then; this one is replaced.
    let gone = pending(base)
        .into_iter()
        .filter(|it| *it < (schedule.at, key))
        .map(|(_, it)| it)
        .chain(base.entry(key).map(|_| key));
    let mut ends: Vec<_> = gone
        .map(|key| Op {
            key: key.clone(),
            change: Change::Delete,
            expect: Expect::Any,
        })
        .collect();
    ends.sort_by(|a, b| a.key.cmp(&b.key));
    ends.dedup_by(|a, b| a.key == b.key);
    let inner = self::command(key, &filed, author, String::new(), ends);
    let inner = inner.map_err(|violation| vec![violation])?;
    let prepared = prepare(base, &Arc::new(inner), schedule.at);
    draft.read_also(prepared.map_err(|rejection| rejection.violations)?.reads);
    Ok(filed)
}
