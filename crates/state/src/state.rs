//! The state: the fold of all records up to a revision, an immutable value.

use std::sync::Arc;

use imbl::OrdMap;
use plane_eval::Change;
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Digest, Document, DocumentKey, EnvironmentName,
    Kind, Timestamp,
};

use crate::prepare::named_blobs;
use crate::record::{BodyRef, OpKind, Record, RecordOp};
use crate::seal::Sealed;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The revision; 0 before the first record.
    pub revision: u64,
    /// The hash of the record at this revision; of nothing before the first.
    pub hash: Digest,
    /// When it was committed.
    pub at: Timestamp,
}

impl Head {
    /// The place before the first record.
    pub fn genesis() -> Self {
        Self {
            revision: 0,
            hash: Digest::from_bytes([0; 32]),
            at: Timestamp(0),
        }
    }
}

/// Where the fold finds the bytes that records name.
pub trait Bodies {
    /// The bytes of a body; none if they were erased, or are not the ones that were named.
    fn body(&self, body: &BodyRef) -> Option<Arc<[u8]>>;
    /// Says whether there are bytes, but not the ones that were named.
    fn is_damaged(&self, _body: &BodyRef) -> bool {
        false
    }
    /// The bytes of a blob.
    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>>;
}

/// What is known of a document's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// It was read.
    Readable(Arc<Document>),
    /// Its body was erased.
    Erased,
    /// Its body is not what this version expects; the detail says why.
    Unreadable(Arc<str>),
}

/// A document of the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The revision of its last change.
    pub revision: u64,
    /// Where its body is.
    pub body: BodyRef,
    /// The body's bytes, as they are stored; empty if erased.
    pub bytes: Arc<[u8]>,
    /// What the bytes say.
    pub content: Content,
    /// Whether the last applied tree put just this.
    pub(crate) managed: bool,
}

impl Entry {
    /// The digest of the bytes alone; of nothing if they were erased.
    ///
    /// Hashes the bytes: there are many documents, and few are asked for it.
    pub fn content_digest(&self) -> Digest {
        match self.content {
            Content::Erased => Digest::from_bytes([0; 32]),
            Content::Readable(_) | Content::Unreadable(_) => Digest::of(&self.bytes),
        }
    }

    /// The document, if it can be read.
    pub fn document(&self) -> Option<&Arc<Document>> {
        match &self.content {
            Content::Readable(document) => Some(document),
            Content::Erased | Content::Unreadable(_) => None,
        }
    }
}

/// Something that the fold met and passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// Where.
    pub revision: u64,
    /// What.
    pub detail: String,
}

/// What applying a record did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The documents that changed, for the views to follow.
    pub changes: Vec<Change>,
    /// What was passed over.
    pub anomalies: Vec<Anomaly>,
}

/// The state at one revision.
///
/// INVARIANT: equal records give equal states, whoever folds them and in how many steps.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) log: Arc<str>,
    pub(crate) head: Head,
    pub(crate) entries: OrdMap<DocumentKey, Arc<Entry>>,
    pub(crate) blobs: OrdMap<Digest, Arc<[u8]>>,
    /// What the last applied tree put where somebody has changed or deleted it since: the content's
    /// digest, by document. Of all others their entry says that it is what the tree put.
    pub(crate) strayed: OrdMap<DocumentKey, Digest>,
    /// Documents of kinds that this version does not know, carried for those that do.
    pub(crate) unknown: OrdMap<(String, String, String), BodyRef>,
    /// The lower-case names in use, to refuse names that differ only in case.
    pub(crate) folded: OrdMap<(Kind, String), Arc<str>>,
    /// The revision of the last change of any document of a kind, in the order of `Kind::ALL`.
    pub(crate) kind_revisions: Vec<u64>,
    /// How often the log was recovered from a backup: of two heads, the one with the higher epoch holds.
    pub(crate) epoch: u64,
    /// How many documents of a kind there are, in the order of `Kind::ALL`.
    kind_counts: Vec<usize>,
    pub(crate) anomalies: u64,
}

impl State {
    /// The state before the first record of a log.
    pub fn genesis(log: &str) -> Self {
        Self {
            log: log.into(),
            head: Head::genesis(),
            entries: OrdMap::new(),
            blobs: OrdMap::new(),
            strayed: OrdMap::new(),
            unknown: OrdMap::new(),
            folded: OrdMap::new(),
            kind_revisions: vec![0; Kind::ALL.len()],
            epoch: 0,
            kind_counts: vec![0; Kind::ALL.len()],
            anomalies: 0,
        }
    }

