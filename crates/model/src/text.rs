//! What the JSON and YAML readers share: limits, errors with a place, and the tree they build.
//!
//! Both readers feed events into one builder, which enforces depth and unique keys while
//! reading; nothing here recurses, so hostile input cannot exhaust the stack.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Map, Number, Value};

use crate::pointer::Pointer;

/// The deepest nesting that any reader accepts, whatever its caller asks for.
///
/// Code that walks a read value may recurse: this bounds it.
pub const DEPTH_CEILING: usize = 256;

/// The largest magnitude of an integer that every JSON reader agrees about (2^53 - 1).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// From this magnitude on, canonical JSON writes a number with an exponent.
const EXPONENT_FORM_MIN: f64 = 1e21;

/// How much text a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest text, in bytes.
    pub bytes_max: usize,
    /// The deepest nesting of objects and arrays (a bare scalar has depth 0), at most
    /// [`DEPTH_CEILING`].
    pub depth_max: usize,
}

/// A place in a text; both counts start at 1, columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextProblem {
    /// The text does not follow the grammar.
    Syntax,
    /// A key appears twice in one mapping.
    DuplicateKey,
    /// A YAML anchor, alias or merge key.
    Anchor,
    /// A YAML tag that is not of the core schema, or one that does not fit its value.
    Tag,
    /// A YAML key that is not a string.
    NonStringKey,
    /// More than one YAML document in one text.
    ManyDocuments,
    /// A number that JSON readers would not agree about.
    NumberRange,
    /// Nesting deeper than the limit.
    Depth,
    /// A text larger than the limit.
    Size,
    /// Bytes that are not UTF-8, or an escape that is not a character.
    Encoding,
    /// A control character where none may stand.
    ControlCharacter,
    /// A NUL, however it is written.
    Nul,
}

impl TextProblem {
    /// Says what the author of the text can do about it.
    pub const fn next(self) -> &'static str {
        match self {
            Self::Syntax => "correct the text at this place",
            Self::DuplicateKey => "keep one of the two entries",
            Self::Anchor => {
                "write the value out in full; if the text itself starts with `&`, `*` or is `<<`, \
                 put it in quotes"
            }
            Self::Tag => "remove the tag; to force a string put the value in quotes",
            Self::NonStringKey => "put the key in quotes",
            Self::ManyDocuments => "split the documents into one file each",
            Self::NumberRange => "if it is an identifier or a text put it in quotes",
            Self::Depth => "flatten the structure",
            Self::Size => "split the text, or move long texts out of it",
            Self::Encoding => "save the text as UTF-8",
            Self::ControlCharacter => "remove the character, or write it as an escape in quotes",
            Self::Nul => "remove the character: no text may hold it, nor its escape",
        }
    }
}

/// Says where and why a JSON or YAML text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {detail}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The place in the document as a JSON pointer, where it is known.
    pub pointer: Option<String>,
    /// What is wrong, in the author's terms.
    pub detail: String,
    /// The kind of problem.
    pub code: TextProblem,
}

impl TextError {
    pub(crate) fn new(code: TextProblem, at: Position, detail: impl Into<String>) -> Self {
        Self {
            line: at.line,
            column: at.column,
            pointer: None,
            detail: detail.into(),
            code,
        }
    }

    pub(crate) fn at(mut self, pointer: &Pointer) -> Self {
        self.pointer = Some(pointer.to_string());
        self
    }

    /// Says what the author of the text can do about it.
    pub fn next(&self) -> &'static str {
        self.code.next()
    }
}

