//! Events in the form of server-sent events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use axum::body::Bytes;
use plane_api::{AlertEvent, AlertRule, BookmarkEvent, GoawayEvent, RefetchEvent, Signed};
use plane_model::{Digest, Document, EnvironmentName, Kind, TenantId};
use plane_node::Event;
use plane_state::Scope;
use plane_state::delivery::{Changed, Projection, part};
use serde::Serialize;
use serde_json::value::RawValue;

/// How large a change may be that is told whole.
const CHANGE_BYTES_MAX: usize = 16 * 1024;
/// The least and the most milliseconds that a reader is asked to wait before it connects again.
const RETRY_MS: (u64, u64) = (250, 5_000);

/// A point of the log: a revision and its hash.
pub(super) type Place = (u64, Digest);

/// A commit as an audience is told of it, before it is known whether another one follows at once.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) place: Place,
    /// The tenants whose parts it changes.
    tenants: BTreeSet<TenantId>,
    data: String,
    /// The events that come before it.
    alerts: String,
}

/// [`plane_api::ChangeEvent`] with the bodies as they are stored: holders compute digests of these bytes.
#[derive(Serialize)]
struct WireChange<'a> {
    revision: u64,
    documents: Vec<WireDocument<'a>>,
}

#[derive(Serialize)]
struct WireDocument<'a> {
    kind: Kind,
    scope: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    revision: u64,
    body: Option<&'a RawValue>,
}

impl Change {
    /// What an audience is told of a commit that changed these of its documents; none if it is more than
    /// is told whole.
    pub(super) fn of(place: Place, documents: &[&Changed]) -> Option<Self> {
        let bytes: usize =
            (documents.iter().filter_map(|it| it.body())).fold(0, |sum, it| sum + it.len());
        if bytes > CHANGE_BYTES_MAX {
            return None;
        }
        let tenants = documents.iter().filter_map(|it| part(&it.key)).collect();
        let documents = documents
            .iter()
            .map(|it| {
                let body = it.body().map(|bytes| serde_json::from_slice(bytes));
                Some(WireDocument {
                    kind: it.key.kind(),
                    scope: it.key.scope(),
                    name: it.key.name(),
                    tenant: part(&it.key),
                    revision: it.revision,
                    body: body.transpose().ok()?,
                })
            })
            .collect::<Option<_>>()?;
        let revision = place.0;
        let data = serde_json::to_string(&WireChange {
            revision,
            documents,
        });
        data.ok()
            .filter(|data| data.len() <= CHANGE_BYTES_MAX)
            .map(|data| Self {
                place,
                tenants,
                data,
                alerts: String::new(),
            })
    }

    /// Tells the digests of the parts that it changes, out of a projection that has followed it: who holds
    /// only some of them can follow the root.
    pub(super) fn tell_parts(&mut self, projection: &Projection) {
        if self.tenants.is_empty() {
            return;
        }
        let parts: BTreeMap<_, _> = (self.tenants.iter())
            .map(|tenant| (tenant, projection.part(tenant)))
            .collect();
        if let Ok(parts) = serde_json::to_string(&parts) {
            self.data.pop();
            let _ = write!(self.data, ",\"parts\":{parts}}}");
        }
    }

    /// Adds events that come before it.
    pub(super) fn alert(&mut self, alerts: String) {
        self.alerts = alerts;
    }

    pub(super) fn bytes(&self) -> usize {
        self.alerts.len() + self.data.len()
    }

    /// The event; `signed` is the head after it.
    pub(super) fn frame(mut self, signed: Option<&Signed>) -> Bytes {
        if let Some(signed) = signed.and_then(|it| serde_json::to_string(it).ok()) {
            self.data.pop();
            let _ = write!(self.data, ",\"signed\":{signed}}}");
        }
        self.alerts
            .push_str(&text("change", self.place, &self.data));
        self.alerts.into()
    }
}

/// What those who are called at night are told of a commit: an event for each stop, each revival, and each
/// schedule that failed.
///
/// They have no id: who resumes is told again rather than not at all.
pub(super) fn alerts(event: &Event, environment: &EnvironmentName, scope: &Scope) -> String {
    let mut alerts = String::new();
    for change in &event.changes {
        let is_here = || change.key.environment_name().as_ref() == Some(environment);
        let Some((rule, reason)) = alert(change).filter(|_| is_here() && scope.sees(&change.key))
        else {
            continue;
        };
        let subject = match rule {
            AlertRule::ScheduleFailed => format!("schedule:{}", change.key.name()),
            AlertRule::Killed | AlertRule::Revived => change.key.name().to_owned(),
        };
        let alert = AlertEvent {
            rule,
            severity: rule.severity(),
            environment: environment.clone(),
            tenant: change.key.tenant_id(),
            subject,
            reason,
            actor: event.actor.clone(),
            revision: event.revision,
            at: event.at,
        };
        let data = serde_json::to_string(&alert).unwrap_or_default();
        let _ = write!(alerts, "event: alert\ndata: {data}\n\n");
    }
    alerts
}

/// What a change is an alert about, and why.
fn alert(change: &Changed) -> Option<(AlertRule, Option<String>)> {
    let document = change.document.as_deref();
    match (change.key.kind(), document) {
        (Kind::Kill, Some(Document::Kill(kill))) => {
            Some((AlertRule::Killed, Some(kill.reason.clone())))
        }
        (Kind::Kill, _) if change.bytes.is_some() => Some((AlertRule::Killed, None)),
        (Kind::Kill, _) => Some((AlertRule::Revived, None)),
        (Kind::Schedule, Some(Document::Schedule(it))) => {
            let failed = it.failed.as_ref()?;
            let reason = format!("{}: {}", failed.code, failed.detail);
            Some((AlertRule::ScheduleFailed, Some(reason)))
        }
        _ => None,
    }
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

/// Tells that nothing else happened up to here; `signed` is the head here.
pub(super) fn bookmark(place: Place, signed: Option<&Signed>) -> Bytes {
    let event = BookmarkEvent {
        revision: place.0,
        signed: signed.cloned(),
    };
    written("bookmark", place, &event)
}

/// Tells to fetch the view.
pub(super) fn refetch(place: Place) -> Bytes {
    refetch_after(String::new(), place)
}

/// The same, after events that are not to be missed.
pub(super) fn refetch_after(mut alerts: String, place: Place) -> Bytes {
    let event = RefetchEvent { revision: place.0 };
    alerts.push_str(&text(
        "refetch",
        place,
        &serde_json::to_string(&event).unwrap_or_default(),
    ));
    alerts.into()
}

/// Tells to connect elsewhere, after a while that differs from reader to reader.
pub(super) fn goaway(place: Place, reason: &str) -> Bytes {
    let spread = u64::try_from(ulid::Ulid::generate().random() % 1_000).unwrap_or_default();
    let (least, most) = RETRY_MS;
    let retry_ms = least + spread * (most - least) / 1_000;
    let reason = reason.to_owned();
    written("goaway", place, &GoawayEvent { reason, retry_ms })
}

fn written<T: Serialize>(event: &str, place: Place, data: &T) -> Bytes {
    frame(
        event,
        place,
        &serde_json::to_string(data).unwrap_or_default(),
    )
}

fn frame(event: &str, place: Place, data: &str) -> Bytes {
    text(event, place, data).into()
}

fn text(event: &str, (revision, hash): Place, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 64);
    let short = short_hash(&hash);
    let _ = write!(
        text,
        "id: {revision}.{short}\nevent: {event}\ndata: {data}\n\n"
    );
    text
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
