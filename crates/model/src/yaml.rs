//! The strict YAML reader: YAML 1.2 core schema into JSON values, with the place of every part.
//!
//! It refuses what does not survive as JSON or surprises readers: duplicate and non-string keys,
//! anchors, aliases, merge keys, custom tags, several documents, NaN and infinities, integers
//! outside ±(2^53 - 1). The words that only YAML 1.1 takes for booleans (`no`, `on`, `yes`) are
//! strings. An empty document is null.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value;

use crate::text::{Builder, Cursor, clip, decode, float, integer, integer_of_radix};
pub use crate::text::{Limits, Position, SourceMap, TextError, TextProblem};

/// Reads one YAML document and notes where each part of it stands.
///
/// # Errors
/// [`TextError`] with the place and the kind of the first problem.
pub fn parse(text: &[u8], limits: Limits) -> Result<(Value, SourceMap), TextError> {
    let text = decode(text, limits)?;
    refuse_control_characters(text)?;
    let mut reader = Reader {
        builder: Builder::new(limits, Some(SourceMap::default())),
        documents: 0,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| reader.syntax(&error))?;
        reader.event(event, span)?;
    }
    Ok(reader.builder.finish())
}

/// Refuses what YAML calls not printable; the scanner would take a NUL for the end of the text.
fn refuse_control_characters(text: &str) -> Result<(), TextError> {
    let offender = text.char_indices().find(|(_, character)| {
        matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}')
    });
    let Some((offset, character)) = offender else {
        return Ok(());
    };
    let at = Cursor::default().advance(text, offset);
    let detail = format!(
        "the control character U+{:04X} may not stand here",
        u32::from(character)
    );
    let code = match character {
        '\0' => TextProblem::Nul,
        _ => TextProblem::ControlCharacter,
    };
    Err(TextError::new(code, at, detail))
}

