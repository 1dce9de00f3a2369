//! Who may see and do what: the one place that decides.
//!
//! INVARIANT: a [`Scope`] is made only here, from a token that the state holds. Handlers take a
//! scope before anything else, so that none can read the state without one.

use plane_model::documents::{Allowed, Role, Token, TokenKind};
use plane_model::{
    Code, Digest, Document, DocumentKey, EnvironmentName, Kind, PrincipalId, TenantId, Timestamp,
    TokenId, Violation,
};

use crate::command::Command;
use crate::state::State;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No such token.
    #[error("the token is not known")]
    Unknown,
    /// The token's time is over.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
}

/// A role, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    role: Role,
    environments: Allowed<EnvironmentName>,
    tenants: Allowed<TenantId>,
}

/// What the holder of a token may see and do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    principal: PrincipalId,
    token: Option<TokenId>,
    /// What acts; none for the control plane itself.
    kind: Option<TokenKind>,
    grants: Vec<Grant>,
}

impl Scope {
    /// Finds the token with this digest and what it allows now.
    ///
    /// Takes time in proportion to the number of tokens; callers keep the result per revision.
    pub fn authorise(state: &State, hash: &Digest, now: Timestamp) -> Result<Self, Denied> {
        let (key, token) = state
            .of_kind(Kind::Token)
            .find_map(|(key, entry)| match &**entry.document()? {
                Document::Token(token) if token.hash == *hash => Some((key, token.clone())),
                _ => None,
            })
            .ok_or(Denied::Unknown)?;
        Self::of_valid(state, key, &token, now)
    }

    /// Finds what the token of this name allows now.
    ///
    /// # Errors
    /// There is no such token, or its time is over.
    pub fn of_token(state: &State, id: &TokenId, now: Timestamp) -> Result<Self, Denied> {
        let key = DocumentKey::token(id);
        match state.document(&key).map(|it| &**it) {
            Some(Document::Token(token)) => Self::of_valid(state, &key, token, now),
            _ => Err(Denied::Unknown),
        }
    }

    fn of_valid(
        state: &State,
        key: &DocumentKey,
        token: &Token,
        now: Timestamp,
    ) -> Result<Self, Denied> {
        match token.expires_at {
            Some(expiry) if expiry <= now => Err(Denied::Expired(expiry)),
            _ => Ok(Self::of(state, key, token)),
        }
    }

    fn of(state: &State, key: &DocumentKey, token: &Token) -> Self {
        let is_client = token.kind == TokenKind::Client;
        let mut grants = match token.role {
            Some(role) => vec![Grant {
                role,
                environments: token.environments.clone(),
                tenants: token.tenants.clone(),
            }],
            None => state
                .of_kind(Kind::RoleBinding)
                .filter_map(|(_, entry)| match &**entry.document()? {
                    Document::RoleBinding(it) if it.principal == token.principal => Some(Grant {
                        role: it.role,
                        environments: narrower(&it.environments, &token.environments),
                        tenants: narrower(&it.tenants, &token.tenants),
                    }),
                    _ => None,
                })
                .collect(),
        };
        if is_client {
            // Whatever bindings give its principal.
            for grant in &mut grants {
                grant.role = Role::Viewer;
            }
        }
        Self {
            principal: token.principal.clone(),
            token: TokenId::new(key.name()).ok(),
            kind: Some(token.kind),
            grants,
        }
    }

    /// The scope of the control plane itself, for what it does of its own accord.
    pub fn system(principal: PrincipalId) -> Self {
        let grant = Grant {
            role: Role::Admin,
            environments: Allowed::ALL,
            tenants: Allowed::ALL,
        };
        Self {
            principal,
            token: None,
            kind: None,
            grants: vec![grant],
        }
    }

    /// Who acts.
    pub fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// The token that is used.
    pub fn token(&self) -> Option<&TokenId> {
        self.token.as_ref()
    }

    /// Says whether a browser or a device acts, which gets evaluated flags and no documents.
    pub fn is_client(&self) -> bool {
        self.kind == Some(TokenKind::Client)
    }

    /// Whether a person asks, and no service.
    pub fn is_person(&self) -> bool {
        self.kind == Some(TokenKind::Person)
    }

    /// The largest role that any grant gives.
    pub fn role(&self) -> Option<Role> {
        self.grants.iter().map(|grant| grant.role).max()
    }

    /// Says whether the holder may know of the environment.
    pub fn sees_environment(&self, name: &EnvironmentName) -> bool {
        self.grants.iter().any(|grant| grant.environments.has(name))
    }

