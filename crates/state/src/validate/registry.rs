//! Agents and tools: publishing, locks, status, channels, trust, and what flags override.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plane_model::documents::{
    Applies, Channel, Overrides, Pin, Published, Release, Status, StatusState,
};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Document, DocumentKey, Kind,
    PrincipalId, Timestamp, VariantName, Verified, Violation, Violations,
};
use plane_registry::{Candidate, Lock, Manifest, lock, patch, trust, versions};
use serde_json::{Map, Value};

use super::flags::check_version;
use crate::draft::Draft;
use crate::prepare::Touched;

/// Publishes a manifest; none if this very version is published already.
pub(crate) fn publish(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    body: &Value,
    actor: &PrincipalId,
    now: Timestamp,
) -> Result<Option<Arc<Document>>, Violations> {
    let kind = artifact_kind(key);
    let mut manifest = Manifest::parse(kind, body)?;
    if manifest.id().to_string() != key.name() {
        return Err(vec![
            Violation::new(
                Code::NameInvalid,
                "/version",
                format!("the manifest is `{}`, not `{}`", manifest.id(), key.name()),
            )
            .next("publish it under the name and version that it carries"),
        ]);
    }
    if let Some(Document::Agent(published) | Document::Tool(published)) =
        draft.base().document(key).map(|document| &**document)
    {
        return match read_manifest(draft, kind, &published.manifest) {
            Ok(published) if manifest.is_republish_of(&published) => Ok(None),
            Ok(published) => manifest
                .check_republish(&published)
                .map(|()| None)
                .map_err(|it| vec![it]),
            Err(violation) => Err(vec![violation]),
        };
    }
    let known = draft.versions(kind, manifest.name());
    let mut found = Violations::new();
    let known = known.iter().map(|(version, _)| &version.version);
    if let Err(violation) = versions::check_release_is_new(manifest.version(), known) {
        found.push(violation);
    }
    if manifest.created_at().is_none() && manifest.signatures().is_empty() {
        manifest = manifest.with_created_at(now)?;
    }
    if let Err(violations) = check_trust(draft, &manifest, now) {
        found.extend(violations);
    }
    let lock = if kind == ArtifactKind::Agent {
        match resolve(draft, &manifest) {
            Ok(digest) => Some(digest),
            Err(violations) => {
                found.extend(violations);
                None
            }
        }
    } else {
        None
    };
    if !found.is_empty() {
        return Err(found);
    }
    draft.put_blob(manifest.digest(), manifest.payload().into());
    let status = DocumentKey::status(kind, manifest.id());
    if let Some(initial) = manifest.initial_status()
        && !draft.has(&status)
    {
        draft.put(status, Some(Arc::new(Document::Status(initial))));
    }
    let published = Published {
        manifest: manifest.digest(),
        lock,
        signatures: manifest
            .signatures()
            .iter()
            .map(ToString::to_string)
            .collect(),
        published_at: now,
        published_by: actor.clone(),
    };
    Ok(Some(Arc::new(match kind {
        ArtifactKind::Agent => Document::Agent(published),
        ArtifactKind::Tool => Document::Tool(published),
    })))
}

fn artifact_kind(key: &DocumentKey) -> ArtifactKind {
    if key.kind() == Kind::Agent {
        ArtifactKind::Agent
    } else {
        ArtifactKind::Tool
    }
}

fn check_trust(
    draft: &mut Draft<'_>,
    manifest: &Manifest,
    now: Timestamp,
) -> Result<(), Violations> {
    let namespace = manifest.name().namespace();
    let key = DocumentKey::trust(&namespace);
    match draft.get(&key).as_deref() {
        Some(Document::Trust(trust)) => trust::verify_signatures(
            manifest.payload_type(),
            manifest.payload(),
            manifest.signatures(),
            trust,
            now,
        )
        .map(|_| ()),
        _ => Err(vec![
            Violation::new(
                Code::TrustMissing,
                "",
                format!("the namespace `{namespace}` has no trusted keys"),
            )
            .next(format!(
                "`control-plane keygen` makes a key, `control-plane trust add {namespace}` trusts it"
            )),
        ]),
    }
}

fn read_manifest(
    draft: &Draft<'_>,
    kind: ArtifactKind,
    digest: &Digest,
) -> Result<Verified<Manifest>, Violation> {
    let bytes = draft.blob(digest).ok_or_else(|| {
        Violation::new(
            Code::ManifestMissing,
            "",
            format!("the manifest {digest} is not held here"),
        )
        .next("restore the store from a backup")
    })?;
    Verified::check(&bytes, *digest, |bytes| Manifest::read(kind, bytes))
}

