//! Starting on a data directory: the log, the first admin token, the first tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plane_log::observations::SqliteObservations;
use plane_log::{LogId, OpenError, SqliteLog};
use plane_model::documents::{Role, TokenKind};
use plane_model::{Digest, DocumentKey, Kind, PrincipalId, TokenId};
use plane_node::{CommitError, Node, Options, StartError, SystemClock, TreeRequest};
use plane_state::delivery::KeyRing;
use plane_state::tree::Tree;
use plane_state::{Action, Change, Command, Expect, Op, Scope, reconcile};
use serde_json::json;

use crate::commands::server_key::file::KeyFile;
use crate::commands::sign::create_private;
use crate::commands::tree::refused;
use crate::failure::Failure;

/// The file in the data directory that holds the admin token that was made last on it.
const ADMIN_TOKEN: &str = "admin-token";
/// Who has that token.
const ADMIN: &str = "admin";
/// Who acts for the control plane itself.
const SYSTEM: &str = "control-plane";
/// Who acts on the data directory of a server that is stopped.
pub(crate) const OPERATOR: &str = "operator";
/// What the log says these commits came through.
const SOURCE: &str = "serve";
/// How many commits a first start makes: the admin token and the tree.
const FIRST_COMMITS: u64 = 2;

/// Opens the data directory and starts a node on it.
pub(super) async fn node(data: &Path) -> Result<Node> {
    let log_id = LogId::new(hex(random::<16>()?)).context("the log's id")?;
    let log = SqliteLog::open(data, &log_id).map_err(|error| refuse_open(&error))?;
    let node = node_on(log, data).await?;
    if node.snapshot().revision() == 0 {
        let made = "made by the first start";
        admin_token(
            &node,
            data,
            ADMIN,
            command(Action::Access, "first start", vec![])?,
            made,
        )
        .await?;
    }
    Ok(node)
}

/// Makes an admin token on the data directory of a server that is stopped; gives the file that holds it.
pub(crate) async fn recovered_token(node: &Node, data: &Path, reason: &str) -> Result<PathBuf> {
    // Two revisions have no name in common, and a withdrawn token's stays free.
    let name = format!("{ADMIN}-{}", node.snapshot().revision() + 1);
    let command = Command {
        actor: principal(OPERATOR)?,
        source: "token recover".to_owned(),
        ..command(Action::Access, reason, vec![])?
    };
    admin_token(node, data, &name, command, "made by `token recover`").await
}

/// Reads the key that the server signs with, or makes one for a directory that has none.
pub(super) fn server_key(file: &KeyFile, revision: u64) -> Result<KeyRing> {
    if file.exists() {
        return file.read();
    }
    let ring = file.make()?;
    let (path, key) = (file.path().display(), ring.current().public());
    // Its own first commits are the admin token and perhaps a tree.
    if revision > FIRST_COMMITS {
        tracing::warn!(
            %key,
            "made the server key `{path}`, as there was none: clients that trust another one refuse this server \
             until that one is put back, or they are told of this one (CONTROL_PLANE_SERVER_KEY)"
        );
    } else {
        tracing::info!(%key, "made the server key `{path}`");
    }
    Ok(ring)
}

/// Starts a node on a log that is open.
pub(crate) async fn node_on(log: SqliteLog, data: &Path) -> Result<Node> {
    let observations = SqliteObservations::open(data).map_err(|error| refuse_open(&error))?;
    let node = Node::start_apart(Options {
        log: Arc::new(log),
        observations: Arc::new(observations),
        clock: Arc::new(SystemClock),
    })
    .await;
    node.map_err(|error| {
        let next = match error {
            StartError::Threads(_) => "allow this user more threads".to_owned(),
            StartError::Store(_) | StartError::Broken { .. } => format!(
                "keep `{}` as it is and restore a backup; `control-plane log verify` on a copy of either says \
                 what is damaged",
                data.display()
            ),
        };
        Failure::new(error.to_string()).next(next).into()
    })
}

fn refuse_open(error: &OpenError) -> Failure {
    let text = error.to_string();
    match (error, text.split_once(": ")) {
        (OpenError::InUse { .. }, Some((what, next))) => Failure::new(what).next(next),
        _ => Failure::new(text),
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(bytes)
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Writes an admin token to its file, then commits its digest.
///
/// In this order a crash between the two leaves a file that means nothing yet, and the next start or
/// recovery writes another: never a token that nobody has.
async fn admin_token(
    node: &Node,
    data: &Path,
    name: &str,
    command: Command,
    made: &str,
) -> Result<PathBuf> {
    let token = format!("cp_{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
    let file = data.join(ADMIN_TOKEN);
    let cannot = || format!("cannot write `{}`", file.display());
    if file.exists() {
        fs::remove_file(&file).with_context(cannot)?;
    }
    create_private(&file, format!("{token}\n").as_bytes()).with_context(cannot)?;
    let id = TokenId::new(name).context("the token's id")?;
    let op = Op {
        key: DocumentKey::token(&id),
        change: Change::Put(json!({
            "kind": TokenKind::Person,
            "principal": ADMIN,
            "role": Role::Admin,
            "hash": Digest::of(token.as_bytes()),
            "description": made,
        })),
        expect: Expect::Absent,
    };
    let scope = Scope::system(command.actor.clone());
    let command = Command {
        ops: vec![op],
        ..command
    };
    node.commit(&scope, command)
        .await
        .context("cannot commit the admin token")?;
    tracing::info!(file = %file.display(), "wrote an admin token");
    Ok(file)
}

fn principal(name: &str) -> Result<PrincipalId> {
    PrincipalId::new(name).context("the principal's id")
}

fn command(action: Action, reason: &str, ops: Vec<Op>) -> Result<Command> {
    Ok(Command {
        id: String::new(),
        actor: principal(SYSTEM)?,
        action,
        reason: reason.to_owned(),
        source: SOURCE.to_owned(),
        ops,
    })
}

/// Applies a tree to a data directory that has no documents but tokens; keeps any other as it is.
pub(super) async fn load(node: &Node, root: &Path, tree: &Tree) -> Result<()> {
    let snapshot = node.snapshot();
    let has_documents = snapshot
        .state()
        .entries()
        .any(|(key, _)| key.kind() != Kind::Token);
    if has_documents {
        tracing::info!(
            tree = %root.display(),
            revision = snapshot.revision(),
            "the data directory has documents: the tree is not loaded; `control-plane apply` applies it"
        );
        return Ok(());
    }
    for passed in &tree.notes {
        tracing::info!(path = %passed.path, "{}", passed.detail);
    }
    let request = TreeRequest {
        id: String::new(),
        documents: tree
            .documents
            .iter()
            .map(|it| (it.key.clone(), it.body.clone()))
            .collect(),
        options: reconcile::Options::default(),
        reason: format!("first load of {}", root.display()),
        source: SOURCE.to_owned(),
        dry_run: false,
    };
    let scope = Scope::system(principal(SYSTEM)?);
    match node.apply_tree(&scope, request).await {
        Ok(done) => {
            tracing::info!(
                tree = %root.display(),
                documents = tree.documents.len(),
                revision = done.committed.map(|it| it.revision),
                "loaded the tree"
            );
            Ok(())
        }
        Err(CommitError::Rejected(rejection)) => {
            node.shutdown().await;
            Err(refused(root, tree, &rejection.violations).into())
        }
        Err(error) => {
            node.shutdown().await;
            Err(anyhow::Error::new(error).context("cannot load the tree"))
        }
    }
}
