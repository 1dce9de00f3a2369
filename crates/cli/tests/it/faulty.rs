//! A server whose disk fails when a test says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http::{Connection, Reply};
use crate::support::Server;

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
pub(crate) struct Faulty {
    pub(crate) server: Server,
    token: String,
    pub(crate) commits: u32,
}

impl Faulty {
    pub(crate) fn start() -> Self {
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
    pub(crate) fn fault(&self, word: &str) {
        // Renamed into place, so that the server never reads half a word.
        let draft = self.server.path("fault.new");
        fs::write(&draft, word).unwrap();
        fs::rename(draft, self.server.path("fault")).unwrap();
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::open(&self.server.url, &self.token).unwrap()
    }

    /// Commits the next number of a counter.
    pub(crate) fn commit(&mut self) -> Reply {
        self.commits += 1;
        let number = self.commits.to_string();
        self.connection()
            .commit(&format!("key-{number}"), "counter", &number)
            .unwrap()
    }

    /// The number that the server holds.
    pub(crate) fn held(&self) -> String {
        let reply = self.connection().get("/v1/segments/counter").unwrap();
        reply.body["body"]["include"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn reads_go_on(&self) {
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
