//! Manifests with overrides applied, shared by all contexts that get the same patches.

use std::sync::{Arc, RwLock};

use plane_model::{ArtifactKind, ArtifactVersion, Digest, Pointer, canonical, merge};
use serde_json::{Map, Value, json};

use super::offer::Content;
use super::result::member;
use super::{CallPolicy, Override, ResolvedTool, Subject};
use crate::hash::FastMap;

/// A member of `metadata` that no patch can change: which tools an agent has is decided by its lock.
const TOOLS: &str = "tools";

/// How many ways in which the flags decided are kept written.
const WRITTEN_MAX: usize = 64;

/// A patch that applies, and to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patch<'a> {
    /// The place of the flag among those that override the agent.
    pub(crate) overrider: usize,
    pub(crate) members: &'a Map<String, Value>,
    pub(crate) agent: bool,
    /// Places in the lock, sorted.
    pub(crate) tools: &'a [usize],
}

/// A field that a patch set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patched {
    pub(crate) subject: Subject,
    pub(crate) pointer: Pointer,
    pub(crate) value: Value,
    pub(crate) overrider: usize,
}

/// The ends of wire forms, by how the flags decided.
type Written = FastMap<Box<[Override]>, Arc<[u8]>>;

/// Manifests with overrides applied.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) manifest: Value,
    pub(crate) manifest_digest: Digest,
    pub(crate) lock_digest: Digest,
    pub(crate) digest: Digest,
    pub(crate) tools: Vec<ResolvedTool>,
    pub(crate) patched: Vec<Patched>,
    /// What is the same in the wire form of all for whom the flags decided alike.
    written: RwLock<Written>,
}

impl Effective {
    /// Applies patches in order to the manifests of an agent and of those tools that are not left out.
    pub(crate) fn new(
        agent: &ArtifactVersion,
        content: &Content,
        patches: &[Patch<'_>],
        is_left_out: impl Fn(usize) -> bool,
    ) -> Self {
        let mut patched = Vec::new();
        let subject = |kind, version: &ArtifactVersion| Subject {
            kind,
            version: version.clone(),
        };
        let mut manifest = content.manifest.get().clone();
        for patch in patches.iter().filter(|patch| patch.agent) {
            let subject = subject(ArtifactKind::Agent, agent);
            apply(&mut manifest, patch, &subject, &mut patched);
        }
        let mut tools = Vec::new();
        for (place, tool) in content.tools.iter().enumerate() {
            let Ok(ready) = &tool.state else { continue };
            if is_left_out(place) {
                continue;
            }
            let mut manifest = ready.manifest.get().clone();
            for patch in patches.iter().filter(|it| it.tools.contains(&place)) {
                let subject = subject(ArtifactKind::Tool, &tool.version);
                apply(&mut manifest, patch, &subject, &mut patched);
            }
            tools.push(ResolvedTool {
                name: tool.version.name.clone(),
                alias: tool.alias.clone(),
                version: tool.version.version.clone(),
                digest: tool.digest,
                policy: policy(&manifest),
                manifest: Value::Object(manifest),
            });
        }
        let manifest = Value::Object(manifest);
        let manifests: Vec<_> = tools.iter().map(|tool| &tool.manifest).collect();
        let whole = json!({ "manifest": manifest, "tools": manifests });
        let digest = canonical::canonical_digest(&whole)
            .unwrap_or_else(|_| Digest::of(whole.to_string().as_bytes()));
        Self {
            manifest,
            manifest_digest: content.manifest_digest,
            lock_digest: content.lock_digest,
            digest,
            tools,
            patched,
            written: RwLock::default(),
        }
    }

    /// The end of the wire form after the flags decided so: what `begin` writes, then the manifests.
    pub(crate) fn written(
        &self,
        overrides: &[Override],
        begin: impl FnOnce(&mut Vec<u8>),
    ) -> Arc<[u8]> {
        let written = self.written.read().ok();
        if let Some(end) = written.as_ref().and_then(|it| it.get(overrides)) {
            return Arc::clone(end);
        }
        drop(written);
        let mut out = Vec::new();
        begin(&mut out);
        self.write(&mut out);
        let end: Arc<[u8]> = out.into();
        if let Ok(mut written) = self.written.write() {
            if written.len() >= WRITTEN_MAX {
                written.clear();
            }
            written.insert(overrides.into(), Arc::clone(&end));
        }
        end
    }

    fn write(&self, out: &mut Vec<u8>) {
        member(out, "manifest", &self.manifest);
        member(out, "manifest_digest", &self.manifest_digest);
        member(out, "lock_digest", &self.lock_digest);
        member(out, "effective_digest", &self.digest);
        member(out, "tools", &self.tools);
        out.push(b'}');
    }
}

/// Merges a patch into a manifest's `metadata`, and notes each field that it set.
fn apply(
    manifest: &mut Map<String, Value>,
    patch: &Patch<'_>,
    subject: &Subject,
    patched: &mut Vec<Patched>,
) {
    const METADATA: &str = "metadata";
    let mut members = patch.members.clone();
    members.remove(TOOLS);
    if members.is_empty() {
        return;
    }
    let at = Pointer::root().key(METADATA);
    for (name, value) in &members {
        note(&at.key(name), value, patch.overrider, subject, patched);
    }
    let before = manifest.remove(METADATA).unwrap_or_else(|| json!({}));
    let after = merge::merge_patch(before, &Value::Object(members));
    manifest.insert(METADATA.to_owned(), after);
}

fn note(
    at: &Pointer,
    value: &Value,
    overrider: usize,
    subject: &Subject,
    patched: &mut Vec<Patched>,
) {
    if let Value::Object(members) = value
        && !members.is_empty()
    {
        for (name, value) in members {
            note(&at.key(name), value, overrider, subject, patched);
        }
        return;
    }
    // What a later patch sets hides what an earlier one set there, below, or as the whole above.
    patched.retain(|it| {
        let related = it.pointer.starts_with(at) || at.starts_with(&it.pointer);
        it.subject != *subject || !related
    });
    patched.push(Patched {
        subject: subject.clone(),
        pointer: at.clone(),
        value: value.clone(),
        overrider,
    });
}

fn policy(manifest: &Map<String, Value>) -> CallPolicy {
    let number = |name: &str| manifest.get("metadata")?.get(name)?.as_u64();
    CallPolicy {
        timeout_ms: number("timeout_ms"),
        retry_attempts: number("retry_attempts"),
        circuit_breaker_threshold: number("circuit_breaker_threshold"),
    }
}
