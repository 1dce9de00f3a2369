//! Documents one by one: read, listed, put and deleted.

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use plane_api::{CommitReply, Committed, DocumentReply, Plan, Planned};
use plane_model::{
    ArtifactName, Code, ConfigName, DocumentKey, EnvironmentName, FlagKey, GroupName, Kind,
    Namespace, ScheduleName, SegmentName, Selector, TenantId, TokenId,
};
use plane_node::{Preview, Snapshot};
use plane_state::{Action, Change, Command, Content, Entry, Expect, Op};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Answer, Call, json};
use crate::cursor::{After, page};
use crate::failure::Failure;
use crate::forecast::forecast;
use crate::impact::impacts;
use crate::query::refuse;

/// Through what changes come that are made here.
pub(super) const SOURCE: &str = "api";

/// How a document is named by the path of a request.
pub(super) type KeyOf = fn(&Call) -> Result<DocumentKey, Failure>;

/// Which documents a list has.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    kind: Kind,
    /// Only this scope.
    scope: Option<String>,
    /// Also the scopes below it.
    is_prefix: bool,
    /// Only this name.
    name: Option<String>,
}

/// How a list is named by the path of a request.
pub(super) type CollectionOf = fn(&Call) -> Result<Collection, Failure>;

/// One document, written once and not copied.
#[derive(Serialize)]
struct Read<'a> {
    kind: Kind,
    scope: &'a str,
    name: &'a str,
    revision: u64,
    digest: plane_model::Digest,
    body: &'a RawValue,
}

/// Reads one document.
pub(super) async fn get(call: Call, key: KeyOf) -> Answer {
    let key = key(&call)?;
    let snapshot = call.documents(key.kind()).await?;
    let entry = visible(&call, &snapshot, &key)?;
    let read = Read {
        kind: key.kind(),
        scope: key.scope(),
        name: key.name(),
        revision: entry.revision,
        digest: entry.content_digest(),
        body: raw(entry)?,
    };
    let mut response = json(snapshot.revision(), &read)?;
    set_etag(&mut response, entry.revision);
    Ok(response)
}

/// Lists all documents of a kind that has no scope.
pub(super) async fn list_all(call: Call, kind: Kind) -> Answer {
    list_of(call, &everywhere(kind)).await
}

/// Lists the documents that the path names.
pub(super) async fn list(call: Call, collection: CollectionOf) -> Answer {
    let collection = collection(&call)?;
    list_of(call, &collection).await
}

async fn list_of(call: Call, collection: &Collection) -> Answer {
    let snapshot = call.documents(collection.kind).await?;
    let limit = call.query().limit()?;
    let after = After::of(call.query())?;
    let scope = call.scope().clone();
    let items = entries(&snapshot, collection, after.as_ref())
        .filter(|(key, entry)| scope.sees(key) && matches!(entry.content, Content::Readable(_)))
        .filter_map(|(key, entry)| {
            Some((
                key.scope().to_owned(),
                key.name().to_owned(),
                reply(key, entry).ok()?,
            ))
        });
    json(
        snapshot.revision(),
        &page(items, limit, snapshot.revision()),
    )
}

fn entries<'s>(
    snapshot: &'s Arc<Snapshot>,
    collection: &'s Collection,
    after: Option<&'s After>,
) -> impl Iterator<Item = (&'s DocumentKey, &'s Entry)> + Send + use<'s> {
    // Whoever turns to the next page finds its place at once, however deep in it is.
    let first = (collection.scope.as_deref().unwrap_or_default(), "");
    let (scope, name) = after.map_or(first, |after| first.max((&after.scope, &after.name)));
    let documents = snapshot.state().from(collection.kind, scope, name);
    let is_within = move |key: &DocumentKey| match &collection.scope {
        None => true,
        Some(scope) => key
            .scope()
            .strip_prefix(scope.as_str())
            .is_some_and(|rest| rest.is_empty() || (collection.is_prefix && rest.starts_with('/'))),
    };
    documents
        .skip_while(move |(key, _)| {
            after.is_some_and(|after| !after.admits(key.scope(), key.name()))
        })
        // Everything of a scope and below it begins with the scope's name.
        .take_while(move |(key, _)| {
            let scope = collection.scope.as_deref();
            scope.is_none_or(|scope| key.scope().starts_with(scope))
        })
        .filter(move |(key, _)| {
            is_within(key)
                && collection
                    .name
                    .as_ref()
                    .is_none_or(|name| key.name() == name)
        })
}

