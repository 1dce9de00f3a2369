//! Serving until told to stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::patience::PatientListener;

/// How long a connection may take nothing of what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Says when to stop; clones are one.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// Makes one that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Begins: no new connections, streams are told to go elsewhere, requests end.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Says whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so that waiting cannot fail.
        drop(receiver.wait_for(|begun| *begun).await);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves `router` until `shutdown` begins, and then until all requests have ended, but no longer
/// than `drain_timeout`.
///
/// # Errors
/// What the listener says if it cannot accept connections any more.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    drain_timeout: Duration,
) -> io::Result<()> {
    let begun = shutdown.clone();
    let listener = PatientListener::new(listener, WRITE_TIMEOUT);
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async move { begun.begun().await });
    tokio::select! {
        result = serving => result,
        () = async {
            shutdown.begun().await;
            tokio::time::sleep(drain_timeout).await;
        } => {
            tracing::warn!("some requests did not end in time and are cut off");
            Ok(())
        }
    }
}
