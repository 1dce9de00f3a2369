//! The state as a command would leave it, and what was read to decide about the command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Digest, Document, DocumentKey, Kind, TenantId,
};

use crate::layers::LayerPlace;
use crate::state::{Entry, State, base_name, folded_name};

/// What a decision rests on: if none of it changed, the decision still holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// Documents, with the revision of their last change; none for one that was not there.
    pub(crate) documents: BTreeMap<DocumentKey, Option<u64>>,
    /// Kinds of which all documents were looked at, with the revision of the last change of any.
    pub(crate) kinds: BTreeMap<Kind, u64>,
}

impl ReadSet {
    /// Says whether nothing that was read has changed since.
    pub fn holds(&self, state: &State) -> bool {
        self.kinds
            .iter()
            .all(|(kind, revision)| state.kind_revision(*kind) == *revision)
            && self
                .documents
                .iter()
                .all(|(key, revision)| state.entry(key).map(|it| it.revision) == *revision)
    }
}

/// The base state with the changes of one command over it; remembers what is read.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    base: &'a State,
    changed: BTreeMap<DocumentKey, Option<Arc<Document>>>,
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    /// The names that the command brings, by their lower-case form.
    folded: BTreeMap<(Kind, String), String>,
    /// What the command would write and may not.
    refused: BTreeSet<DocumentKey>,
    reads: ReadSet,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a State) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
            blobs: BTreeMap::new(),
            folded: BTreeMap::new(),
            refused: BTreeSet::new(),
            reads: ReadSet::default(),
        }
    }

    pub(crate) fn base(&self) -> &'a State {
        self.base
    }

    pub(crate) fn put(&mut self, key: DocumentKey, document: Option<Arc<Document>>) {
        if document.is_some()
            && let Some(folded) = folded_name(&key)
        {
            self.folded
                .insert((key.kind(), folded), base_name(&key).to_owned());
        }
        self.changed.insert(key, document);
    }

    /// Notes that the command would write this document and may not.
    pub(crate) fn refuse(&mut self, key: DocumentKey) {
        self.refused.insert(key);
    }

    /// Says whether the command was refused this document: that it is missing is then no news.
    pub(crate) fn has_refused(&self, key: &DocumentKey) -> bool {
        self.refused.contains(key)
    }

    /// Says whether the command was refused a version of the tool.
    pub(crate) fn has_refused_tool(&self, name: &ArtifactName) -> bool {
        let versions = DocumentKey::bound(Kind::Tool, "", &format!("{name}@"));
        self.refused
            .range(versions..)
            .next()
            .is_some_and(|key| key.kind() == Kind::Tool && base_name(key) == name.as_str())
    }

    pub(crate) fn put_blob(&mut self, digest: Digest, bytes: Arc<[u8]>) {
        self.blobs.insert(digest, bytes);
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.blobs
            .get(digest)
            .or_else(|| self.base.blob(digest))
            .cloned()
    }

    pub(crate) fn changed(&self) -> impl Iterator<Item = (&DocumentKey, &Option<Arc<Document>>)> {
        self.changed.iter()
    }

    /// Notes that the decision rests on this document.
    pub(crate) fn read(&mut self, key: &DocumentKey) {
        if !self.reads.documents.contains_key(key) {
            let revision = self.base.entry(key).map(|entry| entry.revision);
            self.reads.documents.insert(key.clone(), revision);
        }
    }

    /// Notes that the decision rests on all that another one rests on.
    pub(crate) fn read_also(&mut self, reads: ReadSet) {
        self.reads.documents.extend(reads.documents);
        self.reads.kinds.extend(reads.kinds);
    }

    /// The document as the command would leave it.
    pub(crate) fn get(&mut self, key: &DocumentKey) -> Option<Arc<Document>> {
        self.read(key);
        match self.changed.get(key) {
            Some(document) => document.clone(),
            None => self.base.document(key).cloned(),
        }
    }

    pub(crate) fn has(&mut self, key: &DocumentKey) -> bool {
        self.read(key);
        match self.changed.get(key) {
            Some(document) => document.is_some(),
            None => self.base.entry(key).is_some(),
        }
    }

    /// All documents of a kind as the command would leave them.
    pub(crate) fn of_kind(&mut self, kind: Kind) -> BTreeMap<DocumentKey, Arc<Document>> {
        self.select(kind, |_| true)
    }

    /// The documents of a kind that satisfy `test`, as the command would leave them.
    ///
    /// Looks at each document of the kind, and copies only what it gives.
    pub(crate) fn select(
        &mut self,
        kind: Kind,
        test: impl Fn(&Document) -> bool,
    ) -> BTreeMap<DocumentKey, Arc<Document>> {
        self.reads.kinds.insert(kind, self.base.kind_revision(kind));
        let mut found: BTreeMap<_, _> = self
            .base
            .of_kind(kind)
            .filter_map(|(key, entry)| Some((key, entry.document()?)))
            .filter(|(_, document)| test(document))
            .map(|(key, document)| (key.clone(), document.clone()))
            .collect();
        for (key, document) in &self.changed {
            if key.kind() == kind {
                match document {
                    Some(document) if test(document) => found.insert(key.clone(), document.clone()),
                    _ => found.remove(key),
                };
            }
        }
        found
    }

    /// The config layers that are not a tenant's, and those of some tenants, as the command would leave them.
    ///
    /// Takes time in proportion to what it gives, however many tenants have layers of their own.
    pub(crate) fn layers(
        &mut self,
        tenants: &BTreeSet<TenantId>,
    ) -> BTreeMap<DocumentKey, Arc<Document>> {
        let kind = Kind::Config;
        self.reads.kinds.insert(kind, self.base.kind_revision(kind));
        let mut layers = BTreeMap::new();
        let mut keep = |key: &DocumentKey, entry: &Entry| {
            let document = entry.document().cloned();
            layers.extend(document.map(|document| (key.clone(), document)));
        };
        for place in self.base.layer_places() {
            let scopes: Vec<_> = match place {
                LayerPlace::Shared(scope) => vec![scope.to_owned()],
                LayerPlace::Tenants(_) => tenants.iter().filter_map(|it| place.of(it)).collect(),
            };
            for scope in scopes {
                for (key, entry) in self.base.in_scope(kind, &scope, "") {
                    keep(key, entry);
                }
            }
        }
        for (key, document) in &self.changed {
            if key.kind() != kind || key.tenant_id().is_some_and(|it| !tenants.contains(&it)) {
                continue;
            }
            match document {
                Some(document) => layers.insert(key.clone(), document.clone()),
                None => layers.remove(key),
            };
        }
        layers
    }

    /// Says whether any document of a kind satisfies `test`, as the command would leave them.
    pub(crate) fn any(
        &mut self,
        kind: Kind,
        mut test: impl FnMut(&DocumentKey, &Document) -> bool,
    ) -> Option<DocumentKey> {
        self.reads.kinds.insert(kind, self.base.kind_revision(kind));
        let base = self.base.of_kind(kind).filter_map(|(key, entry)| {
            (!self.changed.contains_key(key)).then_some((key, entry.document()?))
        });
        let changed = self.changed.iter().filter_map(|(key, document)| {
            (key.kind() == kind).then_some((key, document.as_ref()?))
        });
        base.chain(changed)
            .find(|(key, document)| test(key, document))
            .map(|(key, _)| key.clone())
    }

    /// The published versions of an agent or a tool, as the command would leave them.
    pub(crate) fn versions(
        &mut self,
        kind: ArtifactKind,
        name: &ArtifactName,
    ) -> Vec<(ArtifactVersion, Arc<Document>)> {
        let of = match kind {
            ArtifactKind::Agent => Kind::Agent,
            ArtifactKind::Tool => Kind::Tool,
        };
        self.reads.kinds.insert(of, self.base.kind_revision(of));
        let mut versions: Vec<_> = self
            .base
            .versions(kind, name)
            .filter_map(|(version, entry)| Some((version, entry.document()?.clone())))
            .collect();
        let brought = self
            .changed
            .range(DocumentKey::bound(of, "", &format!("{name}@"))..);
        for (key, document) in
            brought.take_while(|(key, _)| key.kind() == of && base_name(key) == name.as_str())
        {
            if let (Ok(version), Some(document)) = (key.name().parse::<ArtifactVersion>(), document)
                && version.name == *name
                && !versions.iter().any(|(known, _)| *known == version)
            {
                versions.push((version, document.clone()));
            }
        }
        versions
    }

    /// The names that differ from the key's only in case, in the state or in the command.
    pub(crate) fn collision(&self, key: &DocumentKey) -> Option<String> {
        if let Some(used) = self.base.collision(key) {
            return Some(used.to_owned());
        }
        let brought = self.folded.get(&(key.kind(), folded_name(key)?))?;
        (*brought != base_name(key)).then(|| brought.clone())
    }

    pub(crate) fn into_reads(self) -> ReadSet {
        self.reads
    }
}

/// The names of the environments, as the command would leave them.
pub(crate) fn environments(draft: &mut Draft<'_>) -> BTreeSet<plane_model::EnvironmentName> {
    draft
        .of_kind(Kind::Environment)
        .keys()
        .filter_map(|key| plane_model::EnvironmentName::new(key.name()).ok())
        .collect()
}
