//! `environment`: where the platform runs.

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::BucketingRequest;
use plane_client::{Client, Condition, Write};
use plane_model::documents::{Bucketing, Environment as Body};
use plane_model::{DocumentKey, EnvironmentName, Kind};

use super::{WriteArgs, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Paint};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Environment {
    /// List the environments
    List(List),
    /// Show one environment
    Show(Show),
    /// Create or change an environment
    Set(Set),
    /// Hash the units of percentages in another way, which moves most of them
    Migrate(Migrate),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  control-plane environment list")]
pub(crate) struct List {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  control-plane environment show production")]
pub(crate) struct Show {
    /// The environment
    name: EnvironmentName,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  control-plane environment set staging --order 2 --description 'what goes live next'"
)]
pub(crate) struct Set {
    /// The environment
    name: EnvironmentName,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where it stands in lists; the smallest first
    #[arg(long, value_name = "NUMBER")]
    order: Option<u32>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A unit's hash decides its slot: another hash moves most users and tenants of every percentage, split and\nexclusion group of the environment. `--dry-run` shows first which known tenants would move.\n\nExamples:\n  control-plane environment migrate production --bucketing flagd-v2 --reason 'providers in Node hash so' --dry-run"
)]
pub(crate) struct Migrate {
    /// The environment
    name: EnvironmentName,
    /// How units are hashed from then on: flagd-v3 (exact for every language) or flagd-v2 (older providers)
    #[arg(long, value_name = "NAME", value_parser = bucketing)]
    bucketing: Bucketing,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Show which tenants would move, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How many tenants to name for each thing that changes
    #[arg(long, value_name = "COUNT")]
    impact_tenants: Option<usize>,
}

fn bucketing(text: &str) -> Result<Bucketing, String> {
    let all = [Bucketing::FlagdV3, Bucketing::FlagdV2];
    let found = all.into_iter().find(|it| it.as_str() == text);
    found.ok_or_else(|| "use `flagd-v3` or `flagd-v2`".to_owned())
}

/// The environments that an answer covers: the one that was named, else all in their order.
pub(crate) fn named_or_all(
    session: &Session,
    client: &Client,
    at: Option<&str>,
) -> Result<Vec<EnvironmentName>> {
    if let Some(name) = session.environment_if_named() {
        return Ok(vec![name.clone()]);
    }
    let mut found = client.documents::<Body>(Kind::Environment, at)?;
    found.sort_by(|a, b| (a.body.order, &a.name).cmp(&(b.body.order, &b.name)));
    found
        .iter()
        .map(|it| {
            EnvironmentName::new(&it.name).map_err(|error| Failure::new(error.to_string()).into())
        })
        .collect()
}

impl Environment {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Set(command) => command.run(session),
            Self::Migrate(command) => command.run(session),
        }
    }
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let mut found = session
            .client()?
            .documents::<Body>(Kind::Environment, self.at.as_deref())?;
        found.sort_by(|a, b| (a.body.order, &a.name).cmp(&(b.body.order, &b.name)));
        session.show(&found, |page| {
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    vec![
                        Cell::new(&it.name, Paint::Bold),
                        it.body.order.into(),
                        it.body.bucketing.as_str().into(),
                        it.revision.into(),
                        it.body.description.as_deref().unwrap_or_default().into(),
                    ]
                })
                .collect();
            page.table(
                &[
                    "ENVIRONMENT",
                    "ORDER",
                    "BUCKETING",
                    "REVISION",
                    "DESCRIPTION",
                ],
                &rows,
            );
        })
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let key = DocumentKey::environment(&self.name);
        let found = session
            .client()?
            .document::<Body>(&key, self.at.as_deref())?;
        session.show(&found, |page| {
            let title = page.paint(Paint::Bold, &found.name);
            page.line(title);
            page.fields(vec![
                ("description", found.body.description.clone()),
                ("order", Some(found.body.order.to_string())),
                ("bucketing", Some(found.body.bucketing.as_str().to_owned())),
                ("revision", Some(found.revision.to_string())),
            ]);
        })
    }
}

impl Set {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let key = DocumentKey::environment(&self.name);
        let found = client.find_document::<Body>(&key, None)?;
        let condition = found
            .as_ref()
            .map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let mut body = found.map(|it| it.body).unwrap_or_default();
        if self.description.is_some() {
            body.description.clone_from(&self.description);
        }
        if let Some(order) = self.order {
            body.order = order;
        }
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}

impl Migrate {
    fn run(&self, session: &Session) -> Result<()> {
        let request = BucketingRequest {
            bucketing: self.bucketing,
            reason: self.reason.clone(),
        };
        let write = Write {
            dry_run: self.dry_run,
            impact_tenants: self.impact_tenants,
            ..Write::default()
        };
        let reply = session
            .client()?
            .put_bucketing(&self.name, &request, &write)?;
        show_commit(session, &reply)
    }
}
