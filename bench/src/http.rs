//! Resolving over HTTP, beside a bare handler that gives the same bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::platform::{TOKEN, example};
use crate::stats::Row;

/// How long each side is asked in one turn.
const TURN: Duration = Duration::from_secs(2);
const TURNS: usize = 5;
const CONNECTIONS: usize = 8;
const BODY: &str = r#"{"tenant":"tenant123","user":"u1"}"#;
const PATH: &str = "/v1/environments/production/agents/customer_support_agent/resolve";

/// Measures requests per second of both, in turns.
pub async fn run() -> Result<Vec<Row>> {
    let node = example().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let ours = listener.local_addr()?;
    // Counted, but never refused.
    let options = plane_server::ServerOptions {
        token_rate: Some(plane_server::Rate::per_second(std::num::NonZeroU32::MAX)),
        ..plane_server::ServerOptions::default()
    };
    let router = plane_server::router(node.clone(), options.clone());
    let server = tokio::spawn(plane_server::serve(listener, router, options));
    let reply = tokio::task::spawn_blocking(move || Client::connect(ours)?.ask()).await??;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let floor = listener.local_addr()?;
    let bare = bare(reply);
    let floor_server = tokio::spawn(async move { axum::serve(listener, bare).await });
    let (mut our_rates, mut floor_rates) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        our_rates.push(tokio::task::spawn_blocking(move || rate(ours)).await??);
        floor_rates.push(tokio::task::spawn_blocking(move || rate(floor)).await??);
    }
    server.abort();
    floor_server.abort();
    node.shutdown().await;
    let (our_rate, floor_rate) = (median(&mut our_rates), median(&mut floor_rates));
    let ratio = our_rate / floor_rate;
    Ok(vec![Row {
        what: format!("resolve over HTTP, {CONNECTIONS} connections"),
        ours: format!("{our_rate:.0}/s"),
        floor: format!("{floor_rate:.0}/s bare handler"),
        ratio: format!("{:.0} %", ratio * 100.0),
        budget: "≥ 80 %".to_owned(),
        met: Some(ratio >= 0.8),
    }])
}

/// A handler that checks a token, parses the body and returns `reply`.
fn bare(reply: Vec<u8>) -> axum::Router {
    let reply = Bytes::from(reply);
    let digest = Arc::new(Sha256::digest(TOKEN.as_bytes()));
    let handler = move |headers: HeaderMap, body: Bytes| {
        let (reply, digest) = (reply.clone(), digest.clone());
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
            ([(header::CONTENT_TYPE, "application/json")], reply).into_response()
        }
    };
    axum::Router::new().route(PATH, post(handler))
}

fn rate(address: SocketAddr) -> Result<f64> {
    let begin = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address)?;
                let mut asked = 0_u64;
                while begin.elapsed() < TURN {
                    client.ask()?;
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
    Ok(asked as f64 / begin.elapsed().as_secs_f64())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A connection that asks one question after the other.
struct Client {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let request = format!(
            "POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Ok(Self { reader: BufReader::new(stream), request: request.into_bytes() })
    }

    fn ask(&mut self) -> Result<Vec<u8>> {
        self.reader.get_mut().write_all(&self.request)?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let ok = line.starts_with("HTTP/1.1 200");
        let status = line.trim().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("content-length")?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        if !ok {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
