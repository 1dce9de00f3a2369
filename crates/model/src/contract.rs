//! What a service relies on, as its instances say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{CanonicalError, canonical_bytes};
use crate::documents::FlagType;
use crate::{ArtifactName, ConfigName, Digest, FlagKey};

/// What a service relies on: a revision that breaks it is rejected there, and a plan says so beforehand.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The JSON Schemas that config documents must fulfil, for every tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<ConfigName, Value>,
    /// The flags that must exist, with their types.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<FlagKey, FlagType>,
    /// The agents that must have a channel, and what of them is relied on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<ArtifactName, AgentContract>,
}

/// What of an agent a service relies on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentContract {
    /// The versions that the service can use, such as `^1.2`; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<semver::VersionReq>,
    /// The JSON Schema that the metadata of its manifest must fulfil; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

impl Contract {
    /// Says whether nothing is relied on.
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty() && self.flags.is_empty() && self.agents.is_empty()
    }

    /// The digest of its canonical form, and how many bytes that has.
    ///
    /// # Errors
    /// A schema has something that no canonical form has, such as a number that is too large.
    pub fn digest(&self) -> Result<(Digest, usize), CanonicalError> {
        let bytes = canonical_bytes(self)?;
        Ok((Digest::of(&bytes), bytes.len()))
    }
}
