//! What the package's classes build on: the client of a process or one of their own, and the quickest question.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use plane_client::sdk::Options;

use crate::arguments::{Arg, text, truth};
use crate::plane::Plane;
use crate::whom::whom;

/// The client of the process.
///
/// INVARIANT: whoever locks it holds the interpreter's lock and runs nothing of Python meanwhile, so that no fork finds
/// it locked.
static SHARED: Mutex<Option<Py<Plane>>> = Mutex::new(None);

/// The client that all share who have none of their own, if it is made.
#[pyfunction]
pub(crate) fn shared(py: Python<'_>) -> Option<Py<Plane>> {
    let shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.as_ref().map(|it| it.clone_ref(py))
}

/// Puts another client in its place, or none; gives back the one before.
#[pyfunction]
#[pyo3(signature = (plane))]
pub(crate) fn share(plane: Option<Py<Plane>>) -> Option<Py<Plane>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *shared, plane)
}

/// Something that asks a client: one of its own, or else the one that all share.
#[pyclass(subclass, frozen, module = "control_plane._core")]
pub(crate) struct Client {
    own: PyOnceLock<Py<Plane>>,
}

impl Client {
    fn plane(&self, py: Python<'_>) -> PyResult<Py<Plane>> {
        if let Some(own) = self.own.get(py) {
            return Ok(own.clone_ref(py));
        }
        if let Some(shared) = shared(py) {
            return Ok(shared);
        }
        let made = py
            .import("control_plane._shared")?
            .getattr("plane")?
            .call0()?;
        Ok(made.cast_into::<Plane>()?.unbind())
    }
}

#[pymethods]
impl Client {
    /// The classes built on it say what they take.
    #[new]
    #[pyo3(signature = (*_arguments, **_settings))]
    fn new(_arguments: &Bound<'_, PyTuple>, _settings: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            own: PyOnceLock::new(),
        }
    }

    /// Gives it a client of its own.
    fn _ask(&self, py: Python<'_>, plane: Py<Plane>) {
        // Only those call this who have just made it.
        drop(self.own.set(py, plane));
    }

    /// The client of its own, if it has one.
    #[getter]
    fn _own(&self, py: Python<'_>) -> Option<Py<Plane>> {
        self.own.get(py).map(|it| it.clone_ref(py))
    }

    /// The client that it asks; the one that all share is made when it is first needed.
    #[getter]
    fn _plane(&self, py: Python<'_>) -> PyResult<Py<Plane>> {
        self.plane(py)
    }

    /// Says whether a flag is on.
    ///
    /// A flag that does not exist, or cannot be evaluated, is `default`; that is counted, never raised.
    /// `rollout_percentage` is an upper bound of the caller's on what rules and defaults give.
    #[pyo3(signature = (flag, user_id = None, *, tenant_id = None, rollout_percentage = None, default = false, environment = None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "what Python's callers name has a parameter of its own"
    )]
    fn is_enabled(
        &self,
        py: Python<'_>,
        flag: Arg<&str>,
        user_id: Option<Arg<&str>>,
        tenant_id: Option<Arg<&str>>,
        rollout_percentage: Option<Arg<f64>>,
        #[pyo3(from_py_with = truth)] default: bool,
        environment: Option<Arg<&str>>,
    ) -> PyResult<bool> {
        let options = Options {
            default,
            rollout_percent_max: rollout_percentage.map(|it| it.0),
        };
        let whom = whom(py, text(tenant_id), text(user_id))?;
        let ask = |plane: &Py<Plane>| {
            let environment = text(environment);
            plane
                .get()
                .is_enabled(py, flag.0, &whom, options, environment)
        };
        match self.own.get(py) {
            Some(own) => ask(own),
            None => ask(&self.plane(py)?),
        }
    }
}
