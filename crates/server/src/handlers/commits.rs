//! Commits of any documents, the log of them, and taking them back.

use plane_api::{
    CommitRecord, CommitRecordOp, CommitRequest, Difference, DocumentName, Effect, List, OpChange,
    OpRequest, PlannedChange, Receipt, RecordReply, RevertReply, RevertRequest,
};
use plane_model::{Code, DocumentKey, Kind, PrincipalId, TenantId, Violation, Violations};
use plane_node::HistoryQuery;
use plane_state::revert::Filter;
use plane_state::{Action, Change, Expect, Op, OpKind, Record, RecordOp, Scope, differences};

use super::documents::{SOURCE, command, commit_reply, foreseen, give, plan_reply};
use crate::call::{Answer, COMMITS_TELL, Call, json};
use crate::failure::{Failure, store};
use crate::query::refuse;

/// How many commits are looked at for one page, when most of them may not be shown.
const SCANNED_MAX: usize = 10_000;

/// Changes documents of any kinds, all or none.
pub(super) async fn commit(call: Call) -> Answer {
    let request: CommitRequest = call.read()?;
    let mut found = Violations::new();
    let mut ops = Vec::with_capacity(request.ops.len());
    for (index, op) in request.ops.into_iter().enumerate() {
        match operation(op) {
            Ok(op) => ops.push(op),
            Err(violation) => found.push(violation.below(&format!("/ops/{index}"))),
        }
    }
    if !found.is_empty() {
        return Err(found.into());
    }
    let command = command(&call, Action::Write, ops, request.reason)?;
    let (revision, reply) = commit_reply(give(&call, command).await?);
    json(revision, &reply)
}

fn operation(request: OpRequest) -> Result<Op, Violation> {
    let key = DocumentKey::new(request.kind, &request.scope, &request.name)
        .map_err(|violation| violation.below("/name"))?;
    let change = match (request.op, request.body) {
        (OpChange::Put, Some(body)) => Change::Put(body),
        (OpChange::Put, None) => {
            return Err(
                Violation::new(Code::FieldMissing, "/body", "a put has no body")
                    .next("add `body`: what the document says"),
            );
        }
        (OpChange::Delete, None) => Change::Delete,
        (OpChange::Delete, Some(_)) => {
            return Err(
                Violation::new(Code::FieldInvalid, "/body", "a delete has a body")
                    .next("remove `body`"),
            );
        }
    };
    let expect = match (request.if_revision, request.if_absent) {
        (None, false) => Expect::Any,
        (None, true) => Expect::Absent,
        (Some(revision), false) => Expect::Revision(revision),
        (Some(_), true) => {
            let detail = "`if_revision` and `if_absent` contradict each other";
            return Err(
                Violation::new(Code::FieldInvalid, "/if_absent", detail).next("keep one of them")
            );
        }
    };
    Ok(Op {
        key,
        change,
        expect,
    })
}

/// Lists commits, the newest first, as far as the caller may know of them.
pub(super) async fn list(call: Call) -> Answer {
    let query = call.query();
    let limit = query.limit()?;
    let kind: Option<Kind> = query
        .get("kind")
        .map(str::parse)
        .transpose()
        .map_err(|it: Violation| Failure::from(it))?;
    let (scope, name) = (query.get("scope"), query.get("name"));
    let document = match (kind, name) {
        (Some(kind), Some(name)) => {
            Some(DocumentKey::new(kind, scope.unwrap_or_default(), name).map_err(Failure::from)?)
        }
        _ => None,
    };
    let tenant = query.get("tenant").map(TenantId::new).transpose()?;
    let mut before: Option<u64> = query.read(
        "cursor",
        "send the `next_cursor` of the page before, unchanged",
    )?;
    let mut items = Vec::new();
    let mut scanned = 0;
    let mut next_cursor = None;
    'pages: loop {
        let page_query = HistoryQuery {
            since: query.moment("since")?,
            until: query.moment("until")?,
            actor: query.get("actor").map(PrincipalId::new).transpose()?,
            tenant: tenant.clone(),
            kind: if document.is_some() { None } else { kind },
            document: document.clone(),
            before,
            limit: limit + 1,
        };
        let page = call
            .node()
            .history(&page_query)
            .await
            .map_err(|error| store(&error))?;
        let is_last = page.len() <= limit;
        for (_, record) in page {
            if items.len() == limit || scanned == SCANNED_MAX {
                next_cursor = before.map(|revision| revision.to_string());
                break 'pages;
            }
            scanned += 1;
            before = Some(record.revision);
            // Only what the caller may know of can match: a filter must not tell what is there.
            let wanted = record.ops.iter().filter_map(RecordOp::key).any(|key| {
                call.scope().sees(&key)
                    && kind.is_none_or(|kind| key.kind() == kind)
                    && scope.is_none_or(|scope| key.scope() == scope)
                    && name.is_none_or(|name| key.name() == name)
                    && (tenant.is_none() || key.tenant_id() == tenant)
            });
            if wanted && let Some(shown) = shown(record, call.scope()) {
                items.push(shown);
            }
        }
        if is_last {
            break;
        }
    }
    let revision = call.node().snapshot().revision();
    json(
        revision,
        &List {
            items,
            next_cursor,
            revision,
        },
    )
}

