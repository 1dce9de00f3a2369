//! `agent` and `tool`: what is published.

pub(crate) mod channel;
mod import;
pub(crate) mod trust;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::{
    ArtifactSummary, CommitRequest, OpChange, OpRequest, SignatureState, VersionReply,
};
use plane_client::{ArtifactFilter, Condition};
use plane_model::documents::{Status as StatusBody, StatusState};
use plane_model::{ArtifactKind, ArtifactName, ArtifactVersion, DocumentKey, Kind, Timestamp};
use plane_registry::Manifest;
use serde_json::Value;

use super::kill::{KillArgs, ReviveArgs, kill, revive};
use super::sign::read_manifest;
use super::{WriteArgs, show_commit};
use crate::failure::{Failure, Located, into_body, relocated};
use crate::output::{Cell, Page, Paint, count, inline, short_digest, time};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Artifact {
    /// List what is published
    List(List),
    /// Show one version, or all versions of a name
    Show(Show),
    /// Publish manifest files, all or none
    Publish(Publish),
    /// Find by text, category, capability or owner
    Search(Search),
    /// Deprecate, yank, revoke or reactivate a version
    Status(Status),
    /// Stop it at once, everywhere in an environment or for one tenant
    Kill(Kill),
    /// Take a kill back
    Revive(Revive),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane agent list
  control-plane tool list --status deprecated")]
pub(crate) struct List {
    /// Only what has a version with this status
    #[arg(long, value_parser = status_name)]
    status: Option<StatusState>,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane agent show customer_support_agent            # its versions
  control-plane tool show crm_tool@1.2.0
  control-plane tool show crm_tool@1.2.0 --output json")]
pub(crate) struct Show {
    /// Do not cut what is longer than the terminal is wide
    #[arg(long)]
    full: bool,
    /// NAME, or NAME@VERSION
    name: String,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane tool publish registries/tools/crm_tool.yaml
  control-plane agent publish a.yaml b.yaml --reason 'release 42'")]
pub(crate) struct Publish {
    /// The manifest files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane tool search customer
  control-plane tool search --category data --owner platform-team")]
pub(crate) struct Search {
    /// Text in the name or the description
    text: Option<String>,
    /// Only of this category
    #[arg(long)]
    category: Option<String>,
    /// Only with this capability
    #[arg(long)]
    capability: Option<String>,
    /// Only of this owner
    #[arg(long)]
    owner: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
deprecated: may be used, with a warning. yanked: only where a lock names it already. revoked and \
quarantined: not at all.

Examples:
  control-plane tool status crm_tool@1.2.0 deprecated \\
      --message 'no longer maintained' --replacement crm_tool@1.3.0 \\
      --sunset 2027-01-01T00:00:00Z
  control-plane tool status crm_tool@1.2.0 active \\
      --reason 'deprecated by mistake'")]
pub(crate) struct Status {
    /// NAME@VERSION
    version: ArtifactVersion,
    /// active, deprecated, yanked, revoked or quarantined
    #[arg(value_parser = status_name, value_name = "STATUS")]
    to: StatusState,
    /// Why, for those who use it; needed for all but active
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// What to use instead
    #[arg(long, value_name = "NAME@VERSION")]
    replacement: Option<ArtifactVersion>,
    /// When it will be withdrawn
    #[arg(long, value_name = "TIME")]
    sunset: Option<Timestamp>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A killed tool is left out of every agent, with a warning. A killed agent is not given any more, or \
as its fallback version.

Examples:
  control-plane tool kill crm_tool -e production --reason 'leaks data'
  control-plane agent kill customer_support_agent -e production \\
      --fallback 1.0.0 --reason 'loops'")]
pub(crate) struct Kill {
    /// The name
    name: ArtifactName,
    /// The version to give instead; agents only
    #[arg(long, value_name = "VERSION")]
    fallback: Option<semver::Version>,
    #[command(flatten)]
    options: KillArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane tool revive crm_tool -e production --reason 'mended in 1.3.1'")]
pub(crate) struct Revive {
    /// The name
    name: ArtifactName,
    #[command(flatten)]
    revive: ReviveArgs,
}

fn status_name(text: &str) -> Result<StatusState, String> {
    use StatusState::{Active, Deprecated, Quarantined, Revoked, Yanked};
    [Active, Deprecated, Yanked, Revoked, Quarantined]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| "use active, deprecated, yanked, revoked or quarantined".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    #[command(flatten)]
    Artifact(Artifact),
    /// Publish tool definitions of other formats
    Import(import::Import),
}

impl Tool {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::Artifact(command) => command.run(ArtifactKind::Tool, session),
            Self::Import(command) => command.run(session),
        }
    }
}

impl Artifact {
    pub(crate) fn run(&self, kind: ArtifactKind, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(kind, session),
            Self::Show(command) => command.run(kind, session),
            Self::Publish(command) => command.run(kind, session),
            Self::Search(command) => command.run(kind, session),
            Self::Status(command) => command.run(kind, session),
            Self::Kill(command) => {
                let subject = format!("{kind}:{}", command.name);
                kill(
                    session,
                    &subject,
                    &command.options,
                    command.fallback.clone(),
                )
            }
            Self::Revive(command) => {
                let subject = format!("{kind}:{}", command.name);
                revive(session, &subject, &command.revive)
            }
        }
    }
}

impl List {
    fn run(&self, kind: ArtifactKind, session: &Session) -> Result<()> {
        let filter = ArtifactFilter {
            status: self.status.map(|state| state.as_str().to_owned()),
            ..ArtifactFilter::default()
        };
        let found = session
            .client()?
            .artifacts(kind, &filter, self.at.as_deref())?;
        session.show(&found, |page| summaries(page, kind, &found))
    }
}

impl Search {
    fn run(&self, kind: ArtifactKind, session: &Session) -> Result<()> {
        let filter = ArtifactFilter {
            text: self.text.clone(),
            category: self.category.clone(),
            capability: self.capability.clone(),
            owner: self.owner.clone(),
            status: None,
        };
        let found = session.client()?.artifacts(kind, &filter, None)?;
        session.show(&found, |page| summaries(page, kind, &found))
    }
}

fn summaries(page: &mut Page, kind: ArtifactKind, found: &[ArtifactSummary]) {
    if found.is_empty() {
        page.line(format!("no {kind} matches"));
        return;
    }
    let rows: Vec<Vec<Cell>> = found
        .iter()
        .map(|it| {
            let versions: Vec<String> = it
                .versions
                .iter()
                .map(|version| match version.status {
                    StatusState::Active => version.version.clone(),
                    state => format!("{} ({})", version.version, state.as_str()),
                })
                .collect();
            vec![
                Cell::new(&it.name, Paint::Bold),
                (&it.latest).into(),
                versions.join(", ").into(),
                it.category.as_deref().unwrap_or_default().into(),
                it.owner.as_deref().unwrap_or_default().into(),
                it.description.as_deref().unwrap_or_default().into(),
            ]
        })
        .collect();
    page.table(
        &[
            "NAME",
            "LATEST",
            "VERSIONS",
            "CATEGORY",
            "OWNER",
            "DESCRIPTION",
        ],
        &rows,
    );
}

impl Show {
    fn run(&self, kind: ArtifactKind, session: &Session) -> Result<()> {
        let client = session.client()?;
        if self.name.contains('@') {
            let version: ArtifactVersion =
                self.name.parse().map_err(|error: plane_model::NameError| {
                    Failure::new(error.to_string()).code(plane_model::Code::NameInvalid)
                })?;
            let found = client.version(kind, &version, self.at.as_deref())?;
            return session.show(&found, |page| {
                if self.full {
                    page.uncut();
                }
                one(page, &found);
            });
        }
        let name = ArtifactName::new(&self.name).map_err(|error| {
            Failure::new(error.to_string()).code(plane_model::Code::NameInvalid)
        })?;
        let found = client.versions(kind, &name, self.at.as_deref())?;
        session.show(&found, |page| {
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    vec![
                        Cell::new(format!("{name}@{}", it.version), Paint::Bold),
                        state(it.status),
                        short_digest(&it.digest).into(),
                        time(it.published_at).into(),
                        (&it.published_by).into(),
                    ]
                })
                .collect();
            page.table(&["VERSION", "STATUS", "DIGEST", "PUBLISHED", "BY"], &rows);
        })
    }
}

fn state(state: StatusState) -> Cell {
    let paint = match state {
        StatusState::Active => Paint::Good,
        StatusState::Deprecated | StatusState::Yanked => Paint::Warn,
        StatusState::Revoked | StatusState::Quarantined => Paint::Error,
    };
    Cell::new(state.as_str(), paint)
}

fn one(page: &mut Page, found: &VersionReply) {
    let title = page.paint(Paint::Bold, &format!("{}@{}", found.name, found.version));
    page.line(title);
    let top = |name: &str| {
        found
            .manifest
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let signature = match found.signature.state {
        SignatureState::Verified => Cell::new(
            format!(
                "verified, by {}",
                found
                    .signature
                    .keys
                    .iter()
                    .map(short_digest)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Paint::Good,
        ),
        SignatureState::Unsigned => Cell::new("unsigned", Paint::Warn),
        SignatureState::Invalid => Cell::new(
            format!(
                "invalid: {}",
                found.signature.detail.as_deref().unwrap_or_default()
            ),
            Paint::Error,
        ),
    };
    let status = &found.status;
    page.fields(vec![
        ("status", Some(state(status.status))),
        ("message", status.message.clone().map(Cell::from)),
        ("replacement", status.replacement.as_ref().map(Cell::from)),
        ("sunset", status.sunset.map(time).map(Cell::from)),
        ("signature", Some(signature)),
        ("digest", Some(found.digest.into())),
        ("owner", top("owner").map(Cell::from)),
        ("changelog", top("changelog").map(Cell::from)),
        (
            "published",
            Some(
                format!(
                    "{} by {}, revision {}",
                    time(found.published_at),
                    found.published_by,
                    found.revision
                )
                .into(),
            ),
        ),
    ]);
    if let Some(Value::Object(metadata)) = found.manifest.get("metadata") {
        page.heading("Metadata");
        let rows: Vec<Vec<Cell>> = metadata
            .iter()
            .map(|(name, value)| vec![format!("  {name}").into(), inline(value).into()])
            .collect();
        page.table(&["  FIELD", "VALUE"], &rows);
    }
    if let Some(tools) = found
        .lock
        .as_ref()
        .and_then(|lock| lock.get("tools"))
        .and_then(Value::as_array)
    {
        page.heading("Lock: the tools it was published with");
        let text = |tool: &Value, name: &str| {
            tool.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let rows: Vec<Vec<Cell>> = tools
            .iter()
            .map(|tool| {
                vec![
                    format!("  {}", text(tool, "name")).into(),
                    text(tool, "version").into(),
                    short_digest(&text(tool, "digest")).into(),
                ]
            })
            .collect();
        page.table(&["  TOOL", "VERSION", "DIGEST"], &rows);
    }
}

impl Publish {
    fn run(&self, kind: ArtifactKind, session: &Session) -> Result<()> {
        let mut ops = Vec::new();
        let mut texts = Vec::new();
        let mut findings: Vec<Located> = Vec::new();
        for file in &self.files {
            let (text, value) = read_manifest(file, kind)?;
            match Manifest::parse(kind, &value) {
                Ok(manifest) => ops.push(OpRequest {
                    op: OpChange::Put,
                    kind: if kind == ArtifactKind::Agent {
                        Kind::Agent
                    } else {
                        Kind::Tool
                    },
                    scope: String::new(),
                    name: manifest.id().to_string(),
                    body: Some(value),
                    if_revision: None,
                    if_absent: false,
                }),
                Err(found) => findings.extend(
                    found
                        .iter()
                        .map(|it| Located::new(text.place(&it.pointer), it)),
                ),
            }
            texts.push(text);
        }
        if !findings.is_empty() {
            let what = format!(
                "nothing was published: {}",
                count(findings.len(), "mistake")
            );
            return Err(Failure::new(what).findings(findings).into());
        }
        let write = self.write.to_write();
        let request = CommitRequest {
            reason: write.reason,
            ops,
        };
        let reply = session.client()?.commit(&request, write.dry_run);
        let reply = reply.map_err(|error| {
            relocated("nothing was published", error, |pointer| {
                let (index, below) = into_body(pointer, "/ops")?;
                Some(texts.get(index)?.place(below))
            })
        })?;
        show_commit(session, &reply)
    }
}

impl Status {
    fn run(&self, kind: ArtifactKind, session: &Session) -> Result<()> {
        let is_told = self
            .message
            .as_ref()
            .is_some_and(|it| !it.trim().is_empty());
        if self.to != StatusState::Active && !is_told {
            let what = format!(
                "`{}` needs a message for those who use it",
                self.to.as_str()
            );
            let next = "say why with --message TEXT; --reason is for the log, and may be left out";
            return Err(Failure::new(what).next(next).into());
        }
        let key = DocumentKey::status(kind, &self.version);
        let client = session.client()?;
        let found = client.find_document::<StatusBody>(&key, None)?;
        let condition = match found {
            Some(found) if found.revision > 0 => Condition::Revision(found.revision),
            _ => Condition::Absent,
        };
        let body = StatusBody {
            status: self.to,
            message: self.message.clone(),
            replacement: self.replacement.clone(),
            sunset: self.sunset,
        };
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}