/// Creates or replaces one document.
pub(super) async fn put(call: Call, key: KeyOf) -> Answer {
    let key = key(&call)?;
    let body = call.json()?;
    let expect = expectation(&call, &key)?;
    let action = action_of(&key);
    let wanted = expect.unwrap_or(Expect::Absent);
    let op = Op {
        key: key.clone(),
        change: Change::Put(body),
        expect: wanted,
    };
    match submit(&call, action, op, None).await {
        Err(failure) if expect.is_none() && failure.code() == Code::RevisionConflict.as_str() => {
            Err(precondition(&call, &key))
        }
        result => answer(result?),
    }
}

/// Deletes one document.
pub(super) async fn delete(call: Call, key: KeyOf) -> Answer {
    let key = key(&call)?;
    let Some(expect) = expectation(&call, &key)? else {
        visible(&call, &call.node().snapshot(), &key)?;
        return Err(precondition(&call, &key));
    };
    let op = Op {
        key: key.clone(),
        change: Change::Delete,
        expect,
    };
    answer(submit(&call, action_of(&key), op, None).await?)
}

/// What came of a write, before it is written down.
pub(super) enum Written {
    Committed(plane_node::Committed),
    Planned(Plan),
}

/// Gives a command with one operation to the node, or asks what it would do.
pub(super) async fn submit(
    call: &Call,
    action: Action,
    op: Op,
    reason: Option<String>,
) -> Result<Written, Failure> {
    let command = command(call, action, vec![op], reason)?;
    give(call, command).await.map_err(Failure::rebased)
}

/// Gives a command to the node, or asks what it would do.
pub(super) async fn give(call: &Call, command: Command) -> Result<Written, Failure> {
    if call.query().flag("dry_run")? {
        let preview = call.node().preview(call.scope(), command).await?;
        return Ok(Written::Planned(foreseen(call, preview).await?));
    }
    let begun = tokio::time::Instant::now();
    let done = call.node().commit(call.scope(), command).await?;
    call.app().metrics.committed(begun.elapsed());
    Ok(Written::Committed(done))
}

/// Makes a command; a reason in the request's headers or query comes before `reason`.
pub(super) fn command(
    call: &Call,
    action: Action,
    ops: Vec<Op>,
    reason: Option<String>,
) -> Result<Command, Failure> {
    Ok(Command {
        id: call.idempotency_key()?,
        actor: call.scope().principal().clone(),
        action,
        reason: call.reason()?.or(reason).unwrap_or_default(),
        source: SOURCE.to_owned(),
        ops,
    })
}

/// Writes down what came of a command with one operation.
pub(super) fn answer(written: Written) -> Answer {
    let (revision, reply) = commit_reply(written);
    answered(revision, &reply)
}

/// Answers with what came of a command with one operation.
pub(super) fn answered(revision: u64, reply: &CommitReply) -> Answer {
    let changed = reply.receipt().is_some_and(|it| it.changed);
    let mut response = json(revision, reply)?;
    let is_there = reply
        .plan()
        .changes
        .iter()
        .any(|it| it.effect != plane_api::Effect::Delete);
    if changed && is_there {
        set_etag(&mut response, revision);
    }
    Ok(response)
}

