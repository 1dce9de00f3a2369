//! One connection: HTTP/1.1 with a limit on every wait.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::admission::Connection;
use crate::pace::{Pace, Paced};
use crate::patience::Patient;
use crate::{Router, ServerOptions};

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
    let pace = Arc::new(Pace::new(options.head_timeout, options.idle_timeout));
    let requests = service_fn(|request| {
        pace.asked();
        let (router, pace) = (&router, pace.clone());
        async move {
            let response: Response = router.answer(request, Some(about)).await;
            Ok::<_, Infallible>(response.map(|body| Paced::new(body, pace)))
        }
    });
    let io = TokioIo::new(Patient::new(io, options.write_timeout));
    let mut serving = pin!(
        http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            // Also how much is held of a body that nobody reads yet.
            .max_buf_size(HEAD_BYTES_MAX)
            // Whoever is one too many makes room.
            .keep_alive(!about.is_surplus)
            .serve_connection(io, requests)
    );
    let mut head_is_late = pin!(pace.head_is_late());
    let mut shutdown = pin!(options.shutdown.begun());
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = head_is_late.as_mut() => return,
            () = shutdown.as_mut(), if !is_ending => {
                is_ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
