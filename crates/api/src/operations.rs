//! Every endpoint, in one table.

use std::sync::LazyLock;

use plane_model::{Code, documents};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::{
    ArtifactSummary, CommitRecord, CommitReply, CommitRequest, ConfigSummary, DocumentReply,
    EffectiveReply, EvaluateReply, EvaluateRequest, ExplainReply, HealthReply, List, PublishReply,
    ReadyReply, RecordReply, RevertReply, RevertRequest, TokenReply, TokenRequest, TreeReply,
    TreeRequest, TreesReply, VersionReply, VersionSummary, ViewReply, Whoami,
};

/// Makes the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An HTTP method that the API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Replaces or creates a document.
    Put,
    /// Gives a command or asks a question with a body.
    Post,
    /// Deletes a document.
    Delete,
}

impl Method {
    /// The method as it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub summary: &'static str,
    /// The type of its value: `string`, `integer` or `boolean`.
    pub kind: &'static str,
    /// Whether the request needs it.
    pub is_required: bool,
}

/// What a successful reply holds.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// JSON of this type.
    Json(SchemaOf),
    /// JSON of a type that the server names when it makes the `OpenAPI` document.
    External(&'static str),
    /// Server-sent events.
    Events,
    /// Text in the Prometheus format.
    Metrics,
    /// The `OpenAPI` document.
    OpenApi,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Anybody.
    Anybody,
    /// Whoever has a token.
    Token,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Names the operation in code that is made from the `OpenAPI` document.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: String,
    /// One sentence.
    pub summary: String,
    /// The group that it belongs to.
    pub tag: &'static str,
    /// Who may call it.
    pub caller: Caller,
    /// The query parameters that it knows; all others are refused.
    pub query: Vec<Query>,
    /// Whether it takes `If-Match` and `If-None-Match` as conditions of a write.
    pub is_conditional: bool,
    /// Whether it writes, and so takes `Idempotency-Key`.
    pub is_write: bool,
    /// The JSON body that it reads.
    pub request: Option<SchemaOf>,
    /// What it answers.
    pub reply: Reply,
    /// The codes that it may answer with, beside those that every operation has.
    pub codes: Vec<Code>,
}

const AT: Query = text("at", "read the past: a revision, or a time as RFC 3339");
const LIMIT: Query = Query {
    name: "limit",
    summary: "items per page, 1 to 1000; 100 if absent",
    kind: "integer",
    is_required: false,
};
const CURSOR: Query = text(
    "cursor",
    "where the page begins: `next_cursor` of the page before",
);
const DRY_RUN: Query = Query {
    name: "dry_run",
    summary: "true: answer with the plan and write nothing",
    kind: "boolean",
    is_required: false,
};
const REASON: Query = text("reason", "why, for those who read the log later");
const TENANT: Query = text("tenant", "the tenant that asks");
const USER: Query = text("user", "the user that asks");
const SERVICE: Query = text("service", "the service that asks, as layers name it");
const WAIT: Query = Query {
    name: "wait",
    summary: "with If-None-Match: wait up to so many seconds, at most 60, for another view",
    kind: "integer",
    is_required: false,
};

const fn text(name: &'static str, summary: &'static str) -> Query {
    Query {
        name,
        summary,
        kind: "string",
        is_required: false,
    }
}

/// Codes that every operation may answer with.
pub const COMMON_CODES: &[Code] = &[
    Code::RequestInvalid,
    Code::RequestTooLarge,
    Code::RequestTimeout,
    Code::RouteNotFound,
    Code::MethodNotAllowed,
    Code::Internal,
];

/// Codes that every operation with a token may answer with.
pub const TOKEN_CODES: &[Code] = &[
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::RevisionNotReached,
];

/// Codes that every operation that reads a JSON body may answer with.
pub const BODY_CODES: &[Code] = &[
    Code::MediaTypeUnsupported,
    Code::TextInvalid,
    Code::TextTooLarge,
    Code::FieldUnknown,
    Code::FieldMissing,
    Code::FieldInvalid,
];

