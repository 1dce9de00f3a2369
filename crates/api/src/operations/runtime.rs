//! What services ask at run time, views and streams, and the server itself.

use plane_model::Code;
use serde_json::{Map, Value};

use super::{AT, Operation, Query, Reply, get, json, post, text};
use crate::{
    AckReply, AckRequest, EffectiveReply, EvaluateReply, EvaluateRequest, ExplainReply,
    FlagUsageReply, HealthReply, KeysReply, ReadyReply, RevisionStatusReply, UsageReply,
    UsageRequest, ViewPartReply, ViewReply,
};

const TENANT: Query = text("tenant", "the tenant that asks");
const USER: Query = text("user", "the user that asks");
const SERVICE: Query = text("service", "the service that asks, as layers name it");
const WAIT: Query = Query {
    name: "wait",
    summary: "with If-None-Match: wait up to so many seconds, at most 60, for another view",
    kind: "integer",
    is_required: false,
};

const ON_DEMAND: Query = Query {
    name: "on_demand",
    summary: "leave out what is a tenant's own: name each part by its digest, to be read on demand",
    kind: "boolean",
    is_required: false,
};

const RESOLVE_CODES: &[Code] = &[
    Code::EnvironmentNotFound,
    Code::TenantNotFound,
    Code::AgentNotFound,
    Code::AgentKilled,
    Code::ChannelNotFound,
    Code::VersionNotFound,
    Code::VersionRevoked,
    Code::VersionQuarantined,
    Code::ManifestMissing,
    Code::DigestMismatch,
    Code::SignatureInvalid,
    Code::ContextInvalid,
];

pub(super) fn runtime_operations(table: &mut Vec<Operation>) {
    let environment = "/v1/environments/{environment}";
    let resolve = format!("{environment}/agents/{{agent}}/resolve");
    let summary =
        "Says which version of an agent holds now, with which tools, prompt and parameters.";
    table.push(
        post("resolve", &resolve, "runtime", summary)
            .query(&[AT])
            .request(json::<Map<String, Value>>)
            .reply(Reply::External("Resolved"))
            .codes(RESOLVE_CODES)
            .codes(&[Code::RevisionNotFound]),
    );
    table.push(
        get("getResolved", &resolve, "runtime", summary)
            .query(&[TENANT, USER, AT])
            .reply(Reply::External("Resolved"))
            .codes(RESOLVE_CODES)
            .codes(&[Code::RevisionNotFound]),
    );
    table.push(
        post(
            "evaluate",
            &format!("{environment}/evaluate"),
            "runtime",
            "Says what flags are for a context.",
        )
        .query(&[AT])
        .request(json::<EvaluateRequest>)
        .reply(Reply::Json(json::<EvaluateReply>))
        .codes(&[
            Code::EnvironmentNotFound,
            Code::TenantNotFound,
            Code::ContextInvalid,
            Code::RevisionNotFound,
        ]),
    );
    let config = format!("{environment}/config/{{document}}");
    let config_codes = &[
        Code::EnvironmentNotFound,
        Code::TenantNotFound,
        Code::ConfigNotFound,
        Code::ContextInvalid,
        Code::RevisionNotFound,
    ];
    table.push(
        get(
            "getEffectiveConfig",
            &format!("{config}/effective"),
            "runtime",
            "Reads a config document with all its layers merged.",
        )
        .query(&[TENANT, USER, SERVICE, AT])
        .reply(Reply::Json(json::<EffectiveReply>))
        .codes(config_codes),
    );
    let path = Query {
        is_required: true,
        ..text("path", "the value, such as `url` or `pool.size`")
    };
    table.push(
        get(
            "explainConfig",
            &format!("{config}/explain"),
            "runtime",
            "Says where a value of a config document comes from.",
        )
        .query(&[path, TENANT, USER, SERVICE, AT])
        .reply(Reply::Json(json::<ExplainReply>))
        .codes(config_codes),
    );
    table.push(
        get(
            "getView",
            &format!("{environment}/view"),
            "delivery",
            "Reads everything of an environment that the token covers.",
        )
        .query(&[WAIT, ON_DEMAND])
        .reply(Reply::Json(json::<ViewReply>))
        .codes(&[Code::EnvironmentNotFound]),
    );
    table.push(
        get(
            "getViewPart",
            &format!("{environment}/view/tenants/{{tenant}}"),
            "delivery",
            "Reads the part of a view that is a tenant's own.",
        )
        .reply(Reply::Json(json::<ViewPartReply>))
        .codes(&[Code::EnvironmentNotFound, Code::TenantNotFound]),
    );
    table.push(
        get(
            "getStream",
            &format!("{environment}/stream"),
            "delivery",
            "Follows the changes of an environment as server-sent events.",
        )
        .reply(Reply::Events)
        .codes(&[Code::EnvironmentNotFound, Code::Overloaded]),
    );
    table.push(
        get(
            "getKeys",
            "/v1/keys",
            "delivery",
            "Reads the public keys that views are signed with.",
        )
        .reply(Reply::Json(json::<KeysReply>)),
    );
    table.push(
        post(
            "acknowledge",
            &format!("{environment}/acks"),
            "delivery",
            "Takes down which revision an instance of a service holds.",
        )
        .request(json::<AckRequest>)
        .reply(Reply::Json(json::<AckReply>))
        .codes(&[
            Code::EnvironmentNotFound,
            Code::FieldInvalid,
            Code::LimitExceeded,
        ]),
    );
    table.push(
        post(
            "reportUsage",
            &format!("{environment}/usage"),
            "delivery",
            "Takes down how often an instance of a service has evaluated flags.",
        )
        .request(json::<UsageRequest>)
        .reply(Reply::Json(json::<UsageReply>))
        .codes(&[
            Code::EnvironmentNotFound,
            Code::FieldInvalid,
            Code::LimitExceeded,
            Code::StoreUnavailable,
        ]),
    );
    table.push(
        get(
            "getFlagUsage",
            "/v1/flags/{flag}/usage",
            "delivery",
            "Says which services and versions evaluate a flag, to which variants, and when last.",
        )
        .query(&[text("environment", "only this environment")])
        .reply(Reply::Json(json::<FlagUsageReply>))
        .codes(&[
            Code::EnvironmentNotFound,
            Code::NotFound,
            Code::StoreUnavailable,
        ]),
    );
    table.push(
        get(
            "getRevisionStatus",
            "/v1/revisions/{revision}/status",
            "delivery",
            "Says how far a revision has come: who serves it, who rejected it and why, who lags.",
        )
        .query(&[text("environment", "only this environment")])
        .reply(Reply::Json(json::<RevisionStatusReply>))
        .codes(&[Code::EnvironmentNotFound, Code::RevisionNotFound]),
    );
}

pub(super) fn server_operations(table: &mut Vec<Operation>) {
    table.push(
        get(
            "getOpenApi",
            "/v1/openapi.json",
            "server",
            "Reads this document.",
        )
        .open()
        .reply(Reply::OpenApi),
    );
    table.push(
        get(
            "getHealth",
            "/healthz",
            "server",
            "Says that the process runs.",
        )
        .open()
        .reply(Reply::Json(json::<HealthReply>)),
    );
    table.push(
        get(
            "getReadiness",
            "/readyz",
            "server",
            "Says whether the node serves what the log says.",
        )
        .open()
        .reply(Reply::Json(json::<ReadyReply>)),
    );
    table.push(
        get(
            "getMetrics",
            "/metrics",
            "server",
            "Reads the metrics in the Prometheus text format.",
        )
        .open()
        .reply(Reply::Metrics),
    );
}
