//! Servers in processes of their own, so that their memory and their time are theirs alone.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use futures_util::stream::unfold;
use plane_log::{LogId, SqliteLog};
use plane_model::{Digest, DocumentKey, Kind};
use plane_node::Node;
use plane_state::{Action, Change, Expect, Op};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::platform::{TOKEN, admin, command, node};

/// The argument that makes this program a server.
pub const ARGUMENT: &str = "--child";
/// Where the streams of both kinds of server are.
pub const STREAM: &str = "/v1/environments/production/stream";
/// How many tenants there are where there are many.
pub const TENANTS: usize = 100_000;
/// How many documents a batch of the setup has.
const BATCH: usize = 2_500;

/// A server in a process of its own; it ends with its handle.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts `ours`, `bare`, `tenants` or `validating`, with so many flags.
    pub fn start(mode: &str, flags: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, mode, &flags.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("the child has no input")?;
        let stdout = child.stdout.take().context("the child has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the server said `{line}`"))?;
        Ok(Self { address, child, stdin: Some(stdin) })
    }

    /// The memory that the server holds, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        resident_kib(self.child.id())
    }
}

/// The memory that a process holds, in KiB.
pub fn resident_kib(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.context("no VmRSS")?.parse().context("VmRSS")
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends with its input, and takes its directory with it.
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

/// Raises the number of files that this process may open as far as it may.
pub fn open_many_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the number of open files")
}

/// Serves until the parent is gone.
pub async fn run(mode: &str, flags: usize) -> Result<()> {
    open_many_files()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let parent_is_gone = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        drop(std::io::stdin().read_line(&mut line));
    });
    if mode == "bare" {
        println!("{address}");
        tokio::select! {
            served = axum::serve(listener, bare()) => served?,
            _ = parent_is_gone => {}
        }
        return Ok(());
    }
    let dir = tempfile::tempdir_in(".")?;
    let node = node(Arc::new(SqliteLog::open(dir.path(), &LogId::new("bench")?)?)).await?;
    install(&node, flags).await?;
    if mode == "validating" {
        keep_validating(&node).await?;
    } else if mode == "tenants" {
        tenants(&node).await?;
    } else if mode != "ours" {
        bail!("there is no server `{mode}`");
    }
    let options = plane_server::ServerOptions::default();
    let router = plane_server::router(node, options.clone());
    println!("{address}");
    tokio::select! {
        () = plane_server::serve(listener, router, options) => {}
        _ = parent_is_gone => {}
    }
    Ok(())
}

/// Two environments, a token that may do everything, and flags that are on in production.
pub async fn install(node: &Node, flags: usize) -> Result<()> {
    let token = json!({
        "kind": "service", "principal": "bench", "role": "admin",
        "hash": Digest::of(TOKEN.as_bytes()).to_string(),
    });
    let scope = admin()?;
    node.commit(&scope, command(Action::Access, vec![put(Kind::Token, "", "bench", token)?])?).await?;
    let mut ops = vec![
        put(Kind::Environment, "", "production", json!({ "order": 1 }))?,
        put(Kind::Environment, "", "staging", json!({}))?,
    ];
    for flag in 0..flags {
        let name = flag_name(flag);
        ops.push(put(Kind::Flag, "", &name, json!({ "type": "boolean" }))?);
        ops.push(put(Kind::Targeting, "production", &name, targeting(flag))?);
    }
    write(node, ops).await
}

/// What is written of the `count`th change of a flag.
pub fn targeting(count: usize) -> Value {
    json!({
        "state": "enabled",
        "rules": [{
            "name": "enterprise",
            "if": { "attribute": "tenant.plan", "in": ["enterprise"] },
            "serve": "on",
        }],
        "default": { "percent": { "on": count % 100 }, "by": "tenant.id" },
    })
}

pub fn flag_name(flag: usize) -> String {
    format!("flag_{flag}")
}

fn put(kind: Kind, scope: &str, name: &str, body: Value) -> Result<Op> {
    let key = DocumentKey::new(kind, scope, name).map_err(|error| anyhow::anyhow!(error.to_string()))?;
    Ok(Op { key, change: Change::Put(body), expect: Expect::Any })
}

async fn write(node: &Node, ops: Vec<Op>) -> Result<()> {
    let mut ops = ops.into_iter().peekable();
    while ops.peek().is_some() {
        let batch = ops.by_ref().take(BATCH).collect();
        node.commit(&admin()?, command(Action::Write, batch)?).await?;
    }
    Ok(())
}

/// Keeps checking a schema against a layer of each of many tenants.
async fn keep_validating(node: &Node) -> Result<()> {
    tenants(node).await?;
    let validator = node.clone();
    tokio::spawn(async move {
        for round in 0.. {
            let ops = vec![put(Kind::Schema, "", "limits", schema(1_000 + round % 2))?];
            validator.plan(&admin()?, command(Action::Write, ops)?).await?;
        }
        anyhow::Ok(())
    });
    Ok(())
}

/// Many tenants, each with a layer of configuration.
async fn tenants(node: &Node) -> Result<()> {
    let mut ops = vec![
        put(Kind::Schema, "", "limits", schema(1_000))?,
        put(Kind::Config, "base", "limits", json!({ "tokens": 1 }))?,
    ];
    for tenant in 0..TENANTS {
        let id = format!("tenant-{tenant}");
        ops.push(put(Kind::Tenant, "", &id, json!({ "plan": "free" }))?);
        let layer = format!("production.tenant={id}");
        ops.push(put(Kind::Config, &layer, "limits", json!({ "tokens": tenant % 1_000 }))?);
    }
    write(node, ops).await
}

fn schema(tokens_max: usize) -> Value {
    let tokens = json!({ "type": "integer", "maximum": tokens_max, "x-override": ["environment", "plan", "tenant"] });
    json!({ "type": "object", "properties": { "tokens": tokens } })
}

/// What axum does by itself: a broadcast, and each reader's events made out of it.
fn bare() -> axum::Router {
    let (sender, _) = broadcast::channel::<String>(1_024);
    let publisher = sender.clone();
    axum::Router::new()
        .route(
            "/publish",
            post(move |body: Bytes| {
                let sent = publisher.send(String::from_utf8_lossy(&body).into_owned());
                async move { sent.map_or(0, |readers| readers).to_string() }
            }),
        )
        .route(
            STREAM,
            get(move || {
                let receiver = sender.subscribe();
                async move {
                    let events = unfold((receiver, true), |(mut receiver, is_first)| async move {
                        let (kind, data) = if is_first {
                            ("bookmark", "{}".to_owned())
                        } else {
                            ("change", receiver.recv().await.ok()?)
                        };
                        let event = Event::default().id("1.01234567").event(kind).data(data);
                        Some((Ok::<_, std::convert::Infallible>(event), (receiver, false)))
                    });
                    Sse::new(events)
                }
            }),
        )
}

/// A handler that returns what it is given; the floor of a view.
pub fn fixed(path: &str, headers: HeaderMap, bytes: Bytes) -> axum::Router {
    let headers = Arc::new(headers);
    let handler = move || {
        let reply = ((*headers).clone(), bytes.clone());
        async move { reply.into_response() }
    };
    axum::Router::new().route(path, get(handler))
}
