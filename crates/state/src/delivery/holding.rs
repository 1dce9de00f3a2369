//! What a holder of a view has: the view, what it was built from, and the digest over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use plane_eval::{Change, Signature, Source, View};
use plane_model::{
    ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, EnvironmentName, Kind, TenantId,
};

use super::part::Part;
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
/// INVARIANT: a tenant's documents are in the view only if they are those of the part that the root names.
#[derive(Debug, Clone)]
pub struct Holding {
    at: At,
    view: View,
    roots: Roots,
    /// The parts that are held, if only those are that were asked for; of the others the root has digests.
    parts: Option<OrdMap<TenantId, Arc<Part>>>,
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
        let empty = Self::empty(environment, at.clone(), blobs);
        empty.after_with(at, documents, stand_ins)
    }

    /// As [`build_with`](Self::build_with), of a delivery without the parts of tenants: `parts` names them.
    /// They are held as they are asked for, by [`with_part`](Self::with_part).
    pub fn build_on_demand<'a>(
        environment: EnvironmentName,
        at: At,
        documents: impl IntoIterator<Item = Delivered<'a>>,
        parts: impl IntoIterator<Item = (TenantId, Digest)>,
        blobs: impl IntoIterator<Item = (Digest, Arc<[u8]>)>,
        stand_ins: &StandIns,
    ) -> Self {
        let mut empty = Self::empty(environment, at.clone(), blobs);
        empty.parts = Some(OrdMap::new());
        for (tenant, digest) in parts {
            empty.roots.tell(&tenant, Some(digest));
        }
        empty.after_with(at, documents, stand_ins)
    }

    fn empty(
        environment: EnvironmentName,
        at: At,
        blobs: impl IntoIterator<Item = (Digest, Arc<[u8]>)>,
    ) -> Self {
        let blobs = blobs
            .into_iter()
            .filter(|(digest, bytes)| Digest::of(bytes) == *digest);
        let sources = Sources {
            blobs: blobs.collect(),
            registry: OrdMap::new(),
        };
        Self {
            view: View::build(environment, 0, [], &sources),
            at,
            roots: Roots::default(),
            parts: None,
            sources,
            missing: OrdSet::new(),
            unreadable: OrdMap::new(),
        }
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
        self.after_told(at, documents, &BTreeMap::new(), stand_ins)
    }

    /// As [`after_with`](Self::after_with), where only parts are held that were asked for: `told` are the digests
    /// of those that changed, none of one that is gone.
    ///
    /// A part that is held follows its documents; if they do not lead to the digest, it is held no more.
    #[must_use]
    pub fn after_told<'a>(
        &self,
        at: At,
        documents: impl IntoIterator<Item = Delivered<'a>>,
        told: &BTreeMap<TenantId, Option<Digest>>,
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
        if self.parts.is_some() {
            for (tenant, digest) in told {
                next.tell(tenant, *digest, &mut changes);
            }
        }
        next.at = at;
        next.updated(changes)
    }

    /// Holds the part of one more tenant; none if it is not the one that the root names.
    #[must_use]
    pub fn with_part(&self, tenant: &TenantId, part: &Part, stand_ins: &StandIns) -> Option<Self> {
        if self.roots.part(tenant) != Some(part.digest()) {
            return None;
        }
        let mut next = self.clone();
        next.parts.as_mut()?.insert(tenant.clone(), Arc::default());
        let mut changes = BTreeMap::new();
        for (key, revision, body) in &stand_ins.beside {
            next.take(key.clone(), *revision, Some(body), &mut changes);
        }
        for (name, revision, body) in part.documents() {
            let delivered = Delivered {
                tenant: Some(tenant.clone()),
                name,
                revision,
                body: Some(body),
            };
            next.place(&delivered, stand_ins, &mut changes);
        }
        Some(next.updated(changes))
    }

    /// Holds a tenant's part no more.
    #[must_use]
    pub fn without_part(&self, tenant: &TenantId) -> Self {
        let mut next = self.clone();
        let mut changes = BTreeMap::new();
        let digest = next.roots.part(tenant);
        next.let_go(tenant, &mut changes);
        next.roots.tell(tenant, digest);
        next.updated(changes)
    }

    /// The parts of tenants that are held; none if all are, without being asked for.
    pub fn parts(&self) -> Option<&OrdMap<TenantId, Arc<Part>>> {
        self.parts.as_ref()
    }

    /// The digest of a tenant's part, whether or not it is held; none if the tenant has none.
    pub fn part(&self, tenant: &TenantId) -> Option<Digest> {
        self.roots.part(tenant)
    }

    /// Holds the same at a place that is vouched for.
    #[must_use]
    pub fn placed(mut self, at: At) -> Self {
        if at.revision != self.at.revision {
            self.view = self.view.update(at.revision, &[], &self.sources);
        }
        self.at = at;
        self
    }

    fn updated(mut self, changes: BTreeMap<DocumentKey, Change>) -> Self {
        let changes: Vec<_> = changes.into_values().collect();
        self.view = self.view.update(self.at.revision, &changes, &self.sources);
        self
    }

    /// Takes the digest of a tenant's part; one that is held has to be the one that it names.
    fn tell(
        &mut self,
        tenant: &TenantId,
        digest: Option<Digest>,
        changes: &mut BTreeMap<DocumentKey, Change>,
    ) {
        let is_held = self
            .parts
            .as_ref()
            .is_some_and(|it| it.contains_key(tenant));
        if is_held && self.roots.part(tenant) == digest {
            return;
        }
        self.let_go(tenant, changes);
        self.roots.tell(tenant, digest);
    }

    /// Takes a tenant's documents out of the view.
    fn let_go(&mut self, tenant: &TenantId, changes: &mut BTreeMap<DocumentKey, Change>) {
        let Some(part) = self.parts.as_mut().and_then(|it| it.remove(tenant)) else {
            return;
        };
        for (name, _, _) in part.documents() {
            if let Some(key) = name.key() {
                self.take(key, 0, None, changes);
            }
        }
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
        if let (Some(parts), Some(tenant)) = (&mut self.parts, tenant) {
            let Some(part) = parts.get_mut(tenant) else {
                return;
            };
            let part = Arc::make_mut(part);
            part.put(*name, *revision, *body);
            if part.is_empty() {
                parts.remove(tenant);
            }
        }
        match body {
            Some(body) => self.roots.put(tenant.as_ref(), *name, *revision, body),
            None => self.roots.remove(tenant.as_ref(), *name),
        }
        let Some(key) = name.key() else {
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
        let placed = followed.clone().placed(at(4));
        assert_eq!((placed.at(), placed.view().revision()), (&at(4), 4));
        assert_eq!(placed.root(), followed.root());
        assert_eq!(is_on(&placed), Some(true));
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

    const TENANT: &str = r#"{"plan":"free"}"#;

    fn of_tenant<'a>(id: &'a str, revision: u64, body: Option<&'a str>) -> Delivered<'a> {
        Delivered {
            tenant: Some(TenantId::new(id).unwrap()),
            revision,
            ..delivered("tenant", "", id, body)
        }
    }

    fn part_of(id: &str, revision: u64, body: &str) -> Part {
        let mut part = Part::default();
        let delivered = of_tenant(id, revision, Some(body));
        part.put(delivered.name, revision, delivered.body);
        part
    }

    /// Two holders of the same: of everything, and of the tenants that they ask for.
    fn eager_and_on_demand() -> (Holding, Holding) {
        let shared = || {
            [
                delivered("flag", "", "f", Some(FLAG)),
                delivered("targeting", "production", "f", Some(ON)),
            ]
        };
        let tenants = ["t1", "t2"].map(|id| of_tenant(id, 1, Some(TENANT)));
        let all = shared().into_iter().chain(tenants);
        let eager = Holding::build(production(), at(2), all, []);
        let digest = |id: &str| {
            let tenant = TenantId::new(id).unwrap();
            (tenant, part_of(id, 1, TENANT).digest())
        };
        let parts = ["t1", "t2"].map(digest);
        let stand_ins = StandIns::default();
        let demand = Holding::build_on_demand(production(), at(2), shared(), parts, [], &stand_ins);
        (eager, demand)
    }

    fn knows(holding: &Holding, id: &str) -> bool {
        let ctx = Context::new().with_tenant(id);
        let evaluation = holding.view().evaluate_key("f", &ctx, Timestamp(0));
        !evaluation.tenant_unknown()
    }

    #[test]
    fn who_holds_some_tenants_has_the_root_of_who_holds_all() {
        let (eager, demand) = eager_and_on_demand();
        assert_eq!(demand.root(), eager.root());
        assert!(is_on(&demand) == Some(true) && !knows(&demand, "t1"));
        let t1 = TenantId::new("t1").unwrap();
        let none = StandIns::default();
        let held = demand
            .with_part(&t1, &part_of("t1", 1, TENANT), &none)
            .unwrap();
        assert!(knows(&held, "t1") && !knows(&held, "t2"));
        assert_eq!(held.root(), eager.root());
        let gone = held.without_part(&t1);
        assert!(!knows(&gone, "t1"));
        assert_eq!(gone.root(), eager.root());
    }

    #[test]
    fn a_part_that_the_root_does_not_name_is_not_held() {
        let (eager, demand) = eager_and_on_demand();
        let none = StandIns::default();
        let [t1, t3] = ["t1", "t3"].map(|id| TenantId::new(id).unwrap());
        for (tenant, part) in [
            (&t1, part_of("t1", 2, TENANT)),
            (&t1, part_of("t1", 1, "{}")),
            (&t1, part_of("t2", 1, TENANT)),
            (&t1, Part::default()),
            (&t3, part_of("t3", 1, TENANT)),
        ] {
            assert!(demand.with_part(tenant, &part, &none).is_none(), "{part:?}");
        }
        assert!(
            eager
                .with_part(&t1, &part_of("t1", 1, TENANT), &none)
                .is_none()
        );
    }

    #[test]
    fn parts_that_are_held_follow_and_those_that_are_not_are_only_told() {
        let (eager, demand) = eager_and_on_demand();
        let none = StandIns::default();
        let [t1, t2] = ["t1", "t2"].map(|id| TenantId::new(id).unwrap());
        let held = demand
            .with_part(&t1, &part_of("t1", 1, TENANT), &none)
            .unwrap();
        let paid = r#"{"plan":"paid"}"#;
        let changes = || {
            [
                of_tenant("t1", 3, Some(paid)),
                of_tenant("t2", 3, Some(paid)),
            ]
        };
        let told = [(&t1, "t1"), (&t2, "t2")]
            .map(|(tenant, id)| (tenant.clone(), Some(part_of(id, 3, paid).digest())));
        let next = held.after_told(at(3), changes(), &told.into(), &none);
        assert_eq!(next.root(), eager.after(at(3), changes()).root());
        assert!(knows(&next, "t1") && !knows(&next, "t2"));
        assert_eq!(*next.parts().unwrap()[&t1], part_of("t1", 3, paid));

        // What was told without its documents, or does not fit them, is not held any more.
        let told = [(t1.clone(), Some(part_of("t1", 4, TENANT).digest()))].into();
        let lost = next.after_told(at(4), [], &told, &none);
        assert!(!knows(&lost, "t1") && lost.parts().unwrap().is_empty());
        let whole = eager.after(at(3), changes());
        let whole = whole.after(at(4), [of_tenant("t1", 4, Some(TENANT))]);
        assert_eq!(lost.root(), whole.root());

        let told = [(t1, None), (t2, None)].into();
        let gone = next.after_told(at(4), [of_tenant("t1", 4, None)], &told, &none);
        assert!(!knows(&gone, "t1") && gone.parts().unwrap().is_empty());
        let none_left = ["t1", "t2"].map(|id| of_tenant(id, 4, None));
        assert_eq!(gone.root(), eager.after(at(4), none_left).root());
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
