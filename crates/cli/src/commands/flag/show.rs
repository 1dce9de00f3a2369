//! `flag show`: a flag and everything that decides about it, now or later.

use anyhow::Result;
use clap::Args;
use plane_api::{DocumentReply, ViewDocument};
use plane_model::documents::{
    ExclusionGroup, Flag as Body, FlagState, Kill, Metadata, Pin, Schedule, Targeting, Window,
};
use plane_model::{
    AttributePath, Course, DocumentKey, EnvironmentName, FlagKey, Kind, Serve, Split,
};
use serde_json::{Value, json};

use crate::commands::{environment, schedule};
use crate::output::{Cell, Page, Paint, inline, percent, time};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane flag show beta_features
  control-plane flag show enhanced_reasoning -e production")]
pub(crate) struct Show {
    /// The flag
    key: FlagKey,
}

/// What decides about the flag in one environment.
#[derive(serde::Serialize)]
struct Place {
    environment: EnvironmentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targeting: Option<Targeting>,
    /// By tenant; for everybody where there is none.
    kills: Vec<(Option<String>, Kill)>,
    pins: Vec<(String, Pin)>,
    /// What is to become of it, and what could not be done.
    schedules: Vec<DocumentReply<Schedule>>,
}

impl Show {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let found: DocumentReply<Body> = client.document(&DocumentKey::flag(&self.key), None)?;
        let mut groups = client.documents::<ExclusionGroup>(Kind::ExclusionGroup, None)?;
        groups.retain(|it| it.body.flags().any(|flag| *flag == self.key));
        let mut places = Vec::new();
        for environment in environment::named_or_all(session, &client, None)? {
            let view = client.view(&environment)?;
            let schedules = schedule::of_flag(&client, &environment, &self.key)?;
            places.push(Place {
                schedules,
                ..self.place(environment, view.documents)
            });
        }
        let value = json!({ "key": found.name, "revision": found.revision, "flag": found.body, "exclusion_groups": groups, "environments": places });
        session.show(&value, |page| {
            about(page, &found, &groups);
            for place in &places {
                show_place(page, place);
            }
        })
    }

    fn place(&self, environment: EnvironmentName, documents: Vec<ViewDocument>) -> Place {
        let mut place = Place {
            environment,
            revision: None,
            targeting: None,
            kills: Vec::new(),
            pins: Vec::new(),
            schedules: Vec::new(),
        };
        let subject = format!("flag:{}", self.key);
        for document in documents {
            let tenant = document
                .scope
                .split_once('/')
                .map(|(_, tenant)| tenant.to_owned());
            match document.kind {
                Kind::Targeting if document.name == self.key.as_str() => {
                    place.revision = Some(document.revision);
                    place.targeting = serde_json::from_value(document.body).ok();
                }
                Kind::Kill if document.name == subject => {
                    if let Ok(kill) = serde_json::from_value(document.body) {
                        place.kills.push((tenant, kill));
                    }
                }
                Kind::Pin if document.name == subject => {
                    if let (Some(tenant), Ok(pin)) = (tenant, serde_json::from_value(document.body))
                    {
                        place.pins.push((tenant, pin));
                    }
                }
                _ => {}
            }
        }
        place
    }
}

/// How much a group leaves to a flag of its.
fn share_of(group: &DocumentReply<ExclusionGroup>, flag: &str) -> String {
    let mut shares = group.body.percent.iter();
    let share = shares.find(|(it, _)| it.as_str() == flag);
    let reach = match (share, group.body.holdout) {
        (Some((_, share)), _) => format!("may reach {}", percent(share.slots())),
        (None, Some(holdout)) => format!(
            "may reach all but the holdout of {}",
            percent(holdout.slots())
        ),
        (None, None) => "may reach all".to_owned(),
    };
    let by = by(group.body.by.as_ref());
    format!("{} by {by}: {reach}", group.name)
}

