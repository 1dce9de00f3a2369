//! Trees: applied and exported.

use plane_api::{TreeDocument, TreeReply, TreeRequest, TreesReply};
use plane_model::{DocumentKey, Kind, Violations};
use plane_state::reconcile::Options;

use super::commits::{names, receipt};
use super::documents::{foreseen, plan_reply, reply};
use super::registry::{artifact_of, manifest_value};
use crate::call::{Answer, Call, json};

/// Makes the documents be what a tree says.
pub(super) async fn apply(call: Call) -> Answer {
    let request: TreeRequest = call.read()?;
    let mut found = Violations::new();
    let mut documents = Vec::with_capacity(request.documents.len());
    for (index, document) in request.documents.into_iter().enumerate() {
        match DocumentKey::new(document.kind, &document.scope, &document.name) {
            Ok(key) => documents.push((key, document.body)),
            Err(violation) => found.push(violation.below(&format!("/documents/{index}/name"))),
        }
    }
    if !found.is_empty() {
        return Err(found.into());
    }
    let options = Options {
        prune: request.prune,
        take_over: request.take_over,
    };
    let outcome = call
        .node()
        .apply_tree(
            call.scope(),
            plane_node::TreeRequest {
                id: call.idempotency_key()?,
                documents,
                options,
                reason: call.reason()?.or(request.reason).unwrap_or_default(),
                source: "tree".to_owned(),
                dry_run: call.query().flag("dry_run")?,
            },
        )
        .await?;
    let reply = TreeReply {
        committed: outcome.committed.as_ref().map(receipt),
        plan: match outcome.preview {
            Some(preview) => foreseen(&call, preview).await?,
            None => plan_reply(outcome.plan),
        },
        kept: names(&call, outcome.kept),
        left: names(&call, outcome.left),
    };
    json(call.node().snapshot().revision(), &reply)
}

/// Reads everything that a tree can hold, as far as the caller may know of it.
pub(super) async fn export(call: Call) -> Answer {
    let snapshot = call.snapshot().await?;
    let state = snapshot.state();
    let mut documents = Vec::new();
    for (key, entry) in state.entries() {
        let is_held = !matches!(
            key.kind(),
            Kind::Kill | Kind::Token | Kind::RoleBinding | Kind::Schedule
        );
        if !is_held || !call.scope().sees(key) || entry.document().is_none() {
            continue;
        }
        let body = match artifact_of(key, entry) {
            Some((kind, _, published)) => manifest_value(state, kind, published)?,
            None => reply(key, entry)?.body,
        };
        documents.push(TreeDocument {
            kind: key.kind(),
            scope: key.scope().to_owned(),
            name: key.name().to_owned(),
            body,
        });
    }
    let revision = snapshot.revision();
    json(
        revision,
        &TreesReply {
            documents,
            revision,
        },
    )
}
