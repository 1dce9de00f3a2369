//! Files cut into definitions.

use std::collections::BTreeMap;

use plane_model::json::{self, Limits, SourceMap};
use plane_model::{Code, Pointer, Violation, limits};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::clipped;

/// The largest file: what one commit may have, since a file becomes one commit.
pub const FILE_BYTES_MAX: usize = limits::COMMIT_BYTES_MAX;
/// The most definitions of a file, for the same reason.
pub const DEFINITIONS_MAX: usize = limits::COMMIT_OPS_MAX;

/// What to do about a file that is something else.
const SHAPES: &str =
    "write one JSON object a line, a list of them, or an object with a list `tools`";

/// The definitions of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources<'t> {
    /// The definitions, in the order of the file.
    pub definitions: Vec<Source<'t>>,
    /// What a person should know of the rest of the file, as sentences.
    pub remarks: Vec<String>,
}

/// One definition of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Source<'t> {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// Where it stands in the file; empty if the file or the line is nothing else.
    pub pointer: Pointer,
    text: &'t [u8],
}

impl Source<'_> {
    /// Reads the definition, which takes many times the memory of its text: not all need be read at once.
    ///
    /// # Errors
    /// It is no JSON, or larger than a manifest may be.
    pub fn value(&self) -> Result<Value, Violation> {
        let (size, max) = (self.text.len(), limits::MANIFEST_BYTES_MAX);
        if size > max {
            let detail = format!("the definition has {size} bytes; at most {max} are allowed");
            return Err(Violation::new(Code::TextTooLarge, "", detail).next("shorten it"));
        }
        json::parse(self.text, text_limits()).map_err(|error| {
            let pointer = error.pointer.clone().unwrap_or_default();
            let detail = format!("column {}: {}", error.column, error.detail);
            Violation::new(Code::TextInvalid, pointer, detail).next(error.next())
        })
    }

    /// Returns what tells the lines that the parts of the definition stand on.
    pub fn lines(&self) -> Lines {
        let has_many = self.text.contains(&b'\n');
        let parsed = has_many.then(|| json::parse_with_source(self.text, text_limits()).ok());
        Lines {
            first: self.line,
            map: parsed.flatten().map(|(_, map)| map),
        }
    }
}

/// Tells the lines that the parts of a definition stand on.
#[derive(Debug)]
pub struct Lines {
    first: usize,
    map: Option<SourceMap>,
}

impl Lines {
    /// Returns the line of the place at `pointer` in the definition, or of the nearest place around it.
    pub fn line(&self, pointer: &str) -> usize {
        let pointer: Pointer = pointer.parse().unwrap_or_default();
        let below = self.map.as_ref().map_or(1, |map| map.line(&pointer).line);
        self.first + below - 1
    }
}

fn text_limits() -> Limits {
    Limits {
        bytes_max: limits::MANIFEST_BYTES_MAX,
        depth_max: limits::TEXT_DEPTH_MAX,
    }
}

/// Cuts a file into definitions: one, one a line, a list, a request with `tools`, or an answer of a server of MCP.
///
/// # Errors
/// The file as a whole is none of these, or has more than [`FILE_BYTES_MAX`] or [`DEFINITIONS_MAX`].
pub fn sources(bytes: &[u8]) -> Result<Sources<'_>, Violation> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large(&format!("{FILE_BYTES_MAX} bytes")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let whole = Limits {
        bytes_max: FILE_BYTES_MAX,
        depth_max: limits::TEXT_DEPTH_MAX,
    };
    let found = match json::parse(bytes, whole) {
        Ok(value) => document(bytes, &value)?,
        Err(_) if is_lines(bytes) => Sources {
            definitions: lines(bytes),
            remarks: Vec::new(),
        },
        Err(_) if bytes.trim_ascii().is_empty() => Sources {
            definitions: Vec::new(),
            remarks: Vec::new(),
        },
        Err(error) => {
            let pointer = error.pointer.clone().unwrap_or_default();
            let violation = Violation::new(Code::TextInvalid, pointer, error.to_string());
            let is_json = bytes.trim_ascii_start().starts_with(b"[")
                || bytes.trim_ascii_start().starts_with(b"{");
            return Err(violation.next(if is_json { error.next() } else { SHAPES }));
        }
    };
    match found.definitions.len() {
        0 => {
            let violation =
                Violation::new(Code::TextInvalid, "", "the file holds no tool definition");
            Err(violation.next(SHAPES))
        }
        many if many > DEFINITIONS_MAX => Err(too_large(&format!("{DEFINITIONS_MAX} definitions"))),
        _ => Ok(found),
    }
}

fn too_large(than: &str) -> Violation {
    let detail = format!("the file has more than {than}, and is to be one commit");
    Violation::new(Code::TextTooLarge, "", detail).next("split it into several files")
}

/// Returns whether a file that is no JSON document is one JSON object a line: in most lines one begins.
fn is_lines(bytes: &[u8]) -> bool {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let (mut all, mut objects) = (0_usize, 0_usize);
    for line in lines.filter(|line| !line.is_empty()) {
        all += 1;
        objects += usize::from(line.starts_with(b"{"));
    }
    objects * 2 > all
}

