//! A disk that is full, read-only or broken stops writes and nothing else, and only for as long as it lasts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http::{Connection, Reply};
use crate::support::{Server, offline};

/// Builds the library that stands between a process and its disk.
fn shim(dir: &Path) -> PathBuf {
    let library = dir.join("disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/shim/disk.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .args(["-ldl"])
        .output()
        .expect("`cc` is needed, as it is to build SQLite: install a C compiler");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    library
}

/// A server whose disk fails when it is told to.
struct Faulty {
    server: Server,
    token: String,
    commits: u32,
}

impl Faulty {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = shim(dir.path());
        crate::platform::write(&dir.path().join("tree"));
        let environment = vec![
            ("LD_PRELOAD".to_owned(), library.display().to_string()),
            (
                "DISK_SHIM_DIR".to_owned(),
                dir.path().join("data").display().to_string(),
            ),
            (
                "DISK_SHIM_FAULT".to_owned(),
                dir.path().join("fault").display().to_string(),
            ),
        ];
        let server = Server::start_with(dir, true, environment);
        let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
        Self {
            server,
            token: token.trim().to_owned(),
            commits: 0,
        }
    }

    /// The fault from now on; none if empty.
    fn fault(&self, word: &str) {
        // Renamed into place, so that the server never reads half a word.
        let draft = self.server.path("fault.new");
        fs::write(&draft, word).unwrap();
        fs::rename(draft, self.server.path("fault")).unwrap();
    }

    fn connection(&self) -> Connection {
        Connection::open(&self.server.url, &self.token).unwrap()
    }

    fn commit(&mut self) -> Reply {
        self.commits += 1;
        let number = self.commits.to_string();
        self.connection()
            .commit(&format!("key-{number}"), "counter", &number)
            .unwrap()
    }

    fn held(&self) -> String {
        let reply = self.connection().get("/v1/segments/counter").unwrap();
        reply.body["body"]["include"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    fn reads_go_on(&self) {
        let path = "/v1/environments/production/agents/support/resolve?tenant=big";
        let reply = self.connection().get(path).unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let reply = self
            .connection()
            .get("/v1/environments/production/view")
            .unwrap();
        assert_eq!(reply.status, 200);
    }
}

#[test]
fn writes_stop_while_the_disk_fails_and_resume_by_themselves() {
    let mut faulty = Faulty::start();
    assert_eq!(faulty.commit().status, 200);
    for (fault, status, code) in [
        ("full", 507, "STORE_FULL"),
        ("readonly", 503, "STORE_UNAVAILABLE"),
        ("broken", 503, "STORE_UNAVAILABLE"),
        ("unsynced", 503, "STORE_UNAVAILABLE"),
    ] {
        let before = faulty.held();
        faulty.fault(fault);
        for _ in 0..3 {
            let reply = faulty.commit();
            assert_eq!(
                (reply.status, reply.body["code"].as_str()),
                (status, Some(code)),
                "{fault}: {reply:?}"
            );
            assert!(reply.body["next"].is_string(), "{fault}: {reply:?}");
            let says_when = reply.headers.to_ascii_lowercase().contains("retry-after:");
            assert_eq!(says_when, status == 503, "{fault}: {reply:?}");
            faulty.reads_go_on();
        }
        assert_eq!(
            faulty.held(),
            before,
            "{fault}: what was refused is not there"
        );
        faulty.fault("");
        let reply = faulty.commit();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(faulty.held(), faulty.commits.to_string());
        // What was refused can be sent again, with its key.
        let number = (faulty.commits - 1).to_string();
        let reply = faulty
            .connection()
            .commit(&format!("key-{number}"), "counter", &number)
            .unwrap();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(faulty.held(), number);
    }
    let token = faulty.held();
    assert_eq!(faulty.server.stop(), Some(0));
    let data = faulty.server.path("data");
    offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    faulty.server.restart_stopped(false);
    assert_eq!(faulty.held(), token);
}

#[test]
fn a_kill_while_the_disk_fails_leaves_a_log_that_starts() {
    let mut faulty = Faulty::start();
    for fault in ["full", "broken", "unsynced"] {
        let reply = faulty.commit();
        assert_eq!(reply.status, 200, "{reply:?}");
        let before = faulty.held();
        faulty.fault(fault);
        assert_ne!(faulty.commit().status, 200);
        faulty.server.kill();
        faulty.fault("");
        faulty.server.restart_stopped(false);
        // What was not flushed may have reached the disk all the same: then it is there once, under its key.
        let attempted = faulty.commits.to_string();
        let held = faulty.held();
        assert!(
            held == before || (fault == "unsynced" && held == attempted),
            "{fault}: {held}"
        );
        let key = format!("key-{attempted}");
        let reply = faulty
            .connection()
            .commit(&key, "counter", &attempted)
            .unwrap();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(faulty.held(), attempted, "{fault}");
    }
}