/// Codes that every write may answer with.
const WRITE_CODES: &[Code] = &[
    Code::RevisionConflict,
    Code::IdempotencyKeyReused,
    Code::Overloaded,
    Code::StoreUnavailable,
    Code::StoreFull,
    Code::LogDiverged,
    Code::CommitEmpty,
    Code::CommandRequired,
    Code::LimitExceeded,
];

/// What is wrong with documents, whatever their kind.
const DOCUMENT_CODES: &[Code] = &[
    Code::NameInvalid,
    Code::NameCollision,
    Code::KindUnknown,
    Code::ReferenceMissing,
    Code::ReferenceInUse,
    Code::DocumentRepeated,
    Code::ProtectionUnavailable,
    Code::Immutable,
    Code::VariantUnknown,
    Code::VariantTypeMismatch,
    Code::SplitInvalid,
    Code::ExpressionInvalid,
    Code::OverrideRefused,
    Code::OverrideConflict,
    Code::ConfigInvalid,
    Code::SchemaInvalid,
    Code::LayerNotAllowed,
];

const REGISTRY_CODES: &[Code] = &[
    Code::ChecksumMismatch,
    Code::SignatureMissing,
    Code::SignatureInvalid,
    Code::TrustMissing,
    Code::VersionExists,
    Code::VersionInvalid,
    Code::VersionNotFound,
    Code::DependencyUnsatisfied,
    Code::GovernanceChange,
    Code::KeyInvalid,
    Code::KeyExpired,
    Code::KeyRevoked,
];

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

/// All operations, in the order in which the `OpenAPI` document lists them.
pub fn operations() -> &'static [Operation] {
    static TABLE: LazyLock<Vec<Operation>> = LazyLock::new(table);
    &TABLE
}

fn table() -> Vec<Operation> {
    let mut table = Vec::new();
    document_operations(&mut table);
    registry_operations(&mut table);
    command_operations(&mut table);
    runtime_operations(&mut table);
    server_operations(&mut table);
    table
}

fn document_operations(table: &mut Vec<Operation>) {
    Family::new(
        "Environment",
        "Environments",
        "environments",
        "/v1/environments",
        "{environment}",
    )
    .operations::<documents::Environment>(table);
    Family::new("Tenant", "Tenants", "tenants", "/v1/tenants", "{tenant}")
        .operations::<documents::Tenant>(table);
    Family::new("Segment", "Segments", "flags", "/v1/segments", "{segment}")
        .operations::<documents::Segment>(table);
    Family::new("Flag", "Flags", "flags", "/v1/flags", "{flag}")
        .operations::<documents::Flag>(table);
    Family::new(
        "Targeting",
        "Targetings",
        "flags",
        "/v1/environments/{environment}/targeting",
        "{flag}",
    )
    .operations::<documents::Targeting>(table);
    let tenant = "/v1/environments/{environment}/tenants/{tenant}";
    Family::new(
        "Pin",
        "Pins",
        "tenants",
        &format!("{tenant}/pins"),
        "{subject}",
    )
    .operations::<documents::Pin>(table);
    Family::new(
        "Kill",
        "Kills",
        "kills",
        "/v1/environments/{environment}/kills",
        "{subject}",
    )
    .kills(table);
    Family::new(
        "TenantKill",
        "TenantKills",
        "kills",
        &format!("{tenant}/kills"),
        "{subject}",
    )
    .kills(table);
    Family::new(
        "ConfigLayer",
        "ConfigLayers",
        "config",
        "/v1/config/{document}/layers",
        "{selector}",
    )
    .operations::<Map<String, Value>>(table);
    let schema = Family::new(
        "ConfigSchema",
        "",
        "config",
        "/v1/config/{document}",
        "schema",
    );
    schema.item_operations::<Value>(table);
    table.push(
        get(
            "listConfig",
            "/v1/config",
            "config",
            "Lists the config documents.",
        )
        .query(&[AT, LIMIT, CURSOR])
        .reply(Reply::Json(json::<List<ConfigSummary>>)),
    );
    Family::new(
        "Channel",
        "Channels",
        "registry",
        "/v1/environments/{environment}/channels",
        "{agent}",
    )
    .operations::<documents::Channel>(table);
    Family::new("Trust", "Trusts", "registry", "/v1/trust", "{namespace}")
        .operations::<documents::Trust>(table);
    Family::new(
        "RoleBinding",
        "RoleBindings",
        "access",
        "/v1/role-bindings",
        "{id}",
    )
    .operations::<documents::RoleBinding>(table);
}

