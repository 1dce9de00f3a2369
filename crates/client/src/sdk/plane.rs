//! The client: one for a process, cheap to clone, safe to share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plane_eval::{Context, Resolved};
use plane_model::EnvironmentName;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::{Detail, Options};
use super::builder::{Builder, Tenants};
use super::core::Core;
use super::error::Error;
use super::memory::InMemory;
use super::registry::Manifests;
use super::snapshot::Snapshot;
use super::status::Status;
use super::watch::{Update, Watch, Watched};

/// A client that holds views and answers from them, in this process.
///
/// Make one for a process. Cloning gives another handle on the same client; when the last handle
/// goes, the client closes. Nothing is read, sent or started before the first use. After a fork the
/// child goes on from what it inherited, with threads and connections of its own.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    shared: Arc<Shared>,
}

/// One environment of a client.
#[derive(Debug, Clone)]
pub struct Environment {
    core: Arc<Core>,
    /// Keeps the client open.
    _shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<Builder>,
    /// Grows by copying, so that a forked process can read it whatever its parent's threads did.
    environments: ArcSwap<BTreeMap<EnvironmentName, Arc<Core>>>,
    default: Option<Arc<Core>>,
    manifests: Manifests,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for core in self.environments.load().values() {
            core.close();
        }
    }
}

