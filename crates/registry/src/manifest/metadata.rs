//! The typed part of a manifest's metadata; keys that are not known here are kept and signed.

use std::collections::BTreeMap;

use plane_model::{
    ArtifactKind, ArtifactName, Code, Digest, Pointer, Violation, Violations, limits,
};
use semver::VersionReq;
use serde_json::{Map, Value};

use super::fields::{Fields, type_of};
use crate::schema;
use crate::versions::{clip, parse_requirement};

/// The longest time-out of one tool call, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 600_000;
/// The most retries of one tool call.
pub const RETRY_ATTEMPTS_MAX: u64 = 10;
/// The highest temperature.
pub const TEMPERATURE_MAX: f64 = 2.0;
/// The most paths that one manifest may open to overrides.
pub const OVERRIDABLE_PATHS_MAX: usize = 100;
/// The characters of a name, a category, a capability.
const WORD_CHARS_MAX: usize = 128;

/// The typed metadata of an agent or a tool.
#[derive(Clone, Debug, PartialEq)]
pub enum Metadata {
    /// Of an agent.
    Agent(AgentMetadata),
    /// Of a tool.
    Tool(ToolMetadata),
}

/// What the registry knows of an agent's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentMetadata {
    /// What the agent does.
    pub description: Option<String>,
    /// What the agent can do, as words to search by.
    pub capabilities: Vec<String>,
    /// The most tokens of one answer.
    pub max_tokens: Option<u64>,
    /// The sampling temperature, from 0 to 2.
    pub temperature: Option<f64>,
    /// The language model.
    pub model: Option<String>,
    /// The tools that the agent needs.
    pub tools: Vec<ToolRequirement>,
    /// The instructions to the model.
    pub system_prompt: Option<String>,
    /// What flags may change, when it is not the default list.
    pub overridable: Option<BTreeMap<Pointer, Bounds>>,
}

/// What the registry knows of a tool's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolMetadata {
    /// What the tool does; the model reads it.
    pub description: Option<String>,
    /// The group that the tool is found under.
    pub category: Option<String>,
    /// The JSON Schema of what callers write.
    pub inputs_schema: Value,
    /// The JSON Schema of what callers read.
    pub outputs_schema: Option<Value>,
    /// How long one call may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How often a failed call is repeated.
    pub retry_attempts: Option<u64>,
    /// After how many failures in a row calls stop.
    pub circuit_breaker_threshold: Option<u64>,
    /// What flags may change, when it is not the default list.
    pub overridable: Option<BTreeMap<Pointer, Bounds>>,
}

/// A tool that an agent needs, and which versions of it will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRequirement {
    /// The tool.
    pub name: ArtifactName,
    /// Which of its versions will do.
    pub wanted: Wanted,
    /// The name under which the agent sees the tool, if it is another one.
    pub alias: Option<String>,
    /// Whether the agent also works without it.
    pub optional: bool,
}

/// Which versions of a tool will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All that are in a range.
    Range(VersionReq),
    /// Only the one whose manifest has this digest.
    Exact(Digest),
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Exact(digest) => digest.fmt(f),
        }
    }
}

/// Which values an override may set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The smallest number.
    pub min: Option<f64>,
    /// The largest number.
    pub max: Option<f64>,
    /// The only values.
    pub values: Option<Vec<Value>>,
}

/// Reads `members` as the metadata of `kind`; findings are relative to the metadata.
pub(crate) fn read(
    kind: ArtifactKind,
    members: &Map<String, Value>,
    found: &mut Violations,
) -> Metadata {
    let mut fields = Fields {
        members,
        at: Pointer::root(),
        found,
    };
    match kind {
        ArtifactKind::Agent => Metadata::Agent(agent(&mut fields)),
        ArtifactKind::Tool => Metadata::Tool(tool(&mut fields)),
    }
}

/// What only the metadata of an agent has.
const OF_AGENTS: [&str; 6] = [
    "capabilities",
    "max_tokens",
    "temperature",
    "model",
    "tools",
    "system_prompt",
];

