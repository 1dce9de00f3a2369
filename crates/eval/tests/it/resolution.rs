//! `spec/resolution.json`.

use std::collections::BTreeMap;

use plane_eval::{CallPolicy, ResolvedBody, Signature};
use plane_model::{ArtifactKind, Digest, Timestamp, canonical};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Held, Written, at, build, changes, context, read};

#[derive(Deserialize)]
pub(crate) struct Vectors {
    environment: String,
    blobs: Vec<Value>,
    documents: Vec<Written>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    agent: String,
    context: Value,
    now: Option<Timestamp>,
    #[serde(default)]
    with: Vec<Written>,
    #[serde(default)]
    missing: Vec<Digest>,
    #[serde(default)]
    altered: BTreeMap<Digest, Value>,
    #[serde(default)]
    signatures: BTreeMap<String, String>,
    expect: Option<Expected>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    version: Option<String>,
    chosen_by: Option<String>,
    manifest: Option<Value>,
    manifest_digest: Option<Digest>,
    lock_digest: Option<Digest>,
    effective_digest: Option<Digest>,
    tools: Option<Vec<String>>,
    policies: Option<BTreeMap<String, CallPolicy>>,
    overrides: Option<Vec<Value>>,
    origins: Option<Vec<Value>>,
    #[serde(default)]
    warnings: Vec<(String, String)>,
    first_warning: Option<Value>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    subject: String,
}

impl Vectors {
    pub(crate) fn held(&self) -> Held {
        let mut held = Held::default();
        for blob in &self.blobs {
            let bytes = canonical::to_canonical(blob).unwrap();
            held.blobs.insert(Digest::of(&bytes), bytes.into());
        }
        held
    }

    pub(crate) fn base_documents(&self) -> Vec<Written> {
        self.documents.clone()
    }

    pub(crate) fn all_documents(&self) -> Vec<Written> {
        let cases = self.cases.iter().flat_map(|case| &case.with);
        self.documents.iter().chain(cases).cloned().collect()
    }

    fn held_for(&self, case: &Case) -> Held {
        let mut held = self.held();
        for digest in &case.missing {
            assert!(held.blobs.remove(digest).is_some(), "{}", case.name);
        }
        for (digest, value) in &case.altered {
            let bytes = canonical::to_canonical(value).unwrap();
            let before = held.blobs.insert(*digest, bytes.into());
            assert!(before.is_some(), "{}", case.name);
        }
        for (subject, verdict) in &case.signatures {
            let (kind, version) = subject.split_once(':').unwrap();
            let kind = match kind {
                "agent" => ArtifactKind::Agent,
                _ => ArtifactKind::Tool,
            };
            let verdict = match verdict.as_str() {
                "unsigned" => Signature::Unsigned,
                _ => Signature::Invalid {
                    detail: "the key is revoked".to_owned(),
                },
            };
            held.signatures
                .insert((kind, version.parse().unwrap()), verdict);
        }
        held
    }
}

#[test]
fn agents_resolve_as_in_the_vectors() {
    let vectors: Vectors = read("resolution.json");
    assert!(vectors.cases.len() >= 70);
    for case in &vectors.cases {
        let name = &case.name;
        let mut documents = vectors.documents.clone();
        documents.extend(case.with.iter().cloned());
        let view = build(
            &vectors.environment,
            &changes(&documents),
            &vectors.held_for(case),
        );
        let agent = case.agent.parse().unwrap();
        let ctx = context(&case.context);
        let found = view.resolve(&agent, &ctx, at(case.now));
        match (&case.expect, &case.error) {
            (Some(expected), None) => {
                let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
                let body = found.to_body();
                check(name, expected, &body);
                let json: Value = serde_json::from_slice(&found.to_json()).unwrap();
                assert_eq!(json, serde_json::to_value(&found).unwrap(), "{name}");
                assert_eq!(
                    serde_json::from_value::<ResolvedBody>(json).unwrap(),
                    body,
                    "{name}"
                );
                let again = view.resolve(&agent, &ctx, at(case.now)).unwrap();
                assert!(
                    std::ptr::eq(found.manifest(), again.manifest()),
                    "{name}: kept"
                );
                assert_eq!(again.to_json(), found.to_json(), "{name}");
            }
            (None, Some(expected)) => {
                let error = found.err().unwrap_or_else(|| panic!("{name}: no error"));
                assert_eq!(error.code().as_str(), expected.code, "{name}: {error}");
                assert_eq!(error.subject(), expected.subject, "{name}: {error}");
                assert!(!error.next().is_empty());
            }
            _ => panic!("{name}: write either `expect` or `error`"),
        }
    }
}

fn check(name: &str, expected: &Expected, found: &ResolvedBody) {
    let value = serde_json::to_value(found).unwrap();
    for (member, expected) in [
        ("version", json!(expected.version)),
        ("chosen_by", json!(expected.chosen_by)),
        ("manifest", json!(expected.manifest)),
        ("manifest_digest", json!(expected.manifest_digest)),
        ("lock_digest", json!(expected.lock_digest)),
        ("effective_digest", json!(expected.effective_digest)),
    ] {
        assert!(
            expected.is_null() || value[member] == expected,
            "{name}: {member} of {value:#}"
        );
    }
    let warnings: Vec<_> = found.warnings.iter().map(|it| json!(it)).collect();
    let shown = warnings
        .iter()
        .map(|it| (it["code"].clone(), it["subject"].clone()));
    let shown = serde_json::to_value(shown.collect::<Vec<_>>()).unwrap();
    assert_eq!(shown, json!(expected.warnings), "{name}: warnings");
    if let Some(first) = &expected.first_warning {
        assert_eq!(warnings.first(), Some(first), "{name}");
    }
    if let Some(expected) = &expected.tools {
        let tools = found
            .tools
            .iter()
            .map(|it| format!("{}@{}", it.name, it.version));
        assert_eq!(tools.collect::<Vec<_>>(), *expected, "{name}: tools");
    }
    for (tool, policy) in expected.policies.iter().flatten() {
        let found = found
            .tools
            .iter()
            .find(|it| it.name.as_str() == tool)
            .unwrap();
        assert_eq!(found.policy, *policy, "{name}: {tool}");
    }
    for (member, expected) in [
        ("overrides", &expected.overrides),
        ("origins", &expected.origins),
    ] {
        let Some(expected) = expected else { continue };
        let found = value[member].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}: {member} of {value:#}");
        for (found, expected) in found.iter().zip(expected) {
            for (field, expected) in expected.as_object().unwrap() {
                assert_eq!(found[field], *expected, "{name}: {field} of {found}");
            }
        }
    }
}
