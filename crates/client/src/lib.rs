//! The control plane from Rust: an SDK that answers in process, and a client of the HTTP API.
//!
//! [`ControlPlane`] is for services: it holds what an environment is, keeps it fresh, and answers
//! from it ([`sdk`]). [`Client`] is for tools: one typed call for each endpoint; it must never decide
//! what a document means, and never answer on its own: what a call returns is what the server said.
//! Both block the calling thread, and neither brings a runtime.
//!
//! Start reading at [`sdk`], or at [`Client`]: `transport.rs` says how requests are sent, repeated
//! and refused, the other modules which endpoints there are.
//!
//! INVARIANT: every write carries an idempotency key, and a write that is sent again after a lost
//! connection carries the same one, so that it is committed once.

mod access;
mod authorities;
mod commits;
mod documents;
mod error;
mod path;
mod registry;
mod runtime;
pub mod sdk;
mod sse;
mod transport;

pub use authorities::Authorities;
pub use commits::{HistoryFilter, TreeOptions};
pub use documents::{Condition, Write};
pub use error::Error;
pub use registry::ArtifactFilter;
pub use runtime::ConfigContext;
pub use sdk::ControlPlane;
pub use sse::{EventDecoder, EventTooLarge, ServerEvent};
pub use transport::{Client, Settings};
