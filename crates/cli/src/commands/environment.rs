//! `environment`: where the platform runs.

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::{BucketingRequest, CommitRequest, DocumentReply, OpChange, OpRequest};
use plane_client::{Client, Condition, Error, Write};
use plane_model::documents::{Bucketing, Environment as Body};
use plane_model::{Code, DocumentKey, EnvironmentName, Kind, Selector};
use serde_json::Value;

use super::document::{self, Delete, op};
use super::{WriteArgs, show_commit};
use crate::failure::{Failure, Located};
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
    /// Delete an environment in which nothing stands
    Delete(Delete),
    /// Hash the units of percentages in another way, which moves most of them
    Migrate(Migrate),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane environment list")]
pub(crate) struct List {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane environment show production")]
pub(crate) struct Show {
    /// The environment
    name: EnvironmentName,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
An environment that every document of configuration must fit from the start takes that of another \
one: --like copies its config layers, its flags' targeting and its channels, in the same commit.

Examples:
  control-plane environment set staging --order 2 \\
      --description 'what goes live next'
  control-plane environment set qa --order 4 --like staging --dry-run")]
pub(crate) struct Set {
    /// The environment
    name: EnvironmentName,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where it stands in lists; the smallest first
    #[arg(long, value_name = "NUMBER")]
    order: Option<u32>,
    /// A new environment takes what this one has: configuration, targeting and channels
    #[arg(long, value_name = "NAME")]
    like: Option<EnvironmentName>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A unit's hash decides its slot: another hash moves most users and tenants of every percentage, \
split and exclusion group of the environment. `--dry-run` shows first which known tenants would \
move.

Examples:
  control-plane environment migrate production --bucketing flagd-v2 \\
      --reason 'providers in Node hash so' --dry-run")]
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
    /// How many tenants to name for each way in which something changes
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
    all(client, at)
}

/// All environments in their order.
pub(crate) fn all(client: &Client, at: Option<&str>) -> Result<Vec<EnvironmentName>> {
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
            Self::Delete(command) => command.run(Kind::Environment, session),
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
        let write = self.write.to_write();
        let Some(like) = &self.like else {
            let reply = client.put_document(&key, &body, condition, &write);
            return show_commit(
                session,
                &reply.map_err(|error| self.hinted(condition, error))?,
            );
        };
        if condition != Condition::Absent {
            let what = format!("there is an environment `{}` already", self.name);
            let next = "leave --like out, or name another one";
            return Err(Failure::new(what).next(next).into());
        }
        let from: DocumentReply<Body> = client.document(&DocumentKey::environment(like), None)?;
        body.bucketing = from.body.bucketing;
        let mut ops = vec![op(OpChange::Put, &key, Some(serde_json::to_value(body)?))];
        ops.extend(self.copied(&client, like)?);
        let request = CommitRequest {
            reason: write.reason,
            ops,
        };
        show_commit(session, &client.commit(&request, write.dry_run)?)
    }

    /// Everything that holds in another environment for all its tenants, for this one.
    fn copied(&self, client: &Client, like: &EnvironmentName) -> Result<Vec<OpRequest>> {
        let mut ops = Vec::new();
        let put = |key: &DocumentKey, body| op(OpChange::Put, key, Some(body));
        for found in client.config_documents(None)? {
            let name = found.document;
            for layer in client.config_layers(&name, None)? {
                let selector = layer.scope.parse::<Selector>();
                let mut selector = selector.map_err(|it| Failure::new(it.to_string()))?;
                if selector.environment.as_ref() == Some(like) {
                    selector.environment = Some(self.name.clone());
                    ops.push(put(&DocumentKey::config(&selector, &name), layer.body));
                }
            }
        }
        for kind in [Kind::Targeting, Kind::Channel] {
            for it in client.documents_in::<Value>(like, kind, None)? {
                let key = document::key(kind, self.name.as_str(), &it.name)?;
                ops.push(put(&key, it.body));
            }
        }
        Ok(ops)
    }

    /// Says how a new environment comes to what configuration asks of it.
    fn hinted(&self, condition: Condition, error: Error) -> anyhow::Error {
        let Error::Problem(problem) = &error else {
            return error.into();
        };
        let is_short = (problem.errors.iter()).any(|it| it.code == Code::ConfigInvalid.as_str());
        if condition != Condition::Absent || !is_short {
            return error.into();
        }
        let what = format!(
            "configuration asks for more than `{}` would have",
            self.name
        );
        let next = format!(
            "take that of another environment in the same commit: `control-plane environment set {} --like NAME`; \
             or apply a tree that has both",
            self.name
        );
        let failure = Failure::new(what).code(Code::ConfigInvalid).next(next);
        failure
            .findings(problem.errors.iter().map(Located::from))
            .into()
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
