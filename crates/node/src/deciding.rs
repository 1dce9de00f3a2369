//! Deciding about commits before they reach the writer: where what takes long holds up nobody.

use std::sync::Arc;

use plane_model::{Kind, Timestamp};
use plane_state::{Command, Plan, Prepared, Rejection, plan, prepare};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::CommitError;
use crate::node::Shared;
use crate::snapshot::Snapshot;
use crate::threads::Threads;
use crate::writer::QUEUE_MAX;

/// Says whether deciding about the command may take long: it looks at many documents.
pub(crate) fn is_heavy(command: &Command) -> bool {
    command.ops.len() > 16
        || command.ops.iter().any(|op| {
            matches!(
                op.key.kind(),
                Kind::Config
                    | Kind::Schema
                    | Kind::Environment
                    | Kind::Tenant
                    | Kind::Flag
                    | Kind::Schedule
            )
        })
}

/// Decides about a command and says what it changes; off the asynchronous threads if that may take long.
///
/// # Errors
/// The command is refused, or so many wait to be decided that this one has to come back later.
pub(crate) async fn decide(
    shared: Arc<Shared>,
    command: Arc<Command>,
    now: Timestamp,
) -> Result<(Prepared, Plan), CommitError> {
    let (is_heavy, is_kill) = (is_heavy(&command), command.is_kill());
    let decision = move |snapshot: &Snapshot| {
        let prepared = prepare(snapshot.state(), &command, now)?;
        let plan = plan(snapshot.state(), &prepared);
        Ok::<_, Rejection>((prepared, plan))
    };
    if !is_heavy {
        return Ok(decision(&shared.snapshot())?);
    }
    let _turn = if is_kill {
        None
    } else {
        Some(shared.deciding.enter().await?)
    };
    // Taken after waiting, so that the decision is not older than it has to be.
    let snapshot = shared.snapshot();
    Ok(apart(&shared.threads, move || decision(&snapshot)).await?)
}

/// Runs what may take long where it holds up nobody.
async fn apart<T: Send + 'static>(
    threads: &Threads,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match threads.work().spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Who may decide about something large: few at once, so that kills, reads and streams find a free core.
#[derive(Debug)]
pub(crate) struct Deciding {
    places: Semaphore,
    turns: Semaphore,
}

impl Deciding {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: Semaphore::new(QUEUE_MAX),
            // Two, even where that leaves no core free: something small must not wait for something huge.
            turns: Semaphore::new(cores.saturating_sub(1).max(2)),
        }
    }

    /// Waits for a turn, and runs what may take long where it holds up nobody.
    ///
    /// # Errors
    /// Too many wait already.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        threads: &Threads,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CommitError> {
        let _turn = self.enter().await?;
        Ok(apart(threads, work).await)
    }

    async fn enter(&self) -> Result<[SemaphorePermit<'_>; 2], CommitError> {
        let place = self
            .places
            .try_acquire()
            .map_err(|_| CommitError::Overloaded)?;
        let turn = self
            .turns
            .acquire()
            .await
            .map_err(|_| CommitError::Overloaded)?;
        Ok([place, turn])
    }
}
