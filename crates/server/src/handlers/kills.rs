//! Stops of flags, agents and tools, and their revival: each is an alert.

use plane_api::AlertRule;
use plane_model::DocumentKey;
use plane_model::documents::Kill;
use plane_state::{Action, Change, Expect, Op};

use super::documents::{KeyOf, Written, answer, submit};
use crate::call::{Answer, Call};
use crate::failure::Failure;

/// The kind of the observations.
const ALERT: &str = "alert";

/// Stops a flag, an agent or a tool; asks for no revision, for nothing may stand in the way.
pub(super) async fn give(call: Call, key: KeyOf) -> Answer {
    let key = key(&call)?;
    let body = call.json()?;
    let reason = crate::body::typed::<Kill>(&body)?.reason;
    let change = Change::Put(body);
    submitted(&call, AlertRule::Killed, key, change, Some(reason)).await
}

/// Clears such a stop.
pub(super) async fn revive(call: Call, key: KeyOf) -> Answer {
    let key = key(&call)?;
    submitted(&call, AlertRule::Revived, key, Change::Delete, None).await
}

async fn submitted(
    call: &Call,
    rule: AlertRule,
    key: DocumentKey,
    change: Change,
    reason: Option<String>,
) -> Answer {
    let action = if rule == AlertRule::Killed {
        Action::Kill
    } else {
        Action::Revive
    };
    let reason = call.reason()?.or(reason);
    let op = Op {
        key: key.clone(),
        change,
        expect: Expect::Any,
    };
    let written = submit(call, action, op, reason.clone()).await?;
    if let Written::Committed(done) = &written
        && done.changed
        && !done.repeated
    {
        alert(
            call,
            rule,
            &key,
            done.revision,
            reason.as_deref().unwrap_or_default(),
        )?;
    }
    answer(written)
}

/// Tells the log, the metrics and the observations; the streams tell it by themselves.
fn alert(
    call: &Call,
    rule: AlertRule,
    key: &DocumentKey,
    revision: u64,
    reason: &str,
) -> Result<(), Failure> {
    let environment = call.environment()?;
    let tenant = key.tenant_id();
    let tenant = tenant.as_ref().map_or("", |it| it.as_str());
    let subject = key.name();
    tracing::warn!(
        target: "control_plane::alert",
        rule = rule.as_str(),
        subject,
        environment = environment.as_str(),
        tenant,
        revision,
        principal = call.scope().principal().as_str(),
        reason,
    );
    call.app().metrics.alerted(rule);
    let revision = revision.to_string();
    call.node().observe(
        ALERT,
        subject,
        &[
            ("rule", rule.as_str()),
            ("severity", rule.severity().as_str()),
            ("environment", environment.as_str()),
            ("tenant", tenant),
            ("principal", call.scope().principal().as_str()),
            ("revision", &revision),
        ],
    );
    Ok(())
}
