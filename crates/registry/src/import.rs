//! Tool definitions of other formats, read as manifests: what does not fit is refused, or fixed by a table and told.
//!
//! INVARIANT: nothing is changed in silence. Without fixes a definition is taken as it stands or refused with
//! everything that is wrong with it; with fixes every change is in [`Imported::fixes`].

use std::str::FromStr;

use plane_model::json::{self, Limits};
use plane_model::{Code, Pointer, Violation, Violations, limits};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::schema;

/// The names that other languages give to the types of JSON Schema, in lower case, and what they become.
///
/// None stands for a value of any type: the constraint is left out.
pub const TYPE_FIXES: &[(&str, Option<&str>)] = &[
    ("any", None),
    ("arraylist", Some("array")),
    ("bool", Some("boolean")),
    ("byte", Some("integer")),
    ("char", Some("string")),
    ("dict", Some("object")),
    ("double", Some("number")),
    ("float", Some("number")),
    ("hashmap", Some("object")),
    ("int", Some("integer")),
    ("list", Some("array")),
    ("long", Some("integer")),
    ("map", Some("object")),
    ("set", Some("array")),
    ("short", Some("integer")),
    ("str", Some("string")),
    ("tuple", Some("array")),
];

/// The types of JSON Schema.
const TYPES: [&str; 7] = [
    "null", "boolean", "object", "array", "number", "string", "integer",
];

/// What tool definitions are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Functions of the `OpenAI` API: `{name, description, parameters}`, bare or below `function`.
    OpenAi,
    /// Tools of the Model Context Protocol: `{name, description, inputSchema, outputSchema}`.
    Mcp,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "openai" => Ok(Self::OpenAi),
            "mcp" => Ok(Self::Mcp),
            _ => Err("write openai or mcp".to_owned()),
        }
    }
}

/// Something that was changed so that a definition fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// Where in the definition.
    pub pointer: String,
    /// What was changed, and into what.
    pub detail: String,
}

/// A tool as a definition says it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What callers write.
    pub inputs_schema: Value,
    /// What callers read; no constraint if the definition does not say.
    pub outputs_schema: Value,
    /// What was changed.
    pub fixes: Vec<Fix>,
}

/// One definition of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The line that it begins on, where each line is one definition; else its place among the others, from 1.
    pub number: usize,
    /// The definition, or why it cannot be read.
    pub value: Result<Value, Violation>,
}

/// Cuts a file into definitions: one JSON object a line, a list, or an object with a list `tools`.
///
/// # Errors
/// The file as a whole is none of these.
pub fn sources(bytes: &[u8]) -> Result<Vec<Source>, Violation> {
    let limits = Limits {
        bytes_max: limits::BLOB_BYTES_MAX,
        depth_max: limits::TEXT_DEPTH_MAX,
    };
    if bytes.len() > limits.bytes_max {
        let detail = format!("the file has more than {} bytes", limits.bytes_max);
        return Err(
            Violation::new(Code::TextTooLarge, "", detail).next("split it into several files")
        );
    }
    let whole = json::parse(bytes, limits);
    let list = match &whole {
        Ok(Value::Array(list)) => Some(list.clone()),
        Ok(Value::Object(map)) => map.get("tools").and_then(Value::as_array).cloned(),
        _ => None,
    };
    if let Some(list) = list {
        let numbered = list.into_iter().zip(1..);
        return Ok(numbered
            .map(|(value, number)| Source {
                number,
                value: Ok(value),
            })
            .collect());
    }
    let begins_a_list = bytes.iter().find(|it| !it.is_ascii_whitespace()) == Some(&b'[');
    if let (Err(error), true) = (whole, begins_a_list) {
        return Err(unreadable(&error));
    }
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let found: Vec<_> = lines
        .filter(|(line, _)| !line.trim_ascii().is_empty())
        .map(|(line, number)| Source {
            number,
            value: json::parse(line, limits).map_err(|error| unreadable(&error)),
        })
        .collect();
    if found.is_empty() {
        let detail = "the file holds no tool definition";
        return Err(Violation::new(Code::TextInvalid, "", detail).next(
            "write one JSON object a line, a list of them, or an object with a list `tools`",
        ));
    }
    Ok(found)
}

fn unreadable(error: &json::TextError) -> Violation {
    let pointer = error.pointer.clone().unwrap_or_default();
    Violation::new(Code::TextInvalid, pointer, error.to_string()).next(error.next())
}

/// Reads one definition; `with_fixes` applies [`TYPE_FIXES`] and leaves out what a manifest has no place for.
///
/// # Errors
/// Everything that is wrong with it, with pointers into the definition.
pub fn read(format: Format, definition: &Value, with_fixes: bool) -> Result<Imported, Violations> {
    let mut reader = Reader {
        with_fixes,
        fixes: Vec::new(),
        found: Violations::new(),
    };
    let imported = reader.definition(format, definition);
    match imported {
        Some(imported) if reader.found.is_empty() => Ok(Imported {
            fixes: reader.fixes,
            ..imported
        }),
        _ => Err(reader.found),
    }
}

struct Reader {
    with_fixes: bool,
    fixes: Vec<Fix>,
    found: Violations,
}

