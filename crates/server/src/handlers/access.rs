//! Tokens, and who the caller is.

use plane_api::{TokenReply, TokenRequest, Whoami};
use plane_model::{Code, Digest, DocumentKey, TokenId, Violation};
use plane_state::{Action, Change, Expect, Op};
use serde_json::json;

use super::documents::{Written, answer, command, reply, submit};
use crate::auth::TOKEN_PREFIX;
use crate::call::{self, Answer, Call};
use crate::failure::Failure;

/// Says who the caller is and what the token covers.
pub(super) fn whoami(call: &Call) -> Answer {
    let snapshot = call.node().snapshot();
    let scope = call.scope();
    let environments = snapshot
        .state()
        .environments()
        .into_iter()
        .filter(|name| scope.sees_environment(name))
        .collect();
    let reply = Whoami {
        principal: scope.principal().clone(),
        token: scope.token().cloned(),
        role: scope.role(),
        environments,
        all_tenants: scope.sees_all_tenants(),
        tenant: scope.only_tenant().cloned(),
    };
    call::json(snapshot.revision(), &reply)
}

/// Makes a token. Its text is in this reply only; the log has its digest.
pub(super) async fn create_token(call: Call) -> Answer {
    let request: TokenRequest = call.read()?;
    if let Some(expiry) = request.expires_at
        && expiry <= call.node().now()
    {
        let detail = format!("{expiry} has passed already");
        return Err(Violation::new(Code::FieldInvalid, "/expires_at", detail)
            .next("choose a time that is to come")
            .into());
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Failure::internal(&error))?;
    // A digest of random bytes is only how they are written as hex digits.
    let token = format!("{TOKEN_PREFIX}{}", Digest::from_bytes(secret).hex());
    let name = ulid::Ulid::generate().to_string();
    let id = TokenId::new(&name)?;
    let mut body = json!({
        "principal": request.principal,
        "kind": request.kind,
        "environments": request.environments,
        "tenants": request.tenants,
        "hash": Digest::of(token.as_bytes()),
    });
    if let Some(role) = request.role {
        body["role"] = json!(role);
    }
    if let Some(expiry) = request.expires_at {
        body["expires_at"] = json!(expiry);
    }
    if let Some(description) = request.description {
        body["description"] = json!(description);
    }
    let key = DocumentKey::token(&id);
    let op = Op {
        key: key.clone(),
        change: Change::Put(body),
        expect: Expect::Absent,
    };
    let command = command(&call, Action::Access, vec![op], None)?;
    let done = call
        .node()
        .commit(call.scope(), command)
        .await
        .map_err(|error| Failure::from(error).rebased())?;
    let snapshot = call.node().snapshot();
    let document = snapshot
        .state()
        .entry(&key)
        .ok_or_else(|| Failure::internal(&"the new token is not in the state"))
        .and_then(|entry| reply(&key, entry))?;
    call::json(
        done.revision,
        &TokenReply {
            id,
            token,
            document,
        },
    )
}

/// Withdraws a token; asks for no revision, for nothing may stand in the way.
pub(super) async fn delete_token(call: Call) -> Answer {
    let key = DocumentKey::token(&TokenId::new(call.param("id")?)?);
    let op = Op {
        key,
        change: Change::Delete,
        expect: Expect::Any,
    };
    let written: Written = submit(&call, Action::Access, op, None).await?;
    answer(written)
}
