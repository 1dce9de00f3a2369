//! `serve`: the control plane on a data directory.

pub(crate) mod start;

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use plane_server::{Origins, Rate, ServerKeys, ServerOptions, Shutdown, router};
use tracing_subscriber::EnvFilter;

use super::server_key::file::KeyFile;
use crate::failure::Failure;
use crate::session::print;

/// How a server stopped by a second signal ends.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Debug, Args)]
#[command(after_help = "\
The first start writes an admin token to DATA/admin-token, and the key that it signs with to \
DATA/server-key.pem, readable by you alone. When it serves it prints one line, `ready \
http://ADDRESS`, to standard output; its log goes to standard error (RUST_LOG chooses how much). \
SIGTERM and Ctrl-C stop it once open requests have ended; a second one at once. SIGHUP makes it \
take a rotated server key into use.

Examples:
  control-plane serve --data .data/run --load examples/aiaas
  control-plane serve --data /var/lib/control-plane --listen 127.0.0.1:7400 \\
      --log-format json")]
pub(crate) struct Serve {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDR")]
    listen: String,
    /// The directory that holds the data; it is created if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A tree to load, if the data directory has no documents yet
    #[arg(long, value_name = "TREE")]
    load: Option<PathBuf>,
    /// Listen on other than loopback addresses, because a proxy in front speaks TLS
    #[arg(long)]
    plaintext_behind_proxy: bool,
    /// How many requests a second each token may make, and twice as many at once after a pause; kills
    /// do not count; 0 sets no limit
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    token_rate: u32,
    /// How many requests a second without a valid token each address may make; 0 sets no limit
    #[arg(long, default_value_t = 100, value_name = "N")]
    stranger_rate: u32,
    /// An origin whose pages may ask for evaluated flags by OFREP: scheme, host and port as browsers
    /// send them; * for all; may be given several times
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = origin)]
    origins: Vec<String>,
    /// How many connections are served at once
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    connections_max: u32,
    /// How much memory the requests that are being answered may take together, in MiB, as it is estimated from
    /// their bodies; one takes at most half of it, and the process keeps some of it for the next ones
    #[arg(long, default_value_t = 1_024, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    bodies_memory: u32,
    /// How to write the log: text, lines for people, or json, one object a line
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<u8> {
        let address = self.address()?;
        start_log(self.log_format);
        // A tree with mistakes is refused before anything is opened or created.
        let tree = self.load.as_deref().map(super::tree::read).transpose()?;
        // Bound first: a port that is taken is found before the data is loaded.
        let listener = bind(address)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the threads of the server")?;
        runtime.block_on(async {
            let node = start::node(&self.data).await?;
            if let (Some(root), Some(tree)) = (&self.load, &tree) {
                start::load(&node, root, tree).await?;
            }
            self.serve(node, listener).await
        })?;
        Ok(crate::EXIT_OK)
    }

    fn address(&self) -> Result<SocketAddr> {
        let address = self
            .listen
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| {
                Failure::new(format!("`{}` is not an address to listen on", self.listen))
                    .next("write it as HOST:PORT, such as 127.0.0.1:7400")
            })?;
        if !address.ip().is_loopback() && !self.plaintext_behind_proxy {
            return Err(Failure::new(format!(
                "{address} can be reached from other machines, and this version does not speak TLS"
            ))
            .next(
                "listen on 127.0.0.1 and put a TLS proxy in front; if a proxy reaches this address \
                 over a network that you trust, add --plaintext-behind-proxy",
            )
            .into());
        }
        Ok(address)
    }

    async fn serve(&self, node: plane_node::Node, listener: TcpListener) -> Result<()> {
        let shutdown = Shutdown::new();
        let key_file = KeyFile::in_dir(&self.data);
        let ring = match start::server_key(&key_file, node.snapshot().revision()) {
            Ok(ring) => ring,
            Err(error) => {
                node.shutdown().await;
                return Err(error);
            }
        };
        let keys = ServerKeys::new(ring);
        let rate = |requests| NonZeroU32::new(requests).map(Rate::per_second);
        let options = ServerOptions {
            token_rate: rate(self.token_rate),
            stranger_rate: rate(self.stranger_rate),
            origins: origins(&self.origins),
            connections_max: usize::try_from(self.connections_max).unwrap_or(usize::MAX),
            bodies_memory: usize::try_from(self.bodies_memory)
                .map_or(usize::MAX, |mib| mib.saturating_mul(1 << 20)),
            keys: keys.clone(),
            shutdown: shutdown.clone(),
            ..ServerOptions::default()
        };
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
        let mut signals = Signals::listen()?;
        let app = router(node.clone(), options.clone());
        node.run_schedules();
        tracing::info!(%address, data = %self.data.display(), "serving");
        print(&format!("ready http://{address}\n"))?;

        let serving = async {
            plane_server::serve(listener, app, options).await;
            node.shutdown().await;
        };
        let stopping = async {
            signals.stop(|| reload(&key_file, &keys)).await;
            tracing::info!("stopping: open requests may end; a second signal stops at once");
            shutdown.begin();
            signals.stop(|| {}).await;
        };
        tokio::select! {
            () = serving => {}
            () = stopping => exit_at_once(),
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Takes a key that was rotated into use; whatever is wrong with it, the server goes on with the one it has.
fn reload(file: &KeyFile, keys: &ServerKeys) {
    let path = file.path().display();
    match file.read() {
        Ok(ring) => {
            let key_id = ring.current().public().keyid();
            if keys.succeed(ring) {
                tracing::info!(%key_id, "signing with the key in `{path}`");
            } else {
                tracing::error!(
                    %key_id,
                    "the key in `{path}` is not endorsed by the one in use, which goes on signing: clients could \
                     not follow; a restart takes it all the same"
                );
            }
        }
        Err(error) => tracing::error!("the key in use goes on signing: {error:#}"),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
    });
    if text == "*" || is_origin {
        Ok(text.to_owned())
    } else {
        Err(
            "write scheme and host as browsers do, such as https://app.example.com, or *"
                .to_owned(),
        )
    }
}

fn origins(given: &[String]) -> Origins {
    if given.is_empty() {
        Origins::None
    } else if given.iter().any(|it| it == "*") {
        Origins::Any
    } else {
        Origins::Only(given.into())
    }
}

#[expect(
    clippy::exit,
    reason = "the second signal asks not to wait for anything"
)]
fn exit_at_once() {
    drop(std::io::stderr().flush());
    std::process::exit(EXIT_INTERRUPTED);
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure::new(format!("{address} is taken by another program"))
                .next("stop it, or choose another address with --listen")
        }
        _ => Failure::new(format!("cannot listen on {address}: {error}"))
            .next("choose an address of this machine with --listen"),
    })?;
    listener.set_nonblocking(true).context("cannot listen")?;
    Ok(listener)
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The signals that ask to stop, and the one that asks to read the key again.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            hang_up: signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?,
        })
    }

    /// Waits until it is asked to stop; calls `reload` whenever it is asked for that.
    async fn stop(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(),
            }
        }
    }
}

/// The signals that ask to stop.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self)
    }

    async fn stop(&mut self, _: impl Fn()) {
        drop(tokio::signal::ctrl_c().await);
    }
}
