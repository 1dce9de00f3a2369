//! `uses`: who refers to a document.

use anyhow::Result;
use clap::Args;
use plane_api::UsesReply;
use plane_model::Kind;

use crate::output::{Cell, Page, Paint};
use crate::session::Session;

/// How many places are listed to a person; `--output json` has more.
const LISTED_MAX: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
KIND is environment, tenant, segment, flag, agent or tool. The name of an agent or a tool may end \
in @VERSION: then only what names that version, or all of them, is listed. What holds in other \
environments only is left out, and so is what your token does not cover.

Examples:
  control-plane uses segment early_access -e production
  control-plane uses flag new_search_algorithm -e production
  control-plane uses tenant tenant123 -e production --output json
  control-plane uses tool crm_tool -e production --at 2")]
pub(crate) struct Uses {
    /// The kind of document
    #[arg(value_parser = used)]
    kind: Kind,
    /// Its name
    name: String,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

/// Reads a kind that others may refer to.
fn used(text: &str) -> Result<Kind, String> {
    let all = [
        Kind::Environment,
        Kind::Tenant,
        Kind::Segment,
        Kind::Flag,
        Kind::Agent,
        Kind::Tool,
    ];
    let found = all.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| format!("use {}", all.map(Kind::as_str).join(", ")))
}

impl Uses {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let client = session.client()?;
        let reply = client.uses(environment, self.kind, &self.name, self.at.as_deref())?;
        session.show(&reply, |page| show(page, &reply))
    }
}

fn show(page: &mut Page, reply: &UsesReply) {
    if reply.uses.is_empty() {
        let (kind, name, environment) = (reply.kind, &reply.name, &reply.environment);
        page.line(format!("nothing refers to {kind} {name} in {environment}"));
        return;
    }
    let rows: Vec<Vec<Cell>> = reply
        .uses
        .iter()
        .take(LISTED_MAX)
        .map(|it| {
            let place = match it.pointer.as_str() {
                "" => "(by its name)",
                pointer => pointer,
            };
            vec![
                it.kind.into(),
                Cell::new(&it.name, Paint::Bold),
                it.scope.as_str().into(),
                place.into(),
            ]
        })
        .collect();
    page.table(&["KIND", "USED BY", "IN", "AT"], &rows);
    let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    if reply.count > shown {
        let more = reply.count - shown;
        page.line(format!("and {more} more; --output json lists up to 1000"));
    }
}
