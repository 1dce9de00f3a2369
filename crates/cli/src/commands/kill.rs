//! Stopping flags, agents and tools, and reviving them.

use anyhow::Result;
use clap::Args;
use plane_client::{Condition, Write};
use plane_model::documents::Kill as KillBody;
use plane_model::{DocumentKey, TenantId};

use super::show_commit;
use crate::failure::Failure;
use crate::session::Session;

/// The options of `kill`.
#[derive(Debug, Clone, Args)]
pub(crate) struct KillArgs {
    /// Only for this tenant
    #[arg(long, short, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Why: those who are called at night read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The options of `revive`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReviveArgs {
    /// What was killed only for this tenant
    #[arg(long, short, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Kills `subject`: `flag:KEY`, `agent:NAME` or `tool:NAME`.
pub(crate) fn kill(
    session: &Session,
    subject: &str,
    arguments: &KillArgs,
    fallback: Option<semver::Version>,
) -> Result<()> {
    let key = key(session, arguments.tenant.as_ref(), subject)?;
    let body = KillBody {
        reason: arguments.reason.clone(),
        fallback,
    };
    let write = Write {
        reason: Some(arguments.reason.clone()),
        dry_run: arguments.dry_run,
        ..Write::default()
    };
    let reply = session
        .client()?
        .put_document(&key, &body, Condition::None, &write)?;
    show_commit(session, &reply)
}

/// Revives `subject`.
pub(crate) fn revive(session: &Session, subject: &str, arguments: &ReviveArgs) -> Result<()> {
    let key = key(session, arguments.tenant.as_ref(), subject)?;
    let write = Write {
        reason: arguments.reason.clone(),
        dry_run: arguments.dry_run,
        ..Write::default()
    };
    let reply = session
        .client()?
        .delete_document(&key, Condition::None, &write)?;
    show_commit(session, &reply)
}

fn key(session: &Session, tenant: Option<&TenantId>, subject: &str) -> Result<DocumentKey> {
    DocumentKey::kill(session.environment()?, tenant, subject)
        .map_err(|violation| Failure::new(violation.detail).code(violation.code).into())
}
