//! How a command reaches the server and shows what it found.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result};
use plane_client::sdk::{Error as SdkError, Snapshot};
use plane_client::{Authorities, Client, ControlPlane, Settings};
use plane_model::EnvironmentName;
use serde::Serialize;

use crate::arguments::{Format, Global};
use crate::failure::Failure;
use crate::output::{Page, Style, one_line};

/// How long a command waits for a view.
const VIEW_TIMEOUT: Duration = Duration::from_secs(30);

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
    style: Style,
}

impl Session {
    /// Makes a session of the options of every command.
    pub(crate) fn new(global: Global) -> Self {
        Self {
            global,
            style: Style::of_stdout(),
        }
    }

    /// A client with the caller's token.
    pub(crate) fn client(&self) -> Result<Client> {
        self.connect(Some(self.token()?))
    }

    fn connect(&self, token: Option<String>) -> Result<Client> {
        Ok(Client::new(Settings {
            url: self.global.url.clone(),
            token,
            user_agent: concat!("control-plane/", env!("CARGO_PKG_VERSION")).to_owned(),
            authorities: match ca_file() {
                Some(file) => Authorities::read(Path::new(&file)).map_err(|detail| {
                    Failure::new(format!("CONTROL_PLANE_CA_FILE cannot be used: {detail}"))
                        .next("name a file of certificates in PEM, or leave it out")
                })?,
                None => Authorities::default(),
            },
        })?)
    }

    /// What an environment is now, read into this process: from a server, or from a tree (`file:TREE`).
    pub(crate) fn snapshot(&self, environment: &EnvironmentName) -> Result<Snapshot> {
        let url = self.global.url.as_str();
        let mut builder = ControlPlane::builder()
            .url(url)
            .environment(environment.as_str())
            .only_looks();
        if !url.starts_with("file:") {
            builder = builder.token(&self.token()?);
        }
        if let Some(file) = ca_file() {
            builder = builder.ca_file(file);
        }
        let failed = |error: SdkError| Failure::new(error.to_string()).next(error.next());
        let plane = builder.build().map_err(failed)?;
        plane.wait_ready(VIEW_TIMEOUT).map_err(failed)?;
        let snapshot = plane.snapshot().map_err(failed)?;
        plane.close();
        Ok(snapshot)
    }

    fn token(&self) -> Result<String> {
        if let Some(file) = &self.global.token_file {
            return read_token(file);
        }
        if let Some(token) = named("CONTROL_PLANE_TOKEN") {
            return token.into_string().map_err(|_| {
                Failure::new("CONTROL_PLANE_TOKEN is not text")
                    .next("set it to a token")
                    .into()
            });
        }
        match named("CONTROL_PLANE_TOKEN_FILE") {
            Some(file) => read_token(Path::new(&file)),
            None => Err(Failure::new("no token: this command needs one")
                .next(
                    "set CONTROL_PLANE_TOKEN, or CONTROL_PLANE_TOKEN_FILE or --token-file to a \
                     file that holds it; a new server writes its first one to DATA/admin-token",
                )
                .into()),
        }
    }

    /// The environment, if one was named.
    pub(crate) fn environment_if_named(&self) -> Option<&EnvironmentName> {
        self.global.environment.as_ref()
    }

    /// The environment that the command is about.
    pub(crate) fn environment(&self) -> Result<&EnvironmentName> {
        self.global.environment.as_ref().ok_or_else(|| {
            Failure::new("no environment: this command needs one")
                .next(
                    "add `--environment NAME` or set CONTROL_PLANE_ENVIRONMENT; \
                     `control-plane environment list` shows them",
                )
                .into()
        })
    }

    /// Whether the answer is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.global.output == Format::Json
    }

    /// Shows an answer: the value as JSON, or what `write` makes of it for a person.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        write: impl FnOnce(&mut Page),
    ) -> Result<()> {
        if self.is_json() {
            let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
            text.push('\n');
            return print(&text);
        }
        let mut page = Page::new(self.style, columns());
        write(&mut page);
        print(&page.finish())
    }
}

/// How wide the terminal is that standard output goes to.
fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0))
}

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Says something beside the answer, on standard error.
pub(crate) fn note(text: &str) {
    // A note that cannot be shown is lost; the answer is not.
    let text = Style::of_stderr().visible(&one_line(text));
    drop(writeln!(io::stderr(), "{text}"));
}

/// The value of an environment variable that is not empty.
fn named(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The file of the certificate authorities that vouch for the server, if it is not those of the web.
fn ca_file() -> Option<OsString> {
    named("CONTROL_PLANE_CA_FILE")
}

fn read_token(file: &Path) -> Result<String> {
    let text =
        fs::read_to_string(file).map_err(|error| {
            Failure::new(format!("cannot read the token file `{}`: {error}", file.display())).next(
            "name a file that holds a token; a new server writes its first one to DATA/admin-token",
        )
        })?;
    Ok(text.trim().to_owned())
}