/// Checks size and encoding, and takes a byte order mark away.
pub(crate) fn decode(bytes: &[u8], limits: Limits) -> Result<&str, TextError> {
    if bytes.len() > limits.bytes_max {
        let detail = format!(
            "the text has {} bytes; at most {} are allowed",
            bytes.len(),
            limits.bytes_max
        );
        return Err(TextError::new(TextProblem::Size, Position::START, detail));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let detail = "the text is UTF-16, not UTF-8";
        return Err(TextError::new(
            TextProblem::Encoding,
            Position::START,
            detail,
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let at = Cursor::default().advance(&String::from_utf8_lossy(good), good.len());
        TextError::new(
            TextProblem::Encoding,
            at,
            "the text is not UTF-8 from here on",
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Turns byte offsets, asked in ascending order, into positions in linear total time.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    offset: usize,
    position: Position,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            offset: 0,
            position: Position::START,
        }
    }
}

impl Cursor {
    pub(crate) fn advance(&mut self, text: &str, offset: usize) -> Position {
        for character in text.get(self.offset..offset).unwrap_or_default().chars() {
            if character == '\n' {
                self.position = Position {
                    line: self.position.line + 1,
                    column: 1,
                };
            } else {
                self.position.column += 1;
            }
        }
        self.offset = self.offset.max(offset);
        self.position
    }
}

/// Reads an optionally signed run of decimal digits.
///
/// # Errors
/// A sentence for the author when the number is out of range.
pub(crate) fn integer(text: &str) -> Result<Number, String> {
    integer_of_radix(text, 10, text)
}

/// Reads digits of `radix`; `written` is how the author wrote the number.
///
/// # Errors
/// A sentence for the author when the number is out of range.
pub(crate) fn integer_of_radix(digits: &str, radix: u32, written: &str) -> Result<Number, String> {
    i64::from_str_radix(digits, radix)
        .ok()
        .filter(|value| (-INTEGER_MAX..=INTEGER_MAX).contains(value))
        .map(Number::from)
        .ok_or_else(|| out_of_range(written))
}

/// Reads a decimal fraction or a number with an exponent.
///
/// A value without a fraction becomes an integer, so that `1.0` and `1` are one value, as they
/// are in canonical JSON.
///
/// # Errors
/// A sentence for the author when the number is out of range.
pub(crate) fn float(text: &str) -> Result<Number, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| format!("`{}` is not a number", clip(text)))?;
    if value.fract() == 0.0 && value.abs() < EXPONENT_FORM_MIN {
        return integer_of_radix(&format!("{value:.0}"), 10, text);
    }
    Number::from_f64(value).ok_or_else(|| format!("`{}` is too large for a number", clip(text)))
}

fn out_of_range(written: &str) -> String {
    format!(
        "`{}` is outside ±9007199254740991 (2^53 - 1), where JSON readers stop to agree about \
         integers",
        clip(written)
    )
}

