//! What servers send, read: the one place that knows the formats of views and events.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plane_api::{BookmarkEvent, GoawayEvent, RefetchEvent, Signed, VIEW_FORMAT};
use plane_model::{
    ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, EnvironmentName, Kind, TenantId,
    Timestamp,
};
use plane_state::delivery::{At, Delivered, Holding, Name, Part, StandIn, StandIns};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::breaker::{Before, Breaker, Good, Verdict};
use super::keep::Stored;
use super::process::Process;
use crate::sse::ServerEvent;

/// A view that was read, and for whom it was narrowed.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) holding: Holding,
    /// Where the stream of its changes begins.
    pub(crate) id: String,
}

/// What an event of a stream says.
#[derive(Debug)]
pub(crate) enum Said {
    /// Documents changed; the head after that, unless more is told before there is one.
    Change(Box<Holding>, Option<Signed>),
    /// Nothing else changed up to this revision; the head there, if the server has it ready.
    Bookmark(u64, Option<Signed>),
    /// What is held was already further.
    Known,
    /// The whole view must be fetched, which is then at this revision at least.
    Refetch(u64),
    /// The server ends the stream and asks to wait so many milliseconds.
    Goaway { retry_ms: u64 },
    /// Something that this version does not know, and need not.
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
}

#[derive(Debug, Deserialize)]
struct WireView<'a> {
    log: String,
    revision: u64,
    head: Digest,
    environment: EnvironmentName,
    epoch: u64,
    #[serde(borrow)]
    documents: Vec<WireDocument<'a>>,
    #[serde(borrow)]
    blobs: BTreeMap<Digest, Cow<'a, str>>,
    /// The digests of the parts of tenants, whose documents are not here.
    #[serde(default)]
    tenants: Option<BTreeMap<TenantId, Digest>>,
}

#[derive(Debug, Deserialize)]
struct WireChange<'a> {
    revision: u64,
    #[serde(borrow)]
    documents: Vec<WireDocument<'a>>,
    #[serde(default)]
    parts: BTreeMap<TenantId, Option<Digest>>,
    #[serde(default)]
    signed: Option<Signed>,
}

#[derive(Debug, Deserialize)]
struct WirePart<'a> {
    tenant: TenantId,
    #[serde(borrow)]
    documents: Vec<WireDocument<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireDocument<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    revision: u64,
    /// Where the kind is not known here, this says whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl WireDocument<'_> {
    fn key(&self) -> Option<DocumentKey> {
        DocumentKey::new(self.kind.parse::<Kind>().ok()?, &self.scope, &self.name).ok()
    }

    /// In whose part it is: its key says so, if it is known here.
    fn tenant(&self) -> Option<TenantId> {
        match self.key() {
            Some(key) => key.tenant_id(),
            None => self.tenant.clone(),
        }
    }

    fn delivered(&self) -> Delivered<'_> {
        Delivered {
            tenant: self.tenant(),
            name: Name {
                kind: &self.kind,
                scope: &self.scope,
                name: &self.name,
            },
            revision: self.revision,
            body: self.body.map(|body| body.get().as_bytes()),
        }
    }
}

/// Asks the breaker about what arrives, before it is compiled.
#[derive(Debug)]
pub(crate) struct Gate<'g> {
    pub(crate) breaker: Option<&'g mut Breaker>,
    pub(crate) process: &'g Process,
    pub(crate) now: Duration,
    pub(crate) at: Timestamp,
}

impl Gate<'_> {
    fn admit(&mut self, documents: &[WireDocument<'_>]) -> StandIns {
        let bodies = documents.iter().filter_map(|document| {
            let body = document.body.map(|body| body.get().as_bytes());
            Some((document.key()?, body))
        });
        self.admit_all(bodies)
    }

    /// Asks the breaker about documents by their keys; those without a body are gone.
    fn admit_all<'b>(
        &mut self,
        documents: impl Iterator<Item = (DocumentKey, Option<&'b [u8]>)>,
    ) -> StandIns {
        let mut stand_ins = StandIns::default();
        let Some(breaker) = &mut self.breaker else {
            return stand_ins;
        };
        for (key, body) in documents {
            if let Verdict::HoldBack(before) = breaker.admit(&key, body, self.at) {
                let before = before.map(|it| StandIn {
                    revision: it.revision,
                    body: Some(it.body),
                });
                stand_ins.instead.insert(key, before.unwrap_or_default());
            }
        }
        if let Err(error) = breaker.mark(self.process, self.now) {
            // Without a marker a crash is not counted; not to apply would be worse.
            tracing::warn!(%error, "what is applied cannot be marked");
        }
        if !stand_ins.instead.is_empty() {
            let named =
                |key: &DocumentKey| matches!(key.kind(), Kind::Agent | Kind::Tool | Kind::Status);
            let good = breaker
                .good()
                .documents
                .iter()
                .filter(|(key, _)| named(key));
            let beside = good.map(|(key, it)| (key.clone(), it.revision, it.body.clone()));
            stand_ins.beside = beside.collect();
        }
        stand_ins
    }

    fn blobs(&self, stand_ins: &StandIns) -> Vec<(Digest, Arc<[u8]>)> {
        match &self.breaker {
            Some(breaker) if !stand_ins.instead.is_empty() => breaker.good().blobs.clone(),
            _ => Vec::new(),
        }
    }
}

