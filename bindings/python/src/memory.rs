//! The control plane in memory, for unit tests.

use plane_client::sdk::{ControlPlane, Error, InMemory};
use pyo3::prelude::*;

use crate::arguments::Arg;
use crate::error::exception;
use crate::plane::{self, Plane, parsed, told};

/// A control plane in memory, whose content a test says.
#[pyclass(frozen, module = "control_plane._core")]
pub(crate) struct Memory {
    memory: InMemory,
}

#[pymethods]
impl Memory {
    /// Starts from a tree, or from nothing.
    #[new]
    #[pyo3(signature = (tree = None))]
    fn new(py: Python<'_>, tree: Option<&str>) -> PyResult<Self> {
        let made = py.detach(|| match tree {
            Some(tree) => InMemory::from_tree(tree),
            None => Ok(ControlPlane::in_memory()),
        });
        let memory = made.map_err(|error| exception(py, &error))?;
        Ok(Self { memory })
    }

    /// A client of it, for an environment, which is there from then on; it may have a contract, as JSON.
    #[pyo3(signature = (environment, contract = None))]
    fn client(
        &self,
        py: Python<'_>,
        environment: Arg<&str>,
        contract: Option<&str>,
    ) -> PyResult<Plane> {
        let made = self.memory.builder_of(environment.0).map(told);
        let mut builder = made.map_err(|error| exception(py, &error))?;
        if let Some(text) = contract {
            builder = builder.contract(plane::contract(py, text)?);
        }
        let made = builder.build().map(Plane::of);
        made.map_err(|error| exception(py, &error))
    }

    /// Says what something is, as JSON: a flag, a path of the configuration, an agent, a tool or a tenant.
    fn set(&self, py: Python<'_>, kind: &str, name: Arg<&str>, value: &str) -> PyResult<()> {
        let value = parsed(py, value)?;
        let name = name.0;
        py.detach(|| {
            match kind {
                "flag" => self.memory.flag(name, value),
                "config" => self.memory.config(name, value),
                "agent" => self.memory.agent(name, value),
                "tool" => self.memory.tool(name, value),
                _ => self.memory.tenant(name, value),
            }?;
            Ok::<_, Error>(())
        })
        .map_err(|error| exception(py, &error))
    }

    /// Takes back what was said of a flag.
    fn forget_flag(&self, py: Python<'_>, key: Arg<&str>) -> PyResult<()> {
        py.detach(|| self.memory.forget_flag(key.0).map(drop))
            .map_err(|error| exception(py, &error))
    }
}
