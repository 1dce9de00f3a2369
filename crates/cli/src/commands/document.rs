//! What is alike for documents of every kind: written from a file, and deleted.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use plane_api::{CommitRequest, OpChange, OpRequest};
use plane_client::{Client, Condition, Error};
use plane_model::{DocumentKey, Kind, limits};
use plane_state::tree::{self, File};
use serde_json::Value;

use super::{WriteArgs, show_commit};
use crate::failure::{Failure, Located, into_body, relocated};
use crate::output::count;
use crate::parse::read_bounded;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
What is in use is not deleted: the answer says by what. The log keeps it, and `revert` brings it \
back.

Examples:
  control-plane flag delete beta_features --dry-run
  control-plane tenant delete tenant901 --reason 'they left'
  control-plane environment delete qa
  control-plane segment delete early_access --dry-run
  control-plane exclusion-group delete checkout")]
pub(crate) struct Delete {
    /// Its name
    name: String,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SetFile {
    /// Its name
    name: String,
    /// The file that says what it is
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    write: WriteArgs,
}

impl Delete {
    /// Deletes the document of this kind, and with a flag all its targeting.
    pub(crate) fn run(&self, kind: Kind, session: &Session) -> Result<()> {
        let key = key(kind, "", &self.name)?;
        let client = session.client()?;
        let mut keys = vec![key.clone()];
        if kind == Kind::Flag {
            for environment in super::environment::all(&client, None)? {
                let targeting = DocumentKey::new(Kind::Targeting, environment.as_str(), key.name());
                keys.extend(targeting.ok());
            }
        }
        delete(session, &client, &keys, &self.write)
    }
}

impl SetFile {
    /// Writes the document that stands in `folder` of a tree.
    pub(crate) fn run(&self, folder: &str, session: &Session) -> Result<()> {
        let place = format!("{folder}/{}", self.name);
        put_file(session, &place, &self.file, Existing::Replaced, &self.write)
    }
}

/// The key of a document.
pub(crate) fn key(kind: Kind, scope: &str, name: &str) -> Result<DocumentKey> {
    DocumentKey::new(kind, scope, name)
        .map_err(|it| Failure::new(it.detail).code(it.code).next(it.next).into())
}

/// Deletes in one commit what is there of these; the first must be.
pub(crate) fn delete(
    session: &Session,
    client: &Client,
    keys: &[DocumentKey],
    write: &WriteArgs,
) -> Result<()> {
    let mut ops = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let found = match client.document::<Value>(key, None) {
            Ok(found) => found,
            Err(Error::Problem(problem)) if index > 0 && problem.code == "NOT_FOUND" => continue,
            Err(error) => return Err(error.into()),
        };
        ops.push((key, found.revision));
    }
    let write = write.to_write();
    let reply = if let [(key, revision)] = ops.as_slice() {
        client.delete_document(key, Condition::Revision(*revision), &write)?
    } else {
        let ops = ops.iter().map(|(key, revision)| OpRequest {
            if_revision: Some(*revision),
            ..op(OpChange::Delete, key, None)
        });
        let request = CommitRequest {
            reason: write.reason,
            ops: ops.collect(),
        };
        client.commit(&request, write.dry_run)?
    };
    show_commit(session, &reply)
}

/// An operation without a condition.
pub(crate) fn op(change: OpChange, key: &DocumentKey, body: Option<Value>) -> OpRequest {
    OpRequest {
        op: change,
        kind: key.kind(),
        scope: key.scope().to_owned(),
        name: key.name().to_owned(),
        body,
        if_revision: None,
        if_absent: false,
    }
}

/// What becomes of a document that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replaced,
    /// It stays, and the command is refused.
    Kept,
}

/// Writes what a file says that stands at `place` in a tree, without its ending.
pub(crate) fn put_file(
    session: &Session,
    place: &str,
    file: &Path,
    existing: Existing,
    write: &WriteArgs,
) -> Result<()> {
    let ending = file.extension().and_then(|it| it.to_str());
    let ending = ending.filter(|it| *it == "json").unwrap_or("yaml");
    let bytes = read_bounded(file, limits::MANIFEST_BYTES_MAX)?;
    let tree = tree::read(&[File {
        path: format!("{place}.{ending}"),
        bytes,
    }]);
    if !tree.errors.is_empty() {
        let findings = tree.errors.iter().map(|error| {
            let at = format!("{}:{}:{}", file.display(), error.line, error.column);
            Located::new(at, &error.violation)
        });
        let what = format!(
            "`{}` has {}",
            file.display(),
            count(tree.errors.len(), "mistake")
        );
        return Err(Failure::new(what).findings(findings).into());
    }
    let client = session.client()?;
    let mut ops = Vec::new();
    for document in &tree.documents {
        let found = client.find_document::<Value>(&document.key, None)?;
        let is_kept = existing == Existing::Kept;
        ops.push(OpRequest {
            if_revision: found.map(|it| it.revision).filter(|_| !is_kept),
            if_absent: is_kept,
            ..op(OpChange::Put, &document.key, Some(document.body.clone()))
        });
    }
    let write = write.to_write();
    let request = CommitRequest {
        reason: write.reason,
        ops,
    };
    let reply = client.commit(&request, write.dry_run);
    show_commit(
        session,
        &reply.map_err(|error| {
            let what = format!("`{}` is refused", file.display());
            relocated(&what, error, |pointer| {
                let (index, below) = into_body(pointer, "/ops")?;
                let at = tree.locate(index, below);
                Some(format!("{}:{}:{}", file.display(), at.line, at.column))
            })
        })?,
    )
}