fn registry_operations(table: &mut Vec<Operation>) {
    for (kind, kinds, one) in [("Agent", "agents", "an agent"), ("Tool", "tools", "a tool")] {
        let param = kind.to_ascii_lowercase();
        let all = format!("/v1/{kinds}");
        let versions = format!("{all}/{{{param}}}/versions");
        let version = format!("{versions}/{{version}}");
        table.push(
            get(
                &format!("list{kind}s"),
                &all,
                "registry",
                &format!("Lists the {kinds}, and finds them."),
            )
            .query(&[
                AT,
                LIMIT,
                CURSOR,
                text("q", "only those whose name or description has this text"),
                text("category", "only those of this category"),
                text("capability", "only those with this capability"),
                text("owner", "only those of this owner"),
                text("status", "only those with a version of this status"),
            ])
            .reply(Reply::Json(json::<List<ArtifactSummary>>)),
        );
        table.push(
            post(
                &format!("publish{kind}"),
                &all,
                "registry",
                &format!("Publishes a version of {one}."),
            )
            .write()
            .request(json::<Map<String, Value>>)
            .reply(Reply::Json(json::<PublishReply>))
            .codes(DOCUMENT_CODES)
            .codes(REGISTRY_CODES),
        );
        table.push(
            get(
                &format!("list{kind}Versions"),
                &versions,
                "registry",
                &format!("Lists the versions of {one}."),
            )
            .query(&[AT, LIMIT, CURSOR])
            .reply(Reply::Json(json::<List<VersionSummary>>))
            .codes(&[Code::VersionNotFound]),
        );
        table.push(
            get(
                &format!("get{kind}Version"),
                &version,
                "registry",
                &format!("Reads one version of {one}."),
            )
            .query(&[AT])
            .reply(Reply::Json(json::<VersionReply>))
            .codes(&[
                Code::VersionNotFound,
                Code::ManifestMissing,
                Code::DigestMismatch,
            ]),
        );
        table.push(
            put(
                &format!("put{kind}Version"),
                &version,
                "registry",
                &format!("Publishes this version of {one}."),
            )
            .write()
            .request(json::<Map<String, Value>>)
            .reply(Reply::Json(json::<PublishReply>))
            .codes(DOCUMENT_CODES)
            .codes(REGISTRY_CODES),
        );
        let family = Family::new(&format!("{kind}Status"), "", "registry", &version, "status");
        family.get_and_put::<documents::Status>(table);
    }
}

