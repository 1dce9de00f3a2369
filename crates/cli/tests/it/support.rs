//! A server of its own for each test, and commands against it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::platform;

/// What a command wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What a command that worked wrote to standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:#?}");
        self.out
    }

    /// What a command that failed wrote to standard error.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.status, 1, "{self:#?}");
        self.err
    }
}

/// The binary, without what the caller's environment says about control planes.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
    for name in
        ["URL", "TOKEN", "TOKEN_FILE", "ENVIRONMENT"].map(|name| format!("CONTROL_PLANE_{name}"))
    {
        command.env_remove(name);
    }
    command
        .env_remove("RUST_LOG")
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that needs no server.
pub(crate) fn offline(arguments: &[&str]) -> Ran {
    run(binary().args(arguments))
}

/// A running server; it is killed by its id when this is dropped.
pub(crate) struct Server {
    dir: TempDir,
    child: Child,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) url: String,
}

impl Server {
    /// Starts on a fresh directory with the small platform loaded.
    pub(crate) fn with_platform() -> Self {
        let dir = tempfile::tempdir().unwrap();
        platform::write(&dir.path().join("tree"));
        Self::start_in(dir, true)
    }

    /// Starts on a fresh directory with the small platform loaded, and with more arguments.
    pub(crate) fn with_arguments(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        platform::write(&dir.path().join("tree"));
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Self::start_as(dir, true, arguments, Vec::new())
    }

    /// Starts on a fresh directory without documents.
    pub(crate) fn empty() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), false)
    }

    /// Starts in a directory of the caller's.
    pub(crate) fn start_in(dir: TempDir, load: bool) -> Self {
        Self::start_with(dir, load, Vec::new())
    }

    /// Starts in a directory of the caller's, with more in the environment.
    pub(crate) fn start_with(dir: TempDir, load: bool, environment: Vec<(String, String)>) -> Self {
        Self::start_as(dir, load, Vec::new(), environment)
    }

    fn start_as(
        dir: TempDir,
        load: bool,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let (child, url) =
            spawn(dir.path(), "data", ANYWHERE, load, &arguments, &environment).unwrap();
        Self {
            dir,
            child,
            arguments,
            environment,
            url,
        }
    }

    /// Starts a server that was stopped again, on the same data.
    pub(crate) fn restart_stopped(&mut self, load: bool) {
        self.restart_at(ANYWHERE, load);
    }

    /// Starts a server that has ended, on the same data and where it was.
    pub(crate) fn restart_where_it_was(&mut self) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        self.restart_at(&listen, false);
    }

    fn restart_at(&mut self, listen: &str, load: bool) {
        let (arguments, environment) = (&self.arguments, &self.environment);
        let dir = self.dir.path();
        (self.child, self.url) = spawn(dir, "data", listen, load, arguments, environment).unwrap();
    }

    /// Ends the server at once, with no chance to tidy up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the server to stop, waits for that, and returns its exit status.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }

    /// A path below the test's own directory, which holds `tree`, `data` and `log`.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// A command as the admin, in the test's own directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("CONTROL_PLANE_URL", &self.url)
            .env("CONTROL_PLANE_TOKEN_FILE", "data/admin-token");
        command
    }

    /// Runs a command as the admin.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Runs a command and gives what it wrote.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        self.run(&words(line)).ok()
    }

    /// Runs a command and reads the JSON that it wrote.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let text = self.ok(&format!("{line} --output json"));
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Copies a data directory as it is now; what was in the other is gone.
pub(crate) fn copy(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Tells what a test has counted, which `cargo xtask test` shows again at its end.
///
/// The harness holds nothing back that is written like this, also of a test that passes.
pub(crate) fn figure(text: &str) {
    let line = format!("figure: {text}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Splits a command line at spaces; words with spaces are given to [`Server::run`] as a list.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Starts a server on a data directory for a moment: the revision that it reached, or what it said.
pub(crate) fn try_start(data: &Path) -> Result<u64, String> {
    let (dir, name) = (data.parent().unwrap(), data.file_name().unwrap());
    let name = name.to_str().unwrap();
    let (mut child, url) = spawn(dir, name, ANYWHERE, false, &[], &[])?;
    let ready = crate::http::Connection::open(&url, "").and_then(|mut it| it.get("/readyz"));
    child.kill().unwrap();
    child.wait().unwrap();
    Ok(ready.unwrap().body["revision"].as_u64().unwrap())
}

/// A port that is free.
const ANYWHERE: &str = "127.0.0.1:0";

/// Starts the binary, and gives its address or what it said instead.
fn spawn(
    dir: &Path,
    data: &str,
    listen: &str,
    load: bool,
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<(Child, String), String> {
    let log = File::create(dir.join("log")).unwrap();
    let mut command = binary();
    command
        .args(["serve", "--listen", listen, "--data", data])
        .args(arguments)
        .envs(environment.iter().cloned())
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(log);
    if load {
        command.args(["--load", "tree"]);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let Some(url) = line.trim_end().strip_prefix("ready ") else {
        drop(child.kill());
        drop(child.wait());
        return Err(fs::read_to_string(dir.join("log")).unwrap());
    };
    Ok((child, url.to_owned()))
}

/// Replaces what differs from run to run: times, digests, ids and addresses.
pub(crate) fn normalised(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\n']) {
        if character.is_whitespace() || "(),;\"`".contains(character) {
            out.push_str(&replaced(&word));
            word.clear();
            out.push(character);
        } else {
            word.push(character);
        }
    }
    out.pop();
    out
}

fn replaced(word: &str) -> String {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_form = |form: &str| {
        word.len() == form.len()
            && word
                .bytes()
                .zip(form.bytes())
                .all(|(byte, form)| match form {
                    b'0' => byte.is_ascii_digit(),
                    form => byte == form,
                })
    };
    if word.starts_with("sha256:") {
        return "[digest]".to_owned();
    }
    if word.len() == 26
        && word.starts_with("01")
        && word.bytes().all(|it| it.is_ascii_alphanumeric())
    {
        return "[id]".to_owned();
    }
    if word.len() == 12 && is_hex(word) {
        return "[hex]".to_owned();
    }
    if has_form("0000-00-00") {
        return "[date]".to_owned();
    }
    if has_form("00:00:00Z") {
        return "[time]".to_owned();
    }
    if word.starts_with("http://127.0.0.1:") {
        return "[url]".to_owned();
    }
    word.to_owned()
}