struct Reader {
    builder: Builder,
    documents: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), TextError> {
        let at = position(&span);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let detail = "a second document starts here; one text holds one document";
                    return Err(TextError::new(TextProblem::ManyDocuments, at, detail));
                }
                Ok(())
            }
            Event::Alias(_) => Err(self.anchor(at)),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_anchor(anchor, at)?;
                self.scalar(&text, style, tag.as_deref(), at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_anchor(anchor, at)?;
                self.container(tag.as_deref(), "seq", at)?;
                self.builder.open_array(at)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_anchor(anchor, at)?;
                self.container(tag.as_deref(), "map", at)?;
                self.builder.open_object(at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.builder.close();
                Ok(())
            }
        }
    }

    fn refuse_anchor(&self, anchor: usize, at: Position) -> Result<(), TextError> {
        if anchor == 0 {
            Ok(())
        } else {
            Err(self.anchor(at))
        }
    }

    fn anchor(&self, at: Position) -> TextError {
        let detail = "anchors (`&name`) and aliases (`*name`) are not supported";
        self.builder.error(TextProblem::Anchor, at, detail)
    }

    /// Checks an object or array: it may not be a key, and its tag must name what it is.
    fn container(&self, tag: Option<&Tag>, kind: &str, at: Position) -> Result<(), TextError> {
        if self.builder.awaits_key() {
            let detail = "a key must be a string, not a mapping or a list; a text that starts \
                          with `{` or `[` needs quotes";
            return Err(self.builder.error(TextProblem::NonStringKey, at, detail));
        }
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == kind) => {
                Err(self.tag(tag, at))
            }
            _ => Ok(()),
        }
    }

    fn tag(&self, tag: &Tag, at: Position) -> TextError {
        let written = format!("{}{}", tag.handle, tag.suffix);
        let detail = format!("the tag `{}` is not supported here", clip(&written));
        self.builder.error(TextProblem::Tag, at, detail)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<(), TextError> {
        if text.contains('\0') {
            let detail = "a string may not contain NUL";
            return Err(self.builder.error(TextProblem::Nul, at, detail));
        }
        let is_key = self.builder.awaits_key();
        if is_key && style == ScalarStyle::Plain && text == "<<" && tag.is_none() {
            let detail = "merge keys (`<<`) are not supported";
            return Err(self.builder.error(TextProblem::Anchor, at, detail));
        }
        let value = self.resolve(text, style, tag, at);
        if !is_key {
            self.builder.scalar(value?, at);
            return Ok(());
        }
        match value {
            Ok(Value::String(key)) => self.builder.key(key, at),
            // A number out of range is no more a string than one in range.
            Ok(_)
            | Err(TextError {
                code: TextProblem::NumberRange,
                ..
            }) => {
                let detail = format!(
                    "the key `{text}` is not a string in YAML; write it as \"{text}\"",
                    text = clip(text)
                );
                Err(self.builder.error(TextProblem::NonStringKey, at, detail))
            }
            Err(error) => Err(error),
        }
    }

    fn resolve(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<Value, TextError> {
        let out_of_range = |detail| self.builder.error(TextProblem::NumberRange, at, detail);
        let Some(tag) = tag else {
            return match style {
                ScalarStyle::Plain => plain(text).map_err(out_of_range),
                _ => Ok(Value::String(text.to_owned())),
            };
        };
        let is_non_specific = format!("{}{}", tag.handle, tag.suffix) == "!";
        if is_non_specific || (tag.is_yaml_core_schema() && tag.suffix == "str") {
            return Ok(Value::String(text.to_owned()));
        }
        let value = plain(text).map_err(out_of_range)?;
        let fits = tag.is_yaml_core_schema()
            && match tag.suffix.as_str() {
                "null" => value.is_null(),
                "bool" => value.is_boolean(),
                "int" => value.is_i64(),
                "float" => value.is_number(),
                _ => false,
            };
        if fits {
            Ok(value)
        } else {
            Err(self.tag(tag, at))
        }
    }

    fn syntax(&self, error: &ScanError) -> TextError {
        let marker = error.marker();
        let at = Position {
            line: marker.line().max(1),
            column: marker.col() + 1,
        };
        let unknown_anchor = error.info().contains("unknown anchor");
        if unknown_anchor {
            return self.anchor(at);
        }
        if error.info().contains("recursion limit") {
            let detail = "the nesting is deeper than can be read";
            return self.builder.error(TextProblem::Depth, at, detail);
        }
        self.builder.error(TextProblem::Syntax, at, error.info())
    }
}

fn position(span: &Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

/// Resolves a plain scalar by the core schema (YAML 1.2.2 §10.3.2).
///
/// # Errors
/// A sentence for the author when it is a number that JSON cannot carry.
fn plain(text: &str) -> Result<Value, String> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Err("NaN is not a JSON number".to_owned()),
        _ => match number(text) {
            Some(number) => number?,
            None => Value::String(text.to_owned()),
        },
    };
    Ok(value)
}

/// Returns the number that `text` writes, or nothing if it is not of a number's form.
fn number(text: &str) -> Option<Result<Value, String>> {
    let is_run = |digits: &str, is_digit: fn(&u8) -> bool| {
        !digits.is_empty() && digits.bytes().all(|byte| is_digit(&byte))
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return is_run(digits, |byte| matches!(byte, b'0'..=b'7'))
            .then(|| integer_of_radix(digits, 8, text).map(Value::Number));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return is_run(digits, u8::is_ascii_hexdigit)
            .then(|| integer_of_radix(digits, 16, text).map(Value::Number));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(Err("infinity is not a JSON number".to_owned()));
    }
    if is_run(unsigned, u8::is_ascii_digit) {
        return Some(integer(text).map(Value::Number));
    }
    is_float(unsigned).then(|| float(text).map(Value::Number))
}

/// `(\. [0-9]+ | [0-9]+ (\. [0-9]*)?) ([eE] [-+]? [0-9]+)?`
fn is_float(unsigned: &str) -> bool {
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent_is_good) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            (mantissa, !digits.is_empty() && all_digits(digits))
        }
        None => (unsigned, true),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    exponent_is_good && has_digits && all_digits(whole) && all_digits(fraction)
}

#[cfg(test)]
mod tests;
