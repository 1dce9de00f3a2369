//! Runs signatures, versions and JSON Schema against suites that others wrote.
//!
//! The suites live outside the repository: `CONTROL_PLANE_SUITES` names the folder that holds
//! `suites/` (default `../shared` beside the repository). A missing suite fails, it never skips.
//! Every case that is not expected to pass is named here with its reason, and counts are exact, so
//! that neither a regression nor a silent improvement goes unseen.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use plane_model::Code;
use plane_registry::dsse::{Envelope, EnvelopeSignature, pae};
use plane_registry::{PublicKey, parse_requirement, parse_version, schema};
use serde_json::Value;

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no binary that reads configuration"
)]
fn suite(path: &str) -> PathBuf {
    let root = std::env::var("CONTROL_PLANE_SUITES").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let suite = root.join("suites/registry").join(path);
    assert!(
        suite.exists(),
        "the suite {} is missing: set CONTROL_PLANE_SUITES to the folder that holds `suites/`",
        suite.display()
    );
    suite
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("`{key}` in {value}"))
}

#[test]
fn the_example_of_the_dsse_specification_is_encoded_and_read_as_it_says() {
    let document = fs::read_to_string(suite("dsse/protocol.md")).unwrap();
    let block = |after: &str| {
        let (_, rest) = document.split_once(&format!("\n{after}\n")).unwrap();
        let (_, block) = rest.split_once("```").unwrap();
        let (_, block) = block.split_once('\n').unwrap();
        block.split_once("\n```").unwrap().0.to_owned()
    };
    let payload = block("SERIALIZED_BODY:");
    let payload_type = block("PAYLOAD_TYPE:");
    assert_eq!(
        pae(&payload_type, payload.as_bytes()),
        block("PAE:").into_bytes()
    );
    let json = block("Result (using the recommended [JSON envelope](envelope.md)):");
    let envelope = Envelope::parse(json.as_bytes()).unwrap();
    assert_eq!(envelope.payload, payload.as_bytes());
    assert_eq!(envelope.payload_type, payload_type);
    let [EnvelopeSignature { keyid: None, sig }] = envelope.signatures.as_slice() else {
        panic!("one signature without a key id");
    };
    assert_eq!(sig.len(), 64);
    let written = serde_json::to_value(&envelope).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(&json).unwrap());
}

