//! What each operation does.

mod access;
mod bucketing;
mod commits;
mod config;
mod delivery;
mod documents;
mod instances;
mod kills;
mod ofrep;
mod registry;
mod runtime;
mod server;
mod stale;
mod trees;
mod usage;
mod uses;

use futures_util::future::BoxFuture;
use plane_model::Kind;
use plane_node::Snapshot;

use crate::call::{Answer, App, Call};

/// How an operation is handled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handler {
    /// At once, out of memory.
    Quick(fn(&Call) -> Answer),
    /// At once, out of the state and views that `?at=` names, else the newest.
    Moment(fn(&Call, &Snapshot) -> Answer),
    /// With waiting, within the time that a request may take.
    Async(fn(Call) -> BoxFuture<'static, Answer>),
    /// With waiting on purpose, within a time of its own, unless it can be answered at once.
    Waiting {
        at_once: fn(&Call) -> Option<Answer>,
        waiting: fn(Call) -> BoxFuture<'static, Answer>,
    },
    /// At once, for anybody.
    Open(fn(&App) -> Answer),
}

macro_rules! handlers {
    ($($id:literal => $handler:expr,)*) => {
        /// The operations that have a handler.
        #[cfg(test)]
        pub(crate) const IDS: &[&str] = &[$($id,)*];

        /// Finds the handler of an operation.
        pub(crate) fn handler(id: &str) -> Option<Handler> {
            use Handler::{Async, Moment, Open, Quick, Waiting};
            Some(match id {
                $($id => $handler,)*
                _ => return None,
            })
        }
    };
}

