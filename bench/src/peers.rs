//! What a durable write costs elsewhere: etcd over its own client, and SQLite with one insert in each transaction.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use etcd_client::{Client, WatchStream};

const WATCHED: &str = "watched";

/// An etcd of our own on the loopback interface, with its data in a temporary directory; it ends with this value.
#[derive(Debug)]
pub struct Etcd {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts it, and waits until it takes a write.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir_in(".")?;
        let (client, peer) = (free_url()?, free_url()?);
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("etcd is measured beside ours; install it (Debian: `sudo apt-get install etcd-server`)")?;
        let etcd = Self {
            process,
            url: client,
            _dir: dir,
        };
        let begin = Instant::now();
        while let Err(error) = etcd.first_put().await {
            if begin.elapsed() > Duration::from_secs(30) {
                bail!("etcd does not answer: {error}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(etcd)
    }

    async fn first_put(&self) -> Result<()> {
        self.client().await?.put("first", "", None).await?;
        Ok(())
    }

    /// A client on a connection of its own.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect([&self.url], None).await?)
    }

    /// Begins to watch a key.
    pub async fn watch(&self) -> Result<Watch> {
        let writer = self.client().await?;
        let watched = self.client().await?.watch(WATCHED, None).await?;
        Ok(Watch { writer, watched })
    }
}

/// A writer and a watcher, each on a connection of its own.
pub struct Watch {
    writer: Client,
    watched: WatchStream,
}

impl Watch {
    /// How long a put takes to reach the watcher, from its beginning.
    pub async fn put(&mut self, value: &[u8]) -> Result<Duration> {
        let Self { writer, watched } = self;
        let begin = Instant::now();
        let seen = async {
            loop {
                let told = watched.message().await?.context("etcd ended the watch")?;
                if !told.events().is_empty() {
                    return anyhow::Ok(begin.elapsed());
                }
            }
        };
        let (put, seen) = tokio::join!(writer.put(WATCHED, value, None), seen);
        put?;
        seen
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement would have said.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_url() -> Result<String> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok(format!("http://127.0.0.1:{port}"))
}

/// A table in a database of its own.
#[derive(Debug)]
pub struct Sqlite(rusqlite::Connection);

impl Sqlite {
    /// Creates it in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let db = rusqlite::Connection::open(dir.join("plain.db"))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute_batch("CREATE TABLE record (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")?;
        Ok(Self(db))
    }

    /// Inserts one row, durably.
    pub fn insert(&self, bytes: &[u8]) -> Result<Duration> {
        let begin = Instant::now();
        self.0
            .prepare_cached("INSERT INTO record (bytes) VALUES (?)")?
            .execute([bytes])?;
        Ok(begin.elapsed())
    }
}
