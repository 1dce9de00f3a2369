//! A client that asks one question after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::platform::TOKEN;
use crate::stats::percentile;

pub struct Asker {
    reader: BufReader<TcpStream>,
}

impl Asker {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::with_capacity(1 << 20, stream) })
    }

    /// The median time of an answer.
    pub fn p50(&mut self, path: &str, times: usize) -> Result<Duration> {
        let mut samples = Vec::with_capacity(times);
        for _ in 0..times {
            let begin = Instant::now();
            self.get(path, false)?;
            samples.push(begin.elapsed());
        }
        Ok(percentile(&mut samples, 0.5))
    }

    /// Gets a path, and says how many bytes the body has.
    pub fn get(&mut self, path: &str, is_compressed: bool) -> Result<u64> {
        let encoding = if is_compressed { "accept-encoding: zstd\r\n" } else { "" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n{encoding}\r\n"
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.trim().to_owned();
        let mut length = None;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut body = vec![0; length.context("the answer has no length")?];
        self.reader.read_exact(&mut body)?;
        anyhow::ensure!(
            status.starts_with("HTTP/1.1 200"),
            "{path}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body.len() as u64)
    }
}
