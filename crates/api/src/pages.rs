//! The pages about error codes, as they stand in `docs/errors`.

use plane_model::Code;

macro_rules! pages {
    ($($variant:ident = $page:literal,)*) => {
        /// The page about a code: what it means, why, and what to do, in Markdown.
        pub const fn explain(code: Code) -> &'static str {
            match code {
                $(Code::$variant => {
                    include_str!(concat!("../../../docs/errors/", $page, ".md"))
                })*
            }
        }
    };
}

pages! {
    RequestInvalid = "REQUEST_INVALID",
    RequestTooLarge = "REQUEST_TOO_LARGE",
    UriTooLong = "URI_TOO_LONG",
    HeadersTooLarge = "HEADERS_TOO_LARGE",
    RateLimited = "RATE_LIMITED",
    RouteNotFound = "ROUTE_NOT_FOUND",
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    RequestTimeout = "REQUEST_TIMEOUT",
    MediaTypeUnsupported = "MEDIA_TYPE_UNSUPPORTED",
    Unauthenticated = "UNAUTHENTICATED",
    Forbidden = "FORBIDDEN",
    NotFound = "NOT_FOUND",
    PreconditionRequired = "PRECONDITION_REQUIRED",
    RevisionConflict = "REVISION_CONFLICT",
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
    RevisionNotFound = "REVISION_NOT_FOUND",
    RevisionNotReached = "REVISION_NOT_REACHED",
    Overloaded = "OVERLOADED",
    StoreUnavailable = "STORE_UNAVAILABLE",
    StoreFull = "STORE_FULL",
    LogDiverged = "LOG_DIVERGED",
    Internal = "INTERNAL",
    TextInvalid = "TEXT_INVALID",
    TextTooLarge = "TEXT_TOO_LARGE",
    NameInvalid = "NAME_INVALID",
    NameCollision = "NAME_COLLISION",
    KindUnknown = "KIND_UNKNOWN",
    FieldUnknown = "FIELD_UNKNOWN",
    FieldMissing = "FIELD_MISSING",
    FieldInvalid = "FIELD_INVALID",
    LimitExceeded = "LIMIT_EXCEEDED",
    ReferenceMissing = "REFERENCE_MISSING",
    ReferenceInUse = "REFERENCE_IN_USE",
    ReferenceCycle = "REFERENCE_CYCLE",
    Immutable = "IMMUTABLE",
    CommandRequired = "COMMAND_REQUIRED",
    CommitEmpty = "COMMIT_EMPTY",
    DocumentRepeated = "DOCUMENT_REPEATED",
    ProtectionUnavailable = "PROTECTION_UNAVAILABLE",
    LastAdmin = "LAST_ADMIN",
    NotRevertible = "NOT_REVERTIBLE",
    VariantUnknown = "VARIANT_UNKNOWN",
    VariantTypeMismatch = "VARIANT_TYPE_MISMATCH",
    SplitInvalid = "SPLIT_INVALID",
    ExpressionInvalid = "EXPRESSION_INVALID",
    OverrideRefused = "OVERRIDE_REFUSED",
    OverrideConflict = "OVERRIDE_CONFLICT",
    FlagNotFound = "FLAG_NOT_FOUND",
    ConfigInvalid = "CONFIG_INVALID",
    SchemaInvalid = "SCHEMA_INVALID",
    LayerNotAllowed = "LAYER_NOT_ALLOWED",
    ConfigNotFound = "CONFIG_NOT_FOUND",
    ChecksumMismatch = "CHECKSUM_MISMATCH",
    SignatureMissing = "SIGNATURE_MISSING",
    SignatureInvalid = "SIGNATURE_INVALID",
    TrustMissing = "TRUST_MISSING",
    VersionExists = "VERSION_EXISTS",
    VersionInvalid = "VERSION_INVALID",
    DependencyUnsatisfied = "DEPENDENCY_UNSATISFIED",
    GovernanceChange = "GOVERNANCE_CHANGE",
    KeyInvalid = "KEY_INVALID",
    KeyExpired = "KEY_EXPIRED",
    KeyRevoked = "KEY_REVOKED",
    EnvironmentNotFound = "ENVIRONMENT_NOT_FOUND",
    AgentNotFound = "AGENT_NOT_FOUND",
    AgentKilled = "AGENT_KILLED",
    ChannelNotFound = "CHANNEL_NOT_FOUND",
    VersionNotFound = "VERSION_NOT_FOUND",
    VersionRevoked = "VERSION_REVOKED",
    VersionQuarantined = "VERSION_QUARANTINED",
    ManifestMissing = "MANIFEST_MISSING",
    DigestMismatch = "DIGEST_MISMATCH",
    TenantNotFound = "TENANT_NOT_FOUND",
    ContextInvalid = "CONTEXT_INVALID",
    SdkUrlMissing = "SDK_URL_MISSING",
    SdkEnvironmentMissing = "SDK_ENVIRONMENT_MISSING",
    SdkSettingsInvalid = "SDK_SETTINGS_INVALID",
    SdkNotReady = "SDK_NOT_READY",
    TenantNotLoaded = "TENANT_NOT_LOADED",
    SdkClosed = "SDK_CLOSED",
    ServerUnreachable = "SERVER_UNREACHABLE",
    TreeInvalid = "TREE_INVALID",
    ViewInvalid = "VIEW_INVALID",
    LogForked = "LOG_FORKED",
    ViewUnverified = "VIEW_UNVERIFIED",
    ServerKeyUntrusted = "SERVER_KEY_UNTRUSTED",
    HeadExpired = "HEAD_EXPIRED",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_what_why_and_what_to_do() {
        for code in Code::ALL {
            let page = explain(*code);
            assert!(page.starts_with(&format!("# {code}\n")), "{code}");
            for section in ["What", "Why", "What to do"] {
                let heading = format!("\n## {section}\n\n");
                let text = page.split(&heading).nth(1).unwrap_or_default();
                let first = text.lines().next().unwrap_or_default();
                assert!(
                    !first.is_empty() && !first.starts_with('#'),
                    "{code}: {section}"
                );
            }
        }
    }
}
