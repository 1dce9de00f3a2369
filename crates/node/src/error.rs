//! Why the node could not do what was asked.

use plane_log::{AppendError, ReadError};
use plane_model::{Code, Timestamp};
use plane_state::Rejection;

/// Why a commit was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The command is not valid, or no longer is: correct it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The idempotency key was used for another request: take a new key.
    #[error("the idempotency key `{id}` was used for another request, at revision {revision}")]
    IdReused {
        /// The key.
        id: String,
        /// Where it was used.
        revision: u64,
    },
    /// The writers' queue is full: retry later.
    #[error("the writers' queue is full")]
    Overloaded,
    /// There is no space for the log: free some, then retry.
    #[error("the disk is full")]
    StoreFull,
    /// The store cannot take writes now: retry later.
    #[error("the store takes no writes now: {0}")]
    StoreUnavailable(String),
    /// The node has halted its writes, or is shutting down.
    #[error("this node writes no more: {0}")]
    Halted(String),
}

impl CommitError {
    /// The code that the user sees.
    pub fn code(&self) -> Code {
        match self {
            Self::Rejected(rejection) => rejection
                .violations
                .first()
                .map_or(Code::RequestInvalid, |it| it.code),
            Self::IdReused { .. } => Code::IdempotencyKeyReused,
            Self::Overloaded => Code::Overloaded,
            Self::StoreFull => Code::StoreFull,
            Self::StoreUnavailable(_) => Code::StoreUnavailable,
            Self::Halted(_) => Code::LogDiverged,
        }
    }
}

impl From<AppendError> for CommitError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NoSpace => Self::StoreFull,
            AppendError::Damaged { .. } => Self::Halted(error.to_string()),
            AppendError::Unknown
            | AppendError::ReadOnly
            | AppendError::Unavailable { .. }
            | AppendError::TooLarge(_)
            | AppendError::DuplicateId { .. }
            | AppendError::Malformed { .. } => Self::StoreUnavailable(error.to_string()),
        }
    }
}

impl From<ReadError> for CommitError {
    fn from(error: ReadError) -> Self {
        Self::StoreUnavailable(error.to_string())
    }
}

/// Why the past could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AtError {
    /// The revision is ahead of the log.
    #[error("revision {revision} is not in the log: the head is {head}")]
    Ahead {
        /// What was asked for.
        revision: u64,
        /// Where the log ends.
        head: u64,
    },
    /// The time is ahead of now.
    #[error("{0} is in the future")]
    Future(Timestamp),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] ReadError),
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The log is not the chain that was written: run `log verify`, then restore a backup.
    #[error("the log is damaged at revision {revision}: {detail}; run `control-plane log verify`")]
    Broken {
        /// Where.
        revision: u64,
        /// How it shows.
        detail: String,
    },
    /// The system gives no threads: let it have more, then start again.
    #[error("the system gives no threads: {0}")]
    Threads(String),
}