fn command_operations(table: &mut Vec<Operation>) {
    table.push(
        post(
            "commit",
            "/v1/commits",
            "commits",
            "Changes documents of any kinds, all or none.",
        )
        .write()
        .request(json::<CommitRequest>)
        .reply(Reply::Json(json::<CommitReply>))
        .codes(DOCUMENT_CODES)
        .codes(REGISTRY_CODES),
    );
    table.push(
        get(
            "listCommits",
            "/v1/commits",
            "commits",
            "Lists commits, the newest first.",
        )
        .query(&[
            text("since", "only from this revision or time on"),
            text("until", "only up to this revision or time"),
            text("actor", "only by this principal"),
            text("tenant", "only those that changed documents of this tenant"),
            text("kind", "only those that changed documents of this kind"),
            text("scope", "only those that changed documents of this scope"),
            text("name", "only those that changed documents of this name"),
            LIMIT,
            CURSOR,
        ])
        .reply(Reply::Json(json::<List<CommitRecord>>))
        .codes(&[Code::KindUnknown, Code::StoreUnavailable]),
    );
    table.push(
        get(
            "getCommit",
            "/v1/commits/{revision}",
            "commits",
            "Reads one commit and what it changed.",
        )
        .reply(Reply::Json(json::<RecordReply>))
        .codes(&[Code::RevisionNotFound, Code::StoreUnavailable]),
    );
    table.push(
        post(
            "revert",
            "/v1/reverts",
            "commits",
            "Puts documents back to what they were before commits.",
        )
        .write()
        .request(json::<RevertRequest>)
        .reply(Reply::Json(json::<RevertReply>))
        .codes(&[Code::NotRevertible, Code::RevisionNotFound])
        .codes(DOCUMENT_CODES)
        .codes(REGISTRY_CODES),
    );
    table.push(
        post(
            "applyTree",
            "/v1/trees",
            "trees",
            "Makes the documents be what a tree says.",
        )
        .write()
        .request(json::<TreeRequest>)
        .reply(Reply::Json(json::<TreeReply>))
        .codes(DOCUMENT_CODES)
        .codes(REGISTRY_CODES),
    );
    table.push(
        get(
            "exportTree",
            "/v1/trees",
            "trees",
            "Reads everything that a tree can hold.",
        )
        .query(&[AT])
        .reply(Reply::Json(json::<TreesReply>))
        .codes(&[Code::RevisionNotFound, Code::ManifestMissing]),
    );
    table.push(
        post(
            "createToken",
            "/v1/tokens",
            "access",
            "Makes a token; its text is in the reply only.",
        )
        .write()
        .without("dry_run")
        .request(json::<TokenRequest>)
        .reply(Reply::Json(json::<TokenReply>))
        .codes(DOCUMENT_CODES),
    );
    table.push(
        get(
            "listTokens",
            "/v1/tokens",
            "access",
            "Lists the tokens, without their secrets.",
        )
        .query(&[AT, LIMIT, CURSOR])
        .reply(Reply::Json(json::<List<DocumentReply<documents::Token>>>)),
    );
    table.push(
        delete(
            "deleteToken",
            "/v1/tokens/{id}",
            "access",
            "Withdraws a token, at once.",
        )
        .write()
        .reply(Reply::Json(json::<CommitReply>)),
    );
    table.push(
        get(
            "whoami",
            "/v1/whoami",
            "access",
            "Says who the caller is and what the token covers.",
        )
        .reply(Reply::Json(json::<Whoami>)),
    );
}

fn runtime_operations(table: &mut Vec<Operation>) {
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
        .query(&[WAIT])
        .reply(Reply::Json(json::<ViewReply>))
        .codes(&[Code::EnvironmentNotFound]),
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
}

