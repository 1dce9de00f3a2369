//! Publishing: the manifest, its signatures, its version among others, and its lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_model::documents::Published;
use plane_model::{
    ArtifactKind, ArtifactName, Code, Digest, Document, DocumentKey, PrincipalId, Timestamp,
    Violation, Violations,
};
use plane_registry::{Candidate, Manifest, lock, trust, versions};
use serde_json::Value;

use super::{artifact_kind, read_manifest, status_of};
use crate::draft::Draft;

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
    // What it needs was refused in the same commit, and that is in the report already.
    let mut is_orphan = false;
    if let Err(violations) = check_trust(draft, &manifest, now) {
        is_orphan = violations.is_empty();
        found.extend(violations);
    }
    let lock = if kind == ArtifactKind::Agent {
        match resolve(draft, &manifest) {
            Ok(digest) => Some(digest),
            Err(violations) => {
                let caused = |it: &Violation| is_caused_by_refused(draft, &manifest, it);
                is_orphan |= violations.iter().any(caused);
                found.extend(violations.into_iter().filter(|it| !caused(it)));
                None
            }
        }
    } else {
        None
    };
    if !found.is_empty() || is_orphan {
        return Err(found);
    }
    draft.put_blob(manifest.digest(), manifest.payload().into());
    let status = DocumentKey::status(kind, manifest.id());
    if let Some(initial) = manifest.initial_status()
        && !draft.has(&status)
    {
        draft.put(status, Some(Arc::new(Document::Status(initial.into()))));
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
        ArtifactKind::Agent => Document::Agent(published.into()),
        ArtifactKind::Tool => Document::Tool(published.into()),
    })))
}

/// Says whether a tool lacks a version because the same commit was refused one.
fn is_caused_by_refused(draft: &Draft<'_>, agent: &Manifest, violation: &Violation) -> bool {
    let tool = violation
        .pointer
        .strip_prefix("/metadata/tools/")
        .and_then(|index| agent.tools().get(index.parse::<usize>().ok()?));
    violation.code == Code::DependencyUnsatisfied
        && tool.is_some_and(|tool| draft.has_refused_tool(&tool.name))
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
        None if draft.has_refused(&key) => Err(Violations::new()),
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

/// Resolves the lock of an agent against what is published, and keeps its bytes.
pub(super) fn resolve(draft: &mut Draft<'_>, manifest: &Manifest) -> Result<Digest, Violations> {
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
        vec![
            Violation::new(Code::FieldInvalid, "/metadata/tools", error.to_string())
                .next("correct the tools that the agent needs"),
        ]
    })?;
    let digest = Digest::of(&bytes);
    draft.put_blob(digest, bytes.into());
    Ok(digest)
}