/// The part of a record that the caller may know of; none if that is nothing.
fn shown(record: Record, scope: &Scope) -> Option<CommitRecord> {
    // A recovery changes no document: it is everybody's business.
    let is_about_all = record.ops.is_empty();
    let ops: Vec<_> = record
        .ops
        .iter()
        .filter(|op| op.key().is_some_and(|key| scope.sees(&key)))
        .map(|op| CommitRecordOp {
            op: match op.op {
                OpKind::Put => OpChange::Put,
                OpKind::Delete => OpChange::Delete,
            },
            kind: op.kind.clone(),
            scope: op.scope.clone(),
            name: op.name.clone(),
        })
        .collect();
    (is_about_all || !ops.is_empty()).then_some(CommitRecord {
        revision: record.revision,
        parent: record.parent,
        id: record.id,
        at: record.at,
        actor: record.actor,
        action: record.action,
        reason: record.reason,
        source: record.source,
        ops,
    })
}

/// Reads one commit and what it changed.
pub(super) async fn get(call: Call) -> Answer {
    let text = call.param("revision")?;
    let revision: u64 = text
        .parse()
        .map_err(|_| refuse("revision", text, "write a whole number"))?;
    let missing = || {
        Failure::new(
            Code::RevisionNotFound,
            format!("there is no commit {revision}"),
        )
        .next(COMMITS_TELL)
    };
    let detail = call
        .node()
        .commit_detail(revision)
        .await
        .map_err(|error| store(&error))?
        .ok_or_else(missing)?;
    let changes = detail
        .record
        .ops
        .iter()
        .zip(detail.changes)
        .filter_map(|(op, change)| {
            let key = change.key.filter(|key| call.scope().sees(key))?;
            let effect = match (op.op, &op.before) {
                (OpKind::Delete, _) => Effect::Delete,
                (OpKind::Put, None) => Effect::Create,
                (OpKind::Put, Some(_)) => Effect::Update,
            };
            let mut diff = differences(change.before.as_ref(), change.after.as_ref());
            if key.kind() == Kind::Token {
                diff.retain(|it| it.pointer != "/hash");
            }
            Some(PlannedChange {
                kind: key.kind(),
                scope: key.scope().to_owned(),
                name: key.name().to_owned(),
                effect,
                diff: diff.into_iter().map(difference).collect(),
            })
        })
        .collect();
    let record = shown(detail.record, call.scope()).ok_or_else(missing)?;
    json(
        call.node().snapshot().revision(),
        &RecordReply { record, changes },
    )
}

/// Puts documents back to what they were before commits.
pub(super) async fn revert(call: Call) -> Answer {
    let request: RevertRequest = call.read()?;
    let outcome = call
        .node()
        .revert(
            call.scope(),
            plane_node::RevertRequest {
                id: call.idempotency_key()?,
                from: request.from,
                to: request.to.unwrap_or(request.from),
                filter: Filter {
                    kind: request.kind,
                    name: request.name,
                    scope: request.scope,
                },
                reason: call.reason()?.unwrap_or(request.reason),
                source: SOURCE.to_owned(),
                dry_run: call.query().flag("dry_run")?,
            },
        )
        .await?;
    let reply = RevertReply {
        committed: outcome.committed.as_ref().map(receipt),
        plan: match outcome.preview {
            Some(preview) => foreseen(&call, preview).await?,
            None => plan_reply(outcome.plan),
        },
        excluded: names(&call, outcome.excluded),
    };
    json(call.node().snapshot().revision(), &reply)
}

/// The names of those documents that the caller may know of.
pub(super) fn names(call: &Call, keys: Vec<DocumentKey>) -> Vec<DocumentName> {
    keys.into_iter()
        .filter(|key| call.scope().sees(key))
        .map(|key| DocumentName {
            kind: key.kind(),
            scope: key.scope().to_owned(),
            name: key.name().to_owned(),
        })
        .collect()
}

/// Where a commit stands in the log.
pub(super) fn receipt(done: &plane_node::Committed) -> Receipt {
    Receipt {
        revision: done.revision,
        hash: done.hash,
        at: done.at,
        changed: done.changed,
        repeated: done.repeated,
    }
}

/// The wire form of one change of a plan.
pub(super) fn planned_change(change: plane_state::PlannedChange) -> PlannedChange {
    let mut diff = change.diff;
    if change.kind == Kind::Token {
        diff.retain(|it| it.pointer != "/hash");
    }
    PlannedChange {
        kind: change.kind,
        scope: change.scope,
        name: change.name,
        effect: match change.effect {
            plane_state::Effect::Create => Effect::Create,
            plane_state::Effect::Update => Effect::Update,
            plane_state::Effect::Delete => Effect::Delete,
        },
        diff: diff.into_iter().map(difference).collect(),
    }
}

fn difference(difference: plane_state::Difference) -> Difference {
    Difference {
        pointer: difference.pointer,
        before: difference.before,
        after: difference.after,
    }
}
