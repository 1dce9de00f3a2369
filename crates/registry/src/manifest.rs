//! Manifests: what is published of an agent or a tool, in the shape of a YAML file.
//!
//! INVARIANT: [`Manifest::payload`] is the canonical JSON of the manifest without
//! `checksum_sha256` and `signature`, and [`Manifest::digest`] is its SHA-256.

mod fields;
pub(crate) mod metadata;

use plane_model::json::{self, Limits};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Digest, Pointer, Timestamp, Violation,
    Violations, canonical, documents, limits,
};
use semver::Version;
use serde_json::{Map, Value};

use crate::dsse::{Envelope, EnvelopeSignature, PayloadType};
use crate::keys::{Signature, SigningKey};
use crate::versions::{clip, parse_version};
use fields::Fields;
pub(crate) use fields::type_of;
pub use metadata::{
    AgentMetadata, Bounds, Metadata, OVERRIDABLE_PATHS_MAX, RETRY_ATTEMPTS_MAX, TEMPERATURE_MAX,
    TIMEOUT_MS_MAX, ToolMetadata, ToolRequirement, Wanted,
};

/// The most signatures of one manifest.
pub const SIGNATURES_MAX: usize = 16;

const CHECKSUM: &str = "checksum_sha256";
const SIGNATURE: &str = "signature";
const CREATED_AT: &str = "created_at";
/// What the registry can change after publishing, by a status; a manifest only says how it starts.
const GOVERNANCE: [&str; 2] = ["deprecated", "changelog"];
const FIELDS: [&str; 9] = [
    "name",
    "version",
    CHECKSUM,
    CREATED_AT,
    "owner",
    "changelog",
    "deprecated",
    "metadata",
    SIGNATURE,
];

/// A well-formed manifest of an agent or a tool.
///
/// Its checksum is right if it had one; its signatures are well formed but **not verified**: see
/// [`crate::verify_signatures`].
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    kind: ArtifactKind,
    id: ArtifactVersion,
    created_at: Option<Timestamp>,
    owner: Option<String>,
    changelog: Option<String>,
    deprecated: bool,
    metadata: Metadata,
    signatures: Vec<Signature>,
    body: Map<String, Value>,
    payload: Vec<u8>,
    digest: Digest,
}

impl Manifest {
    /// Reads a manifest of `kind` in the shape of its YAML file.
    ///
    /// # Errors
    /// Every finding, with pointers into `value`. A wrong or placeholder checksum comes with the
    /// right value.
    pub fn parse(kind: ArtifactKind, value: &Value) -> Result<Self, Violations> {
        let Value::Object(members) = value else {
            let detail = format!("a manifest is an object, not {}", type_of(value));
            let next = "write its fields as an object: `name`, `version`, `metadata`";
            return Err(vec![
                Violation::new(Code::FieldInvalid, "", detail).next(next),
            ]);
        };
        let mut found = Violations::new();
        if is_deeper(value, limits::TEXT_DEPTH_MAX) {
            let detail = format!("the manifest nests deeper than {}", limits::TEXT_DEPTH_MAX);
            return Err(vec![
                Violation::new(Code::LimitExceeded, "", detail).next("make it flatter"),
            ]);
        }
        let mut body = members.clone();
        body.remove(CHECKSUM);
        body.remove(SIGNATURE);
        let payload = match canonical::to_canonical(&Value::Object(body.clone())) {
            Ok(payload) => payload,
            Err(error) => {
                return Err(vec![
                    Violation::new(Code::FieldInvalid, "", error.to_string())
                        .next("write numbers that JSON can carry"),
                ]);
            }
        };
        if payload.len() > limits::MANIFEST_BYTES_MAX {
            let detail = format!(
                "the manifest has {} bytes in canonical form; at most {} are allowed",
                payload.len(),
                limits::MANIFEST_BYTES_MAX
            );
            let violation = Violation::new(Code::LimitExceeded, "", detail);
            return Err(vec![violation.next("move long texts out of the manifest")]);
        }
        let digest = Digest::of(&payload);

        let mut fields = Fields {
            members,
            at: Pointer::root(),
            found: &mut found,
        };
        refuse_unknown(&mut fields);
        let name = name(&mut fields);
        let version = version(&mut fields);
        let created_at = created_at(&mut fields);
        let owner = text(&mut fields, "owner");
        let changelog = text(&mut fields, "changelog");
        let deprecated = fields.boolean("deprecated").unwrap_or_default();
        checksum(&mut fields, digest);
        let signatures = signatures(&mut fields);
        if !members.contains_key("metadata") {
            fields.missing("metadata");
        }
        let metadata = fields.object("metadata").map(|members| {
            let mut inner = Violations::new();
            let metadata = metadata::read(kind, members, &mut inner);
            found.extend(
                inner
                    .into_iter()
                    .map(|violation| violation.below("/metadata")),
            );
            metadata
        });
        match (name, version, metadata) {
            (Some(name), Some(version), Some(metadata)) if found.is_empty() => Ok(Self {
                kind,
                id: ArtifactVersion { name, version },
                created_at,
                owner,
                changelog,
                deprecated,
                metadata,
                signatures,
                body,
                payload,
                digest,
            }),
            _ => Err(found),
        }
    }

