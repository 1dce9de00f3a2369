//! `flag export`: flags in the words of another evaluator.

use anyhow::Result;
use clap::{Args, ValueEnum};
use plane_eval::Context;
use plane_model::TenantId;
use serde_json::json;

use crate::session::{Session, note, print};

/// Which words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Words {
    /// A file of flag definitions that flagd and its in-process providers read
    Flagd,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A flag is written only if flagd gives every context the variant that the control plane gives it; \
for each other one the reason is said. Contexts have ids in objects there: `tenant.id`, `user.id`.

Examples:
  control-plane flag export --format flagd -e production > flags.json
  control-plane flag export --format flagd -e production --tenant tenant123 \\
      > tenant123.json")]
pub(crate) struct Export {
    /// What to write
    #[arg(long, value_enum)]
    format: Words,
    /// For this tenant alone: with its pins, and with what is known of it put in
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
}

impl Export {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let Words::Flagd = self.format;
        let environment = session.environment()?;
        let snapshot = session.snapshot(environment)?;
        let tenant = self.tenant.as_ref().map(TenantId::as_str);
        let export = snapshot.view().to_flagd(tenant);
        if let Some(id) = tenant
            && snapshot
                .view()
                .tenant_unknown(&Context::new().with_tenant(id))
        {
            note(&format!(
                "warning: there is no tenant `{id}` in {environment}; only its id counts"
            ));
        }
        let set = match tenant {
            Some(tenant) => format!("{environment}/{tenant}"),
            None => environment.to_string(),
        };
        let file = json!({
            "flags": export.flags,
            "metadata": {
                "flagSetId": set,
                "revision": snapshot.revision(),
                "bucketing": export.bucketing,
            },
        });
        if session.is_json() {
            let whole = json!({"file": file, "refused": export.refused});
            return session.show(&whole, |_| {});
        }
        print(&format!("{}\n", serde_json::to_string_pretty(&file)?))?;
        for (flag, reason) in &export.refused {
            note(&format!("`{flag}` is left out: {reason}"));
        }
        let (written, left_out) = (export.flags.len(), export.refused.len());
        note(&format!(
            "{written} of {} flags are exported, with the bucketing {}",
            written + left_out,
            export.bucketing.as_str()
        ));
        Ok(())
    }
}
