//! What flags override in manifests: paths that may be, and no two flags at odds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plane_model::documents::{Applies, Overrides};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Document, DocumentKey, Kind,
    Violation, Violations,
};
use plane_registry::patch;
use serde_json::{Map, Value};

use super::{read_lock, read_manifest};
use crate::draft::Draft;
use crate::prepare::Touched;

/// A flag that overrides manifests.
struct Overriding {
    key: DocumentKey,
    overrides: Overrides,
}

/// The kinds whose documents can give a version of an agent.
const RELEASING: [Kind; 3] = [Kind::Channel, Kind::Pin, Kind::Kill];

/// Checks patches against every version that a channel, a pin or a fallback can give.
pub(super) fn check(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    let mut given = BTreeSet::new();
    for kind in RELEASING {
        for (key, document) in touched_of(draft, touched, kind) {
            given.extend(releases(draft, touched, &key, &document));
        }
    }
    // Most pins are of flags: they give no version, and no flag need be looked at.
    if given.is_empty() && !touched.keys().any(|key| key.kind() == Kind::Flag) {
        return;
    }
    let overrides = |document: &Document| match document {
        Document::Flag(flag) if !flag.archived => flag.overrides.clone(),
        _ => None,
    };
    let overriding: Vec<Overriding> = draft
        .select(Kind::Flag, |flag| overrides(flag).is_some())
        .into_iter()
        .filter_map(|(key, flag)| {
            let overrides = overrides(&flag)?;
            Some(Overriding { key, overrides })
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
    if !changed.is_empty() {
        for kind in RELEASING {
            for (key, document) in draft.of_kind(kind) {
                given.extend(releases(draft, touched, &key, &document));
            }
        }
    }
    for ((version, lock), release_touched, key) in given {
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

/// What a document gives, whether the command touches the document, and its key.
type Release = (Given, bool, DocumentKey);

fn releases(
    draft: &mut Draft<'_>,
    touched: &Touched,
    key: &DocumentKey,
    document: &Document,
) -> Vec<Release> {
    let given = given(draft, key, document).into_iter();
    given
        .map(|given| (given, touched.has(key), key.clone()))
        .collect()
}

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
        Document::Pin(pin) => {
            let versions = pin.version.iter().map(|it| version(subject, it));
            versions.map(|it| Some((it?, pin.lock))).collect()
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
    a.into_iter().find(|path| meets(path, &b))
}

/// Says whether one of `paths` is the same as `path`, above it or below it. Logarithmic in `paths`.
fn meets(path: &str, paths: &BTreeSet<String>) -> bool {
    let mut above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
    let inside = format!("{path}/");
    paths.contains(path)
        || above.any(|above| paths.contains(above))
        || paths
            .range(inside.clone()..)
            .next()
            .is_some_and(|below| below.starts_with(&inside))
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
