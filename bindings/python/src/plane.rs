//! The client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plane_client::sdk::{
    Builder, Context, Contract, ControlPlane, Environment, Error, ErrorCode, Options, Published,
    PublishedFilter, Tenants, Update, VariantName, Watch,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::{Map, Value, json};

use crate::agent;
use crate::arguments::{Arg, text as given};
use crate::attach::attached;
use crate::error::{exception, invalid};
use crate::log;
use crate::telemetry::{Telemetry, Told};
use crate::whom::{named, whom};

/// A client of the control plane.
#[pyclass(frozen, weakref, module = "control_plane._core")]
pub(crate) struct Plane {
    plane: ControlPlane,
    /// Whether there is a view, so that an evaluation need not wait.
    is_ready: AtomicBool,
}

/// Something that is being watched.
#[pyclass(frozen, module = "control_plane._core")]
pub(crate) struct WatchHandle {
    watch: std::sync::Mutex<Option<Watch>>,
}

impl WatchHandle {
    pub(crate) fn of(watch: Watch) -> Self {
        Self {
            watch: std::sync::Mutex::new(Some(watch)),
        }
    }
}

#[pymethods]
impl WatchHandle {
    /// Ends it.
    fn end(&self, py: Python<'_>) {
        let watch = self
            .watch
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        py.detach(|| drop(watch));
    }
}

/// Settings of a client that says what it is, and tells Python's `logging` what happens.
pub(crate) fn told(builder: Builder) -> Builder {
    let sdk = concat!("python/", env!("CARGO_PKG_VERSION"));
    builder.sdk(sdk).on_event(log::tell)
}

