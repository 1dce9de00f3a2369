//! A version of an agent with its lock: verified when it came in, and kept with what overrides gave.

use std::sync::{Arc, OnceLock, RwLock};

use plane_model::documents::{Published, Status, StatusState};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Digest, Document, Verified, Violation,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::registry::{Overrider, Registry};
use super::{Effective, ResolveError, Subject, Told, Warning, WarningCode};
use crate::hash::FastMap;
use crate::source::{Signature, Source};

/// How many combinations of overrides one offer keeps.
const KEPT_MAX: usize = 256;

/// The members of a manifest whose bytes are the ones that its digest names.
pub(crate) type Manifest = Verified<Map<String, Value>>;

/// A version of an agent with a lock, and which flags override it.
#[derive(Debug)]
pub(crate) struct Offer {
    version: ArtifactVersion,
    pub(crate) content: Result<Arc<Content>, ResolveError>,
    /// Sorted by priority, then key.
    pub(crate) applying: Vec<Applying>,
    plain: OnceLock<Arc<Effective>>,
    /// INVARIANT: an offer is replaced when its content or a flag that overrides it changes, so
    /// that places and variants say all that an effective manifest depends on.
    kept: RwLock<FastMap<Box<[u32]>, Arc<Effective>>>,
}

/// A flag that overrides an offer.
#[derive(Debug, Clone)]
pub(crate) struct Applying {
    pub(crate) overrider: Overrider,
    /// Whether it changes the agent's manifest.
    pub(crate) agent: bool,
    /// The places in the lock of the tools that it changes, sorted.
    pub(crate) tools: Vec<usize>,
}

/// What bytes and documents say of an offer.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) manifest_digest: Digest,
    pub(crate) lock_digest: Digest,
    pub(crate) tools: Vec<LockedTool>,
    pub(crate) warnings: Vec<Arc<Told>>,
}

/// A tool that a lock names.
#[derive(Debug)]
pub(crate) struct LockedTool {
    pub(crate) version: ArtifactVersion,
    pub(crate) alias: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) state: Result<Ready, ResolveError>,
}

/// A version that may be used.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) warnings: Vec<Arc<Told>>,
}

/// A lock, as it is stored.
#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(default)]
    tools: Vec<LockEntry>,
}

#[derive(Debug, Deserialize)]
struct LockEntry {
    name: ArtifactName,
    #[serde(default)]
    alias: Option<String>,
    version: semver::Version,
    digest: Digest,
}

impl Offer {
    /// Reads and verifies all that `version` needs; without `lock`, with the lock of its publishing.
    pub(crate) fn read(
        registry: &mut Registry,
        version: ArtifactVersion,
        lock: Option<Digest>,
        source: &dyn Source,
    ) -> Self {
        let content = read_content(registry, &version, lock, source).map(Arc::new);
        Self::with_content(version, content, registry.overriders())
    }

    fn with_content(
        version: ArtifactVersion,
        content: Result<Arc<Content>, ResolveError>,
        overriders: &[Overrider],
    ) -> Self {
        let applying = match &content {
            Ok(content) => applying(&version.name, content, overriders),
            Err(_) => Vec::new(),
        };
        Self {
            version,
            content,
            applying,
            plain: OnceLock::new(),
            kept: RwLock::default(),
        }
    }

    /// The same offer under other overriders.
    pub(crate) fn overridden_by(&self, overriders: &[Overrider]) -> Self {
        Self::with_content(self.version.clone(), self.content.clone(), overriders)
    }

    pub(crate) fn version(&self) -> &ArtifactVersion {
        &self.version
    }

    /// Says whether the lock names a version of the tool, or one of its tools is `version`.
    pub(crate) fn locks(&self, version: &ArtifactVersion) -> bool {
        let content = self.content.as_ref().ok();
        content.is_some_and(|it| it.tools.iter().any(|tool| tool.version == *version))
    }

    /// The manifests as `key` says, which names the tools left out and the patches applied.
    pub(crate) fn effective(
        &self,
        key: &[u32],
        make: impl FnOnce() -> Effective,
    ) -> Arc<Effective> {
        if key.is_empty() {
            return Arc::clone(self.plain.get_or_init(|| Arc::new(make())));
        }
        let kept = self.kept.read().ok();
        if let Some(effective) = kept.as_ref().and_then(|kept| kept.get(key)) {
            return Arc::clone(effective);
        }
        drop(kept);
        let effective = Arc::new(make());
        if let Ok(mut kept) = self.kept.write() {
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(key.into(), Arc::clone(&effective));
        }
        effective
    }
}

fn applying(agent: &ArtifactName, content: &Content, overriders: &[Overrider]) -> Vec<Applying> {
    let applies = |overrider: &Overrider| {
        let overrides = overrider.overrides()?;
        let agent = overrides.agents.as_ref().is_some_and(|it| it.to(agent));
        let tools: Vec<_> = match &overrides.tools {
            None => Vec::new(),
            Some(tools) => (0..)
                .zip(&content.tools)
                .filter(|(_, tool)| tools.to(&tool.version.name))
                .map(|(place, _)| place)
                .collect(),
        };
        (agent || !tools.is_empty()).then(|| Applying {
            overrider: overrider.clone(),
            agent,
            tools,
        })
    };
    overriders.iter().filter_map(applies).collect()
}

