//! `config`: effective configuration and its layers.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_client::{Condition, ConfigContext};
use plane_model::{ConfigName, DocumentKey, Kind, Selector};
use serde_json::{Map, Value};

use super::document::{self, Existing, put_file};
use super::{WriteArgs, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Paint, inline, shortened};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// List the documents, or the layers of one
    List(List),
    /// Print an effective value or a whole document
    Get(Get),
    /// Set a value in one layer
    Set(Set),
    /// Remove a value from one layer
    Unset(Unset),
    /// Print a document's schema, or set it from a file
    Schema(Schema),
    /// Delete one layer of a document
    Delete(Delete),
    /// Say which layer a value comes from, and what it hides
    Explain(Explain),
}

/// `DOCUMENT` or `DOCUMENT.PATH.TO.VALUE`.
#[derive(Debug, Clone)]
struct Path {
    document: ConfigName,
    parts: Vec<String>,
}

impl std::str::FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.');
        let document = parts.next().unwrap_or_default();
        let document = ConfigName::new(document).map_err(|error| error.to_string())?;
        let parts: Vec<String> = parts.map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err("write DOCUMENT.PATH, such as database.pool.size".to_owned());
        }
        Ok(Self { document, parts })
    }
}

/// For whom a value is read.
#[derive(Debug, Clone, Args)]
struct For {
    /// The tenant that asks
    #[arg(long, short, value_name = "ID")]
    tenant: Option<String>,
    /// The user that asks
    #[arg(long, short, value_name = "ID")]
    user: Option<String>,
    /// The service that asks
    #[arg(long, short, value_name = "NAME")]
    service: Option<String>,
    /// The region that asks, where the tenant has none
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

impl For {
    fn to_context(&self) -> ConfigContext {
        ConfigContext {
            tenant: self.tenant.clone(),
            user: self.user.clone(),
            service: self.service.clone(),
            region: self.region.clone(),
            at: self.at.clone(),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane config list
  control-plane config list ai")]
pub(crate) struct List {
    /// The document whose layers to list
    document: Option<ConfigName>,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A single value is printed bare, for use in scripts; objects and lists as JSON.

Examples:
  control-plane config get database.url -e production
  control-plane config get ai.model_settings.temperature -e production \\
      --tenant tenant123
  control-plane config get ai -e production --tenant tenant456 --at 41")]
pub(crate) struct Get {
    /// The document, or a value in it: DOCUMENT.PATH
    path: Path,
    #[command(flatten)]
    context: For,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A layer is `base`, or what it applies to: ENVIRONMENT, region=, service=, plan= and tenant= in \
this order, joined by dots. The value is a YAML scalar or JSON. The commit is refused if a \
document that somebody would read no longer matches its schema.

Examples:
  control-plane config set ai.model_settings.max_tokens 500 \\
      --layer production.plan=free
  control-plane config set database.pool_size_max 5 --layer staging \\
      --reason 'new cluster'
  control-plane config set ai.model_settings.temperature 0.4 \\
      --layer production.tenant=tenant123")]
pub(crate) struct Set {
    /// The value to set: DOCUMENT.PATH
    path: Path,
    /// What it is set to
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// The layer to set it in
    #[arg(long, value_name = "SELECTOR")]
    layer: Selector,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane config unset ai.model_settings.max_tokens \\
      --layer production.plan=free")]
pub(crate) struct Unset {
    /// The value to remove: DOCUMENT.PATH
    path: Path,
    /// The layer to remove it from
    #[arg(long, value_name = "SELECTOR")]
    layer: Selector,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A schema is a JSON Schema; each property says with x-override which layers but the base may set \
it: environment, region, service, plan, tenant. Every effective document must match it.

Examples:
  control-plane config schema ai
  control-plane config schema ai --file configs/ai.schema.yaml --dry-run
  control-plane config schema ai --delete --dry-run")]
pub(crate) struct Schema {
    /// The document
    document: ConfigName,
    /// Set it to what this file of YAML or JSON says
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Delete it: then any layer may set anything
    #[arg(long, conflicts_with = "file")]
    delete: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane config delete ai --layer production.plan=free --dry-run")]
pub(crate) struct Delete {
    /// The document
    document: ConfigName,
    /// The layer
    #[arg(long, value_name = "SELECTOR")]
    layer: Selector,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane config explain ai.model_settings.temperature -e production \\
      --tenant tenant123")]
pub(crate) struct Explain {
    /// The value: DOCUMENT.PATH
    path: Path,
    #[command(flatten)]
    context: For,
}

impl Config {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Get(command) => command.run(session),
            Self::Set(command) => {
                let value = parse::value(&command.value)?;
                edit(
                    session,
                    &command.path,
                    &command.layer,
                    Some(value),
                    &command.write,
                )
            }
            Self::Unset(command) => {
                edit(session, &command.path, &command.layer, None, &command.write)
            }
            Self::Schema(command) => command.run(session),
            Self::Delete(command) => {
                let key = DocumentKey::config(&command.layer, &command.document);
                document::delete(session, &session.client()?, &[key], &command.write)
            }
            Self::Explain(command) => command.run(session),
        }
    }
}

impl Schema {
    fn run(&self, session: &Session) -> Result<()> {
        if let Some(file) = &self.file {
            let place = format!("configs/{}.schema", self.document);
            return put_file(session, &place, file, Existing::Replaced, &self.write);
        }
        let key = document::key(Kind::Schema, "", self.document.as_str())?;
        let client = session.client()?;
        if self.delete {
            return document::delete(session, &client, &[key], &self.write);
        }
        let found = client.document::<Value>(&key, None)?;
        session.show(&found, |page| {
            page.indented(
                &serde_json::to_string_pretty(&found.body).unwrap_or_default(),
                0,
            );
        })
    }
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let Some(document) = &self.document else {
            let found = client.config_documents(self.at.as_deref())?;
            return session.show(&found, |page| {
                let rows: Vec<Vec<Cell>> = found
                    .iter()
                    .map(|it| {
                        let schema = if it.has_schema { "yes" } else { "no" };
                        vec![
                            Cell::new(&it.document, Paint::Bold),
                            it.layers.into(),
                            schema.into(),
                        ]
                    })
                    .collect();
                page.table(&["DOCUMENT", "LAYERS", "SCHEMA"], &rows);
            });
        };
        let mut found = client.config_layers(document, self.at.as_deref())?;
        if found.is_empty() {
            let what = format!("there is no config document `{document}`");
            let next = "`control-plane config list` shows them";
            let failure = Failure::new(what).code(plane_model::Code::ConfigNotFound);
            return Err(failure.next(next).into());
        }
        found.sort_by_key(|it| it.scope.parse::<Selector>().map_or(0, |it| it.weight()));
        session.show(&found, |page| {
            let rows: Vec<Vec<Cell>> = found
                .iter()
                .map(|it| {
                    vec![
                        Cell::new(&it.scope, Paint::Bold),
                        it.revision.into(),
                        it.body.to_string().into(),
                    ]
                })
                .collect();
            page.table(&["LAYER", "REVISION", "SETS"], &rows);
        })
    }
}

impl Get {
    fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let reply = session.client()?.effective_config(
            environment,
            &self.path.document,
            &self.context.to_context(),
        )?;
        let mut value = &reply.value;
        for (depth, part) in self.path.parts.iter().enumerate() {
            value = inside(value, part).ok_or_else(|| {
                let parent =
                    [&[self.path.document.to_string()], &self.path.parts[..depth]].concat();
                missing(value, &parent.join("."), part)
            })?;
        }
        session.show(value, |page| match value {
            Value::String(text) if text.is_empty() => page.line(""),
            Value::String(text) => page.indented(text, 0),
            Value::Object(_) | Value::Array(_) => {
                page.indented(&serde_json::to_string_pretty(value).unwrap_or_default(), 0);
            }
            scalar => page.line(scalar),
        })
    }
}

fn inside<'v>(value: &'v Value, part: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(part),
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

fn missing(value: &Value, parent: &str, part: &str) -> Failure {
    let failure =
        Failure::new(format!("`{parent}` has no `{part}`")).code(plane_model::Code::ConfigNotFound);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let keys: Vec<_> = map.keys().map(|key| format!("`{key}`")).collect();
            failure.next(format!("it has {}", keys.join(", ")))
        }
        _ => failure.next(format!("it is {}", shortened(&inline(value), 60))),
    }
}

fn edit(
    session: &Session,
    path: &Path,
    layer: &Selector,
    value: Option<Value>,
    write: &WriteArgs,
) -> Result<()> {
    let client = session.client()?;
    let key = DocumentKey::config(layer, &path.document);
    let found = client.find_document::<Map<String, Value>>(&key, None)?;
    let condition = found
        .as_ref()
        .map_or(Condition::Absent, |it| Condition::Revision(it.revision));
    let mut body = Value::Object(found.map(|it| it.body).unwrap_or_default());
    let dotted = path.parts.join(".");
    match value {
        Some(value) => put(&mut body, &path.parts, value)?,
        None => remove(&mut body, &path.parts).ok_or_else(|| {
            Failure::new(format!(
                "layer `{layer}` of `{}` does not set `{dotted}`",
                path.document
            ))
            .next(format!(
                "`control-plane config list {}` shows what each layer sets",
                path.document
            ))
        })?,
    }
    let reply = client.put_document(&key, &body, condition, &write.to_write())?;
    show_commit(session, &reply)
}

fn put(body: &mut Value, parts: &[String], value: Value) -> Result<()> {
    let mut place = body;
    for (depth, part) in parts.iter().enumerate() {
        let Value::Object(map) = place else {
            let parent = parts[..depth].join(".");
            return Err(
                Failure::new(format!("`{parent}` is not an object in this layer"))
                    .next(format!("set `{parent}` as a whole, as JSON"))
                    .into(),
            );
        };
        place = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    if parts.is_empty() && !value.is_object() {
        return Err(Failure::new("a whole layer is an object")
            .next("name a value, such as database.url, or give a JSON object")
            .into());
    }
    *place = value;
    Ok(())
}

fn remove(body: &mut Value, parts: &[String]) -> Option<()> {
    let (last, parents) = parts.split_last()?;
    let mut place = body;
    for part in parents {
        place = place.get_mut(part)?;
    }
    place.as_object_mut()?.remove(last).map(drop)
}

impl Explain {
    fn run(&self, session: &Session) -> Result<()> {
        if self.path.parts.is_empty() {
            return Err(Failure::new("a whole document comes from many layers")
                .next(format!(
                    "name a value in it, or see `control-plane config list {}`",
                    self.path.document
                ))
                .into());
        }
        let dotted = self.path.parts.join(".");
        let reply = session.client()?.explain_config(
            session.environment()?,
            &self.path.document,
            &dotted,
            &self.context.to_context(),
        )?;
        session.show(&reply, |page| {
            let name = page.paint(Paint::Bold, &format!("{}.{dotted}", self.path.document));
            page.line(format!("{name} = {}", inline(&reply.value)));
            page.fields(vec![
                ("layer", Some(reply.layer.clone())),
                ("revision", reply.revision.map(|it| it.to_string())),
                ("by", reply.author.as_ref().map(ToString::to_string)),
            ]);
            if !reply.shadowed.is_empty() {
                page.heading("It hides");
                let rows: Vec<Vec<Cell>> = reply
                    .shadowed
                    .iter()
                    .map(|it| {
                        vec![
                            format!("  {}", it.layer).into(),
                            inline(&it.value).into(),
                            it.revision
                                .map(|it| it.to_string())
                                .unwrap_or_default()
                                .into(),
                        ]
                    })
                    .collect();
                page.table(&["  LAYER", "VALUE", "REVISION"], &rows);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_a_document_and_the_way_to_a_value() {
        let path: Path = "database.pool.size".parse().unwrap();
        assert_eq!(
            (path.document.as_str(), path.parts.join("/")),
            ("database", "pool/size".to_owned())
        );
        assert!("database..size".parse::<Path>().is_err());
        assert!("".parse::<Path>().is_err());
    }

    #[test]
    fn setting_makes_the_objects_on_the_way_and_removing_takes_one_value() {
        let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let mut body = json!({"a": {"b": 1}});
        put(&mut body, &parts("a.c.d"), json!(2)).unwrap();
        assert_eq!(body, json!({"a": {"b": 1, "c": {"d": 2}}}));
        assert!(put(&mut body, &parts("a.b.x"), json!(3)).is_err());
        assert_eq!(remove(&mut body, &parts("a.c.d")), Some(()));
        assert_eq!(body, json!({"a": {"b": 1, "c": {}}}));
        assert_eq!(remove(&mut body, &parts("a.x")), None);
    }
}
