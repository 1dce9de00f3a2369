//! `tenant` and `segment`: whom the platform serves.

pub(crate) mod pin;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_client::Condition;
use plane_model::documents::{Segment as SegmentBody, Tenant as Body, TenantStatus};
use plane_model::{DocumentKey, Kind, Label, SegmentName, TenantId};

use super::document::{Delete, SetFile};
use super::flag::show::expression;
use super::{WriteArgs, show_commit};
use crate::output::{Cell, Paint, count};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// List the tenants
    List(List),
    /// Show one tenant
    Show(Show),
    /// Create or change a tenant
    Set(Set),
    /// Delete a tenant
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane tenant list
  control-plane tenant list --plan free --region eu-west")]
pub(crate) struct List {
    /// Only tenants with this plan
    #[arg(long, value_name = "NAME")]
    plan: Option<Label>,
    /// Only tenants in this region
    #[arg(long, value_name = "NAME")]
    region: Option<Label>,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane tenant show tenant123")]
pub(crate) struct Show {
    /// The tenant
    id: TenantId,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is not named stays as it is.

Examples:
  control-plane tenant set tenant901 --plan free --region eu-west
  control-plane tenant set tenant901 --plan enterprise \\
      --label industry=retail --reason 'upgrade'
  control-plane tenant set tenant901 --suspend")]
pub(crate) struct Set {
    /// The tenant
    id: TenantId,
    /// What it pays for
    #[arg(long, value_name = "NAME")]
    plan: Option<Label>,
    /// Where it is served
    #[arg(long, value_name = "NAME")]
    region: Option<Label>,
    /// What else is known; an empty value removes the label
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Mark it as suspended; rules see it as tenant.status
    #[arg(long, conflicts_with = "activate")]
    suspend: bool,
    /// Mark it as active
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Segment {
    /// List the segments
    List(SegmentList),
    /// Show one segment with the ids in it
    Show(SegmentShow),
    /// Create or replace a segment, from a file
    #[command(after_help = "\
The file says it in YAML or JSON, as a file of a tree does; `control-plane export DIR` writes such \
files.

Examples:
  control-plane segment set early_access --file segments/early_access.yaml
  control-plane segment set early_access \\
      --file segments/early_access.yaml --dry-run")]
    Set(SetFile),
    /// Delete a segment
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane segment list")]
pub(crate) struct SegmentList {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane segment show early_access")]
pub(crate) struct SegmentShow {
    /// The segment
    name: SegmentName,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

impl Tenant {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Set(command) => command.run(session),
            Self::Delete(command) => command.run(Kind::Tenant, session),
        }
    }
}

fn labels(body: &Body) -> String {
    let labels: Vec<_> = body
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.join(", ")
}

fn status(body: &Body) -> Cell {
    let paint = if body.status == TenantStatus::Suspended {
        Paint::Warn
    } else {
        Paint::Plain
    };
    Cell::new(body.status.as_str(), paint)
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let mut found = session
            .client()?
            .documents::<Body>(Kind::Tenant, self.at.as_deref())?;
        found.retain(|it| {
            (self.plan.is_none() || self.plan == it.body.plan)
                && (self.region.is_none() || self.region == it.body.region)
        });
        session.show(&found, |page| {
            let text =
                |label: &Option<Label>| label.as_ref().map(ToString::to_string).unwrap_or_default();
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    vec![
                        Cell::new(&it.name, Paint::Bold),
                        text(&it.body.plan).into(),
                        text(&it.body.region).into(),
                        status(&it.body),
                        labels(&it.body).into(),
                    ]
                })
                .collect();
            page.table(&["TENANT", "PLAN", "REGION", "STATUS", "LABELS"], &rows);
        })
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let key = DocumentKey::tenant(&self.id);
        let found = session
            .client()?
            .document::<Body>(&key, self.at.as_deref())?;
        session.show(&found, |page| {
            let title = page.paint(Paint::Bold, &found.name);
            page.line(title);
            page.fields(vec![
                ("plan", found.body.plan.as_ref().map(ToString::to_string)),
                (
                    "region",
                    found.body.region.as_ref().map(ToString::to_string),
                ),
                ("status", Some(found.body.status.as_str().to_owned())),
                (
                    "labels",
                    Some(labels(&found.body)).filter(|text| !text.is_empty()),
                ),
                ("revision", Some(found.revision.to_string())),
            ]);
        })
    }
}

impl Set {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let key = DocumentKey::tenant(&self.id);
        let found = client.find_document::<Body>(&key, None)?;
        let condition = found
            .as_ref()
            .map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let mut body = found.map(|it| it.body).unwrap_or_default();
        if self.plan.is_some() {
            body.plan.clone_from(&self.plan);
        }
        if self.region.is_some() {
            body.region.clone_from(&self.region);
        }
        parse::once("--label", &self.label)?;
        for (name, value) in &self.label {
            if value.is_empty() {
                body.labels.set(name, None);
            } else {
                body.labels.set(name, Some(value));
            }
        }
        if self.suspend {
            body.status = TenantStatus::Suspended;
        }
        if self.activate {
            body.status = TenantStatus::Active;
        }
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}

impl Segment {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self {
            Self::Set(command) => command.run("segments", session),
            Self::Delete(command) => command.run(Kind::Segment, session),
            Self::List(command) => {
                let found =
                    client.documents::<SegmentBody>(Kind::Segment, command.at.as_deref())?;
                session.show(&found, |page| {
                    let rows: Vec<Vec<Cell>> = found
                        .iter()
                        .map(|it| {
                            vec![
                                Cell::new(&it.name, Paint::Bold),
                                it.body.include.len().into(),
                                it.revision.into(),
                                it.body.description.as_deref().unwrap_or_default().into(),
                            ]
                        })
                        .collect();
                    page.table(&["SEGMENT", "IDS", "REVISION", "DESCRIPTION"], &rows);
                })
            }
            Self::Show(command) => {
                let key = DocumentKey::segment(&command.name);
                let found = client.document::<SegmentBody>(&key, command.at.as_deref())?;
                session.show(&found, |page| {
                    let title = page.paint(Paint::Bold, &found.name);
                    page.line(title);
                    page.fields(vec![
                        ("description", found.body.description.clone()),
                        ("revision", Some(found.revision.to_string())),
                        ("holds", Some(count(found.body.include.len(), "id"))),
                    ]);
                    for id in &found.body.include {
                        page.line(format!("    {id}"));
                    }
                    if !found.body.exclude.is_empty() {
                        let held = count(found.body.exclude.len(), "id");
                        page.fields(vec![("never", Some(held))]);
                        for id in &found.body.exclude {
                            page.line(format!("    {id}"));
                        }
                    }
                    let when = found.body.when.as_ref();
                    if let Some(Ok(when)) = when.map(serde_json::to_value) {
                        page.fields(vec![("and where", Some(expression(&when)))]);
                    }
                })
            }
        }
    }
}