/// Settings that take the place of the environment variables.
fn builder(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Builder> {
    let from_env = ControlPlane::builder_from_env().map_err(|error| exception(py, &error))?;
    let mut builder = told(from_env);
    for (name, value) in settings.iter() {
        if value.is_none() {
            continue;
        }
        let (name, text): (String, String) = (name.extract()?, value.str()?.extract()?);
        builder = match name.as_str() {
            "url" => builder.url(&text),
            "token" => builder.token(&text),
            "token_file" => builder.token_file(&text),
            "server_key" => builder.server_key(&text),
            "ca_file" => builder.ca_file(&text),
            "environment" => builder.environment(&text),
            "service" => builder.service(&text),
            "service_version" => builder.service_version(&text),
            "instance" => builder.instance(&text),
            "state_dir" => builder.state_dir(&text),
            "bundled_tree" => builder.bundled_tree(&text),
            "tenants" => {
                let tenants = text.parse::<Tenants>();
                builder.tenants(tenants.map_err(|error| exception(py, &error))?)
            }
            "contract" => builder.contract(contract(py, &text)?),
            _ => {
                return Err(invalid(
                    py,
                    &format!("there is no setting `{name}`"),
                    "see the documentation of ControlPlaneClient",
                ));
            }
        };
    }
    Ok(builder)
}

/// Reads what a service relies on.
pub(crate) fn contract(py: Python<'_>, text: &str) -> PyResult<Contract> {
    serde_json::from_value(parsed(py, text)?).map_err(|error| {
        let error = Error::Settings {
            setting: "contract",
            detail: error.to_string(),
        };
        exception(py, &error)
    })
}

impl Plane {
    pub(crate) fn of(plane: ControlPlane) -> Self {
        Self {
            plane,
            is_ready: AtomicBool::new(false),
        }
    }

    pub(crate) fn environment(&self, name: Option<&str>) -> Result<Environment, Error> {
        match name {
            Some(name) => self.plane.environment(name),
            None => self.plane.default_environment(),
        }
    }

    /// Says whether a flag is on, and tells those who want to know.
    pub(crate) fn is_enabled(
        &self,
        py: Python<'_>,
        flag: &str,
        ctx: &Context,
        options: Options,
        environment: Option<&str>,
    ) -> PyResult<bool> {
        if let Some(telemetry) = Telemetry::wanted(py) {
            let snapshot = py.detach(|| self.environment(environment)?.snapshot_for(ctx));
            if let Ok(snapshot) = snapshot {
                let evaluation = snapshot.view().evaluate_key(flag, ctx, snapshot.at());
                telemetry.evaluated(&Told {
                    environment: snapshot.environment(),
                    revision: snapshot.revision(),
                    flag,
                    variant: evaluation.variant().map(VariantName::as_str),
                    reason: evaluation.reason(),
                    error: evaluation.error().map(ErrorCode::as_str),
                    error_detail: evaluation.error_detail().as_deref(),
                });
                return Ok(snapshot.is_enabled(flag, ctx, options));
            }
        }
        if let Some(environment) = environment {
            let environment = self
                .environment(Some(environment))
                .map_err(|error| exception(py, &error))?;
            return Ok(py.detach(|| environment.is_enabled(flag, ctx, options)));
        }
        if self.is_ready.load(Ordering::Relaxed) {
            return Ok(self.plane.is_enabled(flag, ctx, options));
        }
        Ok(py.detach(|| {
            let is_enabled = self.plane.is_enabled(flag, ctx, options);
            if self.holds_all() && self.plane.status().iter().any(|it| it.revision.is_some()) {
                self.note_ready();
            }
            is_enabled
        }))
    }

    /// Notes that nothing has to be waited for from now on, unless a tenant may be.
    fn note_ready(&self) {
        self.is_ready.store(self.holds_all(), Ordering::Relaxed);
    }

    /// Says whether no question has to wait for a tenant.
    fn holds_all(&self) -> bool {
        self.plane.tenants() == Tenants::Eager
    }

    /// Runs what may wait, detached from the interpreter.
    fn waiting<T: Send>(
        py: Python<'_>,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        py.detach(work).map_err(|error| exception(py, &error))
    }
}

/// Reads what the package wrote as JSON; NaN and infinity are what can be wrong with it.
pub(crate) fn parsed(py: Python<'_>, text: &str) -> PyResult<Value> {
    serde_json::from_str(text).map_err(|_| {
        invalid(
            py,
            "a number in it is not finite",
            "give finite numbers, strings, booleans, lists and dicts",
        )
    })
}

fn text(value: &Value) -> String {
    value.to_string()
}

#[pymethods]
impl Plane {
    /// Makes a client of the environment variables and of `settings`, which win.
    #[new]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let plane = builder(py, settings)?
            .build()
            .map_err(|error| exception(py, &error))?;
        Ok(Self::of(plane))
    }

    /// Waits for a view, and says its revision.
    #[pyo3(signature = (seconds, environment = None))]
    fn wait_ready(
        &self,
        py: Python<'_>,
        seconds: Arg<f64>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<u64> {
        let timeout = Duration::try_from_secs_f64(seconds.0).unwrap_or(Duration::ZERO);
        let revision = Self::waiting(py, || {
            self.environment(given(environment))?.wait_ready(timeout)
        })?;
        if environment.is_none() {
            self.note_ready();
        }
        Ok(revision)
    }

    /// Fetches what a tenant has of its own unless it is held, and says the revision that is served then.
    #[pyo3(signature = (tenant, seconds, environment = None))]
    fn load_tenant(
        &self,
        py: Python<'_>,
        tenant: Arg<&str>,
        seconds: Arg<f64>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<u64> {
        let timeout = Duration::try_from_secs_f64(seconds.0).unwrap_or(Duration::ZERO);
        Self::waiting(py, || {
            let environment = self.environment(given(environment))?;
            environment.load_tenant(tenant.0, timeout)
        })
    }

    /// Says whether there is a view, so that nothing has to be waited for.
    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// Evaluates a flag and says why, as JSON.
    #[pyo3(signature = (flag, default, tenant = None, user = None, environment = None))]
    fn evaluate(
        &self,
        py: Python<'_>,
        flag: Arg<&str>,
        default: Arg<&str>,
        tenant: Option<Arg<&str>>,
        user: Option<Arg<&str>>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<String> {
        let whom = whom(py, given(tenant), given(user))?;
        let (ctx, default) = (&*whom, parsed(py, default.0)?);
        let (detail, environment) = Self::waiting(py, || {
            let environment = self.environment(given(environment))?;
            Ok((environment.evaluate(flag.0, ctx, default), environment))
        })?;
        if let Some(telemetry) = Telemetry::wanted(py) {
            telemetry.detailed(environment.name(), flag.0, &detail);
        }
        Ok(text(&json!({
            "value": detail.value,
            "variant": detail.variant,
            "reason": detail.reason.as_str(),
            "error_code": detail.error.map(plane_client::sdk::FlagError::as_str),
            "error_message": detail.error_detail,
            "rule": detail.rule,
            "revision": detail.revision,
            "metadata": detail.metadata,
        })))
    }

    /// Says which agent a tenant gets: its own part, and all of it as JSON.
    #[pyo3(signature = (agent, tenant = None, user = None, environment = None))]
    fn resolve<'py>(
        &self,
        py: Python<'py>,
        agent: Arg<&str>,
        tenant: Option<Arg<&str>>,
        user: Option<Arg<&str>>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyBytes>)> {
        let whom = whom(py, given(tenant), given(user))?;
        let ctx = &*whom;
        let resolved = Self::waiting(py, || {
            self.environment(given(environment))?.resolve(agent.0, ctx)
        })?;
        if environment.is_none() {
            self.note_ready();
        }
        if let Some(telemetry) = Telemetry::wanted(py) {
            telemetry.resolved(&resolved);
        }
        agent::to_python(py, &resolved)
    }

    /// Reads configuration, as JSON.
    #[pyo3(signature = (path, tenant = None, user = None, environment = None))]
    fn config(
        &self,
        py: Python<'_>,
        path: Arg<&str>,
        tenant: Option<Arg<&str>>,
        user: Option<Arg<&str>>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<String> {
        let whom = whom(py, given(tenant), given(user))?;
        let ctx = &*whom;
        Self::waiting(py, || {
            Ok(text(
                &self.environment(given(environment))?.config(path.0, ctx)?,
            ))
        })
    }

    /// Calls back with JSON whenever the configuration at a path is another.
    #[pyo3(signature = (path, callback, tenant = None, environment = None))]
    fn watch(
        &self,
        py: Python<'_>,
        path: Arg<&str>,
        callback: Py<PyAny>,
        tenant: Option<Arg<&str>>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<WatchHandle> {
        let ctx = named(Context::new(), given(tenant), None);
        let callback = Arc::new(callback);
        let call = move |update: &Update| {
            let told = json!({
                "path": update.subject,
                "old": update.old,
                "new": update.new,
                "revision": update.revision,
                "cause": update.cause,
            });
            attached(|py| {
                // What a callback raises is reported by the package's own wrapper; what gets past it is shown here.
                if let Err(error) = callback.call1(py, (text(&told),)) {
                    error.write_unraisable(py, None);
                }
            });
        };
        let watch = Self::waiting(py, || {
            self.environment(given(environment))?
                .watch(path.0, &ctx, call)
        })?;
        Ok(WatchHandle::of(watch))
    }

    /// Reads a published manifest, as JSON: the version named, or the one that counts as current.
    #[pyo3(signature = (kind, name, version = None, environment = None))]
    fn published(
        &self,
        py: Python<'_>,
        kind: Arg<&str>,
        name: Arg<&str>,
        version: Option<Arg<&str>>,
        environment: Option<Arg<&str>>,
    ) -> PyResult<String> {
        let found = Self::waiting(py, || {
            self.plane
                .published(kind.0, name.0, given(version), given(environment))
        })?;
        Ok(text(&published(&found)))
    }

    /// Lists published agents or tools, as JSON.
    #[pyo3(signature = (kind, text = None, category = None, capability = None, owner = None))]
    fn list_published(
        &self,
        py: Python<'_>,
        kind: Arg<&str>,
        text: Option<Arg<&str>>,
        category: Option<Arg<&str>>,
        capability: Option<Arg<&str>>,
        owner: Option<Arg<&str>>,
    ) -> PyResult<String> {
        let filter = PublishedFilter {
            text: owned(text),
            category: owned(category),
            capability: owned(capability),
            owner: owned(owner),
        };
        let found = Self::waiting(py, || self.plane.list_published(kind.0, &filter))?;
        let rows: Vec<Value> = found.iter().map(published).collect();
        Ok(Value::from(rows).to_string())
    }

    /// Publishes a manifest; both are JSON.
    fn publish(&self, py: Python<'_>, kind: Arg<&str>, manifest: Arg<&str>) -> PyResult<String> {
        let manifest = parsed(py, manifest.0)?;
        Self::waiting(py, || Ok(text(&self.plane.publish(kind.0, &manifest)?)))
    }

    /// Says whether a published version may still be used; `status` is JSON.
    fn set_status(
        &self,
        py: Python<'_>,
        kind: Arg<&str>,
        name: Arg<&str>,
        version: Arg<&str>,
        status: Arg<&str>,
    ) -> PyResult<u64> {
        let status = parsed(py, status.0)?;
        Self::waiting(py, || {
            self.plane.set_status(kind.0, name.0, version.0, &status)
        })
    }

    /// How it stands with each environment that was used, as JSON.
    fn status(&self) -> String {
        let rows: Vec<Value> = self
            .plane
            .status()
            .iter()
            .map(|it| {
                json!({
                    "environment": it.environment.as_str(),
                    "source": it.source.as_str(),
                    "revision": it.revision,
                    "log": it.log,
                    "age_seconds": it.age.map(|age| age.as_secs_f64()),
                    "server_key": it.server_key,
                    "vouched_until": it.vouched_until.map(|at| at.to_string()),
                    "last_error_code": it.last_error.as_ref().map(|(_, error)| error.code_text()),
                    "last_error": it.last_error.as_ref().map(|(_, error)| error.to_string()),
                    "rejected": it.rejected.iter().map(|it| json!({
                        "subject": it.subject,
                        "pointer": it.pointer,
                        "detail": it.detail,
                    })).collect::<Vec<_>>(),
                    "held_back": it.held_back.iter().map(|it| json!({
                        "document": it.document,
                        "unclean_starts": it.unclean_starts,
                        "retry_at": it.retry_at.to_string(),
                    })).collect::<Vec<_>>(),
                    "counters": it.counters.named()
                        .map(|(name, count)| (name.to_owned(), count.into()))
                        .collect::<Map<_, Value>>(),
                })
            })
            .collect();
        Value::from(rows).to_string()
    }

    /// Goes on in a forked process; the package calls it there.
    fn forked(&self) {
        self.plane.after_fork();
    }

    /// Ends threads and connections.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.plane.close());
        self.is_ready.store(false, Ordering::Relaxed);
    }
}

fn owned(given: Option<Arg<&str>>) -> Option<String> {
    given.map(|it| it.0.to_owned())
}

fn published(found: &Published) -> Value {
    let mut value = Map::new();
    value.insert("kind".into(), found.kind.as_str().into());
    value.insert("name".into(), found.name.as_str().into());
    value.insert("version".into(), found.version.to_string().into());
    value.insert("digest".into(), found.digest.to_string().into());
    value.insert("status".into(), found.status.as_str().into());
    value.insert("manifest".into(), found.manifest.clone());
    Value::Object(value)
}