fn about(page: &mut Page, found: &DocumentReply<Body>, groups: &[DocumentReply<ExclusionGroup>]) {
    let flag = &found.body;
    let title = page.paint(Paint::Bold, &found.name);
    page.line(title);
    let variants: Vec<String> = flag
        .all_variants()
        .iter()
        .map(|(name, value)| format!("{name} = {}", inline(value)))
        .collect();
    page.fields(vec![
        ("type", Some(flag.kind.as_str().to_owned())),
        ("variants", Some(variants.join(", "))),
        ("description", flag.description.clone()),
        ("owner", flag.owner.clone()),
        (
            "tags",
            Some(flag.tags.join(", ")).filter(|tags| !tags.is_empty()),
        ),
        (
            "lifecycle",
            flag.lifecycle
                .and_then(|it| serde_json::to_value(it).ok())
                .map(|it| inline(&it)),
        ),
        ("expires", flag.expires.map(time)),
        ("metadata", metadata(&flag.metadata)),
        (
            "excluded by",
            Some(groups.iter().map(|it| share_of(it, &found.name)))
                .map(|it| it.collect::<Vec<_>>().join("; "))
                .filter(|text| !text.is_empty()),
        ),
        ("archived", flag.archived.then(|| "yes".to_owned())),
        ("revision", Some(found.revision.to_string())),
    ]);
    let Some(overrides) = &flag.overrides else {
        return;
    };
    page.heading("Changes manifests");
    let names = |applies: &Option<_>| {
        applies
            .as_ref()
            .and_then(|it| serde_json::to_value(it).ok())
            .map(|it| crate::commands::token::words(&it))
    };
    page.fields(vec![
        ("agents", names(&overrides.agents)),
        ("tools", names(&overrides.tools)),
        ("priority", Some(overrides.priority.to_string())),
    ]);
    for (variant, patch) in &overrides.patches {
        let fields: Vec<String> = patch
            .iter()
            .map(|(field, value)| format!("{field} → {}", inline(value)))
            .collect();
        page.line(format!("  with {variant}: {}", fields.join(", ")));
    }
}

fn metadata(metadata: &Metadata) -> Option<String> {
    let said: Vec<String> = metadata
        .iter()
        .map(|(name, value)| format!("{name} = {}", inline(&value.into())))
        .collect();
    Some(said.join(", ")).filter(|said| !said.is_empty())
}

fn show_place(page: &mut Page, place: &Place) {
    page.heading(place.environment.as_str());
    for (tenant, kill) in &place.kills {
        let whom = tenant
            .as_deref()
            .map_or_else(|| "for everybody".to_owned(), |it| format!("for {it}"));
        let line = page.paint(Paint::Error, &format!("  killed {whom}: {}", kill.reason));
        page.line(line);
    }
    for it in &place.schedules {
        let line = schedule::line(page, it);
        page.line(format!("  {line}"));
    }
    let Some(targeting) = &place.targeting else {
        page.line("  off: no targeting here");
        return;
    };
    let mut rows: Vec<Vec<Cell>> = vec![vec!["  state".into(), state(targeting)]];
    for needed in &targeting.prerequisites {
        let variants: Vec<_> = needed.variants.iter().map(ToString::to_string).collect();
        rows.push(vec![
            "  needs".into(),
            format!("{} to give {}", needed.flag, variants.join(" or ")).into(),
        ]);
    }
    for target in &targeting.targets {
        let by = by(target.by.as_ref());
        rows.push(vec![
            "  target".into(),
            format!("{by} in {} → {}", target.values.join(", "), target.serve).into(),
        ]);
    }
    for rule in &targeting.rules {
        let when = serde_json::to_value(&rule.when)
            .map(|it| expression(&it))
            .unwrap_or_default();
        rows.push(vec![
            format!("  rule {}", rule.name).into(),
            format!("{when}{} → {}", window(rule.window), serve(&rule.serve)).into(),
        ]);
    }
    let default = targeting
        .default
        .as_ref()
        .map_or_else(|| "the off variant".to_owned(), serve);
    rows.push(vec!["  default".into(), default.into()]);
    if let Some(off) = &targeting.off {
        rows.push(vec!["  off variant".into(), off.into()]);
    }
    for (tenant, pin) in &place.pins {
        let until = pin
            .until
            .map(|at| format!(" until {}", time(at)))
            .unwrap_or_default();
        let variant = pin
            .variant
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        rows.push(vec![
            format!("  pin {tenant}").into(),
            format!("{variant}{until}").into(),
        ]);
    }
    if let Some(revision) = place.revision {
        rows.push(vec!["  revision".into(), revision.into()]);
    }
    page.table(&["", ""], &rows);
}

fn state(targeting: &Targeting) -> Cell {
    match targeting.state {
        FlagState::Enabled => Cell::new("enabled", Paint::Good),
        FlagState::Disabled => Cell::new("disabled: everybody gets the off variant", Paint::Dim),
    }
}

