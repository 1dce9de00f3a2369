//! What was evaluated, told to OpenTelemetry where the process uses it: an event `feature_flag.evaluation` of the span that
//! is current, and one of the log.
//!
//! It must never import OpenTelemetry (who records anything has imported it), nor fail an evaluation because a tracer or
//! a logger does. Whom something was evaluated for is not told. How many events are kept is up to their providers.

use std::sync::atomic::{AtomicUsize, Ordering};

use plane_client::sdk::{Detail, FlagError, Reason, Resolved, VariantName};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

/// The name of the event, as OpenTelemetry's conventions for feature flags say.
const EVENT: &str = "feature_flag.evaluation";
/// What its source is called.
const PROVIDER: &str = "control-plane";

/// The functions of OpenTelemetry's traces that are called.
struct Traces {
    /// `opentelemetry.context.get_current`
    current_context: Py<PyAny>,
    /// `opentelemetry.trace.get_current_span`
    current_span: Py<PyAny>,
}

/// `sys.modules`
fn modules(py: Python<'_>) -> Option<&Bound<'_, PyDict>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        PyResult::Ok(modules.cast_into::<PyDict>()?.unbind())
    });
    modules.ok().map(|it| it.bind(py))
}

/// A module, if somebody has imported it.
fn imported<'py>(py: Python<'py>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    modules(py)?.get_item(name).ok()?
}

fn traces(py: Python<'_>) -> Option<&Traces> {
    static TRACES: PyOnceLock<Traces> = PyOnceLock::new();
    /// How many modules there were when none of them was it.
    static WITHOUT: AtomicUsize = AtomicUsize::new(0);
    if let Some(traces) = TRACES.get(py) {
        return Some(traces);
    }
    // Each evaluation asks: a length is quicker to compare than a name to look up, and imports change it.
    let count = modules(py)?.len();
    if count == WITHOUT.load(Ordering::Relaxed) {
        return None;
    }
    let Some(trace) = imported(py, intern!(py, "opentelemetry.trace")) else {
        WITHOUT.store(count, Ordering::Relaxed);
        return None;
    };
    let context = imported(py, intern!(py, "opentelemetry.context"))?;
    // Another thread may be importing them right now: then it is found the next time.
    let made = Traces {
        current_context: context.getattr("get_current").ok()?.unbind(),
        current_span: trace.getattr("get_current_span").ok()?.unbind(),
    };
    Some(TRACES.get_or_init(py, || made))
}

/// The logger for events, which finds its provider by itself, whenever there is one.
fn logger(py: Python<'_>) -> Option<&Py<PyAny>> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Some(logger) = LOGGER.get(py) {
        return Some(logger);
    }
    let logs = imported(py, intern!(py, "opentelemetry._logs"))?;
    let logger = logs.getattr("get_logger").ok()?;
    let logger = logger
        .call1(("control_plane", env!("CARGO_PKG_VERSION")))
        .ok()?;
    Some(LOGGER.get_or_init(py, || logger.unbind()))
}

/// Those who want to know what was evaluated.
pub(crate) struct Telemetry<'py> {
    py: Python<'py>,
    span: Option<Bound<'py, PyAny>>,
    logger: Option<Bound<'py, PyAny>>,
}

/// What a flag gave.
pub(crate) struct Told<'a> {
    pub(crate) environment: &'a str,
    pub(crate) revision: u64,
    pub(crate) flag: &'a str,
    pub(crate) variant: Option<&'a str>,
    pub(crate) reason: Reason,
    pub(crate) error: Option<&'static str>,
    pub(crate) error_detail: Option<&'a str>,
}

impl<'py> Telemetry<'py> {
    /// Those who want to know, if anybody does: a span that records, or a logger of events.
    pub(crate) fn wanted(py: Python<'py>) -> Option<Self> {
        // Logs are of no use without traces, which they import.
        let traces = traces(py)?;
        let (span, logger) = (recording(py, traces), listening(py));
        let is_wanted = span.is_some() || logger.is_some();
        is_wanted.then_some(Self { py, span, logger })
    }

    /// Tells what a flag gave.
    pub(crate) fn evaluated(&self, told: &Told<'_>) {
        if let Err(error) = self.tell(told) {
            error.write_unraisable(self.py, None);
        }
    }

