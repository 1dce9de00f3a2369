//! Progress of long work, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a terminal is told.
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
/// How often a file or a pipe is told.
const PIPE_EVERY: Duration = Duration::from_secs(5);

/// Says how far long work has come, in one line that a terminal overwrites.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    is_terminal: bool,
    told: Instant,
    has_told: bool,
}

impl Progress {
    /// Begins; nothing is said before a first interval is over.
    #[expect(
        clippy::disallowed_methods,
        reason = "how often to tell a person is no result"
    )]
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            is_terminal: io::stderr().is_terminal(),
            told: Instant::now(),
            has_told: false,
        }
    }

    /// Says how many are done, if it is time to.
    #[expect(
        clippy::disallowed_methods,
        reason = "how often to tell a person is no result"
    )]
    pub(crate) fn at(&mut self, done: u64) {
        let every = if self.is_terminal {
            TERMINAL_EVERY
        } else {
            PIPE_EVERY
        };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        self.has_told = true;
        let (begin, end) = if self.is_terminal {
            ("\r", "")
        } else {
            ("", "\n")
        };
        drop(write!(
            io::stderr(),
            "{begin}{}: {done} so far{end}",
            self.what
        ));
        drop(io::stderr().flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_told && self.is_terminal {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}
