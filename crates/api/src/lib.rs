//! What goes over HTTP: wire types, problems, the table of operations and the `OpenAPI` document.
//!
//! It must never do I/O or decide anything about documents: it says what a request and a reply look
//! like. Server, command line and SDKs read and write these types and no others.
//!
//! Start reading at [`operations()`] (every endpoint in one table), then [`Problem`] (every error)
//! and [`openapi()`] (the table as `OpenAPI` 3.1). The wire types are re-exported here.
//!
//! INVARIANT: an endpoint that is not in the table of operations does not exist: the server's router
//! and the `OpenAPI` document are both made from it.

mod access;
mod commits;
mod documents;
mod history;
mod impact;
mod instances;
mod ofrep;
mod openapi;
pub mod operations;
mod pages;
mod problem;
mod registry;
mod runtime;
mod stale;
mod trees;
mod usage;
mod uses;
mod view;

pub use access::{TokenReply, TokenRequest, Whoami};
pub use commits::{
    CommitReply, CommitRequest, Committed, Difference, Effect, OpChange, OpRequest, Plan, Planned,
    PlannedChange, PublishReply, Receipt, RevertReply, RevertRequest,
};
pub use documents::{BucketingRequest, ConfigSummary, DocumentName, DocumentReply, List};
pub use history::{CommitRecord, CommitRecordOp, RecordReply};
pub use impact::{
    AgentImpact, AgentShift, ConfigImpact, FlagImpact, FlagShift, Given, Impact, Offered,
    UnitImpact, UnitShift,
};
pub use instances::{
    AckProblem, AckReply, AckRequest, AckState, AgentContract, Contract, InstanceCounts,
    InstanceStatus, PlannedBreach, PlannedInstances, PlannedRejection, RevisionStatusReply,
    ServiceStatus,
};
pub use ofrep::{
    OfrepEndpoint, OfrepEvent, OfrepEventStream, OfrepFailure, OfrepFlag, OfrepFlags, OfrepRequest,
    OfrepResult, ofrep_error_code, ofrep_status,
};
pub use openapi::{External, openapi};
pub use operations::{Operation, operations};
pub use pages::explain;
pub use problem::{Finding, Problem, is_retryable, is_sent, status, title};
pub use registry::{ArtifactSummary, SignatureReply, SignatureState, VersionReply, VersionSummary};
pub use runtime::{
    EffectiveReply, EvaluateReply, EvaluateRequest, ExplainReply, FlagMetadata, FlagReply,
    HealthReply, ReadyReply, ShadowedValue,
};
pub use stale::{StaleFinding, StaleFlag, StaleRule};
pub use trees::{TreeDocument, TreeReply, TreeRequest, TreesReply};
pub use usage::{FlagUsage, FlagUsageReply, UsageCount, UsageReply, UsageRequest};
pub use uses::{Use, UsesReply};
pub use view::{
    AlertEvent, AlertRule, AlertSeverity, BookmarkEvent, ChangeEvent, GoawayEvent, KeysReply,
    RefetchEvent, ServerKey, Signed, VIEW_FORMAT, ViewChange, ViewDocument, ViewPartReply,
    ViewReply,
};

/// Names of the headers that are this API's own.
pub mod headers {
    /// On every reply: the revision that the node had applied.
    pub const REVISION: &str = "control-plane-revision";
    /// On a request: wait for at least this revision.
    pub const MIN_REVISION: &str = "control-plane-min-revision";
    /// On a request that writes: why, percent-encoded UTF-8.
    pub const REASON: &str = "control-plane-reason";
    /// On a request that writes: the key that makes a repeated request one commit.
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// On a view, and on the reply that says that it is unchanged: its signed head, as JSON.
    pub const HEAD: &str = "control-plane-head";
    /// On a request by OFREP: the environment, where neither path nor token says it.
    pub const ENVIRONMENT: &str = "control-plane-environment";
    /// On a request by OFREP: a token, as `Authorization` carries it elsewhere.
    pub const API_KEY: &str = "x-api-key";
    /// On requests and replies: names the request in logs.
    pub const REQUEST_ID: &str = "x-request-id";
}
