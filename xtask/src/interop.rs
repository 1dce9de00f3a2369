//! What programs of others find about the API: a linter of its document, schemathesis, which sends
//! requests made from the document to the real server and holds the replies against it, and clients of
//! `OpenFeature`, which evaluate flags by it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::openapi::FILE as DOCUMENT;
use crate::process::{root, run};
use crate::{run as server, tools};

/// Checks the API's document, and then the server against it.
pub(crate) fn interop() -> Result<()> {
    lint()?;
    openfeature()?;
    schemathesis()?;
    println!("interop: the OpenAPI linter, OpenFeature's clients and schemathesis found nothing");
    Ok(())
}

/// Has `OpenFeature`'s own SDKs evaluate flags by OFREP.
fn openfeature() -> Result<()> {
    let modules = tools::npm("interop")?;
    let python = tools::python("interop/requirements.txt")?.join("python");
    let mut server = Server::start()?;
    let token = server.token()?;
    for (program, script) in [(tools::node()?, "ofrep.mjs"), (python, "ofrep.py")] {
        let mut client = Command::new(program);
        client
            .arg(root().join("interop").join(script))
            .env("MODULES", &modules)
            .env("SERVER", &server.url)
            .env("CONTROL_PLANE_TOKEN", &token)
            .current_dir(&server.place);
        run(&mut client).with_context(|| format!("interop/{script}"))?;
    }
    server.stop()
}

fn lint() -> Result<()> {
    let redocly = tools::npm("interop")?.join("@redocly/cli/bin/cli.js");
    let mut lint = Command::new(tools::node()?);
    lint.arg(redocly)
        .args(["lint", DOCUMENT, "--config", "interop/redocly.yaml"])
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .current_dir(root());
    run(&mut lint).context("the OpenAPI linter found something")
}

fn schemathesis() -> Result<()> {
    let program = tools::python("interop/requirements.txt")?.join("schemathesis");
    let mut server = Server::start()?;
    let mut tests = Command::new(program);
    tests
        .arg("--config-file")
        .arg(root().join("interop/schemathesis.toml"))
        .arg("run")
        .arg(root().join(DOCUMENT))
        .args(["--url", &server.url])
        // By the environment: a command line can be read by anybody on the machine.
        .env("CONTROL_PLANE_TOKEN", server.token()?)
        // What it keeps, it keeps here.
        .current_dir(&server.place);
    let found = run(&mut tests).context("schemathesis found something");
    let stopped = server.stop();
    let log = fs::read_to_string(&server.log).context("the server left no log")?;
    if let Some(line) = log.lines().find(|line| is_trouble(line)) {
        bail!("the server's log, {}, has: {line}", server.log.display());
    }
    found.and(stopped)
}

fn is_trouble(line: &str) -> bool {
    line.contains(" ERROR ") || line.contains("panicked at")
}

/// The server with the example platform, on a directory and a port of its own.
struct Server {
    child: Child,
    place: PathBuf,
    data: PathBuf,
    log: PathBuf,
    url: String,
}

impl Server {
    fn start() -> Result<Self> {
        let place = root().join("target/xtask/interop-server");
        let data = place.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).context("cannot remove the data of an earlier run")?;
        }
        fs::create_dir_all(&place).context("cannot make a directory for the server")?;
        let log = place.join("log");
        let mut command = Command::new(root().join(server::build(false)?));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--load", server::TREE])
            .arg("--data")
            .arg(&data)
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).context("cannot write the server's log")?);
        let child = command.spawn().context("cannot start the server")?;
        let mut server = Self {
            child,
            place,
            data,
            log,
            url: String::new(),
        };
        server.url = server.ready()?;
        Ok(server)
    }

    fn ready(&mut self) -> Result<String> {
        let output = self
            .child
            .stdout
            .take()
            .context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let url = line.trim_end().strip_prefix("ready ");
        url.map(str::to_owned).with_context(|| {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            format!("the server did not start: {said}")
        })
    }

    fn token(&self) -> Result<String> {
        let file = self.data.join("admin-token");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Asks it to stop, and fails if it does not end well.
    fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        if cfg!(unix) {
            run(Command::new("kill").args(["-TERM", &pid]))?;
        } else {
            self.child.kill().context("cannot stop the server")?;
        }
        let status = self.child.wait().context("cannot wait for the server")?;
        if cfg!(unix) && !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_in_the_log_are_trouble_and_nothing_else_is() {
        assert!(is_trouble(
            "2026-03-01T00:00:00Z ERROR a request failed inside"
        ));
        assert!(is_trouble("thread 'main' (1) panicked at src/main.rs:1:1:"));
        assert!(!is_trouble(
            "2026-03-01T00:00:00Z  INFO code=\"TEXT_INVALID\" status=400"
        ));
    }

    #[test]
    fn what_the_programs_read_is_there() {
        for file in [
            "interop/redocly.yaml",
            "interop/schemathesis.toml",
            "interop/ofrep.mjs",
            "interop/ofrep.py",
            DOCUMENT,
        ] {
            assert!(root().join(file).is_file(), "{file}");
        }
    }
}
