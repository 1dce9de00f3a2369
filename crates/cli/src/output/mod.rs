//! How answers look to a person: colours, tables, plans, times.

mod impact;
mod page;
mod plan;

use std::io::{self, IsTerminal as _};
use std::{env, fmt};

pub(crate) use page::{Cell, Page, one_line};
pub(crate) use plan::{changes, document_name, list, percent, receipt};
use serde_json::Value;

/// What a piece of text means, and so how it is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Nothing special.
    Plain,
    /// A heading or a name to find.
    Bold,
    /// Less important.
    Dim,
    /// Something added, on, or as it should be.
    Good,
    /// Something changed, or to be looked at.
    Warn,
    /// Something removed, off by force, or broken.
    Error,
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// For standard output.
    pub(crate) fn of_stdout() -> Self {
        Self {
            coloured: io::stdout().is_terminal() && wants_colour(),
        }
    }

    /// For standard error.
    pub(crate) fn of_stderr() -> Self {
        Self {
            coloured: io::stderr().is_terminal() && wants_colour(),
        }
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    /// Colours text.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let begin = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Bold => "\x1b[1m",
            Paint::Dim => "\x1b[2m",
            Paint::Good => "\x1b[32m",
            Paint::Warn => "\x1b[33m",
            Paint::Error => "\x1b[31;1m",
        };
        if self.coloured {
            format!("{begin}{text}{PAINT_END}")
        } else {
            text.to_owned()
        }
    }

    /// Escapes what would make a terminal do something else than show text, but for the colours of [`Self::paint`].
    ///
    /// Names and messages may come from files and from other people.
    pub(crate) fn visible(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let colour = PAINTS.iter().find(|it| rest.starts_with(**it));
            if let Some(colour) = colour.filter(|_| self.coloured) {
                out.push_str(colour);
                rest = &rest[colour.len()..];
                continue;
            }
            if is_harmless(character) {
                out.push(character);
            } else {
                out.extend(character.escape_unicode());
            }
            rest = &rest[character.len_utf8()..];
        }
        out
    }
}

const PAINT_END: &str = "\x1b[0m";
const PAINTS: [&str; 6] = [
    "\x1b[1m",
    "\x1b[2m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[31;1m",
    PAINT_END,
];

/// Returns whether a character is neither a command to a terminal nor one that reorders or breaks the text around it.
fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        other => !other.is_control(),
    }
}

/// Follows <https://no-color.org>, and leaves terminals alone that cannot.
fn wants_colour() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A value in one line: a text without quotes where that is not ambiguous.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(['\n', '\t', '"'])
        && text.trim() == text
        && !matches!(text, "true" | "false" | "null")
        && text.parse::<f64>().is_err()
}

/// Cuts text to a number of characters, with `…` where something is missing.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= chars_max {
        return flat;
    }
    let cut: String = flat.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The first hex digits of a digest, enough for a person to tell two apart.
pub(crate) fn short_digest(digest: &impl fmt::Display) -> String {
    let text = digest.to_string();
    let hex = text.rsplit(':').next().unwrap_or(&text);
    hex.chars().take(12).collect()
}

/// A time to the second, as a person reads it.
pub(crate) fn time(at: plane_model::Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("{}Z", seconds.trim_end_matches('Z').replace('T', " "))
}

/// Says a number of things, with the plural where it belongs.
pub(crate) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_text_commands_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}31m\r\u{202e}b\u{7f}\n\tö";
        let shown = "a\\u{1b}[2J\\u{9b}31m\\u{d}\\u{202e}b\\u{7f}\n\tö";
        assert_eq!(Style::plain().visible(hostile), shown);
        let coloured = Style { coloured: true };
        for paint in [
            Paint::Plain,
            Paint::Bold,
            Paint::Dim,
            Paint::Good,
            Paint::Warn,
            Paint::Error,
        ] {
            let painted = coloured.paint(paint, hostile);
            let expected = coloured.paint(paint, shown);
            assert_eq!(coloured.visible(&painted), expected);
        }
        assert_eq!(Style::plain().visible("\x1b[1m"), "\\u{1b}[1m");
    }

    #[test]
    fn texts_are_quoted_only_where_they_look_like_something_else() {
        for (value, expected) in [
            (json!("abc"), "abc"),
            (json!("5"), "\"5\""),
            (json!(5), "5"),
            (json!("true"), "\"true\""),
            (json!(""), "\"\""),
            (json!({"a": [1]}), "{\"a\":[1]}"),
        ] {
            assert_eq!(inline(&value), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(shortened("ein\n schöner Tag", 8), "ein sch…");
        assert_eq!(shortened("kurz", 8), "kurz");
    }

    #[test]
    fn times_are_read_to_the_second() {
        assert_eq!(
            time(plane_model::Timestamp(1_700_000_000_123)),
            "2023-11-14 22:13:20Z"
        );
        assert_eq!(time(plane_model::Timestamp(0)), "1970-01-01 00:00:00Z");
    }
}
