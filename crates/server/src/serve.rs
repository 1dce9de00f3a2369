//! Serving until told to stop.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::admission::Connection;
use crate::{Router, ServerOptions, connection};

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

/// How many connections beyond the limit are told so at once; more are closed without a word.
const SURPLUS_MAX: usize = 64;
/// How often it is added up for whom flags were evaluated.
const SETTLE_EVERY: Duration = Duration::from_mins(1);
/// How long nothing is accepted after the system refused, such as for want of file descriptors.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Serves `router` until shutdown begins, and then until all requests have ended, but no longer
/// than the drain time-out.
///
/// A connection beyond the limit is told that it is one too many, or closed at once if many are.
/// What is not HTTP/1.1 at all, or has a head beyond 64 KiB or 100 headers, gets a bare 400 or 431.
pub async fn serve(listener: TcpListener, router: Router, options: ServerOptions) {
    let served = Arc::new(Semaphore::new(options.connections_max));
    let surplus = Arc::new(Semaphore::new(SURPLUS_MAX));
    let mut connections = JoinSet::new();
    let mut begun = pin!(options.shutdown.begun());
    let first = tokio::time::Instant::now() + SETTLE_EVERY;
    let mut settle = tokio::time::interval_at(first, SETTLE_EVERY);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = settle.tick() => {
                let router = router.clone();
                connections.spawn(async move { router.settle_usage().await });
                continue;
            }
            () = begun.as_mut() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted for now");
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        let place = (served.clone().try_acquire_owned()).map(|place| (place, false));
        let place = place.or_else(|_| (surplus.clone().try_acquire_owned()).map(|it| (it, true)));
        let Ok((place, is_surplus)) = place else {
            continue;
        };
        // Replies are written whole: waiting for more to send would only delay them.
        drop(stream.set_nodelay(true));
        let about = Connection {
            address: address.ip(),
            is_surplus,
        };
        let (router, options) = (router.clone(), options.clone());
        connections.spawn(async move {
            connection::serve(stream, about, router, options).await;
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if (tokio::time::timeout(options.drain_timeout, drained).await).is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    router.settle_usage().await;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
