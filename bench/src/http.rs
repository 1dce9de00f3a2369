//! Resolving, evaluating and reading views over HTTP, beside bare handlers that give the same bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use plane_log::{LogId, MemoryLog};
use plane_node::Node;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::child::{fixed, install};
use crate::platform::{TOKEN, example, node};
use crate::stats::Row;

/// How long each side is asked in one turn.
const TURN: Duration = Duration::from_secs(2);
const TURNS: usize = 5;
const CONNECTIONS: usize = 8;
const BODY: &str = r#"{"tenant":"tenant123","user":"u1"}"#;
const VIEW: &str = "/v1/environments/production/view";
/// How many flags the view has.
const FLAGS: usize = 1_000;
/// How long an answer may take before the run is given up.
const GIVE_UP: Duration = Duration::from_secs(60);
const RESOLVE: &str = "/v1/environments/production/agents/customer_support_agent/resolve";
const OFREP: &str = "/v1/environments/production/ofrep/v1/evaluate/flags";
/// A context of five attributes, as a browser's or a service's client sends it.
const CONTEXT: &str = r#"{"context":{"targetingKey":"u-17","tenant":"acme","email":"u17@example.com","country":"DE","beta":true}}"#;
/// Requests for all of 1,000 flags that Unleash Edge answered per second on a machine like this one.
const UNLEASH_EDGE: f64 = 217.0;

/// Measures requests per second of both, in turns.
pub async fn run() -> Result<Vec<Row>> {
    Ok(vec![
        resolve().await?,
        one_flag().await?,
        all_flags().await?,
        view("").await?,
        view("accept-encoding: zstd\r\n").await?,
    ])
}

async fn resolve() -> Result<Row> {
    let node = example().await?;
    let compared = beside_bare(&node, RESOLVE, BODY).await?;
    Ok(compared.row(format!("resolve over HTTP, {CONNECTIONS} connections"), 0.8))
}

/// One of 1,000 flags by OFREP: a rule is asked, and a split decides.
async fn one_flag() -> Result<Row> {
    let node = thousand_flags().await?;
    let compared = beside_bare(&node, &format!("{OFREP}/flag_50"), CONTEXT).await?;
    Ok(compared.row(format!("one of {FLAGS} flags by OFREP, {CONNECTIONS} connections"), 0.8))
}

/// All of 1,000 flags by OFREP.
async fn all_flags() -> Result<Row> {
    let node = thousand_flags().await?;
    let compared = beside_bare(&node, OFREP, CONTEXT).await?;
    let mut row = compared.row(format!("all of {FLAGS} flags by OFREP"), 0.0);
    let ours = compared.ours();
    row.ratio = format!("{:.1} × Unleash Edge", ours / UNLEASH_EDGE);
    row.budget = format!("≥ 10 × Unleash Edge's {UNLEASH_EDGE}/s, measured earlier");
    row.met = Some(ours >= 10.0 * UNLEASH_EDGE);
    Ok(row)
}

async fn thousand_flags() -> Result<Node> {
    let node = node(Arc::new(MemoryLog::new(LogId::new("bench")?))).await?;
    install(&node, FLAGS).await?;
    Ok(node)
}

/// Posts `body` to `path`, ours beside a bare handler that gives the same reply, head and body; the node ends.
async fn beside_bare(node: &Node, path: &str, body: &str) -> Result<Compared> {
    let question: Arc<[u8]> = request("POST", path, "", body).into();
    let ours = serve_ours(node).await?;
    let asked = question.clone();
    let address = ours.address;
    let reply = tokio::task::spawn_blocking(move || Client::connect(address)?.ask(&asked)).await??;
    let floor = serve_bare(bare(path, reply)?).await?;
    let compared = Compared::measure(&ours, &floor, &question).await?;
    node.shutdown().await;
    Ok(compared)
}

/// A view of 1,000 flags.
async fn view(encoding: &str) -> Result<Row> {
    let node = thousand_flags().await?;
    let ours = serve_ours(&node).await?;
    let address = ours.address;
    let question: Arc<[u8]> = request("GET", VIEW, encoding, "").into();
    let asked = question.clone();
    let reply = tokio::task::spawn_blocking(move || Client::connect(address)?.ask(&asked)).await??;
    let kib = reply.body.len() / 1_024;
    let compression = if encoding.is_empty() { "plain" } else { "zstd" };
    let floor = serve_bare(fixed(VIEW, reply.headers()?, reply.body.into())).await?;
    let compared = Compared::measure(&ours, &floor, &question).await?;
    node.shutdown().await;
    Ok(compared.row(format!("view of {FLAGS} flags over HTTP, {compression}, {kib} KiB"), 0.9))
}

/// A server in this process; it ends with its handle.
struct Serving {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve_ours(node: &Node) -> Result<Serving> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Counted, but never refused.
    let options = plane_server::ServerOptions {
        token_rate: Some(plane_server::Rate::per_second(std::num::NonZeroU32::MAX)),
        ..plane_server::ServerOptions::default()
    };
    let router = plane_server::router(node.clone(), options.clone());
    let task = tokio::spawn(plane_server::serve(listener, router, options));
    Ok(Serving { address, task })
}

async fn serve_bare(router: axum::Router) -> Result<Serving> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
    Ok(Serving { address, task })
}