    /// Reads the bytes of a blob that holds a manifest's payload.
    ///
    /// Made for [`plane_model::Verified::check`], which hashes the same bytes.
    ///
    /// # Errors
    /// The first finding.
    pub fn read(kind: ArtifactKind, payload: &[u8]) -> Result<Self, Violation> {
        let limits = Limits {
            bytes_max: limits::MANIFEST_BYTES_MAX,
            depth_max: limits::TEXT_DEPTH_MAX,
        };
        let value = json::parse(payload, limits).map_err(|error| {
            Violation::new(Code::TextInvalid, "", error.to_string()).next(error.next())
        })?;
        Self::parse(kind, &value).map_err(|found| {
            let unknown = || {
                Violation::new(Code::FieldInvalid, "", "the manifest is malformed")
                    .next("restore the store from a backup")
            };
            found.into_iter().next().unwrap_or_else(unknown)
        })
    }

    /// Returns whether it is an agent or a tool.
    pub fn kind(&self) -> ArtifactKind {
        self.kind
    }

    /// Returns name and version.
    pub fn id(&self) -> &ArtifactVersion {
        &self.id
    }

    /// Returns the name.
    pub fn name(&self) -> &ArtifactName {
        &self.id.name
    }

    /// Returns the version.
    pub fn version(&self) -> &Version {
        &self.id.version
    }

    /// Returns when it was made, unless the registry is to fill that in.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// Returns who answers for it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Returns what changed with this version.
    pub fn changelog(&self) -> Option<&str> {
        self.changelog.as_deref()
    }

    /// Returns whether it starts its life deprecated; its status decides from then on.
    pub fn is_deprecated(&self) -> bool {
        self.deprecated
    }

    /// Returns the status that it starts with, if that is not simply active.
    pub fn initial_status(&self) -> Option<documents::Status> {
        self.deprecated.then(|| documents::Status {
            status: documents::StatusState::Deprecated,
            message: Some("published as deprecated".to_owned()),
            ..documents::Status::default()
        })
    }

    /// Returns the typed metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the metadata as written, with the keys that the registry does not know.
    pub fn metadata_value(&self) -> Option<&Map<String, Value>> {
        self.body.get("metadata").and_then(Value::as_object)
    }

    /// Returns the tools that it needs; none for a tool.
    pub fn tools(&self) -> &[ToolRequirement] {
        match &self.metadata {
            Metadata::Agent(agent) => &agent.tools,
            Metadata::Tool(_) => &[],
        }
    }

    /// Returns the signatures, which are not verified.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns the canonical bytes that checksum and signatures cover, and that the registry keeps.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the digest of the payload: its checksum, and the address of its blob.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the type that signatures of this manifest cover.
    pub fn payload_type(&self) -> PayloadType {
        PayloadType::of(self.kind)
    }

    /// Returns the manifest in the shape of its file, with checksum and signatures.
    pub fn to_value(&self) -> Value {
        let mut members = self.body.clone();
        members.insert(CHECKSUM.to_owned(), self.digest.hex().into());
        let mut signatures = self.signatures.iter().map(|it| Value::from(it.to_string()));
        let signature = match (signatures.len(), signatures.next()) {
            (0, _) | (_, None) => None,
            (1, Some(only)) => Some(only),
            (_, Some(first)) => Some(std::iter::once(first).chain(signatures).collect()),
        };
        if let Some(signature) = signature {
            members.insert(SIGNATURE.to_owned(), signature);
        }
        Value::Object(members)
    }

