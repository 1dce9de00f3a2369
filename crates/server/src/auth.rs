//! Who calls: from a bearer token to a scope, once per token and change of access.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, HeaderValue, header};
use plane_api::headers::API_KEY;
use plane_api::operations::Dialect;
use plane_model::{Code, Digest, Document, DocumentKey, Kind, Timestamp};
use plane_node::Node;
use plane_state::access::Denied;
use plane_state::{Scope, State};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::ofrep::Ticket;
use crate::rate::Bucket;

/// How many scopes are kept; tokens that nobody made never get in.
const SCOPES_KEPT: usize = 10_000;
/// How long a token's text may be.
const TOKEN_BYTES_MAX: usize = 256;
/// What every token begins with.
pub(crate) const TOKEN_PREFIX: &str = "cp_";

/// Scopes that were found, each for as long as nothing about access changes.
#[derive(Debug, Default)]
pub(crate) struct Scopes(RwLock<HashMap<Digest, Known>>);

/// What a token allows, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) scope: Arc<Scope>,
    pub(crate) expires_at: Option<Timestamp>,
    /// The revision of the last change of any token or role binding.
    revision: u64,
    /// How often it may be used; it outlives changes of access.
    bucket: Arc<Bucket>,
}

/// Who calls, and by which token.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What the token allows.
    pub(crate) scope: Arc<Scope>,
    /// When the token's time is over.
    pub(crate) expires_at: Option<Timestamp>,
    /// The digest of the token's text.
    pub(crate) hash: Digest,
    /// How often the token may be used.
    pub(crate) bucket: Arc<Bucket>,
}

impl Scopes {
    /// Finds who calls by the headers of a request.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        dialect: Dialect,
        node: &Node,
    ) -> Result<Caller, Failure> {
        let token = match headers.get(API_KEY) {
            Some(key) if dialect == Dialect::Ofrep => api_key(key, headers)?,
            _ => bearer(headers)?,
        };
        self.of_hash(Digest::of(token.as_bytes()), node)
    }

    /// Finds who was given a ticket.
    pub(crate) fn holder(&self, ticket: &str, node: &Node) -> Result<Caller, Failure> {
        let snapshot = node.snapshot();
        let found = Ticket::read(ticket, snapshot.state(), node.now());
        let (_, hash) = found.ok_or_else(|| {
            Failure::new(
                Code::Unauthenticated,
                "the ticket is not valid here, or no longer",
            )
            .next("evaluate all flags again: the reply has another ticket")
        })?;
        self.of_hash(hash, node)
    }

    fn of_hash(&self, hash: Digest, node: &Node) -> Result<Caller, Failure> {
        let known = self.known(hash, node.snapshot().state(), node.now())?;
        Ok(Caller {
            scope: known.scope,
            expires_at: known.expires_at,
            hash,
            bucket: known.bucket,
        })
    }

    /// Finds what the token with this digest allows now.
    pub(crate) fn known(
        &self,
        hash: Digest,
        state: &State,
        now: Timestamp,
    ) -> Result<Known, Failure> {
        let revision = access_revision(state);
        {
            let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = kept.get(&hash).filter(|it| it.revision == revision) {
                return match known.expires_at {
                    Some(expiry) if expiry <= now => Err(denied(Denied::Expired(expiry))),
                    _ => Ok(known.clone()),
                };
            }
        }
        let scope = Arc::new(Scope::authorise(state, &hash, now).map_err(denied)?);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let earlier = kept.get(&hash);
        let known = Known {
            expires_at: expiry(state, &scope),
            scope,
            revision,
            bucket: earlier.map_or_else(
                || Arc::new(Bucket::new(Instant::now())),
                |it| it.bucket.clone(),
            ),
        };
        // A request that began before the last change must not bring back what it allowed.
        if earlier.is_none_or(|it| it.revision < revision) {
            make_room(&mut kept);
            kept.insert(hash, known.clone());
        }
        Ok(known)
    }
}

/// Forgets tokens that are not in use, whose buckets are full, or else all.
fn make_room(kept: &mut HashMap<Digest, Known>) {
    if kept.len() < SCOPES_KEPT {
        return;
    }
    let now = Instant::now();
    kept.retain(|_, known| !known.bucket.is_full(now));
    if kept.len() >= SCOPES_KEPT {
        kept.clear();
    }
}

/// The revision of the last change of what anybody may do.
pub(crate) fn access_revision(state: &State) -> u64 {
    state
        .kind_revision(Kind::Token)
        .max(state.kind_revision(Kind::RoleBinding))
}

fn expiry(state: &State, scope: &Scope) -> Option<Timestamp> {
    match &**state.document(&DocumentKey::token(scope.token()?))? {
        Document::Token(token) => token.expires_at,
        _ => None,
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => {
            return Err(unauthenticated("the request has no token"));
        }
        (Some(value), None) => value,
        (Some(_), Some(_)) => {
            return Err(unauthenticated(
                "the request has two `Authorization` headers",
            ));
        }
    };
    let malformed = || unauthenticated("the `Authorization` header is not `Bearer` and a token");
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && is_well_formed(token) {
        Ok(token)
    } else {
        Err(malformed())
    }
}

/// The token as some clients of OFREP send it; who sends it in both ways sends the same twice.
fn api_key<'h>(key: &'h HeaderValue, headers: &'h HeaderMap) -> Result<&'h str, Failure> {
    let token = key.to_str().unwrap_or_default().trim();
    if !is_well_formed(token) {
        return Err(unauthenticated("the header `X-API-Key` is not a token"));
    }
    if headers.get_all(API_KEY).iter().nth(1).is_some()
        || (headers.contains_key(header::AUTHORIZATION) && bearer(headers)? != token)
    {
        return Err(unauthenticated("the request has two different tokens"));
    }
    Ok(token)
}

fn is_well_formed(token: &str) -> bool {
    token.starts_with(TOKEN_PREFIX)
        && token.len() <= TOKEN_BYTES_MAX
        && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn denied(denied: Denied) -> Failure {
    unauthenticated(&denied.to_string())
}

fn unauthenticated(detail: &str) -> Failure {
    Failure::new(Code::Unauthenticated, detail)
        .next("send `Authorization: Bearer cp_…` with a token that is valid here")
}
