//! `schedule`: what is to be done later.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::{CommitReply, DocumentReply};
use plane_client::{Client, Condition, Write};
use plane_model::documents::{Schedule as Body, ScheduledChange, ScheduledOp};
use plane_model::{DocumentKey, EnvironmentName, FlagKey, Kind, ScheduleName, Timestamp};
use serde_json::json;

use super::{environment, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Page, Paint, changes, document_name, inline, receipt, shortened, time};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// List what is scheduled, and what could not be done
    List(List),
    /// Show a schedule and what it changes
    Show(Show),
    /// Have changes of any documents made later
    Add(Add),
    /// Cancel a schedule, or clear one that failed
    Cancel(Cancel),
}

#[derive(Debug, Args)]
#[command(after_help = "\
What has run is in the log: control-plane log --kind schedule

Examples:
  control-plane schedule list
  control-plane schedule list -e production")]
pub(crate) struct List {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane schedule show launch -e production")]
pub(crate) struct Show {
    /// The schedule
    name: ScheduleName,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
FILE holds a list of operations, in YAML or JSON, as `POST /v1/commits` takes them, and patches:

  - { op: patch, kind: targeting, scope: production, name: beta, body: { state: enabled } }
  - { op: put, kind: tenant, name: acme, body: { plan: enterprise } }

A patch (RFC 7396) changes what is there then. A put or a delete fails if somebody changed the \
document in between. All is done in one commit, in your name, if your token still allows it then. \
For one flag there is `control-plane flag set --schedule`.

Examples:
  control-plane schedule add launch --at 2026-12-10T09:00:00Z \\
      --file ops.yaml --reason 'launch'")]
pub(crate) struct Add {
    /// What to call it
    name: ScheduleName,
    /// When: a time as RFC 3339
    #[arg(long, value_name = "TIME")]
    at: Timestamp,
    /// The operations
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Take the place of a schedule of this name
    #[arg(long)]
    replace: bool,
    /// Show what would be filed, and file nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane schedule cancel launch -e production --reason 'not yet'")]
pub(crate) struct Cancel {
    /// The schedule
    name: ScheduleName,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The options of commands that can do later what they do.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScheduleArgs {
    /// Do it at this time, as RFC 3339, in your name: `control-plane schedule` shows what is to come
    #[arg(long, value_name = "TIME", requires = "reason")]
    schedule: Option<Timestamp>,
    /// What to call the schedule; the flag and the time if absent
    #[arg(long, value_name = "NAME", requires = "schedule")]
    schedule_name: Option<ScheduleName>,
}

impl Schedule {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Add(command) => command.run(session),
            Self::Cancel(command) => command.run(session),
        }
    }
}

impl ScheduleArgs {
    /// When, if not now.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.schedule
    }

    /// Files what is to be done to `subject`; `now` says what doing it at once would change.
    pub(crate) fn file(
        &self,
        session: &Session,
        at: Timestamp,
        subject: &str,
        op: ScheduledOp,
        write: &Write,
        now: impl FnOnce(&Client) -> Result<CommitReply>,
    ) -> Result<()> {
        let name = match &self.schedule_name {
            Some(name) => name.clone(),
            None => named(subject, at)?,
        };
        let body = Body {
            at,
            reason: write.reason.clone().unwrap_or_default(),
            ops: vec![op],
            author: None,
            failed: None,
        };
        let key = DocumentKey::schedule(session.environment()?, &name);
        let client = session.client()?;
        let reply = client.put_document(&key, &body, Condition::Absent, write)?;
        let now = if write.dry_run {
            Some(now(&client)?)
        } else {
            None
        };
        let value = json!({ "schedule": name, "at": at, "filed": reply, "now": now });
        session.show(&value, |page| {
            let line = format!("schedule {name} at {}", time(at));
            page.line(line);
            operations(page, &body);
            match (&now, reply.receipt()) {
                (_, Some(it)) => receipt(page, it),
                (Some(now), None) => {
                    page.heading("If it were done now");
                    changes(page, now.plan());
                    page.gap();
                    page.line("dry run: nothing was filed");
                }
                (None, None) => {}
            }
        })
    }
}

/// A name made of what changes and when.
fn named(subject: &str, at: Timestamp) -> Result<ScheduleName> {
    let when: String = time(at)
        .chars()
        .filter(|it| !matches!(it, '-' | ':'))
        .map(|it| if it == ' ' { 'T' } else { it })
        .collect();
    let room = 127_usize.saturating_sub(when.len());
    let subject: String = subject.chars().take(room).collect();
    ScheduleName::new(&format!("{subject}-{when}"))
        .map_err(|error| Failure::new(error.to_string()).into())
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let at = self.at.as_deref();
        let mut found = Vec::new();
        for environment in environment::named_or_all(session, &client, at)? {
            found.extend(client.documents_in::<Body>(&environment, Kind::Schedule, at)?);
        }
        found.sort_by(|a, b| (a.body.at, &a.scope, &a.name).cmp(&(b.body.at, &b.scope, &b.name)));
        session.show(&found, |page| {
            if found.is_empty() {
                page.line("nothing is scheduled");
                return;
            }
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    let body = &it.body;
                    let author = body.author.as_ref();
                    vec![
                        Cell::new(&it.name, Paint::Bold),
                        it.scope.as_str().into(),
                        time(body.at).into(),
                        state(body),
                        author
                            .map(|it| it.principal.to_string())
                            .unwrap_or_default()
                            .into(),
                        shortened(&summary(body), 60).into(),
                        shortened(&body.reason, 50).into(),
                    ]
                })
                .collect();
            let titles = [
                "SCHEDULE",
                "ENVIRONMENT",
                "AT",
                "STATE",
                "BY",
                "CHANGES",
                "WHY",
            ];
            page.table(&titles, &rows);
        })
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let key = DocumentKey::schedule(session.environment()?, &self.name);
        let found: DocumentReply<Body> = session.client()?.document(&key, self.at.as_deref())?;
        session.show(&found, |page| {
            let body = &found.body;
            let title = page.paint(Paint::Bold, &found.name);
            page.line(format!("{title} in {}", found.scope));
            let by = body.author.as_ref();
            page.fields(vec![
                ("at", Some(Cell::from(time(body.at)))),
                ("state", Some(state(body))),
                ("why", Some(body.reason.as_str().into())),
                (
                    "by",
                    by.map(|it| format!("{}, token {}", it.principal, it.token).into()),
                ),
                ("revision", Some(found.revision.into())),
            ]);
            page.heading("Changes");
            operations(page, body);
            if let Some(failed) = &body.failed {
                page.heading("Failed");
                let line = format!("  {} {}: {}", time(failed.at), failed.code, failed.detail);
                let line = page.paint(Paint::Error, &line);
                page.line(line);
                page.line(
                    "  it is not tried again: cancel it, and file it anew if it is still wanted",
                );
            }
        })
    }
}