    /// Puts a state together from the documents that it has, for reading the past without a replay.
    ///
    /// It holds what [`apply`](Self::apply) would have given, but for what trees put and for kinds
    /// that this version does not know. A document that is the same in `known`, a state of the same log, is
    /// taken from there; all others from `bodies`.
    pub fn assemble(
        head: Head,
        documents: impl IntoIterator<Item = (DocumentKey, u64, BodyRef)>,
        known: &Self,
        bodies: &dyn Bodies,
    ) -> Self {
        let mut state = Self::genesis(known.log());
        state.head = head;
        let mut entries = Vec::new();
        for (key, revision, body) in documents {
            let same = known.entries.get(&key).filter(|it| it.revision == revision);
            let entry = match same {
                Some(entry) => Arc::clone(entry),
                None => Arc::new(read_body(&key, revision, body, bodies).0),
            };
            state.anomalies += u64::from(entry.document().is_none());
            for digest in entry
                .document()
                .map(|it| named_blobs(it))
                .unwrap_or_default()
            {
                if let Some(bytes) = bodies
                    .blob(&digest)
                    .or_else(|| known.blob(&digest).cloned())
                {
                    state.blobs.insert(digest, bytes);
                }
            }
            if let Some(last) = state.kind_revisions.get_mut(key.kind() as usize) {
                *last = revision.max(*last);
            }
            entries.push((key, entry));
        }
        state.fill(entries);
        state
    }

    /// The id of the log that this is a state of.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The place in the log.
    pub fn head(&self) -> Head {
        self.head
    }

    /// How often the log was recovered from a backup; a holder of a view accepts a lower revision only with a
    /// higher epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many things the fold has passed over.
    pub fn anomalies(&self) -> u64 {
        self.anomalies
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many documents of a kind there are, readable or not.
    pub fn count(&self, kind: Kind) -> usize {
        self.kind_counts.get(kind as usize).copied().unwrap_or(0)
    }

    /// Says whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A document, readable or not.
    pub fn entry(&self, key: &DocumentKey) -> Option<&Entry> {
        self.entries.get(key).map(|entry| &**entry)
    }

    /// A document that can be read.
    pub fn document(&self, key: &DocumentKey) -> Option<&Arc<Document>> {
        self.entry(key).and_then(Entry::document)
    }

    /// All documents, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&DocumentKey, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key, &**entry))
    }