fn read_lock(draft: &Draft<'_>, digest: &Digest) -> Result<Verified<Lock>, Violation> {
    let bytes = draft.blob(digest).ok_or_else(|| {
        Violation::new(
            Code::ReferenceMissing,
            "",
            format!("the lock {digest} is not held here"),
        )
        .next("leave the lock out: the commit resolves it")
    })?;
    Verified::check(&bytes, *digest, Lock::read)
}

/// Resolves the lock of an agent against what is published, and keeps its bytes.
fn resolve(draft: &mut Draft<'_>, manifest: &Manifest) -> Result<Digest, Violations> {
    let mut candidates: BTreeMap<ArtifactName, Vec<Candidate>> = BTreeMap::new();
    for requirement in manifest.tools() {
        let name = &requirement.name;
        if candidates.contains_key(name) {
            continue;
        }
        let published = draft.versions(ArtifactKind::Tool, name);
        let listed = published
            .into_iter()
            .filter_map(|(version, document)| {
                let Document::Tool(published) = &*document else {
                    return None;
                };
                let status = status_of(draft, ArtifactKind::Tool, &version).status;
                Some(Candidate {
                    version: version.version,
                    digest: published.manifest,
                    status,
                })
            })
            .collect();
        candidates.insert(name.clone(), listed);
    }
    let lock = lock::resolve_lock(manifest, |name| {
        candidates.get(name).cloned().unwrap_or_default()
    })?;
    let bytes = lock.to_bytes().map_err(|error| {
        vec![Violation::new(
            Code::FieldInvalid,
            "/metadata/tools",
            error.to_string(),
        )]
    })?;
    let digest = Digest::of(&bytes);
    draft.put_blob(digest, bytes.into());
    Ok(digest)
}

fn status_of(draft: &mut Draft<'_>, kind: ArtifactKind, version: &ArtifactVersion) -> Status {
    match draft.get(&DocumentKey::status(kind, version)).as_deref() {
        Some(Document::Status(status)) => status.clone(),
        _ => Status::default(),
    }
}

/// Refuses a version that is yanked, revoked or quarantined.
pub(crate) fn check_usable(
    draft: &mut Draft<'_>,
    kind: ArtifactKind,
    version: &ArtifactVersion,
    pointer: String,
    found: &mut Violations,
) {
    let status = status_of(draft, kind, version);
    let code = match status.status {
        StatusState::Active | StatusState::Deprecated => return,
        StatusState::Yanked => Code::VersionNotFound,
        StatusState::Revoked => Code::VersionRevoked,
        StatusState::Quarantined => Code::VersionQuarantined,
    };
    let why = status.message.unwrap_or_default();
    let next = match status.replacement {
        Some(replacement) => format!("use `{replacement}` instead"),
        None => "use another version".to_owned(),
    };
    let detail = format!("{kind} `{version}` is {}: {why}", status.status.as_str());
    found.push(Violation::new(code, pointer, detail).next(next));
}

/// Fills in the locks that channels and pins leave out.
pub(crate) fn fill_locks(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    for key in touched.keys() {
        let pointer = touched.pointer(key);
        let old = draft.base().document(key).map(|it| &**it);
        let new = match (draft.get(key).as_deref(), old) {
            (Some(Document::Channel(new)), old) => {
                let mut new = new.clone();
                if let Some(Document::Channel(old)) = old {
                    new = keep_locks(new, old);
                }
                let Ok(agent) = ArtifactName::new(key.name()) else {
                    continue;
                };
                let found = &mut *found;
                fill_channel(draft, &agent, &mut new, &pointer, found);
                Document::Channel(new)
            }
            (Some(Document::Pin(new)), old) => {
                let (Some(("agent", name)), Some(version)) = (key.subject(), &new.version) else {
                    continue;
                };
                let Ok(agent) = ArtifactName::new(name) else {
                    continue;
                };
                let version = version.clone();
                let mut new = new.clone();
                if let Some(Document::Pin(old)) = old {
                    new = keep_lock(new, old);
                }
                fill_lock(draft, &agent, &version, &mut new.lock, &pointer, found);
                Document::Pin(new)
            }
            _ => continue,
        };
        draft.put(key.clone(), Some(Arc::new(new)));
    }
}