/// The wire form of what came of a command.
pub(super) fn commit_reply(written: Written) -> (u64, CommitReply) {
    match written {
        Written::Committed(done) => {
            let revision = done.revision;
            let receipt = super::commits::receipt(&done);
            let plan = plan_reply(done.plan);
            (
                revision,
                CommitReply::Committed(Committed { receipt, plan }),
            )
        }
        Written::Planned(plan) => (plan.revision, CommitReply::Planned(Planned { plan })),
    }
}

/// The wire form of a plan.
pub(super) fn plan_reply(plan: plane_state::Plan) -> Plan {
    Plan {
        revision: plan.revision,
        changes: plan
            .changes
            .into_iter()
            .map(super::commits::planned_change)
            .collect(),
        environments: plan.environments,
        tenants: plan.tenants,
        impact: Vec::new(),
        instances: None,
    }
}

/// How many tenants are named for each way in which something would change, if the caller does not say.
const NAMED: usize = 5;
/// How many tenants are named at most.
const NAMED_MAX: usize = 10_000;

/// The wire form of a plan, with what it would change for tenants, and what live instances would make of it.
pub(super) async fn foreseen(call: &Call, preview: Preview) -> Result<Plan, Failure> {
    let plan = plan_reply(preview.plan().clone());
    if plan.changes.is_empty() {
        return Ok(plan);
    }
    let form = "a number from 0 to 10000";
    let named = call.query().read("impact_tenants", form)?.unwrap_or(NAMED);
    if named > NAMED_MAX {
        return Err(refuse("impact_tenants", &named.to_string(), form));
    }
    let (shared, scope, now) = (preview.clone(), Arc::clone(call.scope()), call.node().now());
    let told = call
        .node()
        .apart(move || impacts(&shared, &scope, named, now));
    let impact = told.await?;
    let instances = &call.app().instances;
    let instances = forecast(call.node(), instances, call.scope(), preview).await?;
    Ok(Plan {
        impact,
        instances,
        ..plan
    })
}

fn action_of(key: &DocumentKey) -> Action {
    match key.kind() {
        Kind::Token | Kind::RoleBinding => Action::Access,
        _ => Action::Write,
    }
}

/// Reads `If-Match` and `If-None-Match`; none if neither was sent.
fn expectation(call: &Call, key: &DocumentKey) -> Result<Option<Expect>, Failure> {
    let text = |name: header::HeaderName| {
        call.headers()
            .get(name)
            .map(|value| value.to_str().unwrap_or_default().trim())
    };
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(Expect::Absent)),
        (Some("*"), None) => {
            let snapshot = call.node().snapshot();
            Ok(Some(Expect::Revision(
                visible(call, &snapshot, key)?.revision,
            )))
        }
        (Some(etag), None) => etag
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(|digits| digits.parse().ok())
            .map(|revision| Some(Expect::Revision(revision)))
            .ok_or_else(|| {
                Failure::new(
                    Code::RequestInvalid,
                    "`If-Match` is not a revision in quotes",
                )
                .next("send the `ETag` that reading the document gave, such as `\"41\"`")
            }),
        (None, Some(_)) => Err(Failure::new(
            Code::RequestInvalid,
            "`If-None-Match` of a write is only `*`",
        )
        .next("send `If-None-Match: *` to create, `If-Match` to change")),
        (Some(_), Some(_)) => Err(Failure::new(
            Code::RequestInvalid,
            "`If-Match` and `If-None-Match` contradict",
        )
        .next("send one of them")),
    }
}

fn precondition(call: &Call, key: &DocumentKey) -> Failure {
    let current = call
        .node()
        .snapshot()
        .state()
        .entry(key)
        .map_or(0, |entry| entry.revision);
    Failure::new(
        Code::PreconditionRequired,
        format!("{key} exists, and the request does not say which revision it is based on"),
    )
    .next(format!(
        "read it, make your change, and send `If-Match: \"{current}\"`"
    ))
}

