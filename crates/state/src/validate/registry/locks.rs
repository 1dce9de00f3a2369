//! The locks of channels and pins: a version is given with the tools that were chosen for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_model::documents::{Channel, Pin, Release};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Document, DocumentKey, VariantName,
    Violation, Violations,
};

use super::publish::resolve;
use super::{read_lock, read_manifest};
use crate::draft::Draft;
use crate::prepare::Touched;

/// Fills in the locks that channels and pins leave out.
pub(crate) fn fill_locks(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    for key in touched.keys() {
        let pointer = touched.pointer(key);
        let old = draft.base().document(key).map(|it| &**it);
        let new = match (draft.get(key).as_deref(), old) {
            (Some(Document::Channel(new)), old) => {
                let mut new = new.clone();
                if let Some(Document::Channel(old)) = old {
                    *new = keep_locks(*new, old);
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
                    *new = keep_lock(*new, old);
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
