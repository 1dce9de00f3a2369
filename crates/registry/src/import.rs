//! Tool definitions of other formats, read as what a manifest says of a tool.
//!
//! INVARIANT: nothing is changed, made up or lost in silence. Without fixes a definition is taken as it stands or
//! refused with everything that is wrong with it; with fixes every change is in [`Imported::fixes`]. What a format
//! says beyond a manifest is in [`Imported::kept`], what it leaves open and a manifest needs in [`Imported::filled`].

mod sources;
mod types;

use std::str::FromStr;

use plane_model::{ArtifactName, Code, Pointer, Violation, Violations, limits};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::schema;
pub use sources::{DEFINITIONS_MAX, FILE_BYTES_MAX, Lines, Source, Sources, sources};
pub use types::TYPE_FIXES;

/// What tool definitions are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Functions of the `OpenAI` API: `{name, description, parameters}`, bare or below `function`.
    OpenAi,
    /// Tools of the Model Context Protocol: `{name, description, inputSchema, outputSchema}`.
    Mcp,
}

impl Format {
    /// The name that `--format` takes, and the field of a manifest's metadata that keeps what only this format has.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Mcp => "mcp",
        }
    }

    /// The field that holds the schema of what callers write.
    const fn inputs(self) -> &'static str {
        match self {
            Self::OpenAi => "parameters",
            Self::Mcp => "inputSchema",
        }
    }

    /// The field that holds the schema of what callers read, and whether the format has it.
    ///
    /// Functions are found with a `response`, which the API of `OpenAI` does not know: it takes a fix.
    const fn outputs(self) -> (&'static str, bool) {
        match self {
            Self::OpenAi => ("response", false),
            Self::Mcp => ("outputSchema", true),
        }
    }

    /// The fields that the format has and a manifest does not.
    const fn own(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["strict"],
            Self::Mcp => &["title", "annotations", "icons", "execution", "_meta"],
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::OpenAi, Self::Mcp]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| "write openai or mcp".to_owned())
    }
}

/// Something that was done to a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where in the definition.
    pub pointer: String,
    /// What was there, and what became of it.
    pub detail: String,
}

/// A tool as a definition says it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its name; whether it may have a namespace is not checked here.
    pub name: String,
    /// What it does, if the definition says so.
    pub description: Option<String>,
    /// What callers write.
    pub inputs_schema: Value,
    /// What callers read, if the definition says so.
    pub outputs_schema: Option<Value>,
    /// What the definition says beyond that, word for word.
    pub kept: Map<String, Value>,
    /// What was changed.
    pub fixes: Vec<Change>,
    /// What the format leaves open and a manifest needs.
    pub filled: Vec<Change>,
    format: Format,
    /// Where `name` and the schemas stand: the definition, or its `function`.
    base: Pointer,
    /// The kept fields that stand beside `function`.
    beside: Vec<String>,
}

impl Imported {
    /// Returns what a manifest's `metadata` says of it.
    pub fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        if let Some(description) = &self.description {
            metadata.insert("description".to_owned(), json!(description));
        }
        metadata.insert("inputs_schema".to_owned(), self.inputs_schema.clone());
        if let Some(schema) = &self.outputs_schema {
            metadata.insert("outputs_schema".to_owned(), schema.clone());
        }
        if !self.kept.is_empty() {
            let kept = Value::Object(self.kept.clone());
            metadata.insert(self.format.as_str().to_owned(), kept);
        }
        metadata
    }

    /// Returns where in the definition stands what a manifest made of it has at `pointer`.
    pub fn origin(&self, pointer: &str) -> Pointer {
        let Ok(pointer) = pointer.parse::<Pointer>() else {
            return Pointer::root();
        };
        let tokens: Vec<_> = pointer.tokens().collect();
        let tokens: Vec<&str> = tokens.iter().map(AsRef::as_ref).collect();
        let (begin, rest) = match tokens.as_slice() {
            ["name", rest @ ..] => (self.base.key("name"), rest),
            ["metadata", "description", rest @ ..] => (self.base.key("description"), rest),
            ["metadata", "inputs_schema", rest @ ..] => (self.base.key(self.format.inputs()), rest),
            ["metadata", "outputs_schema", rest @ ..] => {
                (self.base.key(self.format.outputs().0), rest)
            }
            ["metadata", format, key, rest @ ..] if *format == self.format.as_str() => {
                let is_beside = self.beside.iter().any(|it| it == key);
                let base = if is_beside {
                    &Pointer::root()
                } else {
                    &self.base
                };
                (base.key(key), rest)
            }
            _ => return Pointer::root(),
        };
        rest.iter().fold(begin, |at, token| at.key(token))
    }
}

