//! Manifest files: reading them with the texts that they take in, and where their parts stand.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plane_model::text::SourceMap;
use plane_model::{ArtifactKind, Code, Pointer, Violation, limits, yaml};
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
        let bytes = read_bounded(file, limits::MANIFEST_BYTES_MAX)?;
        let content = String::from_utf8(bytes).map_err(|_| {
            Failure::new(format!("`{}` is not UTF-8", file.display()))
                .code(Code::TextInvalid)
                .next("save it as UTF-8")
        })?;
        Self::parse(file, content)
    }

    /// Reads text that stands, or will stand, in a file.
    pub(super) fn parse(file: &Path, content: String) -> Result<Self> {
        let (value, map) = yaml::parse(content.as_bytes(), text_limits()).map_err(|error| {
            let place = format!("{}:{}:{}", file.display(), error.line, error.column);
            Failure::new(format!("{place}: {}", error.detail))
                .code(Code::TextInvalid)
                .next(error.next())
        })?;
        let mut text = Self {
            file: file.to_owned(),
            content,
            value,
            map,
        };
        let mut includes = Vec::new();
        find_includes(&text.value, &Pointer::root(), &mut includes);
        if !includes.is_empty() {
            text.expand(&includes)?;
        }
        Ok(text)
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

    /// Puts the texts that are taken in from the file's tree into the value, as reading the tree does.
    fn expand(&mut self, includes: &[Pointer]) -> Result<()> {
        let shown = self.file.display().to_string();
        let cannot = |findings: Vec<Located>| {
            Failure::new(format!("`{shown}` cannot be read"))
                .code(Code::FieldInvalid)
                .findings(findings)
        };
        let Some(root) = tree_of(&self.file) else {
            let findings = includes.iter().map(|pointer| {
                let detail =
                    "`$file` takes in a text of the manifest's tree, and it stands in none";
                let violation = Violation::new(Code::FieldInvalid, pointer.as_str(), detail).next(
                    "put it into registries/agents or registries/tools of its tree, or write the \
                     text in the place of `$file`",
                );
                Located::new(self.place(pointer.as_str()), &violation)
            });
            return Err(cannot(findings.collect()).into());
        };
        let folder = self.file.parent().and_then(Path::file_name);
        let folder = folder.and_then(|name| name.to_str()).unwrap_or("agents");
        let path = format!("registries/{folder}/manifest.yaml");
        // Without checksum and signature, which may be placeholders yet.
        let end = super::edit::Position::End;
        let bare = super::edit::set(&self.content, "checksum_sha256", "null", end);
        let bare = super::edit::set(&bare, "signature", "null", end)
            .replace("checksum_sha256: null\n", "")
            .replace("signature: null\n", "");
        let mut files = crate::commands::tree::texts(&root)?;
        files.push(tree::File {
            path: path.clone(),
            bytes: bare.into_bytes(),
        });
        let read = tree::read(&files);
        let errors = read.errors.iter().filter(|error| error.file == path);
        let findings: Vec<_> = errors
            .map(|error| Located::new(self.place(&error.violation.pointer), &error.violation))
            .collect();
        if !findings.is_empty() {
            return Err(cannot(findings).into());
        }
        let Some(document) = read.documents.into_iter().next() else {
            return Ok(());
        };
        let mut expanded = document.body;
        if let Value::Object(members) = &mut expanded {
            for field in ["checksum_sha256", "signature"] {
                let kept = self.value.get(field).cloned();
                members.extend(kept.map(|value| (field.to_owned(), value)));
            }
        }
        self.value = expanded;
        Ok(())
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

/// Where texts of other files are taken in; a `$file` that names none may be a property in a schema.
fn find_includes(value: &Value, pointer: &Pointer, found: &mut Vec<Pointer>) {
    match value {
        Value::Object(members) => {
            let file = members.get("$file").filter(|it| it.is_string());
            found.extend(file.map(|_| pointer.key("$file")));
            for (key, member) in members {
                find_includes(member, &pointer.key(key), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_includes(item, &pointer.index(index), found);
            }
        }
        _ => {}
    }
}