    /// Returns payload and signatures as a DSSE envelope.
    pub fn envelope(&self) -> Envelope {
        let signatures = self.signatures.iter().map(|signature| EnvelopeSignature {
            keyid: Some(signature.keyid.to_string()),
            sig: signature.bytes.to_vec(),
        });
        Envelope {
            payload_type: self.payload_type().to_string(),
            payload: self.payload.clone(),
            signatures: signatures.collect(),
        }
    }

    /// Returns the manifest made at `at`, unless it says already when it was made.
    ///
    /// # Errors
    /// [`Code::LimitExceeded`] if the date makes it too large.
    pub fn with_created_at(self, at: Timestamp) -> Result<Self, Violations> {
        if self.created_at.is_some() {
            return Ok(self);
        }
        let mut members = self.body;
        members.insert(CREATED_AT.to_owned(), at.to_string().into());
        Self::parse(self.kind, &Value::Object(members))
    }

    /// Returns the manifest with a signature of `key`, in place of an earlier one of the same key.
    #[must_use]
    pub fn signed(mut self, key: &SigningKey) -> Self {
        let signature = key.sign(self.payload_type().as_str(), &self.payload);
        self.signatures
            .retain(|other| other.keyid != signature.keyid);
        self.signatures.push(signature);
        self
    }

    /// Returns whether this is `published`, sent again: the same content, or the same but for the
    /// date that the registry filled in.
    pub fn is_republish_of(&self, published: &Self) -> bool {
        self.digest == published.digest
            || (self.created_at.is_none()
                && without(self, &[]) == without(published, &[CREATED_AT]))
    }

    /// Checks that a version that is published already came again with the same content.
    ///
    /// # Errors
    /// [`Code::GovernanceChange`] if only what a status governs differs, else
    /// [`Code::VersionExists`] with both digests.
    pub fn check_republish(&self, published: &Self) -> Result<(), Violation> {
        if self.is_republish_of(published) {
            return Ok(());
        }
        let id = &self.id;
        if differs_only_in_governance(self, published) {
            let detail = format!(
                "{} `{id}` is published; only its `deprecated` or `changelog` differs, and what \
                 was published and signed does not change",
                self.kind
            );
            return Err(
                Violation::new(Code::GovernanceChange, "", detail).next(format!(
                    "set its status instead: `control-plane {} deprecate {id} --message …`",
                    self.kind
                )),
            );
        }
        let detail = format!(
            "{} `{id}` is published with the digest {}; this one has {}",
            self.kind, published.digest, self.digest
        );
        let next = "published versions do not change: give this one a new version";
        Err(Violation::new(Code::VersionExists, "/version", detail).next(next))
    }
}

/// Returns whether two manifests differ, but only in what a status governs after publishing
/// (`deprecated`, `changelog`), and in a date that one of them leaves to the registry.
pub fn differs_only_in_governance(a: &Manifest, b: &Manifest) -> bool {
    let mut ignored = GOVERNANCE.to_vec();
    if a.created_at.is_none() || b.created_at.is_none() {
        ignored.push(CREATED_AT);
    }
    let governance_differs = GOVERNANCE
        .iter()
        .any(|key| a.body.get(*key) != b.body.get(*key));
    governance_differs && without(a, &ignored) == without(b, &ignored)
}