fn fill_channel(
    draft: &mut Draft<'_>,
    agent: &ArtifactName,
    channel: &mut Channel,
    pointer: &str,
    found: &mut Violations,
) {
    let Release { version, lock } = &mut channel.default;
    fill_lock(
        draft,
        agent,
        version,
        lock,
        &format!("{pointer}/default"),
        found,
    );
    let shares: Vec<VariantName> = channel
        .split
        .iter()
        .flat_map(|split| split.totals().into_keys())
        .collect();
    channel.locks.retain(|name, _| shares.contains(name));
    for name in shares {
        let Ok(version) = name.as_str().parse() else {
            continue;
        };
        let mut lock = channel.locks.get(&name).copied();
        fill_lock(
            draft,
            agent,
            &version,
            &mut lock,
            &format!("{pointer}/split"),
            found,
        );
        if let Some(lock) = lock {
            channel.locks.insert(name, lock);
        }
    }
}

fn fill_lock(
    draft: &mut Draft<'_>,
    agent: &ArtifactName,
    version: &semver::Version,
    lock: &mut Option<Digest>,
    pointer: &str,
    found: &mut Violations,
) {
    let version = ArtifactVersion {
        name: agent.clone(),
        version: version.clone(),
    };
    let key = DocumentKey::artifact(ArtifactKind::Agent, &version);
    let Some(document) = draft.get(&key) else {
        return;
    };
    let Document::Agent(published) = &*document else {
        return;
    };
    let pointed = |violation: Violation| violation.below(pointer);
    if let Some(digest) = lock {
        match read_lock(draft, digest) {
            Ok(lock) if lock.agent == version => {}
            Ok(lock) => found.push(pointed(
                Violation::new(
                    Code::ReferenceMissing,
                    "/lock",
                    format!(
                        "the lock {digest} is of `{}`, not of `{version}`",
                        lock.agent
                    ),
                )
                .next("leave the lock out: the commit resolves it"),
            )),
            Err(violation) => found.push(pointed(violation.below("/lock"))),
        }
    } else {
        let resolved = read_manifest(draft, ArtifactKind::Agent, &published.manifest)
            .map_err(|violation| vec![violation])
            .and_then(|manifest| resolve(draft, &manifest));
        match resolved {
            Ok(digest) => *lock = Some(digest),
            Err(violations) => found.extend(violations.into_iter().map(|violation| {
                let detail = format!("promoting `{version}`: {}", violation.detail);
                Violation {
                    pointer: pointer.to_owned(),
                    detail,
                    ..violation
                }
            })),
        }
    }
}

/// Keeps the locks of versions that stay, where the new channel leaves them out.
pub(crate) fn keep_locks(mut new: Channel, old: &Channel) -> Channel {
    let mut known: BTreeMap<String, Digest> = old
        .locks
        .iter()
        .map(|(name, lock)| (name.to_string(), *lock))
        .collect();
    if let Some(lock) = old.default.lock {
        known.insert(old.default.version.to_string(), lock);
    }
    if new.default.lock.is_none() {
        new.default.lock = known.get(&new.default.version.to_string()).copied();
    }
    let shares = new
        .split
        .iter()
        .flat_map(|split| split.totals().into_keys());
    for name in shares.collect::<Vec<_>>() {
        if let Some(lock) = known.get(name.as_str()) {
            new.locks.entry(name).or_insert(*lock);
        }
    }
    new
}

/// Keeps the lock of a pinned version that stays, where the new pin leaves it out.
pub(crate) fn keep_lock(mut new: Pin, old: &Pin) -> Pin {
    if new.lock.is_none() && new.version == old.version {
        new.lock = old.lock;
    }
    new
}

pub(crate) fn check(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    for key in touched.keys() {
        let pointer = touched.pointer(key);
        match draft.get(key).as_deref() {
            Some(Document::Channel(channel)) => {
                for version in channel.versions() {
                    check_version(draft, key.name(), &version, pointer.clone(), found);
                }
            }
            Some(Document::Status(status)) => check_status(draft, key, status, &pointer, found),
            Some(Document::Trust(trust)) => {
                if let Err(violations) = trust::check_keys(trust) {
                    found.extend(violations.into_iter().map(|it| it.below(&pointer)));
                }
            }
            _ => {}
        }
    }
    check_overrides(draft, touched, found);
}

fn check_status(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    status: &Status,
    pointer: &str,
    found: &mut Violations,
) {
    let Some((what, version)) = key.subject() else {
        return;
    };
    let kind = if what == "agent" {
        ArtifactKind::Agent
    } else {
        ArtifactKind::Tool
    };
    let named = version.parse().ok().map(|version| (version, String::new()));
    let replacement = status
        .replacement
        .clone()
        .map(|version| (version, "/replacement".to_owned()));
    for (version, place) in named.into_iter().chain(replacement) {
        let artifact = DocumentKey::artifact(kind, &version);
        if !draft.has(&artifact) {
            found.push(super::missing(
                format!("{pointer}{place}"),
                &artifact,
                format!("`control-plane {kind} list` shows what is published"),
            ));
        }
    }
}

