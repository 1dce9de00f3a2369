//! `rev`: what became of a revision.

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::{AckState, InstanceCounts, RevisionStatusReply};
use plane_model::EnvironmentName;

use crate::output::{Cell, Page, Paint};
use crate::parse;
use crate::session::Session;

/// How many instances are listed to a person; `--output json` has more.
const LISTED_MAX: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Rev {
    /// The revision, as `control-plane log` lists it
    #[arg(value_parser = parse::revision)]
    revision: u64,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show which instances serve it, which rejected it and why, and which lag
    Status(Status),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Instances of services say which revision they serve whenever that changes, and every 30 seconds. \
An instance that was not heard of for 90 seconds is silent; after a day it is forgotten.

Examples:
  control-plane rev 41 status
  control-plane rev 41 status --environment production --output json")]
struct Status {
    /// Only this environment
    #[arg(long, short = 'e', value_name = "NAME")]
    environment: Option<EnvironmentName>,
}

impl Rev {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let What::Status(status) = &self.what;
        let reply = session
            .client()?
            .revision_status(self.revision, status.environment.as_ref())?;
        session.show(&reply, |page| show(page, &reply))
    }
}

fn show(page: &mut Page, reply: &RevisionStatusReply) {
    if reply.instances.total == 0 {
        page.line("no instance of any service was heard of in the last day");
        return;
    }
    let InstanceCounts { applied, total, .. } = reply.instances;
    let paint = if applied == total {
        Paint::Good
    } else {
        Paint::Warn
    };
    let text = format!(
        "{applied} of {total} instances serve revision {}",
        reply.revision
    );
    let line = page.paint(paint, &text);
    page.line(line);
    page.gap();
    let count = |number: u64, paint: Paint| match number {
        0 => Cell::from(""),
        number => Cell::new(number, paint),
    };
    let rows: Vec<Vec<Cell>> = reply
        .services
        .iter()
        .map(|it| {
            vec![
                Cell::new(&it.service, Paint::Bold),
                it.service_version.as_str().into(),
                it.environment.as_str().into(),
                count(it.instances.applied, Paint::Good),
                count(it.instances.rejected, Paint::Error),
                count(it.instances.held_back, Paint::Error),
                count(it.instances.lagging, Paint::Warn),
                count(it.instances.silent, Paint::Dim),
            ]
        })
        .collect();
    let headers = [
        "SERVICE",
        "VERSION",
        "ENVIRONMENT",
        "APPLIED",
        "REJECTED",
        "HELD BACK",
        "LAGGING",
        "SILENT",
    ];
    page.table(&headers, &rows);
    if reply.behind.is_empty() {
        return;
    }
    page.heading("Not on it");
    for it in reply.behind.iter().take(LISTED_MAX) {
        let why = match it.state {
            Some(AckState::Rejected) => "rejected",
            Some(AckState::HeldBack) => "held back after crashes",
            Some(AckState::Applied) | None => "behind",
        };
        page.line(format!(
            "  {}/{} in {}: {why}, serves revision {}, last heard of {}",
            it.service, it.instance, it.environment, it.serves, it.heard_at
        ));
        for problem in &it.problems {
            page.line(format!(
                "    {}{}: {}",
                problem.subject, problem.pointer, problem.detail
            ));
        }
    }
    if reply.behind.len() > LISTED_MAX {
        page.line(format!(
            "  and {} more; --output json lists up to 1000",
            reply.behind.len() - LISTED_MAX
        ));
    }
}
