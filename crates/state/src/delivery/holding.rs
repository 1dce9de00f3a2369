//! What a holder of a view has: the view, what it was built from, and the digest over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use plane_eval::{Change, Signature, Source, View};
use plane_model::{
    ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, EnvironmentName, Kind, TenantId,
};

use super::roots::{Name, Roots};
use crate::prepare::named_blobs;
use crate::source::{Documents, signature};

/// A document as it came over the wire; one of a kind that is not known here counts like any other.
#[derive(Debug, Clone)]
pub struct Delivered<'a> {
    /// The tenant in whose part it is.
    pub tenant: Option<TenantId>,
    /// How it is called.
    pub name: Name<'a>,
    /// The revision of its last change.
    pub revision: u64,
    /// Its canonical JSON; none if it is gone.
    pub body: Option<&'a [u8]>,
}

/// Where in which log a view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The log.
    pub log: Arc<str>,
    /// How often it was recovered from a backup.
    pub epoch: u64,
    /// The revision.
    pub revision: u64,
    /// The hash of the log's record at the revision.
    pub head: Digest,
}

/// What a document was before.
#[derive(Debug, Clone, Default)]
pub struct StandIn {
    /// The revision of that.
    pub revision: u64,
    /// Its canonical JSON; none if it was not there.
    pub body: Option<Arc<[u8]>>,
}

/// What the view takes in place of what was delivered, and beside it: what a holder holds back.
///
/// The digest over all documents is of what was delivered, whatever stands in for it.
#[derive(Debug, Clone, Default)]
pub struct StandIns {
    /// What stands in for documents that were delivered.
    pub instead: BTreeMap<DocumentKey, StandIn>,
    /// Documents that stand-ins name, unless they were delivered.
    pub beside: Vec<(DocumentKey, u64, Arc<[u8]>)>,
}

/// A view with all that following it needs: an immutable value.
///
/// Cloning shares everything; [`after`](Self::after) costs in proportion to the change.
/// INVARIANT: `build` of what is there gives the same view and the same root as the changes that led there.
#[derive(Debug, Clone)]
pub struct Holding {
    at: At,
    view: View,
    roots: Roots,
    sources: Sources,
    /// Blobs that are not here, after the documents that name them.
    missing: OrdSet<(DocumentKey, Digest)>,
    unreadable: OrdMap<DocumentKey, Arc<str>>,
}

/// What the view is compiled from and does not keep.
#[derive(Debug, Clone, Default)]
struct Sources {
    blobs: OrdMap<Digest, Arc<[u8]>>,
    /// Agents, tools and trust: what verifying a manifest takes.
    registry: OrdMap<DocumentKey, Arc<Document>>,
}

impl Documents for Sources {
    fn document(&self, key: &DocumentKey) -> Option<&Arc<Document>> {
        self.registry.get(key)
    }

    fn blob(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        self.blobs.get(digest)
    }
}

impl Source for Sources {
    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.blobs.get(digest).cloned()
    }

    fn signature(&self, kind: ArtifactKind, version: &ArtifactVersion) -> Signature {
        signature(self, kind, version)
    }
}

