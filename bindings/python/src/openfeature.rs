//! What the provider for `OpenFeature` asks: flags for a context of any shape, and how it stands.

use std::sync::Arc;

use plane_client::sdk::{Context, Error, FlagError, Update};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::attach::attached;
use crate::error::exception;
use crate::plane::{Plane, WatchHandle, parsed};
use crate::telemetry::Telemetry;

/// Evaluates a flag for a context as `OpenFeature` writes it, and says why; all as JSON.
#[pyfunction]
#[pyo3(signature = (plane, flag, default, context, environment = None))]
pub(crate) fn evaluate_flat(
    py: Python<'_>,
    plane: &Plane,
    flag: &str,
    default: &str,
    context: &str,
    environment: Option<&str>,
) -> PyResult<String> {
    let (context, default) = (parsed(py, context)?, parsed(py, default)?);
    let evaluated = py.detach(|| {
        let ctx = Context::parse_flat(&context).map_err(Error::Invalid)?;
        let environment = plane.environment(environment)?;
        // A tenant whose part cannot be had is told by the evaluation.
        let asked = environment.snapshot_for(&ctx);
        let snapshot = asked.or_else(|_| environment.snapshot())?;
        Ok((snapshot.evaluate(flag, &ctx, default), snapshot))
    });
    let (detail, snapshot) = evaluated.map_err(|error: Error| exception(py, &error))?;
    if let Some(telemetry) = Telemetry::wanted(py) {
        telemetry.detailed(snapshot.environment(), flag, &detail);
    }
    let evaluated = json!({
        "value": detail.value,
        "variant": detail.variant,
        "reason": detail.reason.as_str(),
        "error_code": detail.error.map(FlagError::as_str),
        "error_message": detail.error_detail,
        "rule": detail.rule,
        "revision": detail.revision,
        "bucketing": snapshot.view().bucketing(),
        "tenant_unknown": detail.tenant_unknown,
        "metadata": detail.metadata,
    });
    Ok(evaluated.to_string())
}

/// Calls back with `"revision"` or `"source"` and what it is now, whenever it is another.
#[pyfunction]
#[pyo3(signature = (plane, callback, environment = None))]
pub(crate) fn watch_standing(
    py: Python<'_>,
    plane: &Plane,
    callback: Py<PyAny>,
    environment: Option<&str>,
) -> PyResult<(WatchHandle, WatchHandle)> {
    let callback = Arc::new(callback);
    let tell = |what: &'static str| {
        let callback = callback.clone();
        move |update: &Update| {
            let now = update.new.as_ref().map_or_else(String::new, text);
            attached(|py| {
                if let Err(error) = callback.call1(py, (what, now)) {
                    error.write_unraisable(py, None);
                }
            });
        }
    };
    let (revision, source) = (tell("revision"), tell("source"));
    let watches = py.detach(|| {
        let environment = plane.environment(environment)?;
        Ok((
            environment.watch_revision(revision)?,
            environment.watch_source(source)?,
        ))
    });
    let (revision, source) = watches.map_err(|error: Error| exception(py, &error))?;
    Ok((WatchHandle::of(revision), WatchHandle::of(source)))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