/// Shortens what a message quotes from a text.
pub(crate) fn clip(text: &str) -> String {
    const QUOTED_CHARACTERS_MAX: usize = 40;
    match text.char_indices().nth(QUOTED_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Where each key and value of a document stands in its text.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    key: Option<Position>,
    value: Position,
    children: Children,
}

#[derive(Clone, Debug)]
enum Children {
    None,
    Members(BTreeMap<Box<str>, usize>),
    Items(Vec<usize>),
}

impl SourceMap {
    /// Returns where the entry at `pointer` starts: its key if it has one, else its value.
    ///
    /// Falls back to the nearest place around it that the text has. O(depth).
    pub fn line(&self, pointer: &Pointer) -> Position {
        self.nearest(pointer)
            .map_or(Position::START, |node| node.key.unwrap_or(node.value))
    }

    /// Returns where the value at `pointer` starts, with the same fallback as [`Self::line`].
    pub fn value(&self, pointer: &Pointer) -> Position {
        self.nearest(pointer)
            .map_or(Position::START, |node| node.value)
    }

    fn nearest(&self, pointer: &Pointer) -> Option<&Node> {
        let mut node = self.nodes.first()?;
        for token in pointer.tokens() {
            let child = match &node.children {
                Children::None => None,
                Children::Members(members) => members.get(token.as_ref()),
                Children::Items(items) => {
                    token.parse().ok().and_then(|index: usize| items.get(index))
                }
            };
            match child.and_then(|index| self.nodes.get(*index)) {
                Some(child) => node = child,
                None => break,
            }
        }
        Some(node)
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

/// Builds a value and its [`SourceMap`] from a reader's events.
///
/// INVARIANT: `frames.len() <= depth_max <= DEPTH_CEILING`.
#[derive(Debug)]
pub(crate) struct Builder {
    depth_max: usize,
    frames: Vec<Frame>,
    root: Option<Value>,
    source: Option<SourceMap>,
}

#[derive(Debug)]
struct Frame {
    node: usize,
    container: Container,
}

#[derive(Debug)]
enum Container {
    Object {
        members: Map<String, Value>,
        key: Option<(String, Position)>,
    },
    Array(Vec<Value>),
}

impl Builder {
    /// Starts to build a value; without `source` the [`SourceMap`] stays empty.
    pub(crate) fn new(limits: Limits, source: Option<SourceMap>) -> Self {
        let depth_max = limits.depth_max.min(DEPTH_CEILING);
        Self {
            depth_max,
            frames: Vec::new(),
            root: None,
            source,
        }
    }

    /// Returns whether the next scalar is a key of the innermost object.
    pub(crate) fn awaits_key(&self) -> bool {
        matches!(
            self.frames.last(),
            Some(Frame {
                container: Container::Object { key: None, .. },
                ..
            })
        )
    }

    pub(crate) fn is_nested(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(crate) fn in_object(&self) -> bool {
        matches!(
            self.frames.last(),
            Some(Frame {
                container: Container::Object { .. },
                ..
            })
        )
    }

    /// Returns the place that is being filled.
    pub(crate) fn pointer(&self) -> Pointer {
        let mut pointer = Pointer::root();
        for frame in &self.frames {
            match &frame.container {
                Container::Object {
                    key: Some((key, _)),
                    ..
                } => pointer.push_key(key),
                Container::Object { key: None, .. } => {}
                Container::Array(items) => pointer.push_index(items.len()),
            }
        }
        pointer
    }

    pub(crate) fn error(
        &self,
        code: TextProblem,
        at: Position,
        detail: impl Into<String>,
    ) -> TextError {
        TextError::new(code, at, detail).at(&self.pointer())
    }

    pub(crate) fn open_object(&mut self, at: Position) -> Result<(), TextError> {
        self.open(
            at,
            Container::Object {
                members: Map::new(),
                key: None,
            },
            || Children::Members(BTreeMap::new()),
        )
    }

    pub(crate) fn open_array(&mut self, at: Position) -> Result<(), TextError> {
        self.open(at, Container::Array(Vec::new()), || {
            Children::Items(Vec::new())
        })
    }

    fn open(
        &mut self,
        at: Position,
        container: Container,
        children: fn() -> Children,
    ) -> Result<(), TextError> {
        if self.frames.len() >= self.depth_max {
            let detail = format!("the nesting is deeper than {} levels", self.depth_max);
            return Err(self.error(TextProblem::Depth, at, detail));
        }
        let node = self.place(at, children());
        self.frames.push(Frame { node, container });
        Ok(())
    }

    pub(crate) fn key(&mut self, key: String, at: Position) -> Result<(), TextError> {
        if let Some(Frame {
            container: Container::Object { members, key: slot },
            ..
        }) = self.frames.last_mut()
        {
            if !members.contains_key(&key) {
                *slot = Some((key, at));
                return Ok(());
            }
            let pointer = self.pointer().key(&key);
            let mut detail = format!("the key `{}` appears twice in one mapping", clip(&key));
            if let Some(source) = &self.source {
                let _ = write!(
                    detail,
                    "; the first is on line {}",
                    source.line(&pointer).line
                );
            }
            return Err(TextError::new(TextProblem::DuplicateKey, at, detail).at(&pointer));
        }
        Ok(())
    }

    pub(crate) fn scalar(&mut self, value: Value, at: Position) {
        self.place(at, Children::None);
        self.fill(value);
    }

    /// Ends the innermost object or array.
    pub(crate) fn close(&mut self) {
        match self.frames.pop().map(|frame| frame.container) {
            Some(Container::Object { members, .. }) => self.fill(Value::Object(members)),
            Some(Container::Array(items)) => self.fill(Value::Array(items)),
            None => {}
        }
    }

    /// Notes where the value that comes next stands.
    fn place(&mut self, at: Position, children: Children) -> usize {
        let Some(source) = &mut self.source else {
            return 0;
        };
        let parent = self.frames.last();
        let entry = parent.map(|frame| match &frame.container {
            Container::Object { key, .. } => (frame.node, key.clone()),
            Container::Array(_) => (frame.node, None),
        });
        let key = entry
            .as_ref()
            .and_then(|(_, key)| key.as_ref().map(|(_, at)| *at));
        let node = source.add(Node {
            key,
            value: at,
            children,
        });
        if let Some((parent, key)) = entry {
            match source
                .nodes
                .get_mut(parent)
                .map(|parent| &mut parent.children)
            {
                Some(Children::Members(members)) => {
                    members.insert(key.map(|(key, _)| key.into()).unwrap_or_default(), node);
                }
                Some(Children::Items(items)) => items.push(node),
                Some(Children::None) | None => {}
            }
        }
        node
    }

    fn fill(&mut self, value: Value) {
        match self.frames.last_mut().map(|frame| &mut frame.container) {
            Some(Container::Object { members, key }) => {
                if let Some((key, _)) = key.take() {
                    members.insert(key, value);
                }
            }
            Some(Container::Array(items)) => items.push(value),
            None => self.root = Some(value),
        }
    }

    /// Returns the value, or null when there was none.
    pub(crate) fn finish(self) -> (Value, SourceMap) {
        (
            self.root.unwrap_or(Value::Null),
            self.source.unwrap_or_default(),
        )
    }
}