#[test]
fn the_ed25519_vectors_of_wycheproof_verify_as_they_say() {
    let file = read(&suite("wycheproof/testvectors_v1/ed25519_test.json"));
    let (mut accepted, mut refused) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key: [u8; 32] = hex::decode(text(&group["publicKey"], "pk"))
            .unwrap()
            .try_into()
            .unwrap();
        for test in group["tests"].as_array().unwrap() {
            let message = hex::decode(text(test, "msg")).unwrap();
            let signature = <[u8; 64]>::try_from(hex::decode(text(test, "sig")).unwrap());
            let verified = match (PublicKey::from_bytes(&key), signature) {
                (Ok(key), Ok(signature)) => key.verify_bytes(&message, &signature),
                _ => false,
            };
            let expected = match text(test, "result") {
                "valid" => true,
                "invalid" => false,
                other => panic!("unknown result {other}"),
            };
            assert_eq!(
                verified, expected,
                "tcId {}: {}",
                test["tcId"], test["comment"]
            );
            if verified {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert_eq!((accepted, refused), (88, 63));
}

#[test]
fn versions_are_ordered_as_node_semver_orders_them() {
    let file = read(&suite("node-semver/fixtures.json"));
    let (mut passed, mut with_prefix) = (0, 0);
    for pair in file["comparisons"].as_array().unwrap() {
        let versions = [pair[0].as_str().unwrap(), pair[1].as_str().unwrap()];
        if versions.iter().any(|version| version.starts_with('v')) {
            // Strict semver has no `v`; the message says what to write instead.
            let prefixed = versions
                .iter()
                .find(|version| version.starts_with('v'))
                .unwrap();
            let error = parse_version(prefixed).unwrap_err();
            assert_eq!(error.next, format!("write `{}`", &prefixed[1..]));
            with_prefix += 1;
        }
        let [greater, less] =
            versions.map(|text| parse_version(text.trim_start_matches('v')).unwrap());
        assert!(greater.cmp_precedence(&less).is_gt(), "{greater} > {less}");
        passed += 1;
    }
    assert_eq!((passed, with_prefix), (31, 12));
}

/// Cargo and npm read these ranges differently, and Cargo's reading is ours.
///
/// A bare version means `^` here, exactly that version to npm.
const READ_AS_CARGO: &[(&str, &str)] = &[("1.0.0", "1.0.1"), ("2.3", "2.4.1")];

#[test]
fn ranges_within_cargos_grammar_match_as_node_semver_says() {
    let file = read(&suite("node-semver/fixtures.json"));
    let mut counts = BTreeMap::new();
    let mut differ = Vec::new();
    for (list, expected) in [("range-include", true), ("range-exclude", false)] {
        for case in file[list].as_array().unwrap() {
            let range = case[0].as_str().unwrap();
            let version = case[1]
                .as_str()
                .and_then(|version| parse_version(version).ok());
            let has_options = case.get(2).is_some_and(|options| !options.is_null());
            let outcome = match (parse_requirement(range), version) {
                _ if has_options => "npm options",
                (Err(_), _) => "range not in the grammar",
                (_, None) => "version not strict",
                (Ok(requirement), Some(version)) if requirement.matches(&version) == expected => {
                    "passed"
                }
                (_, Some(version)) => {
                    differ.push((range.to_owned(), version.to_string()));
                    "read as Cargo reads it"
                }
            };
            *counts.entry(format!("{list}: {outcome}")).or_insert(0) += 1;
        }
    }
    let differ: Vec<_> = differ
        .iter()
        .map(|(range, version)| (range.as_str(), version.as_str()))
        .collect();
    assert_eq!(differ, READ_AS_CARGO);
    expect![[r#"
        {
            "range-exclude: npm options": 20,
            "range-exclude: passed": 53,
            "range-exclude: range not in the grammar": 20,
            "range-exclude: read as Cargo reads it": 2,
            "range-exclude: version not strict": 3,
            "range-include: npm options": 32,
            "range-include: passed": 56,
            "range-include: range not in the grammar": 38,
        }
    "#]]
    .assert_debug_eq(&counts);
}

/// What became of the tests of one draft.
#[derive(Debug, Default)]
struct Outcome {
    passed: usize,
    /// Tests of schemas that are refused by design, by file and reason.
    refused: BTreeMap<String, usize>,
}

/// Why a schema of the suites may be refused; any other reason fails the test.
fn reason(detail: &str) -> &'static str {
    let reasons = [
        ("leaves the document", "refers to another document"),
        ("an embedded `$id`", "embeds another document"),
        (
            "outside ±9007199254740991",
            "has an integer that doubles cannot hold",
        ),
        (
            "is not a draft that is understood",
            "has a meta-schema of its own",
        ),
    ];
    let reason = reasons.iter().find(|(part, _)| detail.contains(part));
    reason
        .unwrap_or_else(|| panic!("refused for another reason: {detail}"))
        .1
}

fn run_schemas(draft: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let folder = suite("json-schema-test-suite/tests").join(draft);
    for path in files(&folder)
        .into_iter()
        .chain(files(&folder.join("optional")))
    {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        for group in read(&path).as_array().unwrap() {
            let mut schema = group["schema"].clone();
            if draft == "draft7"
                && let Some(members) = schema.as_object_mut()
            {
                members
                    .entry("$schema")
                    .or_insert("http://json-schema.org/draft-07/schema#".into());
            }
            let tests = group["tests"].as_array().unwrap();
            let compiled = match schema::compile(&schema) {
                Ok(compiled) => compiled,
                Err(found) => {
                    let reason = format!("{name}: {}", reason(&found[0].detail));
                    *outcome.refused.entry(reason).or_default() += tests.len();
                    continue;
                }
            };
            for test in tests {
                let label = format!("{name}: {}: {}", group["description"], test["description"]);
                let found = compiled.validate(&test["data"], Code::ConfigInvalid);
                assert_eq!(
                    found.is_empty(),
                    test["valid"].as_bool().unwrap(),
                    "{label}"
                );
                assert_eq!(
                    found.is_empty(),
                    compiled.is_valid(&test["data"]),
                    "{label}"
                );
                outcome.passed += 1;
            }
        }
    }
    outcome
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn check_schemas(draft: &str, expected: &Expect) {
    expected.assert_debug_eq(&run_schemas(draft));
}

#[test]
fn the_test_suite_of_draft_2020_12_passes_but_for_schemas_refused_by_design() {
    check_schemas(
        "draft2020-12",
        &expect![[r#"
        Outcome {
            passed: 1325,
            refused: {
                "anchor.json: embeds another document": 6,
                "const.json: has an integer that doubles cannot hold": 4,
                "defs.json: refers to another document": 2,
                "dynamicRef.json: embeds another document": 18,
                "dynamicRef.json: refers to another document": 18,
                "optional/bignum.json: has an integer that doubles cannot hold": 1,
                "optional/cross-draft.json: refers to another document": 1,
                "optional/dynamicRef.json: embeds another document": 2,
                "optional/format-assertion.json: has a meta-schema of its own": 4,
                "optional/id.json: embeds another document": 3,
                "optional/unknownKeyword.json: embeds another document": 3,
                "ref.json: embeds another document": 14,
                "ref.json: refers to another document": 20,
                "refRemote.json: embeds another document": 4,
                "refRemote.json: refers to another document": 27,
                "unevaluatedItems.json: embeds another document": 2,
                "unevaluatedProperties.json: embeds another document": 2,
                "vocabulary.json: has a meta-schema of its own": 5,
            },
        }
    "#]],
    );
}

#[test]
fn the_test_suite_of_draft_07_passes_but_for_schemas_refused_by_design() {
    check_schemas(
        "draft7",
        &expect![[r#"
        Outcome {
            passed: 975,
            refused: {
                "const.json: has an integer that doubles cannot hold": 4,
                "definitions.json: refers to another document": 2,
                "optional/bignum.json: has an integer that doubles cannot hold": 1,
                "optional/cross-draft.json: refers to another document": 2,
                "optional/id.json: refers to another document": 3,
                "optional/unknownKeyword.json: refers to another document": 3,
                "ref.json: embeds another document": 4,
                "ref.json: refers to another document": 28,
                "refRemote.json: embeds another document": 6,
                "refRemote.json: refers to another document": 17,
            },
        }
    "#]],
    );
}

#[test]
fn tool_definitions_from_the_wild_are_refused_or_fixed_one_by_one() {
    use plane_registry::import::{Format, read, sources};
    let file = suite("../../data/bfcl-tools/tools.jsonl");
    let bytes = fs::read(file).unwrap();
    let sources = sources(&bytes).unwrap().definitions;
    assert_eq!(sources.len(), 1_674);
    let (mut places, mut outputs) = (0, 0);
    let mut names = BTreeMap::<String, usize>::new();
    for source in sources {
        let definition = source.value().unwrap();
        let refused = read(Format::OpenAi, &definition, false).unwrap_err();
        for violation in &refused {
            assert!(violation.pointer.starts_with("/"), "{violation:?}");
        }
        let fixed = read(Format::OpenAi, &definition, true).unwrap();
        assert_eq!(refused.len(), fixed.fixes.len(), "line {}", source.line);
        places += fixed.fixes.len();
        schema::compile(&fixed.inputs_schema).unwrap();
        outputs += usize::from(fixed.outputs_schema.is_some());
        assert!(fixed.kept.is_empty() && fixed.filled.is_empty());
        *names.entry(fixed.name).or_default() += 1;
    }
    let with_history = names.values().filter(|count| **count > 1).count();
    expect!["2523 fixes, 78 output schemas, 1032 names, 257 with several definitions"].assert_eq(
        &format!(
            "{places} fixes, {outputs} output schemas, {} names, {with_history} with several definitions",
            names.len()
        ),
    );
}
