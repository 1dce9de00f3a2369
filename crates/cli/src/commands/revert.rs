//! `revert`: take commits back.

use anyhow::Result;
use clap::Args;
use plane_api::RevertRequest;
use plane_model::Kind;

use crate::output::{Paint, changes, document_name, receipt};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
A new commit puts every document that the commits changed back to what it was before them. \
Published versions, kills and access are never taken back; the answer names them.

Examples:
  control-plane revert 41 --reason 'the new prompt confuses customers'
  control-plane revert 41 --to 44 --kind targeting --dry-run \\
      --reason 'see what it would do'")]
pub(crate) struct Revert {
    /// The commit to take back, or the first of several
    #[arg(value_parser = parse::revision)]
    revision: u64,
    /// The last of several
    #[arg(long, value_name = "REVISION", value_parser = parse::revision)]
    to: Option<u64>,
    /// Only documents of this kind
    #[arg(long, value_parser = super::log::kind)]
    kind: Option<Kind>,
    /// Only documents of this scope, such as an environment
    #[arg(long)]
    scope: Option<String>,
    /// Only documents of this name
    #[arg(long)]
    name: Option<String>,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Revert {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let request = RevertRequest {
            from: self.revision,
            to: self.to,
            kind: self.kind,
            scope: self.scope.clone(),
            name: self.name.clone(),
            reason: self.reason.clone(),
        };
        let reply = session.client()?.revert(&request, self.dry_run)?;
        session.show(&reply, |page| {
            changes(page, &reply.plan);
            if !reply.excluded.is_empty() {
                page.heading("Left as it is, because its kind is never taken back");
                for name in &reply.excluded {
                    let line = page.paint(
                        Paint::Warn,
                        &document_name(name.kind.as_str(), &name.scope, &name.name),
                    );
                    page.line(format!("  {line}"));
                }
            }
            match &reply.committed {
                Some(it) => receipt(page, it),
                None if self.dry_run => page.line("dry run: nothing was changed"),
                None => page.line("nothing to do"),
            }
        })
    }
}
