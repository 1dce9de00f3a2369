//! Agents and tools: publishing, locks, status, channels, trust, and what flags override.

mod locks;
mod overrides;
mod publish;

use plane_model::documents::{Status, StatusState};
use plane_model::{
    ArtifactKind, ArtifactVersion, Code, Digest, Document, DocumentKey, Kind, Verified, Violation,
    Violations,
};
use plane_registry::{Lock, Manifest, trust};

use super::flags::check_version;
use crate::draft::Draft;
use crate::prepare::Touched;

pub(crate) use locks::{fill_locks, keep_lock, keep_locks};
pub(crate) use publish::publish;

fn artifact_kind(key: &DocumentKey) -> ArtifactKind {
    if key.kind() == Kind::Agent {
        ArtifactKind::Agent
    } else {
        ArtifactKind::Tool
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

fn status_of(draft: &mut Draft<'_>, kind: ArtifactKind, version: &ArtifactVersion) -> Status {
    match draft.get(&DocumentKey::status(kind, version)).as_deref() {
        Some(Document::Status(status)) => Status::clone(status),
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
    overrides::check(draft, touched, found);
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
