//! The Rust SDK for Python: one class, which `control_plane` (in Python) makes a pleasant package of.
//!
//! It must never decide anything that the Rust SDK does not, hold the interpreter's lock while it waits, or let a
//! panic or an error of Rust reach a Python caller as anything but an exception of the package.
//!
//! Start reading at `plane.rs`; `error.rs` is how errors become exceptions. What is structured crosses as JSON, which
//! the Python side reads, so that it is the caller's own copy.
//!
//! INVARIANT: whatever waits (a server, a file, a first view) runs detached from the interpreter.

mod error;
mod memory;
mod plane;

use pyo3::prelude::*;

use memory::Memory;
use plane::{Plane, WatchHandle};

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Memory>()?;
    module.add_class::<Plane>()?;
    module.add_class::<WatchHandle>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