/// The document, if there is one that the caller may know of.
pub(super) fn visible<'s>(
    call: &Call,
    snapshot: &'s Snapshot,
    key: &DocumentKey,
) -> Result<&'s Entry, Failure> {
    snapshot
        .state()
        .entry(key)
        .filter(|_| call.scope().sees(key))
        .ok_or_else(|| {
            Failure::new(Code::NotFound, format!("there is no {key}"))
                .next("check the name, and that the token covers its environment and tenant")
        })
}

fn raw(entry: &Entry) -> Result<&RawValue, Failure> {
    match &entry.content {
        Content::Readable(_) => {
            serde_json::from_slice(&entry.bytes).map_err(|error| Failure::internal(&error))
        }
        Content::Erased => Err(
            Failure::new(Code::NotFound, "the document's content was erased").next("write it anew"),
        ),
        Content::Unreadable(detail) => Err(Failure::new(Code::DigestMismatch, &**detail)
            .next("run `control-plane log verify`, restore a backup, or write the document anew")),
    }
}

/// A document with its name and revision; of a token without the digest of its secret.
pub(super) fn reply(key: &DocumentKey, entry: &Entry) -> Result<DocumentReply, Failure> {
    let mut body: Value =
        serde_json::from_str(raw(entry)?.get()).map_err(|error| Failure::internal(&error))?;
    if key.kind() == Kind::Token
        && let Some(members) = body.as_object_mut()
    {
        members.remove("hash");
    }
    Ok(DocumentReply {
        kind: key.kind(),
        scope: key.scope().to_owned(),
        name: key.name().to_owned(),
        revision: entry.revision,
        digest: entry.content_digest(),
        body,
    })
}

/// Says which revision of the document the reply has.
fn set_etag(response: &mut Response, revision: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
}

fn known_environment(call: &Call) -> Result<EnvironmentName, Failure> {
    let snapshot = call.node().snapshot();
    call.view(&snapshot)?;
    call.environment()
}

fn tenant_of(call: &Call) -> Result<(EnvironmentName, TenantId), Failure> {
    let environment = known_environment(call)?;
    let tenant = call.tenant(&environment, Some(call.param("tenant")?))?;
    // A name was given, so that there is a tenant.
    tenant
        .map(|tenant| (environment, tenant))
        .ok_or_else(|| Failure::new(Code::TenantNotFound, "the path names no tenant"))
}

pub(super) fn environment(call: &Call) -> Result<DocumentKey, Failure> {
    let text = call.param("environment")?;
    Ok(DocumentKey::environment(&EnvironmentName::new(text)?))
}

pub(super) fn tenant(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::tenant(&TenantId::new(call.param("tenant")?)?))
}

pub(super) fn segment(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::segment(&SegmentName::new(
        call.param("segment")?,
    )?))
}

pub(super) fn exclusion_group(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::exclusion_group(&GroupName::new(
        call.param("group")?,
    )?))
}

pub(super) fn flag(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::flag(&FlagKey::new(call.param("flag")?)?))
}

pub(super) fn targeting(call: &Call) -> Result<DocumentKey, Failure> {
    let flag = FlagKey::new(call.param("flag")?)?;
    Ok(DocumentKey::targeting(&known_environment(call)?, &flag))
}

pub(super) fn channel(call: &Call) -> Result<DocumentKey, Failure> {
    let agent = ArtifactName::new(call.param("agent")?)?;
    Ok(DocumentKey::channel(&known_environment(call)?, &agent))
}

pub(super) fn schedule(call: &Call) -> Result<DocumentKey, Failure> {
    let name = ScheduleName::new(call.param("schedule")?)?;
    Ok(DocumentKey::schedule(&known_environment(call)?, &name))
}

pub(super) fn kill(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::kill(
        &known_environment(call)?,
        None,
        call.param("subject")?,
    )?)
}

