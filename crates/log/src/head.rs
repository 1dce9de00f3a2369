//! Which log, how far it goes, and being told when it grows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Hash;

/// Names one log: 1 to 64 ASCII letters, digits, `-` or `_`.
///
/// An installation has one log; the id is drawn by the caller and kept from the log's creation on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogId(String);

/// Says that a text cannot name a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot name a log: use 1 to 64 letters, digits, `-` or `_`")]
pub struct LogIdError {
    text: String,
}

impl LogId {
    /// Checks that `id` can name a log.
    pub fn new(id: impl Into<String>) -> Result<Self, LogIdError> {
        let id = id.into();
        let named = (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if named {
            Ok(Self(id))
        } else {
            Err(LogIdError {
                text: id.chars().take(80).collect(),
            })
        }
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogId {
    type Err = LogIdError;

    fn from_str(text: &str) -> Result<Self, LogIdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for LogId {
    type Error = LogIdError;

    fn try_from(text: String) -> Result<Self, LogIdError> {
        Self::new(text)
    }
}

impl From<LogId> for String {
    fn from(id: LogId) -> Self {
        id.0
    }
}

/// Names the last entry of a log; an empty log has revision 0 and [`Hash::GENESIS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// How many entries the log holds, which is the revision of the last one.
    pub revision: u64,
    /// The hash of that entry.
    pub hash: Hash,
}

impl Head {
    /// The head of an empty log.
    pub const GENESIS: Self = Self {
        revision: 0,
        hash: Hash::GENESIS,
    };
}

/// Tells when the head moves: a hint that may lag and skip revisions, and is never ahead of the head.
///
/// The truth is [`ChangeLog::read`](crate::ChangeLog::read), checked against the chain.
#[derive(Debug, Clone)]
pub struct HeadWatch {
    revisions: watch::Receiver<u64>,
}

impl HeadWatch {
    pub(crate) fn new(revisions: watch::Receiver<u64>) -> Self {
        Self { revisions }
    }

    /// Returns the last revision this watch was told of.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.revisions.borrow()
    }

    /// Waits until the head has passed `revision` and returns the revision told, or `None` once the log is closed.
    ///
    /// Cancel-safe. Returns at once if the head is already past it.
    pub async fn past(&mut self, revision: u64) -> Option<u64> {
        self.revisions
            .wait_for(|told| *told > revision)
            .await
            .ok()
            .map(|told| *told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_id_has_1_to_64_plain_characters() {
        for good in ["a", "01JD7Z-x_9", &"x".repeat(64)] {
            assert_eq!(LogId::new(good).map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(LogId::new(bad).is_err(), "{bad}");
        }
    }
}
