//! flagd's own cases of `fractional` (bucketing v2) and `sem_ver`, and its schemas of flag files.

#[path = "it/support.rs"]
#[expect(
    dead_code,
    reason = "what the vectors need, these cases need a part of"
)]
mod support;

use std::path::{Path, PathBuf};

use jsonschema::{Registry, Resource, Validator};
use plane_eval::View;
use plane_eval::bucket;
use plane_model::documents::Bucketing;
use serde_json::{Value, json};

use self::support::{Held, Written, at, build, changes, context};

/// What is so by design, by the case's description.
const EXCUSED: &[(&str, &str)] = &[
    (
        "versions as double (1.2 = 1.2) - match → red",
        "a version is a string: 1.10 as a number is 1.1",
    ),
    (
        "versions as int (1 = v1.0.0) - match → red",
        "a version is a string",
    ),
];

fn suites() -> PathBuf {
    let suites =
        std::env::var_os("CONTROL_PLANE_SUITES").expect("`cargo xtask conformance` sets it");
    PathBuf::from(suites).join("suites/flags")
}

fn read(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|it| panic!("{}: {it}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|it| panic!("{}: {it}", path.display()))
}

fn cases(file: &str) -> Vec<Value> {
    let lines = read(&suites().join("datalogic-flagd").join(file));
    let lines: Vec<Value> = serde_json::from_value(lines).unwrap();
    // Strings are headings.
    lines.into_iter().filter(Value::is_object).collect()
}

/// As much of `JsonLogic` as the cases are written in; the two operators in question are ours.
fn apply(rule: &Value, data: &Value) -> Value {
    let Some((operator, arguments)) = rule.as_object().and_then(|it| it.iter().next()) else {
        return rule.clone();
    };
    let arguments = match arguments {
        Value::Array(arguments) => arguments.clone(),
        only => vec![only.clone()],
    };
    let value = |index: usize| {
        arguments
            .get(index)
            .map_or(Value::Null, |it| apply(it, data))
    };
    match operator.as_str() {
        "var" => {
            let path = value(0);
            let parts = path.as_str().unwrap_or_default().split('.');
            parts.fold(data.clone(), |at, part| {
                at.get(part).cloned().unwrap_or_default()
            })
        }
        "cat" => (0..arguments.len())
            .map(|index| value(index).as_str().unwrap_or_default().to_owned())
            .collect::<String>()
            .into(),
        "==" => (value(0) == value(1)).into(),
        "in" => {
            let (part, whole) = (value(0), value(1));
            let both = part.as_str().zip(whole.as_str());
            both.is_some_and(|(part, whole)| whole.contains(part))
                .into()
        }
        "if" => {
            let is_true = !matches!(value(0), Value::Null | Value::Bool(false));
            value(if is_true { 1 } else { 2 })
        }
        "fractional" => fractional(&arguments, data),
        "sem_ver" => sem_ver(&value(0), value(1).as_str().unwrap_or_default(), &value(2)),
        other => panic!("a case uses `{other}`"),
    }
}

fn fractional(arguments: &[Value], data: &Value) -> Value {
    let (key, shares) = match arguments.split_first() {
        Some((first, rest)) if !first.is_array() && apply(first, data).is_string() => {
            (apply(first, data), rest)
        }
        _ => {
            let flag = data["$flagd"]["flagKey"].as_str().unwrap_or_default();
            let key = data["targetingKey"].as_str().filter(|key| !key.is_empty());
            let Some(key) = key else { return Value::Null };
            let shares = arguments.split_first().map_or(arguments, |(first, rest)| {
                if first.is_array() { arguments } else { rest }
            });
            (format!("{flag}{key}").into(), shares)
        }
    };
    let weight = |share: &Value| {
        let weight = share.get(1).map_or(json!(1), |it| apply(it, data));
        weight.as_u64().unwrap_or_default()
    };
    let total: u64 = shares.iter().map(weight).sum();
    let hash = bucket::hash(Bucketing::FlagdV2, "", key.as_str().unwrap_or_default());
    let bucket = (u64::from(hash) * total) >> 32;
    let mut end = 0;
    for share in shares {
        end += weight(share);
        if bucket < end {
            return apply(&share[0], data);
        }
    }
    Value::Null
}

/// What a rule of ours makes of it; null where it neither holds nor does not hold.
fn sem_ver(version: &Value, operator: &str, other: &Value) -> Value {
    let (name, is_negated) = match operator {
        "=" => ("semver_equals", false),
        "!=" => ("semver_equals", true),
        "<" => ("semver_lt", false),
        "<=" => ("semver_le", false),
        ">" => ("semver_gt", false),
        ">=" => ("semver_ge", false),
        "^" => ("semver_same_major", false),
        "~" => ("semver_same_minor", false),
        _ => return Value::Null,
    };
    let clause = json!({"attribute": "version", name: other});
    let rules = json!([
        {"name": "holds", "if": clause, "serve": "on"},
        {"name": "does-not", "if": {"not": clause}, "serve": "off"},
    ]);
    let targeting =
        json!({"state": "enabled", "default": {"caller_default": true}, "rules": rules});
    let documents: Vec<Written> = serde_json::from_value(json!([
        {"kind": "flag", "name": "f", "body": {"type": "boolean"}},
        {"kind": "targeting", "scope": "production", "name": "f", "body": targeting},
    ]))
    .unwrap();
    let view: View = build("production", &changes(&documents), &Held::default());
    let ctx = context(&json!({"attributes": {"version": version}}));
    let found = view.evaluate_key("f", &ctx, at(None)).as_bool();
    found.map_or(Value::Null, |holds| (holds != is_negated).into())
}

fn run(file: &str, least: usize) {
    let (mut ran, mut failed) = (0, Vec::new());
    for case in cases(file) {
        let name = case["description"].as_str().unwrap_or_default();
        let found = apply(&case["rule"], &case["data"]);
        let is_excused = EXCUSED.iter().any(|(excused, _)| *excused == name);
        if (found == case["result"]) == is_excused {
            failed.push(format!(
                "{name}: expected {}, found {found}",
                case["result"]
            ));
        }
        ran += 1;
    }
    assert!(ran >= least, "only {ran} cases in {file}");
    assert!(
        failed.is_empty(),
        "{} of {ran}:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn fractional_gives_what_flagd_gives() {
    run("fractional.json", 40);
}

#[test]
fn versions_compare_as_in_flagd() {
    run("sem_ver.json", 40);
}

/// One of flagd's schemas, with the others that it refers to.
fn schema(file: &str) -> Validator {
    let directory = suites().join("flagd-schemas/json");
    let schemas =
        ["flagd.json", "flags.json", "targeting.json"].map(|it| read(&directory.join(it)));
    let named = schemas.iter().map(|it| {
        let id = it["$id"].as_str().unwrap().to_owned();
        (id, Resource::from_contents(it.clone()))
    });
    let registry = Registry::new().extend(named).unwrap().prepare().unwrap();
    let options = jsonschema::options().with_registry(&registry);
    // Beside a `$ref`, which each begins with, draft 7 passes over the `$id`.
    let whole = json!({ "$ref": format!("https://flagd.dev/schema/v0/{file}") });
    options.build(&whole).unwrap()
}

#[test]
fn flag_files_are_told_apart_as_flagd_does() {
    let schemas = ["flagd.json", "flags.json", "targeting.json"].map(|it| (it, schema(it)));
    let mut ran = 0;
    for folder in ["flagd", "flags", "targeting"] {
        for (verdict, expected) in [("positive", true), ("negative", false)] {
            let cases = suites().join(format!("flagd-schemas/json/test/{folder}/{verdict}"));
            for entry in cases.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|it| it != "json") {
                    continue;
                }
                let file = read(&path);
                let named = file["$schema"].as_str().unwrap_or("targeting.json");
                let mut schemas = schemas.iter();
                let (_, validator) = schemas.find(|it| named.ends_with(it.0)).unwrap();
                assert_eq!(validator.is_valid(&file), expected, "{}", path.display());
                ran += 1;
            }
        }
    }
    assert!(ran >= 36, "only {ran} files");
}

#[test]
fn every_flag_that_is_exported_is_one_by_flagds_schema() {
    #[derive(serde::Deserialize)]
    struct Vectors {
        documents: Vec<Written>,
    }
    let vectors: Vectors = support::read("evaluation.json");
    let view = build("production", &changes(&vectors.documents), &Held::default());
    let validator = schema("flagd.json");
    let mut ran = 0;
    for tenant in [None, Some("acme")] {
        for (key, flag) in view.to_flagd(tenant).flags {
            let file = json!({ "flags": { key.as_str(): flag } });
            let found: Vec<_> = validator
                .iter_errors(&file)
                .map(|it| it.to_string())
                .collect();
            assert!(found.is_empty(), "{file}\n{}", found.join("\n"));
            ran += 1;
        }
    }
    assert!(ran >= 40, "only {ran} flags are exported");
    let flags = view.to_flagd(None).flags;
    assert_eq!(flags["static-on"]["metadata"]["team"], "ml");
}
