//! Why a call failed.

use plane_api::Problem;

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server refused: its problem says why and what to do next.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// Nothing answered at the address: start the server, or correct the address.
    #[error("cannot reach the control plane at {url}: {detail}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the system said.
        detail: String,
    },
    /// The connection was lost, and the write may or may not have been committed: send it again
    /// with the same idempotency key, or look at the log.
    #[error("the connection to {url} was lost before an answer came: {detail}")]
    Lost {
        /// The address.
        url: String,
        /// What the system said.
        detail: String,
    },
    /// Something answered, but not this API: correct the address.
    #[error("{url} does not answer as a control plane does: {detail}")]
    Foreign {
        /// The address.
        url: String,
        /// What is odd about the answer.
        detail: String,
    },
    /// The settings cannot be used: correct them.
    #[error("{detail}")]
    Settings {
        /// What is wrong with them.
        detail: String,
    },
}

impl Error {
    /// The problem that the server sent, if it sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Says whether the server answered with this status.
    pub fn is_status(&self, status: u16) -> bool {
        self.problem()
            .is_some_and(|problem| problem.status == status)
    }

    /// What to do next.
    pub fn next(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => problem.next.clone(),
            Self::Unreachable { .. } => Some(
                "start it with `control-plane serve`, or name its address with --url or \
                 CONTROL_PLANE_URL"
                    .to_owned(),
            ),
            Self::Lost { .. } => Some(
                "see `control-plane log` for whether a change was committed, then repeat it"
                    .to_owned(),
            ),
            Self::Foreign { .. } => {
                Some("check --url or CONTROL_PLANE_URL, and any proxy between".to_owned())
            }
            Self::Settings { .. } => None,
        }
    }
}
