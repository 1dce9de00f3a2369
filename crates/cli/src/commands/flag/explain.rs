//! `flag explain`: the path that an evaluation takes.

use anyhow::Result;
use clap::Args;
use plane_api::{EvaluateRequest, FlagReply};
use plane_model::{Code, FlagKey};
use serde_json::Value;

use super::show::expression;
use crate::commands::context::ContextArgs;
use crate::commands::schedule;
use crate::failure::Failure;
use crate::output::{Page, Paint, inline, percent as percent_of};
use crate::parse;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane flag explain enhanced_reasoning -e production \\
      --tenant tenant456
  control-plane flag explain beta_features -e production --tenant tenant123 \\
      --user u7 --at 41
  control-plane flag explain beta_features -e production --user u7 \\
      --rollout-percentage 10")]
pub(crate) struct Explain {
    /// The flag
    key: FlagKey,
    #[command(flatten)]
    context: ContextArgs,
    /// As for a caller who lets at most this share of the units have true, in percent
    #[arg(long, value_name = "PERCENT")]
    rollout_percentage: Option<f64>,
    /// Answer as of a revision or a time of the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

impl Explain {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let request = EvaluateRequest {
            flags: Some(vec![self.key.to_string()]),
            context: self.context.to_context()?,
            rollout_percentage: self.rollout_percentage,
            explain: true,
        };
        let environment = session.environment()?;
        let client = session.client()?;
        let reply = client.evaluate(environment, &request, self.at.as_deref())?;
        let found = reply
            .flags
            .get(self.key.as_str())
            .ok_or_else(|| Failure::new(format!("the server said nothing about `{}`", self.key)))?;
        let to_come = if self.at.is_none() && !session.is_json() {
            schedule::of_flag(&client, environment, &self.key)?
        } else {
            Vec::new()
        };
        // An archived flag is evaluated like one that is not there, and can be explained.
        let steps = found.explanation.as_ref().map(|it| &it["steps"][0]);
        let is_known = steps.is_none_or(|it| it["exists"] != false);
        session.show(&reply, |page| {
            if !is_known {
                return;
            }
            let title = page.paint(Paint::Bold, self.key.as_str());
            page.line(format!(
                "{title} in {environment} at revision {}",
                reply.revision
            ));
            outcome(page, found);
            let steps = found
                .explanation
                .as_ref()
                .and_then(|it| it.get("steps"))
                .and_then(Value::as_array);
            page.gap();
            for (index, step) in steps.into_iter().flatten().enumerate() {
                let (mark, line, details) = words(step);
                let mark = match mark {
                    Mark::Yes => page.paint(Paint::Good, "✓"),
                    Mark::No => page.paint(Paint::Dim, "·"),
                    Mark::Unknown => page.paint(Paint::Warn, "?"),
                };
                page.line(format!("  {:>2}. {mark} {line}", index + 1));
                for detail in details {
                    let detail = page.paint(Paint::Dim, &detail);
                    page.line(format!("        {detail}"));
                }
            }
            for it in &to_come {
                page.gap();
                let line = schedule::line(page, it);
                page.line(line);
            }
            for warning in &reply.warnings {
                let line = page.paint(Paint::Warn, &format!("warning: {warning}"));
                page.line(line);
            }
        })?;
        if is_known {
            return Ok(());
        }
        let what = format!("there is no flag `{}` in {environment}", self.key);
        let next = "`control-plane flag list` shows all flags";
        Err(Failure::new(what)
            .code(Code::FlagNotFound)
            .next(next)
            .into())
    }
}

fn outcome(page: &mut Page, found: &FlagReply) {
    page.fields(vec![
        (
            "value",
            Some(
                found
                    .value
                    .as_ref()
                    .map_or_else(|| "the caller's default".to_owned(), inline),
            ),
        ),
        (
            "variant",
            match (&found.variant, &found.value) {
                (Some(variant), _) => Some(variant.to_string()),
                // A cap of the caller gives a value that no variant stands for.
                (None, Some(_)) => Some("none: the caller's share decided".to_owned()),
                (None, None) => None,
            },
        ),
        (
            "reason",
            Some(match &found.error_code {
                Some(code) => format!("{} {code}", found.reason),
                None => found.reason.clone(),
            }),
        ),
        ("detail", found.error_detail.clone()),
        ("rule", found.rule.clone()),
        (
            "flag changed at",
            Some(format!("revision {}", found.metadata.revision)),
        ),
    ]);
}

