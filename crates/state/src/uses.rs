//! Who refers to a document: the one place that knows where documents name others.
//!
//! What may be deleted or archived is decided by it, and whoever asks is told by it.

mod named;
mod search;

use std::collections::{BTreeMap, BTreeSet};

use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Document, DocumentKey,
    EnvironmentName, FlagKey, Kind, Pointer, SegmentName, TenantId, Verified, Violation,
};
use plane_registry::{Lock, Manifest};
use semver::Version;

use crate::draft::Draft;
use crate::state::State;

pub(crate) use named::{Named, for_each_named};
use search::Search;

/// Something that documents refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    kind: Kind,
    name: String,
    /// Of an agent or a tool: only this version.
    version: Option<Version>,
}

/// A place where a document refers to a [`Subject`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The document.
    pub key: DocumentKey,
    /// Where in its body; the root if its scope or its name says it.
    pub pointer: Pointer,
}

impl Subject {
    /// The kinds that documents refer to.
    pub const KINDS: [Kind; 6] = [
        Kind::Environment,
        Kind::Tenant,
        Kind::Segment,
        Kind::Flag,
        Kind::Agent,
        Kind::Tool,
    ];

    /// Reads the name of a subject: of an agent or a tool `NAME` for all its versions, or `NAME@VERSION`.
    ///
    /// # Errors
    /// [`Code::KindUnknown`] for kinds that nothing refers to, [`Code::NameInvalid`] or
    /// [`Code::VersionInvalid`] for what cannot be a name of the kind.
    pub fn new(kind: Kind, name: &str) -> Result<Self, Violation> {
        let mut version = None;
        let name = match kind {
            Kind::Environment => EnvironmentName::new(name).map(|it| it.to_string()),
            Kind::Tenant => TenantId::new(name).map(|it| it.to_string()),
            Kind::Segment => SegmentName::new(name).map(|it| it.to_string()),
            Kind::Flag => FlagKey::new(name).map(|it| it.to_string()),
            Kind::Agent | Kind::Tool if name.contains('@') => {
                let wanted: ArtifactVersion = name.parse()?;
                version = Some(wanted.version);
                Ok(wanted.name.to_string())
            }
            Kind::Agent | Kind::Tool => ArtifactName::new(name).map(|it| it.to_string()),
            _ => {
                let kinds = Self::KINDS.map(Kind::as_str).join(", ");
                let detail = format!("no document refers to documents of the kind {kind}");
                let violation = Violation::new(Code::KindUnknown, "", detail);
                return Err(violation.next(format!("use one of: {kinds}")));
            }
        };
        Ok(Self {
            kind,
            name: name.map_err(|error| error.at(String::new()))?,
            version,
        })
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The key, of what has one: agents and tools have one for each version.
    pub fn key(&self) -> Option<DocumentKey> {
        match (self.kind, &self.version) {
            (Kind::Agent | Kind::Tool, None) => None,
            (kind, None) => Some(DocumentKey::stored(kind, "", &self.name)),
            (kind, Some(version)) => {
                let name = format!("{}@{version}", self.name);
                Some(DocumentKey::stored(kind, "", &name))
            }
        }
    }

    /// Says whether there is such a document.
    pub fn is_in(&self, state: &State) -> bool {
        match self.key() {
            Some(key) => state.entry(&key).is_some(),
            None => self
                .artifact()
                .is_some_and(|(kind, name)| state.versions(kind, &name).next().is_some()),
        }
    }

    fn artifact(&self) -> Option<(ArtifactKind, ArtifactName)> {
        let kind = match self.kind {
            Kind::Agent => ArtifactKind::Agent,
            Kind::Tool => ArtifactKind::Tool,
            _ => return None,
        };
        Some((kind, ArtifactName::new(&self.name).ok()?))
    }

    fn is(&self, named: &Named<'_>) -> bool {
        let is_version = match (&self.version, &named.version) {
            (Some(asked), Some(named)) => asked == named,
            _ => true,
        };
        self.kind == named.kind && named.name.is_none_or(|name| name == self.name) && is_version
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{} `{}@{version}`", self.kind, self.name),
            None => write!(f, "{} `{}`", self.kind, self.name),
        }
    }
}