fn server_operations(table: &mut Vec<Operation>) {
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

/// The operations of one kind of document.
struct Family {
    one: String,
    many: &'static str,
    tag: &'static str,
    collection: String,
    item: String,
}

impl Family {
    fn new(one: &str, many: &'static str, tag: &'static str, collection: &str, item: &str) -> Self {
        Self {
            one: one.to_owned(),
            many,
            tag,
            collection: collection.to_owned(),
            item: format!("{collection}/{item}"),
        }
    }

    /// What the documents are called in sentences.
    fn noun(&self) -> String {
        let mut noun = String::new();
        for character in self.one.chars() {
            if character.is_ascii_uppercase() && !noun.is_empty() {
                noun.push(' ');
            }
            noun.push(character.to_ascii_lowercase());
        }
        noun
    }

    fn operations<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        self.list::<T>(table);
        self.item_operations::<T>(table);
    }

    fn list<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        let summary = format!("Lists documents of the kind {}.", self.noun());
        table.push(
            get(
                &format!("list{}", self.many),
                &self.collection,
                self.tag,
                &summary,
            )
            .query(&[AT, LIMIT, CURSOR])
            .reply(Reply::Json(json::<List<DocumentReply<T>>>)),
        );
    }

    fn get<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        let summary = format!("Reads one {}.", self.noun());
        table.push(
            get(&format!("get{}", self.one), &self.item, self.tag, &summary)
                .query(&[AT])
                .reply(Reply::Json(json::<DocumentReply<T>>))
                .codes(&[Code::RevisionNotFound]),
        );
    }

    fn get_and_put<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        self.get::<T>(table);
        let summary = format!("Creates or replaces one {}.", self.noun());
        table.push(
            put(&format!("put{}", self.one), &self.item, self.tag, &summary)
                .write()
                .conditional()
                .request(json::<T>)
                .reply(Reply::Json(json::<CommitReply>))
                .codes(DOCUMENT_CODES)
                .codes(REGISTRY_CODES),
        );
    }

    fn item_operations<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        self.get_and_put::<T>(table);
        let summary = format!("Deletes one {}.", self.noun());
        table.push(
            delete(
                &format!("delete{}", self.one),
                &self.item,
                self.tag,
                &summary,
            )
            .write()
            .conditional()
            .reply(Reply::Json(json::<CommitReply>))
            .codes(DOCUMENT_CODES)
            .codes(REGISTRY_CODES),
        );
    }

    /// Kills are given and cleared without conditions: nothing may stand in their way.
    fn kills(&self, table: &mut Vec<Operation>) {
        self.list::<documents::Kill>(table);
        self.get::<documents::Kill>(table);
        let what = if self.one == "Kill" {
            "for everybody"
        } else {
            "for one tenant"
        };
        table.push(
            put(
                &format!("put{}", self.one),
                &self.item,
                self.tag,
                &format!("Stops a flag, an agent or a tool {what}."),
            )
            .write()
            .request(json::<documents::Kill>)
            .reply(Reply::Json(json::<CommitReply>))
            .codes(DOCUMENT_CODES)
            .codes(&[Code::VersionNotFound]),
        );
        table.push(
            delete(
                &format!("delete{}", self.one),
                &self.item,
                self.tag,
                &format!("Revives what was stopped {what}."),
            )
            .write()
            .reply(Reply::Json(json::<CommitReply>)),
        );
    }
}

fn get(id: &str, path: &str, tag: &'static str, summary: &str) -> Operation {
    operation(Method::Get, id, path, tag, summary)
}

fn put(id: &str, path: &str, tag: &'static str, summary: &str) -> Operation {
    operation(Method::Put, id, path, tag, summary)
}

fn post(id: &str, path: &str, tag: &'static str, summary: &str) -> Operation {
    operation(Method::Post, id, path, tag, summary)
}

fn delete(id: &str, path: &str, tag: &'static str, summary: &str) -> Operation {
    operation(Method::Delete, id, path, tag, summary)
}

fn operation(method: Method, id: &str, path: &str, tag: &'static str, summary: &str) -> Operation {
    Operation {
        id: id.to_owned(),
        method,
        path: path.to_owned(),
        summary: summary.to_owned(),
        tag,
        caller: Caller::Token,
        query: Vec::new(),
        is_conditional: false,
        is_write: false,
        request: None,
        reply: Reply::OpenApi,
        codes: COMMON_CODES.iter().chain(TOKEN_CODES).copied().collect(),
    }
}

/// Makes the schema of `T`, by reference to a component where it has a name.
fn json<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Operation {
    /// The names of the parameters in the path, in their order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| {
            part.strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'))
        })
    }

    fn query(mut self, query: &[Query]) -> Self {
        self.query.extend_from_slice(query);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.query.retain(|query| query.name != name);
        self
    }

    fn write(mut self) -> Self {
        self.is_write = true;
        self.query(&[DRY_RUN, REASON]).codes(WRITE_CODES)
    }

    fn conditional(mut self) -> Self {
        self.is_conditional = true;
        self.codes(&[Code::PreconditionRequired])
    }

    fn open(mut self) -> Self {
        self.caller = Caller::Anybody;
        self.codes.retain(|code| !TOKEN_CODES.contains(code));
        self
    }

    fn request(mut self, schema: SchemaOf) -> Self {
        self.request = Some(schema);
        self.codes(BODY_CODES)
    }

    fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    fn codes(mut self, codes: &[Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self.codes.sort();
        self.codes.dedup();
        self
    }
}