fn agent(fields: &mut Fields<'_, '_>) -> AgentMetadata {
    // A version stays for ever, and one that nobody can run would, too.
    let says = |key: &str| fields.members.contains_key(key);
    if says("inputs_schema") && !OF_AGENTS.into_iter().any(says) {
        let detail =
            "this looks like a tool: it has `inputs_schema`, and nothing that an agent has";
        let next = "publish it as a tool (`control-plane tool publish`), or say what the agent does, such as `model`";
        fields.report("inputs_schema", Code::FieldInvalid, detail.to_owned(), next);
    }
    AgentMetadata {
        description: prose(fields, "description"),
        capabilities: capabilities(fields),
        max_tokens: fields.integer("max_tokens", 1..=u64::MAX),
        temperature: fields.number("temperature", 0.0..=TEMPERATURE_MAX),
        model: word(fields, "model"),
        tools: tools(fields),
        system_prompt: fields.text("system_prompt").map(str::to_owned),
        overridable: overridable(fields, &["tools", "overridable"]),
    }
}

fn tool(fields: &mut Fields<'_, '_>) -> ToolMetadata {
    if !fields.members.contains_key("inputs_schema") {
        fields.missing("inputs_schema");
    }
    ToolMetadata {
        description: prose(fields, "description"),
        category: word(fields, "category"),
        inputs_schema: json_schema(fields, "inputs_schema").unwrap_or_default(),
        outputs_schema: json_schema(fields, "outputs_schema"),
        timeout_ms: fields.integer("timeout_ms", 1..=TIMEOUT_MS_MAX),
        retry_attempts: fields.integer("retry_attempts", 0..=RETRY_ATTEMPTS_MAX),
        circuit_breaker_threshold: fields.integer("circuit_breaker_threshold", 1..=u64::MAX),
        overridable: overridable(fields, &["inputs_schema", "outputs_schema", "overridable"]),
    }
}

fn limited(fields: &mut Fields<'_, '_>, key: &str, chars_max: usize) -> Option<String> {
    let text = fields.text(key)?;
    if text.chars().count() > chars_max {
        let detail = format!("`{key}` has more than {chars_max} characters");
        fields.report(key, Code::LimitExceeded, detail, "shorten it");
    }
    Some(text.to_owned())
}

fn prose(fields: &mut Fields<'_, '_>, key: &str) -> Option<String> {
    limited(fields, key, limits::PROSE_CHARS_MAX)
}

fn word(fields: &mut Fields<'_, '_>, key: &str) -> Option<String> {
    let text = limited(fields, key, WORD_CHARS_MAX)?;
    if text.is_empty() {
        let detail = format!("`{key}` is empty");
        fields.report(key, Code::FieldInvalid, detail, "fill it in or remove it");
    }
    Some(text)
}

fn capabilities(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let mut capabilities = Vec::new();
    for (index, item) in fields
        .list("capabilities")
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let pointer = fields.at.key("capabilities").index(index);
        let fits = item
            .as_str()
            .filter(|text| !text.is_empty() && text.chars().count() <= WORD_CHARS_MAX);
        match fits {
            Some(text) => capabilities.push(text.to_owned()),
            None => fields.found.push(
                Violation::new(
                    Code::FieldInvalid,
                    pointer.to_string(),
                    format!("a capability is a string of 1 to {WORD_CHARS_MAX} characters"),
                )
                .next("write one word or a few"),
            ),
        }
    }
    capabilities
}

fn json_schema(fields: &mut Fields<'_, '_>, key: &str) -> Option<Value> {
    let members = fields.object(key)?;
    let schema = Value::Object(members.clone());
    let at = fields.at.key(key).to_string();
    if let Err(violations) = schema::compile(&schema) {
        fields
            .found
            .extend(violations.into_iter().map(|violation| violation.below(&at)));
    }
    Some(schema)
}

