//! Streams: how late the last of many readers hears of a commit, what an idle one costs, and how long
//! a commit is on its way to one.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::child::{STREAM, Server, flag_name, open_many_files, targeting};
use crate::commit::RECORD;
use crate::http::Client;
use crate::peers::Etcd;
use crate::platform::TOKEN;
use crate::stats::{Row, human, percentile};

/// How many readers there are.
const READERS: usize = 5_000;
const ROUNDS: usize = 15;
/// How many commits are followed by one reader.
const COMMITS: usize = 2_000;
/// How many of them between as many puts of etcd.
const TURN: usize = 100;
const DELAY_P99: Duration = Duration::from_millis(10);
/// How many flags the view has then.
const FLAGS: usize = 10_000;
/// How many readers connect at once.
const CONNECTING: usize = 250;
/// How long readers have to hear of something before the run is given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Measures fan-out, memory and delay.
pub async fn run() -> Result<Vec<Row>> {
    open_many_files()?;
    let mut rows = fan_out().await?;
    rows.push(delay().await?);
    Ok(rows)
}

async fn fan_out() -> Result<Vec<Row>> {
    let (ours, bare) = (Server::start("ours", 100)?, Server::start("bare", 0)?);
    let (our_crowd, our_kib) = crowd(&ours).await?;
    let (bare_crowd, bare_kib) = crowd(&bare).await?;
    let mut our_client = Client::connect(ours.address)?;
    let mut bare_client = Client::connect(bare.address)?;
    let event = json!({
        "revision": 12_345,
        "documents": [{
            "kind": "targeting", "scope": "production", "name": "flag_1", "revision": 12_345, "body": targeting(1),
        }],
    });
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let commit = commit(
            "production",
            &flag_name(0),
            targeting(round + 1).to_string(),
        );
        our_times.push(
            our_crowd
                .told_after(|| our_client.post("/v1/commits", &commit))
                .await?,
        );
        bare_times.push(
            bare_crowd
                .told_after(|| bare_client.post("/publish", &event.to_string()))
                .await?,
        );
    }
    let (our_time, bare_time) = (
        percentile(&mut our_times, 0.5),
        percentile(&mut bare_times, 0.5),
    );
    let ratio = our_time.as_secs_f64() / bare_time.as_secs_f64();
    Ok(vec![
        Row {
            what: format!("commit begun → the last of {READERS} streams"),
            ours: format!(
                "{} (p90 {})",
                human(our_time),
                human(percentile(&mut our_times, 0.9))
            ),
            floor: format!(
                "{} axum SSE from a broadcast, nothing committed",
                human(bare_time)
            ),
            ratio: format!("{ratio:.2}"),
            budget: "≤ 1".to_owned(),
            met: Some(ratio <= 1.0),
        },
        Row {
            what: format!("memory per idle stream, of {READERS}"),
            ours: format!("{our_kib:.1} KiB"),
            floor: format!("{bare_kib:.1} KiB axum SSE"),
            ratio: format!("{:.2}", our_kib / bare_kib),
            budget: "≤ 24 KiB".to_owned(),
            met: Some(our_kib <= 24.0),
        },
    ])
}

async fn crowd(server: &Server) -> Result<(Crowd, f64)> {
    let before = server.resident_kib()?;
    let crowd = Crowd::connect(server.address, READERS, "event: change").await?;
    let after = server.resident_kib()?;
    Ok((crowd, after.saturating_sub(before) as f64 / READERS as f64))
}

/// The body of a commit of one targeting.
pub fn commit(environment: &str, flag: &str, body: String) -> String {
    format!(
        r#"{{"ops":[{{"op":"put","kind":"targeting","scope":"{environment}","name":"{flag}","body":{body}}}]}}"#
    )
}

/// Many readers that wait for the same.
#[derive(Debug)]
pub struct Crowd {
    heard: Arc<AtomicUsize>,
    all_heard: watch::Receiver<(usize, Instant)>,
    size: usize,
    _readers: JoinSet<()>,
}

impl Crowd {
    /// Connects readers that wait for events that have `marker` in them.
    pub async fn connect(address: SocketAddr, size: usize, marker: &'static str) -> Result<Self> {
        let heard = Arc::new(AtomicUsize::new(0));
        let (sender, all_heard) = watch::channel((0, Instant::now()));
        let sender = Arc::new(sender);
        let (ready_sender, mut ready) = mpsc::channel(CONNECTING);
        let mut readers = JoinSet::new();
        for first in (0..size).step_by(CONNECTING) {
            let some = CONNECTING.min(size - first);
            for _ in 0..some {
                let (heard, sender, ready) = (heard.clone(), sender.clone(), ready_sender.clone());
                readers.spawn(async move {
                    let followed = follow(address, marker, ready, || {
                        let count = heard.fetch_add(1, Ordering::Relaxed) + 1;
                        if count.is_multiple_of(size) {
                            sender.send_replace((count, Instant::now()));
                        }
                    });
                    if let Err(error) = followed.await {
                        eprintln!("a reader stopped: {error:#}");
                    }
                });
            }
            for _ in 0..some {
                tokio::time::timeout(GIVE_UP, ready.recv())
                    .await?
                    .context("a reader failed")?;
            }
        }
        Ok(Self {
            heard,
            all_heard,
            size,
            _readers: readers,
        })
    }

