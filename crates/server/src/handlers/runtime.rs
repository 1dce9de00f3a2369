//! What services ask at run time: which agent, which flags.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::response::Response;
use plane_api::EvaluateRequest;
use plane_eval::{Context, Evaluation, Explanation, Reason, View, WarningCode};
use plane_model::documents::Metadata;
use plane_model::{ArtifactKind, ArtifactName, Code, Timestamp, Violation, Violations};
use plane_node::Snapshot;
use serde::Serialize;
use serde_json::Value;

use crate::call::{Answer, Call, json, json_bytes};
use crate::failure::Failure;
use crate::metrics::Given;
use crate::two_parts::TwoParts;

/// How many flags one request may name.
const FLAGS_MAX: usize = 10_000;
/// What a unit is given that the caller's share does not reach.
static CAPPED: Value = Value::Bool(false);

/// Says which version of an agent holds, for the context in the body.
pub(super) fn resolve(call: &Call, snapshot: &Snapshot) -> Answer {
    let value = call.json_or_empty()?;
    let ctx = context(call, Context::parse(&value)?)?;
    answer(call, snapshot, &ctx)
}

/// Says which version of an agent holds, for the tenant and user in the query.
pub(super) fn get_resolved(call: &Call, snapshot: &Snapshot) -> Answer {
    let mut ctx = Context::new();
    if let Some(tenant) = call.query().get("tenant") {
        ctx = ctx.with_tenant(tenant);
    }
    if let Some(user) = call.query().get("user") {
        ctx = ctx.with_user(user);
    }
    let ctx = context(call, ctx)?;
    answer(call, snapshot, &ctx)
}

/// Gives the context the tenant that the token is for, and refuses one that it does not cover.
fn context(call: &Call, ctx: Context) -> Result<Context, Failure> {
    let environment = call.environment()?;
    let tenant = call.tenant(&environment, ctx.tenant())?;
    Ok(match tenant {
        Some(tenant) if ctx.tenant().is_none() => ctx.with_tenant(tenant.as_str()),
        _ => ctx,
    })
}

fn answer(call: &Call, snapshot: &Snapshot, ctx: &Context) -> Answer {
    let view = call.view(snapshot)?;
    let agent = ArtifactName::new(call.param("agent")?)?;
    let metrics = &call.app().metrics;
    let timer = metrics.lookup_timer();
    let now = call.node().now();
    let result = view.resolve(&agent, ctx, now);
    metrics.lookup_took(timer);
    match result {
        Ok(resolved) => {
            metrics.resolved();
            let asker = call.asker(view.environment(), now);
            let overrides = resolved.overrides().iter();
            metrics.evaluated(asker.as_ref(), overrides.map(Given::by_override));
            for warning in resolved.warnings() {
                if matches!(
                    warning.code,
                    WarningCode::VersionDeprecated | WarningCode::VersionSunset
                ) {
                    metrics.deprecated_use(&warning.subject);
                    call.node().observe(
                        "deprecated_use",
                        &warning.subject,
                        &[("environment", view.environment().as_str())],
                    );
                }
            }
            let (first, shared) = resolved.to_json_parts();
            let body = TwoParts::new(first.into(), Bytes::from_owner(shared));
            Ok(json_bytes(snapshot.revision(), Body::new(body)))
        }
        Err(error) => {
            let code = error.code();
            metrics.lookup(ArtifactKind::Agent, lookup_result(code));
            metrics.integrity_failure(code.as_str());
            Err(error.into())
        }
    }
}

const fn lookup_result(code: Code) -> &'static str {
    match code {
        Code::AgentNotFound | Code::ChannelNotFound | Code::VersionNotFound => "not_found",
        _ => "error",
    }
}

/// The answer to an evaluation, borrowed from the view.
#[derive(Serialize)]
struct Evaluated<'a> {
    revision: u64,
    flags: BTreeMap<&'a str, Flag<'a>>,
    warnings: Vec<&'static str>,
}

#[derive(Serialize)]
struct Flag<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    metadata: About<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

#[derive(Serialize)]
struct About<'a> {
    revision: u64,
    bucketing: &'static str,
    #[serde(flatten)]
    own: &'a Metadata,
}