/// Reads the documents of what was kept, without compiling them.
pub(crate) fn good(stored: &Stored) -> Option<Good> {
    let view: WireView<'_> = serde_json::from_slice(&stored.base).ok()?;
    let mut good = Good::default();
    let mut take = |documents: &[WireDocument<'_>]| {
        for document in documents {
            let Some(key) = document.key() else { continue };
            match document.body {
                Some(body) => {
                    let body = Arc::from(body.get().as_bytes());
                    let revision = document.revision;
                    good.documents.insert(key, Before { revision, body })
                }
                None => good.documents.remove(&key),
            };
        }
    };
    take(&view.documents);
    for event in &stored.events {
        if event.name == "change" {
            let change: WireChange<'_> = serde_json::from_str(&event.data).ok()?;
            take(&change.documents);
        } else if event.name == PART {
            let part: WirePart<'_> = serde_json::from_str(&event.data).ok()?;
            take(&part.documents);
        }
    }
    let blobs = view.blobs.iter();
    good.blobs = blobs
        .map(|(digest, text)| (*digest, Arc::from(text.as_bytes())))
        .collect();
    Some(good)
}

/// Reads a whole view of an environment; what is wrong with it, in words, if it cannot be served.
pub(crate) fn whole(
    bytes: &[u8],
    environment: &EnvironmentName,
    gate: &mut Gate<'_>,
) -> Result<Whole, String> {
    let torn = |error: serde_json::Error| format!("it is not a view: {error}");
    let Head { format } = serde_json::from_slice(bytes).map_err(torn)?;
    if format != VIEW_FORMAT {
        return Err(format!(
            "it has format {format}, and this client reads format {VIEW_FORMAT}"
        ));
    }
    let view: WireView<'_> = serde_json::from_slice(bytes).map_err(torn)?;
    if view.environment != *environment {
        return Err(format!("it is of the environment `{}`", view.environment));
    }
    let at = At {
        log: view.log.as_str().into(),
        epoch: view.epoch,
        revision: view.revision,
        head: view.head,
    };
    let id = format!("{}.{}", view.revision, short(&view.head));
    let stand_ins = gate.admit(&view.documents);
    let blobs = view
        .blobs
        .iter()
        .map(|(digest, text)| (*digest, Arc::from(text.as_bytes())));
    let delivered = view.documents.iter().map(WireDocument::delivered);
    let blobs = blobs.chain(gate.blobs(&stand_ins));
    let environment = view.environment.clone();
    let holding = match view.tenants {
        None => Holding::build_with(environment, at, delivered, blobs, &stand_ins),
        Some(parts) => {
            Holding::build_on_demand(environment, at, delivered, parts, blobs, &stand_ins)
        }
    };
    complete(&holding, &view.documents, &stand_ins)?;
    Ok(Whole { holding, id })
}

/// Reads an event that follows what is held; what is wrong with it, in words, if it cannot be used.
pub(crate) fn event(
    name: &str,
    data: &str,
    holding: &Holding,
    gate: &mut Gate<'_>,
) -> Result<Said, String> {
    let torn = |error: serde_json::Error| format!("the event `{name}` cannot be read: {error}");
    Ok(match name {
        "change" => {
            let change: WireChange<'_> = serde_json::from_str(data).map_err(torn)?;
            if change.revision <= holding.at().revision {
                return Ok(Said::Known);
            }
            if change
                .documents
                .iter()
                .any(|it| is_untold(it, holding, &change.parts))
            {
                return Ok(Said::Refetch(change.revision));
            }
            let delivered = change.documents.iter().map(WireDocument::delivered);
            let stand_ins = gate.admit(&change.documents);
            let at = at(holding, change.revision);
            let next = holding.after_told(at, delivered, &change.parts, &stand_ins);
            if let Some((key, digest)) = next.missing().next() {
                return Err(format!("{key} names {digest}, whose bytes are not there"));
            }
            Said::Change(Box::new(next), change.signed)
        }
        "bookmark" => {
            let BookmarkEvent { revision, signed } = serde_json::from_str(data).map_err(torn)?;
            if revision < holding.at().revision {
                return Ok(Said::Known);
            }
            Said::Bookmark(revision, signed)
        }
        "refetch" => {
            let RefetchEvent { revision } = serde_json::from_str(data).map_err(torn)?;
            Said::Refetch(revision)
        }
        "goaway" => {
            let event: GoawayEvent = serde_json::from_str(data).map_err(torn)?;
            Said::Goaway {
                retry_ms: event.retry_ms,
            }
        }
        _ => Said::Unknown,
    })
}