/// Everything that refers to `subject`, in the order of keys, of the documents that `is_asked` admits.
///
/// Of what is bound to places, a tenant's is found by its place. Of all else, and for other subjects, the keys and
/// the stored bytes of the kinds that can refer to it are searched for its name, and only documents that have
/// it are read.
pub fn uses(state: &State, subject: &Subject, is_asked: impl Fn(&DocumentKey) -> bool) -> Vec<Use> {
    let search = Search::new(subject);
    let mut found = Vec::new();
    for kind in users(subject.kind) {
        for (key, entry) in search.candidates(state, *kind) {
            let (may_name, may_lock) = (search.may_name(key, entry), may_lock(subject, key));
            let Some(document) = entry.document().filter(|_| may_name || may_lock) else {
                continue;
            };
            let mut add = |pointer| {
                let key = key.clone();
                found.push(Use { key, pointer });
            };
            if may_name {
                for_each_named(key, document, &mut |named, place| {
                    if subject.is(&named) {
                        add(place());
                    }
                });
            }
            if may_lock {
                let locked = locked(state, document, subject, &search);
                locked.into_iter().for_each(&mut add);
            }
        }
    }
    if subject.kind == Kind::Tenant {
        found.extend(segments_with(state, &subject.name));
    }
    found.retain(|it| is_asked(&it.key));
    found.sort();
    found.dedup();
    found
}

/// The kinds whose documents can refer to one of a kind.
const fn users(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Environment => &[
            Kind::Targeting,
            Kind::Kill,
            Kind::Pin,
            Kind::Config,
            Kind::Channel,
            Kind::Token,
            Kind::RoleBinding,
            Kind::Schedule,
        ],
        Kind::Tenant => &[
            Kind::Segment,
            Kind::Targeting,
            Kind::Kill,
            Kind::Pin,
            Kind::Config,
            Kind::Token,
            Kind::RoleBinding,
            Kind::Schedule,
        ],
        Kind::Segment => &[Kind::Segment, Kind::Targeting, Kind::Schedule],
        Kind::Flag => &[
            Kind::Targeting,
            Kind::ExclusionGroup,
            Kind::Kill,
            Kind::Pin,
            Kind::Schedule,
        ],
        Kind::Agent => &[
            Kind::Flag,
            Kind::Kill,
            Kind::Pin,
            Kind::Status,
            Kind::Channel,
            Kind::Schedule,
        ],
        Kind::Tool => &[
            Kind::Flag,
            Kind::Kill,
            Kind::Pin,
            Kind::Agent,
            Kind::Status,
            Kind::Channel,
            Kind::Schedule,
        ],
        _ => &[],
    }
}

/// Says whether a document can have a lock that the subject is in.
fn may_lock(subject: &Subject, key: &DocumentKey) -> bool {
    let has_lock = match key.kind() {
        Kind::Agent | Kind::Channel => true,
        Kind::Pin => key.subject().is_some_and(|(what, _)| what == "agent"),
        _ => false,
    };
    has_lock && subject.kind == Kind::Tool
}

