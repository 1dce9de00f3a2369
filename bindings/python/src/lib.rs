//! The Rust SDK for Python: one class, which `control_plane` (in Python) makes a pleasant package of.
//!
//! It must never decide anything that the Rust SDK does not, hold the interpreter's lock while it waits, or let a
//! panic or an error of Rust reach a Python caller as anything but an exception of the package.
//!
//! Start reading at `client.rs` (what the package's classes build on) and `plane.rs`; `whom.rs` is whom calls are for,
//! `arguments.rs` what they may be given, `agent.rs` what a resolve gives, `error.rs` how errors become exceptions,
//! `openfeature.rs` what the provider asks, `telemetry.rs` and `log.rs` what OpenTelemetry and `logging` are told, `attach.rs`
//! how threads call Python. What is structured crosses as JSON, which the Python side reads, or as objects made for the
//! call: the caller's own copy.
//!
//! INVARIANT: whatever waits (a server, a file, a first view) runs detached from the interpreter.

mod agent;
mod arguments;
mod attach;
mod client;
mod error;
mod log;
mod memory;
mod openfeature;
mod plane;
mod telemetry;
mod whom;

use pyo3::prelude::*;

use client::Client;
use memory::Memory;
use plane::{Plane, WatchHandle};
use whom::Ambient;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Ambient>()?;
    module.add_class::<Client>()?;
    module.add_class::<Memory>()?;
    module.add_class::<Plane>()?;
    module.add_class::<WatchHandle>()?;
    module.add_function(wrap_pyfunction!(client::shared, module)?)?;
    module.add_function(wrap_pyfunction!(client::share, module)?)?;
    module.add_function(wrap_pyfunction!(attach::leave, module)?)?;
    module.add_function(wrap_pyfunction!(attach::forked, module)?)?;
    module.add_function(wrap_pyfunction!(openfeature::evaluate_flat, module)?)?;
    module.add_function(wrap_pyfunction!(openfeature::watch_standing, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
