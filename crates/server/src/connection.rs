//! One connection: HTTP/1.1 with a limit on every wait.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ServerOptions;
use crate::admission::Connection;
use crate::patience::Patient;

/// How large a request's head may be before it is refused without being looked at.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Serves a connection until either side ends it, it waits too long, or shutdown begins and the
/// request that is under way has its reply.
pub(crate) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    about: Connection,
    router: Router,
    options: ServerOptions,
) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let requests = Requests {
        router,
        about,
        has_asked: has_asked.clone(),
    };
    let io = TokioIo::new(Patient::new(io, options.write_timeout));
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.idle_timeout)
            .max_header_size(HEAD_BYTES_MAX)
            // Also how much is held of a body that nobody reads yet.
            .max_buf_size(HEAD_BYTES_MAX)
            // Whoever is one too many makes room.
            .keep_alive(!about.is_surplus)
            .serve_connection(io, requests)
    );
    // Whoever opens a connection has something to ask: only between requests is there time to idle.
    let mut first_head = pin!(tokio::time::sleep(options.head_timeout));
    let mut awaits_first = true;
    let mut shutdown = pin!(options.shutdown.begun());
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = first_head.as_mut(), if awaits_first => {
                if !has_asked.load(Ordering::Relaxed) {
                    return;
                }
                awaits_first = false;
            }
            () = shutdown.as_mut(), if !is_ending => {
                is_ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Hands each request to the router, with what is known of its connection.
#[derive(Debug)]
struct Requests {
    router: Router,
    about: Connection,
    has_asked: Arc<AtomicBool>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.has_asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.about);
        tower::Service::call(&mut self.router.clone(), request)
    }
}
