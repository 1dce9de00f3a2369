//! The strict JSON reader: what it accepts, every other reader of JSON understands the same way.
//!
//! Beyond RFC 8259 it refuses duplicate keys, integers outside ±(2^53 - 1), lone surrogates and
//! NUL, and it reads a whole float such as `1.0` as the integer that it is in canonical form.

use serde_json::Value;

use crate::text::{Builder, Cursor, clip, decode, float, integer};
pub use crate::text::{DEPTH_CEILING, INTEGER_MAX, Limits, Position, SourceMap};
pub use crate::text::{TextError, TextProblem};

/// Reads one JSON value and nothing else.
///
/// # Errors
/// [`TextError`] with the place and the kind of the first problem.
pub fn parse(text: &[u8], limits: Limits) -> Result<Value, TextError> {
    read(text, limits, None).map(|(value, _)| value)
}

/// Reads one JSON value and notes where each part of it stands.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_source(text: &[u8], limits: Limits) -> Result<(Value, SourceMap), TextError> {
    read(text, limits, Some(SourceMap::default()))
}

/// Says how much memory the value that [`parse`] would read from a text takes at most, in bytes.
///
/// A text of many small objects takes a hundred times its length. One pass, which reads no value; for
/// a text that is refused the figure says nothing.
pub fn memory_max(text: &[u8]) -> usize {
    // What the parts of a value take on a 64-bit machine, with what the allocator adds.
    const OBJECT: usize = 656;
    const ARRAY: usize = 160;
    const PART: usize = 128;
    const STRING: usize = 32;

    // A string may take twice what was written: it grows by doubling.
    let mut bytes = 2 * text.len();
    let mut is_string = false;
    let mut is_escaped = false;
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => {
                is_string = !is_string;
                bytes += STRING / 2;
            }
            _ if is_string => {}
            b'{' => bytes += OBJECT,
            b'[' => bytes += ARRAY,
            b',' => bytes += PART,
            _ => {}
        }
    }
    bytes
}

fn read(
    bytes: &[u8],
    limits: Limits,
    source: Option<SourceMap>,
) -> Result<(Value, SourceMap), TextError> {
    let text = decode(bytes, limits)?;
    let mut reader = Reader {
        text,
        offset: 0,
        cursor: Cursor::default(),
        builder: Builder::new(limits, source),
    };
    reader.document()?;
    Ok(reader.builder.finish())
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    FirstItem,
    FirstKey,
    Key,
    CommaOrEnd,
    Nothing,
}

struct Reader<'t> {
    text: &'t str,
    offset: usize,
    cursor: Cursor,
    builder: Builder,
}

impl<'t> Reader<'t> {
    /// A loop with the builder's explicit stack: nesting never uses the thread's stack.
    fn document(&mut self) -> Result<(), TextError> {
        let mut expect = Expect::Value;
        loop {
            self.skip_blanks();
            let Some(byte) = self.peek() else {
                return match expect {
                    Expect::Nothing => Ok(()),
                    _ => Err(self.syntax("the text ends too early")),
                };
            };
            expect = match expect {
                Expect::Value => self.value(byte)?,
                Expect::FirstItem if byte == b']' => self.close(),
                Expect::FirstItem => self.value(byte)?,
                Expect::FirstKey if byte == b'}' => self.close(),
                Expect::FirstKey | Expect::Key => self.key(byte)?,
                Expect::CommaOrEnd => self.comma_or_end(byte)?,
                Expect::Nothing => {
                    return Err(self.syntax("there is more text after the end of the value"));
                }
            };
        }
    }