fn lines(bytes: &[u8]) -> Vec<Source<'_>> {
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    lines
        .filter(|(line, _)| !line.trim_ascii().is_empty())
        // One more than may be shows that there are too many.
        .take(DEFINITIONS_MAX + 1)
        .map(|(text, line)| Source {
            line,
            pointer: Pointer::root(),
            text,
        })
        .collect()
}

fn document<'t>(bytes: &'t [u8], value: &Value) -> Result<Sources<'t>, Violation> {
    let mut remarks = Vec::new();
    let (path, number): (&[&str], _) = match value {
        Value::Array(list) => (&[], list.len()),
        Value::Object(map) => {
            let Some((path, list)) = listed(map) else {
                return Ok(only(bytes));
            };
            remark(map, path, &mut remarks);
            (path, list.len())
        }
        _ => (&[], 0),
    };
    let definitions = match number {
        0 => Vec::new(),
        1..=DEFINITIONS_MAX => items(bytes, path)?,
        _ => return Err(too_large(&format!("{DEFINITIONS_MAX} definitions"))),
    };
    Ok(Sources {
        definitions,
        remarks,
    })
}

/// Cuts the list at `path` of a document into its items.
fn items<'t>(bytes: &'t [u8], path: &[&str]) -> Result<Vec<Source<'t>>, Violation> {
    let unreadable = |error: serde_json::Error| {
        Violation::new(Code::TextInvalid, "", error.to_string()).next("correct the JSON")
    };
    let mut at = Pointer::root();
    let mut raw = bytes;
    for key in path {
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_slice(raw).map_err(unreadable)?;
        raw = members.get(*key).map_or(raw, |it| it.get().as_bytes());
        at.push_key(key);
    }
    let raws: Vec<&RawValue> = serde_json::from_slice(raw).map_err(unreadable)?;
    let mut line = Cursor {
        bytes,
        at: 0,
        line: 1,
    };
    let items = raws.into_iter().enumerate().map(|(index, raw)| {
        let text = raw.get().as_bytes();
        Source {
            line: line.of(text),
            pointer: at.index(index),
            text,
        }
    });
    Ok(items.collect())
}

/// A file that is one definition.
fn only(bytes: &[u8]) -> Sources<'_> {
    let begins = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    let (before, text) = bytes.split_at(begins.unwrap_or_default());
    Sources {
        definitions: vec![Source {
            line: newlines(before) + 1,
            pointer: Pointer::root(),
            text,
        }],
        remarks: Vec::new(),
    }
}

/// Finds the list of definitions in an object that has one, and says where it is.
fn listed(map: &Map<String, Value>) -> Option<(&'static [&'static str], &[Value])> {
    fn list<'v>(map: &'v Map<String, Value>, key: &str) -> Option<&'v Vec<Value>> {
        map.get(key)?.as_array()
    }
    if let Some(tools) = list(map, "tools") {
        return Some((&["tools"], tools));
    }
    if let Some(functions) = list(map, "functions") {
        return Some((&["functions"], functions));
    }
    let result = map.get("result")?.as_object()?;
    Some((&["result", "tools"], list(result, "tools")?))
}

/// Says what else the object holds that the list of definitions was in.
fn remark(map: &Map<String, Value>, path: &[&str], remarks: &mut Vec<String>) {
    let inner = map.get("result").filter(|_| path.len() > 1);
    let inner = inner.and_then(Value::as_object);
    let cursor = inner.unwrap_or(map).get("nextCursor");
    if cursor.is_some_and(|it| !it.is_null()) {
        let text =
            "the list goes on where its `nextCursor` points: import the other pages of it too";
        remarks.push(text.to_owned());
    }
    let list = path.last().copied().unwrap_or_default();
    let known = ["nextCursor", "jsonrpc", "id"];
    let outer = map.keys().filter(|key| path.first() != Some(&key.as_str()));
    let inner = inner.into_iter().flat_map(Map::keys);
    let others: Vec<String> = outer
        .chain(inner.filter(|key| *key != list))
        .filter(|key| !known.contains(&key.as_str()))
        .take(20)
        .map(|key| format!("`{}`", clipped(key)))
        .collect();
    if !others.is_empty() {
        let others = others.join(", ");
        remarks.push(format!(
            "beside `{list}` the file holds {others}, which was not imported"
        ));
    }
}

/// Counts lines up to parts of a text that come in order.
struct Cursor<'t> {
    bytes: &'t [u8],
    at: usize,
    line: usize,
}

impl Cursor<'_> {
    /// Returns the line on which `part`, a part of the text, begins.
    fn of(&mut self, part: &[u8]) -> usize {
        let begin = self.bytes.as_ptr().addr();
        let offset = part.as_ptr().addr().saturating_sub(begin);
        let between = self.bytes.get(self.at..offset).unwrap_or_default();
        self.line += newlines(between);
        self.at = offset.max(self.at);
        self.line
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count().saturating_sub(1)
}