impl Add {
    fn run(&self, session: &Session) -> Result<()> {
        let key = DocumentKey::schedule(session.environment()?, &self.name);
        let body = json!({
            "at": self.at,
            "reason": self.reason,
            "ops": parse::file_value(&self.file)?,
        });
        let client = session.client()?;
        let condition = if self.replace {
            let found = client.find_document::<Body>(&key, None)?;
            found.map_or(Condition::Absent, |it| Condition::Revision(it.revision))
        } else {
            Condition::Absent
        };
        let write = Write {
            reason: Some(self.reason.clone()),
            dry_run: self.dry_run,
            ..Write::default()
        };
        let reply = client.put_document(&key, &body, condition, &write)?;
        show_commit(session, &reply)
    }
}

impl Cancel {
    fn run(&self, session: &Session) -> Result<()> {
        let key = DocumentKey::schedule(session.environment()?, &self.name);
        let client = session.client()?;
        let found: DocumentReply<Body> = client.document(&key, None)?;
        let write = Write {
            reason: self.reason.clone(),
            dry_run: self.dry_run,
            ..Write::default()
        };
        let condition = Condition::Revision(found.revision);
        show_commit(session, &client.delete_document(&key, condition, &write)?)
    }
}

fn state(body: &Body) -> Cell {
    match &body.failed {
        Some(failed) => Cell::new(format!("failed {}", failed.code), Paint::Error),
        None => Cell::new("waits", Paint::Good),
    }
}

fn verb(op: &ScheduledOp) -> &'static str {
    match op.op {
        ScheduledChange::Put => "put",
        ScheduledChange::Patch => "patch",
        ScheduledChange::Delete => "delete",
    }
}

fn named_op(op: &ScheduledOp) -> String {
    let name = document_name(op.kind.as_str(), &op.scope, &op.name);
    format!("{} {name}", verb(op))
}

fn summary(body: &Body) -> String {
    let ops: Vec<_> = body.ops.iter().map(named_op).collect();
    ops.join(", ")
}

fn operations(page: &mut Page, body: &Body) {
    for op in &body.ops {
        let with = op
            .body
            .as_ref()
            .map(|it| format!(": {}", shortened(&inline(it), 120)));
        page.line(format!("  {}{}", named_op(op), with.unwrap_or_default()));
    }
}

/// What waits or has failed for a flag in an environment.
pub(crate) fn of_flag(
    client: &Client,
    environment: &EnvironmentName,
    flag: &FlagKey,
) -> Result<Vec<DocumentReply<Body>>> {
    let mut found = client.documents_in::<Body>(environment, Kind::Schedule, None)?;
    let pinned = format!("flag:{flag}");
    found.retain(|it| {
        it.body.ops.iter().any(|op| match op.kind {
            Kind::Flag | Kind::Targeting => op.name == flag.as_str(),
            Kind::Pin => op.name == pinned,
            _ => false,
        })
    });
    found.sort_by(|a, b| (a.body.at, &a.name).cmp(&(b.body.at, &b.name)));
    Ok(found)
}

/// A schedule in one line, for those who look at what it changes.
pub(crate) fn line(page: &Page, it: &DocumentReply<Body>) -> String {
    let body = &it.body;
    let (at, what) = (time(body.at), summary(body));
    let author = body.author.as_ref();
    let by = author
        .map(|it| format!(" by {}", it.principal))
        .unwrap_or_default();
    match &body.failed {
        Some(failed) => {
            let text = format!(
                "failed at {at}: {}: {} ({}{by})",
                it.name, failed.detail, failed.code
            );
            page.paint(Paint::Error, &text)
        }
        None => format!("scheduled for {at}: {}: {what}{by}", it.name),
    }
}