/// What a targeting does, in a few words.
pub(super) fn summary(targeting: &Targeting) -> Cell {
    if targeting.state == FlagState::Disabled {
        return Cell::new("off", Paint::Dim);
    }
    let mut parts = Vec::new();
    match targeting.rules.len() {
        0 => {}
        1 => parts.push("1 rule".to_owned()),
        number => parts.push(format!("{number} rules")),
    }
    match &targeting.default {
        Some(Serve::Variant(variant)) => parts.push(variant.to_string()),
        Some(Serve::CallerDefault) => parts.push("caller's default".to_owned()),
        Some(Serve::Split(split)) => parts.push(shares(split)),
        Some(Serve::Ramp(ramp)) => parts.push(course(&ramp.course)),
        None => {}
    }
    if !targeting.targets.is_empty() {
        parts.insert(0, "targets".to_owned());
    }
    if parts.is_empty() {
        return Cell::new("enabled, off", Paint::Dim);
    }
    Cell::new(parts.join(", "), Paint::Good)
}

fn shares(split: &Split) -> String {
    let shares: Vec<String> = split
        .totals()
        .into_iter()
        .map(|(variant, share)| format!("{variant} {}", percent(share)))
        .collect();
    if shares.is_empty() {
        "nobody".to_owned()
    } else {
        shares.join(", ")
    }
}

/// What a rule or a default serves, in words.
pub(super) fn serve(serve: &Serve) -> String {
    match serve {
        Serve::Variant(variant) => variant.to_string(),
        Serve::CallerDefault => "the caller's default".to_owned(),
        Serve::Split(split) => format!("{} by {}", shares(split), by(split.by.as_ref())),
        Serve::Ramp(ramp) => format!("{} by {}", course(&ramp.course), by(ramp.by.as_ref())),
    }
}

/// When a rule applies, in words.
fn window(window: Option<Window>) -> String {
    let Some(Window { from, until }) = window else {
        return String::new();
    };
    let from = from.map(|it| format!(" from {}", time(it)));
    let until = until.map(|it| format!(" until {}", time(it)));
    [from, until].into_iter().flatten().collect()
}

fn by(path: Option<&AttributePath>) -> String {
    path.map_or_else(|| "targetingKey".to_owned(), ToString::to_string)
}

/// How a ramp goes, in words.
fn course(course: &Course) -> String {
    format!(
        "{} {} to {} between {} and {}",
        course.variant,
        percent(course.from),
        percent(course.to),
        course.start,
        course.end
    )
}

/// An expression in words, from its JSON form.
pub(crate) fn expression(value: &Value) -> String {
    let Value::Object(members) = value else {
        return inline(value);
    };
    let parts = |value: &Value, word: &str| {
        let parts: Vec<String> = value
            .as_array()
            .into_iter()
            .flatten()
            .map(|part| {
                let nested = part.get("all").or_else(|| part.get("any")).is_some();
                if nested {
                    format!("({})", expression(part))
                } else {
                    expression(part)
                }
            })
            .collect();
        parts.join(word)
    };
    if let Some(all) = members.get("all") {
        return parts(all, " and ");
    }
    if let Some(any) = members.get("any") {
        return parts(any, " or ");
    }
    if let Some(not) = members.get("not") {
        return format!("not ({})", expression(not));
    }
    let attribute = members.get("attribute").map(inline).unwrap_or_default();
    let tests: Vec<String> = members
        .iter()
        .filter(|(name, _)| name.as_str() != "attribute")
        .map(|(operator, operand)| {
            let operand = match operand {
                Value::Array(items) => format!(
                    "[{}]",
                    items.iter().map(inline).collect::<Vec<_>>().join(", ")
                ),
                other => inline(other),
            };
            format!("{operator} {operand}")
        })
        .collect();
    format!("{attribute} {}", tests.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_like_sentences() {
        for (value, expected) in [
            (
                json!({"attribute": "tenant.plan", "in": ["free", "pro"]}),
                "tenant.plan in [free, pro]",
            ),
            (
                json!({"all": [
                    {"attribute": "a", "equals": 1},
                    {"any": [{"attribute": "b", "exists": true}, {"not": {"attribute": "c", "lt": 2}}]}
                ]}),
                "a equals 1 and (b exists true or not (c lt 2))",
            ),
        ] {
            assert_eq!(expression(&value), expected);
        }
    }
}
