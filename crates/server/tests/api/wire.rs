//! A server on a socket, and requests to it byte by byte.

use std::net::SocketAddr;

use plane_server::{ServerOptions, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{ADMIN, Server};

/// A request by the first admin, as it is sent.
pub(crate) fn request(method: &str, target: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request without a body by the first admin, as it is sent.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\r\n")
}

/// A server with the small platform that listens on a socket.
pub(crate) struct Wire {
    pub(crate) server: Server,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Wire {
    pub(crate) async fn start(options: ServerOptions) -> Self {
        let server = Server::with(options.clone()).await;
        server.given_a_platform().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, server.router.clone(), options));
        Self {
            server,
            address,
            _serving: serving,
        }
    }

    pub(crate) async fn connect(&self) -> Socket {
        Socket(TcpStream::connect(self.address).await.unwrap())
    }
}

/// The caller's end of a connection.
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends what the server takes before it closes.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes).await);
    }

    /// Says that nothing more is sent.
    pub(crate) async fn shut(&mut self) {
        drop(self.0.shutdown().await);
    }

    /// Sends a request and reads its reply.
    pub(crate) async fn ask(&mut self, request: &str) -> (u16, Value) {
        self.send(request.as_bytes()).await;
        self.reply().await
    }

    /// Reads one reply, whose length its head says: its status, and its body if that is JSON.
    pub(crate) async fn reply(&mut self) -> (u16, Value) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let byte = self.0.read_u8().await;
            head.push(char::from(byte.unwrap_or_else(|error| {
                panic!("{error} after {head:?}");
            })));
        }
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |it| it.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        let status = head[9..12].parse().unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Reads until the server closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until the server closes, however rudely.
    pub(crate) async fn try_rest(&mut self) -> String {
        let mut bytes = Vec::new();
        drop(self.0.read_to_end(&mut bytes).await);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