fn without(manifest: &Manifest, ignored: &[&str]) -> Map<String, Value> {
    let kept = manifest
        .body
        .iter()
        .filter(|(key, _)| !ignored.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn refuse_unknown(fields: &mut Fields<'_, '_>) {
    for key in fields.members.keys() {
        if FIELDS.contains(&key.as_str()) {
            continue;
        }
        let next = "what describes the agent or tool itself goes below `metadata`";
        let detail = format!("unknown field `{}`", clip(key));
        fields.report(key, Code::FieldUnknown, detail, next);
    }
}

fn name(fields: &mut Fields<'_, '_>) -> Option<ArtifactName> {
    let text = fields.required_text("name")?;
    let name = ArtifactName::new(text);
    if let Err(error) = &name {
        fields.found.push(error.at("/name"));
    }
    name.ok()
}

fn version(fields: &mut Fields<'_, '_>) -> Option<Version> {
    let text = fields.required_text("version")?;
    match parse_version(text) {
        Ok(version) => Some(version),
        Err(violation) => {
            fields.found.push(violation.below("/version"));
            None
        }
    }
}

fn created_at(fields: &mut Fields<'_, '_>) -> Option<Timestamp> {
    let covering = [CHECKSUM, SIGNATURE]
        .into_iter()
        .find(|key| fields.members.contains_key(*key));
    if let (Some(covering), false) = (covering, fields.members.contains_key(CREATED_AT)) {
        let detail = format!("missing field `{CREATED_AT}`, which `{covering}` has to cover");
        let next = format!(
            "run `control-plane sign FILE --write`, or remove `{covering}` and let the registry \
             fill in the date"
        );
        fields
            .found
            .push(Violation::new(Code::FieldMissing, "", detail).next(next));
    }
    let text = fields.text(CREATED_AT)?;
    let time = text.parse();
    if let Err(error) = &time {
        let detail = format!("{error}");
        fields.report(
            CREATED_AT,
            Code::FieldInvalid,
            detail,
            "write it as one of the two",
        );
    }
    time.ok()
}

fn text(fields: &mut Fields<'_, '_>, key: &str) -> Option<String> {
    let text = fields.text(key)?;
    if text.chars().count() > limits::PROSE_CHARS_MAX {
        let detail = format!(
            "`{key}` has more than {} characters",
            limits::PROSE_CHARS_MAX
        );
        fields.report(key, Code::LimitExceeded, detail, "shorten it");
    }
    Some(text.to_owned())
}

fn checksum(fields: &mut Fields<'_, '_>, right: Digest) {
    let Some(value) = fields.members.get(CHECKSUM) else {
        return;
    };
    let detail = match value {
        Value::String(text) if *text == right.hex() => return,
        Value::String(text) if Digest::from_hex(text).is_ok() => {
            format!(
                "`{CHECKSUM}` is {text}, but this content has {}",
                right.hex()
            )
        }
        Value::String(text) => {
            format!(
                "`{}` is not a SHA-256 in 64 lowercase hex digits",
                clip(text)
            )
        }
        other => format!("`{CHECKSUM}` must be a string, not {}", type_of(other)),
    };
    let next = format!(
        "write `{CHECKSUM}: {}`, the SHA-256 of the canonical JSON (RFC 8785) without \
         `{CHECKSUM}` and `{SIGNATURE}`, or leave the field out to have it filled in",
        right.hex()
    );
    fields.report(CHECKSUM, Code::ChecksumMismatch, detail, next);
}

fn signatures(fields: &mut Fields<'_, '_>) -> Vec<Signature> {
    let items = match fields.members.get(SIGNATURE) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    if items.len() > SIGNATURES_MAX {
        let detail = format!("more than {SIGNATURES_MAX} signatures");
        let next = format!("keep at most {SIGNATURES_MAX}: one of each key counts");
        fields.report(SIGNATURE, Code::LimitExceeded, detail, next);
        return Vec::new();
    }
    let is_list = fields.members.get(SIGNATURE).is_some_and(Value::is_array);
    let mut signatures = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let pointer = Pointer::root().key(SIGNATURE);
        let pointer = if is_list {
            pointer.index(index)
        } else {
            pointer
        };
        let detail = match item {
            Value::String(text) => match text.parse::<Signature>() {
                Ok(signature) => {
                    signatures.push(signature);
                    continue;
                }
                Err(error) => format!("`{}` is not a signature: {error}", clip(text)),
            },
            other => format!("a signature must be a string, not {}", type_of(other)),
        };
        fields.found.push(
            Violation::new(Code::SignatureInvalid, pointer.to_string(), detail).next(
                "run `control-plane sign FILE --key KEYFILE --write`, or remove the field where \
                 the namespace accepts unsigned manifests",
            ),
        );
    }
    signatures
}

/// Goes down level by level, so that the depth of `value` costs no stack.
pub(crate) fn is_deeper(value: &Value, depth_max: usize) -> bool {
    let mut level = vec![value];
    for _ in 0..depth_max {
        level = level
            .into_iter()
            .flat_map(|value| match value {
                Value::Object(members) => members.values().collect::<Vec<_>>(),
                Value::Array(items) => items.iter().collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    level
        .iter()
        .any(|value| value.is_object() || value.is_array())
}

#[cfg(test)]
mod tests;
