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

mod admission;
mod auth;
mod body;
mod call;
mod connection;
mod cursor;
mod endpoint;
mod failure;
mod forecast;
#[doc(hidden)]
pub mod fuzz;
mod handlers;
mod heads;
mod impact;
mod instances;
mod metrics;
mod ofrep;
mod pace;
mod patience;
mod percent;
mod query;
mod rate;
mod request_id;
mod routes;
mod serve;
mod stream;
mod two_parts;
mod usage;
mod view;

use std::time::Duration;

use serde_json::Value;

pub use heads::ServerKeys;
pub use ofrep::Origins;
pub use rate::Rate;
pub use routes::{Router, router};
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
    /// How many connections are served at once.
    pub connections_max: usize,
    /// Bytes of memory that the bodies of all requests may take together, read as values; one takes at
    /// most half of it.
    pub bodies_memory: usize,
    /// How often each token may be used; kills do not count.
    pub token_rate: Option<Rate>,
    /// How often each address may ask without a valid token; health and readiness do not count.
    pub stranger_rate: Option<Rate>,
    /// The origins whose pages may ask for evaluated flags by OFREP.
    pub origins: Origins,
    /// How long a new connection has until its first request's head is whole.
    pub head_timeout: Duration,
    /// How long a connection has from one reply until the next request's head is whole.
    pub idle_timeout: Duration,
    /// How long a caller may take nothing of a reply that waits for it.
    pub write_timeout: Duration,
    /// How long open requests have to end after shutdown begins.
    pub drain_timeout: Duration,
    /// What views are signed with; keys of this process alone unless others are given.
    pub keys: ServerKeys,
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
            connections_max: 20_000,
            // Half of it fits the largest commit.
            bodies_memory: 1 << 30,
            token_rate: None,
            stranger_rate: None,
            origins: Origins::None,
            head_timeout: Duration::from_secs(10),
            // Longer than proxies keep theirs, so that it is they who close.
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            keys: ServerKeys::of_this_process(),
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
