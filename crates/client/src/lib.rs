//! A client of the control plane's HTTP API: one typed call for each endpoint.
//!
//! It must never decide what a document means, and never answer on its own: what a call returns is
//! what the server said. It blocks the calling thread.
//!
//! Start reading at [`Client`]; `transport.rs` says how requests are sent, repeated and refused,
//! the other modules which endpoints there are.
//!
//! INVARIANT: every write carries an idempotency key, and a write that is sent again after a lost
//! connection carries the same one, so that it is committed once.

mod access;
mod commits;
mod documents;
mod error;
mod path;
mod registry;
mod runtime;
mod transport;

pub use commits::{HistoryFilter, TreeOptions};
pub use documents::{Condition, Write};
pub use error::Error;
pub use registry::ArtifactFilter;
pub use runtime::ConfigContext;
pub use transport::{Client, Settings};