fn read_content(
    registry: &mut Registry,
    version: &ArtifactVersion,
    lock: Option<Digest>,
    source: &dyn Source,
) -> Result<Content, ResolveError> {
    let subject = Subject {
        kind: ArtifactKind::Agent,
        version: version.clone(),
    };
    let published = registry.published(&subject)?;
    let ready = read_version(registry, &subject, &published, source)?;
    let missing = |detail: String| ResolveError::ManifestMissing {
        subject: subject.clone(),
        what: "lock",
        detail,
    };
    let lock_digest = lock
        .or(published.lock)
        .ok_or_else(|| missing("was not recorded when it was published".to_owned()))?;
    let bytes = source
        .blob(&lock_digest)
        .ok_or_else(|| missing(format!("is not held here: no bytes for {lock_digest}")))?;
    let lock: Verified<Lock> = verify(&bytes, lock_digest, &subject, "lock")?;
    let mut tools = Vec::with_capacity(lock.get().tools.len());
    for entry in &lock.get().tools {
        let version = ArtifactVersion {
            name: entry.name.clone(),
            version: entry.version.clone(),
        };
        tools.push(LockedTool {
            state: read_tool(registry, &version, entry.digest, source),
            version,
            alias: entry
                .alias
                .clone()
                .filter(|alias| alias != entry.name.as_str()),
            digest: entry.digest,
        });
    }
    Ok(Content {
        manifest: ready.manifest,
        manifest_digest: published.manifest,
        lock_digest,
        tools,
        warnings: ready.warnings,
    })
}

fn read_tool(
    registry: &mut Registry,
    version: &ArtifactVersion,
    locked: Digest,
    source: &dyn Source,
) -> Result<Ready, ResolveError> {
    let subject = Subject {
        kind: ArtifactKind::Tool,
        version: version.clone(),
    };
    let published = registry.published(&subject)?;
    if published.manifest != locked {
        return Err(ResolveError::DigestMismatch {
            subject,
            what: "manifest",
            expected: Box::new(locked),
            found: Box::new(published.manifest),
        });
    }
    read_version(registry, &subject, &published, source)
}

/// Checks status, bytes and signatures of a version, in this order.
fn read_version(
    registry: &mut Registry,
    subject: &Subject,
    published: &Published,
    source: &dyn Source,
) -> Result<Ready, ResolveError> {
    let mut warnings = Vec::new();
    if let Some(status) = registry.status(subject) {
        warnings.extend(check_status(subject, status)?);
    }
    let manifest = if let Some(manifest) = registry.kept_manifest(&published.manifest) {
        manifest
    } else {
        let bytes =
            source
                .blob(&published.manifest)
                .ok_or_else(|| ResolveError::ManifestMissing {
                    subject: subject.clone(),
                    what: "manifest",
                    detail: format!("is not held here: no bytes for {}", published.manifest),
                })?;
        let manifest = verify(&bytes, published.manifest, subject, "manifest")?;
        registry.keep_manifest(manifest)
    };
    match source.signature(subject.kind, &subject.version) {
        Signature::Verified { .. } => {}
        Signature::Unsigned => {
            let detail = format!("nobody signed `{subject}`");
            warnings.push(Warning::new(
                WarningCode::Unsigned,
                subject.to_string(),
                detail,
            ));
        }
        Signature::Invalid { detail } => {
            return Err(ResolveError::SignatureInvalid {
                subject: subject.clone(),
                detail,
            });
        }
    }
    let warnings = warnings
        .into_iter()
        .map(|it| Arc::new(Told::from(it)))
        .collect();
    Ok(Ready { manifest, warnings })
}

fn check_status(subject: &Subject, status: &Status) -> Result<Option<Warning>, ResolveError> {
    let message = status.message.clone().unwrap_or_default();
    let code = match status.status {
        StatusState::Active => return Ok(None),
        StatusState::Deprecated => WarningCode::VersionDeprecated,
        StatusState::Yanked => WarningCode::VersionYanked,
        StatusState::Revoked => {
            return Err(ResolveError::VersionRevoked {
                subject: subject.clone(),
                message,
            });
        }
        StatusState::Quarantined => {
            return Err(ResolveError::VersionQuarantined {
                subject: subject.clone(),
                message,
            });
        }
    };
    Ok(Some(Warning {
        replacement: status.replacement.clone(),
        sunset: status.sunset,
        ..Warning::new(code, subject.to_string(), message)
    }))
}

/// Hashes the bytes and reads them.
fn verify<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    expected: Digest,
    subject: &Subject,
    what: &'static str,
) -> Result<Verified<T>, ResolveError> {
    let read = |bytes: &[u8]| {
        serde_json::from_slice(bytes).map_err(|error| {
            let detail = format!("cannot be read: {error}");
            Violation::new(plane_model::Code::ManifestMissing, "", detail)
                .next("restore the store from a backup")
        })
    };
    Verified::check(bytes, expected, read).map_err(|violation| {
        if violation.code == plane_model::Code::DigestMismatch {
            ResolveError::DigestMismatch {
                subject: subject.clone(),
                what,
                expected: Box::new(expected),
                found: Box::new(Digest::of(bytes)),
            }
        } else {
            ResolveError::ManifestMissing {
                subject: subject.clone(),
                what,
                detail: violation.detail,
            }
        }
    })
}

/// Reads the facts of a published version.
pub(crate) fn published(document: &Document) -> Option<&Published> {
    match document {
        Document::Agent(published) | Document::Tool(published) => Some(published),
        _ => None,
    }
}
