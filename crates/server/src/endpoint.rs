//! An operation with its handler, and what of it is asked at every request.

use std::sync::OnceLock;

use plane_api::Operation;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::handlers::Handler;

/// An operation with its handler.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) operation: &'static Operation,
    pub(crate) handler: Handler,
    /// Whether it kills, and so passes where others are held up.
    pub(crate) is_kill: bool,
    /// Whether it is what an orchestrator asks to know whether to restart the process.
    pub(crate) is_probe: bool,
    /// Its counter of good replies and its times, looked up once.
    pub(crate) counted: OnceLock<(Counter, Histogram)>,
}

impl Endpoint {
    pub(crate) fn new(operation: &'static Operation, handler: Handler) -> Self {
        let id = operation.id.as_str();
        Self {
            operation,
            handler,
            is_kill: matches!(id, "putKill" | "putTenantKill"),
            is_probe: matches!(id, "getHealth" | "getReadiness"),
            counted: OnceLock::new(),
        }
    }
}