    /// All documents of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&DocumentKey, &Entry)> {
        self.from(kind, "", "")
    }

    /// The documents of a kind from a scope and a name on, whether or not there is such a document.
    ///
    /// Finding the first takes time in proportion to the logarithm of the number of documents.
    pub fn from(
        &self,
        kind: Kind,
        scope: &str,
        name: &str,
    ) -> impl Iterator<Item = (&DocumentKey, &Entry)> + use<'_> {
        self.entries
            .range(DocumentKey::bound(kind, scope, name)..)
            .take_while(move |(key, _)| key.kind() == kind)
            .map(|(key, entry)| (key, &**entry))
    }

    /// All documents of a kind in a scope, from `name` on.
    pub fn in_scope<'s>(
        &'s self,
        kind: Kind,
        scope: &str,
        name: &str,
    ) -> impl Iterator<Item = (&'s DocumentKey, &'s Entry)> {
        self.from(kind, scope, name)
            .take_while(move |(key, _)| key.scope() == scope)
    }

    /// The published versions of an agent or a tool, with what the registry keeps of them.
    pub fn versions<'a>(
        &'a self,
        kind: ArtifactKind,
        name: &ArtifactName,
    ) -> impl Iterator<Item = (ArtifactVersion, &'a Entry)> + use<'a> {
        let prefix = format!("{name}@");
        let kind = match kind {
            ArtifactKind::Agent => Kind::Agent,
            ArtifactKind::Tool => Kind::Tool,
        };
        self.entries
            .range(DocumentKey::bound(kind, "", &prefix)..)
            .take_while(move |(key, _)| key.kind() == kind && key.name().starts_with(&prefix))
            .filter_map(|(key, entry)| Some((key.name().parse().ok()?, &**entry)))
    }

    /// The environments, in the order in which they are listed.
    pub fn environments(&self) -> Vec<EnvironmentName> {
        let mut environments: Vec<_> = self
            .of_kind(Kind::Environment)
            .filter_map(|(key, entry)| {
                let Document::Environment(it) = &**entry.document()? else {
                    return None;
                };
                Some((it.order, EnvironmentName::new(key.name()).ok()?))
            })
            .collect();
        environments.sort();
        environments.into_iter().map(|(_, name)| name).collect()
    }

    /// A blob that documents refer to.
    pub fn blob(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        self.blobs.get(digest)
    }

    /// The digest of what the last applied tree put, if the document came from a tree.
    pub fn managed(&self, key: &DocumentKey) -> Option<Digest> {
        match self.entry(key) {
            Some(entry) if entry.managed => Some(entry.content_digest()),
            _ => self.strayed.get(key).copied(),
        }
    }

    /// The documents that the last applied tree put; those that strayed come last.
    pub fn managed_keys(&self) -> impl Iterator<Item = &DocumentKey> {
        let here = self.entries.iter().filter(|(_, entry)| entry.managed);
        here.map(|(key, _)| key).chain(self.strayed.keys())
    }

    /// The revision of the last change of any document of a kind.
    pub fn kind_revision(&self, kind: Kind) -> u64 {
        self.kind_revisions.get(kind as usize).copied().unwrap_or(0)
    }

    /// A digest of the whole state, over the digests of its bodies: equal states, equal digests.
    ///
    /// Takes time in proportion to the number of documents.
    pub fn digest(&self) -> Digest {
        use std::fmt::Write as _;
        let mut text = format!("{}\n{}\n{}\n", self.log, self.head.revision, self.head.hash);
        if self.epoch > 0 {
            let _ = writeln!(text, "epoch {}", self.epoch);
        }
        for (key, entry) in &self.entries {
            let managed = if entry.managed { " managed" } else { "" };
            let _ = writeln!(
                text,
                "{} {} {} {} {}{managed}",
                key.kind(),
                key.scope(),
                key.name(),
                entry.revision,
                entry.body
            );
        }
        for (key, digest) in &self.strayed {
            let _ = writeln!(
                text,
                "{} {} {} {digest}",
                key.kind(),
                key.scope(),
                key.name()
            );
        }
        for ((kind, scope, name), body) in &self.unknown {
            let _ = writeln!(text, "{kind} {scope} {name} {body}");
        }
        Digest::of(text.as_bytes())
    }

    /// Folds one record into the state.
    ///
    /// Total: whatever the bytes, the result is a state at `revision`. What cannot be read is
    /// passed over, counted, and broken only for itself.
    #[must_use]
    pub fn apply(
        &self,
        revision: u64,
        hash: Digest,
        record: &[u8],
        bodies: &dyn Bodies,
    ) -> (Self, Applied) {
        let mut next = self.clone();
        let applied = next.fold(revision, hash, Record::decode(record).as_ref(), bodies);
        (next, applied)
    }

    /// Folds a record that was just sealed on this state, in place and without reading its bytes again.
    ///
    /// Gives what [`apply`](Self::apply) gives, and spares a copy of what the commits of one run change together.
    pub fn follow(&mut self, sealed: &Sealed, bodies: &dyn Bodies) -> Applied {
        let record = &sealed.record;
        self.fold(record.revision, sealed.hash, Ok(record), bodies)
    }

    fn fold(
        &mut self,
        revision: u64,
        hash: Digest,
        record: Result<&Record, &String>,
        bodies: &dyn Bodies,
    ) -> Applied {
        let mut applied = Applied {
            changes: Vec::new(),
            anomalies: Vec::new(),
        };
        self.head = Head {
            revision,
            hash,
            at: self.head.at,
        };
        match record {
            Ok(record) => {
                self.head.at = record.at.max(self.head.at);
                self.epoch += u64::from(record.action == crate::Action::Recover.as_str());
                for op in &record.ops {
                    self.apply_op(revision, &record.action, op, bodies, &mut applied);
                }
            }
            Err(detail) => applied.anomalies.push(Anomaly {
                revision,
                detail: detail.clone(),
            }),
        }
        self.anomalies += u64::try_from(applied.anomalies.len()).unwrap_or(u64::MAX);
        applied
    }

    fn apply_op(
        &mut self,
        revision: u64,
        action: &str,
        op: &RecordOp,
        bodies: &dyn Bodies,
        applied: &mut Applied,
    ) {
        let mut note = |detail: String| applied.anomalies.push(Anomaly { revision, detail });
        let Some(key) = op.key() else {
            note(format!(
                "{} `{}` is of a kind that this version does not know",
                op.kind, op.name
            ));
            let key = (op.kind.clone(), op.scope.clone(), op.name.clone());
            match (op.op, op.digest) {
                (OpKind::Put, Some(body)) => self.unknown.insert(key, body),
                _ => self.unknown.remove(&key),
            };
            return;
        };
        for digest in &op.blobs {
            match bodies.blob(digest) {
                Some(bytes) => {
                    self.blobs.insert(*digest, bytes);
                }
                None => note(format!("{key}: the blob {digest} is missing")),
            }
        }
        let by_tree = action == crate::Action::Apply.as_str();
        let entry = match (op.op, op.digest) {
            (OpKind::Put, Some(body)) => {
                let (mut entry, anomaly) = read_body(&key, revision, body, bodies);
                entry.managed = by_tree;
                if let Some(detail) = anomaly {
                    note(detail);
                }
                Some(entry)
            }
            (OpKind::Put, None) => {
                note(format!("{key}: put without a body"));
                return;
            }
            (OpKind::Delete, _) => None,
        };
        let document = entry.as_ref().and_then(Entry::document).cloned();
        if by_tree {
            self.strayed.remove(&key);
        } else if let Some(before) = self.entry(&key).filter(|it| it.managed) {
            let put = before.content_digest();
            self.strayed.insert(key.clone(), put);
        }
        self.insert(&key, entry);
        if let Some(last) = self.kind_revisions.get_mut(key.kind() as usize) {
            *last = revision;
        }
        applied.changes.push(Change {
            key,
            revision,
            document,
        });
    }

    /// Puts an entry in its place, or takes it out, and keeps the names in use up to date.
    pub(crate) fn insert(&mut self, key: &DocumentKey, entry: Option<Entry>) {
        if let Some(folded) = folded_name(key) {
            let name = base_name(key);
            match &entry {
                Some(_) => self.folded.insert((key.kind(), folded), name.into()),
                None => self.folded.remove(&(key.kind(), folded)),
            };
        }
        let is_there = entry.is_some();
        let was_there = match entry {
            Some(entry) => self.entries.insert(key.clone(), Arc::new(entry)),
            None => self.entries.remove(key),
        }
        .is_some();
        if let Some(count) = self.kind_counts.get_mut(key.kind() as usize) {
            *count = match (was_there, is_there) {
                (false, true) => *count + 1,
                (true, false) => *count - 1,
                _ => *count,
            };
        }
    }

    /// Takes the documents of a checkpoint over, which come in the order of their keys.
    pub(crate) fn fill(&mut self, documents: Vec<(DocumentKey, Arc<Entry>)>) {
        for (key, _) in &documents {
            if let Some(folded) = folded_name(key) {
                self.folded
                    .insert((key.kind(), folded), base_name(key).into());
            }
            if let Some(count) = self.kind_counts.get_mut(key.kind() as usize) {
                *count += 1;
            }
        }
        self.entries = crate::checkpoint::packed(documents);
    }

    /// The name in use that differs from the key's only in case.
    pub(crate) fn collision(&self, key: &DocumentKey) -> Option<&str> {
        let folded = folded_name(key)?;
        let used = self.folded.get(&(key.kind(), folded))?;
        (**used != *base_name(key)).then_some(&**used)
    }
}