impl Holding {
    /// Holds what was delivered as a whole; a blob whose bytes are not the ones it is named by is not there.
    pub fn build<'a>(
        environment: EnvironmentName,
        at: At,
        documents: impl IntoIterator<Item = Delivered<'a>>,
        blobs: impl IntoIterator<Item = (Digest, Arc<[u8]>)>,
    ) -> Self {
        Self::build_with(environment, at, documents, blobs, &StandIns::default())
    }

    /// As [`build`](Self::build), but for what `stand_ins` says.
    pub fn build_with<'a>(
        environment: EnvironmentName,
        at: At,
        documents: impl IntoIterator<Item = Delivered<'a>>,
        blobs: impl IntoIterator<Item = (Digest, Arc<[u8]>)>,
        stand_ins: &StandIns,
    ) -> Self {
        let blobs = blobs
            .into_iter()
            .filter(|(digest, bytes)| Digest::of(bytes) == *digest);
        let sources = Sources {
            blobs: blobs.collect(),
            registry: OrdMap::new(),
        };
        let empty = Self {
            view: View::build(environment, 0, [], &sources),
            at: at.clone(),
            roots: Roots::default(),
            sources,
            missing: OrdSet::new(),
            unreadable: OrdMap::new(),
        };
        empty.after_with(at, documents, stand_ins)
    }

    /// Holds what is there after some documents changed.
    #[must_use]
    pub fn after<'a>(&self, at: At, documents: impl IntoIterator<Item = Delivered<'a>>) -> Self {
        self.after_with(at, documents, &StandIns::default())
    }

    /// As [`after`](Self::after), but for what `stand_ins` says.
    #[must_use]
    pub fn after_with<'a>(
        &self,
        at: At,
        documents: impl IntoIterator<Item = Delivered<'a>>,
        stand_ins: &StandIns,
    ) -> Self {
        let mut next = self.clone();
        let mut changes = BTreeMap::new();
        for (key, revision, body) in &stand_ins.beside {
            next.take(key.clone(), *revision, Some(body), &mut changes);
        }
        for delivered in documents {
            next.place(&delivered, stand_ins, &mut changes);
        }
        let changes: Vec<_> = changes.into_values().collect();
        next.view = self.view.update(at.revision, &changes, &next.sources);
        next.at = at;
        next
    }

    /// Puts one document in its place.
    fn place(
        &mut self,
        delivered: &Delivered<'_>,
        stand_ins: &StandIns,
        changes: &mut BTreeMap<DocumentKey, Change>,
    ) {
        let Delivered {
            tenant,
            name,
            revision,
            body,
        } = delivered;
        match body {
            Some(body) => self.roots.put(tenant.as_ref(), *name, *revision, body),
            None => self.roots.remove(tenant.as_ref(), *name),
        }
        let Ok(kind) = name.kind.parse::<Kind>() else {
            return;
        };
        let Ok(key) = DocumentKey::new(kind, name.scope, name.name) else {
            return;
        };
        match stand_ins.instead.get(&key) {
            Some(before) => self.take(key, before.revision, before.body.as_deref(), changes),
            None => self.take(key, *revision, *body, changes),
        }
    }

    /// Gives the view one document; a change stands in for an earlier one of the same document.
    fn take(
        &mut self,
        key: DocumentKey,
        revision: u64,
        body: Option<&[u8]>,
        changes: &mut BTreeMap<DocumentKey, Change>,
    ) {
        let kind = key.kind();
        self.unreadable.remove(&key);
        let first = (key.clone(), Digest::from_bytes([0; 32]));
        let named: Vec<_> = (self.missing.range(first..))
            .take_while(|(by, _)| *by == key)
            .cloned()
            .collect();
        for missing in &named {
            self.missing.remove(missing);
        }
        let document = body.and_then(|body| match Document::decode(kind, body) {
            Ok(document) => Some(Arc::new(document)),
            Err(error) => {
                self.unreadable
                    .insert(key.clone(), error.to_string().into());
                None
            }
        });
        for digest in document.iter().flat_map(|it| named_blobs(it)) {
            if !self.sources.blobs.contains_key(&digest) {
                self.missing.insert((key.clone(), digest));
            }
        }
        if matches!(kind, Kind::Agent | Kind::Tool | Kind::Trust) {
            match &document {
                Some(document) => {
                    let document = Arc::clone(document);
                    self.sources.registry.insert(key.clone(), document)
                }
                None => self.sources.registry.remove(&key),
            };
        }
        let change = Change {
            key: key.clone(),
            revision,
            document,
        };
        changes.insert(key, change);
    }

    /// The view.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where in which log it is.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// The digest over all documents.
    pub fn root(&self) -> Digest {
        self.roots.root()
    }

    /// The documents that name a manifest or a lock that is not here, and its digest.
    pub fn missing(&self) -> impl Iterator<Item = &(DocumentKey, Digest)> {
        self.missing.iter()
    }

    /// The documents that this version cannot read, and why; each is broken only for itself.
    pub fn unreadable(&self) -> impl Iterator<Item = (&DocumentKey, &str)> {
        self.unreadable.iter().map(|(key, why)| (key, &**why))
    }
}

#[cfg(test)]
mod tests {
    use plane_eval::Context;
    use plane_model::Timestamp;

    use super::*;

    fn at(revision: u64) -> At {
        At {
            log: "log".into(),
            epoch: 0,
            revision,
            head: Digest::of(&revision.to_be_bytes()),
        }
    }