impl ControlPlane {
    /// Makes a client as the environment variables say, of which only `CONTROL_PLANE_URL` has to be set:
    ///
    /// `CONTROL_PLANE_URL` (servers with commas between, or `file:TREE`), `CONTROL_PLANE_TOKEN` or
    /// `CONTROL_PLANE_TOKEN_FILE`, `CONTROL_PLANE_ENVIRONMENT`, `CONTROL_PLANE_STATE_DIR`,
    /// `CONTROL_PLANE_BUNDLED_TREE`, `CONTROL_PLANE_SERVICE` (else `OTEL_SERVICE_NAME`),
    /// `CONTROL_PLANE_SERVICE_VERSION`, `CONTROL_PLANE_INSTANCE`, `CONTROL_PLANE_TENANTS`.
    ///
    /// # Errors
    /// [`Error::UrlMissing`] and [`Error::Settings`]: correct the variable that it names.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder_from_env()?.build()
    }

    /// The settings that the environment variables give, to be changed before the client is made.
    ///
    /// # Errors
    /// [`Error::Settings`] if a variable is not Unicode.
    pub fn builder_from_env() -> Result<Builder, Error> {
        Builder::from_variables(|name| std::env::var_os(name))
    }

    /// Settings in which nothing is set.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A control plane in memory, for unit tests.
    pub fn in_memory() -> InMemory {
        InMemory::new()
    }

    pub(crate) fn of(settings: Builder) -> Self {
        let settings = Arc::new(settings);
        let name = settings.environment.as_deref();
        let default = name
            .and_then(|name| EnvironmentName::new(name).ok())
            .map(|name| Core::new(name, settings.clone()));
        let environments = default
            .iter()
            .map(|core| (core.name.clone(), core.clone()))
            .collect();
        let shared = Shared {
            settings,
            environments: ArcSwap::from_pointee(environments),
            default,
            manifests: Manifests::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The environment that is read unless a call names another.
    ///
    /// # Errors
    /// [`Error::EnvironmentMissing`] if none was set.
    pub fn default_environment(&self) -> Result<Environment, Error> {
        Ok(self.handle(self.core()?))
    }

    /// An environment by its name; its view is loaded once and held from the first use on.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no environment can be called so. Whether there is such an environment
    /// shows when it is used.
    pub fn environment(&self, name: &str) -> Result<Environment, Error> {
        if let Some(core) = self.shared.environments.load().get(name) {
            return Ok(self.handle(core));
        }
        let name =
            EnvironmentName::new(name).map_err(|error| Error::Invalid(vec![error.at("")]))?;
        let fresh = Core::new(name.clone(), self.shared.settings.clone());
        self.shared.environments.rcu(|known| {
            let mut known = BTreeMap::clone(known);
            known.entry(name.clone()).or_insert_with(|| fresh.clone());
            known
        });
        let known = self.shared.environments.load();
        Ok(self.handle(known.get(&name).unwrap_or(&fresh)))
    }

    fn handle(&self, core: &Arc<Core>) -> Environment {
        Environment {
            core: core.clone(),
            _shared: self.shared.clone(),
        }
    }

    pub(crate) fn settings(&self) -> &Builder {
        &self.shared.settings
    }

    pub(crate) fn manifests(&self) -> &Manifests {
        &self.shared.manifests
    }

    #[inline]
    fn core(&self) -> Result<&Arc<Core>, Error> {
        let missing = || Error::EnvironmentMissing { known: Vec::new() };
        self.shared.default.as_ref().ok_or_else(missing)
    }

    /// Which tenants it holds.
    pub fn tenants(&self) -> Tenants {
        self.shared.settings.tenants
    }

    /// As [`Environment::wait_ready`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn wait_ready(&self, timeout: Duration) -> Result<u64, Error> {
        Ok(self.core()?.wait_ready(timeout)?.place.revision)
    }

    /// As [`Environment::is_enabled`], of the default environment.
    #[inline]
    pub fn is_enabled(&self, flag: &str, ctx: &Context, options: impl Into<Options>) -> bool {
        let options = options.into();
        match &self.shared.default {
            Some(core) => core.is_enabled_now(flag, ctx, options),
            None => options.default,
        }
    }

    /// As [`Environment::evaluate`], of the default environment.
    pub fn evaluate(&self, flag: &str, ctx: &Context, default: impl Into<Value>) -> Detail {
        match self.core() {
            Ok(core) => core.detail_now(flag, ctx, default.into()),
            Err(error) => Detail::without_view(default.into(), &error),
        }
    }

    /// As [`Environment::resolve`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn resolve(&self, agent: &str, ctx: &Context) -> Result<Resolved, Error> {
        self.snapshot_for(ctx)?.resolve(agent, ctx)
    }

    /// As [`Environment::config`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn config(&self, path: &str, ctx: &Context) -> Result<Value, Error> {
        self.snapshot_for(ctx)?.config(path, ctx)
    }

    /// As [`Environment::config_as`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn config_as<T: DeserializeOwned>(&self, path: &str, ctx: &Context) -> Result<T, Error> {
        self.snapshot_for(ctx)?.config_as(path, ctx)
    }

    /// As [`Environment::snapshot`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        self.core()?.snapshot()
    }

    /// As [`Environment::snapshot_for`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn snapshot_for(&self, ctx: &Context) -> Result<Snapshot, Error> {
        self.core()?.snapshot_for(ctx)
    }

    /// As [`Environment::load_tenant`], of the default environment.
    ///
    /// # Errors
    /// As there, and [`Error::EnvironmentMissing`] if no environment was set.
    pub fn load_tenant(&self, tenant: &str, timeout: Duration) -> Result<u64, Error> {
        Ok(self.core()?.load_tenant(tenant, timeout)?.place.revision)
    }

    /// As [`Environment::watch`], of the default environment.
    ///
    /// # Errors
    /// [`Error::EnvironmentMissing`] if no environment was set.
    pub fn watch(
        &self,
        path: &str,
        ctx: &Context,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Result<Watch, Error> {
        self.default_environment()?.watch(path, ctx, callback)
    }

    /// How it stands with each environment that was used.
    pub fn status(&self) -> Vec<Status> {
        let known = self.shared.environments.load();
        known.values().map(Core::status).collect()
    }

    /// Goes on in a forked process at once; for a hook that runs there after the fork.
    ///
    /// Without it a forked process goes on when it is next asked, at most a second late, and those
    /// who watch are not called back before.
    pub fn after_fork(&self) {
        for core in self.shared.environments.load().values() {
            core.after_fork();
        }
    }

    /// Ends the threads and connections of all environments. What is called later is refused with
    /// [`Error::Closed`]; flags then have the caller's default. Snapshots go on working.
    pub fn close(&self) {
        for core in self.shared.environments.load().values() {
            core.close();
        }
    }
}

impl Environment {
    /// The environment's name.
    pub fn name(&self) -> &str {
        self.core.name.as_str()
    }

    /// Waits until there is a view to answer from, and says its revision.
    ///
    /// # Errors
    /// Why there is none: it is known for certain, or the time is over.
    pub fn wait_ready(&self, timeout: Duration) -> Result<u64, Error> {
        Ok(self.core.wait_ready(timeout)?.place.revision)
    }

