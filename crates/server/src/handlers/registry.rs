//! Agents and tools: found, read and published.

use std::collections::BTreeMap;

use plane_api::{
    ArtifactSummary, PublishReply, SignatureReply, SignatureState, VersionReply, VersionSummary,
};
use plane_eval::{Signature, Source as _};
use plane_model::documents::{Published, Status, StatusState};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Document, DocumentKey, Kind,
    Verified,
};
use plane_registry::{Manifest, parse_version};
use plane_state::{Action, Change, Entry, Expect, Op, State};
use serde_json::Value;

use super::documents::{Written, commit_reply, submit};
use crate::call::{Answer, Call, json};
use crate::cursor::{After, page};
use crate::failure::Failure;
use crate::query::refuse;

pub(super) const AGENT: ArtifactKind = ArtifactKind::Agent;
pub(super) const TOOL: ArtifactKind = ArtifactKind::Tool;

/// Lists agents or tools, and finds them by what their manifests say.
pub(super) async fn list(call: Call, kind: ArtifactKind) -> Answer {
    let snapshot = call.snapshot().await?;
    let state = snapshot.state();
    let wanted = Wanted::of(&call)?;
    let limit = call.query().limit()?;
    let after = After::of(call.query())?;
    let mut by_name: BTreeMap<ArtifactName, Vec<VersionSummary>> = BTreeMap::new();
    for (key, entry) in state.of_kind(document_kind(kind)) {
        let Some((_, id, published)) = artifact_of(key, entry) else {
            continue;
        };
        if after
            .as_ref()
            .is_none_or(|after| after.admits("", id.name.as_str()))
        {
            by_name
                .entry(id.name.clone())
                .or_default()
                .push(summary(state, kind, &id, published));
        }
    }
    let items = by_name
        .into_iter()
        .filter_map(|(name, versions)| describe(state, kind, name, versions))
        .filter(|it| wanted.admits(it))
        .map(|it| (String::new(), it.name.to_string(), it));
    call.node().observe(
        "registry_list",
        kind.as_str(),
        &[("principal", principal(&call))],
    );
    json(
        snapshot.revision(),
        &page(items, limit, snapshot.revision()),
    )
}

/// What is asked for of agents and tools.
struct Wanted {
    text: Option<String>,
    category: Option<String>,
    capability: Option<String>,
    owner: Option<String>,
    status: Option<StatusState>,
}

impl Wanted {
    fn of(call: &Call) -> Result<Self, Failure> {
        let get = |name: &str| call.query().get(name).map(str::to_owned);
        let status = match call.query().get("status") {
            None => None,
            Some(text) => Some(serde_json::from_value(Value::from(text)).map_err(|_| {
                let form = "write active, deprecated, yanked, revoked or quarantined";
                refuse("status", text, form)
            })?),
        };
        Ok(Self {
            text: get("q").map(|text| text.to_lowercase()),
            category: get("category"),
            capability: get("capability"),
            owner: get("owner"),
            status,
        })
    }

    fn admits(&self, it: &ArtifactSummary) -> bool {
        let is =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        self.text.as_ref().is_none_or(|text| {
            it.name.as_str().to_lowercase().contains(text)
                || it
                    .description
                    .as_ref()
                    .is_some_and(|it| it.to_lowercase().contains(text))
        }) && is(&self.category, &it.category)
            && is(&self.owner, &it.owner)
            && self
                .capability
                .as_ref()
                .is_none_or(|wanted| it.capabilities.contains(wanted))
            && self
                .status
                .is_none_or(|wanted| it.versions.iter().any(|it| it.status == wanted))
    }
}