    fn delivered<'a>(
        kind: &'a str,
        scope: &'a str,
        name: &'a str,
        body: Option<&'a str>,
    ) -> Delivered<'a> {
        Delivered {
            tenant: None,
            name: Name { kind, scope, name },
            revision: 1,
            body: body.map(str::as_bytes),
        }
    }

    fn production() -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    const FLAG: &str = r#"{"type":"boolean","variants":{"off":false,"on":true}}"#;
    const ON: &str = r#"{"default":"on","state":"enabled"}"#;

    fn is_on(holding: &Holding) -> Option<bool> {
        let ctx = Context::new();
        holding
            .view()
            .evaluate_key("f", &ctx, Timestamp(0))
            .as_bool()
    }

    #[test]
    fn changes_lead_to_what_a_whole_delivery_gives() {
        let whole = || {
            [
                delivered("flag", "", "f", Some(FLAG)),
                delivered("targeting", "production", "f", Some(ON)),
            ]
        };
        let built = Holding::build(production(), at(2), whole(), []);
        let empty = Holding::build(production(), at(1), [], []);
        let followed = empty.after(at(2), whole());
        assert_eq!(is_on(&built), Some(true));
        assert_eq!(is_on(&followed), Some(true));
        assert_eq!(is_on(&empty), None);
        assert_eq!(built.root(), followed.root());
        let gone = followed.after(
            at(3),
            [
                delivered("flag", "", "f", None),
                delivered("targeting", "production", "f", None),
            ],
        );
        assert_eq!(gone.root(), empty.root());
        assert_eq!(gone.at().revision, 3);
    }

    #[test]
    fn a_stand_in_is_in_the_view_and_what_was_delivered_in_the_root() {
        let off = r#"{"default":"off","state":"enabled"}"#;
        let key = DocumentKey::new(Kind::Targeting, "production", "f").unwrap();
        let delivered = || {
            [
                delivered("flag", "", "f", Some(FLAG)),
                delivered("targeting", "production", "f", Some(ON)),
            ]
        };
        let with = |instead: StandIn| {
            let stand_ins = StandIns {
                instead: BTreeMap::from([(key.clone(), instead)]),
                beside: Vec::new(),
            };
            Holding::build_with(production(), at(2), delivered(), [], &stand_ins)
        };
        let plain = Holding::build(production(), at(2), delivered(), []);
        let other = with(StandIn {
            revision: 1,
            body: Some(off.as_bytes().into()),
        });
        assert_eq!((is_on(&plain), is_on(&other)), (Some(true), Some(false)));
        assert_eq!(is_on(&with(StandIn::default())), Some(false));
        assert_eq!(plain.root(), other.root());
        let again = other.after(at(3), delivered());
        assert_eq!(is_on(&again), Some(true));
    }

    #[test]
    fn a_kind_that_is_not_known_counts_in_the_root_and_nowhere_else() {
        let known = Holding::build(production(), at(1), [], []);
        let newer = known.after(at(2), [delivered("hologram", "", "h", Some("{}"))]);
        assert_ne!(newer.root(), known.root());
        assert_eq!(newer.unreadable().count(), 0);
    }

    #[test]
    fn a_body_that_cannot_be_read_breaks_only_itself() {
        let holding = Holding::build(
            production(),
            at(1),
            [
                delivered("flag", "", "f", Some(FLAG)),
                delivered("targeting", "production", "f", Some(ON)),
                delivered("flag", "", "g", Some("[]")),
            ],
            [],
        );
        assert_eq!(is_on(&holding), Some(true));
        assert_eq!(holding.unreadable().count(), 1);
        let mended = holding.after(at(2), [delivered("flag", "", "g", Some(FLAG))]);
        assert_eq!(mended.unreadable().count(), 0);
    }

    #[test]
    fn a_blob_that_is_not_there_or_not_the_one_named_is_told() {
        let digest = Digest::of(b"{}");
        let body = format!(
            r#"{{"lock":"{digest}","manifest":"{digest}","published_at":"2026-01-01T00:00:00Z","published_by":"p","signatures":[]}}"#
        );
        let documents = || [delivered("tool", "", "t@1.0.0", Some(&body))];
        let without = Holding::build(production(), at(1), documents(), []);
        assert_eq!(without.unreadable().next(), None);
        let missing: Vec<_> = without.missing().map(|it| it.1).collect();
        assert_eq!(missing, [digest]);
        let other: Arc<[u8]> = Arc::from(*b"{ }");
        let altered = Holding::build(production(), at(1), documents(), [(digest, other)]);
        assert_eq!(altered.missing().count(), 1);
        let right: Arc<[u8]> = Arc::from(*b"{}");
        let with = Holding::build(production(), at(1), documents(), [(digest, right)]);
        assert_eq!(with.missing().count(), 0);
        let gone = without.after(at(2), [delivered("tool", "", "t@1.0.0", None)]);
        assert_eq!(gone.missing().count(), 0);
    }
}
