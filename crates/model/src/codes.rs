//! Every error code of the product: never renamed, never reused, each with a page in `docs/errors`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// A stable error code.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            schemars::JsonSchema,
        )]
        pub enum Code {
            $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// All codes, in the order of their declaration.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as it stands in problems, logs and docs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// One sentence about the code.
            pub const fn summary(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),*),)* }
            }
        }
    };
}

codes! {
    // Requests
    /// The request is not well formed.
    RequestInvalid = "REQUEST_INVALID",
    /// The request's body or a part of it is larger than its limit.
    RequestTooLarge = "REQUEST_TOO_LARGE",
    /// The path and query are longer than their limit.
    UriTooLong = "URI_TOO_LONG",
    /// The headers are larger than their limit.
    HeadersTooLarge = "HEADERS_TOO_LARGE",
    /// The token or the address is used for more requests a second than its limit.
    RateLimited = "RATE_LIMITED",
    /// The path or the method does not exist in this API.
    RouteNotFound = "ROUTE_NOT_FOUND",
    /// The path exists, but not with this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The request took longer than its limit.
    RequestTimeout = "REQUEST_TIMEOUT",
    /// The body is not in a media type that this endpoint reads.
    MediaTypeUnsupported = "MEDIA_TYPE_UNSUPPORTED",
    /// No token, or one that is malformed, unknown, revoked or expired.
    Unauthenticated = "UNAUTHENTICATED",
    /// The token is known, but its role does not allow this.
    Forbidden = "FORBIDDEN",
    /// What was asked for does not exist, or the token may not know of it.
    NotFound = "NOT_FOUND",
    /// An update came without the revision that it is based on.
    PreconditionRequired = "PRECONDITION_REQUIRED",
    /// The document changed since the revision that the update is based on.
    RevisionConflict = "REVISION_CONFLICT",
    /// The same idempotency key came with another request.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
    /// The revision or time is not in the log.
    RevisionNotFound = "REVISION_NOT_FOUND",
    /// The node has not reached the revision that the request asks for.
    RevisionNotReached = "REVISION_NOT_REACHED",
    /// The writers' queue is full, or the node serves as many streams or connections as it can.
    Overloaded = "OVERLOADED",
    /// The store cannot take writes now; reads go on.
    StoreUnavailable = "STORE_UNAVAILABLE",
    /// The disk under the data directory is full; reads go on.
    StoreFull = "STORE_FULL",
    /// The log and the state disagree; the node has halted its writes.
    LogDiverged = "LOG_DIVERGED",
    /// Something failed inside; the log of the server has the details under the request's id.
    Internal = "INTERNAL",

    // Text
    /// The text is not valid JSON or YAML, or uses a feature that is refused.
    TextInvalid = "TEXT_INVALID",
    /// The text is larger or deeper than its limit.
    TextTooLarge = "TEXT_TOO_LARGE",

    // Documents
    /// A name does not obey the rules for names of its kind.
    NameInvalid = "NAME_INVALID",
    /// A name differs from an existing one only in case.
    NameCollision = "NAME_COLLISION",
    /// The kind of document is not known here.
    KindUnknown = "KIND_UNKNOWN",
    /// A field is not known in this place.
    FieldUnknown = "FIELD_UNKNOWN",
    /// A field that is required is missing.
    FieldMissing = "FIELD_MISSING",
    /// A field's value has the wrong type or form.
    FieldInvalid = "FIELD_INVALID",
    /// A limit of the product is exceeded.
    LimitExceeded = "LIMIT_EXCEEDED",
    /// A document refers to another that does not exist.
    ReferenceMissing = "REFERENCE_MISSING",
    /// Documents refer to each other in a circle.
    ReferenceCycle = "REFERENCE_CYCLE",
    /// A document cannot be deleted while another refers to it.
    ReferenceInUse = "REFERENCE_IN_USE",
    /// A published document cannot be changed.
    Immutable = "IMMUTABLE",
    /// The change is made by a command of its own, not by writing the document.
    CommandRequired = "COMMAND_REQUIRED",
    /// The commit holds no change.
    CommitEmpty = "COMMIT_EMPTY",
    /// The same document occurs twice in one commit.
    DocumentRepeated = "DOCUMENT_REPEATED",
    /// A protected environment needs approvals, which this version does not have.
    ProtectionUnavailable = "PROTECTION_UNAVAILABLE",
    /// Nobody could administer the control plane any more.
    LastAdmin = "LAST_ADMIN",
    /// The commit cannot be reverted, wholly or in the part named.
    NotRevertible = "NOT_REVERTIBLE",

    // Flags
    /// A variant is not one of the flag's.
    VariantUnknown = "VARIANT_UNKNOWN",
    /// A variant's value does not have the flag's type.
    VariantTypeMismatch = "VARIANT_TYPE_MISMATCH",
    /// A split is not well formed: over 100 %, overlapping or out of range.
    SplitInvalid = "SPLIT_INVALID",
    /// A targeting expression is not well formed.
    ExpressionInvalid = "EXPRESSION_INVALID",
    /// An override's patch touches a path that is not overridable or leaves its bounds.
    OverrideRefused = "OVERRIDE_REFUSED",
    /// Two flags override the same path at the same priority.
    OverrideConflict = "OVERRIDE_CONFLICT",
    /// The flag is not known in this environment.
    FlagNotFound = "FLAG_NOT_FOUND",

    // Configuration
    /// An effective config document does not match its schema.
    ConfigInvalid = "CONFIG_INVALID",
    /// The schema is not a valid JSON Schema, or uses a feature that is refused.
    SchemaInvalid = "SCHEMA_INVALID",
    /// A layer sets a path that the schema does not let it set.
    LayerNotAllowed = "LAYER_NOT_ALLOWED",
    /// The config document or path does not exist.
    ConfigNotFound = "CONFIG_NOT_FOUND",

    // Registry
    /// The manifest's checksum is not the one of its canonical form.
    ChecksumMismatch = "CHECKSUM_MISMATCH",
    /// The signature is missing where the namespace requires one.
    SignatureMissing = "SIGNATURE_MISSING",
    /// The signature is malformed, by an unknown key, or over other bytes.
    SignatureInvalid = "SIGNATURE_INVALID",
    /// The namespace has no trusted keys.
    TrustMissing = "TRUST_MISSING",
    /// The version is published already, with other content.
    VersionExists = "VERSION_EXISTS",
    /// The version is not strict semver, or the range is not one that is understood.
    VersionInvalid = "VERSION_INVALID",
    /// A dependency has no version that satisfies its requirement.
    DependencyUnsatisfied = "DEPENDENCY_UNSATISFIED",
    /// Only what a status governs differs from the published version: `deprecated` or `changelog`.
    GovernanceChange = "GOVERNANCE_CHANGE",
    /// A public key is malformed, weak or listed twice.
    KeyInvalid = "KEY_INVALID",
    /// The key that signed has expired.
    KeyExpired = "KEY_EXPIRED",
    /// The key that signed is revoked.
    KeyRevoked = "KEY_REVOKED",

    // Resolve
    /// The environment does not exist.
    EnvironmentNotFound = "ENVIRONMENT_NOT_FOUND",
    /// The agent does not exist.
    AgentNotFound = "AGENT_NOT_FOUND",
    /// The agent is killed and names no fallback.
    AgentKilled = "AGENT_KILLED",
    /// The agent has no channel in the environment.
    ChannelNotFound = "CHANNEL_NOT_FOUND",
    /// The version that a channel or pin names is not published.
    VersionNotFound = "VERSION_NOT_FOUND",
    /// The version is revoked.
    VersionRevoked = "VERSION_REVOKED",
    /// The version is quarantined.
    VersionQuarantined = "VERSION_QUARANTINED",
    /// The manifest's or the lock's bytes are not held here.
    ManifestMissing = "MANIFEST_MISSING",
    /// The bytes held do not match the digest that names them.
    DigestMismatch = "DIGEST_MISMATCH",
    /// The tenant is not known, or is outside the token.
    TenantNotFound = "TENANT_NOT_FOUND",
    /// The evaluation context is not well formed or too large.
    ContextInvalid = "CONTEXT_INVALID",

    // In-process clients
    /// Nobody said where the control plane is.
    SdkUrlMissing = "SDK_URL_MISSING",
    /// Nobody said which environment to read.
    SdkEnvironmentMissing = "SDK_ENVIRONMENT_MISSING",
    /// A setting of the client cannot be used.
    SdkSettingsInvalid = "SDK_SETTINGS_INVALID",
    /// The client has no view yet, neither from a server nor kept from earlier.
    SdkNotReady = "SDK_NOT_READY",
    /// The client holds tenants on demand, and what this one has of its own is not to be had.
    TenantNotLoaded = "TENANT_NOT_LOADED",
    /// The client was used after it was closed.
    SdkClosed = "SDK_CLOSED",
    /// No server answers at the addresses that the client has.
    ServerUnreachable = "SERVER_UNREACHABLE",
    /// The local tree that is read in place of a server has mistakes.
    TreeInvalid = "TREE_INVALID",
    /// What a server, a proxy or a file gave is not a view that can be served.
    ViewInvalid = "VIEW_INVALID",
    /// A server tells another past than the one that the client holds.
    LogForked = "LOG_FORKED",
    /// What was delivered is not what a server signed: it was altered on its way, or came without a signature.
    ViewUnverified = "VIEW_UNVERIFIED",
    /// What was delivered is signed by a key that is not trusted.
    ServerKeyUntrusted = "SERVER_KEY_UNTRUSTED",
    /// A server answers, but what it vouches for is too old: there may be news that does not get through.
    HeadExpired = "HEAD_EXPIRED",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or(())
    }
}
