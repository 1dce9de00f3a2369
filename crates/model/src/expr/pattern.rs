//! Regular expressions that match in linear time and small memory, or are refused.

use regex::{Regex, RegexBuilder};

/// A regular expression that matches in time linear in the text.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// The text is not a pattern; says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// Characters of one pattern.
    pub const CHARS_MAX: usize = 1_024;
    /// Bytes of one compiled pattern: a few nested counts can ask for gigabytes.
    const BYTES_MAX: usize = 256 * 1024;

    /// Compiles a pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.chars().count() > Self::CHARS_MAX {
            return Err(PatternError(format!(
                "it has more than {} characters",
                Self::CHARS_MAX
            )));
        }
        RegexBuilder::new(text)
            .size_limit(Self::BYTES_MAX)
            .nest_limit(32)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError(
                    "its counts multiply to more than a pattern may take in memory".to_owned(),
                ),
                // The last line says what is wrong; those before it point into the pattern.
                error => {
                    let text = error.to_string();
                    let last = text.lines().next_back().unwrap_or_default();
                    PatternError(last.trim_start_matches("error: ").to_owned())
                }
            })
    }

    /// Says whether the pattern is found anywhere in `text`; `^` and `$` hold it to the ends.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_unless_it_is_held_to_the_ends() {
        let is_in = |pattern: &str, text: &str| Pattern::new(pattern).unwrap().is_in(text);
        assert!(is_in("b+", "abbc"));
        assert!(!is_in("^b+$", "abbc"));
        assert!(is_in("(?i)STRASSE", "hauptstrasse"));
        assert!(is_in("^(a+)+$", &"a".repeat(50_000)));
        assert!(!is_in("^(a+)+$", &format!("{}!", "a".repeat(50_000))));
    }

    #[test]
    fn what_would_take_too_much_or_cannot_be_linear_is_refused() {
        for pattern in [
            "(",
            "a{1000}{1000}{1000}",
            "(\\w{100}){100}",
            "(a)\\1",
            "(?=a)b",
            &"(".repeat(100),
            &"a".repeat(Pattern::CHARS_MAX + 1),
        ] {
            let error = Pattern::new(pattern).unwrap_err();
            assert!(!error.to_string().is_empty(), "{pattern}");
        }
        assert!(Pattern::new(&"a".repeat(Pattern::CHARS_MAX)).is_ok());
    }
}
