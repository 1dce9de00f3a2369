//! `resolve`: the agent that a tenant gets.

use anyhow::Result;
use clap::Args;
use plane_eval::{ChosenBy, Origin, ResolvedBody, ResolvedTool, WarningCode};
use plane_model::ArtifactName;
use serde_json::Value;

use super::context::ContextArgs;
use super::token::words;
use crate::output::{Cell, Page, Paint, short_digest, shortened};
use crate::session::Session;

/// How much of a prompt is shown without `--full`.
const PROMPT_CHARS_MAX: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane resolve customer_support_agent -e production \\
      --tenant tenant123
  control-plane resolve customer_support_agent -e production \\
      --tenant tenant123 --user u7 --at 41
  control-plane resolve customer_support_agent -e production \\
      --at 2026-05-01T09:00:00Z --output json")]
pub(crate) struct Resolve {
    /// The agent
    agent: ArtifactName,
    #[command(flatten)]
    context: ContextArgs,
    /// Answer as of a revision or a time of the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
    /// Show the whole prompt
    #[arg(long)]
    full: bool,
}

impl Resolve {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let context = self.context.to_context()?;
        let environment = session.environment()?;
        let resolved =
            session
                .client()?
                .resolve(environment, &self.agent, &context, self.at.as_deref())?;
        session.show(&resolved, |page| show(page, &resolved, self.full))
    }
}

fn show(page: &mut Page, resolved: &ResolvedBody, full: bool) {
    let agent = format!("{}@{}", resolved.agent, resolved.version);
    let audience = match &resolved.tenant {
        Some(tenant) => format!("{} for {tenant}", resolved.environment),
        None => resolved.environment.to_string(),
    };
    let line = format!("{} in {audience}", page.paint(Paint::Bold, &agent));
    page.line(line);
    page.fields(vec![
        ("version by", Some(chosen_by(resolved.chosen_by).to_owned())),
        ("revision", Some(resolved.revision.to_string())),
        (
            "effective digest",
            Some(resolved.effective_digest.to_string()),
        ),
        (
            "manifest digest",
            Some(resolved.manifest_digest.to_string()),
        ),
    ]);
    parameters(page, &agent, resolved, full);
    flags(page, resolved);
    tools(page, resolved);
    if !resolved.warnings.is_empty() {
        page.heading("Warnings");
        for warning in &resolved.warnings {
            let state = match warning.code {
                WarningCode::VersionDeprecated => " is deprecated",
                WarningCode::VersionSunset => " is deprecated, and was to be gone by now",
                WarningCode::VersionYanked => " is yanked",
                _ => "",
            };
            let mut line = format!("{}{state}: {}", warning.subject, warning.detail);
            if let Some(replacement) = &warning.replacement {
                line = format!("{line}; use {replacement}");
            }
            let line = page.paint(Paint::Warn, &line);
            page.line(format!("  {line}"));
        }
    }
}

fn chosen_by(chosen_by: ChosenBy) -> &'static str {
    match chosen_by {
        ChosenBy::Pin => "the tenant's pin",
        ChosenBy::Split => "the channel's split",
        ChosenBy::Default => "the channel's default",
        ChosenBy::Fallback => "the fallback of a kill",
    }
}

fn parameters(page: &mut Page, agent: &str, resolved: &ResolvedBody, full: bool) {
    let Some(Value::Object(metadata)) = resolved.manifest.get("metadata") else {
        return;
    };
    page.heading("Parameters");
    let subject = format!("agent:{agent}");
    let mut rows: Vec<Vec<Cell>> = metadata
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "tools" | "system_prompt" | "description"))
        .map(|(name, value)| {
            let origin = origin(resolved, &subject, name);
            let paint = if origin.is_some() {
                Paint::Warn
            } else {
                Paint::Plain
            };
            vec![
                format!("  {name}").into(),
                Cell::new(words(value), paint),
                origin.map(by_flag).unwrap_or_default().into(),
            ]
        })
        .collect();
    for origin in removed(resolved, &subject, metadata) {
        let name = origin
            .pointer
            .as_str()
            .trim_start_matches("/metadata/")
            .to_owned();
        rows.push(vec![
            format!("  {name}").into(),
            Cell::new("(removed)", Paint::Warn),
            by_flag(origin).into(),
        ]);
    }
    page.table(&["  FIELD", "VALUE", "SET BY"], &rows);
    if let Some(prompt) = metadata.get("system_prompt").and_then(Value::as_str) {
        let heading = match origin(resolved, &subject, "system_prompt") {
            Some(origin) => format!("System prompt ({})", by_flag(origin)),
            None => "System prompt".to_owned(),
        };
        page.heading(&heading);
        let is_whole = full || prompt.chars().count() <= PROMPT_CHARS_MAX;
        let text = if is_whole {
            prompt.to_owned()
        } else {
            shortened(prompt, PROMPT_CHARS_MAX)
        };
        page.indented(&text, 2);
        if !is_whole {
            let hint = page.paint(Paint::Dim, "  (--full shows all of it)");
            page.line(hint);
        }
    }
}