/// Says whether a document changes a part that is not held, and nobody told to which digest.
fn is_untold(
    document: &WireDocument<'_>,
    holding: &Holding,
    told: &BTreeMap<TenantId, Option<Digest>>,
) -> bool {
    holding.parts().is_some_and(|held| {
        let tenant = document.tenant();
        tenant.is_some_and(|it| !held.contains_key(&it) && !told.contains_key(&it))
    })
}

/// What a part is called that is kept among the events that were applied.
pub(crate) const PART: &str = "part";

/// Reads the part of a tenant; what is wrong with it, in words.
pub(crate) fn part(bytes: &[u8], tenant: &TenantId) -> Result<Part, String> {
    let wire: WirePart<'_> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a part: {error}"))?;
    if wire.tenant != *tenant {
        return Err(format!("it is of the tenant `{}`", wire.tenant));
    }
    Ok(part_of(&wire))
}

fn part_of(wire: &WirePart<'_>) -> Part {
    let mut part = Part::default();
    for document in &wire.documents {
        let delivered = document.delivered();
        part.put(delivered.name, delivered.revision, delivered.body);
    }
    part
}

/// Asks the breaker about a part that is about to be applied.
pub(crate) fn admit_part(part: &Part, gate: &mut Gate<'_>) -> StandIns {
    let documents = part.documents();
    let bodies = documents.filter_map(|(name, _, body)| Some((name.key()?, Some(&**body))));
    gate.admit_all(bodies)
}

/// Holds a part that was kept, if it is the one that what is held names.
pub(crate) fn kept_part(data: &str, holding: &Holding, gate: &mut Gate<'_>) -> Option<Holding> {
    let wire: WirePart<'_> = serde_json::from_str(data).ok()?;
    let part = part_of(&wire);
    let stand_ins = admit_part(&part, gate);
    holding.with_part(&wire.tenant, &part, &stand_ins)
}

/// Writes a part that is held in the form in which it is kept.
pub(crate) fn part_to_keep(
    tenant: &TenantId,
    part: &Part,
    id: String,
) -> serde_json::Result<ServerEvent> {
    #[derive(Serialize)]
    struct Kept<'a> {
        tenant: &'a TenantId,
        documents: Vec<WireDocument<'a>>,
    }
    let documents = part.documents().map(|(name, revision, body)| {
        Ok(WireDocument {
            kind: name.kind.into(),
            scope: name.scope.into(),
            name: name.name.into(),
            revision,
            tenant: Some(tenant.clone()),
            body: Some(serde_json::from_slice(body)?),
        })
    });
    let documents = documents.collect::<serde_json::Result<_>>()?;
    Ok(ServerEvent {
        name: PART.to_owned(),
        data: serde_json::to_string(&Kept { tenant, documents })?,
        id,
    })
}

/// What is held, at a later revision. The hash of the record there is in the head that vouches for it.
fn at(holding: &Holding, revision: u64) -> At {
    At {
        revision,
        ..holding.at().clone()
    }
}

/// The revision that the id of an event, or the `ETag` of a view, begins with.
pub(crate) fn revision_in(id: &str) -> Option<u64> {
    let id = id.trim_start_matches('"');
    let end = id.find(|it: char| !it.is_ascii_digit()).unwrap_or(id.len());
    id.get(..end)?.parse().ok()
}

fn short(hash: &Digest) -> String {
    hash.hex().chars().take(8).collect()
}

/// Checks that everything a channel can give is there, with the bytes that its digest names.
fn complete(
    holding: &Holding,
    documents: &[WireDocument<'_>],
    stand_ins: &StandIns,
) -> Result<(), String> {
    if let Some((key, digest)) = holding.missing().next() {
        return Err(format!(
            "{key} names {digest}, whose bytes are missing or not the ones that were named"
        ));
    }
    let there: BTreeSet<DocumentKey> = documents
        .iter()
        .filter(|document| document.kind == Kind::Agent.as_str())
        .filter_map(WireDocument::key)
        .collect();
    for document in documents
        .iter()
        .filter(|it| it.kind == Kind::Channel.as_str())
    {
        let is_replaced = |key: DocumentKey| stand_ins.instead.contains_key(&key);
        let Some(body) = document.body else { continue };
        if document.key().is_some_and(is_replaced) {
            continue;
        }
        // One that cannot be read is broken for itself alone.
        let Ok(Document::Channel(channel)) = Document::decode(Kind::Channel, body.get().as_bytes())
        else {
            continue;
        };
        let split = channel
            .split
            .iter()
            .flat_map(|split| split.totals().into_keys());
        let versions = split
            .map(|version| version.to_string())
            .chain([channel.default.version.to_string()]);
        for version in versions {
            let id = format!("{}@{version}", document.name);
            let Ok(id) = id.parse::<ArtifactVersion>() else {
                continue;
            };
            if !there.contains(&DocumentKey::artifact(ArtifactKind::Agent, &id)) {
                return Err(format!(
                    "the channel of `{}` names version {version}, which is not there",
                    document.name
                ));
            }
        }
    }
    Ok(())
}
