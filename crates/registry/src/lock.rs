//! Locks: which version of every tool an agent is given, by digest.
//!
//! A lock is resolved when an agent is published or promoted, never while serving. It is a pure
//! function of the manifest and the candidates.

use plane_model::canonical::{self, CanonicalError};
use plane_model::documents::StatusState;
use plane_model::json::{self, Limits};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Violation, Violations, limits,
};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, ToolRequirement, Wanted};

/// The format that this version writes.
pub const LOCK_FORMAT: u32 = 1;
/// How many versions an error lists.
const LISTED_MAX: usize = 12;

/// The tools of one version of an agent, by digest, sorted by the name that the agent sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The format of this document.
    pub format: u32,
    /// The agent.
    pub agent: ArtifactVersion,
    /// The digest of the agent's manifest.
    pub manifest: Digest,
    /// Its tools.
    pub tools: Vec<LockedTool>,
}

/// One tool of a [`Lock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedTool {
    /// The tool.
    pub name: ArtifactName,
    /// The name under which the agent sees it, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The version.
    pub version: Version,
    /// The digest of the tool's manifest.
    pub digest: Digest,
    /// What the agent's manifest asked for.
    pub requirement: String,
}

impl LockedTool {
    /// Returns the name under which the agent sees the tool.
    pub fn visible_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(self.name.as_str())
    }
}

impl Lock {
    /// Returns the canonical bytes.
    ///
    /// # Errors
    /// None in practice: a lock holds no numbers but its format.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::canonical_bytes(self)
    }

    /// Returns the digest of the canonical bytes, which is the address of the lock's blob.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        self.to_bytes().map(|bytes| Digest::of(&bytes))
    }

    /// Reads the bytes of a lock's blob.
    ///
    /// Made for [`plane_model::Verified::check`], which hashes the same bytes.
    ///
    /// # Errors
    /// [`Code::TextInvalid`] or [`Code::FieldInvalid`] for bytes that are no lock of a known format.
    pub fn read(bytes: &[u8]) -> Result<Self, Violation> {
        let limits = Limits {
            bytes_max: limits::BLOB_BYTES_MAX,
            depth_max: limits::TEXT_DEPTH_MAX,
        };
        let value = json::parse(bytes, limits).map_err(|error| {
            Violation::new(Code::TextInvalid, "", error.to_string()).next(error.next())
        })?;
        let lock: Self = serde_json::from_value(value).map_err(|error| {
            Violation::new(Code::FieldInvalid, "", format!("not a lock: {error}"))
                .next("give the bytes of a lock, as a commit wrote them")
        })?;
        if lock.format != LOCK_FORMAT {
            let detail = format!("the lock has format {}, not {LOCK_FORMAT}", lock.format);
            return Err(Violation::new(Code::FieldInvalid, "/format", detail)
                .next("upgrade this node to a version that reads the format"));
        }
        Ok(lock)
    }
}

/// A published version of a tool that a lock may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How far it may be used.
    pub status: StatusState,
}

impl Candidate {
    fn is_usable(&self) -> bool {
        matches!(self.status, StatusState::Active | StatusState::Deprecated)
    }
}

