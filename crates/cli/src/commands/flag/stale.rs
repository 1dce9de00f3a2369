//! `flag stale`: flags that have done what they were made for.

use anyhow::Result;
use clap::Args;
use plane_api::StaleFlag;
use plane_model::EnvironmentName;
use serde_json::json;

use crate::commands::environment;
use crate::output::{Page, Paint, time};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
A flag is stale in an environment if it has expired; if it is archived and services still ask for \
it; if nobody has evaluated or changed it; if its targeting has given everybody the same; or if \
everybody who asked was given the same. What services ask for is what they have said themselves \
(`flag usage`). A flag whose lifecycle is operational, permission or kill_switch may give \
everybody the same for good.

Examples:
  control-plane flag stale -e production
  control-plane flag stale --days 14 --output json")]
pub(crate) struct Stale {
    /// How many days to look back, at most 90
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
}

impl Stale {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let mut places = Vec::new();
        for environment in environment::named_or_all(session, &client, None)? {
            let found = client.stale_flags(&environment, Some(self.days))?;
            places.push((environment, found));
        }
        let value: Vec<_> = places
            .iter()
            .map(|(environment, flags)| json!({ "environment": environment, "flags": flags }))
            .collect();
        session.show(&value, |page| {
            for (environment, flags) in places.iter().filter(|(_, flags)| !flags.is_empty()) {
                show(page, environment, flags);
            }
            if places.iter().all(|(_, flags)| flags.is_empty()) {
                page.line(format!("no flag is stale, looking back {} days", self.days));
            }
        })
    }
}

fn show(page: &mut Page, environment: &EnvironmentName, flags: &[StaleFlag]) {
    page.heading(environment.as_str());
    for it in flags {
        let name = page.paint(Paint::Bold, it.flag.as_str());
        let owner = it.owner.as_ref().map(|owner| format!(", {owner}"));
        let last = it
            .last_at
            .map(|at| format!(", evaluated last {}", time(at)));
        let about = [owner, last].into_iter().flatten().collect::<String>();
        page.line(format!("{name}{}", page.paint(Paint::Dim, &about)));
        for finding in &it.findings {
            page.line(format!("  {}: {}", finding.rule.as_str(), finding.detail));
            page.line(format!("    {}", page.paint(Paint::Dim, &finding.next)));
        }
    }
}
