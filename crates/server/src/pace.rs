//! How far a connection is: whether a request is under way, or since when the next is awaited.
//!
//! One timer a connection, which is set again when it rings, instead of one a request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// Stands for a request that is under way.
const UNDER_WAY: u64 = u64::MAX;

/// How far a connection is.
#[derive(Debug)]
pub(crate) struct Pace {
    made: Instant,
    head_timeout: Duration,
    idle_timeout: Duration,
    /// Nanoseconds after `made` at which the last reply was handed over; 0 before the first.
    replied: AtomicU64,
}

impl Pace {
    pub(crate) fn new(head_timeout: Duration, idle_timeout: Duration) -> Self {
        Self {
            made: Instant::now(),
            head_timeout,
            idle_timeout,
            replied: AtomicU64::new(0),
        }
    }

    /// Notes that the head of a request is whole.
    pub(crate) fn asked(&self) {
        self.replied.store(UNDER_WAY, Ordering::Relaxed);
    }

    fn replied(&self) {
        let age = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(UNDER_WAY);
        // Never 0, which would count as before the first request.
        let age = age.clamp(1, UNDER_WAY - 1);
        self.replied.store(age, Ordering::Relaxed);
    }

    /// Waits until the head of a request has been awaited for too long.
    ///
    /// Whoever opens a connection has something to ask: only between requests is there time to idle.
    pub(crate) async fn head_is_late(&self) {
        loop {
            let now = Instant::now();
            let due = match self.replied.load(Ordering::Relaxed) {
                0 => self.made + self.head_timeout,
                // Its reply comes now at the earliest.
                UNDER_WAY => now + self.idle_timeout,
                age => self.made + Duration::from_nanos(age) + self.idle_timeout,
            };
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// The body of a reply: when it is handed over or given up, the next head is awaited.
#[derive(Debug)]
pub(crate) struct Paced {
    body: Body,
    pace: Arc<Pace>,
}

impl Paced {
    pub(crate) fn new(body: Body, pace: Arc<Pace>) -> Self {
        Self { body, pace }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.pace.replied();
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(ctx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
