//! Makes scheduled changes when they are due, one schedule after another.
//!
//! A schedule runs in one commit that holds its changes and its own end, so that a crash neither loses nor repeats it:
//! it is there, and then it runs at the next start, or it is not. What cannot be done is written into it, and is not
//! tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plane_model::documents::{Author, Schedule, ScheduleFailure};
use plane_model::{Code, Document, DocumentKey, PrincipalId, Timestamp, limits};
use plane_state::{Action, Change, Command, Expect, Op, Scope, schedule};
use tokio::sync::Notify;

use crate::error::CommitError;
use crate::node::Node;

/// Who writes into a schedule that it failed.
const SYSTEM: &str = "control-plane";
/// How long the clock is trusted at most: it may be set, and timers stand still while a machine sleeps.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// How long to wait when the store takes no writes.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What came of schedules since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScheduleCounts {
    /// How many ran.
    pub ran: u64,
    /// How many failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Schedules {
    changed: Notify,
    ran: AtomicU64,
    failed: AtomicU64,
}

impl Schedules {
    /// Has the next one looked for anew.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn counts(&self) -> ScheduleCounts {
        ScheduleCounts {
            ran: self.ran.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// What became of a schedule that was due.
enum Became {
    /// It is done, in one way or the other, or somebody changed it meanwhile.
    Settled,
    /// Nothing could be written.
    Waits,
}

/// Runs what is due, and waits for what is not, until the node shuts down.
pub(crate) async fn run(node: Node) {
    loop {
        let snapshot = node.snapshot();
        let next = schedule::pending(snapshot.state()).into_iter().next();
        let wait = match next {
            None => None,
            Some((at, _)) if at > node.now() => Some(until(at, node.now())),
            Some((_, key)) => {
                let became = tokio::select! {
                    became = settle(&node, key) => became,
                    () = node.stopping() => return,
                };
                match became {
                    Became::Settled => continue,
                    Became::Waits => Some(RETRY_AFTER),
                }
            }
        };
        drop(snapshot);
        tokio::select! {
            () = node.schedules().changed.notified() => {}
            () = sleep(wait) => {}
            () = node.stopping() => return,
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    let ms = at.as_ms().saturating_sub(now.as_ms());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(SLEEP_MAX)
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Makes the changes of a schedule that is due, or writes down why not.
async fn settle(node: &Node, key: &DocumentKey) -> Became {
    let snapshot = node.snapshot();
    let Some(entry) = snapshot.state().entry(key) else {
        return Became::Settled;
    };
    let Some(Document::Schedule(due)) = entry.document().map(|it| &**it) else {
        return Became::Settled;
    };
    let (code, detail) = match commit(node, key, entry.revision, due).await {
        Ok(()) => {
            node.schedules().ran.fetch_add(1, Ordering::Relaxed);
            return Became::Settled;
        }
        Err(Refused::Because(code, detail)) => (code, detail),
        Err(Refused::Later(error)) => return later(key, &error),
    };
    // Who cancelled it or filed it anew in this very moment came first.
    let current = node.snapshot();
    if current.state().entry(key).map(|it| it.revision) != Some(entry.revision) {
        return Became::Settled;
    }
    match fail(node, key, entry.revision, due, code, &detail).await {
        Ok(revision) => {
            node.schedules().failed.fetch_add(1, Ordering::Relaxed);
            alert(node, key, revision, code, &detail);
            Became::Settled
        }
        Err(error) => later(key, &error),
    }
}

fn later(key: &DocumentKey, error: &CommitError) -> Became {
    tracing::warn!(%key, %error, "what is scheduled cannot be written now; it is tried again");
    Became::Waits
}

/// Why a schedule did not run.
enum Refused {
    /// It is not to be tried again.
    Because(Code, String),
    /// Nothing can be written now.
    Later(CommitError),
}

async fn commit(
    node: &Node,
    key: &DocumentKey,
    revision: u64,
    due: &Schedule,
) -> Result<(), Refused> {
    let nobody = || Refused::Because(Code::Unauthenticated, "nobody filed it".to_owned());
    let author: &Author = due.author.as_ref().ok_or_else(nobody)?;
    let snapshot = node.snapshot();
    let scope = Scope::of_author(snapshot.state(), author, node.now()).map_err(|denied| {
        let detail = format!("the token of {}: {denied}", author.principal);
        Refused::Because(Code::Unauthenticated, detail)
    })?;
    let command = schedule::due(key, revision, due, author)
        .map_err(|it| Refused::Because(it.code, it.detail))?;
    match node.commit(&scope, command).await {
        Ok(_) => Ok(()),
        Err(CommitError::Rejected(rejection)) => {
            let code = CommitError::Rejected(rejection.clone()).code();
            let findings = rejection.violations.iter();
            let findings: Vec<_> = findings
                .map(|it| match it.pointer.as_str() {
                    "" => it.detail.clone(),
                    pointer => format!("{pointer}: {}", it.detail),
                })
                .collect();
            Err(Refused::Because(code, findings.join("; ")))
        }
        Err(error @ CommitError::IdReused { .. }) => {
            Err(Refused::Because(error.code(), error.to_string()))
        }
        Err(error) => Err(Refused::Later(error)),
    }
}

async fn fail(
    node: &Node,
    key: &DocumentKey,
    revision: u64,
    due: &Schedule,
    code: Code,
    detail: &str,
) -> Result<u64, CommitError> {
    let system = PrincipalId::new(SYSTEM).expect("it is a name of a principal");
    let detail: String = detail.chars().take(limits::PROSE_CHARS_MAX / 2).collect();
    let failed = Schedule {
        failed: Some(ScheduleFailure {
            code,
            detail: detail.clone(),
            at: node.now(),
        }),
        ..due.clone()
    };
    let command = Command {
        id: format!("schedule {}/{} {revision} failed", key.scope(), key.name()),
        actor: system.clone(),
        action: Action::Run,
        reason: format!("schedule `{}` failed: {code}: {detail}", key.name()),
        source: schedule::SOURCE.to_owned(),
        ops: vec![Op {
            key: key.clone(),
            change: Change::Put(Document::Schedule(failed.into()).to_value()),
            expect: Expect::Revision(revision),
        }],
    };
    Ok(node.commit(&Scope::system(system), command).await?.revision)
}

/// Tells the log and the observations; the streams and the metrics tell it by themselves.
fn alert(node: &Node, key: &DocumentKey, revision: u64, code: Code, detail: &str) {
    let subject = format!("schedule:{}", key.name());
    tracing::warn!(
        target: "control_plane::alert",
        rule = "schedule-failed",
        subject,
        environment = key.scope(),
        revision,
        code = code.as_str(),
        reason = detail,
    );
    let revision = revision.to_string();
    node.observe(
        "alert",
        &subject,
        &[
            ("rule", "schedule-failed"),
            ("severity", "critical"),
            ("environment", key.scope()),
            ("tenant", ""),
            ("revision", &revision),
        ],
    );
}
