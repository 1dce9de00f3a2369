//! `flag create`, `archive`, `unarchive`: flags begin, and come to rest.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use plane_client::Condition;
use plane_model::documents::{Flag as Body, FlagType};
use plane_model::{DocumentKey, FlagKey, VariantName};
use serde_json::{Map, Value, json};

use crate::commands::document::{Existing, put_file};
use crate::commands::{WriteArgs, show_commit};
use crate::failure::Failure;
use crate::parse;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
A new flag is off everywhere until `flag set` says whom it is on for. A boolean flag has the \
variants on and off unless others are named; a flag of another type needs them, and `off` is what \
it gives while it is off. --file takes a file of a tree, with the rules of each environment.

Examples:
  control-plane flag create faster_checkout \\
      --description 'One page instead of three'
  control-plane flag create theme --type string --variant off=light \\
      --variant dark=dark
  control-plane flag create search_v2 --metadata team=search \\
      --metadata release='\"1.10\"'
  control-plane flag create faster_checkout \\
      --file feature_flags/faster_checkout.yaml")]
pub(crate) struct Create {
    /// The flag
    key: FlagKey,
    /// What its values are: boolean, string, integer, float or object
    #[arg(long = "type", value_name = "TYPE", value_parser = flag_type, default_value = "boolean")]
    kind: FlagType,
    /// A variant and its value, as a YAML scalar or JSON: 1.10 is a number, '"1.10"' a text
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    variant: Vec<(String, String)>,
    /// What it does
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// A word to find it by
    #[arg(long, value_name = "WORD")]
    tag: Vec<String>,
    /// What its metadata say to all who evaluate it, browsers too: a YAML scalar, so that 1.10 is the
    /// number 1.1, and '"1.10"' a text
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    metadata: Vec<(String, String)>,
    /// All of it, from a file of YAML or JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "variant", "description", "owner", "tag", "metadata"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
An archived flag is evaluated like one that is not there: callers get their default. `flag usage` \
says who still asks for it, and `unarchive` brings it back as it was.

Examples:
  control-plane flag archive beta_features --reason 'everybody has it'
  control-plane flag unarchive beta_features")]
pub(crate) struct Archive {
    /// The flag
    key: FlagKey,
    #[command(flatten)]
    write: WriteArgs,
}

fn flag_type(text: &str) -> Result<FlagType, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "use `boolean`, `string`, `integer`, `float` or `object`".to_owned())
}

impl Create {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        if let Some(file) = &self.file {
            let place = format!("feature_flags/{}", self.key);
            return put_file(session, &place, file, Existing::Kept, &self.write);
        }
        parse::once("--variant", &self.variant)?;
        parse::once("--metadata", &self.metadata)?;
        let mut body = json!({ "type": self.kind });
        let mut variants = Map::new();
        for (name, value) in &self.variant {
            VariantName::new(name).map_err(|error| Failure::new(error.to_string()))?;
            let value = match self.kind {
                // `--variant off=1` of a string flag is a text.
                FlagType::String => value.as_str().into(),
                _ => parse::value(value)?,
            };
            variants.insert(name.clone(), value);
        }
        if !variants.is_empty() {
            body["variants"] = Value::Object(variants);
        } else if self.kind != FlagType::Boolean {
            let what = format!("a {} flag needs its variants", self.kind.as_str());
            let next = "name them: --variant off=VALUE --variant NAME=VALUE";
            return Err(Failure::new(what).next(next).into());
        }
        if let Some(description) = &self.description {
            body["description"] = description.as_str().into();
        }
        if let Some(owner) = &self.owner {
            body["owner"] = owner.as_str().into();
        }
        if !self.tag.is_empty() {
            body["tags"] = json!(self.tag);
        }
        let metadata = self.metadata.iter();
        let metadata = metadata.map(|(name, said)| Ok((name.clone(), parse::value(said)?)));
        let metadata = metadata.collect::<Result<Map<_, _>>>()?;
        if !metadata.is_empty() {
            body["metadata"] = metadata.into();
        }
        let key = DocumentKey::flag(&self.key);
        let client = session.client()?;
        let reply = client.put_document(&key, &body, Condition::Absent, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}

impl Archive {
    /// Archives the flag, or takes that back.
    pub(super) fn run(&self, archived: bool, session: &Session) -> Result<()> {
        let key = DocumentKey::flag(&self.key);
        let client = session.client()?;
        let found = client.document::<Body>(&key, None)?;
        let body = Body {
            archived,
            ..found.body
        };
        let condition = Condition::Revision(found.revision);
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}
