//! The example platform on a node of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use plane_log::observations::MemoryObservations;
use plane_log::{ChangeLog, LogId, MemoryLog};
use plane_model::{Digest, PrincipalId};
use plane_node::{Node, Options, SystemClock, TreeRequest};
use plane_state::reconcile::Options as TreeOptions;
use plane_state::tree::{self, File};
use plane_state::{Action, Change, Command, Expect, Op, Scope};
use serde_json::json;

/// The secret of the token that the benchmarks use.
pub const TOKEN: &str = "cp_benchmarks-only-benchmarks-only-benchmarks";

/// The scope that everything is written with.
pub fn admin() -> Result<Scope> {
    Ok(Scope::system(PrincipalId::new("bench")?))
}

/// A node on `log` with nothing in it.
pub async fn node(log: Arc<dyn ChangeLog>) -> Result<Node> {
    let observations = Arc::new(MemoryObservations::new());
    Ok(Node::start_apart(Options { log, observations, clock: Arc::new(SystemClock) }).await?)
}

/// A node in memory with the example platform and a token.
pub async fn example() -> Result<Node> {
    let node = node(Arc::new(MemoryLog::new(LogId::new("bench")?))).await?;
    let mut files = Vec::new();
    read_dir(Path::new("examples/aiaas"), Path::new(""), &mut files)?;
    let tree = tree::read(&files);
    if let Some(error) = tree.errors.first() {
        bail!("the example platform has a mistake: {error}");
    }
    let documents = tree.documents.into_iter().map(|it| (it.key, it.body)).collect();
    let request = TreeRequest {
        id: String::new(),
        documents,
        options: TreeOptions::default(),
        reason: "benchmark".to_owned(),
        source: "bench".to_owned(),
        dry_run: false,
    };
    let scope = admin()?;
    node.apply_tree(&scope, request).await?;
    let body = json!({
        "kind": "service", "principal": "bench", "role": "viewer",
        "hash": Digest::of(TOKEN.as_bytes()).to_string()
    });
    let key = plane_model::DocumentKey::new(plane_model::Kind::Token, "", "bench")
        .map_err(|error| anyhow::anyhow!(error.to_string()))?;
    let op = Op { key, change: Change::Put(body), expect: Expect::Any };
    node.commit(&scope, command(Action::Access, vec![op])?).await?;
    Ok(node)
}

/// A command of the benchmarks.
pub fn command(action: Action, ops: Vec<Op>) -> Result<Command> {
    Ok(Command {
        id: String::new(),
        actor: PrincipalId::new("bench")?,
        action,
        reason: String::new(),
        source: "bench".to_owned(),
        ops,
    })
}

fn read_dir(root: &Path, below: &Path, files: &mut Vec<File>) -> Result<()> {
    let dir = root.join(below);
    for entry in std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read_dir(root, &path, files)?;
        } else {
            let bytes = std::fs::read(entry.path())?;
            files.push(File { path: path.to_string_lossy().replace('\\', "/"), bytes });
        }
    }
    Ok(())
}
