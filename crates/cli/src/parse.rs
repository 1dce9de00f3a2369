//! Small values as people type them.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use anyhow::Result;
use plane_model::{json, limits, text, yaml};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Splits `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Reads `VARIANT=PERCENT`.
pub(crate) fn share(text: &str) -> Result<(String, f64), String> {
    let (name, percent) =
        pair(text).map_err(|_| "write VARIANT=PERCENT, such as on=25".to_owned())?;
    let number = percent.trim_end_matches('%').trim().parse::<f64>();
    match number {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((name, percent)),
        _ => Err(format!("`{percent}` is not a percentage between 0 and 100")),
    }
}

/// Refuses a name that an option was given twice, whose first value would be lost.
pub(crate) fn once<T>(option: &str, pairs: &[(String, T)]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match pairs.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(Failure::new(format!("`{option} {name}=…` is given twice"))
            .next("give each name once")
            .into()),
        None => Ok(()),
    }
}

/// Reads a revision.
pub(crate) fn revision(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write a whole number, as `control-plane log` lists them".to_owned())
}

/// Reads a value as a YAML scalar or JSON: `5` is a number, `true` a boolean, `abc` a string.
pub(crate) fn value(text: &str) -> Result<Value> {
    // To YAML it is null, which nobody means who writes ''.
    if text.is_empty() {
        return Ok(Value::String(String::new()));
    }
    match yaml::parse(text.as_bytes(), text_limits()) {
        Ok((value, _)) => Ok(value),
        Err(error) => Err(Failure::new(format!("the value cannot be read: {error}"))
            .next("write it as JSON, and in quotes if it is a text")
            .into()),
    }
}

/// A number where there is a whole one, else the float.
pub(crate) fn number(percent: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 0 and 100"
    )]
    if percent.fract() == 0.0 {
        Value::from(percent as u64)
    } else {
        Value::from(percent)
    }
}

/// Reads JSON, or with `@FILE` a file of JSON or YAML, into an object.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>> {
    let value = match text.strip_prefix('@') {
        Some(file) => file_value(Path::new(file))?,
        None => json::parse(text.as_bytes(), text_limits()).map_err(|error| {
            Failure::new(format!("the JSON cannot be read: {error}"))
                .next("write an object, such as '{\"user\": \"u1\"}'")
        })?,
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(Failure::new("what was given is not an object")
            .next("write an object, such as '{\"user\": \"u1\"}'")
            .into()),
    }
}

/// Reads a file that has at most so many bytes, and no more of it than that.
pub(crate) fn read_bounded(file: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Failure::new(format!("cannot read `{}`: {error}", file.display()))
                .next("name a file that is there and that you may read")
        })?;
    if bytes.len() > bytes_max {
        let what = format!("`{}` has more than {bytes_max} bytes", file.display());
        return Err(Failure::new(what)
            .next("name a smaller file, or split this one")
            .into());
    }
    Ok(bytes)
}

/// Reads a file of YAML, or of JSON by its name.
pub(crate) fn file_value(file: &Path) -> Result<Value> {
    let bytes = read_bounded(file, limits::MANIFEST_BYTES_MAX)?;
    let is_json = file
        .extension()
        .is_some_and(|extension| extension == "json");
    let parsed = if is_json {
        json::parse(&bytes, text_limits())
    } else {
        yaml::parse(&bytes, text_limits()).map(|(value, _)| value)
    };
    parsed.map_err(|error| {
        let place = format!("{}:{}:{}", file.display(), error.line, error.column);
        Failure::new(format!("{place}: {}", error.detail))
            .code(plane_model::Code::TextInvalid)
            .next(error.next())
            .into()
    })
}

/// How much text is read from a file or an argument.
pub(crate) fn text_limits() -> text::Limits {
    text::Limits {
        bytes_max: limits::MANIFEST_BYTES_MAX,
        depth_max: limits::TEXT_DEPTH_MAX,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shares_are_percentages() {
        assert_eq!(share("on=25"), Ok(("on".to_owned(), 25.0)));
        assert_eq!(share("on=2.5%"), Ok(("on".to_owned(), 2.5)));
        for text in ["on", "=5", "on=101", "on=-1", "on=many"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let pairs = |names: &[&str]| {
            names
                .iter()
                .map(|it| ((*it).to_owned(), 1))
                .collect::<Vec<_>>()
        };
        assert!(once("--label", &pairs(&["a", "b"])).is_ok());
        let refused = once("--label", &pairs(&["a", "b", "a"])).unwrap_err();
        assert_eq!(refused.to_string(), "`--label a=…` is given twice");
    }

    #[test]
    fn a_revision_is_a_whole_number_and_the_error_says_so() {
        assert_eq!(revision("41"), Ok(41));
        for text in ["abc", "-1", "1.5", ""] {
            let refused = revision(text).unwrap_err();
            assert!(refused.starts_with("write a whole number"), "{refused}");
        }
    }

    #[test]
    fn values_are_yaml_scalars_or_json() {
        for (text, expected) in [
            ("5", json!(5)),
            ("true", json!(true)),
            ("abc", json!("abc")),
            ("1.10", json!(1.1)),
            ("\"1.10\"", json!("1.10")),
            ("\"5\"", json!("5")),
            ("[1, 2]", json!([1, 2])),
            ("{\"a\": 1}", json!({"a": 1})),
            ("https://example.com/x", json!("https://example.com/x")),
        ] {
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
    }
}
