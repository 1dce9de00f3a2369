use expect_test::{Expect, expect};
use plane_model::Verified;
use plane_model::documents::StatusState;
use plane_model::yaml;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const AGENT: &str = r#"
name: customer_support_agent
version: 1.0.0
created_at: "2024-01-01T00:00:00Z"
owner: platform-team
changelog: "Initial customer support agent implementation"
deprecated: false
metadata:
  description: "Handles customer support queries with FAQ and escalation"
  capabilities:
    - faq_handling
    - order_tracking
  max_tokens: 4000
  temperature: 0.7
  tools:
    - crm_tool
    - acme/order_tool@^1.2
    - { name: knowledge_base_tool, version: "~2.1", as: knowledge, optional: true, reason: nice }
    - "pinned@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
  system_prompt: |
    You are a helpful customer support agent.
  team_note: kept and signed
"#;

const TOOL: &str = r#"
name: crm_tool
version: 1.2.0
created_at: "2024-01-02T00:00:00Z"
owner: platform-team
changelog: "Added circuit breaker and retry patterns"
deprecated: false
metadata:
  description: "Customer Relationship Management operations"
  category: "data"
  inputs_schema:
    type: object
    properties:
      action:
        type: string
        enum: ["create_customer", "search_customers", "update_customer"]
      data:
        type: object
    required: ["action", "data"]
  outputs_schema:
    type: object
    properties:
      success:
        type: boolean
  timeout_ms: 5000
  retry_attempts: 3
  circuit_breaker_threshold: 5
"#;

fn value(text: &str) -> Value {
    let limits = Limits {
        bytes_max: 1 << 21,
        depth_max: 200,
    };
    yaml::parse(text.as_bytes(), limits).unwrap().0
}

fn agent(text: &str) -> Manifest {
    Manifest::parse(ArtifactKind::Agent, &value(text)).unwrap()
}

fn with(mut manifest: Value, key: &str, value: Value) -> Value {
    manifest
        .as_object_mut()
        .unwrap()
        .insert(key.to_owned(), value);
    manifest
}

fn check(kind: ArtifactKind, value: &Value, expected: &Expect) {
    let found = Manifest::parse(kind, value).unwrap_err();
    let lines: Vec<_> = found
        .iter()
        .map(|violation| format!("{violation}\n"))
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn the_manifests_of_the_brief_are_read() {
    let manifest = agent(AGENT);
    assert_eq!(manifest.id().to_string(), "customer_support_agent@1.0.0");
    assert_eq!(manifest.owner(), Some("platform-team"));
    assert_eq!(
        manifest.created_at().unwrap().to_string(),
        "2024-01-01T00:00:00Z"
    );
    assert_eq!(manifest.initial_status(), None);
    let Metadata::Agent(metadata) = manifest.metadata() else {
        panic!("an agent")
    };
    assert_eq!(metadata.max_tokens, Some(4000));
    assert_eq!(metadata.temperature, Some(0.7));
    let tools: Vec<_> = manifest
        .tools()
        .iter()
        .map(|it| {
            (
                it.name.to_string(),
                it.wanted.to_string(),
                it.alias.clone(),
                it.optional,
            )
        })
        .collect();
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        tools,
        [
            ("crm_tool".to_owned(), "*".to_owned(), None, false),
            ("acme/order_tool".to_owned(), "^1.2".to_owned(), None, false),
            (
                "knowledge_base_tool".to_owned(),
                "~2.1".to_owned(),
                Some("knowledge".to_owned()),
                true
            ),
            ("pinned".to_owned(), digest.to_owned(), None, false),
        ]
    );
    let manifest = Manifest::parse(ArtifactKind::Tool, &value(TOOL)).unwrap();
    let Metadata::Tool(metadata) = manifest.metadata() else {
        panic!("a tool")
    };
    assert_eq!(metadata.timeout_ms, Some(5000));
    assert_eq!(metadata.category.as_deref(), Some("data"));
}