    fn value(&mut self, byte: u8) -> Result<Expect, TextError> {
        let at = self.position();
        match byte {
            b'{' => {
                self.builder.open_object(at)?;
                self.offset += 1;
                return Ok(Expect::FirstKey);
            }
            b'[' => {
                self.builder.open_array(at)?;
                self.offset += 1;
                return Ok(Expect::FirstItem);
            }
            b'"' => {
                let string = self.string()?;
                self.builder.scalar(Value::String(string), at);
            }
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                self.builder.scalar(number, at);
            }
            _ => {
                let word = self.word()?;
                self.builder.scalar(word, at);
            }
        }
        Ok(self.after_value())
    }

    fn after_value(&self) -> Expect {
        if self.builder.is_nested() {
            Expect::CommaOrEnd
        } else {
            Expect::Nothing
        }
    }

    fn close(&mut self) -> Expect {
        self.offset += 1;
        self.builder.close();
        self.after_value()
    }

    fn comma_or_end(&mut self, byte: u8) -> Result<Expect, TextError> {
        let in_object = self.builder.in_object();
        let end = if in_object { b'}' } else { b']' };
        if byte == end {
            return Ok(self.close());
        }
        if byte != b',' {
            let detail = format!("expected `,` or `{}` here", char::from(end));
            return Err(self.syntax(detail));
        }
        self.offset += 1;
        self.skip_blanks();
        if self.peek() == Some(end) {
            let detail = format!("a comma may not stand before `{}`", char::from(end));
            return Err(self.syntax(detail));
        }
        Ok(if in_object {
            Expect::Key
        } else {
            Expect::Value
        })
    }

    fn key(&mut self, byte: u8) -> Result<Expect, TextError> {
        let at = self.position();
        if byte != b'"' {
            return Err(self.syntax("expected a key in double quotes"));
        }
        let key = self.string()?;
        self.builder.key(key, at)?;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.syntax("expected `:` after the key"));
        }
        self.offset += 1;
        Ok(Expect::Value)
    }

    fn word(&mut self) -> Result<Value, TextError> {
        for (word, value) in [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ] {
            if self.rest().starts_with(word) {
                self.offset += word.len();
                return Ok(value);
            }
        }
        let found = self
            .rest()
            .split([' ', '\n', '\r', '\t', ',', ']', '}'])
            .next();
        let detail = match found.filter(|word| !word.is_empty()) {
            Some(word) if word.starts_with('/') => "JSON has no comments".to_owned(),
            Some(word) if word.starts_with('\'') => "JSON strings have double quotes".to_owned(),
            Some(word) => format!("`{}` is not a JSON value", clip(word)),
            None => "expected a value here".to_owned(),
        };
        Err(self.syntax(detail))
    }

    fn number(&mut self) -> Result<Value, TextError> {
        let start = self.offset;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            self.offset = start;
            return Err(self.syntax("a number starts with one digit, or with digits but not 0"));
        }
        let mut is_float = false;
        if self.take(b'.') {
            is_float = true;
            if self.digits() == 0 {
                return Err(self.syntax("expected a digit after the decimal point"));
            }
        }
        if self.take(b'e') || self.take(b'E') {
            is_float = true;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.syntax("expected a digit in the exponent"));
            }
        }
        let text = self.text.get(start..self.offset).unwrap_or_default();
        let number = if is_float { float(text) } else { integer(text) };
        number.map(Value::Number).map_err(|detail| {
            self.offset = start;
            self.error(TextProblem::NumberRange, detail)
        })
    }

    /// Reads a string; the offset is at its opening quote.
    fn string(&mut self) -> Result<String, TextError> {
        let start = self.offset;
        self.offset += 1;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let Some(plain) = plain else {
                self.offset = start;
                return Err(self.syntax("the string has no closing quote"));
            };
            string.push_str(rest.get(..plain).unwrap_or_default());
            self.offset += plain;
            match self.peek() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(b'\0') => {
                    return Err(self.error(TextProblem::Nul, "a string may not contain NUL"));
                }
                _ => {
                    let detail = "a control character or line break must be written as an escape";
                    return Err(self.error(TextProblem::ControlCharacter, detail));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, TextError> {
        let start = self.offset;
        self.offset += 1;
        let Some(byte) = self.peek() else {
            return Err(self.syntax("the string has no closing quote"));
        };
        let character = match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(start),
            _ => {
                self.offset = start;
                return Err(self.syntax("unknown escape; a backslash itself is written `\\\\`"));
            }
        };
        self.offset += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, TextError> {
        let first = self.code_unit()?;
        let code = match first {
            0xd800..=0xdbff if self.rest().starts_with("\\u") => {
                self.offset += 1;
                match self.code_unit()? {
                    second @ 0xdc00..=0xdfff => {
                        0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    _ => first,
                }
            }
            _ => first,
        };
        match char::from_u32(code) {
            Some('\0') => {
                self.offset = start;
                Err(self.error(TextProblem::Nul, "a string may not contain NUL"))
            }
            Some(character) => Ok(character),
            None => {
                self.offset = start;
                let detail = "half of a surrogate pair is not a character";
                Err(self.error(TextProblem::Encoding, detail))
            }
        }
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Result<u32, TextError> {
        let digits = self
            .text
            .get(self.offset + 1..self.offset + 5)
            .unwrap_or_default();
        let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(unit) if is_hex => {
                self.offset += 5;
                Ok(unit)
            }
            _ => Err(self.syntax("expected four hex digits after `\\u`")),
        }
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.offset += count;
        count
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        let blanks = self
            .rest()
            .bytes()
            .take_while(|byte| b" \t\r\n".contains(byte))
            .count();
        self.offset += blanks;
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn position(&mut self) -> Position {
        self.cursor.advance(self.text, self.offset)
    }

    fn syntax(&mut self, detail: impl Into<String>) -> TextError {
        self.error(TextProblem::Syntax, detail)
    }

    fn error(&mut self, code: TextProblem, detail: impl Into<String>) -> TextError {
        let at = self.position();
        self.builder.error(code, at, detail)
    }
}

#[cfg(test)]
pub(crate) mod tests;
