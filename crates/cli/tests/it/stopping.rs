//! Signals that stop the server: one lets open requests end, a second one does not wait for them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::{fs, path::Path};

use crate::support::binary;

/// A server whose log is read as it is written; it is killed by its id when this is dropped.
struct Logged {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Logged {
    fn start(dir: &Path) -> Self {
        let mut child = binary()
            .args(["serve", "--listen", "127.0.0.1:0", "--data", "data"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let address = line.trim_end().strip_prefix("ready http://").unwrap();
        Self {
            child,
            log,
            address: address.to_owned(),
        }
    }

    /// Begins a commit and keeps its body back, so that the request is open until somebody ends it.
    fn open_request(&self, token: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST /v1/commits HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).unwrap();
        assert!(answer.contains("100 Continue"), "{answer}");
        stream
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Reads the log up to a line that contains `text`.
    fn read_until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "the log ended without `{text}`");
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_second_signal_ends_a_server_that_waits_for_an_open_request() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Logged::start(dir.path());
        let token = fs::read_to_string(dir.path().join("data/admin-token")).unwrap();
        let open = server.open_request(token.trim());
        server.signal(first);
        server.read_until("stopping");
        server.signal(second);
        let status = server.child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{first}, then {second}");
        drop(open);
    }
}