fn tools(fields: &mut Fields<'_, '_>) -> Vec<ToolRequirement> {
    let items = fields.list("tools").unwrap_or_default();
    if items.len() > limits::LOCK_ENTRIES_MAX {
        let detail = format!(
            "an agent may need at most {} tools",
            limits::LOCK_ENTRIES_MAX
        );
        let next = format!("keep at most {}", limits::LOCK_ENTRIES_MAX);
        fields.report("tools", Code::LimitExceeded, detail, next);
        return Vec::new();
    }
    let mut tools: Vec<ToolRequirement> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let pointer = fields.at.key("tools").index(index);
        let requirement = match item {
            Value::String(text) => shorthand(text).map_err(|it| vec![it.below(pointer.as_str())]),
            Value::Object(members) => long_form(members, &pointer),
            other => Err(vec![
                Violation::new(
                    Code::FieldInvalid,
                    pointer.to_string(),
                    format!("a tool is a string or an object, not {}", type_of(other)),
                )
                .next("write `name`, `name@^1.2` or {name: …, version: …}"),
            ]),
        };
        match requirement {
            Ok(requirement) => {
                let seen = |name: &str| tools.iter().any(|other| visible_name(other) == name);
                if seen(visible_name(&requirement)) {
                    let detail = format!(
                        "the tool name `{}` appears twice",
                        visible_name(&requirement)
                    );
                    let violation = Violation::new(Code::FieldInvalid, pointer.to_string(), detail);
                    fields.found.push(
                        violation.next("keep one, or give one of them another name with `as`"),
                    );
                }
                tools.push(requirement);
            }
            Err(violations) => fields.found.extend(violations),
        }
    }
    tools
}

/// Returns the name under which the agent sees the tool.
fn visible_name(requirement: &ToolRequirement) -> &str {
    requirement
        .alias
        .as_deref()
        .unwrap_or(requirement.name.as_str())
}

/// Reads `name`, `name@range` or `name@sha256:…`.
fn shorthand(text: &str) -> Result<ToolRequirement, Violation> {
    let (name, wanted) = match text.split_once('@') {
        Some((name, wanted)) => (name, read_wanted(wanted)?),
        None => (text, Wanted::Range(VersionReq::STAR)),
    };
    Ok(ToolRequirement {
        name: tool_name(name)?,
        wanted,
        alias: None,
        optional: false,
    })
}

fn tool_name(text: &str) -> Result<ArtifactName, Violation> {
    ArtifactName::new(text).map_err(Violation::from)
}

fn read_wanted(text: &str) -> Result<Wanted, Violation> {
    if text.starts_with("sha256:") {
        let digest = text.parse().map_err(|error| {
            let detail = format!("`{}` is not a digest: {error}", clip(text));
            Violation::new(Code::FieldInvalid, "", detail)
                .next("write `sha256:` and 64 lowercase hex digits")
        })?;
        return Ok(Wanted::Exact(digest));
    }
    parse_requirement(text).map(Wanted::Range)
}

fn long_form(members: &Map<String, Value>, at: &Pointer) -> Result<ToolRequirement, Violations> {
    let mut found = Violations::new();
    let mut fields = Fields {
        members,
        at: at.clone(),
        found: &mut found,
    };
    for key in members.keys() {
        if !["name", "version", "as", "optional", "reason"].contains(&key.as_str()) {
            let detail = format!("unknown field `{key}`");
            let next = "a tool has `name`, `version`, `as`, `optional` and `reason`";
            fields.report(key, Code::FieldUnknown, detail, next);
        }
    }
    let name = fields
        .required_text("name")
        .map(|text| tool_name(text).map_err(|it| ("name", it)));
    let wanted = fields
        .text("version")
        .map(|text| read_wanted(text).map_err(|it| ("version", it)));
    let alias = fields.text("as").map(|text| {
        let is_good = ArtifactName::new(text).is_ok_and(|name| name.namespace().is_default());
        if is_good && !text.contains('/') {
            return Ok(text.to_owned());
        }
        let detail = format!("`{}` is not a name that an agent can see", clip(text));
        let next = "use letters, digits, `_`, `.` or `-`, without a namespace";
        Err((
            "as",
            Violation::new(Code::NameInvalid, "", detail).next(next),
        ))
    });
    let optional = fields.boolean("optional").unwrap_or_default();
    fields.text("reason");
    let mut keep = |(key, violation): (&str, Violation)| {
        found.push(violation.below(at.key(key).as_str()));
    };
    let name = name.and_then(|name| name.map_err(&mut keep).ok());
    let wanted = wanted.and_then(|wanted| wanted.map_err(&mut keep).ok());
    let alias = alias.and_then(|alias| alias.map_err(&mut keep).ok());
    match name {
        Some(name) if found.is_empty() => {
            let wanted = wanted.unwrap_or(Wanted::Range(VersionReq::STAR));
            Ok(ToolRequirement {
                name,
                wanted,
                alias,
                optional,
            })
        }
        _ => Err(found),
    }
}