/// Finds and reads the body of a document; the second part says what is wrong with it.
fn read_body(
    key: &DocumentKey,
    revision: u64,
    body: BodyRef,
    bodies: &dyn Bodies,
) -> (Entry, Option<String>) {
    let bytes = bodies.body(&body);
    let is_damaged = bytes.is_none() && bodies.is_damaged(&body);
    let (entry, anomaly) = read_entry(key, revision, body, bytes);
    if is_damaged {
        let detail = format!("{key}: the stored body is damaged");
        let content = Content::Unreadable(detail.as_str().into());
        (Entry { content, ..entry }, Some(detail))
    } else {
        (entry, anomaly)
    }
}

/// Reads the body of a document; the second part says what is wrong with it.
pub(crate) fn read_entry(
    key: &DocumentKey,
    revision: u64,
    body: BodyRef,
    bytes: Option<Arc<[u8]>>,
) -> (Entry, Option<String>) {
    let Some(bytes) = bytes else {
        let entry = Entry {
            revision,
            body,
            bytes: Arc::from([]),
            content: Content::Erased,
            managed: false,
        };
        return (entry, Some(format!("{key}: the body was erased")));
    };
    let (content, anomaly) = match Document::decode_shared(key.kind(), &bytes) {
        Ok(document) => (Content::Readable(Arc::new(document)), None),
        Err(error) => {
            let detail = format!("{key}: {error}");
            (Content::Unreadable(detail.as_str().into()), Some(detail))
        }
    };
    (
        Entry {
            revision,
            body,
            bytes,
            content,
            managed: false,
        },
        anomaly,
    )
}

/// The name without a version, as people would confuse it.
pub(crate) fn base_name(key: &DocumentKey) -> &str {
    match key.kind() {
        Kind::Agent | Kind::Tool => key.name().split('@').next().unwrap_or_default(),
        _ => key.name(),
    }
}

/// The lower-case name, for the kinds whose names people could confuse.
pub(crate) fn folded_name(key: &DocumentKey) -> Option<String> {
    matches!(
        key.kind(),
        Kind::Flag
            | Kind::Segment
            | Kind::ExclusionGroup
            | Kind::Agent
            | Kind::Tool
            | Kind::Schema
            | Kind::Environment
    )
    .then(|| base_name(key).to_ascii_lowercase())
}