    /// How long it takes from the beginning of `write` until all have heard of it.
    pub async fn told_after(&self, write: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let expected = self.heard.load(Ordering::Relaxed) + self.size;
        let begin = Instant::now();
        tokio::task::block_in_place(write)?;
        let mut all_heard = self.all_heard.clone();
        let told = all_heard.wait_for(|(count, _)| *count >= expected);
        let (count, at) = *tokio::time::timeout(GIVE_UP, told)
            .await
            .context("not all heard")??;
        ensure!(count == expected, "somebody heard of it twice");
        Ok(at - begin)
    }
}

async fn follow(
    address: SocketAddr,
    marker: &str,
    ready: mpsc::Sender<()>,
    mut heard: impl FnMut(),
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    let request =
        format!("GET {STREAM} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    stream.writable().await?;
    ensure!(
        stream.try_write(request.as_bytes())? == request.len(),
        "the request was not taken"
    );
    let mut is_ready = false;
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 2_048];
        stream.readable().await?;
        let read = match stream.try_read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            read => read?,
        };
        ensure!(read > 0, "the server closed the stream");
        text.extend_from_slice(&buffer[..read]);
        while let Some(end) = find(&text, b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            if !is_ready {
                ensure!(
                    find(&event, b"event: bookmark").is_some(),
                    "{}",
                    String::from_utf8_lossy(&event)
                );
                is_ready = true;
                ready.send(()).await?;
            } else if find(&event, marker.as_bytes()).is_some() {
                heard();
            }
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// One reader, with a view that is not small, in turns with a watcher of etcd.
async fn delay() -> Result<Row> {
    let etcd = Etcd::start().await?;
    let mut watch = etcd.watch().await?;
    let server = Server::start("ours", FLAGS)?;
    let mut reader = Reader::connect(server.address)?;
    let (mut ours, mut theirs) = (Vec::with_capacity(COMMITS), Vec::with_capacity(COMMITS));
    for turn in 0..COMMITS / TURN {
        for round in 0..TURN {
            let body = targeting(turn * TURN + round + 1).to_string();
            let flag = flag_name((turn * TURN + round) % FLAGS);
            ours.push(tokio::task::block_in_place(|| {
                reader.told_after(&commit("production", &flag, body))
            })?);
        }
        for _ in 0..TURN {
            theirs.push(watch.put(&RECORD).await?);
        }
    }
    let (p50, p99) = (percentile(&mut ours, 0.5), percentile(&mut ours, 0.99));
    let etcd50 = percentile(&mut theirs, 0.5);
    let ratio = p50.as_secs_f64() / etcd50.as_secs_f64();
    Ok(Row {
        what: format!("commit begun → event at a connected reader, {FLAGS} flags in the view, p50"),
        ours: format!("{} (p99 {})", human(p50), human(p99)),
        floor: format!(
            "{} (p99 {}) etcd put begun → at a watcher",
            human(etcd50),
            human(percentile(&mut theirs, 0.99))
        ),
        ratio: format!("{ratio:.2}"),
        budget: "≤ 1, p99 ≤ 10 ms".to_owned(),
        met: Some(ratio <= 1.0 && p99 <= DELAY_P99),
    })
}

/// A reader of a stream and a writer, each on a connection of its own.
struct Reader {
    stream: std::net::TcpStream,
    text: Vec<u8>,
    writer: Client,
}

impl Reader {
    fn connect(address: SocketAddr) -> Result<Self> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(GIVE_UP))?;
        write!(
            stream,
            "GET {STREAM} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        )?;
        let mut text = Vec::new();
        wait_for(&mut stream, &mut text, b"event: bookmark")?;
        Ok(Self {
            stream,
            text,
            writer: Client::connect(address)?,
        })
    }

    fn told_after(&mut self, commit: &str) -> Result<Duration> {
        self.text.clear();
        let begin = Instant::now();
        self.writer.send("/v1/commits", commit)?;
        wait_for(&mut self.stream, &mut self.text, b"event: change")?;
        let told = begin.elapsed();
        self.writer.receive()?;
        Ok(told)
    }
}

fn wait_for(stream: &mut std::net::TcpStream, text: &mut Vec<u8>, marker: &[u8]) -> Result<()> {
    let mut buffer = [0; 4_096];
    while find(text, marker).is_none_or(|at| find(&text[at..], b"\n\n").is_none()) {
        let read = stream.read(&mut buffer)?;
        ensure!(
            read > 0,
            "the server closed the stream: {}",
            String::from_utf8_lossy(text)
        );
        text.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}
