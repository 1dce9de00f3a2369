//! `cargo xtask openapi`: the committed `OpenAPI` document is what the code gives.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{capture, cargo, root};

/// Where the document is committed.
pub(crate) const FILE: &str = "openapi/control-plane-v1.json";

/// Writes the document that the code gives.
pub(crate) fn write() -> Result<()> {
    let text = generate()?;
    let path = path();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(&path, text).with_context(|| format!("cannot write {FILE}"))?;
    println!("openapi: wrote {FILE}");
    Ok(())
}

/// Fails if the committed document is not what the code gives.
pub(crate) fn check() -> Result<()> {
    let committed = fs::read_to_string(path())
        .with_context(|| format!("cannot read {FILE}; `cargo xtask openapi` writes it"))?;
    if let Some(difference) = first_difference(&committed, &generate()?) {
        bail!(
            "{FILE} is not what the code gives: {difference}; run `cargo xtask openapi` and commit it"
        );
    }
    println!("openapi: {FILE} is what the code gives");
    Ok(())
}

fn path() -> PathBuf {
    root().join(FILE)
}

fn generate() -> Result<String> {
    let printed = capture(&mut cargo(&[
        "run",
        "--quiet",
        "--package",
        "control-plane",
        "--",
        "openapi",
    ]))?;
    pretty(&printed)
}

fn pretty(document: &str) -> Result<String> {
    let document: Value = serde_json::from_str(document)
        .context("`control-plane openapi` did not print a JSON document")?;
    Ok(format!("{document:#}\n"))
}

fn first_difference(committed: &str, generated: &str) -> Option<String> {
    if committed == generated {
        return None;
    }
    let mut committed_lines = committed.lines();
    let mut generated_lines = generated.lines();
    let mut number = 0_u32;
    loop {
        number += 1;
        let (old, new) = (committed_lines.next(), generated_lines.next());
        if old == new && old.is_some() {
            continue;
        }
        let old = old.map_or("the end of the file", str::trim);
        let new = new.map_or("the end of the file", str::trim);
        return Some(format!("line {number} is `{old}`, should be `{new}`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_written_with_one_form_whatever_the_order_of_its_keys() {
        let one = pretty(r#"{"b":1,"a":[2]}"#).expect("JSON");
        assert_eq!(one, pretty(r#"{ "a": [2], "b": 1 }"#).expect("JSON"));
        assert!(one.ends_with("}\n"), "{one}");
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        assert!(pretty("openapi: 3.1.0").is_err());
    }

    #[test]
    fn a_stale_document_is_named_by_its_first_line_that_differs() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let difference = first_difference("a\n  b\n", "a\n  c\n").expect("they differ");
        assert_eq!(difference, "line 2 is `b`, should be `c`");
        let difference = first_difference("a\n", "a\nb\n").expect("they differ");
        assert_eq!(difference, "line 2 is `the end of the file`, should be `b`");
    }
}
