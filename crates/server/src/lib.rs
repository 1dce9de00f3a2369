//! The HTTP server: handlers, authentication and streams over a running node.
//!
//! It must never decide what is valid or allowed (plane-state does), hold state of its own that
//! matters after a restart, or write a secret to a log.
//!
//! Start reading at [`router`] (how the table of operations becomes routes), then `call.rs` (what
//! happens to every request), `auth.rs` (who may call) and `handlers/` (what each operation does).
//!
//! INVARIANT: a handler sees the state only through a `Call`, which is made only after
//! the token was found to allow it; what a token may not know of is answered like what is not there.

mod auth;
mod body;
mod call;
mod cursor;
mod failure;
mod handlers;
mod instances;
mod metrics;
mod patience;
mod percent;
mod query;
mod routes;
mod serve;
mod stream;
mod view;

use std::time::Duration;

use serde_json::Value;

pub use routes::router;
pub use serve::{Shutdown, serve};

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How long a request may take, its body included; long polls and streams are apart.
    pub request_timeout: Duration,
    /// How long a request waits for the revision that it asks for.
    pub revision_timeout: Duration,
    /// How often a stream that has nothing to say says so.
    pub bookmark_every: Duration,
    /// How many streams are served at once.
    pub streams_max: usize,
    /// How long open requests have to end after shutdown begins.
    pub drain_timeout: Duration,
    /// Says when to stop.
    pub shutdown: Shutdown,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            revision_timeout: Duration::from_secs(2),
            bookmark_every: Duration::from_secs(15),
            streams_max: 10_000,
            drain_timeout: Duration::from_secs(10),
            shutdown: Shutdown::new(),
        }
    }
}

/// The `OpenAPI` document of this server.
pub fn openapi() -> Value {
    plane_api::openapi(&[("Resolved", |generator| {
        generator.subschema_for::<plane_eval::ResolvedBody>()
    })])
}
