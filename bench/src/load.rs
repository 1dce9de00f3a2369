//! Writers that keep a server's queue of commits full, in a process of their own, as clients are.
//!
//! Each has a connection, sends one commit after the other, and comes back a second later if it is refused, as it is
//! told to.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::child::{flag_name, open_many_files, targeting};
use crate::http::request;
use crate::streams::commit;

/// The argument that makes this program such writers.
pub const ARGUMENT: &str = "--writers";
/// More than the queue takes, which is 1,024, and a run, which is 128: some are refused at all times.
const WRITERS: usize = 1_300;
/// What a refused writer is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The writers' process; it ends with its handle.
#[derive(Debug)]
pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// What the writers were answered.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub committed: u64,
    pub refused: u64,
}

impl Load {
    /// Starts the writers, and waits until one was refused: then the queue is full.
    pub fn start(address: SocketAddr) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the writers have no output")?;
        let mut load = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        ensure!(load.line()? == "full", "the writers did not begin");
        Ok(load)
    }

    /// Ends the writers, and says what they were answered since the queue was full.
    pub fn end(mut self) -> Result<Tally> {
        drop(self.stdin.take());
        let line = self.line()?;
        let (committed, refused) = line.split_once(' ').context("the writers gave no tally")?;
        Ok(Tally {
            committed: committed.parse()?,
            refused: refused.parse()?,
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

#[derive(Debug, Default)]
struct Counts {
    committed: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    fn tally(&self) -> Tally {
        Tally {
            committed: self.committed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// Writes until the parent is gone.
pub async fn run(address: SocketAddr) -> Result<()> {
    open_many_files()?;
    let counts = Arc::new(Counts::default());
    let (full, mut is_full) = mpsc::channel(1);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (counts, full) = (counts.clone(), full.clone());
        writers.spawn(write(address, writer, counts, full));
    }
    drop(full);
    is_full.recv().await.context("no writer was ever refused")?;
    let before = counts.tally();
    println!("full");
    let parent_is_gone = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        drop(std::io::stdin().read_line(&mut line));
    });
    tokio::select! {
        Some(stopped) = writers.join_next() => return stopped?.context("a writer stopped"),
        gone = parent_is_gone => gone?,
    }
    let after = counts.tally();
    println!("{} {}", after.committed - before.committed, after.refused - before.refused);
    Ok(())
}

async fn write(address: SocketAddr, writer: usize, counts: Arc<Counts>, full: mpsc::Sender<()>) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::new();
    for count in 0_usize.. {
        // Another environment: what readers of production are told of is the kill alone.
        let body = targeting(count + writer).to_string();
        let commit = commit("staging", &flag_name(writer % 100), body);
        stream.write_all(&request("POST", "/v1/commits", "", &commit)).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        match status {
            200 => counts.committed.fetch_add(1, Ordering::Relaxed),
            503 => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                // Only the first one matters.
                _ = full.try_send(());
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
            other => anyhow::bail!("{other}: {}", String::from_utf8_lossy(&answer)),
        };
    }
    Ok(())
}

/// Reads one answer, and gives its status.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<u16> {
    answer.clear();
    loop {
        ensure!(stream.read_buf(answer).await? > 0, "the server closed the connection");
        let Some(head) = answer.windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&answer[..head])?;
        let length: usize = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .context("no content-length")?
            .1
            .parse()?;
        if answer.len() >= head + 4 + length {
            return Ok(text.get(9..12).context("no status")?.parse()?);
        }
    }
}
