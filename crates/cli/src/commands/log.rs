//! `log`: who changed what, when and why; and proof that nothing was altered.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use clap::{Args, Subcommand};
use plane_client::HistoryFilter;
use plane_log::{ChangeLog as _, OpenError, ReadLimit, SqliteLog};
use plane_model::{Kind, PrincipalId, Timestamp};
use plane_node::CommitError;
use plane_state::Scope;
use serde_json::value::RawValue;

use crate::commands::serve::start;
use crate::failure::Failure;
use crate::output::{Cell, Page, Paint, document_name, list, time};
use crate::parse;
use crate::progress::Progress;
use crate::session::{Session, print};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  control-plane log
  control-plane log --since 2026-05-01T00:00:00Z --actor ana
  control-plane log --kind targeting --name beta_features --limit 5
  control-plane log show 41
  control-plane log verify --data backup/"
)]
pub(crate) struct Log {
    #[command(subcommand)]
    command: Option<LogCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show one commit and what it changed
    Show(Show),
    /// Write every record as it is stored, one JSON object a line
    Export(Data),
    /// Prove the chain of records and every byte that they name
    Verify(Data),
    /// Go on from a restored backup: raise the epoch, so that clients accept its older revision
    Recover(Recover),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Run it once after restoring a backup, before the server starts on it. Clients refuse a revision \
older than the one they have seen, unless its epoch is higher. The log keeps who recovered it, \
when and why.

Examples:
  control-plane log recover --data /var/lib/control-plane \\
      --reason \"disk lost, backup of 02:00 restored\"")]
struct Recover {
    /// The data directory of a server that is stopped
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which backup was restored, and why
    #[arg(long)]
    reason: String,
}

/// What a recovery did.
#[derive(Debug, serde::Serialize)]
struct Recovered {
    epoch: u64,
    revision: u64,
}

#[derive(Debug, Args)]
struct List {
    /// Only from this revision or time on
    #[arg(long, value_name = "REVISION|TIME")]
    since: Option<String>,
    /// Only up to this revision or time
    #[arg(long, value_name = "REVISION|TIME")]
    until: Option<String>,
    /// Only by this principal
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only what changed documents of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only what changed documents of this kind
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only what changed documents of this scope, such as an environment
    #[arg(long)]
    scope: Option<String>,
    /// Only what changed documents of this name
    #[arg(long)]
    name: Option<String>,
    /// At most so many, the newest first
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane log show 41")]
struct Show {
    /// The commit
    #[arg(value_parser = parse::revision)]
    revision: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It works on files, without a server: on the data directory of a server that is stopped, or on a \
copy.

Examples:
  control-plane log verify --data .data/run
  control-plane log export --data backup/ > log.jsonl")]
struct Data {
    /// The data directory, or a copy of it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Reads a kind of document.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    text.parse()
        .map_err(|violation: plane_model::Violation| violation.next)
}

impl Log {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            None => self.list.run(session),
            Some(LogCommand::Show(command)) => command.run(session),
            Some(LogCommand::Export(command)) => runtime()?.block_on(export(&command.data)),
            Some(LogCommand::Recover(command)) => runtime()?.block_on(command.run(session)),
            Some(LogCommand::Verify(command)) => {
                runtime()?.block_on(verify(session, &command.data))
            }
        }
    }
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let filter = HistoryFilter {
            since: self.since.clone(),
            until: self.until.clone(),
            actor: self.actor.clone(),
            tenant: self.tenant.clone(),
            kind: self.kind.map(|kind| kind.to_string()),
            scope: self.scope.clone(),
            name: self.name.clone(),
        };
        let commits = session.client()?.commits(&filter, self.limit)?;
        session.show(&commits, |page| {
            if commits.is_empty() {
                page.line("no commits match");
                return;
            }
            let rows: Vec<Vec<Cell>> = commits
                .iter()
                .map(|commit| {
                    let mut changed: Vec<String> = commit
                        .ops
                        .iter()
                        .take(2)
                        .map(|op| document_name(&op.kind, &op.scope, &op.name))
                        .collect();
                    if commit.ops.len() > 2 {
                        changed.push(format!("and {} more", commit.ops.len() - 2));
                    }
                    vec![
                        Cell::new(commit.revision, Paint::Bold),
                        time(commit.at).into(),
                        (&commit.actor).into(),
                        (&commit.action).into(),
                        changed.join(", ").into(),
                        (&commit.reason).into(),
                    ]
                })
                .collect();
            page.table(&["REVISION", "WHEN", "WHO", "ACTION", "WHAT", "WHY"], &rows);
        })
    }
}

