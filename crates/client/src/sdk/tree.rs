//! A tree of files in place of a server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plane_model::{Code, Timestamp, Violation};
use plane_state::tree::{self, File, TreeError};
use plane_state::{Action, Change, Expect, Op};

use super::core::Core;
use super::error::{Error, Finding};
use super::held::{Held, Origin};
use super::local::{Local, Revisions};
use super::process::Process;

/// The largest file of a tree that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How deep folders may nest; deeper ones are links in a circle.
const DEPTH_MAX: usize = 32;

/// Reads a tree again whenever one of its files is another.
#[derive(Debug)]
pub(crate) struct TreeFollower {
    root: PathBuf,
    /// What was read.
    seen: Option<Stamp>,
    /// What it looked like when it was last seen to be another.
    moving: Option<Stamp>,
    is_unreadable: bool,
    revisions: Revisions,
}

impl TreeFollower {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            seen: None,
            moving: None,
            is_unreadable: false,
            revisions: Revisions::default(),
        }
    }

    pub(crate) fn look(&mut self, core: &Core, process: &Process) {
        let stamp = match stamp(&self.root) {
            Ok(stamp) => stamp,
            Err(error) => {
                // Said once, and again after it was there in between.
                if !std::mem::replace(&mut self.is_unreadable, true) {
                    core.failed(process, unreadable(&self.root, &error));
                }
                self.seen = None;
                return;
            }
        };
        self.is_unreadable = false;
        if self.seen.as_ref() == Some(&stamp) {
            core.confirm();
            return;
        }
        // What is still being written is read once it has been still from one look to the next.
        let is_still = self.seen.is_none() || self.moving.as_ref() == Some(&stamp);
        if !is_still {
            self.moving = Some(stamp);
            return;
        }
        self.moving = None;
        self.seen = Some(stamp);
        match self.load(core) {
            Ok(Some(held)) => core.serve(process, held),
            Ok(None) => core.confirm(),
            Err(error) => core.failed(process, error),
        }
    }

    pub(crate) fn load(&mut self, core: &Core) -> Result<Option<Held>, Error> {
        let local = load(&self.root, core.now())?;
        let before = self.revisions.clone();
        if !self.revisions.advance(local.state()) {
            return Ok(None);
        }
        let Some(view) = local.view(&core.name, &self.revisions) else {
            self.revisions = before;
            return Err(Error::EnvironmentNotFound {
                environment: core.name.to_string(),
                known: local.environments(),
            });
        };
        Ok(Some(Held {
            view,
            origin: Origin::Tree,
            place: local.place(self.revisions.newest()),
            cause: "the tree was read".into(),
            on_demand: None,
        }))
    }
}

/// What the files of a tree look like from outside: equal as long as nobody touched one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// Looks at the files of a tree without reading them.
pub(crate) fn stamp(root: &Path) -> io::Result<Stamp> {
    let mut found = Vec::new();
    walk(root, "", 0, &mut |_, path, metadata| {
        found.push((path.to_owned(), metadata.len(), metadata.modified().ok()));
        Ok(())
    })?;
    found.sort();
    Ok(Stamp(found))
}

/// Reads a tree and validates it as a server does when it is applied to nothing.
///
/// # Errors
/// [`Error::Tree`] with all that is wrong, by file and line.
pub(crate) fn load(root: &Path, now: Timestamp) -> Result<Local, Error> {
    let files = read(root).map_err(|error| unreadable(root, &error))?;
    let tree = tree::read(&files);
    let refused = |errors: Vec<TreeError>| Error::Tree {
        root: root.display().to_string(),
        findings: errors.into_iter().map(Finding::from).collect(),
    };
    if !tree.errors.is_empty() {
        return Err(refused(tree.errors));
    }
    if tree.documents.is_empty() {
        let detail = "it holds no documents";
        return Err(whole(root, Code::CommitEmpty, detail.to_owned()));
    }
    let ops = tree.documents.iter().map(|document| Op {
        key: document.key.clone(),
        change: Change::Put(document.body.clone()),
        expect: Expect::Absent,
    });
    let mut local = Local::new();
    local
        .commit(Action::Apply, ops.collect(), now)
        .map_err(|found| {
            let located = found
                .into_iter()
                .map(|violation| match op(&violation.pointer) {
                    Some((index, pointer)) => tree.error(
                        index,
                        Violation {
                            pointer,
                            ..violation
                        },
                    ),
                    None => TreeError {
                        file: String::new(),
                        line: 1,
                        column: 1,
                        violation,
                    },
                });
            refused(located.collect())
        })?;
    Ok(local)
}

/// The number of the document that a pointer is about, and the rest of the pointer.
fn op(pointer: &str) -> Option<(usize, String)> {
    let rest = pointer.strip_prefix("/ops/")?;
    let (index, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let inner = rest.strip_prefix("body").unwrap_or("");
    Some((index.parse().ok()?, inner.to_owned()))
}

fn read(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    walk(root, "", 0, &mut |name, path, metadata| {
        if metadata.len() <= FILE_BYTES_MAX {
            files.push(File {
                path: name.to_owned(),
                bytes: fs::read(path)?,
            });
        }
        Ok(())
    })?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Visits the files below `dir`, but for hidden ones, with their paths below the root.
fn walk(
    dir: &Path,
    below: &str,
    depth: usize,
    visit: &mut dyn FnMut(&str, &Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        let inner = if below.is_empty() {
            name.to_owned()
        } else {
            format!("{below}/{name}")
        };
        let path = entry.path();
        // Followed: where configuration is mounted, files are links to the version that holds.
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // It went away since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            if depth < DEPTH_MAX && !entry.file_type()?.is_symlink() {
                walk(&path, &inner, depth + 1, visit)?;
            }
        } else if metadata.is_file() {
            visit(&inner, &path, &metadata)?;
        }
    }
    Ok(())
}

/// The tree cannot be read.
pub(crate) fn unreadable(root: &Path, error: &io::Error) -> Error {
    whole(
        root,
        Code::TreeInvalid,
        format!("it cannot be read: {error}"),
    )
}

fn whole(root: &Path, code: Code, detail: String) -> Error {
    let next = "name the directory that holds environments/, feature_flags/, configs/, …";
    Error::Tree {
        root: root.display().to_string(),
        findings: vec![Finding {
            file: String::new(),
            line: 1,
            column: 1,
            violation: Violation::new(code, "", detail).next(next),
        }],
    }
}

impl From<TreeError> for Finding {
    fn from(error: TreeError) -> Self {
        let TreeError {
            file,
            line,
            column,
            violation,
        } = error;
        Self {
            file,
            line,
            column,
            violation,
        }
    }
}
