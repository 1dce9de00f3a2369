//! `plan`, `apply`, `export`: a platform as a tree of files.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use plane_api::{DocumentName, TreeDocument, TreeReply};
use plane_client::{Client, TreeOptions, Write};
use plane_model::{Code, DocumentKey, Violation};
use plane_state::tree::{self, File, Locks, Tree};

use crate::failure::{Failure, Located, into_body, relocated};
use crate::output::{Page, Paint, changes, count, document_name, receipt};
use crate::session::{Session, note};
use crate::{EXIT_OK, EXIT_USAGE};

/// How many documents are named to a person under each heading.
const NAMED_MAX: usize = 10;
/// The largest file of a tree that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Clone, Args)]
struct Options {
    /// The tree: the directory that holds environments/, tenants/, configs/, registries/, …
    tree: PathBuf,
    /// Delete what a tree has put and is not in this one; never published versions
    #[arg(long)]
    prune: bool,
    /// Overwrite what people changed since the tree was last applied
    #[arg(long)]
    take_over: bool,
    /// How many tenants the plan names for each way in which something would change
    #[arg(long, value_name = "COUNT")]
    impact_tenants: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Mistakes are reported with file and line: all of those in the files alone first, before the server \
is asked, then all that the server finds in what they mean together.

Examples:
  control-plane plan examples/aiaas
  control-plane plan platform/ --prune --exit-code")]
pub(crate) struct Plan {
    #[command(flatten)]
    options: Options,
    /// End with status 2 if there are changes
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
All of the tree is applied, or nothing. What people changed since the tree was last applied is \
kept and named, unless --take-over; what a tree has put and is not in this one stays and is named, \
unless --prune. An installation has one tree: two would prune each other.

Examples:
  control-plane apply examples/aiaas
  control-plane apply platform/ --prune --yes --reason 'release 42'")]
pub(crate) struct Apply {
    #[command(flatten)]
    options: Options,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane export backup/
  control-plane export yesterday/ --at 2026-05-01T00:00:00Z")]
pub(crate) struct Export {
    /// The directory to write; it must be empty or not exist
    dir: PathBuf,
    /// Write the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
    /// Write the locks of channels and pins too, so that applying it gives exactly these tools
    #[arg(long)]
    locks: bool,
}

impl Plan {
    pub(crate) fn run(&self, session: &Session) -> Result<u8> {
        let tree = read(&self.options.tree)?;
        show_notes(session, &tree);
        check_prune(&self.options, &tree)?;
        let write = Write {
            dry_run: true,
            impact_tenants: self.options.impact_tenants,
            ..Write::default()
        };
        let reply = ask(&session.client()?, &self.options, &tree, &write)?;
        session.show(&reply, |page| show(page, &reply, &self.options))?;
        let has_changes = !reply.plan.changes.is_empty();
        Ok(if self.exit_code && has_changes {
            EXIT_USAGE
        } else {
            EXIT_OK
        })
    }
}

impl Apply {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let tree = read(&self.options.tree)?;
        show_notes(session, &tree);
        check_prune(&self.options, &tree)?;
        let client = session.client()?;
        let is_asked = !self.yes && !session.is_json() && io::stdin().is_terminal();
        if is_asked {
            let write = Write {
                dry_run: true,
                impact_tenants: self.options.impact_tenants,
                ..Write::default()
            };
            let planned = ask(&client, &self.options, &tree, &write)?;
            session.show(&planned, |page| show(page, &planned, &self.options))?;
            if planned.plan.changes.is_empty() {
                return Ok(());
            }
            if !confirm()? {
                note("nothing was applied");
                return Ok(());
            }
        }
        let write = Write {
            reason: self.reason.clone(),
            dry_run: false,
            ..Write::default()
        };
        let reply = ask(&client, &self.options, &tree, &write)?;
        session.show(&reply, |page| {
            if !is_asked {
                show(page, &reply, &self.options);
            }
            if let Some(it) = reply
                .committed
                .as_ref()
                .filter(|it| it.changed || it.repeated)
            {
                receipt(page, it);
            }
        })
    }
}

fn confirm() -> Result<bool> {
    let mut err = io::stderr();
    write!(err, "\nApply this? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Reads a tree; all of its mistakes are one error.
pub(crate) fn read(root: &Path) -> Result<Tree> {
    let mut files = Vec::new();
    if !root.is_dir() {
        return Err(
            Failure::new(format!("`{}` is not a directory", root.display()))
                .next("name the directory that holds environments/, feature_flags/, configs/, …")
                .into(),
        );
    }
    collect(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let tree = tree::read(&files);
    if tree.errors.is_empty() && tree.documents.is_empty() {
        return Err(
            Failure::new(format!("`{}` holds no documents", root.display()))
                .next("name the directory that holds environments/, feature_flags/, configs/, …")
                .into(),
        );
    }
    if tree.errors.is_empty() {
        return Ok(tree);
    }
    let findings = tree.errors.iter().map(|error| {
        let place = place(root, &error.file, error.line, error.column);
        Located::new(place, &error.violation)
    });
    Err(Failure::new(format!(
        "the tree `{}` has {}",
        root.display(),
        count(tree.errors.len(), "mistake")
    ))
    .findings(findings)
    .into())
}

/// Says what was passed over, to a person.
fn show_notes(session: &Session, tree: &Tree) {
    if session.is_json() {
        return;
    }
    for passed in &tree.notes {
        note(&format!("note: {passed}"));
    }
}

/// Refuses to delete what a misspelt folder was meant to say.
fn check_prune(options: &Options, tree: &Tree) -> Result<()> {
    let misspelt = tree.notes.iter().find_map(|it| Some((&it.path, it.meant?)));
    let Some((path, meant)) = misspelt.filter(|_| options.prune) else {
        return Ok(());
    };
    let what =
        format!("`{path}` is not a folder of a tree, and --prune would delete what stands in it");
    let next = format!("rename it to `{meant}/`, move it out of the tree, or leave --prune out");
    Err(Failure::new(what).code(Code::TreeInvalid).next(next).into())
}

/// Reads the trust of a tree; mistakes elsewhere in it do not matter.
pub(crate) fn read_trust(root: &Path) -> Result<Tree> {
    let mut files = Vec::new();
    let dir = root.join("registries/trust");
    if dir.is_dir() {
        collect(&dir, "registries/trust", &mut files)?;
    }
    let tree = tree::read(&files);
    if tree.errors.is_empty() {
        return Ok(tree);
    }
    let findings = tree.errors.iter().map(|error| {
        Located::new(
            place(root, &error.file, error.line, error.column),
            &error.violation,
        )
    });
    Err(Failure::new("the trust of the tree cannot be read")
        .findings(findings)
        .into())
}

/// Reads the files of a tree that hold no documents: prompts and other texts.
pub(crate) fn texts(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    files.retain(|file| !holds_documents(&file.path));
    Ok(files)
}

/// Refuses what cannot be read: passed over, its documents would be missing, and `--prune` would delete them.
fn unread(what: impl Into<String>) -> anyhow::Error {
    let next = "put a file or a folder itself in its place, or move it out of the tree";
    Failure::new(what).next(next).into()
}

/// Whether a file of this name is read as documents, by its ending.
fn holds_documents(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|it| it.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn place(root: &Path, file: &str, line: usize, column: usize) -> String {
    format!("{}:{line}:{column}", root.join(file).display())
}

fn collect(dir: &Path, below: &str, files: &mut Vec<File>) -> Result<()> {
    let cannot_read = |path: &Path, error: &std::io::Error| {
        unread(format!("cannot read `{}`: {error}", path.display()))
    };
    for entry in fs::read_dir(dir).map_err(|error| cannot_read(dir, &error))? {
        let entry = entry.map_err(|error| cannot_read(dir, &error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let shown = entry.path().display().to_string();
            if holds_documents(&shown) {
                return Err(unread(format!("the name of `{shown}` is not UTF-8")));
            }
            note(&format!("passed over {shown}: its name is not UTF-8"));
            continue;
        };
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        // Every tree has one, and nobody takes it for documents.
        if below.is_empty() && name == "README.md" {
            continue;
        }
        let path = if below.is_empty() {
            name.to_owned()
        } else {
            format!("{below}/{name}")
        };
        let metadata =
            fs::metadata(entry.path()).map_err(|error| cannot_read(&entry.path(), &error))?;
        if metadata.is_dir() {
            let kind = entry.file_type();
            let kind = kind.map_err(|error| cannot_read(&entry.path(), &error))?;
            if kind.is_symlink() {
                let folder = path.split('/').next().unwrap_or_default();
                if tree::FOLDERS.contains(&folder) {
                    return Err(unread(format!("`{path}` is a link to a directory")));
                }
                note(&format!("passed over {path}: it is a link to a directory"));
                continue;
            }
            collect(&entry.path(), &path, files)?;
        } else if metadata.is_file() {
            if metadata.len() > FILE_BYTES_MAX {
                if holds_documents(&path) {
                    let what = format!("`{path}` is larger than {} MiB", FILE_BYTES_MAX >> 20);
                    return Err(Failure::new(what)
                        .next("split it into several files, or move it out of the tree")
                        .into());
                }
                note(&format!(
                    "passed over {path}: it is larger than {} MiB",
                    FILE_BYTES_MAX >> 20
                ));
                continue;
            }
            let bytes = fs::read(entry.path());
            let bytes = bytes.map_err(|error| cannot_read(&entry.path(), &error))?;
            files.push(File { path, bytes });
        } else if holds_documents(&path) {
            return Err(unread(format!("`{path}` is no file")));
        } else {
            note(&format!("passed over {path}: it is no file"));
        }
    }
    Ok(())
}

fn ask(client: &Client, options: &Options, tree: &Tree, write: &Write) -> Result<TreeReply> {
    let documents = tree
        .documents
        .iter()
        .map(|document| TreeDocument {
            kind: document.key.kind(),
            scope: document.key.scope().to_owned(),
            name: document.key.name().to_owned(),
            body: document.body.clone(),
        })
        .collect();
    let choice = TreeOptions {
        prune: options.prune,
        take_over: options.take_over,
    };
    client
        .apply_tree(documents, choice, write)
        .map_err(|error| {
            let root = &options.tree;
            let what = format!("the tree `{}` is refused", root.display());
            relocated(&what, error, |pointer| in_file(root, tree, pointer))
        })
}

/// Where in the tree a pointer into the request is.
fn in_file(root: &Path, tree: &Tree, pointer: &str) -> Option<String> {
    let (index, below) = into_body(pointer, "/documents")?;
    tree.documents.get(index)?;
    Some(place_text(root, &tree.locate(index, below)))
}

fn place_text(root: &Path, it: &tree::Place<'_>) -> String {
    place(root, it.file, it.line, it.column)
}

/// Turns what a node found wrong with a tree into one error with file and line.
pub(crate) fn refused(root: &Path, tree: &Tree, violations: &[Violation]) -> Failure {
    let findings = violations.iter().map(|violation| {
        let place = in_file(root, tree, &violation.pointer);
        Located::new(
            place.unwrap_or_else(|| violation.pointer.clone()),
            violation,
        )
    });
    Failure::new(format!(
        "the tree `{}` is refused: {}",
        root.display(),
        count(violations.len(), "finding")
    ))
    .findings(findings)
}

fn show(page: &mut Page, reply: &TreeReply, options: &Options) {
    changes(page, &reply.plan);
    names(
        page,
        "Kept, because people changed it since the tree was last applied",
        &reply.kept,
    );
    if !reply.kept.is_empty() {
        page.line(format!(
            "  `control-plane export` shows what it is now; `apply {} --take-over` overwrites it",
            options.tree.display()
        ));
    }
    let left = count(reply.left.len(), "document");
    names(
        page,
        &format!("Not in this tree, and left as it is: {left} that a tree has put"),
        &reply.left,
    );
    if !reply.left.is_empty() && !options.prune {
        page.line(
            "  --prune deletes them, whichever tree they came from: an installation has one tree; published \
             versions always stay",
        );
    }
    if reply.plan.changes.is_empty() {
        page.gap();
        page.line(format!(
            "nothing to do: everything is so at revision {}",
            reply.plan.revision
        ));
    }
}

fn names(page: &mut Page, heading: &str, names: &[DocumentName]) {
    if names.is_empty() {
        return;
    }
    page.heading(heading);
    for name in names.iter().take(NAMED_MAX) {
        let line = page.paint(
            Paint::Warn,
            &document_name(name.kind.as_str(), &name.scope, &name.name),
        );
        page.line(format!("  {line}"));
    }
    if names.len() > NAMED_MAX {
        let more = names.len() - NAMED_MAX;
        page.line(format!("  and {more} more; --output json names all"));
    }
}

impl Export {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        if self
            .dir
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
        {
            return Err(
                Failure::new(format!("`{}` is not empty", self.dir.display()))
                    .next("name a directory that does not exist yet")
                    .into(),
            );
        }
        let reply = session.client()?.export_tree(self.at.as_deref())?;
        let mut documents = Vec::new();
        for document in &reply.documents {
            let key = DocumentKey::new(document.kind, &document.scope, &document.name)
                .map_err(|violation| Failure::new(violation.to_string()).code(violation.code))?;
            documents.push((key, document.body.clone()));
        }
        let locks = if self.locks {
            Locks::Keep
        } else {
            Locks::LeaveOut
        };
        let files = tree::write(
            documents.iter().map(|(key, body)| (key, body.clone())),
            locks,
        )
        .map_err(|error| {
            let violation = error.violation();
            Failure::new(violation.detail)
                .code(Code::FieldInvalid)
                .next(violation.next)
        })?;
        for file in &files {
            let path = self.dir.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)
                    .with_context(|| format!("cannot create `{}`", parent.display()))?;
            }
            fs::write(&path, &file.bytes)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let value =
            serde_json::json!({ "dir": self.dir, "revision": reply.revision, "files": paths });
        session.show(&value, |page| {
            page.line(format!(
                "wrote {} with {} of revision {} to {}",
                count(files.len(), "file"),
                count(reply.documents.len(), "document"),
                reply.revision,
                self.dir.display()
            ));
        })
    }
}
