//! What a plan would change for the tenants that are known, as the caller may know of it.

use plane_api as api;
use plane_eval::{Given, Inquiry, Offered, impact};
use plane_model::{EnvironmentName, TenantId, Timestamp};
use plane_node::Preview;
use plane_state::Scope;

/// Says for each environment of a plan what it would change there; nothing for those where it changes nothing.
///
/// Takes time in proportion to the tenants, times what differs.
pub(crate) fn impacts(
    preview: &Preview,
    scope: &Scope,
    named: usize,
    now: Timestamp,
) -> Vec<api::Impact> {
    let after = preview.after();
    let names = preview.plan().environments.iter();
    let names = names.filter_map(|name| EnvironmentName::new(name).ok());
    names
        .filter(|name| scope.sees_environment(name))
        .filter_map(|name| {
            let (before, after) = (preview.before().view(&name)?, after.view(&name)?);
            let inquiry = Inquiry {
                now,
                covers: &|tenant: &TenantId| scope.sees_tenant(&name, tenant),
                named,
            };
            let found = impact(before, after, &inquiry);
            (!found.is_empty()).then(|| written(found))
        })
        .collect()
}

/// The wire form.
fn written(found: plane_eval::Impact) -> api::Impact {
    let flags = found.flags.into_iter().map(|it| api::FlagImpact {
        flag: it.flag,
        tenants: it.tenants,
        shifts: it
            .shifts
            .into_iter()
            .map(|shift| api::FlagShift {
                before: given(shift.before),
                after: given(shift.after),
                tenants: shift.tenants,
                named: shift.named,
            })
            .collect(),
    });
    let agents = found.agents.into_iter().map(|it| api::AgentImpact {
        agent: it.agent,
        tenants: it.tenants,
        shifts: it
            .shifts
            .into_iter()
            .map(|shift| api::AgentShift {
                before: offered(shift.before),
                after: offered(shift.after),
                tenants: shift.tenants,
                named: shift.named,
            })
            .collect(),
    });
    let configs = found.configs.into_iter().map(|it| api::ConfigImpact {
        document: it.document,
        tenants: it.tenants,
        pointers: it.pointers.into_iter().collect(),
        named: it.named,
    });
    let units = found.units.into_iter().map(|it| api::UnitImpact {
        flag: it.flag,
        by: it.by.into_iter().collect(),
        asked: it.asked,
        units: it.units,
        shifts: it
            .shifts
            .into_iter()
            .map(|shift| api::UnitShift {
                before: given(shift.before),
                after: given(shift.after),
                units: shift.units,
            })
            .collect(),
        unforeseen: it.unforeseen.into_iter().collect(),
    });
    api::Impact {
        environment: found.environment,
        tenants: found.tenants,
        asked: found.asked,
        flags: flags.collect(),
        agents: agents.collect(),
        configs: configs.collect(),
        units: units.collect(),
    }
}

fn given(given: Given) -> api::Given {
    api::Given {
        variant: given.variant,
        value: given.value,
        error: given.error.map(|code| code.as_str().to_owned()),
    }
}

fn offered(offered: Offered) -> api::Offered {
    api::Offered {
        version: offered.version.map(|version| version.to_string()),
        effective_digest: offered.effective_digest,
        error: offered.error,
    }
}
