//! A resolved agent as Python objects: what every caller looks at at once, and all of it as text for later.

use plane_client::sdk::Resolved;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use serde_json::{Value, json};

/// What `control_plane.agents` makes an agent of: its own part, and the wire form, whose tools are read when one is
/// wanted.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    resolved: &Resolved,
) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyBytes>)> {
    let agent = PyDict::new(py);
    agent.set_item("manifest", object(py, resolved.manifest())?)?;
    agent.set_item("manifest_digest", resolved.manifest_digest().to_string())?;
    agent.set_item("effective_digest", resolved.effective_digest().to_string())?;
    agent.set_item("environment", resolved.environment().as_str())?;
    agent.set_item("tenant", resolved.tenant())?;
    agent.set_item("revision", resolved.revision())?;
    agent.set_item("chosen_by", object(py, &json!(resolved.chosen_by()))?)?;
    agent.set_item("origins", object(py, &json!(resolved.origins()))?)?;
    let warnings: Vec<_> = resolved.warnings().collect();
    agent.set_item("warnings", object(py, &json!(warnings))?)?;
    let tools = resolved.tools().iter().map(|it| {
        let (version, digest) = (it.version.to_string(), it.digest.to_string());
        (it.name.as_str(), version, digest, it.alias.as_deref()).into_pyobject(py)
    });
    let tools = tools.collect::<PyResult<Vec<Bound<'_, PyTuple>>>>()?;
    agent.set_item("tools", tools)?;
    Ok((agent, PyBytes::new(py, &resolved.to_json())))
}

/// A JSON value as `json.loads` would give it.
fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(is_true) => is_true.into_pyobject(py)?.to_owned().into_any(),
        Value::String(text) => text.as_str().into_pyobject(py)?.into_any(),
        Value::Number(number) => {
            if let Some(whole) = number.as_i64() {
                whole.into_pyobject(py)?.into_any()
            } else if let Some(whole) = number.as_u64() {
                whole.into_pyobject(py)?.into_any()
            } else {
                number.as_f64().into_pyobject(py)?
            }
        }
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(object(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(members) => {
            let dict = PyDict::new(py);
            for (name, member) in members {
                dict.set_item(name.as_str(), object(py, member)?)?;
            }
            dict.into_any()
        }
    })
}
