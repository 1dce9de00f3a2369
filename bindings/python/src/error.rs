//! From the SDK's errors to the package's exceptions.

use plane_client::sdk::Error;
use pyo3::prelude::*;

/// The exception that stands for an error; the package chooses the class by the code.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    raise(
        py,
        error.code_text(),
        &error.to_string(),
        &error.next(),
        error.is_passing(),
    )
}

/// The exception for something that only the binding can refuse.
pub(crate) fn invalid(py: Python<'_>, message: &str, next: &str) -> PyErr {
    raise(py, "FIELD_INVALID", message, next, false)
}

fn raise(py: Python<'_>, code: &str, message: &str, next: &str, is_passing: bool) -> PyErr {
    let made = py
        .import("control_plane.errors")
        .and_then(|errors| errors.getattr("exception"))
        .and_then(|make| make.call1((code, message, next, is_passing)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        // The package is not whole; that is the error to show.
        Err(error) => error,
    }
}
