//! The file that holds a server's key.
//!
//! INVARIANT: the file is whole at any moment, and nobody but its owner can read it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use plane_registry::SigningKey;
use plane_state::delivery::KeyRing;

use crate::commands::sign::create_private;
use crate::failure::Failure;

/// The file in the data directory.
const NAME: &str = "server-key.pem";

/// Where a server's key is.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    pub(crate) fn in_dir(data: &Path) -> Self {
        Self(data.join(NAME))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Makes a first key; whoever calls this holds the data directory's lock.
    pub(crate) fn make(&self) -> Result<KeyRing> {
        let ring = KeyRing::new(random_key()?);
        // Left behind by a start that was cut off.
        match fs::remove_file(self.beside()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.not_written(&error).into());
            }
            _ => {}
        }
        self.replace(&ring)?;
        Ok(ring)
    }

    /// Reads the key, if nobody else can.
    pub(crate) fn read(&self) -> Result<KeyRing> {
        let path = self.0.display();
        let text = fs::read_to_string(&self.0).map_err(|error| {
            let failure = Failure::new(format!("cannot read the server's key `{path}`: {error}"));
            match error.kind() {
                io::ErrorKind::NotFound => {
                    failure.next("name a data directory that a server was started on")
                }
                _ => failure.next("let the user who runs the server read it, and nobody else"),
            }
        })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let metadata =
                fs::metadata(&self.0).with_context(|| format!("cannot look at `{path}`"))?;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(Failure::new(format!(
                    "others can read or write the server's key `{path}` (mode {mode:o})"
                ))
                .next(format!(
                    "run `chmod 600 {path}`; if somebody may have read it, rotate it and pin the new key"
                ))
                .into());
            }
        }
        let ring = KeyRing::read(&text).map_err(|error| {
            Failure::new(format!("`{path}` is not a server's key: {error}")).next(
                "put back the copy that was made after the last rotation: clients follow no other key; \
                 without one, move the file away, and the next start makes a key that clients have to be told",
            )
        })?;
        Ok(ring)
    }

    /// Puts keys in the place of those that are there; after a crash either are there, whole.
    pub(crate) fn replace(&self, ring: &KeyRing) -> Result<()> {
        let beside = self.beside();
        let written = create_private(&beside, ring.to_text().as_bytes());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(format!(
                "`{}` is there: another rotation is under way, or one was cut off",
                beside.display()
            ))
            .next("if none is under way, remove that file and try again"),
            _ => self.not_written(&error),
        })?;
        let placed = fs::rename(&beside, &self.0);
        let placed = placed.and_then(|()| sync_dir(self.0.parent()));
        Ok(placed.map_err(|error| self.not_written(&error))?)
    }

    fn beside(&self) -> PathBuf {
        self.0.with_extension("pem.new")
    }

    fn not_written(&self, error: &io::Error) -> Failure {
        Failure::new(format!(
            "cannot write the server's key `{}`: {error}",
            self.0.display()
        ))
    }
}

#[cfg(unix)]
fn sync_dir(dir: Option<&Path>) -> io::Result<()> {
    dir.map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(not(unix))]
fn sync_dir(_: Option<&Path>) -> io::Result<()> {
    Ok(())
}

/// A key that nobody can guess.
pub(crate) fn random_key() -> Result<SigningKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no random bytes")?;
    Ok(SigningKey::from_seed(&seed))
}