/// Reads one definition; `with_fixes` applies [`TYPE_FIXES`] and keeps the fields that the format does not have.
///
/// # Errors
/// Everything that is wrong with it, with pointers into the definition; at most [`limits::VIOLATIONS_MAX`].
pub fn read(format: Format, definition: &Value, with_fixes: bool) -> Result<Imported, Violations> {
    let mut reader = Reader {
        format,
        with_fixes,
        fixes: Vec::new(),
        found: Violations::new(),
    };
    match reader.definition(definition) {
        Some(imported) if reader.found.is_empty() => Ok(Imported {
            fixes: reader.fixes,
            ..imported
        }),
        _ => {
            let more = reader
                .found
                .len()
                .saturating_sub(limits::VIOLATIONS_MAX - 1);
            if more > 1 {
                reader.found.truncate(limits::VIOLATIONS_MAX - 1);
                let detail = format!("{more} more mistakes of this definition are not shown");
                let next = "correct those that are shown first";
                reader.refuse(Code::LimitExceeded, &Pointer::root(), detail, next);
            }
            Err(reader.found)
        }
    }
}

struct Reader {
    format: Format,
    with_fixes: bool,
    fixes: Vec<Change>,
    found: Violations,
}

impl Reader {
    fn definition(&mut self, definition: &Value) -> Option<Imported> {
        let root = Pointer::root();
        let outer = self.object(&root, definition)?;
        if let Some((what, next)) = misread(self.format, outer) {
            self.refuse(Code::FieldInvalid, &root, what.to_owned(), next);
            return None;
        }
        self.is_function(outer)?;
        self.refuse_files(&mut Pointer::root(), definition);
        let mut kept = Map::new();
        let mut beside = Vec::new();
        let (base, map) = match outer.get("function") {
            Some(function) if self.format == Format::OpenAi => {
                let base = root.key("function");
                let map = self.object(&base, function)?;
                for (key, value) in outer.iter().filter(|(key, _)| *key != "function") {
                    if map.contains_key(key) {
                        let detail = format!("`{}` stands beside and in `function`", clipped(key));
                        let next = "keep one of the two";
                        self.refuse(Code::FieldInvalid, &root.key(key), detail, next);
                    } else if key != "type" {
                        self.keep(&root, key, value, &mut kept);
                        beside.push(key.clone());
                    }
                }
                (base, map)
            }
            _ => (root, outer),
        };
        let (inputs, (outputs, has_outputs)) = (self.format.inputs(), self.format.outputs());
        for (key, value) in map {
            match key.as_str() {
                "name" | "description" => {}
                "type" if self.format == Format::OpenAi => {}
                key if key == inputs => {}
                key if key == outputs && has_outputs => {}
                key if key == outputs => self.is_output(&base, key),
                key => self.keep(&base, key, value, &mut kept),
            }
        }
        let mut filled = Vec::new();
        let name = self.name(&base, map);
        let description = self.description(&base, map);
        let inputs_schema = match map.get(inputs).filter(|schema| !schema.is_null()) {
            Some(schema) => self.schema(&base.key(inputs), schema),
            None => self.no_inputs(&base.key(inputs), &mut filled),
        };
        let outputs_schema = match map.get(outputs) {
            Some(schema) => self.schema(&base.key(outputs), schema).map(Some),
            None => Some(None),
        };
        Some(Imported {
            name: name?,
            description,
            inputs_schema: inputs_schema?,
            outputs_schema: outputs_schema?,
            kept,
            fixes: Vec::new(),
            filled,
            format: self.format,
            base,
            beside,
        })
    }

