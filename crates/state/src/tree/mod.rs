//! The file tree of a platform: documents in, files out, and back.
//!
//! [`read()`] turns the files of a tree into documents and says with file and line what is wrong;
//! [`write()`] turns documents into files that a person likes to read. Neither does I/O: the caller
//! lists the files. Start reading at [`read()`], then `layout.rs` (which file is what).
//!
//! Where things stand: `environments/NAME`, `tenants/ID` (with `pins`), `segments/NAME`,
//! `exclusion_groups/NAME`, `feature_flags/KEY` (the flag and, under `environments`, its targeting), `configs/DOC.schema`,
//! `configs/DOC/SELECTOR`, `registries/agents/…` and `registries/tools/…` (any name; the content
//! says which version it is), `registries/channels/ENVIRONMENT`, `registries/trust/NAMESPACE` and
//! `registries/status`; each as `.yaml`, `.yml` or `.json`. Tenant ids and selectors are
//! percent-encoded in file names. `{$file: prompts/x.md}` in place of a string stands for the text
//! of that file of the tree, with line breaks as LF.
//!
//! INVARIANT: reading what was written gives the same documents; only splits may come back as
//! percentages, and only where the percentages give the same slots again.

mod emit;
mod include;
mod layout;
mod percent;
mod read;
mod shape;
mod split;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;

use plane_model::{DocumentKey, Pointer, Violation, text};
use serde_json::Value;

pub use layout::FOLDERS;
pub use read::read;
pub(crate) use write::refuse_reserved;
pub use write::{Locks, WriteError, write};

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path below the tree's root, with `/` between its parts.
    pub path: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// What the files of a tree say.
#[derive(Debug, Default)]
pub struct Tree {
    /// The documents, in the order in which they are applied; complete only without errors.
    pub documents: Vec<TreeDocument>,
    /// What was passed over, by file.
    pub notes: Vec<Note>,
    /// All that is wrong, by file and line.
    pub errors: Vec<TreeError>,
    sources: Vec<Source>,
}

/// A document and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeDocument {
    /// Which document it is.
    pub key: DocumentKey,
    /// What it holds, as its author wrote it; of an agent or a tool the manifest.
    pub body: Value,
    /// The file that it stands in; [`Tree::path`] names it.
    pub file: usize,
    /// Where in the file the body begins.
    pub pointer: Pointer,
    /// Whether `default` of a channel is left out in the file, with its fields one level up.
    is_short: bool,
}

/// Something in a tree that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The file, or the folder with a `/` at its end.
    pub path: String,
    /// Why.
    pub detail: String,
    /// The folder of a tree that it was probably meant to be, if documents seem to stand in it.
    pub meant: Option<&'static str>,
}

/// A mistake in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeError {
    /// The path of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong; its pointer is into the file.
    pub violation: Violation,
}

/// Where in the files something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'t> {
    /// The path of the file.
    pub file: &'t str,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A file that holds documents, and where its parts stand.
#[derive(Debug)]
struct Source {
    path: String,
    map: text::SourceMap,
}

impl Tree {
    /// Names the file with this number; empty for a number that no document of the tree has.
    pub fn path(&self, file: usize) -> &str {
        self.sources
            .get(file)
            .map_or("", |source| source.path.as_str())
    }

    /// Says where the part at `pointer` of document `index` stands.
    ///
    /// Falls back to the nearest part around it that the file has, and to the start of the file.
    pub fn locate(&self, index: usize, pointer: &str) -> Place<'_> {
        match self.documents.get(index) {
            Some(document) => locate(&self.sources, document, pointer).1,
            None => Place {
                file: "",
                line: 1,
                column: 1,
            },
        }
    }

    /// Turns a finding about document `index` into one about its file.
    pub fn error(&self, index: usize, violation: Violation) -> TreeError {
        match self.documents.get(index) {
            Some(document) => error(&self.sources, document, violation),
            None => TreeError {
                file: String::new(),
                line: 1,
                column: 1,
                violation,
            },
        }
    }
}

fn locate<'t>(
    sources: &'t [Source],
    document: &TreeDocument,
    pointer: &str,
) -> (Pointer, Place<'t>) {
    let tail = match pointer.strip_prefix("/default") {
        Some(rest) if document.is_short && (rest.is_empty() || rest.starts_with('/')) => rest,
        _ => pointer,
    };
    let tail = tail.parse().unwrap_or_default();
    let whole = document.pointer.join(&tail);
    let place = match sources.get(document.file) {
        Some(source) => source.place(&whole),
        None => Place {
            file: "",
            line: 1,
            column: 1,
        },
    };
    (whole, place)
}

fn error(sources: &[Source], document: &TreeDocument, mut violation: Violation) -> TreeError {
    let (pointer, place) = locate(sources, document, &violation.pointer);
    violation.pointer = pointer.into();
    TreeError {
        file: place.file.to_owned(),
        line: place.line,
        column: place.column,
        violation,
    }
}

impl Source {
    fn place(&self, pointer: &Pointer) -> Place<'_> {
        let position = self.map.line(pointer);
        Place {
            file: &self.path,
            line: position.line,
            column: position.column,
        }
    }

    /// A finding whose pointer is into this file.
    fn error(&self, violation: Violation) -> TreeError {
        let place = self.place(&violation.pointer.parse().unwrap_or_default());
        TreeError {
            file: self.path.clone(),
            line: place.line,
            column: place.column,
            violation,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.detail)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            violation,
        } = self;
        write!(f, "{file}:{line}:{column}: {violation}")
    }
}