/// Where the locks that a document names have the tool.
fn locked(state: &State, document: &Document, tool: &Subject, search: &Search) -> Vec<Pointer> {
    let has = |digest: &Digest| {
        let bytes = state.blob(digest).filter(|it| search.is_in(it))?;
        let lock = Verified::check(bytes, *digest, Lock::read).ok()?;
        let mut tools = lock.tools.iter();
        let found = tools.any(|it| {
            let is_version = tool
                .version
                .as_ref()
                .is_none_or(|version| *version == it.version);
            it.name.as_str() == tool.name && is_version
        });
        found.then_some(())
    };
    let root = Pointer::root;
    match document {
        Document::Agent(agent) => {
            let is_locked = agent.lock.as_ref().and_then(has).is_some();
            is_locked
                .then(|| required(state, &agent.manifest, &tool.name))
                .into_iter()
                .collect()
        }
        Document::Channel(channel) => {
            let default = channel.default.lock.iter();
            let default = default.map(|lock| (lock, root().key("default").key("lock")));
            let shares = channel.locks.iter();
            let shares = shares.map(|(name, lock)| (lock, root().key("locks").key(name.as_str())));
            let locks = default.chain(shares);
            locks
                .filter_map(|(lock, place)| has(lock).map(|()| place))
                .collect()
        }
        Document::Pin(pin) => {
            let lock = pin.lock.as_ref().and_then(has);
            lock.map(|()| root().key("lock")).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Where an agent's manifest asks for the tool.
fn required(state: &State, manifest: &Digest, tool: &str) -> Pointer {
    let tools = Pointer::root().key("metadata").key("tools");
    let read = |bytes: &[u8]| Manifest::read(ArtifactKind::Agent, bytes);
    let bytes = state.blob(manifest);
    let manifest = bytes.and_then(|bytes| Verified::check(bytes, *manifest, read).ok());
    let asked = manifest.as_ref().and_then(|manifest| {
        let mut asked = manifest.tools().iter();
        asked.position(|it| it.name.as_str() == tool)
    });
    asked.map_or_else(|| tools.clone(), |index| tools.index(index))
}

/// The segments that rules compare tenants' ids with, and that list this one.
fn segments_with(state: &State, tenant: &str) -> Vec<Use> {
    let mut found = Vec::new();
    for (key, entry) in state.of_kind(Kind::Segment) {
        let Some(Document::Segment(segment)) = entry.document().map(|it| &**it) else {
            continue;
        };
        let lists = [("include", &segment.include), ("exclude", &segment.exclude)];
        let listed: Vec<_> = lists
            .into_iter()
            .filter_map(|(list, ids)| {
                let index = ids.iter().position(|it| it == tenant)?;
                let pointer = Pointer::root().key(list).index(index);
                let key = key.clone();
                Some(Use { key, pointer })
            })
            .collect();
        if !listed.is_empty() && is_by_tenant(state, key.name()) {
            found.extend(listed);
        }
    }
    found
}

/// Says whether a rule compares tenants' ids with a segment.
fn is_by_tenant(state: &State, segment: &str) -> bool {
    let subject = Subject {
        kind: Kind::Segment,
        name: segment.to_owned(),
        version: None,
    };
    let search = Search::new(&subject);
    [Kind::Segment, Kind::Targeting].into_iter().any(|kind| {
        let mut all = state.of_kind(kind);
        all.any(|(key, entry)| {
            let mut is_found = false;
            if let Some(document) = entry.document().filter(|_| search.may_name(key, entry)) {
                for_each_named(key, document, &mut |named, _| {
                    is_found |= named.is_by_tenant && subject.is(&named);
                });
            }
            is_found
        })
    })
}

/// The first document of some kinds that refers to `wanted`, as the command would leave them.
pub(crate) fn user_of(
    draft: &mut Draft<'_>,
    kinds: &[Kind],
    wanted: &DocumentKey,
) -> Option<DocumentKey> {
    kinds.iter().find_map(|kind| {
        draft.any(*kind, |key, document| {
            let mut is_used = false;
            for_each_named(key, document, &mut |named, _| is_used |= named.is(wanted));
            is_used
        })
    })
}

/// For each of the environments and tenants that `wanted` names and that documents of some kinds are bound to
/// the first of these documents, as the command would leave them.
///
/// Looks at every document of these kinds once, however many are wanted.
pub(crate) fn bound_to(
    draft: &mut Draft<'_>,
    kinds: &[Kind],
    wanted: &BTreeSet<DocumentKey>,
) -> BTreeMap<DocumentKey, DocumentKey> {
    let mut users = BTreeMap::new();
    for kind in kinds {
        draft.any(*kind, |key, document| {
            for_each_named(key, document, &mut |named, _| {
                let used = named.key().filter(|_| named.is_place);
                if let Some(used) = used.filter(|used| wanted.contains(used)) {
                    users.entry(used).or_insert_with(|| key.clone());
                }
            });
            false
        });
    }
    users
}
