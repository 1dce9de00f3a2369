//! What evaluations say on the span that is current, where the process uses OpenTelemetry.
//!
//! It must never import OpenTelemetry (who records spans has imported it), nor fail an evaluation because a tracer
//! does.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// The functions of OpenTelemetry that are called.
struct Api {
    /// `opentelemetry.context.get_current`
    current_context: Py<PyAny>,
    /// `opentelemetry.trace.get_current_span`
    current_span: Py<PyAny>,
}

static API: PyOnceLock<Api> = PyOnceLock::new();

fn api(py: Python<'_>) -> Option<&Api> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    if let Some(api) = API.get(py) {
        return Some(api);
    }
    let modules = MODULES
        .get_or_try_init(py, || {
            let modules = py.import("sys")?.getattr("modules")?;
            PyResult::Ok(modules.cast_into::<PyDict>()?.unbind())
        })
        .ok()?
        .bind(py);
    let trace = modules
        .get_item(intern!(py, "opentelemetry.trace"))
        .ok()??;
    let context = modules
        .get_item(intern!(py, "opentelemetry.context"))
        .ok()??;
    // Another thread may be importing them right now: then it is found the next time.
    let made = Api {
        current_context: context.getattr("get_current").ok()?.unbind(),
        current_span: trace.getattr("get_current_span").ok()?.unbind(),
    };
    Some(API.get_or_init(py, || made))
}

/// A span that records.
pub(crate) struct Span<'py>(Bound<'py, PyAny>);

impl<'py> Span<'py> {
    /// The current span, if there is one that records.
    pub(crate) fn recording(py: Python<'py>) -> Option<Self> {
        let api = api(py)?;
        let context = api.current_context.bind(py).call0().ok()?;
        // Outside of any span, which is the usual thing, the context is empty.
        if context.cast::<PyDict>().is_ok_and(PyDictMethods::is_empty) {
            return None;
        }
        let span = api.current_span.bind(py).call1((context,)).ok()?;
        let is_recording = span.call_method0(intern!(py, "is_recording")).ok()?;
        is_recording.is_truthy().ok()?.then_some(Self(span))
    }

    /// Says which variant a flag had.
    pub(crate) fn evaluated(&self, flag: &str, variant: Option<&str>, revision: u64) {
        self.told(|attributes| {
            attributes.set_item("feature_flag.key", flag)?;
            if let Some(variant) = variant {
                attributes.set_item("feature_flag.result.variant", variant)?;
            }
            attributes.set_item("control_plane.revision", revision)
        });
    }

    /// Says what an agent was resolved to.
    pub(crate) fn resolved(&self, agent: &str, effective_digest: &str, revision: u64) {
        self.told(|attributes| {
            attributes.set_item("control_plane.agent", agent)?;
            attributes.set_item("control_plane.effective_digest", effective_digest)?;
            attributes.set_item("control_plane.revision", revision)
        });
    }

    fn told(&self, fill: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>) {
        let py = self.0.py();
        let attributes = PyDict::new(py);
        let set = intern!(py, "set_attributes");
        let told = fill(&attributes).and_then(|()| self.0.call_method1(set, (attributes,)));
        if let Err(error) = told {
            error.write_unraisable(py, Some(&self.0));
        }
    }
}
