//! What happens beside the calls, told to Python's `logging`.

use plane_client::sdk::{Event, Level};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::attach::attached;

/// Writes an event to the logger `control_plane`, with what a log pipeline sorts by as fields of the record.
pub(crate) fn tell(event: &Event) {
    attached(|py| {
        if let Err(error) = write(py, event) {
            error.write_unraisable(py, None);
        }
    });
}

fn write(py: Python<'_>, event: &Event) -> PyResult<()> {
    let level = match event.level {
        Level::Info => 20,
        Level::Warning => 30,
        Level::Error => 40,
    };
    let fields = PyDict::new(py);
    fields.set_item("environment", event.environment.as_str())?;
    fields.set_item("revision", event.revision)?;
    fields.set_item("code", event.code.as_ref().map(ToString::to_string))?;
    let options = PyDict::new(py);
    options.set_item("extra", fields)?;
    let logger = py
        .import("logging")?
        .call_method1("getLogger", ("control_plane",))?;
    let message = ("%s: %s", event.environment.as_str(), event.message.as_str());
    logger
        .call_method(
            "log",
            (level, message.0, message.1, message.2),
            Some(&options),
        )
        .map(drop)
}