fn describe(
    state: &State,
    kind: ArtifactKind,
    name: ArtifactName,
    mut versions: Vec<VersionSummary>,
) -> Option<ArtifactSummary> {
    sort_down(&mut versions);
    let latest = versions
        .iter()
        .find(|it| it.status == StatusState::Active)
        .or_else(|| versions.first())?;
    let bytes = state.blob(&latest.digest);
    let manifest: Value = bytes
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    let text = |pointer: &str| manifest.pointer(pointer)?.as_str().map(str::to_owned);
    let capabilities = match kind {
        ArtifactKind::Agent => manifest.pointer("/metadata/capabilities"),
        ArtifactKind::Tool => None,
    };
    Some(ArtifactSummary {
        latest: latest.version.clone(),
        description: text("/metadata/description"),
        owner: text("/owner"),
        category: text("/metadata/category"),
        capabilities: capabilities
            .and_then(Value::as_array)
            .map(|list| {
                list.iter()
                    .filter_map(|it| it.as_str().map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default(),
        versions,
        name,
    })
}

/// Sorts the highest version first.
fn sort_down(versions: &mut [VersionSummary]) {
    versions.sort_by_cached_key(|it| std::cmp::Reverse(parse_version(&it.version).ok()));
}

fn summary(
    state: &State,
    kind: ArtifactKind,
    id: &ArtifactVersion,
    published: &Published,
) -> VersionSummary {
    VersionSummary {
        version: id.version.to_string(),
        digest: published.manifest,
        published_at: published.published_at,
        published_by: published.published_by.clone(),
        status: status_of(state, kind, id).status,
    }
}

fn status_of(state: &State, kind: ArtifactKind, id: &ArtifactVersion) -> Status {
    match state
        .document(&DocumentKey::status(kind, id))
        .map(|it| &**it)
    {
        Some(Document::Status(status)) => Status::clone(status),
        _ => Status::default(),
    }
}

/// Lists the versions of an agent or a tool, the highest first.
pub(super) async fn list_versions(call: Call, kind: ArtifactKind) -> Answer {
    let snapshot = call.snapshot().await?;
    let state = snapshot.state();
    let name = ArtifactName::new(call.param(kind.as_str())?)?;
    let mut versions: Vec<_> = state
        .versions(kind, &name)
        .filter_map(|(id, entry)| Some(summary(state, kind, &id, published(entry)?)))
        .collect();
    if versions.is_empty() {
        return Err(Failure::new(
            Code::VersionNotFound,
            format!("no version of the {kind} `{name}` is published"),
        )
        .next(format!(
            "correct the name, or publish a version; `GET /v1/{kind}s` lists the names"
        )));
    }
    sort_down(&mut versions);
    let limit = call.query().limit()?;
    let from = match After::of(call.query())? {
        None => 0,
        Some(after) => versions
            .iter()
            .position(|it| it.version == after.name)
            .map_or(versions.len(), |it| it + 1),
    };
    let items = versions
        .into_iter()
        .skip(from)
        .map(|it| (String::new(), it.version.clone(), it));
    json(
        snapshot.revision(),
        &page(items, limit, snapshot.revision()),
    )
}

/// Reads one version.
pub(super) async fn get_version(call: Call, kind: ArtifactKind) -> Answer {
    let snapshot = call.snapshot().await?;
    let result = read_version(&call, snapshot.state(), kind);
    let outcome = match &result {
        Ok(_) => "hit",
        Err(failure) if failure.code() == Code::VersionNotFound.as_str() => "not_found",
        Err(failure) => {
            call.app().metrics.integrity_failure(failure.code());
            "error"
        }
    };
    call.app().metrics.lookup(kind, outcome);
    let reply = result?;
    call.app().metrics.signature(reply.signature.state);
    let subject = format!("{kind}:{}@{}", reply.name, reply.version);
    call.node().observe(
        "registry_read",
        &subject,
        &[("principal", principal(&call))],
    );
    json(snapshot.revision(), &reply)
}

fn read_version(call: &Call, state: &State, kind: ArtifactKind) -> Result<VersionReply, Failure> {
    let id = version_id(call, kind)?;
    let key = DocumentKey::artifact(kind, &id);
    let not_found = || {
        Failure::new(
            Code::VersionNotFound,
            format!("`{kind}:{id}` is not published"),
        )
        .next("correct the name or the version, or publish it")
    };
    let entry = state.entry(&key).ok_or_else(not_found)?;
    let published = published(entry).ok_or_else(not_found)?;
    let lock = published
        .lock
        .map(|digest| {
            let bytes = held(state, &digest, &format!("the lock of `{kind}:{id}`"))?;
            let read = |bytes: &[u8]| {
                serde_json::from_slice::<Value>(bytes).map_err(|error| {
                    plane_model::Violation::new(Code::ManifestMissing, "", error.to_string())
                        .next("restore the store from a backup")
                })
            };
            Verified::check(bytes, digest, read)
                .map(|it| it.get().clone())
                .map_err(Failure::from)
        })
        .transpose()?;
    Ok(VersionReply {
        manifest: manifest_value(state, kind, published)?,
        digest: published.manifest,
        published_at: published.published_at,
        published_by: published.published_by.clone(),
        signature: match state.signature(kind, &id) {
            Signature::Verified { keys } => SignatureReply {
                state: SignatureState::Verified,
                keys,
                detail: None,
            },
            Signature::Unsigned => SignatureReply {
                state: SignatureState::Unsigned,
                keys: Vec::new(),
                detail: None,
            },
            Signature::Invalid { detail } => SignatureReply {
                state: SignatureState::Invalid,
                keys: Vec::new(),
                detail: Some(detail),
            },
        },
        status: status_of(state, kind, &id),
        lock_digest: published.lock,
        lock,
        revision: entry.revision,
        version: id.version.to_string(),
        name: id.name,
    })
}

/// Publishes the manifest in the body, under the name and version that it carries.
pub(super) async fn publish(call: Call, kind: ArtifactKind) -> Answer {
    let body = call.json()?;
    let id = Manifest::parse(kind, &body)?.id().clone();
    publish_as(&call, kind, id, body).await
}

/// Publishes the manifest in the body, which has to carry the path's name and version.
pub(super) async fn put_version(call: Call, kind: ArtifactKind) -> Answer {
    let id = version_id(&call, kind)?;
    let body = call.json()?;
    publish_as(&call, kind, id, body).await
}

async fn publish_as(call: &Call, kind: ArtifactKind, id: ArtifactVersion, body: Value) -> Answer {
    // An unsigned manifest without a date gets one by being published, and with it another digest.
    let planned = Manifest::parse(kind, &body)?;
    let is_dated = planned.created_at().is_some() || !planned.signatures().is_empty();
    let planned = is_dated.then(|| planned.digest());
    let key = DocumentKey::artifact(kind, &id);
    let op = Op {
        key: key.clone(),
        change: Change::Put(body),
        expect: Expect::Any,
    };
    let written = submit(call, Action::Write, op, None).await?;
    let digest = match &written {
        Written::Committed(_) => {
            let snapshot = call.node().snapshot();
            snapshot
                .state()
                .entry(&key)
                .and_then(published)
                .map(|it| it.manifest)
        }
        Written::Planned(_) => planned,
    };
    let (revision, commit) = commit_reply(written);
    let version = id.version.to_string();
    json(
        revision,
        &PublishReply {
            name: id.name,
            version,
            digest,
            commit,
        },
    )
}

pub(super) fn agent_status(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::status(AGENT, &version_id(call, AGENT)?))
}

pub(super) fn tool_status(call: &Call) -> Result<DocumentKey, Failure> {
    Ok(DocumentKey::status(TOOL, &version_id(call, TOOL)?))
}

fn version_id(call: &Call, kind: ArtifactKind) -> Result<ArtifactVersion, Failure> {
    let name = ArtifactName::new(call.param(kind.as_str())?)?;
    let version = parse_version(call.param("version")?)?;
    Ok(ArtifactVersion { name, version })
}

const fn document_kind(kind: ArtifactKind) -> Kind {
    match kind {
        ArtifactKind::Agent => Kind::Agent,
        ArtifactKind::Tool => Kind::Tool,
    }
}

fn published(entry: &Entry) -> Option<&Published> {
    match &**entry.document()? {
        Document::Agent(published) | Document::Tool(published) => Some(published),
        _ => None,
    }
}

/// What an entry says of a published version, if it is of one.
pub(super) fn artifact_of<'s>(
    key: &DocumentKey,
    entry: &'s Entry,
) -> Option<(ArtifactKind, ArtifactVersion, &'s Published)> {
    let kind = match key.kind() {
        Kind::Agent => AGENT,
        Kind::Tool => TOOL,
        _ => return None,
    };
    Some((kind, key.name().parse().ok()?, published(entry)?))
}

/// The whole manifest in the shape of its file, out of bytes that match their digest.
pub(super) fn manifest_value(
    state: &State,
    kind: ArtifactKind,
    published: &Published,
) -> Result<Value, Failure> {
    let bytes = held(state, &published.manifest, "the manifest")?;
    let read = |bytes: &[u8]| Manifest::read(kind, bytes);
    let manifest = Verified::check(bytes, published.manifest, read)?;
    let mut value = manifest.to_value();
    let signature = match published.signatures.as_slice() {
        [] => return Ok(value),
        [only] => Value::from(only.as_str()),
        several => several.iter().map(|it| Value::from(it.as_str())).collect(),
    };
    if let Some(members) = value.as_object_mut() {
        members.insert("signature".to_owned(), signature);
    }
    Ok(value)
}

fn held<'s>(state: &'s State, digest: &Digest, what: &str) -> Result<&'s [u8], Failure> {
    state.blob(digest).map(|bytes| &**bytes).ok_or_else(|| {
        Failure::new(
            Code::ManifestMissing,
            format!("{what}, {digest}, is not held here"),
        )
        .next("restore the store from a backup")
    })
}

fn principal(call: &Call) -> &str {
    call.scope().principal().as_str()
}
