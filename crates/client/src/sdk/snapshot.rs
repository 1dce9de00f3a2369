//! One view and one moment, held for as long as the caller likes.

use std::sync::Arc;

use plane_eval::{Context, Explanation, Resolved, View};
use plane_model::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::{self, Detail, Options};
use super::core::Core;
use super::error::Error;
use super::held::Held;

/// One revision at one moment: whatever happens meanwhile, all its answers belong together.
///
/// Take one for each request. Cloning is cheap.
///
/// Where tenants are held on demand it has those that were held when it was taken, and refuses to answer
/// for another one: take it by [`Environment::snapshot_for`](super::Environment::snapshot_for).
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) core: Arc<Core>,
    pub(crate) held: Arc<Held>,
    pub(crate) now: Timestamp,
}

impl Snapshot {
    /// The revision that it is of.
    pub fn revision(&self) -> u64 {
        self.held.place.revision
    }

    /// The environment that it is of.
    pub fn environment(&self) -> &str {
        self.core.name.as_str()
    }

    /// The view itself, for evaluating without copies.
    pub fn view(&self) -> &View {
        &self.held.view
    }

    /// The moment that it is of.
    pub fn at(&self) -> Timestamp {
        self.now
    }

    /// As [`Environment::is_enabled`](super::Environment::is_enabled).
    #[inline]
    pub fn is_enabled(&self, flag: &str, ctx: &Context, options: impl Into<Options>) -> bool {
        self.core
            .is_enabled(&self.held, flag, ctx, options.into(), self.now)
    }

    /// As [`Environment::evaluate`](super::Environment::evaluate).
    pub fn evaluate(&self, flag: &str, ctx: &Context, default: impl Into<Value>) -> Detail {
        self.core
            .detail(&self.held, flag, ctx, default.into(), self.now)
    }

    /// Says step by step how a flag gets its value; of a tenant that is not held, by what all share.
    pub fn explain(&self, flag: &str, ctx: &Context) -> Explanation {
        self.held.view.explain(flag, ctx, self.now)
    }

    /// As [`Environment::resolve`](super::Environment::resolve).
    ///
    /// # Errors
    /// As there.
    pub fn resolve(&self, agent: &str, ctx: &Context) -> Result<Resolved, Error> {
        self.core.resolve(&self.held, agent, ctx, self.now)
    }

    /// As [`Environment::config`](super::Environment::config).
    ///
    /// # Errors
    /// As there.
    pub fn config(&self, path: &str, ctx: &Context) -> Result<Value, Error> {
        self.held.check_tenant(ctx, self.now)?;
        let service = self.core.settings.service.name.as_deref();
        answer::config(&self.held.view, path, service, ctx)
    }

    /// As [`Environment::config_as`](super::Environment::config_as).
    ///
    /// # Errors
    /// As there.
    pub fn config_as<T: DeserializeOwned>(&self, path: &str, ctx: &Context) -> Result<T, Error> {
        answer::typed(path, self.config(path, ctx)?)
    }
}
