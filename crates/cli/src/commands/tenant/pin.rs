//! `pin`: what one tenant gets, whatever the rules and channels say.

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_client::Condition;
use plane_model::documents::Pin as Body;
use plane_model::{DocumentKey, Kind, TenantId, Timestamp, VariantName};

use super::super::{WriteArgs, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Paint};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Pin {
    /// List the pins of a tenant
    List(List),
    /// Pin a flag's variant or an agent's version
    Set(Set),
    /// Remove a pin
    Remove(Remove),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane pin list -e production --tenant tenant123")]
pub(crate) struct List {
    /// The tenant
    #[arg(long, short, value_name = "ID")]
    tenant: TenantId,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane pin set flag:enhanced_reasoning on -e production \\
      --tenant tenant456
  control-plane pin set agent:customer_support_agent 1.0.0 -e production \\
      --tenant tenant123 --until 2027-01-01T00:00:00Z --reason 'contract'")]
pub(crate) struct Set {
    /// What is pinned: flag:KEY or agent:NAME
    subject: String,
    /// The variant of the flag, or the version of the agent
    to: String,
    /// The tenant
    #[arg(long, short, value_name = "ID")]
    tenant: TenantId,
    /// When the pin ends
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane pin remove flag:enhanced_reasoning -e production \\
      --tenant tenant456")]
pub(crate) struct Remove {
    /// What is pinned: flag:KEY or agent:NAME
    subject: String,
    /// The tenant
    #[arg(long, short, value_name = "ID")]
    tenant: TenantId,
    #[command(flatten)]
    write: WriteArgs,
}

impl Pin {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Set(command) => command.run(session),
            Self::Remove(command) => command.run(session),
        }
    }
}

fn key(session: &Session, tenant: &TenantId, subject: &str) -> Result<DocumentKey> {
    DocumentKey::pin(session.environment()?, tenant, subject).map_err(|violation| {
        Failure::new(violation.detail)
            .code(violation.code)
            .next("write what is pinned as flag:KEY or agent:NAME")
            .into()
    })
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let found = session.client()?.documents_of::<Body>(
            environment,
            &self.tenant,
            Kind::Pin,
            self.at.as_deref(),
        )?;
        session.show(&found, |page| {
            if found.is_empty() {
                page.line(format!("{} has no pins in {environment}", self.tenant));
                return;
            }
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    let version = it.body.version.as_ref().map(ToString::to_string);
                    let variant = it.body.variant.as_ref().map(ToString::to_string);
                    vec![
                        Cell::new(&it.name, Paint::Bold),
                        variant.or(version).unwrap_or_default().into(),
                        it.body
                            .until
                            .map(crate::output::time)
                            .unwrap_or_default()
                            .into(),
                        it.revision.into(),
                        it.body.reason.as_deref().unwrap_or_default().into(),
                    ]
                })
                .collect();
            page.table(&["PIN", "TO", "UNTIL", "REVISION", "WHY"], &rows);
        })
    }
}

impl Set {
    fn run(&self, session: &Session) -> Result<()> {
        let key = key(session, &self.tenant, &self.subject)?;
        let is_flag = self.subject.starts_with("flag:");
        let variant = if is_flag {
            Some(VariantName::new(&self.to).map_err(|error| Failure::new(error.to_string()))?)
        } else {
            None
        };
        let version = if is_flag {
            None
        } else {
            Some(self.to.parse::<semver::Version>().map_err(|_| {
                Failure::new(format!("`{}` is not a version", self.to))
                    .code(plane_model::Code::VersionInvalid)
                    .next("write it as MAJOR.MINOR.PATCH, such as 1.2.0")
            })?)
        };
        let write = self.write.to_write();
        let body = Body {
            variant,
            version,
            lock: None,
            until: self.until,
            reason: write.reason.clone(),
        };
        let client = session.client()?;
        let found = client.find_document::<Body>(&key, None)?;
        let condition = found.map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let reply = client.put_document(&key, &body, condition, &write)?;
        show_commit(session, &reply)
    }
}

impl Remove {
    fn run(&self, session: &Session) -> Result<()> {
        let key = key(session, &self.tenant, &self.subject)?;
        let client = session.client()?;
        let found = client.document::<Body>(&key, None)?;
        let condition = Condition::Revision(found.revision);
        let reply = client.delete_document(&key, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}