/// Chooses for every tool of `agent` the highest version that its requirement allows.
///
/// Yanked, revoked and quarantined versions are never chosen, deprecated ones are; prereleases only
/// if the requirement names one of the same release. An optional tool without such a version is
/// left out. The order in which `candidates` lists versions does not matter.
///
/// # Errors
/// [`Code::DependencyUnsatisfied`] for every tool without a version, saying which versions there
/// are and what to do; pointers are into the agent's manifest.
pub fn resolve_lock(
    agent: &Manifest,
    candidates: impl Fn(&ArtifactName) -> Vec<Candidate>,
) -> Result<Lock, Violations> {
    let mut found = Violations::new();
    let mut tools = Vec::new();
    if agent.kind() != ArtifactKind::Agent {
        let detail = format!("`{}` is a tool; only agents have locks", agent.id());
        return Err(vec![
            Violation::new(Code::FieldInvalid, "", detail).next("name an agent"),
        ]);
    }
    for (index, requirement) in agent.tools().iter().enumerate() {
        let mut listed = candidates(&requirement.name);
        listed.sort_by(|a, b| b.version.cmp(&a.version));
        let chosen = listed
            .iter()
            .find(|candidate| candidate.is_usable() && satisfies(candidate, &requirement.wanted));
        match chosen {
            Some(candidate) => tools.push(LockedTool {
                name: requirement.name.clone(),
                alias: requirement.alias.clone(),
                version: candidate.version.clone(),
                digest: candidate.digest,
                requirement: requirement.wanted.to_string(),
            }),
            None if requirement.optional => {}
            None => found.push(
                explain(agent, requirement, &listed).below(&format!("/metadata/tools/{index}")),
            ),
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    tools.sort_by(|a, b| a.visible_name().cmp(b.visible_name()));
    Ok(Lock {
        format: LOCK_FORMAT,
        agent: agent.id().clone(),
        manifest: agent.digest(),
        tools,
    })
}

fn satisfies(candidate: &Candidate, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Range(range) => range.matches(&candidate.version),
        Wanted::Exact(digest) => *digest == candidate.digest,
    }
}

/// Says why no version will do; `listed` is sorted, highest first.
fn explain(agent: &Manifest, requirement: &ToolRequirement, listed: &[Candidate]) -> Violation {
    let (tool, wanted) = (&requirement.name, &requirement.wanted);
    let unsatisfied = |detail: String| Violation::new(Code::DependencyUnsatisfied, "", detail);
    if listed.is_empty() {
        return unsatisfied(format!(
            "agent `{}` requires tool `{tool}`, which is not published",
            agent.id()
        ))
        .next(format!(
            "publish `{tool}` first or in the same commit, correct the name, or mark it \
                 `optional: true`"
        ));
    }
    let detail = format!(
        "no version of tool `{tool}` satisfies agent `{}`, because it requires {wanted}; \
         published: {}",
        agent.id(),
        list(listed)
    );
    let usable: Vec<_> = listed
        .iter()
        .filter(|candidate| candidate.is_usable())
        .collect();
    let matching = listed.iter().find(|candidate| satisfies(candidate, wanted));
    if let Some(unusable) = matching {
        return unsatisfied(detail).next(format!(
            "{} matches but is {}: publish a newer version that matches, or set its status back \
             to active",
            unusable.version,
            unusable.status.as_str()
        ));
    }
    if let (Some(prerelease), Wanted::Range(range)) = (prerelease_of(&usable, wanted), wanted) {
        return unsatisfied(detail).next(format!(
            "{prerelease} is a prerelease, which {range} leaves out: publish its release, or \
             require `^{prerelease}`"
        ));
    }
    unsatisfied(detail).next(match usable.iter().find(|it| it.version.pre.is_empty()) {
        Some(highest) => format!(
            "require `^{}`, or publish a version that matches {wanted}",
            highest.version
        ),
        None => format!("publish a version that matches {wanted}"),
    })
}

/// Returns the highest usable prerelease whose release the range would take.
fn prerelease_of<'c>(usable: &[&'c Candidate], wanted: &Wanted) -> Option<&'c Version> {
    let Wanted::Range(range) = wanted else {
        return None;
    };
    let matches = |range: &VersionReq, version: &Version| {
        let release = Version::new(version.major, version.minor, version.patch);
        !version.pre.is_empty() && range.matches(&release)
    };
    usable
        .iter()
        .map(|candidate| &candidate.version)
        .find(|version| matches(range, version))
}

fn list(listed: &[Candidate]) -> String {
    let mut texts: Vec<String> = listed
        .iter()
        .take(LISTED_MAX)
        .map(|candidate| match candidate.status {
            StatusState::Active => candidate.version.to_string(),
            status => format!("{} ({})", candidate.version, status.as_str()),
        })
        .collect();
    if listed.len() > LISTED_MAX {
        texts.push(format!("and {} older ones", listed.len() - LISTED_MAX));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests;
