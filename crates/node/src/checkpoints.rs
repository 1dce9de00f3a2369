//! When a checkpoint is written: so often that a start reads little, so seldom that writing is not in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plane_log::WriteError;
use plane_state::State;
use tokio::sync::Notify;

use crate::node::Shared;

/// How many bytes of records are at most read again at a start.
const TAIL_BYTES_MAX: u64 = 64 << 20;
/// What is read in no time: a smaller tail is not worth a checkpoint, however small the state.
const TAIL_BYTES_MIN: u64 = 1 << 20;
/// How long there is writing before a checkpoint is due.
const EVERY: Duration = Duration::from_mins(10);

/// Says when a checkpoint is due.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes of records that no checkpoint covers.
    tail_bytes: AtomicU64,
    /// Bytes of the newest checkpoint; 0 if there is none.
    state_bytes: AtomicU64,
    due: Notify,
}

impl Pace {
    /// Takes over where the node starts.
    pub(crate) fn new(tail_bytes: u64, state_bytes: u64) -> Self {
        Self {
            tail_bytes: AtomicU64::new(tail_bytes),
            state_bytes: AtomicU64::new(state_bytes),
            due: Notify::new(),
        }
    }

    /// Counts what was appended.
    pub(crate) fn written(&self, bytes: u64) {
        let tail_bytes = self.tail_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if is_due(tail_bytes, self.state_bytes.load(Ordering::Relaxed)) {
            self.due.notify_one();
        }
    }
}

/// Says whether so long a tail deserves a checkpoint of so large a state.
fn is_due(tail_bytes: u64, state_bytes: u64) -> bool {
    tail_bytes >= (state_bytes / 4).clamp(TAIL_BYTES_MIN, TAIL_BYTES_MAX)
}

/// The state as bytes, and the digest that they are stored with.
pub(crate) fn checkpoint_of(state: &State) -> plane_log::Checkpoint {
    let bytes = plane_state::checkpoint::encode(state);
    plane_log::Checkpoint {
        revision: state.head().revision,
        head: crate::convert::hash(&state.head().hash),
        digest: crate::convert::hash(&plane_model::Digest::of(&bytes)),
        bytes: bytes.into(),
    }
}

/// Writes a checkpoint, unless the newest one covers everything.
pub(crate) async fn write(shared: &Arc<Shared>) -> Result<(), WriteError> {
    let state = shared.snapshot().state().clone();
    let pace = &shared.pace;
    let written = pace.tail_bytes.swap(0, Ordering::Relaxed);
    if written == 0 || state.head().revision == 0 {
        return Ok(());
    }
    let work = shared.threads.work();
    let encoded = work.spawn_blocking(move || checkpoint_of(&state)).await;
    let encoded = encoded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let bytes = encoded.bytes.len() as u64;
    let put = shared.log.put_checkpoint(encoded).await;
    match &put {
        Ok(()) => pace.state_bytes.store(bytes, Ordering::Relaxed),
        Err(_) => {
            pace.tail_bytes.fetch_add(written, Ordering::Relaxed);
        }
    }
    put
}

/// Writes a checkpoint whenever one is due, and a last one at the end.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let stop = tokio::select! {
            () = shared.pace.due.notified() => false,
            () = tokio::time::sleep(EVERY) => false,
            () = shared.stopping() => true,
        };
        if let Err(error) = write(&shared).await {
            tracing::warn!(%error, "the checkpoint was not written");
        }
        if stop {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_checkpoint_is_due_after_a_quarter_of_the_state_within_bounds() {
        for (tail_bytes, state_bytes, due) in [
            (MIB - 1, 0, false),
            (MIB, 0, true),
            (MIB, 4 * MIB, true),
            (2 * MIB, 8 * MIB + 8, false),
            (2 * MIB + 2, 8 * MIB + 8, true),
            (63 * MIB, 1_000 * MIB, false),
            (64 * MIB, 1_000 * MIB, true),
        ] {
            assert_eq!(
                is_due(tail_bytes, state_bytes),
                due,
                "{tail_bytes} of {state_bytes}"
            );
        }
    }
}
