//! Which agent, with which tools and parameters, a context gets.

mod choose;
mod effective;
mod error;
mod offer;
mod registry;
mod result;

pub(crate) use choose::resolve;
pub(crate) use effective::{Effective, Patch};
pub use error::{ResolveError, Subject};
pub(crate) use offer::Offer;
pub(crate) use registry::{AgentEntry, Manifests, Overrider, Registry, RegistryDraft};
pub(crate) use result::Told;
pub use result::{
    CallPolicy, ChosenBy, Origin, Override, Resolved, ResolvedBody, ResolvedTool, Warning,
    WarningCode,
};
