//! Published versions, their status, channels and trust.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::targeting::check_split;
use super::{check_prose, check_reason};
use crate::{
    ArtifactVersion, Code, Digest, PrincipalId, Split, Timestamp, VariantName, Violation,
    Violations,
};

/// What the registry keeps of a published version beside the manifest's bytes, which are a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Published {
    /// The manifest's digest: its checksum, and the address of its bytes.
    pub manifest: Digest,
    /// The digest of the lock that publishing resolved; agents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
    /// The signatures that were verified; empty for an unsigned version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<String>,
    /// When it was published.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: PrincipalId,
}

/// How far a published version may be used.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StatusState {
    /// Without limits.
    #[default]
    Active,
    /// It may, with a warning.
    Deprecated,
    /// Only where a lock names it already.
    Yanked,
    /// Not at all.
    Revoked,
    /// Not at all, because its bytes or signatures are in doubt.
    Quarantined,
}

impl StatusState {
    /// The state as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Yanked => "yanked",
            Self::Revoked => "revoked",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Whether a published version may still be used, and what to use instead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Status {
    /// How far.
    pub status: StatusState,
    /// Why, for those who use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<ArtifactVersion>,
    /// When it will be withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
}

impl Status {
    pub(super) fn check(&self, found: &mut Violations) {
        check_prose("/message", self.message.as_deref(), found);
        if self.status != StatusState::Active {
            check_reason(
                "/message",
                self.message.as_deref().unwrap_or_default(),
                found,
            );
        }
    }
}

/// A version of an agent and the lock that it is given with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Release {
    /// The version.
    #[schemars(with = "String")]
    pub version: semver::Version,
    /// The lock; a commit fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
}

/// Which version of an agent an environment gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Channel {
    /// What all get whom the split leaves over.
    pub default: Release,
    /// A share of the units for other versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The locks of the split's versions; a commit fills them in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<VariantName, Digest>,
}

impl Channel {
    pub(super) fn check(&self, found: &mut Violations) {
        let Some(split) = &self.split else { return };
        check_split("/split", split, found);
        for name in split.totals().keys() {
            if name.as_str().parse::<semver::Version>().is_err() {
                found.push(
                    Violation::new(
                        Code::VersionInvalid,
                        "/split",
                        format!("`{name}` is not a version"),
                    )
                    .next("a channel's split gives shares to versions such as `1.2.0`"),
                );
            }
        }
    }

    /// The channel with every percentage as ranges that move no more units than they must.
    #[must_use]
    pub fn settled(self, previous: Option<&Self>) -> Self {
        let before = previous.and_then(|before| before.split.as_ref());
        let split = self.split.map(|split| split.settled(before));
        Self { split, ..self }
    }

    /// The versions that the channel can give.
    pub fn versions(&self) -> Vec<semver::Version> {
        let mut versions = vec![self.default.version.clone()];
        let shares = self
            .split
            .iter()
            .flat_map(|split| split.totals().into_keys());
        versions.extend(shares.filter_map(|name| name.as_str().parse().ok()));
        versions
    }
}

/// Whether a namespace's manifests must be signed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// They must.
    #[default]
    Required,
    /// They need not; an unsigned one is shown as unsigned everywhere.
    Optional,
}

/// A key that a namespace trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrustedKey {
    /// The public key: `ed25519:` and its bytes in base64.
    pub public_key: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// After this it signs nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Since when it is revoked: its signatures no longer count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The keys that sign the agents and tools of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trust {
    /// Whether manifests must be signed.
    #[serde(default)]
    pub signing: Signing,
    /// How many different keys must have signed.
    #[serde(default = "one")]
    pub threshold: u32,
    /// The keys.
    #[serde(default)]
    pub keys: Vec<TrustedKey>,
}

fn one() -> u32 {
    1
}

impl Trust {
    pub(super) fn check(&self, found: &mut Violations) {
        if self.threshold == 0 {
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "/threshold",
                    "the threshold is at least 1",
                )
                .next("write 1, and `signing: optional` to accept unsigned manifests"),
            );
        }
        if self.signing == Signing::Required
            && usize::try_from(self.threshold).is_ok_and(|it| it > self.keys.len())
        {
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "/keys",
                    format!(
                        "{} keys cannot reach a threshold of {}",
                        self.keys.len(),
                        self.threshold
                    ),
                )
                .next("add keys, lower the threshold, or write `signing: optional`"),
            );
        }
    }
}
