//! `channel`: which version of an agent an environment gets.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_client::Condition;
use plane_model::documents::Channel as Body;
use plane_model::{ArtifactName, DocumentKey, Kind, Split};
use serde_json::{Map, Value, json};

use super::super::{WriteArgs, document, show_commit};
use crate::output::{Cell, Paint, percent, short_digest};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Channel {
    /// List the channels of an environment
    List(List),
    /// Show one channel
    Show(Show),
    /// Give a version to an environment, or to a share of it
    Set(Set),
    /// Give no version of an agent to an environment any more
    Delete(Remove),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane channel list -e production")]
pub(crate) struct List {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane channel show customer_support_agent -e production")]
pub(crate) struct Show {
    /// The agent
    agent: ArtifactName,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --percent everybody gets the version. The tools of each version are locked when it is set.

Examples:
  control-plane channel set customer_support_agent 1.1.0 -e production \\
      --reason 'release 42'
  control-plane channel set customer_support_agent 1.0.0 -e production \\
      --percent 1.1.0=10 --by tenant.id")]
pub(crate) struct Set {
    /// The agent
    agent: ArtifactName,
    /// The version that all get whom no share gives another
    version: semver::Version,
    /// A share for another version
    #[arg(long, value_name = "VERSION=PERCENT", value_parser = parse::share)]
    percent: Vec<(String, f64)>,
    /// What is divided: an attribute such as tenant.id or user.id
    #[arg(long, value_name = "ATTRIBUTE", requires = "percent")]
    by: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane channel delete customer_support_agent -e staging --dry-run")]
pub(crate) struct Remove {
    /// The agent
    agent: ArtifactName,
    #[command(flatten)]
    write: WriteArgs,
}

impl Channel {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Set(command) => command.run(session),
            Self::Delete(command) => {
                let environment = session.environment()?;
                let key = DocumentKey::channel(environment, &command.agent);
                document::delete(session, &session.client()?, &[key], &command.write)
            }
        }
    }
}

fn split(split: Option<&Split>) -> String {
    let Some(split) = split else {
        return String::new();
    };
    let shares: Vec<String> = split
        .totals()
        .into_iter()
        .map(|(version, share)| format!("{version} {}", percent(share)))
        .collect();
    let by = split
        .by
        .as_ref()
        .map_or_else(|| "targetingKey".to_owned(), ToString::to_string);
    format!("{} by {by}", shares.join(", "))
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let found = session.client()?.documents_in::<Body>(
            environment,
            Kind::Channel,
            self.at.as_deref(),
        )?;
        session.show(&found, |page| {
            if found.is_empty() {
                page.line(format!("no channels in {environment}"));
                return;
            }
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    vec![
                        Cell::new(&it.name, Paint::Bold),
                        it.body.default.version.to_string().into(),
                        split(it.body.split.as_ref()).into(),
                        it.revision.into(),
                    ]
                })
                .collect();
            page.table(&["AGENT", "VERSION", "SHARES", "REVISION"], &rows);
        })
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let key = DocumentKey::channel(environment, &self.agent);
        let found = session
            .client()?
            .document::<Body>(&key, self.at.as_deref())?;
        session.show(&found, |page| {
            let title = page.paint(Paint::Bold, &found.name);
            page.line(format!("{title} in {environment}"));
            let shares = split(found.body.split.as_ref());
            page.fields(vec![
                ("version", Some(found.body.default.version.to_string())),
                ("lock", found.body.default.lock.as_ref().map(short_digest)),
                ("shares", Some(shares).filter(|text| !text.is_empty())),
                ("revision", Some(found.revision.to_string())),
            ]);
        })
    }
}

impl Set {
    fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let client = session.client()?;
        let key = DocumentKey::channel(environment, &self.agent);
        let found = client.find_document::<Body>(&key, None)?;
        let condition = found
            .as_ref()
            .map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let mut body = Map::new();
        body.insert("default".to_owned(), json!({ "version": self.version }));
        if !self.percent.is_empty() {
            let before = found.and_then(|it| it.body.split);
            body.insert(
                "split".to_owned(),
                shares(&self.percent, self.by.as_deref(), before.as_ref())?,
            );
        }
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}

/// A split as people write it; the attribute and the salt stay as they were unless named.
pub(crate) fn shares(
    percent: &[(String, f64)],
    by: Option<&str>,
    before: Option<&Split>,
) -> Result<Value> {
    parse::once("--percent", percent)?;
    let shares: BTreeMap<&str, Value> = percent
        .iter()
        .map(|(name, share)| (name.as_str(), parse::number(*share)))
        .collect();
    let mut split = json!({ "percent": shares });
    let kept = before
        .and_then(|split| split.by.as_ref())
        .map(ToString::to_string);
    if let Some(by) = by.map(str::to_owned).or(kept) {
        split["by"] = by.into();
    }
    if let Some(salt) = before.and_then(|split| split.salt.clone()) {
        split["salt"] = salt.into();
    }
    Ok(split)
}