handlers! {
    "listEnvironments" => Async(|call| Box::pin(documents::list_all(call, Kind::Environment))),
    "getEnvironment" => Async(|call| Box::pin(documents::get(call, documents::environment))),
    "putEnvironment" => Async(|call| Box::pin(documents::put(call, documents::environment))),
    "putBucketing" => Async(|call| Box::pin(bucketing::migrate(call))),
    "deleteEnvironment" => Async(|call| Box::pin(documents::delete(call, documents::environment))),
    "listTenants" => Async(|call| Box::pin(documents::list_all(call, Kind::Tenant))),
    "getTenant" => Async(|call| Box::pin(documents::get(call, documents::tenant))),
    "putTenant" => Async(|call| Box::pin(documents::put(call, documents::tenant))),
    "deleteTenant" => Async(|call| Box::pin(documents::delete(call, documents::tenant))),
    "listExclusionGroups" => Async(|call| Box::pin(documents::list_all(call, Kind::ExclusionGroup))),
    "getExclusionGroup" => Async(|call| Box::pin(documents::get(call, documents::exclusion_group))),
    "putExclusionGroup" => Async(|call| Box::pin(documents::put(call, documents::exclusion_group))),
    "deleteExclusionGroup" => Async(|call| Box::pin(documents::delete(call, documents::exclusion_group))),
    "listSegments" => Async(|call| Box::pin(documents::list_all(call, Kind::Segment))),
    "getSegment" => Async(|call| Box::pin(documents::get(call, documents::segment))),
    "putSegment" => Async(|call| Box::pin(documents::put(call, documents::segment))),
    "deleteSegment" => Async(|call| Box::pin(documents::delete(call, documents::segment))),
    "listFlags" => Async(|call| Box::pin(documents::list_all(call, Kind::Flag))),
    "getFlag" => Async(|call| Box::pin(documents::get(call, documents::flag))),
    "putFlag" => Async(|call| Box::pin(documents::put(call, documents::flag))),
    "deleteFlag" => Async(|call| Box::pin(documents::delete(call, documents::flag))),
    "listStaleFlags" => Async(|call| Box::pin(stale::list(call))),
    "listTargetings" => Async(|call| Box::pin(documents::list(call, documents::targetings))),
    "getTargeting" => Async(|call| Box::pin(documents::get(call, documents::targeting))),
    "putTargeting" => Async(|call| Box::pin(documents::put(call, documents::targeting))),
    "deleteTargeting" => Async(|call| Box::pin(documents::delete(call, documents::targeting))),
    "listPins" => Async(|call| Box::pin(documents::list(call, documents::pins))),
    "getPin" => Async(|call| Box::pin(documents::get(call, documents::pin))),
    "putPin" => Async(|call| Box::pin(documents::put(call, documents::pin))),
    "deletePin" => Async(|call| Box::pin(documents::delete(call, documents::pin))),
    "listKills" => Async(|call| Box::pin(documents::list(call, documents::kills))),
    "getKill" => Async(|call| Box::pin(documents::get(call, documents::kill))),
    "putKill" => Async(|call| Box::pin(kills::give(call, documents::kill))),
    "deleteKill" => Async(|call| Box::pin(kills::revive(call, documents::kill))),
    "listTenantKills" => Async(|call| Box::pin(documents::list(call, documents::tenant_kills))),
    "getTenantKill" => Async(|call| Box::pin(documents::get(call, documents::tenant_kill))),
    "putTenantKill" => Async(|call| Box::pin(kills::give(call, documents::tenant_kill))),
    "deleteTenantKill" => Async(|call| Box::pin(kills::revive(call, documents::tenant_kill))),
    "listSchedules" => Async(|call| Box::pin(documents::list(call, documents::schedules))),
    "getSchedule" => Async(|call| Box::pin(documents::get(call, documents::schedule))),
    "putSchedule" => Async(|call| Box::pin(documents::put(call, documents::schedule))),
    "deleteSchedule" => Async(|call| Box::pin(documents::delete(call, documents::schedule))),
    "getUses" => Async(|call| Box::pin(uses::uses(call))),
    "listChannels" => Async(|call| Box::pin(documents::list(call, documents::channels))),
    "getChannel" => Async(|call| Box::pin(documents::get(call, documents::channel))),
    "putChannel" => Async(|call| Box::pin(documents::put(call, documents::channel))),
    "deleteChannel" => Async(|call| Box::pin(documents::delete(call, documents::channel))),
    "listTrusts" => Async(|call| Box::pin(documents::list_all(call, Kind::Trust))),
    "getTrust" => Async(|call| Box::pin(documents::get(call, documents::trust))),
    "putTrust" => Async(|call| Box::pin(documents::put(call, documents::trust))),
    "deleteTrust" => Async(|call| Box::pin(documents::delete(call, documents::trust))),
    "listRoleBindings" => Async(|call| Box::pin(documents::list(call, documents::role_bindings))),
    "getRoleBinding" => Async(|call| Box::pin(documents::get(call, documents::role_binding))),
    "putRoleBinding" => Async(|call| Box::pin(documents::put(call, documents::role_binding))),
    "deleteRoleBinding" => Async(|call| Box::pin(documents::delete(call, documents::role_binding))),
    "listConfig" => Async(|call| Box::pin(config::list(call))),
    "getConfigSchema" => Async(|call| Box::pin(documents::get(call, documents::schema))),
    "putConfigSchema" => Async(|call| Box::pin(documents::put(call, documents::schema))),
    "deleteConfigSchema" => Async(|call| Box::pin(documents::delete(call, documents::schema))),
    "listConfigLayers" => Async(|call| Box::pin(documents::list(call, documents::layers))),
    "getConfigLayer" => Async(|call| Box::pin(documents::get(call, documents::layer))),
    "putConfigLayer" => Async(|call| Box::pin(documents::put(call, documents::layer))),
    "deleteConfigLayer" => Async(|call| Box::pin(documents::delete(call, documents::layer))),
    "listAgents" => Async(|call| Box::pin(registry::list(call, registry::AGENT))),
    "publishAgent" => Async(|call| Box::pin(registry::publish(call, registry::AGENT))),
    "listAgentVersions" => Async(|call| Box::pin(registry::list_versions(call, registry::AGENT))),
    "getAgentVersion" => Async(|call| Box::pin(registry::get_version(call, registry::AGENT))),
    "putAgentVersion" => Async(|call| Box::pin(registry::put_version(call, registry::AGENT))),
    "getAgentStatus" => Async(|call| Box::pin(documents::get(call, registry::agent_status))),
    "putAgentStatus" => Async(|call| Box::pin(documents::put(call, registry::agent_status))),
    "listTools" => Async(|call| Box::pin(registry::list(call, registry::TOOL))),
    "publishTool" => Async(|call| Box::pin(registry::publish(call, registry::TOOL))),
    "listToolVersions" => Async(|call| Box::pin(registry::list_versions(call, registry::TOOL))),
    "getToolVersion" => Async(|call| Box::pin(registry::get_version(call, registry::TOOL))),
    "putToolVersion" => Async(|call| Box::pin(registry::put_version(call, registry::TOOL))),
    "getToolStatus" => Async(|call| Box::pin(documents::get(call, registry::tool_status))),
    "putToolStatus" => Async(|call| Box::pin(documents::put(call, registry::tool_status))),
    "commit" => Async(|call| Box::pin(commits::commit(call))),
    "listCommits" => Async(|call| Box::pin(commits::list(call))),
    "getCommit" => Async(|call| Box::pin(commits::get(call))),
    "revert" => Async(|call| Box::pin(commits::revert(call))),
    "applyTree" => Async(|call| Box::pin(trees::apply(call))),
    "exportTree" => Async(|call| Box::pin(trees::export(call))),
    "createToken" => Async(|call| Box::pin(access::create_token(call))),
    "listTokens" => Async(|call| Box::pin(documents::list(call, documents::tokens))),
    "deleteToken" => Async(|call| Box::pin(access::delete_token(call))),
    "whoami" => Quick(access::whoami),
    "resolve" => Moment(runtime::resolve),
    "getResolved" => Moment(runtime::get_resolved),
    "evaluate" => Moment(runtime::evaluate),
    "ofrepEvaluate" => Quick(ofrep::evaluate),
    "ofrepEvaluateAll" => Waiting {
        at_once: ofrep::evaluate_all_at_once,
        waiting: |call| Box::pin(ofrep::evaluate_all(call)),
    },
    "ofrepEvaluateIn" => Quick(ofrep::evaluate),
    "ofrepEvaluateAllIn" => Waiting {
        at_once: ofrep::evaluate_all_at_once,
        waiting: |call| Box::pin(ofrep::evaluate_all(call)),
    },
    "ofrepEvents" => Quick(ofrep::events),
    "getEffectiveConfig" => Async(|call| Box::pin(config::effective(call))),
    "explainConfig" => Async(|call| Box::pin(config::explain(call))),
    "acknowledge" => Quick(instances::acknowledge),
    "reportUsage" => Async(|call| Box::pin(usage::report(call))),
    "getFlagUsage" => Async(|call| Box::pin(usage::of_flag(call))),
    "getRevisionStatus" => Quick(instances::revision_status),
    "getView" => Waiting {
        at_once: delivery::view_at_once,
        waiting: |call| Box::pin(delivery::view(call)),
    },
    "getViewPart" => Async(|call| Box::pin(delivery::part(call))),
    "getStream" => Quick(delivery::stream),
    "getKeys" => Quick(delivery::keys),
    "getOpenApi" => Open(|app| Ok(server::openapi(app))),
    "getHealth" => Open(server::health),
    "getReadiness" => Open(server::readiness),
    "getMetrics" => Open(server::metrics),
}