/// Whether a step decided, or let the next one decide.
enum Mark {
    Yes,
    No,
    Unknown,
}

fn mark(verdict: &str) -> Mark {
    match verdict {
        "true" => Mark::Yes,
        "unknown" => Mark::Unknown,
        _ => Mark::No,
    }
}

/// A step in words: whether it holds, one line, and the comparisons in it.
fn words(step: &Value) -> (Mark, String, Vec<String>) {
    let text = |name: &str| step.get(name).map(inline).unwrap_or_default();
    let is = |name: &str| step.get(name).and_then(Value::as_bool).unwrap_or(false);
    let given = |name: &str| step.get(name).filter(|it| !it.is_null()).map(inline);
    let decides = |holds: bool| if holds { Mark::Yes } else { Mark::No };
    let verdict = text("verdict");
    let verdict = verdict.trim_matches('"');
    match text("step").as_str() {
        "flag" if !is("exists") => (Mark::Yes, "the flag is not known".to_owned(), Vec::new()),
        "flag" if is("archived") => (Mark::Yes, "the flag is archived".to_owned(), Vec::new()),
        "flag" => (Mark::No, "the flag exists".to_owned(), Vec::new()),
        "kill" if is("killed") => {
            let reason = given("reason")
                .map(|it| format!(": {it}"))
                .unwrap_or_default();
            (Mark::Yes, format!("it is killed{reason}"), Vec::new())
        }
        "kill" => (Mark::No, "it is not killed".to_owned(), Vec::new()),
        "broken" => (
            Mark::Yes,
            format!("it contradicts itself: {}", text("detail")),
            Vec::new(),
        ),
        "state" => match given("state").as_deref() {
            Some("enabled") => (Mark::No, "it is enabled here".to_owned(), Vec::new()),
            Some(state) => (Mark::Yes, format!("it is {state} here"), Vec::new()),
            None => (
                Mark::Yes,
                "it has no targeting here, so it is off".to_owned(),
                Vec::new(),
            ),
        },
        "tenant_kill" => {
            let word = if is("killed") { "killed" } else { "not killed" };
            let reason = given("reason")
                .map(|it| format!(": {it}"))
                .unwrap_or_default();
            (
                decides(is("killed")),
                format!("it is {word} for {}{reason}", text("tenant")),
                Vec::new(),
            )
        }
        "pin" => {
            let line = match given("variant") {
                Some(variant) => {
                    let reason = given("reason")
                        .map(|it| format!(": {it}"))
                        .unwrap_or_default();
                    format!("{} has it pinned to {variant}{reason}", text("tenant"))
                }
                None => format!("{} has no pin of it", text("tenant")),
            };
            let until = given("until").map(|it| format!("until {it}"));
            (mark(verdict), line, until.into_iter().collect())
        }
        "prerequisite" => {
            let met = if verdict == "true" {
                "gives"
            } else {
                "does not give"
            };
            let wanted: Vec<String> = step
                .get("wanted")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(inline)
                .collect();
            let line = format!(
                "{} {met} {}, which it needs",
                text("flag"),
                wanted.join(" or ")
            );
            let found = format!(
                "it gives {} ({})",
                given("variant").unwrap_or_else(|| "the caller's default".to_owned()),
                text("reason")
            );
            // What stops the flag is what decides.
            (decides(verdict != "true"), line, vec![found])
        }
        "exclusion_group" => exclusion_group(step),
        "target" => {
            let unit = given("unit").unwrap_or_else(|| "(missing)".to_owned());
            let word = if verdict == "true" { "is" } else { "is not" };
            let line = format!(
                "{} {unit} {word} among the targets of {}",
                text("by"),
                text("serve")
            );
            (mark(verdict), line, Vec::new())
        }
        "rule" => {
            let word = match verdict {
                "true" => "matches",
                "unknown" => "cannot tell, so it does not match",
                _ => "does not match",
            };
            let mut details = Vec::new();
            if let Some(when) = step.get("when") {
                clauses(when, &mut details);
            }
            if let Some(window) = step.get("window").filter(|it| !it.is_null()) {
                let end = |name: &str| window.get(name).map(inline);
                let from = end("from").map(|it| format!(" from {it}"));
                let until = end("until").map(|it| format!(" until {it}"));
                let ends = [from, until].into_iter().flatten().collect::<String>();
                details.push(format!("applies{ends}"));
            }
            if let Some(serve) = step.get("serve").filter(|it| !it.is_null()) {
                details.push(format!("serves {}", served(serve)));
            }
            (
                mark(verdict),
                format!("rule {} {word}", text("name")),
                details,
            )
        }
        "default" => {
            let serve = step.get("serve").map(served).unwrap_or_default();
            (Mark::Yes, format!("the default serves {serve}"), Vec::new())
        }
        "cap" => {
            let percent = step.get("percent").and_then(Value::as_f64);
            let percent = inline(&parse::number(percent.unwrap_or_default()));
            let detail = match step.get("rank").and_then(Value::as_u64) {
                Some(rank) => {
                    let below = u32::try_from(rank).map(percent_of).unwrap_or_default();
                    format!(
                        "the flag itself gives the unit true; a share of more than {below} reaches it"
                    )
                }
                None => "the context has no unit to divide by".to_owned(),
            };
            let (mark, line) = if is("within") {
                (Mark::No, format!("the caller's {percent} % reach the unit"))
            } else {
                let line = format!("capped by the caller, whose {percent} % do not reach the unit");
                (Mark::Yes, line)
            };
            (mark, line, vec![detail])
        }
        other => (Mark::No, format!("{other}: {step}"), Vec::new()),
    }
}

