//! One connection that asks one question after the other, for tests that ask many.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a connection may be unused before it is opened anew, as every client does: the server closes one that idles
/// for long, and a test does where whoever runs it stops it for a while.
const UNUSED_MAX: Duration = Duration::from_secs(5);

/// A connection to a server, with its token.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    used_at: Instant,
    address: String,
    token: String,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Value,
}

impl Connection {
    pub(crate) fn open(url: &str, token: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").unwrap_or(url);
        Ok(Self {
            reader: connect(address)?,
            used_at: now(),
            address: address.to_owned(),
            token: token.to_owned(),
        })
    }

    /// Sends a request with extra header lines, each ended by CR LF, and reads the whole reply.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Reply> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n{headers}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        // Only before asking: a server that ends a connection without a reply is a fault.
        if self.used_at.elapsed() > UNUSED_MAX {
            self.reader = connect(&self.address)?;
        }
        // From here and not from the reply, which may have waited to be read while the server counted.
        self.used_at = now();
        self.reader.get_mut().write_all(request.as_bytes())?;
        let head = self.head()?;
        let status = head.get(9..12).and_then(|it| it.parse().ok());
        let status = status.ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(str::to_owned)
            })
            .and_then(|it| it.trim().parse().ok())
            .unwrap_or(0);
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(Reply {
            status,
            headers: head,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        })
    }

    fn head(&mut self) -> Result<String> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if self.reader.read_line(&mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if head.len() - before <= 2 {
                return Ok(head);
            }
        }
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Reply> {
        self.ask("GET", path, "", "")
    }

    /// Opens a stream; its lines come with [`line`](Self::line).
    pub(crate) fn follow(&mut self, path: &str) -> Result<()> {
        let token = &self.token;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes())?;
        self.head().map(drop)
    }

    /// The next line that comes.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }

    /// Puts one segment with one id by a commit with this key.
    pub(crate) fn commit(&mut self, key: &str, segment: &str, id: &str) -> Result<Reply> {
        let op = serde_json::json!({ "op": "put", "kind": "segment", "name": segment, "body": { "include": [id] } });
        let body = serde_json::json!({ "ops": [op] }).to_string();
        self.ask(
            "POST",
            "/v1/commits",
            &format!("idempotency-key: {key}\r\n"),
            &body,
        )
    }
}

fn connect(address: &str) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    Ok(BufReader::new(stream))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server counts real seconds, and so does whoever asks it"
)]
fn now() -> Instant {
    Instant::now()
}