/// A flag that overrides manifests.
struct Overriding {
    key: DocumentKey,
    overrides: Overrides,
}

/// Checks patches against every version that a channel, a pin or a fallback can give.
fn check_overrides(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    let concerns = |kind: Kind| touched.keys().any(|key| key.kind() == kind);
    let flags_touched = concerns(Kind::Flag);
    let releases_touched = concerns(Kind::Channel) || concerns(Kind::Pin) || concerns(Kind::Kill);
    if !flags_touched && !releases_touched {
        return;
    }
    let overriding: Vec<Overriding> = draft
        .of_kind(Kind::Flag)
        .into_iter()
        .filter_map(|(key, document)| match &*document {
            Document::Flag(flag) if !flag.archived => Some(Overriding {
                key,
                overrides: flag.overrides.clone()?,
            }),
            _ => None,
        })
        .collect();
    if overriding.is_empty() {
        return;
    }
    let changed: Vec<&Overriding> = overriding
        .iter()
        .filter(|flag| touched.has(&flag.key))
        .collect();
    for flag in &changed {
        check_named(draft, flag, &touched.pointer(&flag.key), found);
        for other in overriding.iter().filter(|other| other.key != flag.key) {
            // A pair of changed flags is reported once.
            let reported = touched.has(&other.key) && other.key > flag.key;
            if let Some(path) = conflict(&flag.overrides, &other.overrides)
                && !reported
            {
                found.push(conflicting(flag, other, &path, &touched.pointer(&flag.key)));
            }
        }
    }
    let mut releases = BTreeSet::new();
    for kind in [Kind::Channel, Kind::Pin, Kind::Kill] {
        let all = if changed.is_empty() {
            touched_of(draft, touched, kind)
        } else {
            draft.of_kind(kind)
        };
        for (key, document) in all {
            let touched = touched.has(&key);
            releases.extend(
                given(draft, &key, &document)
                    .into_iter()
                    .map(|release| (release, touched, key.clone())),
            );
        }
    }
    for ((version, lock), release_touched, key) in releases {
        let flags: Vec<&Overriding> = if release_touched {
            overriding.iter().collect()
        } else {
            changed.clone()
        };
        for flag in flags {
            let pointer = if touched.has(&flag.key) {
                format!("{}/overrides/patches", touched.pointer(&flag.key))
            } else {
                touched.pointer(&key)
            };
            check_release(draft, flag, &version, lock.as_ref(), &pointer, found);
        }
    }
    found.dedup();
}

fn touched_of(
    draft: &mut Draft<'_>,
    touched: &Touched,
    kind: Kind,
) -> BTreeMap<DocumentKey, Arc<Document>> {
    let keys = touched.keys().filter(|key| key.kind() == kind);
    keys.filter_map(|key| Some((key.clone(), draft.get(key)?)))
        .collect()
}

type Given = (ArtifactVersion, Option<Digest>);

/// The versions of an agent that a channel, a pin or a kill can give, with their locks.
fn given(draft: &mut Draft<'_>, key: &DocumentKey, document: &Document) -> Vec<Given> {
    let version = |name: &str, version: &semver::Version| {
        let name = ArtifactName::new(name).ok()?;
        Some(ArtifactVersion {
            name,
            version: version.clone(),
        })
    };
    let subject = key.subject().map(|(_, name)| name).unwrap_or_default();
    let releases: Vec<Option<Given>> = match document {
        Document::Channel(channel) => {
            let shares = channel.locks.iter().filter_map(|(name, lock)| {
                Some((name.as_str().parse::<semver::Version>().ok()?, Some(*lock)))
            });
            [(channel.default.version.clone(), channel.default.lock)]
                .into_iter()
                .chain(shares)
                .map(|(it, lock)| Some((version(key.name(), &it)?, lock)))
                .collect()
        }
        Document::Pin(Pin {
            version: Some(it),
            lock,
            ..
        }) => {
            vec![version(subject, it).map(|it| (it, *lock))]
        }
        Document::Kill(kill) => {
            let fallback = kill.fallback.as_ref().and_then(|it| version(subject, it));
            let lock = fallback.as_ref().and_then(|version| {
                match &*draft.get(&DocumentKey::artifact(ArtifactKind::Agent, version))? {
                    Document::Agent(published) => published.lock,
                    _ => None,
                }
            });
            vec![fallback.map(|it| (it, lock))]
        }
        _ => Vec::new(),
    };
    releases.into_iter().flatten().collect()
}