/// Reads `overridable: {path: bounds}`; a path is a key or a JSON pointer, never into `refused`.
fn overridable(fields: &mut Fields<'_, '_>, refused: &[&str]) -> Option<BTreeMap<Pointer, Bounds>> {
    let members = fields.object("overridable")?;
    if members.len() > OVERRIDABLE_PATHS_MAX {
        let detail = format!("more than {OVERRIDABLE_PATHS_MAX} overridable paths");
        let next = "name the objects that hold them, rather than each path in them";
        fields.report("overridable", Code::LimitExceeded, detail, next);
        return None;
    }
    let mut table = BTreeMap::new();
    for (path, bounds) in members {
        let at = fields.at.key("overridable").key(path);
        match read_path(path, refused).and_then(|path| Ok((path, read_bounds(bounds)?))) {
            Ok((path, bounds)) => {
                table.insert(path, bounds);
            }
            Err(violation) => fields.found.push(violation.below(at.as_str())),
        }
    }
    Some(table)
}

fn read_path(path: &str, refused: &[&str]) -> Result<Pointer, Violation> {
    let pointer = if path.starts_with('/') {
        path.parse().map_err(|error| {
            Violation::new(Code::FieldInvalid, "", format!("`{}`: {error}", clip(path)))
                .next("write a key, or a JSON pointer such as `/retry/attempts`")
        })?
    } else {
        Pointer::root().key(path)
    };
    let first = pointer.tokens().next().unwrap_or_default();
    if refused.contains(&first.as_ref()) {
        let detail = format!("`{first}` can never be overridden");
        return Err(Violation::new(Code::FieldInvalid, "", detail)
            .next("publish a new version to change it"));
    }
    Ok(pointer)
}

fn read_bounds(value: &Value) -> Result<Bounds, Violation> {
    let refused = |pointer: &str, detail: &str| {
        Err(Violation::new(Code::FieldInvalid, pointer, detail)
            .next("write {}, {min: …, max: …} or {enum: […]}"))
    };
    let Value::Object(members) = value else {
        return refused("", "the bounds of an overridable path are an object");
    };
    let mut bounds = Bounds::default();
    for (key, value) in members {
        match (key.as_str(), value) {
            ("min", Value::Number(number)) => bounds.min = number.as_f64(),
            ("max", Value::Number(number)) => bounds.max = number.as_f64(),
            ("min" | "max", _) => return refused(&format!("/{key}"), "a bound is a number"),
            ("enum", Value::Array(values)) if !values.is_empty() => {
                bounds.values = Some(values.clone());
            }
            ("enum", _) => return refused("/enum", "`enum` is a list of at least one value"),
            _ => {
                let pointer = Pointer::root().key(key);
                return refused(pointer.as_str(), "bounds have `min`, `max` or `enum`");
            }
        }
    }
    if let (Some(min), Some(max)) = (bounds.min, bounds.max)
        && min > max
    {
        return refused("", "`min` is larger than `max`");
    }
    Ok(bounds)
}