/// What an exclusion group says of a unit, in words.
fn exclusion_group(step: &Value) -> (Mark, String, Vec<String>) {
    let text = |name: &str| step.get(name).map(inline).unwrap_or_default();
    let given = |name: &str| step.get(name).filter(|it| !it.is_null()).map(inline);
    let (group, by) = (text("group"), text("by"));
    let (Some(unit), Some(slot)) = (given("unit"), given("slot")) else {
        let line =
            format!("the exclusion group {group} divides by {by}, which the context does not have");
        return (Mark::Unknown, line, Vec::new());
    };
    let whose = match given("holder") {
        _ if step.get("held_out") == Some(&Value::Bool(true)) => "which is held out".to_owned(),
        Some(flag) => format!("which may get {flag}"),
        None => "which is nobody's".to_owned(),
    };
    let detail = format!("{by} {unit} falls on slot {slot} of 100000, {whose}");
    if step.get("verdict").and_then(Value::as_str) == Some("true") {
        let line = format!("the exclusion group {group} lets it in");
        (Mark::No, line, vec![detail])
    } else {
        // What stops the flag is what decides.
        let line = format!("the exclusion group {group} keeps it out");
        (Mark::Yes, line, vec![detail])
    }
}

/// Every comparison of an expression, with what was found.
fn clauses(when: &Value, found: &mut Vec<String>) {
    for name in ["all", "any"] {
        for part in when
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            clauses(part, found);
        }
    }
    if let Some(not) = when.get("not") {
        clauses(not, found);
    }
    if let Some(clause) = when.get("clause") {
        let value = when
            .get("found")
            .map_or_else(|| "missing".to_owned(), inline);
        let verdict = when
            .get("verdict")
            .and_then(Value::as_str)
            .unwrap_or_default();
        found.push(format!(
            "{}: it is {value}, so {verdict}",
            expression(clause)
        ));
    }
}

/// What a rule or a default serves, from its explanation.
fn served(serve: &Value) -> String {
    let text = |name: &str| serve.get(name).filter(|it| !it.is_null()).map(inline);
    let variant = || text("variant");
    match text("serve").as_deref() {
        Some("caller_default") => "the caller's default".to_owned(),
        Some("split") => {
            let by = text("by").unwrap_or_default();
            match (text("unit"), text("slot")) {
                (Some(unit), Some(slot)) => format!(
                    "{}: {by} {unit} falls on slot {slot} of 100000",
                    variant().unwrap_or_else(|| "the off variant".to_owned())
                ),
                _ => format!("a split by {by}, which the context does not have"),
            }
        }
        Some("ramp") => {
            let by = text("by").unwrap_or_default();
            let share = text("share").unwrap_or_default();
            match (text("unit"), text("slot")) {
                (Some(unit), Some(slot)) => format!(
                    "{}: {by} {unit} falls on slot {slot} of 100000, and the ramp has reached {share}",
                    variant().unwrap_or_else(|| "the off variant".to_owned())
                ),
                _ => format!("a ramp by {by}, which the context does not have"),
            }
        }
        _ => variant().unwrap_or_else(|| "the caller's default".to_owned()),
    }
}