impl Reader {
    fn definition(&mut self, format: Format, definition: &Value) -> Option<Imported> {
        let mut at = Pointer::root();
        let mut map = self.object(&at, definition)?;
        if format == Format::OpenAi
            && let Some(function) = map.get("function")
        {
            at = at.key("function");
            map = self.object(&at, function)?;
        }
        let (inputs, outputs, known): (_, _, &[&str]) = match format {
            Format::OpenAi => (
                "parameters",
                None,
                &["name", "description", "parameters", "type", "strict"],
            ),
            Format::Mcp => (
                "inputSchema",
                Some("outputSchema"),
                &[
                    "name",
                    "title",
                    "description",
                    "inputSchema",
                    "outputSchema",
                    "annotations",
                    "icons",
                    "_meta",
                    "execution",
                ],
            ),
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let pointer = at.key(key);
            if self.with_fixes {
                self.fixed(
                    &pointer,
                    format!(
                        "`{}` left out: a manifest has no place for it",
                        clipped(key)
                    ),
                );
            } else {
                let detail = format!("`{}` is not a field of this format", clipped(key));
                self.refuse(
                    Code::FieldUnknown,
                    &pointer,
                    detail,
                    "remove it, or import with --fix to leave it out",
                );
            }
        }
        let name = self.text(&at, map, "name");
        let description = self.text(&at, map, "description");
        let inputs_schema = match map.get(inputs) {
            Some(schema) => self.schema(&at.key(inputs), schema),
            // Both formats let a tool without inputs leave them out.
            None => Some(json!({"type": "object"})),
        };
        let outputs_schema = match outputs.and_then(|key| Some((key, map.get(key)?))) {
            Some((key, schema)) => self.schema(&at.key(key), schema),
            None => Some(json!({})),
        };
        Some(Imported {
            name: name?,
            description: description?,
            inputs_schema: inputs_schema?,
            outputs_schema: outputs_schema?,
            fixes: Vec::new(),
        })
    }

    fn object<'v>(&mut self, at: &Pointer, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.refuse(
                Code::FieldInvalid,
                at,
                "expected an object".to_owned(),
                "write one tool definition",
            );
        }
        map
    }

    fn text(&mut self, at: &Pointer, map: &Map<String, Value>, key: &str) -> Option<String> {
        let text = map
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty());
        if text.is_none() {
            let detail = format!("`{key}` is missing, empty or not a text");
            self.refuse(
                Code::FieldInvalid,
                &at.key(key),
                detail,
                &format!("write the tool's {key}"),
            );
        }
        text.map(str::to_owned)
    }

    /// A schema with its types corrected, if it is one then.
    fn schema(&mut self, at: &Pointer, schema: &Value) -> Option<Value> {
        let before = self.found.len();
        let mut corrected = schema.clone();
        self.types(at, &mut corrected);
        if self.found.len() > before {
            return None;
        }
        match schema::compile(&corrected) {
            Ok(_) => Some(corrected),
            Err(found) => {
                let at = at.to_string();
                self.found.extend(found.into_iter().map(|it| {
                    let next = it
                        .next
                        .clone()
                        .unwrap_or_else(|| "correct the schema".to_owned());
                    it.below(&at).next(next)
                }));
                None
            }
        }
    }

    /// Corrects the types of a schema and of those in it; its depth is bounded where the text is read.
    fn types(&mut self, at: &Pointer, schema: &mut Value) {
        let Value::Object(map) = schema else { return };
        if let Some(Value::String(given)) = map.get("type").cloned()
            && !TYPES.contains(&given.as_str())
        {
            let pointer = at.key("type");
            let lower = given.to_ascii_lowercase();
            let shown = clipped(&given);
            let fix = TYPES
                .iter()
                .find(|it| **it == lower)
                .map(|it| Some(*it))
                .or_else(|| {
                    TYPE_FIXES
                        .iter()
                        .find(|(from, _)| *from == lower)
                        .map(|(_, to)| *to)
                });
            match fix {
                Some(Some(to)) if self.with_fixes => {
                    map.insert("type".to_owned(), json!(to));
                    self.fixed(&pointer, format!("`{shown}` became `{to}`"));
                }
                Some(None) if self.with_fixes => {
                    map.remove("type");
                    self.fixed(&pointer, format!("`{shown}` left out: any value will do"));
                }
                Some(to) => {
                    let what = to.map_or_else(
                        || "leave `type` out".to_owned(),
                        |to| format!("write `{to}`"),
                    );
                    let next = format!("{what}, or import with --fix");
                    self.refuse(Code::SchemaInvalid, &pointer, not_a_type(&shown), &next);
                }
                None => {
                    let next = format!("write one of {}", TYPES.join(", "));
                    self.refuse(Code::SchemaInvalid, &pointer, not_a_type(&shown), &next);
                }
            }
        }
        for (keyword, value) in map.iter_mut() {
            let at = at.key(keyword);
            match (keyword.as_str(), value) {
                (
                    "properties" | "patternProperties" | "$defs" | "definitions"
                    | "dependentSchemas",
                    Value::Object(schemas),
                ) => {
                    for (name, schema) in schemas {
                        self.types(&at.key(name), schema);
                    }
                }
                ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                    for (index, schema) in schemas.iter_mut().enumerate() {
                        self.types(&at.index(index), schema);
                    }
                }
                (
                    "items"
                    | "additionalProperties"
                    | "propertyNames"
                    | "contains"
                    | "not"
                    | "if"
                    | "then"
                    | "else"
                    | "unevaluatedItems"
                    | "unevaluatedProperties",
                    schema @ Value::Object(_),
                ) => self.types(&at, schema),
                _ => {}
            }
        }
    }

    fn fixed(&mut self, pointer: &Pointer, detail: String) {
        self.fixes.push(Fix {
            pointer: pointer.to_string(),
            detail,
        });
    }

    fn refuse(&mut self, code: Code, pointer: &Pointer, detail: String, next: &str) {
        self.found
            .push(Violation::new(code, pointer.to_string(), detail).next(next));
    }
}

fn not_a_type(shown: &str) -> String {
    format!("`{shown}` is not a type of JSON Schema")
}

fn clipped(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