    fn object<'v>(&mut self, at: &Pointer, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            let detail = "expected an object".to_owned();
            self.refuse(Code::FieldInvalid, at, detail, "write one tool definition");
        }
        map
    }

    /// Refuses tools that the API of `OpenAI` has built in, or that take no JSON.
    fn is_function(&mut self, map: &Map<String, Value>) -> Option<()> {
        let given = map.get("type").filter(|_| self.format == Format::OpenAi);
        let Some(given) = given.filter(|it| it.as_str() != Some("function")) else {
            return Some(());
        };
        let detail = format!(
            "`type` is `{}`, not `function`: only functions say what they take",
            clipped(given.as_str().unwrap_or(&given.to_string()))
        );
        let next = "take it out of the file, or import with --partial to leave it out";
        self.refuse(
            Code::FieldInvalid,
            &Pointer::root().key("type"),
            detail,
            next,
        );
        None
    }

    /// Refuses what a tree would read as the text of a file: the tool could not be exported.
    fn refuse_files(&mut self, at: &mut Pointer, value: &Value) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(key, it)| (key.clone(), it)).collect(),
            Value::Array(list) => {
                let list = list.iter().enumerate();
                list.map(|(index, it)| (index.to_string(), it)).collect()
            }
            _ => return,
        };
        for (key, child) in children {
            at.push_key(&key);
            if key == "$file" && value.is_object() && child.is_string() {
                let detail = "`$file` with a text stands for a file in a tree".to_owned();
                let next = "give the field another name";
                self.refuse(Code::FieldInvalid, at, detail, next);
            }
            self.refuse_files(at, child);
            at.pop();
        }
    }

    /// Keeps a field that a manifest does not have; one that the format does not have either takes a fix.
    fn keep(&mut self, at: &Pointer, key: &str, value: &Value, kept: &mut Map<String, Value>) {
        let (at, shown, format) = (at.key(key), clipped(key), self.format.as_str());
        if !self.format.own().contains(&key) {
            if self.with_fixes {
                let detail = format!(
                    "`{shown}`, which the format does not have, was kept in `metadata.{format}`"
                );
                self.fixed(&at, detail);
            } else {
                let detail = format!("`{shown}` is not a field of this format");
                let next =
                    format!("remove it, or import with --fix to keep it in `metadata.{format}`");
                self.refuse(Code::FieldUnknown, &at, detail, &next);
            }
        }
        kept.insert(key.to_owned(), value.clone());
    }

    fn is_output(&mut self, at: &Pointer, key: &str) {
        let at = at.key(key);
        if self.with_fixes {
            self.fixed(&at, format!("`{key}` became the output schema"));
        } else {
            let detail = format!("`{key}` is not a field of this format");
            let next = "remove it, or import with --fix to take it as the output schema";
            self.refuse(Code::FieldUnknown, &at, detail, next);
        }
    }

    fn name(&mut self, at: &Pointer, map: &Map<String, Value>) -> Option<String> {
        let name = map.get("name").and_then(Value::as_str);
        let name = name.filter(|text| !text.trim().is_empty());
        if name.is_none() {
            let detail = "`name` is missing, empty or not a text".to_owned();
            let next = "write the tool's name";
            self.refuse(Code::FieldInvalid, &at.key("name"), detail, next);
        }
        let plain = name.filter(|name| !name.contains('/'));
        if let Some(Err(error)) = plain.map(ArtifactName::new) {
            let next = "write letters, digits, `_`, `.` and `-` only, at most 128, a letter, digit or `_` first";
            self.refuse(Code::NameInvalid, &at.key("name"), error.to_string(), next);
        }
        name.map(str::to_owned)
    }

    fn description(&mut self, at: &Pointer, map: &Map<String, Value>) -> Option<String> {
        let given = map.get("description").filter(|it| !it.is_null())?;
        if !given.is_string() {
            let detail = "`description` is not a text".to_owned();
            let next = "write what the tool does, or leave it out";
            self.refuse(Code::FieldInvalid, &at.key("description"), detail, next);
        }
        given.as_str().map(str::to_owned)
    }

    /// What a definition without inputs says: nothing to give in one format, a mistake in the other.
    fn no_inputs(&mut self, at: &Pointer, filled: &mut Vec<Change>) -> Option<Value> {
        let schema = json!({"type": "object", "properties": {}});
        let (inputs, detail) = (self.format.inputs(), format!("no inputs: `{schema}`"));
        match self.format {
            Format::OpenAi => filled.push(Change {
                pointer: at.to_string(),
                detail: format!("without `{inputs}` a function takes {detail}"),
            }),
            Format::Mcp if self.with_fixes => {
                self.fixed(at, format!("a missing `{inputs}` became {detail}"));
            }
            Format::Mcp => {
                let detail = format!("`{inputs}` is missing");
                let next =
                    format!("write `{schema}` if the tool takes nothing, or import with --fix");
                self.refuse(Code::FieldInvalid, at, detail, &next);
                return None;
            }
        }
        Some(schema)
    }

    /// A schema with its types corrected, if it is one then.
    fn schema(&mut self, at: &Pointer, schema: &Value) -> Option<Value> {
        if !schema.is_object() {
            let detail = "a schema is an object here".to_owned();
            let next = "write a JSON Schema such as `{\"type\": \"object\"}`";
            self.refuse(Code::SchemaInvalid, at, detail, next);
            return None;
        }
        let before = self.found.len();
        let mut corrected = schema.clone();
        types::correct(self, at, &mut corrected);
        if self.found.len() > before {
            return None;
        }
        match schema::compile(&corrected) {
            Ok(_) => Some(corrected),
            Err(found) => {
                let found = found.into_iter().map(|it| it.below(at.as_str()));
                self.found.extend(found);
                None
            }
        }
    }

    fn fixed(&mut self, pointer: &Pointer, detail: String) {
        let pointer = pointer.to_string();
        self.fixes.push(Change { pointer, detail });
    }

    fn refuse(&mut self, code: Code, pointer: &Pointer, detail: String, next: &str) {
        self.found
            .push(Violation::new(code, pointer.to_string(), detail).next(next));
    }
}

/// Says what a definition is, and what to do about it, if it is of another format than it is read as.
fn misread(format: Format, map: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    let has = |key: &str| map.contains_key(key);
    let has_any = |keys: &[&str]| keys.iter().any(|key| has(key));
    let is_function = map.get("type").is_some_and(|it| it == "function");
    match format {
        _ if has(format.inputs()) => None,
        Format::OpenAi if has("function") => None,
        Format::OpenAi if has_any(&["inputSchema", "outputSchema", "annotations"]) => Some((
            "this is a tool of MCP, not a function of OpenAI's API",
            "import it with --format mcp",
        )),
        Format::Mcp if has_any(&["parameters", "function"]) || is_function => Some((
            "this is a function of OpenAI's API, not a tool of MCP",
            "import it with --format openai",
        )),
        _ if has("input_schema") => Some((
            "this is a tool of Anthropic's API, which is not a format that can be imported",
            "name its `input_schema` `inputSchema`, and import it with --format mcp",
        )),
        _ if has("metadata") && has("version") => Some((
            "this is a manifest, not a tool definition of another format",
            "publish it with `control-plane tool publish FILE`",
        )),
        _ => None,
    }
}

/// A text of the definition as a message shows it.
fn clipped(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