/// Says what flags are for the context in the body.
pub(super) fn evaluate(call: &Call, snapshot: &Snapshot) -> Answer {
    let request: EvaluateRequest = call.read()?;
    let parsed = Context::parse(&Value::Object(request.context)).map_err(|found| {
        found
            .into_iter()
            .map(|it| it.below("/context"))
            .collect::<Violations>()
    })?;
    if request
        .flags
        .as_ref()
        .is_some_and(|flags| flags.len() > FLAGS_MAX)
    {
        return Err(Failure::new(
            Code::LimitExceeded,
            format!("more than {FLAGS_MAX} flags are named"),
        )
        .next("leave `flags` out to get all of them"));
    }
    let percent = request.rollout_percentage;
    if percent.is_some_and(|it| !(0.0..=100.0).contains(&it)) {
        let detail = "`rollout_percentage` is not a percentage";
        let found = Violation::new(Code::FieldInvalid, "/rollout_percentage", detail);
        return Err(Violations::from(vec![found.next("write a number from 0 to 100")]).into());
    }
    let ctx = context(call, parsed)?;
    let view = call.view(snapshot)?;
    let asked = Asked {
        view,
        ctx: &ctx,
        now: call.node().now(),
        percent,
        explain: request.explain,
    };
    evaluated(call, snapshot.revision(), &asked, request.flags.as_deref())
}

/// What flags are evaluated for, and how.
struct Asked<'a> {
    view: &'a View,
    ctx: &'a Context,
    now: Timestamp,
    /// The share of the units that may have true, if the caller sets one.
    percent: Option<f64>,
    explain: bool,
}

fn evaluated(
    call: &Call,
    revision: u64,
    asked: &Asked<'_>,
    named: Option<&[String]>,
) -> Result<Response, Failure> {
    let &Asked { view, ctx, now, .. } = asked;
    let metrics = &call.app().metrics;
    // Who asks why looks, and does not use.
    let asker = call.asker(view.environment(), now);
    let asker = asker.filter(|_| !asked.explain);
    let mut flags = BTreeMap::new();
    match named {
        Some(named) => {
            for key in named {
                let timer = metrics.evaluation_timer();
                let evaluation = view.evaluate_key(key, ctx, now);
                metrics.evaluation_took(timer);
                metrics.evaluated(asker.as_ref(), [Given::new(key.as_str(), &evaluation)]);
                flags.insert(key.as_str(), flag(asked, key, &evaluation));
            }
        }
        None => {
            for (key, evaluation) in metrics.timed(view.evaluate_all(ctx, now)) {
                metrics.evaluated(asker.as_ref(), [Given::new(key.as_str(), &evaluation)]);
                flags.insert(key.as_str(), flag(asked, key.as_str(), &evaluation));
            }
        }
    }
    let warnings = warnings(view, ctx).collect();
    json(
        revision,
        &Evaluated {
            revision,
            flags,
            warnings,
        },
    )
}

/// What is odd about a context.
pub(super) fn warnings(view: &View, ctx: &Context) -> impl Iterator<Item = &'static str> {
    [
        view.tenant_unknown(ctx).then_some("TENANT_UNKNOWN"),
        view.unit_not_ascii(ctx).then_some("UNIT_NOT_ASCII"),
    ]
    .into_iter()
    .flatten()
}

fn flag<'a>(asked: &Asked<'_>, key: &str, evaluation: &Evaluation<'a>) -> Flag<'a> {
    let is_capped = asked.percent.is_some_and(|it| evaluation.is_capped(it));
    let explanation = || match asked.percent {
        Some(percent) => {
            let Asked { view, ctx, now, .. } = asked;
            view.explain_within(key, ctx, *now, percent)
        }
        None => asked.view.explain(key, asked.ctx, asked.now),
    };
    let reason = if is_capped {
        Reason::Split
    } else {
        evaluation.reason()
    };
    let variant = evaluation.variant().filter(|_| !is_capped);
    Flag {
        value: if is_capped {
            Some(&CAPPED)
        } else {
            evaluation.value()
        },
        variant: variant.map(plane_model::VariantName::as_str),
        reason: reason.as_str(),
        error_code: evaluation.error().map(plane_eval::ErrorCode::as_str),
        error_detail: evaluation.error_detail(),
        rule: evaluation.rule(),
        metadata: About {
            revision: evaluation.revision(),
            bucketing: evaluation.bucketing().as_str(),
            own: evaluation.metadata(),
        },
        explanation: asked.explain.then(explanation),
    }
}
