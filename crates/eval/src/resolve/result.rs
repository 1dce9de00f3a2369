//! What a resolve gives.

use std::sync::{Arc, OnceLock};

use plane_model::{
    ArtifactName, ArtifactVersion, Digest, EnvironmentName, FlagKey, Pointer, Timestamp,
    VariantName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Effective, Offer};
use crate::evaluation::Reason;

/// What decided the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChosenBy {
    /// The tenant's pin.
    Pin,
    /// The channel's split.
    Split,
    /// The channel's default.
    Default,
    /// The fallback of a kill.
    Fallback,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WarningCode {
    /// The context names a tenant that is not known: only its id counts.
    TenantUnknown,
    /// The agent is killed; this is the fallback.
    AgentFallback,
    /// Nobody signed the version.
    Unsigned,
    /// The version is deprecated.
    VersionDeprecated,
    /// The version is deprecated, and the time when it was to be withdrawn has passed.
    VersionSunset,
    /// The version is yanked: no new lock will name it.
    VersionYanked,
    /// The tool is killed and left out.
    ToolKilled,
    /// A flag that overrides the manifest could not be evaluated, so its patch was not applied.
    OverrideNotEvaluated,
}

/// Something that a caller should know of, though the resolve worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// `tenant:ID`, `flag:KEY`, `agent:NAME@VERSION`, `tool:NAME` or `tool:NAME@VERSION`.
    pub subject: String,
    /// What a person should read.
    pub detail: String,
    /// What to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<ArtifactVersion>,
    /// When the version will be, or was to be, withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
}

impl Warning {
    pub(crate) fn new(code: WarningCode, subject: String, detail: impl Into<String>) -> Self {
        Self {
            code,
            subject,
            detail: detail.into(),
            replacement: None,
            sunset: None,
        }
    }
}

/// A warning with its wire form, which is written once for all who get it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) warning: Warning,
    json: OnceLock<Box<[u8]>>,
}

impl From<Warning> for Told {
    fn from(warning: Warning) -> Self {
        Self {
            warning,
            json: OnceLock::new(),
        }
    }
}

impl Told {
    fn json(&self) -> &[u8] {
        self.json.get_or_init(|| {
            let mut out = Vec::new();
            value(&mut out, &self.warning);
            out.into()
        })
    }
}

/// A flag that may override the manifest, and what it gave this context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// The flag.
    pub flag: FlagKey,
    /// The variant; none if the flag gave the caller's default, or failed.
    pub variant: Option<VariantName>,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The revision of the last change of the flag in this environment.
    pub flag_revision: u64,
    /// Where two flags change the same field, the larger priority wins.
    pub priority: i32,
    /// Whether the variant has a patch, which was applied.
    pub applied: bool,
}

/// Where the value of one field comes from, if not from the published manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// `agent:NAME@VERSION` or `tool:NAME@VERSION`.
    pub subject: String,
    /// The field in that manifest.
    pub pointer: Pointer,
    /// What the patch set; null if it removed the field.
    pub value: Value,
    /// The flag whose patch set it.
    pub flag: FlagKey,
    /// The variant.
    pub variant: VariantName,
    /// The rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The revision of the last change of the flag in this environment.
    pub revision: u64,
}

/// How a tool is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallPolicy {
    /// When to give up a call, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How often to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_attempts: Option<u64>,
    /// After how many failures in a row to stop calling for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker_threshold: Option<u64>,
}

/// A tool of a resolved agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedTool {
    /// The tool.
    pub name: ArtifactName,
    /// What the agent calls it, if not by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The locked version.
    #[schemars(with = "String")]
    pub version: semver::Version,
    /// The digest of the published manifest.
    pub digest: Digest,
    /// The manifest with overrides applied.
    pub manifest: Value,
    /// How to call it, out of the manifest.
    pub policy: CallPolicy,
}

/// A resolved agent: a handle on parts that many resolves share.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub(crate) offer: Arc<Offer>,
    pub(crate) effective: Arc<Effective>,
    pub(crate) environment: EnvironmentName,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) revision: u64,
    pub(crate) chosen_by: ChosenBy,
    pub(crate) overrides: Vec<Override>,
    pub(crate) warnings: Vec<Arc<Told>>,
}

/// A resolved agent, whole, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedBody {
    /// The agent.
    pub agent: ArtifactName,
    /// Its version.
    #[schemars(with = "String")]
    pub version: semver::Version,
    /// The environment.
    pub environment: EnvironmentName,
    /// The tenant's id, if the context has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The revision of the view that answered.
    pub revision: u64,
    /// What decided the version.
    pub chosen_by: ChosenBy,
    /// The manifest with overrides applied, without checksum and signature, which cover the published one.
    pub manifest: Value,
    /// The digest of the published manifest: its checksum.
    pub manifest_digest: Digest,
    /// The digest of the lock.
    pub lock_digest: Digest,
    /// The digest of the manifests of agent and tools with overrides applied: equal if what runs is equal.
    pub effective_digest: Digest,
    /// The tools of the lock that are not killed, with overrides applied.
    pub tools: Vec<ResolvedTool>,
    /// All flags that may override these manifests, in the order in which they apply.
    pub overrides: Vec<Override>,
    /// Where the fields that a patch set come from.
    pub origins: Vec<Origin>,
    /// What a caller should know.
    pub warnings: Vec<Warning>,
}

