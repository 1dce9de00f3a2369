//! What callers give, and what they are told if it is of the wrong type.

use pyo3::prelude::*;

use crate::error::invalid;

/// An argument of the package's functions: one of a wrong type is an exception of the package.
#[derive(Clone, Copy)]
pub(crate) struct Arg<T>(pub(crate) T);

/// What an argument can be.
pub(crate) trait Wanted {
    const WHAT: &'static str;
}

impl Wanted for &str {
    const WHAT: &'static str = "a string";
}

impl Wanted for f64 {
    const WHAT: &'static str = "a number";
}

impl<'a, 'py, T: Wanted + FromPyObject<'a, 'py>> FromPyObject<'a, 'py> for Arg<T> {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match given.extract() {
            Ok(value) => Ok(Self(value)),
            Err(_) => Err(wrong(&given.to_owned(), T::WHAT)),
        }
    }
}

/// The text of an argument that may be left out.
pub(crate) fn text(given: Option<Arg<&str>>) -> Option<&str> {
    given.map(|it| it.0)
}

/// A truth value with a default, which the signature shows only of a plain type.
pub(crate) fn truth(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.extract().map_err(|_| wrong(given, "True or False"))
}

#[cold]
fn wrong(given: &Bound<'_, PyAny>, wanted: &str) -> PyErr {
    let py = given.py();
    let name = given.get_type().name().map(|it| it.to_string());
    let name = name.unwrap_or_else(|_| "something else".to_owned());
    invalid(
        py,
        &format!("{wanted} is expected, and `{name}` was given"),
        "see the function's documentation for what it takes",
    )
}
