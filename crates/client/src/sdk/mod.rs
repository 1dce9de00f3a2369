//! The SDK: holds the view of an environment in this process and answers from it.
//!
//! It must never make a caller wait for a server but at its first use, fail a caller because no
//! server answers, serve half a view, or go back to an older one.
//!
//! Start reading at [`ControlPlane`] (what callers have) and `core.rs` (what is served and what keeps
//! it fresh); `answer.rs` evaluates, `verify.rs` says what is believed of what servers sign, `ack.rs`
//! tells servers what is held, `usage.rs` how often what is evaluated, `telemetry.rs` those who record it,
//! `tree.rs` and `memory.rs` are sources in place of a server, `demand.rs` fetches tenants as they are asked for.
//!
//! INVARIANT: what is served is one immutable value that is swapped as a whole, so that every
//! evaluation sees exactly one revision.

mod ack;
mod answer;
mod breaker;
mod builder;
mod clock;
mod core;
mod demand;
mod error;
mod event;
mod follow;
mod held;
mod http;
mod keep;
mod local;
mod memory;
mod plane;
mod process;
mod registry;
mod snapshot;
mod status;
mod telemetry;
#[cfg(test)]
mod tests;
mod tree;
mod usage;
mod verify;
mod watch;
mod wire;

pub use answer::{Detail, FlagError, Options};
pub use builder::{Builder, Tenants};
pub use error::{Error, Finding};
pub use event::{Event, Level};
pub use memory::InMemory;
pub use plane::{ControlPlane, Environment};
pub use registry::{Published, PublishedFilter};
pub use snapshot::Snapshot;
pub use status::{Counters, HeldBack, Source, Status};
pub use watch::{Update, Watch};

pub use plane_model::documents::FlagType;
pub use plane_model::{AgentContract, Contract, VariantName};
pub use plane_state::Breach;

pub use plane_eval::{Attribute, Context, ErrorCode, Explanation, Reason, Resolved, Warning};