    /// Says whether a boolean flag is on for a context; never fails and never waits but at first use.
    ///
    /// The caller's default (`options` may be just that) holds where the flag leaves it to the
    /// caller, and where it cannot be evaluated, which is counted.
    #[inline]
    pub fn is_enabled(&self, flag: &str, ctx: &Context, options: impl Into<Options>) -> bool {
        self.core.is_enabled_now(flag, ctx, options.into())
    }

    /// Evaluates a flag of any type and says why it has its value.
    ///
    /// A default of another type than the flag's gives that default and
    /// [`FlagError::TypeMismatch`](super::FlagError::TypeMismatch); null goes with every type.
    pub fn evaluate(&self, flag: &str, ctx: &Context, default: impl Into<Value>) -> Detail {
        self.core.detail_now(flag, ctx, default.into())
    }

    /// Says which agent, with which tools and parameters, a context gets.
    ///
    /// # Errors
    /// [`Error::Resolve`] says what is wrong and what to do; other errors, why there is no view.
    pub fn resolve(&self, agent: &str, ctx: &Context) -> Result<Resolved, Error> {
        self.snapshot_for(ctx)?.resolve(agent, ctx)
    }

    /// Reads the configuration at `document` or `document.key.key` as it is for a context.
    ///
    /// The client's service selects layers unless the context names another.
    ///
    /// # Errors
    /// [`Error::ConfigNotFound`] if there is nothing; other errors, why there is no view.
    pub fn config(&self, path: &str, ctx: &Context) -> Result<Value, Error> {
        self.snapshot_for(ctx)?.config(path, ctx)
    }

    /// Reads the configuration at a path as a type of the caller's.
    ///
    /// # Errors
    /// As [`config`](Self::config), and [`Error::ConfigType`] if it is not of that type.
    pub fn config_as<T: DeserializeOwned>(&self, path: &str, ctx: &Context) -> Result<T, Error> {
        self.snapshot_for(ctx)?.config_as(path, ctx)
    }

    /// Pins what is served now, so that many questions are answered alike.
    ///
    /// # Errors
    /// Why there is no view.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        self.core.snapshot()
    }

    /// As [`snapshot`](Self::snapshot), with the part of the context's tenant, where tenants are held on demand.
    ///
    /// # Errors
    /// Why there is no view, and [`Error::TenantNotLoaded`] if the tenant has a part and it cannot be had.
    pub fn snapshot_for(&self, ctx: &Context) -> Result<Snapshot, Error> {
        self.core.snapshot_for(ctx)
    }

    /// Fetches the part of a tenant unless it is held, so that no answer has to wait for it; says the
    /// revision that is served then. Nothing is fetched for a tenant that has none.
    ///
    /// # Errors
    /// As [`snapshot_for`](Self::snapshot_for).
    pub fn load_tenant(&self, tenant: &str, timeout: Duration) -> Result<u64, Error> {
        Ok(self.core.load_tenant(tenant, timeout)?.place.revision)
    }

    /// Calls back whenever the configuration at `document` or `document.key.key` is another for a context.
    ///
    /// A path to an object covers all that is below it. Callbacks come one after the other on a
    /// thread of their own; one that is slow gets the latest value next, not each in between. One
    /// that panics is counted, and called again the next time.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client is closed.
    pub fn watch(
        &self,
        path: &str,
        ctx: &Context,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Result<Watch, Error> {
        let watched = Watched::Config(path.to_owned(), ctx.clone());
        self.core.watch(watched, callback)
    }

    /// Calls back, as [`watch`](Self::watch) does, whenever a flag has another value for a context.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client is closed.
    pub fn watch_flag(
        &self,
        flag: &str,
        ctx: &Context,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Result<Watch, Error> {
        let watched = Watched::Flag(flag.to_owned(), ctx.clone());
        self.core.watch(watched, callback)
    }

    /// Calls back, as [`watch`](Self::watch) does, whenever another revision is served.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client is closed.
    pub fn watch_revision(
        &self,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Result<Watch, Error> {
        self.core.watch(Watched::Revision, callback)
    }

    /// Calls back, as [`watch`](Self::watch) does, whenever what is served comes from somewhere else.
    ///
    /// Values are those of [`Source::as_str`](super::Source::as_str): such as `stale` when no
    /// server can be reached any more, and `live` when one can.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client is closed.
    pub fn watch_source(
        &self,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Result<Watch, Error> {
        self.core.watch(Watched::Source, callback)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.core.status()
    }
}
