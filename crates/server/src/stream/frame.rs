//! Events in the form of server-sent events.

use std::fmt::Write as _;

use axum::body::Bytes;
use plane_api::{BookmarkEvent, ChangeEvent, GoawayEvent, RefetchEvent, ViewChange};
use plane_model::{Digest, Kind};
use plane_node::{ChangedDocument, Event};
use plane_state::Scope;
use serde::Serialize;

use crate::view::{Audience, is_shared};

/// How large a change may be that is told whole.
const CHANGE_BYTES_MAX: usize = 16 * 1024;
/// The least and the most milliseconds that a reader is asked to wait before it connects again.
const RETRY_MS: (u64, u64) = (250, 5_000);

/// A point of the log: a revision and its hash.
pub(super) type Place = (u64, Digest);

/// What an audience is told of a commit; none if nothing of it is its business.
pub(super) fn change(audience: &Audience, scope: &Scope, event: &Event) -> Option<Bytes> {
    let environment = audience.environment();
    let documents: Vec<&ChangedDocument> = event
        .changes
        .iter()
        // A version that no channel, pin or fallback names is in no view.
        .filter(|change| !matches!(change.key.kind(), Kind::Agent | Kind::Tool))
        .filter(|change| is_shared(&change.key, environment) && scope.sees(&change.key))
        .collect();
    if documents.is_empty() {
        return None;
    }
    let place = (event.revision, event.hash);
    if documents.iter().any(|change| brings_blobs(change)) {
        return Some(refetch(place));
    }
    let change = ChangeEvent {
        revision: event.revision,
        documents: documents
            .into_iter()
            .map(|change| ViewChange {
                kind: change.key.kind(),
                scope: change.key.scope().to_owned(),
                name: change.key.name().to_owned(),
                revision: event.revision,
                body: change.document.as_ref().map(|document| document.to_value()),
            })
            .collect(),
    };
    let written = frame("change", place, &change);
    Some(if written.len() <= CHANGE_BYTES_MAX {
        written
    } else {
        refetch(place)
    })
}

/// Says whether a commit can change what somebody may see.
pub(super) fn is_about_access(event: &Event) -> bool {
    event.changes.iter().any(|change| {
        matches!(
            change.key.kind(),
            Kind::Token | Kind::RoleBinding | Kind::Environment
        )
    })
}

/// Tells that nothing else happened up to here.
pub(super) fn bookmark(place: Place) -> Bytes {
    frame("bookmark", place, &BookmarkEvent { revision: place.0 })
}

/// Tells to fetch the view.
pub(super) fn refetch(place: Place) -> Bytes {
    frame("refetch", place, &RefetchEvent { revision: place.0 })
}

/// Tells to connect elsewhere, after a while that differs from reader to reader.
pub(super) fn goaway(place: Place, reason: &str) -> Bytes {
    let spread = u64::try_from(ulid::Ulid::generate().random() % 1_000).unwrap_or_default();
    let (least, most) = RETRY_MS;
    let retry_ms = least + spread * (most - least) / 1_000;
    let reason = reason.to_owned();
    frame("goaway", place, &GoawayEvent { reason, retry_ms })
}

/// Says whether a change can make manifests reachable that the reader does not hold.
fn brings_blobs(change: &ChangedDocument) -> bool {
    use plane_model::Document;
    match change.document.as_deref() {
        Some(Document::Channel(_) | Document::Environment(_)) => true,
        Some(Document::Pin(pin)) => pin.version.is_some(),
        Some(Document::Kill(kill)) => kill.fallback.is_some(),
        _ => false,
    }
}

fn frame<T: Serialize>(event: &str, (revision, hash): Place, data: &T) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    let mut text = String::with_capacity(data.len() + 64);
    let short = short_hash(&hash);
    let _ = write!(
        text,
        "id: {revision}.{short}\nevent: {event}\ndata: {data}\n\n"
    );
    text.into()
}

/// The part of a hash that stands in the id of an event.
pub(super) fn short_hash(hash: &Digest) -> String {
    hash.hex().chars().take(8).collect()
}

/// Reads the id of an event: a revision and the short form of its hash.
pub(super) fn parse_id(text: &str) -> Option<(u64, &str)> {
    let (revision, hash) = text.split_once('.')?;
    Some((revision.parse().ok()?, hash))
}
