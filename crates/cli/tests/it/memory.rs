//! How much memory requests can make the server take.

use std::fs;
use std::thread;

use crate::http::{Connection, Reply};
use crate::support::Server;

const MIB: usize = 1 << 20;
/// What the server may take for requests.
const ALLOWED_MIB: usize = 64;

/// The most memory that a process has taken so far.
fn peak(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() * 1_024
}

/// A commit of this many bytes that says as much as it can: a value of it takes a hundred times that.
fn dense(bytes: usize) -> String {
    let part = r#"{"a":0},"#;
    format!(r#"{{"ops":[{}0]}}"#, part.repeat(bytes / part.len()))
}

fn commit(server: &Server, body: &str) -> Reply {
    let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
    let mut connection = Connection::open(&server.url, token.trim()).unwrap();
    connection.ask("POST", "/v1/commits", "", body).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn dense_bodies_take_no_more_memory_than_they_are_allowed() {
    let server = Server::with_arguments(&["--bodies-memory", &ALLOWED_MIB.to_string()]);
    let before = peak(&server);

    // One that would take a gibibyte is not read at all.
    let refused = commit(&server, &dense(10 * MIB));
    assert_eq!(refused.status, 413, "{refused:?}");
    assert_eq!(refused.body["code"], "TEXT_TOO_LARGE", "{refused:?}");
    assert_eq!(refused.body["next"], "split the request into several");

    // Many that take a quarter each are read a few at a time, and the others told to come back.
    let body = dense(150 << 10);
    let replies: Vec<Reply> = thread::scope(|scope| {
        let sent: Vec<_> = (0..32)
            .map(|_| scope.spawn(|| commit(&server, &body)))
            .collect();
        sent.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let count = |status| replies.iter().filter(|it| it.status == status).count();
    assert_eq!(count(422) + count(503), replies.len(), "{replies:?}");
    assert_ne!(count(422), 0, "some are read");

    let taken = (peak(&server) - before) / MIB;
    assert!(taken < 3 * ALLOWED_MIB, "{taken} MiB");
}