impl Resolved {
    /// The agent and its version.
    pub fn agent(&self) -> &ArtifactVersion {
        self.offer.version()
    }

    /// The environment.
    pub fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    /// The tenant's id, if the context has one.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The revision of the view that answered.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What decided the version.
    pub fn chosen_by(&self) -> ChosenBy {
        self.chosen_by
    }

    /// The manifest with overrides applied.
    pub fn manifest(&self) -> &Value {
        &self.effective.manifest
    }

    /// The tools with overrides applied.
    pub fn tools(&self) -> &[ResolvedTool] {
        &self.effective.tools
    }

    /// The digest of the published manifest.
    pub fn manifest_digest(&self) -> Digest {
        self.effective.manifest_digest
    }

    /// The digest of the lock.
    pub fn lock_digest(&self) -> Digest {
        self.effective.lock_digest
    }

    /// The digest of the manifests of agent and tools with overrides applied.
    pub fn effective_digest(&self) -> Digest {
        self.effective.digest
    }

    /// All flags that may override these manifests, in the order in which they apply.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// What a caller should know.
    pub fn warnings(&self) -> impl ExactSizeIterator<Item = &Warning> {
        self.warnings.iter().map(|it| &it.warning)
    }

    /// Where the fields that a patch set come from.
    pub fn origins(&self) -> Vec<Origin> {
        let named = |patched: &super::effective::Patched| {
            let by = self.overrides.get(patched.overrider)?;
            Some(Origin {
                subject: patched.subject.to_string(),
                pointer: patched.pointer.clone(),
                value: patched.value.clone(),
                flag: by.flag.clone(),
                variant: by.variant.clone()?,
                rule: by.rule.clone(),
                revision: by.flag_revision,
            })
        };
        self.effective.patched.iter().filter_map(named).collect()
    }

    /// Copies everything, to be kept or changed by the caller.
    pub fn to_body(&self) -> ResolvedBody {
        ResolvedBody {
            agent: self.agent().name.clone(),
            version: self.agent().version.clone(),
            environment: self.environment.clone(),
            tenant: self.tenant().map(str::to_owned),
            revision: self.revision,
            chosen_by: self.chosen_by,
            manifest: self.effective.manifest.clone(),
            manifest_digest: self.effective.manifest_digest,
            lock_digest: self.effective.lock_digest,
            effective_digest: self.effective.digest,
            tools: self.effective.tools.clone(),
            overrides: self.overrides.clone(),
            origins: self.origins(),
            warnings: self.warnings().cloned().collect(),
        }
    }

    /// Writes the wire form.
    pub fn to_json(&self) -> Vec<u8> {
        let (mut whole, shared) = self.to_json_parts();
        whole.extend_from_slice(&shared);
        whole
    }

    /// Writes the wire form in two parts, of which the second, by far the larger, was written when it
    /// was first needed and is shared by all for whom the flags decided alike.
    pub fn to_json_parts(&self) -> (Vec<u8>, Arc<[u8]>) {
        let told: usize = self.warnings.iter().map(|it| it.json().len() + 1).sum();
        let mut out = Vec::with_capacity(told + 256);
        out.push(b'{');
        member(&mut out, "agent", &self.agent().name);
        member(&mut out, "version", &self.agent().version);
        member(&mut out, "environment", &self.environment);
        if let Some(tenant) = &self.tenant {
            member(&mut out, "tenant", tenant);
        }
        member(&mut out, "revision", &self.revision);
        member(&mut out, "chosen_by", &self.chosen_by);
        out.extend_from_slice(b",\"warnings\":[");
        for (place, told) in self.warnings.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(told.json());
        }
        out.extend_from_slice(b"],");
        let shared = self.effective.written(&self.overrides, |out| {
            member(out, "overrides", &self.overrides);
            member(out, "origins", &self.origins());
        });
        (out, shared)
    }
}

/// Writes one member of an object, with a comma before all but the first.
pub(super) fn member<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    if !matches!(out.last(), None | Some(b'{')) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    self::value(out, value);
}

fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // None of our types can fail to write; if one did, the text must still be JSON.
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

impl Serialize for Resolved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_body().serialize(serializer)
    }
}

impl JsonSchema for Resolved {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        ResolvedBody::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ResolvedBody::json_schema(generator)
    }
}
