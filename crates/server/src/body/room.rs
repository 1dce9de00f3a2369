//! The memory that the bodies of all requests take together, until they are answered.

use std::sync::Arc;

use plane_model::{Code, Violation, json};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Bodies up to this size are not counted: as many as there may be connections take little.
const UNCOUNTED_BYTES_MAX: usize = 4 << 10;
/// What answering takes for each byte of a body, beside the body and its value: the request in its type, its documents
/// as they are stored, and the plan. Of commits of long texts, 4.1 were measured.
const ANSWERING: usize = 4;
/// What a permit stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// Memory for bodies, for the values that they are read as, and for what is made of these.
///
/// INVARIANT: what is held never exceeds `bytes`. Nobody waits: who finds no room is told to come back,
/// so bodies that are half there cannot keep each other from becoming whole.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    left: Arc<Semaphore>,
    /// Counts the requests that it was refused to.
    refusals: Counter,
}

/// What one request holds; it is given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Room {
    pub(crate) fn new(bytes: usize, refusals: Counter) -> Self {
        Self {
            bytes,
            left: Arc::new(Semaphore::new(permits(bytes))),
            refusals,
        }
    }

    /// How many bytes are held.
    pub(crate) fn used(&self) -> usize {
        let taken = permits(self.bytes).saturating_sub(self.left.available_permits());
        taken * PERMIT_BYTES
    }

    /// Holds as much as a body of this length takes.
    pub(crate) fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        if bytes <= UNCOUNTED_BYTES_MAX {
            return Ok(());
        }
        let more = bytes.div_ceil(PERMIT_BYTES).saturating_sub(held.permits());
        let taken = u32::try_from(more)
            .ok()
            .and_then(|more| self.left.clone().try_acquire_many_owned(more).ok())
            .ok_or_else(|| {
                self.refusals.inc();
                let detail = "other requests take all the memory that there is for requests";
                Failure::new(Code::Overloaded, detail)
                    .next("send the request again a little later, or in smaller parts")
            })?;
        match &mut held.0 {
            Some(permit) => permit.merge(taken),
            none => *none = Some(taken),
        }
        Ok(())
    }

    /// Holds as much as a body and the value in it take.
    pub(crate) fn hold_value(&self, held: &mut Held, body: &[u8]) -> Result<(), Failure> {
        if body.len() <= UNCOUNTED_BYTES_MAX {
            return Ok(());
        }
        let bytes = (1 + ANSWERING) * body.len() + json::memory_max(body);
        // One request leaves room for others.
        if bytes > self.bytes / 2 {
            self.refusals.inc();
            let detail = format!(
                "the body says so much in so few bytes that answering it would take {} MiB of memory",
                bytes >> 20
            );
            let violation = Violation::new(Code::TextTooLarge, "", detail);
            return Err(violation.next("split the request into several").into());
        }
        self.hold(held, bytes)
    }
}

impl Held {
    fn permits(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

fn permits(bytes: usize) -> usize {
    (bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS)
}
