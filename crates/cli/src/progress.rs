//! Progress of long work, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How long a bar is.
const BAR_CELLS: usize = 20;
/// How often a terminal is told.
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
/// How often a file or a pipe is told.
const PIPE_EVERY: Duration = Duration::from_secs(5);

/// Says how far long work has come, in one line that a terminal overwrites.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    /// What there is to do, if it is known, and then a terminal is shown a bar and a pipe nothing.
    total: Option<u64>,
    done: u64,
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
            total: None,
            done: 0,
            is_terminal: io::stderr().is_terminal() && can_overwrite(),
            told: Instant::now(),
            has_told: false,
        }
    }

    /// Begins work of a known size; only a terminal is told.
    pub(crate) fn bar(what: &'static str, total: usize) -> Self {
        Self {
            total: Some(total as u64),
            ..Self::new(what)
        }
    }

    /// Says that one more is done, if it is time to.
    pub(crate) fn step(&mut self) {
        self.at(self.done + 1);
    }

    /// Says that something is waited for, as long as this lives; only a terminal is told.
    pub(crate) fn wait(what: &'static str) -> Self {
        let mut waiting = Self::bar(what, 0);
        waiting.tell();
        waiting
    }

    /// Says how many are done, if it is time to.
    #[expect(
        clippy::disallowed_methods,
        reason = "how often to tell a person is no result"
    )]
    pub(crate) fn at(&mut self, done: u64) {
        self.done = done;
        let every = if self.is_terminal {
            TERMINAL_EVERY
        } else {
            PIPE_EVERY
        };
        if self.told.elapsed() >= every {
            self.told = Instant::now();
            self.tell();
        }
    }

    fn tell(&mut self) {
        let line = match (self.total, self.is_terminal) {
            (Some(0), true) => format!("\r{} …", self.what),
            (Some(total), true) => format!("\r{}", bar(self.what, self.done, total)),
            (Some(_), false) => return,
            (None, true) => format!("\r{}: {} so far", self.what, self.done),
            (None, false) => format!("{}: {} so far\n", self.what, self.done),
        };
        self.has_told = true;
        drop(write!(io::stderr(), "{line}"));
        drop(io::stderr().flush());
    }
}

/// A bar that is short enough for narrow terminals, such as `reading [#####---------------] 419/1674`.
fn bar(what: &str, done: u64, total: u64) -> String {
    let filled = done.saturating_mul(BAR_CELLS as u64) / total.max(1);
    let filled = usize::try_from(filled).unwrap_or(BAR_CELLS).min(BAR_CELLS);
    let (filled, empty) = ("#".repeat(filled), "-".repeat(BAR_CELLS - filled));
    format!("{what} [{filled}{empty}] {done}/{total}")
}

fn can_overwrite() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_told && self.is_terminal {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        for (done, total, expected) in [
            (0, 1_674, "reading [--------------------] 0/1674"),
            (419, 1_674, "reading [#####---------------] 419/1674"),
            (1_674, 1_674, "reading [####################] 1674/1674"),
        ] {
            assert_eq!(bar("reading", done, total), expected);
        }
    }
}
