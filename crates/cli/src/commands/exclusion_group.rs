//! `exclusion-group`: flags that exclude each other, and the units that get none of them.

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_model::documents::ExclusionGroup as Body;
use plane_model::{DocumentKey, GroupName, Kind, Share};

use super::document::{Delete, SetFile};
use crate::output::{Cell, Paint};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum ExclusionGroup {
    /// List the exclusion groups
    List(List),
    /// Show one exclusion group with the share of each flag
    Show(Show),
    /// Create or replace an exclusion group, from a file
    #[command(after_help = "\
The file says it in YAML or JSON, as a file of a tree does; `control-plane export DIR` writes such \
files.

Examples:
  control-plane exclusion-group set checkout \\
      --file exclusion_groups/checkout.yaml --dry-run")]
    Set(SetFile),
    /// Delete an exclusion group
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A group is a file of a tree, exclusion_groups/NAME.yaml; `control-plane apply` writes it.

Examples:
  control-plane exclusion-group list")]
pub(crate) struct List {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane exclusion-group show checkout")]
pub(crate) struct Show {
    /// The exclusion group
    name: GroupName,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

impl ExclusionGroup {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Set(command) => command.run("exclusion_groups", session),
            Self::Delete(command) => command.run(Kind::ExclusionGroup, session),
        }
    }
}

fn unit(body: &Body) -> String {
    let by = body.by.as_ref();
    by.map_or("targetingKey", |it| it.as_str()).to_owned()
}

fn percent(share: Share) -> String {
    format!("{} %", f64::from(share.slots()) / 1_000.0)
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let found = client.documents::<Body>(Kind::ExclusionGroup, self.at.as_deref())?;
        session.show(&found, |page| {
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    vec![
                        Cell::new(&it.name, Paint::Bold),
                        unit(&it.body).into(),
                        it.body.flags().count().into(),
                        it.body.holdout.map(percent).unwrap_or_default().into(),
                        it.body.description.as_deref().unwrap_or_default().into(),
                    ]
                })
                .collect();
            let titles = ["EXCLUSION GROUP", "BY", "FLAGS", "HOLDOUT", "DESCRIPTION"];
            page.table(&titles, &rows);
        })
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let key = DocumentKey::exclusion_group(&self.name);
        let client = session.client()?;
        let found = client.document::<Body>(&key, self.at.as_deref())?;
        session.show(&found, |page| {
            let title = page.paint(Paint::Bold, &found.name);
            page.line(title);
            page.fields(vec![
                ("description", found.body.description.clone()),
                ("divides by", Some(unit(&found.body))),
                ("salt", found.body.salt.clone()),
                ("holdout", found.body.holdout.map(percent)),
                ("revision", Some(found.revision.to_string())),
            ]);
            let shares = found.body.percent.iter();
            let shares = shares.map(|(flag, share)| (flag, percent(*share)));
            let held = found.body.held.iter();
            let held = held.map(|flag| (flag, "all but the holdout".to_owned()));
            let rows: Vec<Vec<Cell>> = shares
                .chain(held)
                .map(|(flag, reach)| vec![Cell::new(flag.as_str(), Paint::Bold), reach.into()])
                .collect();
            page.table(&["FLAG", "MAY REACH"], &rows);
        })
    }
}
