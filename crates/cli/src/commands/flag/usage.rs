//! `flag usage`: who evaluates a flag.

use anyhow::Result;
use clap::Args;
use plane_api::FlagUsageReply;
use plane_model::FlagKey;

use crate::output::{Cell, Page, Paint, time};
use crate::session::Session;

/// How many counts are listed to a person; `--output json` has more.
const LISTED_MAX: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "\
Services that use an SDK count what they evaluate and say so every minute. Counts are kept for 90 \
days after the last evaluation; those of the last hour may be missing after the server has \
crashed.

Examples:
  control-plane flag usage new_search_algorithm
  control-plane flag usage beta_features -e production --output json")]
pub(crate) struct Usage {
    /// The flag
    key: FlagKey,
}

impl Usage {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let reply = client.flag_usage(&self.key, session.environment_if_named())?;
        session.show(&reply, |page| show(page, &reply))
    }
}

fn show(page: &mut Page, reply: &FlagUsageReply) {
    let Some(last_at) = reply.last_at else {
        page.line("no service has evaluated it in the last 90 days");
        return;
    };
    page.line(format!("evaluated last {}", time(last_at)));
    page.gap();
    let rows: Vec<Vec<Cell>> = reply
        .usage
        .iter()
        .take(LISTED_MAX)
        .map(|it| {
            let variant = match it.variant.as_str() {
                "" => "(caller's default)",
                variant => variant,
            };
            let reason = match it.reason.as_str() {
                "ERROR" => Cell::new(&it.reason, Paint::Error),
                reason => reason.into(),
            };
            vec![
                Cell::new(&it.service, Paint::Bold),
                it.service_version.as_str().into(),
                it.environment.as_str().into(),
                variant.into(),
                reason,
                it.count.into(),
                time(it.last_at).into(),
            ]
        })
        .collect();
    let headers = [
        "SERVICE",
        "VERSION",
        "ENVIRONMENT",
        "VARIANT",
        "REASON",
        "COUNT",
        "LAST",
    ];
    page.table(&headers, &rows);
    if reply.usage.len() > LISTED_MAX {
        let more = reply.usage.len() - LISTED_MAX;
        page.line(format!("and {more} more; --output json lists up to 1000"));
    }
}