fn origin<'r>(resolved: &'r ResolvedBody, subject: &str, field: &str) -> Option<&'r Origin> {
    let pointer = format!("/metadata/{}", field.replace('~', "~0").replace('/', "~1"));
    resolved.origins.iter().find(|origin| {
        let at = origin.pointer.as_str();
        origin.subject == subject
            && (at == pointer
                || at
                    .strip_prefix(&pointer)
                    .is_some_and(|rest| rest.starts_with('/')))
    })
}

fn removed<'r>(
    resolved: &'r ResolvedBody,
    subject: &'r str,
    metadata: &'r serde_json::Map<String, Value>,
) -> impl Iterator<Item = &'r Origin> {
    resolved.origins.iter().filter(move |origin| {
        origin.subject == subject
            && origin.value.is_null()
            && origin
                .pointer
                .as_str()
                .strip_prefix("/metadata/")
                .is_some_and(|name| !name.contains('/') && !metadata.contains_key(name))
    })
}

/// Which flag set a field: its variant, the rule, and since which revision.
fn by_flag(origin: &Origin) -> String {
    let rule = origin
        .rule
        .as_deref()
        .map(|rule| format!(", rule {rule}"))
        .unwrap_or_default();
    format!(
        "flag {} = {}{rule}, revision {}",
        origin.flag, origin.variant, origin.revision
    )
}

fn flags(page: &mut Page, resolved: &ResolvedBody) {
    if resolved.overrides.is_empty() {
        return;
    }
    page.heading("Flags that may change it");
    let rows: Vec<Vec<Cell>> = resolved
        .overrides
        .iter()
        .map(|it| {
            let effect = if it.applied {
                Cell::new("changes it", Paint::Warn)
            } else {
                Cell::new("no effect", Paint::Dim)
            };
            vec![
                format!("  {}", it.flag).into(),
                it.variant
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default()
                    .into(),
                it.reason.as_str().into(),
                it.rule.as_deref().unwrap_or_default().into(),
                it.flag_revision.into(),
                effect,
            ]
        })
        .collect();
    page.table(
        &["  FLAG", "VARIANT", "REASON", "RULE", "REVISION", "EFFECT"],
        &rows,
    );
}

fn tools(page: &mut Page, resolved: &ResolvedBody) {
    if resolved.tools.is_empty() {
        return;
    }
    page.heading("Tools");
    let rows: Vec<Vec<Cell>> = resolved
        .tools
        .iter()
        .map(|tool| tool_row(resolved, tool))
        .collect();
    page.table(
        &[
            "  TOOL", "VERSION", "DIGEST", "TIMEOUT", "RETRIES", "BREAKER", "SET BY",
        ],
        &rows,
    );
}

fn tool_row(resolved: &ResolvedBody, tool: &ResolvedTool) -> Vec<Cell> {
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let name = match &tool.alias {
        Some(alias) => format!("  {} (as {alias})", tool.name),
        None => format!("  {}", tool.name),
    };
    let subject = format!("tool:{}@{}", tool.name, tool.version);
    let by = resolved
        .origins
        .iter()
        .find(|origin| origin.subject == subject);
    vec![
        name.into(),
        tool.version.to_string().into(),
        short_digest(&tool.digest).into(),
        tool.policy
            .timeout_ms
            .map(|ms| format!("{ms} ms"))
            .unwrap_or_default()
            .into(),
        number(tool.policy.retry_attempts).into(),
        number(tool.policy.circuit_breaker_threshold).into(),
        Cell::new(by.map(by_flag).unwrap_or_default(), Paint::Warn),
    ]
}
