//! For whom evaluations are: what a call names, over what is ambient.

use std::ops::Deref;

use plane_client::sdk::Context;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::arguments::{Arg, text};
use crate::error::invalid;

/// Whom evaluations are for unless a call says otherwise; what `control_plane.context` sets.
#[pyclass(frozen, module = "control_plane._core")]
pub(crate) struct Ambient {
    /// Made once for a block, so that calls inside of it have nothing to build.
    ctx: Context,
}

#[pymethods]
impl Ambient {
    /// What is given, and what is not given as it is outside.
    #[new]
    fn new(
        outer: Option<&Self>,
        tenant: Option<Arg<&str>>,
        user: Option<Arg<&str>>,
        attributes: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let outer = outer.map(|it| it.ctx.clone()).unwrap_or_default();
        let ctx = with_attributes(named(outer, text(tenant), text(user)), attributes)?;
        Ok(Self { ctx })
    }
}

/// Whom a call is for.
pub(crate) enum Whom<'py> {
    /// Nobody is named, and a block says whom: its own context, which is not copied.
    Ambient(Bound<'py, Ambient>),
    Named(Context),
}

impl Deref for Whom<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        match self {
            Self::Ambient(ambient) => &ambient.get().ctx,
            Self::Named(ctx) => ctx,
        }
    }
}

/// Says whom a call is for that names these.
pub(crate) fn whom<'py>(
    py: Python<'py>,
    tenant: Option<&str>,
    user: Option<&str>,
) -> PyResult<Whom<'py>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get = GET.get_or_try_init(py, || {
        let ambient = py.import("control_plane._context")?.getattr("AMBIENT")?;
        ambient.getattr("get").map(Bound::unbind)
    })?;
    let ambient = get.bind(py).call0()?;
    if ambient.is_none() {
        return Ok(Whom::Named(named(Context::new(), tenant, user)));
    }
    let ambient = ambient.cast_into::<Ambient>()?;
    if tenant.is_none() && user.is_none() {
        return Ok(Whom::Ambient(ambient));
    }
    let outer = ambient.get().ctx.clone();
    Ok(Whom::Named(named(outer, tenant, user)))
}

/// A context with what is given in it.
pub(crate) fn named(mut ctx: Context, tenant: Option<&str>, user: Option<&str>) -> Context {
    if let Some(tenant) = tenant {
        ctx = ctx.with_tenant(tenant);
    }
    if let Some(user) = user {
        ctx = ctx.with_user(user);
    }
    ctx
}

fn with_attributes(mut ctx: Context, attributes: &Bound<'_, PyDict>) -> PyResult<Context> {
    for (name, value) in attributes.iter() {
        let name: String = name.extract()?;
        ctx = if let Ok(text) = value.extract::<String>() {
            ctx.with(&name, text.as_str())
        } else if let Ok(is_true) = value.extract::<bool>() {
            ctx.with(&name, is_true)
        } else if let Ok(number) = value.extract::<f64>() {
            ctx.with(&name, number)
        } else if let Ok(texts) = value.extract::<Vec<String>>() {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            ctx.with(&name, texts.as_slice())
        } else {
            return Err(invalid(
                attributes.py(),
                &format!(
                    "the attribute `{name}` is neither a string, a number, a boolean nor a list of strings"
                ),
                "send only attributes that rules can look at",
            ));
        };
    }
    Ok(ctx)
}
