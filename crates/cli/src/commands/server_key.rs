//! `server-key`: the key that a server signs what it delivers with, in the files of its data directory.

pub(crate) mod file;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use plane_model::Timestamp;
use plane_node::{Clock as _, SystemClock};
use plane_state::delivery::KeyRing;

use self::file::KeyFile;
use crate::output::{Cell, Page, Paint, time};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum ServerKey {
    /// Show the public key, and those before it
    Show(Data),
    /// Make a new key that the one until now vouches for
    Rotate(Data),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The key is DATA/server-key.pem, made by the first start; who reads it can sign in the server's \
name. Clients trust the first key that they meet, or the one in CONTROL_PLANE_SERVER_KEY, and \
follow from it to those that a rotation put in its place. Copy the file after each rotation: \
clients follow no other key.

A running server goes on with the key until now until it gets SIGHUP, which costs no stream.

Examples:
  control-plane server-key show --data .data/run
  control-plane server-key rotate \\
      --data /var/lib/control-plane && systemctl reload control-plane")]
pub(crate) struct Data {
    /// The data directory, also of a server that runs
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// What is shown of the keys.
#[derive(Debug, serde::Serialize)]
struct Shown {
    public_key: String,
    key_id: String,
    /// Since when it signs; none of a first key.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Those before it, the oldest first.
    earlier: Vec<String>,
}

impl ServerKey {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::Show(data) => {
                let shown = Shown::of(&KeyFile::in_dir(&data.data).read()?);
                session.show(&shown, |page| shown.write(page))
            }
            Self::Rotate(data) => {
                let file = KeyFile::in_dir(&data.data);
                let ring = file.read()?.rotate(file::random_key()?, SystemClock.now());
                let ring = ring.context("the key cannot be endorsed")?;
                file.replace(&ring)?;
                let shown = Shown::of(&ring);
                session.show(&shown, |page| {
                    shown.write(page);
                    page.gap();
                    page.line("A server that runs signs with it once it gets SIGHUP, or is started again.");
                    page.line("Clients follow by themselves; CONTROL_PLANE_SERVER_KEY may stay as it is.");
                })
            }
        }
    }
}

impl Shown {
    fn of(ring: &KeyRing) -> Self {
        let key = ring.current().public();
        let mut earlier: Vec<_> = ring.keys().map(|(key, _)| key.to_string()).collect();
        earlier.pop();
        Self {
            public_key: key.to_string(),
            key_id: key.keyid().to_string(),
            since: ring.since(),
            earlier,
        }
    }

    fn write(&self, page: &mut Page) {
        let field = |text: &str| Some(Cell::new(text, Paint::Plain));
        let since = self.since.map(time);
        page.fields(vec![
            ("public key", Some(Cell::new(&self.public_key, Paint::Bold))),
            ("key id", field(&self.key_id)),
            ("signs since", since.as_deref().and_then(field)),
        ]);
        for key in self.earlier.iter().rev() {
            page.line(format!("before it: {key}"));
        }
    }
}
