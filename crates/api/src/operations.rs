//! Every endpoint, in one table.

mod ofrep;
mod runtime;
mod table;

use std::sync::LazyLock;

use plane_model::Code;
use schemars::{JsonSchema, Schema, SchemaGenerator};

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
    /// Server-sent events as OFREP has them.
    OfrepEvents,
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

/// How an endpoint tells errors, and so which protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// This API's own: problems.
    Problems,
    /// OFREP, which also takes tokens as `X-API-Key`, and is open to tokens of the kind `client`.
    Ofrep,
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
    /// How it tells errors.
    pub dialect: Dialect,
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
const IMPACT_TENANTS: Query = Query {
    name: "impact_tenants",
    summary: "with dry_run: how many tenants to name for each way in which something would change, 0 to 10000; 5 if absent",
    kind: "integer",
    is_required: false,
};
const REASON: Query = text("reason", "why, for those who read the log later");
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
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::RateLimited,
    Code::Overloaded,
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

/// Codes that every operation with a name in its path may answer with.
const NAME_CODES: &[Code] = &[Code::NameInvalid, Code::VersionInvalid];

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
    Code::ReferenceCycle,
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

/// All operations, in the order in which the `OpenAPI` document lists them.
pub fn operations() -> &'static [Operation] {
    static TABLE: LazyLock<Vec<Operation>> = LazyLock::new(table::table);
    &TABLE
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
        dialect: Dialect::Problems,
        query: Vec::new(),
        is_conditional: false,
        is_write: false,
        request: None,
        reply: Reply::OpenApi,
        codes: COMMON_CODES.iter().chain(TOKEN_CODES).copied().collect(),
    }
    .codes(if path.contains('{') { NAME_CODES } else { &[] })
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
        self.query(&[DRY_RUN, IMPACT_TENANTS, REASON])
            .codes(WRITE_CODES)
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

    fn ofrep(mut self) -> Self {
        self.dialect = Dialect::Ofrep;
        // The environment comes by name, and there is nothing else that could not be found.
        self.codes.retain(|code| *code != Code::NotFound);
        self.codes(&[Code::EnvironmentNotFound])
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
