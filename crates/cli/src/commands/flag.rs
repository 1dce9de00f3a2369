//! `flag`: what is switched on for whom.

mod define;
mod explain;
mod export;
pub(super) mod show;
mod stale;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::{DocumentReply, EvaluateRequest};
use plane_client::{Client, Condition};
use plane_model::documents::{
    ExclusionGroup, Flag as FlagBody, FlagState, FlagType, Kill as KillBody, ScheduledChange,
    ScheduledOp, Targeting,
};
use plane_model::{DocumentKey, FlagKey, Kind, Serve, VariantName};
use serde_json::{Map, Value, json};

use super::context::ContextArgs;
use super::document::Delete;
use super::kill::{KillArgs, ReviveArgs, kill, revive};
use super::registry::channel::shares;
use super::schedule::ScheduleArgs;
use super::{WriteArgs, environment, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Paint, inline};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Flag {
    /// List the flags and what they are in each environment
    List(List),
    /// Show a flag, its rules, kills and pins
    Show(show::Show),
    /// Make a flag, which is off until it is set
    Create(define::Create),
    /// Switch a flag on or off, or change whom it is on for
    Set(Set),
    /// Stop a flag at once, for everybody or for one tenant
    Kill(Kill),
    /// Take a kill back
    Revive(Revive),
    /// Say what flags are for a tenant and a user
    Evaluate(Evaluate),
    /// Say why a flag is what it is, rule by rule
    Explain(explain::Explain),
    /// Say which services and versions evaluate a flag, and when last
    Usage(usage::Usage),
    /// List the flags that should be gone, why, and what to do about it
    Stale(stale::Stale),
    /// Retire a flag: callers get their default
    Archive(define::Archive),
    /// Bring a retired flag back
    Unarchive(define::Archive),
    /// Delete a flag and all its rules
    Delete(Delete),
    /// Write flags for another evaluator, and say which cannot be
    Export(export::Export),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane flag list
  control-plane flag list -e production --tag checkout")]
pub(crate) struct List {
    /// Only flags with this tag
    #[arg(long, value_name = "WORD")]
    tag: Option<String>,
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Rules and targets stay as they are; --file replaces everything. A percentage that grows keeps who \
is in. A boolean flag that is switched on where it has no targeting yet is on for everybody.

With --schedule it is done at that time, in your name. What others change until then stays, but \
for what is set; where --file would undo their work it fails, and says so.

Examples:
  control-plane flag set beta_features -e production --percent on=50 \\
      --reason 'halfway'
  control-plane flag set beta_features -e production --percent on=10 \\
      --by tenant.id
  control-plane flag set new_search_algorithm -e staging --on
  control-plane flag set new_search_algorithm -e staging --default off
  control-plane flag set beta_features -e production --file targeting.yaml
  control-plane flag set beta_features --on --schedule 2026-12-10T09:00:00Z \\
      --reason 'launch'")]
#[group(id = "what", required = true, multiple = true)]
pub(crate) struct Set {
    /// The flag
    key: FlagKey,
    /// Let targets, rules and default decide
    #[arg(long, group = "what", conflicts_with = "off")]
    on: bool,
    /// Give everybody the off variant
    #[arg(long, group = "what")]
    off: bool,
    /// By default, a share for a variant; what is left over gets the off variant
    #[arg(long, group = "what", value_name = "VARIANT=PERCENT", value_parser = parse::share)]
    percent: Vec<(String, f64)>,
    /// What is divided: an attribute such as tenant.id or user.id
    #[arg(long, value_name = "ATTRIBUTE", requires = "percent")]
    by: Option<String>,
    /// By default, this variant for everybody
    #[arg(
        long,
        group = "what",
        value_name = "VARIANT",
        conflicts_with = "percent"
    )]
    default: Option<VariantName>,
    /// The whole targeting, from a file of YAML or JSON
    #[arg(long, group = "what", value_name = "FILE", conflicts_with_all = ["on", "off", "percent", "default"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A killed flag gives its off variant, whatever its rules say, until it is revived. A kill is for \
now: `flag set --off --schedule TIME` switches a flag off later.

Examples:
  control-plane flag kill enhanced_reasoning -e production \\
      --reason 'answers are wrong'
  control-plane flag kill enhanced_reasoning -e production \\
      --tenant tenant123 --reason 'they asked'")]
pub(crate) struct Kill {
    /// The flag
    key: FlagKey,
    #[command(flatten)]
    kill: KillArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane flag revive enhanced_reasoning -e production --reason 'mended'")]
pub(crate) struct Revive {
    /// The flag
    key: FlagKey,
    #[command(flatten)]
    revive: ReviveArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane flag evaluate enhanced_reasoning -e production \\
      --tenant tenant123
  control-plane flag evaluate -e production --tenant tenant123 --user u7")]
pub(crate) struct Evaluate {
    /// The flags; all of the environment without any
    keys: Vec<FlagKey>,
    #[command(flatten)]
    context: ContextArgs,
    /// Answer as of a revision or a time of the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

impl Flag {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Create(command) => command.run(session),
            Self::Set(command) => command.run(session),
            Self::Kill(command) => kill(
                session,
                &format!("flag:{}", command.key),
                &command.kill,
                None,
            ),
            Self::Revive(command) => {
                revive(session, &format!("flag:{}", command.key), &command.revive)
            }
            Self::Evaluate(command) => command.run(session),
            Self::Explain(command) => command.run(session),
            Self::Usage(command) => command.run(session),
            Self::Stale(command) => command.run(session),
            Self::Archive(command) => command.run(true, session),
            Self::Unarchive(command) => command.run(false, session),
            Self::Delete(command) => command.run(Kind::Flag, session),
            Self::Export(command) => command.run(session),
        }
    }
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let at = self.at.as_deref();
        let mut flags = client.documents::<FlagBody>(Kind::Flag, at)?;
        flags.retain(|it| {
            self.tag
                .as_ref()
                .is_none_or(|tag| it.body.tags.contains(tag))
        });
        let environments = environment::named_or_all(session, &client, at)?;
        let groups = client.documents::<ExclusionGroup>(Kind::ExclusionGroup, at)?;
        let mut needs: Vec<(String, String, String)> = Vec::new();
        let mut states: BTreeMap<(String, String), Cell> = BTreeMap::new();
        let mut values: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for environment in &environments {
            for it in client.documents_in::<Targeting>(environment, Kind::Targeting, at)? {
                let mut state = show::summary(&it.body);
                let grouped = |group: &&DocumentReply<ExclusionGroup>| {
                    group.body.flags().any(|flag| flag.as_str() == it.name)
                };
                if it.body.state == FlagState::Enabled {
                    for group in groups.iter().filter(grouped) {
                        state = state.with(&format!(", within {}", group.name));
                    }
                    for needed in &it.body.prerequisites {
                        let needed = needed.flag.to_string();
                        needs.push((it.name.clone(), environment.to_string(), needed));
                    }
                }
                states.insert((it.name.clone(), environment.to_string()), state);
                let value = json!({ "revision": it.revision, "targeting": it.body });
                values
                    .entry(it.name)
                    .or_default()
                    .insert(environment.to_string(), value);
            }
            for it in client.documents_in::<KillBody>(environment, Kind::Kill, at)? {
                if let Some(flag) = it.name.strip_prefix("flag:")
                    && it.scope == environment.as_str()
                {
                    states.insert(
                        (flag.to_owned(), environment.to_string()),
                        Cell::new("killed", Paint::Error),
                    );
                    let entry = values.entry(flag.to_owned()).or_default();
                    let entry = entry
                        .entry(environment.as_str())
                        .or_insert_with(|| json!({}));
                    entry["kill"] = json!(it.body);
                }
            }
        }
        for (flag, environment, needed) in needs {
            let gives = |it: &Cell| it.paint() == Paint::Good;
            let is_given = states.get(&(needed.clone(), environment.clone()));
            let is_given = is_given.is_some_and(gives);
            if let Some(state) = states.get_mut(&(flag, environment))
                && state.paint() == Paint::Good
            {
                *state = if is_given {
                    state.with(&format!(", needs {needed}"))
                } else {
                    Cell::new(format!("withheld: {needed} is off"), Paint::Warn)
                };
            }
        }
        let value: Vec<Value> = flags
            .iter()
            .map(|it| json!({ "key": it.name, "revision": it.revision, "flag": it.body, "environments": values.get(&it.name) }))
            .collect();
        session.show(&value, |page| {
            let upper: Vec<String> = environments
                .iter()
                .map(|it| it.as_str().to_uppercase())
                .collect();
            let mut headers = vec!["FLAG", "TYPE"];
            headers.extend(upper.iter().map(String::as_str));
            headers.extend(["OWNER", "DESCRIPTION"]);
            let rows: Vec<Vec<Cell>> = flags
                .iter()
                .map(|it| {
                    let mut row = vec![
                        Cell::new(&it.name, Paint::Bold),
                        it.body.kind.as_str().into(),
                    ];
                    for environment in &environments {
                        let key = (it.name.clone(), environment.to_string());
                        row.push(
                            states
                                .get(&key)
                                .cloned()
                                .unwrap_or_else(|| Cell::new("off", Paint::Dim)),
                        );
                    }
                    row.push(it.body.owner.as_deref().unwrap_or_default().into());
                    row.push(it.body.description.as_deref().unwrap_or_default().into());
                    row
                })
                .collect();
            page.table(&headers, &rows);
        })
    }
}

impl Set {
    fn run(&self, session: &Session) -> Result<()> {
        let environment = session.environment()?;
        let client = session.client()?;
        let key = DocumentKey::targeting(environment, &self.key);
        let found = client.find_document::<Targeting>(&key, None)?;
        let condition = found
            .as_ref()
            .map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let before = found.map(|it| it.body);
        let body = match &self.file {
            Some(file) => parse::file_value(file)?,
            None => self.edited(&client, before.clone())?,
        };
        let write = self.write.to_write();
        let put = |client: &Client| client.put_document(&key, &body, condition, &write);
        let Some(at) = self.schedule.at() else {
            return show_commit(session, &put(&client)?);
        };
        let op = self.scheduled(&key, before.as_ref(), &body, condition)?;
        let now = |client: &Client| Ok(put(client)?);
        self.schedule
            .file(session, at, self.key.as_str(), op, &write, now)
    }

    /// What is to be done later: what is named here changes, or the targeting becomes what the file says.
    fn scheduled(
        &self,
        key: &DocumentKey,
        before: Option<&Targeting>,
        body: &Value,
        condition: Condition,
    ) -> Result<ScheduledOp> {
        let whole = ScheduledOp {
            op: ScheduledChange::Put,
            kind: key.kind(),
            scope: key.scope().to_owned(),
            name: key.name().to_owned(),
            body: Some(body.clone()),
            if_revision: match condition {
                Condition::Revision(revision) => Some(revision),
                Condition::None | Condition::Absent => None,
            },
            if_absent: condition == Condition::Absent,
        };
        let Some(before) = before.filter(|_| self.file.is_none()) else {
            return Ok(whole);
        };
        let before = serde_json::to_value(before)?;
        let mut patch = Map::new();
        if self.on || self.off {
            patch.insert("state".to_owned(), body["state"].clone());
        }
        if !self.percent.is_empty() || self.default.is_some() {
            let mut default = body["default"].clone();
            // What another kind of default says beside it would stay.
            if let (Some(new), Some(old)) = (default.as_object_mut(), before["default"].as_object())
            {
                for name in old.keys() {
                    new.entry(name).or_insert(Value::Null);
                }
            }
            patch.insert("default".to_owned(), default);
        }
        Ok(ScheduledOp {
            op: ScheduledChange::Patch,
            body: Some(Value::Object(patch)),
            if_revision: None,
            ..whole
        })
    }

    fn edited(&self, client: &Client, found: Option<Targeting>) -> Result<Value> {
        let is_new = found.is_none();
        let split = found.as_ref().and_then(|it| match &it.default {
            Some(Serve::Split(split)) => Some(split.clone()),
            _ => None,
        });
        let mut body = match found {
            Some(targeting) => serde_json::to_value(targeting)?,
            None => json!({ "state": "enabled" }),
        };
        if self.on {
            body["state"] = "enabled".into();
        }
        if self.off {
            body["state"] = "disabled".into();
        }
        if !self.percent.is_empty() {
            body["default"] = shares(&self.percent, self.by.as_deref(), split.as_ref())?;
        } else if let Some(variant) = &self.default {
            body["default"] = variant.as_str().into();
        } else if is_new && self.on {
            let key = DocumentKey::flag(&self.key);
            let found: Option<DocumentReply<FlagBody>> = client.find_document(&key, None)?;
            let flag = found.ok_or_else(|| {
                Failure::new(format!("there is no flag `{}`", self.key))
                    .code(plane_model::Code::NotFound)
                    .next(format!(
                        "correct the name, or make it: `control-plane flag create {}`",
                        self.key
                    ))
            })?;
            let on = flag
                .body
                .all_variants()
                .into_iter()
                .find(|(_, value)| *value == json!(true));
            match on {
                Some((variant, _)) if flag.body.kind == FlagType::Boolean => {
                    body["default"] = variant.as_str().into();
                }
                _ => {
                    return Err(Failure::new(format!(
                        "`{}` has no targeting here yet, and is not a boolean flag",
                        self.key
                    ))
                    .next(
                        "say what everybody gets: --default VARIANT, or --percent VARIANT=PERCENT",
                    )
                    .into());
                }
            }
        }
        Ok(body)
    }
}

impl Evaluate {
    fn run(&self, session: &Session) -> Result<()> {
        let flags = match self.keys.as_slice() {
            [] => None,
            keys => Some(keys.iter().map(ToString::to_string).collect()),
        };
        let request = EvaluateRequest {
            flags,
            context: self.context.to_context()?,
            rollout_percentage: None,
            explain: false,
        };
        let reply =
            session
                .client()?
                .evaluate(session.environment()?, &request, self.at.as_deref())?;
        session.show(&reply, |page| {
            let rows: Vec<Vec<Cell>> = reply
                .flags
                .iter()
                .map(|(key, it)| {
                    let reason = match &it.error_code {
                        Some(code) => Cell::new(format!("{} {code}", it.reason), Paint::Error),
                        None => (&it.reason).into(),
                    };
                    vec![
                        Cell::new(key, Paint::Bold),
                        it.value
                            .as_ref()
                            .map_or_else(|| "(caller's default)".to_owned(), inline)
                            .into(),
                        it.variant
                            .as_ref()
                            .map(ToString::to_string)
                            .unwrap_or_default()
                            .into(),
                        reason,
                        it.rule.as_deref().unwrap_or_default().into(),
                        it.metadata.revision.into(),
                        it.error_detail.as_deref().unwrap_or_default().into(),
                    ]
                })
                .collect();
            page.table(
                &[
                    "FLAG", "VALUE", "VARIANT", "REASON", "RULE", "REVISION", "DETAIL",
                ],
                &rows,
            );
            page.gap();
            let note = page.paint(Paint::Dim, &format!("at revision {}", reply.revision));
            page.line(note);
            for warning in &reply.warnings {
                let line = page.paint(Paint::Warn, &format!("warning: {warning}"));
                page.line(line);
            }
        })
    }
}