#[test]
fn every_mistake_is_reported_at_its_place() {
    check(
        ArtifactKind::Agent,
        &json!({
            "name": "a b", "version": "v1.2", "created_at": "yesterday", "owner": 7,
            "deprecated": "no", "colour": "red", "temperature": 1,
            "metadata": {
                "max_tokens": 0, "temperature": 2.5, "model": "", "capabilities": ["", 1, "ok"],
                "tools": [
                    "crm", "crm@^2", 5, "no@>=1 <2", "up@^1 || ^2",
                    { "version": "latest", "as": "a/b", "optional": "yes", "range": 1 },
                    "sha@sha256:12"
                ],
                "overridable": {
                    "tools": {}, "temperature": { "min": 2, "max": 1 }, "model": { "values": [] },
                    "max_tokens": [], "/a~": {}
                }
            }
        }),
        &expect![[r#"
            /colour: unknown field `colour` [FIELD_UNKNOWN]; what describes the agent or tool itself goes below `metadata`
            /temperature: unknown field `temperature` [FIELD_UNKNOWN]; what describes the agent or tool itself goes below `metadata`
            /name: `a b` is not a valid agent or tool name: `name` or `namespace/name`, each 1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-` [NAME_INVALID]; correct the name by that rule
            /version: `v1.2` is not a version: unexpected character 'v' while parsing major version number [VERSION_INVALID]; write `1.2.0`
            /created_at: `yesterday` is not a time such as 2026-03-01T09:30:00Z or a date such as 2026-03-01 [FIELD_INVALID]; write it as one of the two
            /owner: `owner` must be a string, not a number [FIELD_INVALID]; put the value in quotes: "7"
            /deprecated: `deprecated` must be true or false, not a string [FIELD_INVALID]; write true or false
            /metadata/capabilities/0: a capability is a string of 1 to 128 characters [FIELD_INVALID]; write one word or a few
            /metadata/capabilities/1: a capability is a string of 1 to 128 characters [FIELD_INVALID]; write one word or a few
            /metadata/max_tokens: `max_tokens` must be a whole number at least 1, not 0 [FIELD_INVALID]; write a whole number at least 1
            /metadata/temperature: `temperature` must be a number from 0 to 2, not 2.5 [FIELD_INVALID]; write a number from 0 to 2
            /metadata/model: `model` is empty [FIELD_INVALID]; fill it in or remove it
            /metadata/tools/1: the tool name `crm` appears twice [FIELD_INVALID]; keep one, or give one of them another name with `as`
            /metadata/tools/2: a tool is a string or an object, not a number [FIELD_INVALID]; write `name`, `name@^1.2` or {name: …, version: …}
            /metadata/tools/3: `>=1 <2` is not a range: comparators are separated by commas [VERSION_INVALID]; write a comma between them, such as `>=1.2, <2`
            /metadata/tools/4: `^1 || ^2` is not a range: `||` is npm's; a range here is one interval [VERSION_INVALID]; write one range such as `>=1.2, <3`, or list the tool once per range under different names with `as`
            /metadata/tools/5/range: unknown field `range` [FIELD_UNKNOWN]; a tool has `name`, `version`, `as`, `optional` and `reason`
            /metadata/tools/5: missing field `name` [FIELD_MISSING]; add `name`
            /metadata/tools/5/optional: `optional` must be true or false, not a string [FIELD_INVALID]; write true or false
            /metadata/tools/5/version: `latest` is not a range: there is no tag `latest` [VERSION_INVALID]; write `*` for any version
            /metadata/tools/5/as: `a/b` is not a name that an agent can see [NAME_INVALID]; use letters, digits, `_`, `.` or `-`, without a namespace
            /metadata/tools/6: `sha256:12` is not a digest: a SHA-256 has exactly 64 lowercase hex digits [FIELD_INVALID]; write `sha256:` and 64 lowercase hex digits
            /metadata/overridable/~1a~0: `/a~`: in a JSON pointer `~` must be written `~0`, and `/` inside a key `~1` [FIELD_INVALID]; write a key, or a JSON pointer such as `/retry/attempts`
            /metadata/overridable/max_tokens: the bounds of an overridable path are an object [FIELD_INVALID]; write {}, {min: …, max: …} or {enum: […]}
            /metadata/overridable/model/values: bounds have `min`, `max` or `enum` [FIELD_INVALID]; write {}, {min: …, max: …} or {enum: […]}
            /metadata/overridable/temperature: `min` is larger than `max` [FIELD_INVALID]; write {}, {min: …, max: …} or {enum: […]}
            /metadata/overridable/tools: `tools` can never be overridden [FIELD_INVALID]; publish a new version to change it
        "#]],
    );
    check(
        ArtifactKind::Tool,
        &json!({
            "version": 1.1,
            "metadata": {
                "timeout_ms": 600_001, "retry_attempts": 11, "circuit_breaker_threshold": 0,
                "outputs_schema": { "type": "text", "$ref": "#" },
                "overridable": { "inputs_schema": {} }
            }
        }),
        &expect![[r#"
            missing field `name` [FIELD_MISSING]; add `name`
            /version: `version` must be a string, not a number [FIELD_INVALID]; put the value in quotes: "1.1"
            /metadata: missing field `inputs_schema` [FIELD_MISSING]; add `inputs_schema`
            /metadata/outputs_schema/type: matches none of the allowed forms (form 1: must be one of `array`, `boolean`, `integer`, `null`, `number`, `object`, `string`; form 2: must be a list, not a string) [SCHEMA_INVALID]; write it as JSON Schema says
            /metadata/timeout_ms: `timeout_ms` must be a whole number from 1 to 600000, not 600001 [FIELD_INVALID]; write a whole number from 1 to 600000
            /metadata/retry_attempts: `retry_attempts` must be a whole number from 0 to 10, not 11 [FIELD_INVALID]; write a whole number from 0 to 10
            /metadata/circuit_breaker_threshold: `circuit_breaker_threshold` must be a whole number at least 1, not 0 [FIELD_INVALID]; write a whole number at least 1
            /metadata/overridable/inputs_schema: `inputs_schema` can never be overridden [FIELD_INVALID]; publish a new version to change it
        "#]],
    );
    check(
        ArtifactKind::Tool,
        &json!([]),
        &expect![[r"
            a manifest is an object, not a list [FIELD_INVALID]; write its fields as an object: `name`, `version`, `metadata`
        "]],
    );
    check(
        ArtifactKind::Agent,
        &json!({ "name": "a", "version": "1.0.0" }),
        &expect![[r"
        missing field `metadata` [FIELD_MISSING]; add `metadata`
    "]],
    );
}

#[test]
fn the_placeholders_of_the_brief_are_refused_with_what_to_write() {
    let value = with(value(AGENT), CHECKSUM, "a1b2c3d4e5f6...".into());
    let value = with(value, SIGNATURE, "abc123def456...".into());
    check(
        ArtifactKind::Agent,
        &value,
        &expect![[r"
        /checksum_sha256: `a1b2c3d4e5f6...` is not a SHA-256 in 64 lowercase hex digits [CHECKSUM_MISMATCH]; write `checksum_sha256: 051bd48e1ad86174be3b594358a949e2d416a77193dd6074203f5de0183032f1`, the SHA-256 of the canonical JSON (RFC 8785) without `checksum_sha256` and `signature`, or leave the field out to have it filled in
        /signature: `abc123def456...` is not a signature: a signature is `ed25519:<key id>:<base64 of 64 bytes>` [SIGNATURE_INVALID]; run `control-plane sign FILE --key KEYFILE --write`, or remove the field where the namespace accepts unsigned manifests
    "]],
    );
}

#[test]
fn a_wrong_checksum_is_refused_with_the_right_one_which_is_then_accepted() {
    let wrong = with(value(AGENT), CHECKSUM, Digest::of(b"other").hex().into());
    let found = Manifest::parse(ArtifactKind::Agent, &wrong).unwrap_err();
    assert_eq!(
        (found[0].code, found[0].pointer.as_str()),
        (Code::ChecksumMismatch, "/checksum_sha256")
    );
    let next = found[0].next.clone();
    let right = next
        .split_once("checksum_sha256: ")
        .unwrap()
        .1
        .split_once('`')
        .unwrap()
        .0;
    assert_eq!(right, agent(AGENT).digest().hex());
    let right = with(wrong, CHECKSUM, right.into());
    assert!(Manifest::parse(ArtifactKind::Agent, &right).is_ok());
    let upper = with(
        right,
        CHECKSUM,
        agent(AGENT).digest().hex().to_uppercase().into(),
    );
    assert!(Manifest::parse(ArtifactKind::Agent, &upper).is_err());
}

#[test]
fn checksum_and_signature_are_not_part_of_what_they_cover() {
    let plain = agent(AGENT);
    let signed = plain.clone().signed(&SigningKey::from_seed(&[1; 32]));
    assert_eq!(signed.payload(), plain.payload());
    let read = Manifest::parse(ArtifactKind::Agent, &signed.to_value()).unwrap();
    assert_eq!(read, signed);
    let twice = signed
        .signed(&SigningKey::from_seed(&[2; 32]))
        .signed(&SigningKey::from_seed(&[1; 32]));
    assert_eq!(twice.signatures().len(), 2);
    let read = Manifest::parse(ArtifactKind::Agent, &twice.to_value()).unwrap();
    assert_eq!(read, twice);
    let envelope = read.envelope();
    assert_eq!(envelope.payload, plain.payload());
    assert_eq!(envelope.signatures.len(), 2);
}

#[test]
fn comments_indents_and_number_forms_do_not_change_the_digest() {
    let other = AGENT
        .replace("0.7", "0.70 # warm")
        .replace("max_tokens: 4000", "max_tokens: 4.0e3");
    assert_eq!(agent(&other).digest(), agent(AGENT).digest());
    assert_ne!(
        agent(&AGENT.replace("0.7", "0.71")).digest(),
        agent(AGENT).digest()
    );
}

#[test]
fn a_manifest_is_read_back_from_its_verified_blob() {
    let manifest = agent(AGENT);
    let read = |bytes: &[u8]| Manifest::read(ArtifactKind::Agent, bytes);
    let verified = Verified::check(manifest.payload(), manifest.digest(), read).unwrap();
    assert_eq!(verified.get(), &manifest);
    let mut altered = manifest.payload().to_vec();
    altered[20] ^= 1;
    let error = Verified::check(&altered, manifest.digest(), read).unwrap_err();
    assert_eq!(error.code, Code::DigestMismatch);
}

#[test]
fn a_missing_date_is_filled_in_but_not_under_a_checksum() {
    let undated = AGENT.replace("created_at", "#");
    let manifest = agent(&undated);
    assert_eq!(manifest.created_at(), None);
    let published = manifest.clone().with_created_at(Timestamp(0)).unwrap();
    assert_eq!(published.created_at(), Some(Timestamp(0)));
    assert_ne!(published.digest(), manifest.digest());
    assert!(manifest.is_republish_of(&published));
    assert!(manifest.check_republish(&published).is_ok());
    assert!(!agent(AGENT).is_republish_of(&published));
    let covered = with(value(&undated), CHECKSUM, manifest.digest().hex().into());
    check(
        ArtifactKind::Agent,
        &covered,
        &expect![[r"
        missing field `created_at`, which `checksum_sha256` has to cover [FIELD_MISSING]; run `control-plane sign FILE --write`, or remove `checksum_sha256` and let the registry fill in the date
    "]],
    );
}

#[test]
fn what_a_status_governs_is_not_published_again() {
    let published = agent(AGENT);
    let deprecated = agent(&AGENT.replace("deprecated: false", "deprecated: true"));
    assert!(differs_only_in_governance(&deprecated, &published));
    let error = deprecated.check_republish(&published).unwrap_err();
    assert_eq!(error.code, Code::GovernanceChange);
    assert!(
        error
            .next
            .contains("control-plane agent deprecate customer_support_agent@1.0.0")
    );
    let reworded = agent(&AGENT.replace("Initial", "First").replace("created_at", "#"));
    assert!(differs_only_in_governance(&reworded, &published));
    let warmer = agent(&AGENT.replace("0.7", "0.8").replace("Initial", "First"));
    assert!(!differs_only_in_governance(&warmer, &published));
    let error = warmer.check_republish(&published).unwrap_err();
    assert_eq!(error.code, Code::VersionExists);
    assert!(error.detail.contains(&published.digest().to_string()));
    assert!(error.detail.contains(&warmer.digest().to_string()));
    assert!(!differs_only_in_governance(&published, &published));
}

#[test]
fn a_manifest_may_start_its_life_deprecated() {
    let manifest = agent(&AGENT.replace("deprecated: false", "deprecated: true"));
    assert_eq!(
        manifest.initial_status().unwrap().status,
        StatusState::Deprecated
    );
}

#[test]
fn a_manifest_at_the_limits_is_read_and_one_beyond_is_refused() {
    let sized = |length: usize| {
        let prompt = "x".repeat(length);
        json!({ "name": "a", "version": "1.0.0", "metadata": { "system_prompt": prompt } })
    };
    let overhead = canonical::to_canonical(&sized(0)).unwrap().len();
    let most = limits::MANIFEST_BYTES_MAX - overhead;
    assert!(Manifest::parse(ArtifactKind::Agent, &sized(most)).is_ok());
    let found = Manifest::parse(ArtifactKind::Agent, &sized(most + 1)).unwrap_err();
    assert_eq!(found[0].code, Code::LimitExceeded);

    let nested = |depth: usize| {
        let deep = (0..depth).fold(json!({}), |inner, _| json!([inner]));
        json!({ "name": "a", "version": "1.0.0", "metadata": { "x": deep } })
    };
    assert!(Manifest::parse(ArtifactKind::Agent, &nested(61)).is_ok());
    let found = Manifest::parse(ArtifactKind::Agent, &nested(62)).unwrap_err();
    assert_eq!(found[0].code, Code::LimitExceeded);

    let tools = |count: usize| {
        let tools: Vec<_> = (0..count).map(|index| format!("tool{index}")).collect();
        json!({ "name": "a", "version": "1.0.0", "metadata": { "tools": tools } })
    };
    assert!(Manifest::parse(ArtifactKind::Agent, &tools(limits::LOCK_ENTRIES_MAX)).is_ok());
    let found =
        Manifest::parse(ArtifactKind::Agent, &tools(limits::LOCK_ENTRIES_MAX + 1)).unwrap_err();
    assert_eq!(
        (found[0].code, found[0].pointer.as_str()),
        (Code::LimitExceeded, "/metadata/tools")
    );
}

proptest! {
    #[test]
    fn no_value_makes_the_reader_panic(
        key in prop::sample::select(FIELDS.to_vec()),
        inner in prop::sample::select(vec![
            "tools", "temperature", "overridable", "inputs_schema", "capabilities", "model",
        ]),
        text in ".{0,12}",
        number: i64,
        shape in 0..5,
    ) {
        let any = match shape {
            0 => json!(text),
            1 => json!(number),
            2 => json!([text, number, { "name": text, "version": text }]),
            3 => json!({ text.as_str(): number, "type": text, "$ref": format!("#{text}") }),
            _ => json!(null),
        };
        let metadata = json!({ inner: any.clone() });
        let value = json!({ "name": "a", "version": "1.0.0", "metadata": metadata });
        for kind in [ArtifactKind::Agent, ArtifactKind::Tool] {
            drop(Manifest::parse(kind, &value));
            drop(Manifest::parse(kind, &with(value.clone(), key, any.clone())));
        }
    }
}
