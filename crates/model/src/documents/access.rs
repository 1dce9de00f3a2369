//! Who may do what: tokens, roles and role bindings.

use serde::{Deserialize, Serialize};

use super::check_prose;
use crate::{
    Code, Digest, EnvironmentName, PrincipalId, TenantId, Timestamp, Violation, Violations,
};

/// What a principal may do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read everything but tokens and bindings.
    Viewer,
    /// Also approve; this version has nothing to approve yet.
    Approver,
    /// Read, and write flags, configuration, tenants, segments, manifests and their status; kill and revive.
    Editor,
    /// What an editor may, and channels and pins of agents.
    Releaser,
    /// Everything: also environments, trust, tokens and bindings.
    Admin,
}

impl Role {
    /// All roles, from the least to the most.
    pub const ALL: &'static [Self] = &[
        Self::Viewer,
        Self::Approver,
        Self::Editor,
        Self::Releaser,
        Self::Admin,
    ];

    /// The role as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Editor => "editor",
            Self::Releaser => "releaser",
            Self::Admin => "admin",
        }
    }
}

/// What a grant is limited to: all there are, or those named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "`all` or a list of names")]
pub enum Allowed<T> {
    /// The word `all`.
    All(super::flag::All),
    /// These.
    Only(Vec<T>),
}

impl<T: PartialEq> Allowed<T> {
    /// All there are.
    pub const ALL: Self = Self::All(super::flag::All::All);

    /// Says whether `one` is allowed.
    pub fn has(&self, one: &T) -> bool {
        match self {
            Self::All(_) => true,
            Self::Only(list) => list.contains(one),
        }
    }

    /// Says whether all are allowed.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All(_))
    }
}

impl<T> Default for Allowed<T> {
    fn default() -> Self {
        Self::All(super::flag::All::All)
    }
}

/// What a token is used by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A person, by command line or console.
    Person,
    /// A service of the platform.
    Service,
    /// A browser or a device: it gets evaluated flags and nothing else, for its token can be read by
    /// whoever holds the device.
    Client,
}

/// A right to use this control plane. The token itself is shown once and not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Token {
    /// What it is used by.
    pub kind: TokenKind,
    /// Who acts with it.
    pub principal: PrincipalId,
    /// What it may do; without it, what the bindings of its principal say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where.
    #[serde(default)]
    pub environments: Allowed<EnvironmentName>,
    /// For which tenants.
    #[serde(default)]
    pub tenants: Allowed<TenantId>,
    /// The digest of the token's text.
    pub hash: Digest,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Token {
    pub(super) fn check(&self, found: &mut Violations) {
        check_prose("/description", self.description.as_deref(), found);
        if self.kind == TokenKind::Client && self.role.is_some_and(|role| role > Role::Viewer) {
            let detail = "a token of the kind `client` can have no role but `viewer`";
            let next = "choose the role `viewer`, or another kind";
            found.push(Violation::new(Code::FieldInvalid, "/role", detail).next(next));
        }
    }
}

/// A role that a principal has, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RoleBinding {
    /// Who.
    pub principal: PrincipalId,
    /// What they may do.
    pub role: Role,
    /// Where.
    #[serde(default)]
    pub environments: Allowed<EnvironmentName>,
    /// For which tenants.
    #[serde(default)]
    pub tenants: Allowed<TenantId>,
}