impl Recover {
    async fn run(&self, session: &Session) -> Result<()> {
        let node = start::node_on(open(&self.data)?, &self.data).await?;
        let operator = PrincipalId::new(start::OPERATOR)?;
        let done = node.recover(&Scope::system(operator), &self.reason).await;
        node.shutdown().await;
        let done = done.map_err(|error| match error {
            CommitError::Rejected(rejection) => match rejection.violations.into_iter().next() {
                Some(finding) => Failure::new(finding.detail).next(finding.next),
                None => Failure::new("the recovery was refused"),
            },
            other => Failure::new(other.to_string()),
        })?;
        let recovered = Recovered {
            epoch: node.snapshot().state().epoch(),
            revision: done.revision,
        };
        session.show(&recovered, |page| {
            let Recovered { epoch, revision } = recovered;
            page.line(format!(
                "the log goes on at revision {revision} with epoch {epoch}"
            ));
        })
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let found = session.client()?.commit_record(self.revision)?;
        session.show(&found, |page| {
            let record = &found.record;
            let title = page.paint(Paint::Bold, &format!("revision {}", record.revision));
            page.line(title);
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            page.fields(vec![
                ("when", Some(time(record.at))),
                ("who", Some(record.actor.to_string())),
                ("action", Some(record.action.clone())),
                ("through", given(&record.source)),
                ("why", given(&record.reason)),
                ("request", Some(record.id.clone())),
                ("parent", Some(record.parent.to_string())),
            ]);
            page.gap();
            list(page, &found.changes);
        })
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads that read the log")
}

pub(super) fn open(data: &Path) -> Result<SqliteLog> {
    SqliteLog::open_existing(data).map_err(|error| match &error {
        OpenError::InUse { .. } => Failure::new(
            error
                .to_string()
                .replace(": stop it, or choose another directory", ""),
        )
        .next("stop that process, or copy the directory and name the copy")
        .into(),
        OpenError::Io { .. } => Failure::new(error.to_string())
            .next("name the directory that `control-plane serve --data` was given")
            .into(),
        _ => Failure::new(error.to_string()).into(),
    })
}

/// One stored record, as `log export` writes it.
#[derive(serde::Serialize)]
struct Line<'e> {
    revision: u64,
    hash: String,
    parent: String,
    at: Timestamp,
    /// The record, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'e RawValue>,
    /// Its bytes, if they are not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

async fn export(data: &Path) -> Result<()> {
    let log = open(data)?;
    let mut after = 0;
    loop {
        let page = log.read(after, ReadLimit::default()).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.revision;
        let mut text = String::new();
        for entry in &page {
            let record: Option<&RawValue> = serde_json::from_slice(&entry.record).ok();
            let line = Line {
                revision: entry.revision,
                hash: entry.hash.to_string(),
                parent: entry.parent.to_string(),
                at: Timestamp(entry.at_ms),
                record,
                record_base64: record
                    .is_none()
                    .then(|| base64::engine::general_purpose::STANDARD.encode(&entry.record)),
            };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        print(&text)?;
    }
}

async fn verify(session: &Session, data: &Path) -> Result<()> {
    let log = open(data)?;
    let mut progress = Progress::new("verifying");
    let found = plane_node::verify(&log, &mut |done| progress.at(done))
        .await
        .map_err(|error| {
            Failure::new(format!("the log cannot be read to its end: {error}"))
                .next("restore a backup, and verify that one")
        })?;
    drop(progress);
    session.show(&found, |page| show_verification(page, &found))?;
    if found.damages.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} of the log {} not as written",
        things(found.damages.len()),
        if found.damages.len() == 1 {
            "is"
        } else {
            "are"
        }
    ))
    .next("keep this directory as it is, and restore a backup that verifies")
    .into())
}

fn things(number: usize) -> String {
    if number == 1 {
        "1 part".to_owned()
    } else {
        format!("{number} parts")
    }
}

fn show_verification(page: &mut Page, found: &plane_node::Verification) {
    for damage in &found.damages {
        let what = page.paint(Paint::Error, &format!("damaged: {}", damage.what));
        page.line(format!("{what}: {}", damage.detail));
    }
    page.fields(vec![
        ("log", Some(found.log.clone())),
        (
            "head",
            Some(format!("revision {}, {}", found.revision, found.head)),
        ),
        (
            "records",
            Some(match found.requests_unnamed {
                0 => found.records.to_string(),
                unnamed => format!(
                    "{}, {unnamed} of an earlier version that did not name their request",
                    found.records
                ),
            }),
        ),
        (
            "bodies",
            Some(match found.erased {
                0 => found.bodies.to_string(),
                erased => format!("{}, {erased} of them erased", found.bodies),
            }),
        ),
        ("blobs", Some(found.blobs.to_string())),
        ("checkpoints", Some(found.checkpoints.to_string())),
    ]);
    if found.damages.is_empty() {
        let line = page.paint(Paint::Good, "everything is as it was written");
        page.line(line);
    }
}
