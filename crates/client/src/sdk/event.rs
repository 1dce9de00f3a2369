//! What the SDK tells a log of: seldom, and each once.

use std::fmt;
use std::sync::Arc;

use plane_model::{Code, EnvironmentName};

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// It is as it should be.
    Info,
    /// Somebody should look when there is time; what is held is served.
    Warning,
    /// Somebody should look now; what is held is served.
    Error,
}

/// Something that happened beside the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// How much it matters.
    pub level: Level,
    /// The stable code, if it is an error that has one.
    pub code: Option<Code>,
    /// The environment that it is about.
    pub environment: EnvironmentName,
    /// The revision that is served after it; none if there is none.
    pub revision: Option<u64>,
    /// What happened, for a person.
    pub message: String,
}

/// Who is told of events.
#[derive(Clone)]
pub(crate) struct Listener(Arc<dyn Fn(&Event) + Send + Sync>);

impl Listener {
    pub(crate) fn new(listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    pub(crate) fn tell(&self, event: &Event) {
        (self.0)(event);
    }
}

impl Default for Listener {
    /// Writes to the log of the process.
    fn default() -> Self {
        Self::new(|event| {
            let Event {
                level,
                code,
                environment,
                revision,
                message,
            } = event;
            let code = code.map(Code::as_str);
            match level {
                Level::Info => tracing::info!(%environment, revision, "{message}"),
                Level::Warning => tracing::warn!(%environment, revision, code, "{message}"),
                Level::Error => tracing::error!(%environment, revision, code, "{message}"),
            }
        })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