    /// The same of an evaluation in detail.
    pub(crate) fn detailed(&self, environment: &str, flag: &str, detail: &Detail) {
        self.evaluated(&Told {
            environment,
            revision: detail.revision,
            flag,
            variant: detail.variant.as_ref().map(VariantName::as_str),
            reason: detail.reason,
            error: detail.error.map(FlagError::as_str),
            error_detail: detail.error_detail.as_deref(),
        });
    }

    /// Tells what an agent was resolved to, and what the flags gave that may override it.
    pub(crate) fn resolved(&self, resolved: &Resolved) {
        for given in resolved.overrides() {
            self.evaluated(&Told {
                environment: resolved.environment().as_str(),
                revision: resolved.revision(),
                flag: given.flag.as_str(),
                variant: given.variant.as_ref().map(VariantName::as_str),
                reason: given.reason,
                error: (given.reason == Reason::Error).then_some("GENERAL"),
                error_detail: None,
            });
        }
        if let Some(span) = &self.span
            && let Err(error) = attributes_of_agent(span, resolved)
        {
            error.write_unraisable(self.py, Some(span));
        }
    }

    fn tell(&self, told: &Told<'_>) -> PyResult<()> {
        let py = self.py;
        let attributes = PyDict::new(py);
        attributes.set_item(intern!(py, "feature_flag.key"), told.flag)?;
        attributes.set_item(intern!(py, "feature_flag.provider.name"), PROVIDER)?;
        attributes.set_item(intern!(py, "feature_flag.set.id"), told.environment)?;
        let version = told.revision.to_string();
        attributes.set_item(intern!(py, "feature_flag.version"), version)?;
        let reason = told.reason.as_str().to_ascii_lowercase();
        attributes.set_item(intern!(py, "feature_flag.result.reason"), reason)?;
        if let Some(variant) = told.variant {
            attributes.set_item(intern!(py, "feature_flag.result.variant"), variant)?;
        }
        if let Some(error) = told.error {
            attributes.set_item(intern!(py, "error.type"), error.to_ascii_lowercase())?;
        }
        if let Some(detail) = told.error_detail {
            attributes.set_item(intern!(py, "feature_flag.error.message"), detail)?;
        }
        if let Some(span) = &self.span {
            span.call_method1(intern!(py, "add_event"), (EVENT, &attributes))?;
        }
        if let Some(logger) = &self.logger {
            let options = PyDict::new(py);
            options.set_item(intern!(py, "event_name"), EVENT)?;
            options.set_item(intern!(py, "attributes"), attributes)?;
            logger.call_method(intern!(py, "emit"), (), Some(&options))?;
        }
        Ok(())
    }
}

/// The span that is current, if there is one that records.
fn recording<'py>(py: Python<'py>, traces: &Traces) -> Option<Bound<'py, PyAny>> {
    let context = traces.current_context.bind(py).call0().ok()?;
    // Outside of any span, which is the usual thing, the context is empty.
    if context.cast::<PyDict>().is_ok_and(PyDictMethods::is_empty) {
        return None;
    }
    let span = traces.current_span.bind(py).call1((context,)).ok()?;
    let is_recording = span.call_method0(intern!(py, "is_recording")).ok()?;
    is_recording.is_truthy().ok()?.then_some(span)
}

/// The logger, if there is a provider that wants its events.
fn listening(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let logger = logger(py)?.bind(py);
    // Versions without this have no events either.
    let is_listening = logger.call_method0(intern!(py, "enabled")).ok()?;
    is_listening.is_truthy().ok()?.then(|| logger.clone())
}

fn attributes_of_agent(span: &Bound<'_, PyAny>, resolved: &Resolved) -> PyResult<()> {
    let py = span.py();
    let attributes = PyDict::new(py);
    attributes.set_item("control_plane.agent", resolved.agent().to_string())?;
    let digest = resolved.effective_digest().to_string();
    attributes.set_item("control_plane.effective_digest", digest)?;
    attributes.set_item("control_plane.revision", resolved.revision())?;
    span.call_method1(intern!(py, "set_attributes"), (attributes,))?;
    Ok(())
}
