//! Tokens, and who the caller is.

use plane_model::documents::{Allowed, Role, TokenKind};
use plane_model::{EnvironmentName, PrincipalId, TenantId, Timestamp, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DocumentReply;

/// Asks for a new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRequest {
    /// Who will act with it.
    pub principal: PrincipalId,
    /// What it will be used by.
    pub kind: TokenKind,
    /// What it may do; without it, what the bindings of its principal say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where; `all` if absent.
    #[serde(default)]
    pub environments: Allowed<EnvironmentName>,
    /// For which tenants; `all` if absent.
    #[serde(default)]
    pub tenants: Allowed<TenantId>,
    /// When it stops working; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A new token. Its text is in this reply and nowhere else.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenReply {
    /// Names the token; `DELETE /v1/tokens/{id}` withdraws it.
    pub id: TokenId,
    /// The token itself: keep it, it is not shown again.
    pub token: String,
    /// What is stored of it, without its digest.
    pub document: DocumentReply,
}

impl std::fmt::Debug for TokenReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReply")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who the caller is, and what the token covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// Who acts.
    pub principal: PrincipalId,
    /// The token in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The largest role that it has anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The environments that it covers.
    pub environments: Vec<EnvironmentName>,
    /// Whether it covers all tenants somewhere.
    pub all_tenants: bool,
    /// The tenant that holds where a request names none, if the token is for exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}