pub(super) fn tenant_kill(call: &Call) -> Result<DocumentKey, Failure> {
    let (environment, tenant) = tenant_of(call)?;
    Ok(DocumentKey::kill(
        &environment,
        Some(&tenant),
        call.param("subject")?,
    )?)
}

pub(super) fn pin(call: &Call) -> Result<DocumentKey, Failure> {
    let (environment, tenant) = tenant_of(call)?;
    Ok(DocumentKey::pin(
        &environment,
        &tenant,
        call.param("subject")?,
    )?)
}

pub(super) fn trust(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::trust(&Namespace::new(
        call.param("namespace")?,
    )?))
}

pub(super) fn role_binding(call: &Call) -> Result<DocumentKey, Failure> {
    let id = TokenId::new(call.param("id")?)?;
    Ok(DocumentKey::new(Kind::RoleBinding, "", id.as_str())?)
}

pub(super) fn schema(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::schema(&ConfigName::new(
        call.param("document")?,
    )?))
}

pub(super) fn layer(call: &Call) -> Result<DocumentKey, Failure> {
    let document = ConfigName::new(call.param("document")?)?;
    let selector: Selector = call.param("selector")?.parse()?;
    Ok(DocumentKey::config(&selector, &document))
}

fn everywhere(kind: Kind) -> Collection {
    Collection {
        kind,
        scope: Some(String::new()),
        is_prefix: false,
        name: None,
    }
}

fn within(kind: Kind, scope: String) -> Collection {
    Collection {
        kind,
        scope: Some(scope),
        is_prefix: false,
        name: None,
    }
}

pub(super) fn tokens(call: &Call) -> Result<Collection, Failure> {
    needs_admin(call)?;
    Ok(everywhere(Kind::Token))
}

pub(super) fn role_bindings(call: &Call) -> Result<Collection, Failure> {
    needs_admin(call)?;
    Ok(everywhere(Kind::RoleBinding))
}

fn needs_admin(call: &Call) -> Result<(), Failure> {
    use plane_model::documents::Role;
    if call.scope().role() == Some(Role::Admin) {
        return Ok(());
    }
    let held = call.scope().role().map_or("no role", Role::as_str);
    Err(Failure::new(
        Code::Forbidden,
        format!("only an admin reads this; the token has {held}"),
    )
    .next("use a token with the role `admin`"))
}

pub(super) fn targetings(call: &Call) -> Result<Collection, Failure> {
    Ok(within(
        Kind::Targeting,
        known_environment(call)?.to_string(),
    ))
}

pub(super) fn channels(call: &Call) -> Result<Collection, Failure> {
    Ok(within(Kind::Channel, known_environment(call)?.to_string()))
}

pub(super) fn schedules(call: &Call) -> Result<Collection, Failure> {
    Ok(within(Kind::Schedule, known_environment(call)?.to_string()))
}

/// All kills of the environment, those for single tenants included.
pub(super) fn kills(call: &Call) -> Result<Collection, Failure> {
    let scope = Some(known_environment(call)?.to_string());
    Ok(Collection {
        kind: Kind::Kill,
        scope,
        is_prefix: true,
        name: None,
    })
}

pub(super) fn tenant_kills(call: &Call) -> Result<Collection, Failure> {
    let (environment, tenant) = tenant_of(call)?;
    Ok(within(Kind::Kill, format!("{environment}/{tenant}")))
}

pub(super) fn pins(call: &Call) -> Result<Collection, Failure> {
    let (environment, tenant) = tenant_of(call)?;
    Ok(within(Kind::Pin, format!("{environment}/{tenant}")))
}

pub(super) fn layers(call: &Call) -> Result<Collection, Failure> {
    let document = ConfigName::new(call.param("document")?)?;
    let name = Some(document.to_string());
    Ok(Collection {
        kind: Kind::Config,
        scope: None,
        is_prefix: false,
        name,
    })
}