    /// Says whether the holder may know of the tenant in the environment.
    pub fn sees_tenant(&self, environment: &EnvironmentName, tenant: &TenantId) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.environments.has(environment) && grant.tenants.has(tenant))
    }

    /// Says whether the holder may know of all tenants.
    pub fn sees_all_tenants(&self) -> bool {
        self.grants.iter().any(|grant| grant.tenants.is_all())
    }

    /// The tenant that the token is for, if it is for exactly one.
    pub fn only_tenant(&self) -> Option<&TenantId> {
        match self.grants.as_slice() {
            [
                Grant {
                    tenants: Allowed::Only(tenants),
                    ..
                },
            ] => match tenants.as_slice() {
                [tenant] => Some(tenant),
                _ => None,
            },
            _ => None,
        }
    }

    /// The environment that the token is for, if it is for exactly one.
    pub fn only_environment(&self) -> Option<&EnvironmentName> {
        let mut only = None;
        for grant in &self.grants {
            let Allowed::Only(names) = &grant.environments else {
                return None;
            };
            for name in names {
                if *only.get_or_insert(name) != name {
                    return None;
                }
            }
        }
        only
    }

    /// Says whether the holder may know of the document.
    pub fn sees(&self, key: &DocumentKey) -> bool {
        let environment = key.environment_name();
        let tenant = key.tenant_id();
        self.grants.iter().any(|grant| {
            environment
                .as_ref()
                .is_none_or(|it| grant.environments.has(it))
                && tenant.as_ref().is_none_or(|it| grant.tenants.has(it))
                // A schedule may hold what is to become of any tenant.
                && (key.kind() != Kind::Schedule || grant.tenants.is_all())
                && (!matches!(key.kind(), Kind::Token | Kind::RoleBinding)
                    || grant.role == Role::Admin)
        })
    }

    /// Refuses a command that the holder may not give.
    ///
    /// # Errors
    /// [`Code::NotFound`] for documents that the holder may not know of, [`Code::Forbidden`] for
    /// those that may be seen and not changed.
    pub fn check(&self, command: &Command) -> Result<(), Vec<Violation>> {
        let violations: Vec<_> = command
            .ops
            .iter()
            .enumerate()
            .filter_map(|(index, op)| {
                self.check_write(&op.key)
                    .err()
                    .map(|it| it.below(&format!("/ops/{index}")))
            })
            .collect();
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }

    pub(crate) fn check_write(&self, key: &DocumentKey) -> Result<(), Violation> {
        // Whether there is such a token or binding stays unknown; that only admins change them does not.
        let is_access = matches!(key.kind(), Kind::Token | Kind::RoleBinding);
        if is_access && self.role() != Some(Role::Admin) {
            return Err(Violation::new(
                Code::Forbidden,
                "",
                format!("changing {} needs the role admin", in_general(key)),
            )
            .next("use an admin's token, or ask an admin"));
        }
        if !self.sees(key) {
            return Err(
                Violation::new(Code::NotFound, "", format!("there is no {key}"))
                    .next("check the name, and that the token covers its environment and tenant"),
            );
        }
        let environment = key.environment_name();
        let tenant = key.tenant_id();
        let needed = needed_role(key.kind());
        let allowed = self.grants.iter().any(|grant| {
            // What holds everywhere is changed only by those who may act everywhere.
            let there = match &environment {
                Some(environment) => grant.environments.has(environment),
                None => grant.environments.is_all(),
            };
            let for_them = match &tenant {
                Some(tenant) => grant.tenants.has(tenant),
                None => grant.tenants.is_all(),
            };
            grant.role >= needed && there && for_them
        });
        if allowed {
            return Ok(());
        }
        let reach = match (&environment, &tenant) {
            (Some(_), Some(_)) => "for this environment and tenant",
            (Some(_), None) => "for this environment and for all tenants",
            (None, Some(_)) => "for all environments and for this tenant",
            (None, None) => "for all environments and all tenants",
        };
        let held = match self.role() {
            Some(role) if role >= needed => format!("this token has {} for less", role.as_str()),
            Some(role) => format!("this token has {}", role.as_str()),
            None => "this token has no role".to_owned(),
        };
        Err(Violation::new(
            Code::Forbidden,
            "",
            format!(
                "changing {} needs the role {} {reach}; {held}",
                in_general(key),
                needed.as_str()
            ),
        )
        .next(format!(
            "use a token with that role {reach}, or ask an admin"
        )))
    }
}

/// What a document is called where its own name is nobody's business.
fn in_general(key: &DocumentKey) -> String {
    match key.kind() {
        Kind::Token => "tokens".to_owned(),
        Kind::RoleBinding => "role bindings".to_owned(),
        _ => key.to_string(),
    }
}

/// The least role that may change documents of a kind.
fn needed_role(kind: Kind) -> Role {
    match kind {
        Kind::Tenant
        | Kind::Segment
        | Kind::Flag
        | Kind::Targeting
        | Kind::ExclusionGroup
        | Kind::Kill
        | Kind::Schema
        | Kind::Config
        | Kind::Tool
        | Kind::Agent
        | Kind::Status
        | Kind::Schedule => Role::Editor,
        Kind::Pin | Kind::Channel => Role::Releaser,
        Kind::Environment | Kind::Trust | Kind::Token | Kind::RoleBinding => Role::Admin,
    }
}

fn narrower<T: PartialEq + Clone>(a: &Allowed<T>, b: &Allowed<T>) -> Allowed<T> {
    match (a, b) {
        (Allowed::All(_), other) | (other, Allowed::All(_)) => other.clone(),
        (Allowed::Only(a), Allowed::Only(b)) => {
            Allowed::Only(a.iter().filter(|it| b.contains(it)).cloned().collect())
        }
    }
}