/// What both sides did in their turns.
#[derive(Debug, Default)]
struct Compared {
    our_rates: Vec<f64>,
    floor_rates: Vec<f64>,
    our_cpu: Vec<f64>,
    floor_cpu: Vec<f64>,
}

impl Compared {
    async fn measure(ours: &Serving, floor: &Serving, question: &Arc<[u8]>) -> Result<Self> {
        let mut compared = Self::default();
        for _ in 0..TURNS {
            for (address, rates, cpu) in [
                (ours.address, &mut compared.our_rates, &mut compared.our_cpu),
                (floor.address, &mut compared.floor_rates, &mut compared.floor_cpu),
            ] {
                let question = question.clone();
                let (rate, micros) =
                    tokio::task::spawn_blocking(move || rate(address, &question)).await??;
                rates.push(rate);
                cpu.push(micros);
            }
        }
        Ok(compared)
    }

    fn ours(&self) -> f64 {
        median(&self.our_rates)
    }

    fn row(&self, what: String, share: f64) -> Row {
        let (ours, floor) = (self.ours(), median(&self.floor_rates));
        let ratio = ours / floor;
        Row {
            what,
            ours: format!("{ours:.0}/s ({:.1} µs of CPU with the client)", median(&self.our_cpu)),
            floor: format!("{floor:.0}/s bare handler ({:.1} µs)", median(&self.floor_cpu)),
            ratio: format!("{:.0} %", ratio * 100.0),
            budget: format!("≥ {:.0} %", share * 100.0),
            met: Some(ratio >= share),
        }
    }
}

/// A handler that checks a token, parses the body and returns `reply`, head and body.
fn bare(path: &str, reply: Reply) -> Result<axum::Router> {
    let (head, reply) = (Arc::new(reply.headers()?), Bytes::from(reply.body));
    let digest = Arc::new(Sha256::digest(TOKEN.as_bytes()));
    let handler = move |headers: HeaderMap, body: Bytes| {
        let (head, reply, digest) = (head.clone(), reply.clone(), digest.clone());
        async move {
            let token = headers
                .get(header::AUTHORIZATION)
                .and_then(|it| it.to_str().ok())
                .and_then(|it| it.strip_prefix("Bearer "));
            if token.is_none_or(|token| Sha256::digest(token.as_bytes()) != *digest) {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            if serde_json::from_slice::<serde_json::Value>(&body).is_err() {
                return StatusCode::BAD_REQUEST.into_response();
            }
            ((*head).clone(), reply).into_response()
        }
    };
    Ok(axum::Router::new().route(path, post(handler)))
}

/// Requests per second, and microseconds of CPU for each.
fn rate(address: SocketAddr, question: &Arc<[u8]>) -> Result<(f64, f64)> {
    let (begin, cpu_before) = (Instant::now(), cpu()?);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let question = question.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(address)?;
                let mut asked = 0_u64;
                while begin.elapsed() < TURN {
                    client.ask(&question)?;
                    asked += 1;
                }
                anyhow::Ok(asked)
            })
        })
        .collect();
    let mut asked = 0;
    for client in clients {
        asked += client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    let cpu = cpu()?.saturating_sub(cpu_before);
    Ok((asked as f64 / begin.elapsed().as_secs_f64(), cpu.as_secs_f64() * 1e6 / asked as f64))
}

fn median(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A connection that asks one question after the other.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a server.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GIVE_UP))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Posts JSON; the answer has to be good.
    pub fn post(&mut self, path: &str, body: &str) -> Result<()> {
        self.send(path, body)?;
        self.receive().map(drop)
    }

    /// Puts JSON; the answer has to be good.
    pub fn put(&mut self, path: &str, body: &str) -> Result<()> {
        self.ask(&request("PUT", path, "", body)).map(drop)
    }

    /// Posts JSON and does not wait for the answer.
    pub fn send(&mut self, path: &str, body: &str) -> Result<()> {
        Ok(self.reader.get_mut().write_all(&request("POST", path, "", body))?)
    }

    fn ask(&mut self, request: &[u8]) -> Result<Reply> {
        self.reader.get_mut().write_all(request)?;
        self.receive()
    }

    /// Waits for the answer, which has to be good.
    pub fn receive(&mut self) -> Result<Reply> {
        let mut head = String::new();
        self.reader.read_line(&mut head)?;
        let mut length = 0;
        loop {
            let begin = head.len();
            self.reader.read_line(&mut head)?;
            let Some((name, value)) = head[begin..].trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("content-length")?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        if !head.starts_with("HTTP/1.1 200") {
            let status = head.lines().next().unwrap_or_default();
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(Reply { head, body })
    }
}

/// A good reply.
#[derive(Debug)]
pub struct Reply {
    head: String,
    body: Vec<u8>,
}

impl Reply {
    /// Its headers, but for those that each server writes itself.
    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.head.lines().filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse()?;
            if name != header::CONTENT_LENGTH && name != header::DATE {
                headers.insert(name, value.parse()?);
            }
        }
        Ok(headers)
    }
}

/// A request with the token of the benchmarks.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n{headers}\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The CPU time that this process has taken so far, clients included.
fn cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap_or_default().parse::<u64>();
    // Linux counts in hundredths of a second for programs, whatever it counts in itself.
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}
