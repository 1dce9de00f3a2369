//! Every command: its arguments, what it asks, and how it shows the answer.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod exclusion_group;
pub(crate) mod explain;
pub(crate) mod flag;
pub(crate) mod kill;
pub(crate) mod log;
pub(crate) mod openapi;
pub(crate) mod registry;
pub(crate) mod resolve;
pub(crate) mod rev;
pub(crate) mod revert;
pub(crate) mod schedule;
pub(crate) mod serve;
pub(crate) mod server_key;
pub(crate) mod sign;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod tree;
pub(crate) mod uses;

use anyhow::Result;
use clap::Args;
use plane_api::CommitReply;
use plane_client::Write;
use plane_model::ArtifactKind;

use crate::EXIT_OK;
use crate::arguments::{Cli, Command};
use crate::output::{changes, receipt};
use crate::session::Session;

/// Runs the command and returns the exit status.
pub(crate) fn run(cli: Cli) -> Result<u8> {
    let session = Session::new(cli.global);
    match cli.command {
        Command::Serve(command) => return command.run(),
        Command::Resolve(command) => command.run(&session),
        Command::Flag(command) => command.run(&session),
        Command::Config(command) => command.run(&session),
        Command::Segment(command) => command.run(&session),
        Command::ExclusionGroup(command) => command.run(&session),
        Command::Agent(command) => command.run(ArtifactKind::Agent, &session),
        Command::Tool(command) => command.run(&session),
        Command::Channel(command) => command.run(&session),
        Command::Trust(command) => command.run(&session),
        Command::Keygen(command) => command.run(&session),
        Command::Sign(command) => command.run(&session),
        Command::Verify(command) => command.run(&session),
        Command::Tenant(command) => command.run(&session),
        Command::Environment(command) => command.run(&session),
        Command::Pin(command) => command.run(&session),
        Command::Token(command) => command.run(&session),
        Command::Whoami => token::whoami(&session),
        Command::Uses(command) => command.run(&session),
        Command::Schedule(command) => command.run(&session),
        Command::Plan(command) => return command.run(&session),
        Command::Apply(command) => command.run(&session),
        Command::Export(command) => command.run(&session),
        Command::Log(command) => command.run(&session),
        Command::ServerKey(command) => command.run(&session),
        Command::Rev(command) => command.run(&session),
        Command::Revert(command) => command.run(&session),
        Command::Explain(command) => command.run(&session),
        Command::Openapi => openapi::run(),
        Command::Completions(command) => command.run(),
    }?;
    Ok(EXIT_OK)
}

/// The options of every command that changes something.
#[derive(Debug, Clone, Args)]
pub(crate) struct WriteArgs {
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How many tenants to name for each way in which something would change
    #[arg(long, value_name = "COUNT", requires = "dry_run")]
    impact_tenants: Option<usize>,
}

impl WriteArgs {
    pub(crate) fn to_write(&self) -> Write {
        Write {
            reason: self.reason.clone(),
            dry_run: self.dry_run,
            impact_tenants: self.impact_tenants,
        }
    }
}

/// Shows what a write did or would do.
pub(crate) fn show_commit(session: &Session, reply: &CommitReply) -> Result<()> {
    session.show(reply, |page| {
        changes(page, reply.plan());
        match reply.receipt() {
            Some(it) => receipt(page, it),
            None if reply.plan().changes.is_empty() => page.line("nothing to do"),
            None => page.line("dry run: nothing was changed"),
        }
    })
}