fn check_release(
    draft: &mut Draft<'_>,
    flag: &Overriding,
    version: &ArtifactVersion,
    lock: Option<&Digest>,
    pointer: &str,
    found: &mut Violations,
) {
    let overrides = &flag.overrides;
    let mut check = |draft: &mut Draft<'_>, kind: ArtifactKind, version: &ArtifactVersion| {
        let document = draft.get(&DocumentKey::artifact(kind, version));
        let Some(Document::Agent(published) | Document::Tool(published)) = document.as_deref()
        else {
            return;
        };
        let Ok(manifest) = read_manifest(draft, kind, &published.manifest) else {
            return;
        };
        for (variant, values) in &overrides.patches {
            for violation in patch::check_patch(&manifest, values) {
                let detail = format!(
                    "flag `{}`, variant `{variant}`: {}",
                    flag.key.name(),
                    violation.detail
                );
                let place = format!("{pointer}/{variant}{}", violation.pointer);
                let place = if pointer.ends_with("/patches") {
                    place
                } else {
                    pointer.to_owned()
                };
                found.push(Violation {
                    pointer: place,
                    detail,
                    ..violation
                });
            }
        }
    };
    if overrides
        .agents
        .as_ref()
        .is_some_and(|it| it.to(&version.name))
    {
        check(draft, ArtifactKind::Agent, version);
    }
    if let (Some(tools), Some(lock)) = (&overrides.tools, lock)
        && let Ok(lock) = read_lock(draft, lock)
    {
        for tool in lock.tools.iter().filter(|tool| tools.to(&tool.name)) {
            let version = ArtifactVersion {
                name: tool.name.clone(),
                version: tool.version.clone(),
            };
            check(draft, ArtifactKind::Tool, &version);
        }
    }
}

/// Agents and tools that a flag names must be published.
fn check_named(draft: &mut Draft<'_>, flag: &Overriding, pointer: &str, found: &mut Violations) {
    let sides = [
        (ArtifactKind::Agent, "agents", &flag.overrides.agents),
        (ArtifactKind::Tool, "tools", &flag.overrides.tools),
    ];
    for (kind, field, applies) in sides {
        let Some(Applies::Names(names)) = applies else {
            continue;
        };
        for (index, name) in names.iter().enumerate() {
            if draft.versions(kind, name).is_empty() {
                found.push(
                    Violation::new(
                        Code::ReferenceMissing,
                        format!("{pointer}/overrides/{field}/{index}"),
                        format!("there is no {kind} `{name}`"),
                    )
                    .next(format!(
                        "publish it first; `control-plane {kind} list` shows those there are"
                    )),
                );
            }
        }
    }
}

/// A path that two flags set for the same agent or tool at the same priority.
fn conflict(a: &Overrides, b: &Overrides) -> Option<String> {
    let meet = |a: &Option<Applies>, b: &Option<Applies>| match (a, b) {
        (Some(Applies::Names(a)), Some(Applies::Names(b))) => a.iter().any(|it| b.contains(it)),
        (Some(_), Some(_)) => true,
        _ => false,
    };
    if a.priority != b.priority || !(meet(&a.agents, &b.agents) || meet(&a.tools, &b.tools)) {
        return None;
    }
    let paths = |overrides: &Overrides| {
        let mut paths = BTreeSet::new();
        overrides
            .patches
            .values()
            .for_each(|patch| leaves("", patch, &mut paths));
        paths
    };
    let (a, b) = (paths(a), paths(b));
    let below = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    a.iter()
        .find(|a| b.iter().any(|b| below(a, b) || below(b, a)))
        .cloned()
}

fn leaves(prefix: &str, patch: &Map<String, Value>, paths: &mut BTreeSet<String>) {
    for (key, value) in patch {
        let path = format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1"));
        match value {
            Value::Object(map) if !map.is_empty() => leaves(&path, map, paths),
            _ => {
                paths.insert(path);
            }
        }
    }
}

fn conflicting(flag: &Overriding, other: &Overriding, path: &str, pointer: &str) -> Violation {
    Violation::new(
        Code::OverrideConflict,
        format!("{pointer}/overrides/priority"),
        format!(
            "`{}` and `{}` both set `{path}` at priority {}",
            flag.key.name(),
            other.key.name(),
            flag.overrides.priority
        ),
    )
    .next("give one of them another priority: the larger wins")
}
