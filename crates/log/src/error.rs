//! Why an operation on a store failed, and whether trying again can help.

use std::path::PathBuf;

/// Says that something is larger than the store takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {bytes} bytes; at most {bytes_max} are stored: make it smaller or split it")]
pub struct LimitExceeded {
    /// What is too large, in words.
    pub what: String,
    /// How large it is.
    pub bytes: usize,
    /// How large it may be.
    pub bytes_max: usize,
}

/// Says why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It may or may not have been stored: [`settle`](crate::settle()), then send the same bytes again if it is absent.
    #[error(
        "the store did not say whether the commit was stored: read the log before sending it again"
    )]
    Unknown,
    /// Nothing was stored: the disk is full.
    #[error("the disk of the store is full: free some space, then send the commit again")]
    NoSpace,
    /// Nothing was stored: the store cannot be written.
    #[error("the store is read-only: check the permissions and the mount of its directory")]
    ReadOnly,
    /// Nothing was stored: the store did not answer as it should.
    #[error("the store is unavailable ({detail}): send the commit again later")]
    Unavailable {
        /// What the engine said.
        detail: String,
    },
    /// Nothing was stored: the store's own files are damaged.
    #[error("the store is damaged ({detail}): verify it, and restore it from a backup")]
    Damaged {
        /// What was found.
        detail: String,
    },
    /// Nothing was stored: the run is beyond what one append takes.
    #[error(transparent)]
    TooLarge(#[from] LimitExceeded),
    /// Nothing was stored: the idempotency key is taken; [`find`](crate::ChangeLog::find) gives the first result.
    #[error("a commit with id `{id}` already exists")]
    DuplicateId {
        /// The key that is taken.
        id: String,
        /// The revision that holds it; `None` if it stands twice in the run itself.
        revision: Option<u64>,
    },
    /// Nothing was stored: the run does not follow from the expected head. This is a defect of the caller.
    #[error("the run is malformed: {detail}")]
    Malformed {
        /// What does not fit.
        detail: String,
    },
}

impl AppendError {
    /// Says whether sending the same bytes again can succeed; after [`Self::Unknown`] only once it is settled.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unknown | Self::NoSpace | Self::Unavailable { .. } => true,
            Self::ReadOnly
            | Self::Damaged { .. }
            | Self::TooLarge(_)
            | Self::DuplicateId { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// Says whether it is certain that nothing was stored.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

/// Says why a write other than an append failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It may or may not have been stored; every such write is safe to repeat.
    #[error("the store did not say whether the write was stored: repeat it")]
    Unknown,
    /// The disk is full.
    #[error("the disk of the store is full: free some space, then repeat the write")]
    NoSpace,
    /// The store cannot be written.
    #[error("the store is read-only: check the permissions and the mount of its directory")]
    ReadOnly,
    /// The store did not answer as it should.
    #[error("the store is unavailable ({detail}): repeat the write later")]
    Unavailable {
        /// What the engine said.
        detail: String,
    },
    /// The store's own files are damaged.
    #[error("the store is damaged ({detail}): verify it, and restore it from a backup")]
    Damaged {
        /// What was found.
        detail: String,
    },
    /// The value is larger than the store takes.
    #[error(transparent)]
    TooLarge(#[from] LimitExceeded),
    /// The write contradicts what the log holds.
    #[error("the write does not fit the log: {detail}")]
    Refused {
        /// What does not fit.
        detail: String,
    },
}

impl WriteError {
    /// Says whether repeating the write can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unknown | Self::NoSpace | Self::Unavailable { .. } => true,
            Self::ReadOnly | Self::Damaged { .. } | Self::TooLarge(_) | Self::Refused { .. } => {
                false
            }
        }
    }
}

impl From<WriteError> for AppendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unknown => Self::Unknown,
            WriteError::NoSpace => Self::NoSpace,
            WriteError::ReadOnly => Self::ReadOnly,
            WriteError::Unavailable { detail } => Self::Unavailable { detail },
            WriteError::Damaged { detail } => Self::Damaged { detail },
            WriteError::TooLarge(limit) => Self::TooLarge(limit),
            WriteError::Refused { detail } => Self::Malformed { detail },
        }
    }
}

/// Says why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer as it should.
    #[error("the store is unavailable ({detail}): try again later")]
    Unavailable {
        /// What the engine said.
        detail: String,
    },
    /// The store's own files are damaged.
    #[error("the store is damaged ({detail}): verify it, and restore it from a backup")]
    Damaged {
        /// What was found.
        detail: String,
    },
}

impl ReadError {
    /// Says whether the same read can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Damaged { .. } => false,
        }
    }
}

/// Says why a store could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has the data directory open.
    #[error(
        "the data directory `{dir}` is in use by {holder}: stop it, or choose another directory",
        dir = dir.display(),
        holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, if it has written its id.
        pid: Option<u32>,
    },
    /// A file or directory could not be created, opened or read.
    #[error("cannot open `{path}`: {detail}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system or the engine said.
        detail: String,
    },
    /// The file was written by a newer release.
    #[error(
        "`{path}` has schema {found}, and this release knows up to {known}: use a newer release",
        path = path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema version in the file.
        found: i64,
        /// The newest schema version of this release.
        known: i64,
    },
    /// The file is there, but it is not a store of this kind.
    #[error("`{path}` is not a store of this product: choose another directory", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("`{path}` is damaged ({detail}): restore it from a backup", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The engine linked into this program has a known defect.
    #[error(
        "this program is built with SQLite {found}, and {needed} or newer is needed: rebuild it"
    )]
    Engine {
        /// The version linked in.
        found: String,
        /// The oldest version that is safe.
        needed: &'static str,
    },
}
