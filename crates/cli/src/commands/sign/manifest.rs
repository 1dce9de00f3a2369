//! Manifest files: reading them with the texts that they take in, and where their parts stand.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use plane_model::text::SourceMap;
use plane_model::{ArtifactKind, Code, Pointer, limits, yaml};
use plane_state::tree;
use serde_json::Value;

use crate::failure::{Failure, Located};
use crate::parse::{read_bounded, text_limits};

/// A manifest file, as text and as a value.
#[derive(Debug)]
pub(crate) struct Text {
    file: PathBuf,
    /// The text.
    pub(super) content: String,
    /// What it says, with the texts of other files of its tree in the place of `$file`.
    pub(super) value: Value,
    map: SourceMap,
}

impl Text {
    /// Reads a file.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let content = String::from_utf8(read_bounded(file, limits::MANIFEST_BYTES_MAX)?)
            .with_context(|| format!("`{}` is not UTF-8", file.display()))?;
        Self::parse(file, content)
    }

    /// Reads text that stands, or will stand, in a file.
    pub(super) fn parse(file: &Path, content: String) -> Result<Self> {
        let (mut value, map) = yaml::parse(content.as_bytes(), text_limits()).map_err(|error| {
            let place = format!("{}:{}:{}", file.display(), error.line, error.column);
            Failure::new(format!("{place}: {}", error.detail))
                .code(Code::TextInvalid)
                .next(error.next())
        })?;
        if has_includes(&value) {
            expand(file, &content, &mut value)?;
        }
        Ok(Self {
            file: file.to_owned(),
            content,
            value,
            map,
        })
    }

    /// `FILE:LINE:COLUMN` of a part.
    pub(crate) fn place(&self, pointer: &str) -> String {
        let pointer: Pointer = pointer.parse().unwrap_or_default();
        let position = self.map.line(&pointer);
        format!(
            "{}:{}:{}",
            self.file.display(),
            position.line,
            position.column
        )
    }

    /// The value without what signing fills in.
    pub(super) fn without_signature(&self) -> Value {
        let mut value = self.value.clone();
        if let Value::Object(members) = &mut value {
            members.remove("checksum_sha256");
            members.remove("signature");
        }
        value
    }
}

/// Reads a manifest file for publishing.
pub(crate) fn read_manifest(file: &Path, _kind: ArtifactKind) -> Result<(Text, Value)> {
    let text = Text::read(file)?;
    let value = text.value.clone();
    Ok((text, value))
}

/// Whether a file holds an agent or a tool: as was said, by its place in a tree, or by its content.
pub(super) fn kind_of(
    file: &Path,
    said: Option<ArtifactKind>,
    value: &Value,
) -> Result<ArtifactKind> {
    if let Some(kind) = said {
        return Ok(kind);
    }
    let folder = std::path::absolute(file).ok().and_then(|path| {
        path.parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
            .map(str::to_owned)
    });
    match folder.as_deref() {
        Some("agents") => return Ok(ArtifactKind::Agent),
        Some("tools") => return Ok(ArtifactKind::Tool),
        _ => {}
    }
    let has = |field: &str| {
        value
            .get("metadata")
            .is_some_and(|it| it.get(field).is_some())
    };
    match (has("system_prompt") || has("tools"), has("inputs_schema")) {
        (true, false) => Ok(ArtifactKind::Agent),
        (false, true) => Ok(ArtifactKind::Tool),
        _ => Err(
            Failure::new(format!("`{}` may be an agent or a tool", file.display()))
                .next("say which: --kind agent or --kind tool")
                .into(),
        ),
    }
}

/// The tree that a manifest file stands in: what holds its `registries/agents` or `registries/tools`.
pub(super) fn tree_of(file: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(file).ok()?;
    let folder = path.parent()?;
    let registries = folder.parent()?;
    let is_one = matches!(folder.file_name()?.to_str()?, "agents" | "tools");
    (is_one && registries.file_name()? == "registries")
        .then(|| registries.parent().map(Path::to_owned))?
}

fn has_includes(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.contains_key("$file") || members.values().any(has_includes)
        }
        Value::Array(items) => items.iter().any(has_includes),
        _ => false,
    }
}

/// Puts the texts that the file takes in from its tree into the value, as reading the tree does.
fn expand(file: &Path, content: &str, value: &mut Value) -> Result<()> {
    let root = tree_of(file).ok_or_else(|| {
        Failure::new(format!(
            "`{}` takes in other files with `$file`, but stands in no tree",
            file.display()
        ))
        .next("put it into registries/agents or registries/tools of its tree")
    })?;
    let folder = file
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let path = format!("registries/{}/manifest.yaml", folder.unwrap_or("agents"));
    // Without checksum and signature, which may be placeholders yet.
    let bare = super::edit::set(
        content,
        "checksum_sha256",
        "null",
        super::edit::Position::End,
    );
    let bare = super::edit::set(&bare, "signature", "null", super::edit::Position::End);
    let bare = bare
        .replace("checksum_sha256: null\n", "")
        .replace("signature: null\n", "");
    let mut files = crate::commands::tree::texts(&root)?;
    files.push(tree::File {
        path: path.clone(),
        bytes: bare.into_bytes(),
    });
    let read = tree::read(&files);
    let findings: Vec<Located> = read
        .errors
        .iter()
        .filter(|error| error.file == path)
        .map(|error| Located::new(file.display().to_string(), &error.violation))
        .collect();
    if !findings.is_empty() {
        let what = format!("`{}` cannot be read", file.display());
        return Err(Failure::new(what).findings(findings).into());
    }
    let Some(document) = read.documents.into_iter().next() else {
        return Ok(());
    };
    let kept: Vec<(String, Value)> = ["checksum_sha256", "signature"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), value.get(field)?.clone())))
        .collect();
    *value = document.body;
    if let Value::Object(members) = value {
        members.extend(kept);
    }
    Ok(())
}
