//! Overrides: which paths of a manifest's metadata a flag may change, and within which bounds.

use std::collections::BTreeMap;

use plane_model::merge::merge_patch;
use plane_model::{ArtifactKind, Code, Pointer, Violation, Violations};
use serde_json::{Map, Value};

use crate::manifest::Manifest;
use crate::manifest::metadata::{self, Bounds, Metadata};

const AGENT_DEFAULTS: [&str; 3] = ["temperature", "max_tokens", "model"];
const TOOL_DEFAULTS: [&str; 3] = ["timeout_ms", "retry_attempts", "circuit_breaker_threshold"];

/// Returns the paths below `metadata` that overrides may set, with their bounds.
///
/// `metadata.overridable` replaces the default list, which for agents is `temperature`,
/// `max_tokens` and `model`, and for tools `timeout_ms`, `retry_attempts` and
/// `circuit_breaker_threshold`.
pub fn overridable_paths(manifest: &Manifest) -> BTreeMap<Pointer, Bounds> {
    let declared = match manifest.metadata() {
        Metadata::Agent(agent) => &agent.overridable,
        Metadata::Tool(tool) => &tool.overridable,
    };
    declared.clone().unwrap_or_else(|| {
        let defaults = match manifest.kind() {
            ArtifactKind::Agent => AGENT_DEFAULTS,
            ArtifactKind::Tool => TOOL_DEFAULTS,
        };
        defaults
            .iter()
            .map(|key| (Pointer::root().key(key), Bounds::default()))
            .collect()
    })
}

/// Checks that `patch`, a JSON merge patch on the metadata, changes only what it may.
///
/// Bounds hold for the merged values. Returns every finding, with pointers into the patch; none
/// means that the merged metadata is valid too.
pub fn check_patch(manifest: &Manifest, patch: &Map<String, Value>) -> Violations {
    let table = overridable_paths(manifest);
    let before = manifest.metadata_value().cloned().unwrap_or_default();
    let merged = merge_patch(Value::Object(before), &Value::Object(patch.clone()));
    let mut found = Violations::new();
    let mut changed = Vec::new();
    for (key, value) in patch {
        collect_changed(Pointer::root().key(key), value, &table, &mut changed);
    }
    for path in &changed {
        if !table.contains_key(path) {
            found.push(not_overridable(manifest, path, &table));
            continue;
        }
        for (bounded, bounds) in table
            .iter()
            .filter(|(bounded, _)| bounded.starts_with(path))
        {
            match bounded.resolve(&merged) {
                Some(value) => check_bounds(bounded, value, bounds, &mut found),
                None if bounded == path => check_bounds(path, &Value::Null, bounds, &mut found),
                None => {}
            }
        }
    }
    if found.is_empty()
        && let Value::Object(members) = &merged
    {
        metadata::read(manifest.kind(), members, &mut found);
    }
    found
}

/// Splits a patch into the paths that it sets: the overridable ones, and leaves outside of those.
fn collect_changed(
    path: Pointer,
    value: &Value,
    table: &BTreeMap<Pointer, Bounds>,
    changed: &mut Vec<Pointer>,
) {
    match value {
        Value::Object(members) if !members.is_empty() && !table.contains_key(&path) => {
            for (key, value) in members {
                collect_changed(path.key(key), value, table, changed);
            }
        }
        _ => changed.push(path),
    }
}

fn not_overridable(
    manifest: &Manifest,
    path: &Pointer,
    table: &BTreeMap<Pointer, Bounds>,
) -> Violation {
    let allowed: Vec<String> = table
        .keys()
        .map(|allowed| format!("`{}`", shown(allowed)))
        .collect();
    let detail = format!(
        "{} `{}` does not let overrides set `{}`",
        manifest.kind(),
        manifest.id(),
        shown(path)
    );
    let next = if allowed.is_empty() {
        "publish a version whose `metadata.overridable` lists it".to_owned()
    } else {
        format!(
            "set only {}, or publish a version whose `metadata.overridable` lists it",
            allowed.join(", ")
        )
    };
    Violation::new(Code::OverrideRefused, path.to_string(), detail).next(next)
}

/// Shows a top-level path as the key that people write.
fn shown(path: &Pointer) -> &str {
    let text = path.as_str();
    match text.strip_prefix('/') {
        Some(key) if !key.contains(['/', '~']) => key,
        _ => text,
    }
}

fn check_bounds(path: &Pointer, value: &Value, bounds: &Bounds, found: &mut Violations) {
    let mut refuse = |detail: String| {
        let next = "stay within the bounds that the manifest's `metadata.overridable` sets";
        found.push(Violation::new(Code::OverrideRefused, path.to_string(), detail).next(next));
    };
    if let Some(values) = &bounds.values
        && !values.iter().any(|allowed| is_same(allowed, value))
    {
        let allowed: Vec<_> = values.iter().map(ToString::to_string).collect();
        refuse(format!(
            "`{}` must be one of {}",
            shown(path),
            allowed.join(", ")
        ));
    }
    if bounds.min.is_none() && bounds.max.is_none() {
        return;
    }
    let Some(number) = value.as_f64() else {
        refuse(format!(
            "`{}` has bounds, so it must be a number",
            shown(path)
        ));
        return;
    };
    if let Some(min) = bounds.min.filter(|min| number < *min) {
        refuse(format!(
            "`{}` must be at least {min}, not {value}",
            shown(path)
        ));
    }
    if let Some(max) = bounds.max.filter(|max| number > *max) {
        refuse(format!(
            "`{}` must be at most {max}, not {value}",
            shown(path)
        ));
    }
}

/// Compares numbers by value, whether they were read as integers or not.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the cases hand over literals"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(metadata: Value) -> Manifest {
        let value = json!({ "name": "bot", "version": "1.0.0", "metadata": metadata });
        Manifest::parse(ArtifactKind::Agent, &value).unwrap()
    }

    fn tool(metadata: Value) -> Manifest {
        let value = json!({ "name": "crm", "version": "1.0.0", "metadata": metadata });
        Manifest::parse(ArtifactKind::Tool, &value).unwrap()
    }

    /// Returns code and pointer of every finding.
    fn check(manifest: &Manifest, patch: Value) -> Vec<(Code, String)> {
        let Value::Object(patch) = patch else {
            panic!("a patch is an object")
        };
        let found = check_patch(manifest, &patch);
        found.into_iter().map(|it| (it.code, it.pointer)).collect()
    }

    fn refused(pointer: &str) -> Vec<(Code, String)> {
        vec![(Code::OverrideRefused, pointer.to_owned())]
    }

    #[test]
    fn the_default_paths_are_open_and_no_others() {
        let bot = agent(json!({ "temperature": 0.7, "tools": ["crm"], "system_prompt": "hi" }));
        for good in [
            json!({ "temperature": 0.3 }),
            json!({ "max_tokens": 1, "model": "large" }),
            json!({ "temperature": null }),
            json!({}),
        ] {
            assert_eq!(check(&bot, good.clone()), [], "{good}");
        }
        assert_eq!(check(&bot, json!({ "tools": [] })), refused("/tools"));
        assert_eq!(
            check(&bot, json!({ "system_prompt": "x" })),
            refused("/system_prompt")
        );
        assert_eq!(
            check(&bot, json!({ "overridable": {} })),
            refused("/overridable")
        );
        assert_eq!(check(&bot, json!({ "a": { "b": 1 } })), refused("/a/b"));
        assert_eq!(check(&bot, json!({ "a": {} })), refused("/a"));
        let crm = tool(json!({ "inputs_schema": {} }));
        assert_eq!(
            check(&crm, json!({ "timeout_ms": 5, "retry_attempts": 0 })),
            []
        );
        assert_eq!(
            check(&crm, json!({ "inputs_schema": {} })),
            refused("/inputs_schema")
        );
    }

    #[test]
    fn a_patch_never_makes_the_metadata_invalid() {
        let bot = agent(json!({}));
        for (patch, pointer) in [
            (json!({ "temperature": 3 }), "/temperature"),
            (json!({ "temperature": "hot" }), "/temperature"),
            (json!({ "max_tokens": 0 }), "/max_tokens"),
            (json!({ "model": { "deep": 1 } }), "/model"),
        ] {
            let expected = [(Code::FieldInvalid, pointer.to_owned())];
            assert_eq!(check(&bot, patch.clone()), expected, "{patch}");
        }
    }

    #[test]
    fn the_manifests_own_list_replaces_the_default_one() {
        let bot = agent(json!({
            "retrieval": { "top_k": 5, "index": "main" },
            "overridable": {
                "temperature": { "min": 0, "max": 1 },
                "system_prompt": {},
                "tone": { "enum": ["formal", "friendly", 1] },
                "/retrieval/top_k": { "max": 20 },
                "labels": {},
            },
        }));
        for good in [
            json!({ "temperature": 1 }),
            json!({ "temperature": 0.0 }),
            json!({ "system_prompt": "be brief" }),
            json!({ "tone": "formal" }),
            json!({ "tone": 1.0 }),
            json!({ "retrieval": { "top_k": 20 } }),
            json!({ "labels": { "any": { "thing": [1] } } }),
        ] {
            assert_eq!(check(&bot, good.clone()), [], "{good}");
        }
        assert_eq!(
            check(&bot, json!({ "temperature": 1.1 })),
            refused("/temperature")
        );
        assert_eq!(
            check(&bot, json!({ "temperature": -0.1 })),
            refused("/temperature")
        );
        assert_eq!(
            check(&bot, json!({ "temperature": null })),
            refused("/temperature")
        );
        assert_eq!(check(&bot, json!({ "tone": "rude" })), refused("/tone"));
        assert_eq!(check(&bot, json!({ "model": "large" })), refused("/model"));
        assert_eq!(
            check(&bot, json!({ "retrieval": { "index": "x" } })),
            refused("/retrieval/index")
        );
        assert_eq!(
            check(&bot, json!({ "retrieval": null })),
            refused("/retrieval")
        );
        assert_eq!(
            check(&bot, json!({ "retrieval": { "top_k": 21 } })),
            refused("/retrieval/top_k")
        );
    }

    #[test]
    fn bounds_hold_for_the_merged_value_also_below_the_changed_path() {
        let bot = agent(json!({
            "retrieval": { "top_k": 5, "index": "main" },
            "overridable": {
                "retrieval": {},
                "/retrieval/top_k": { "max": 20 },
                "limits": { "enum": [{ "a": 1 }] },
            },
            "limits": { "b": 2 },
        }));
        assert_eq!(
            check(&bot, json!({ "retrieval": { "index": "x", "top_k": 20 } })),
            []
        );
        assert_eq!(check(&bot, json!({ "retrieval": null })), []);
        assert_eq!(
            check(&bot, json!({ "retrieval": { "top_k": 21 } })),
            refused("/retrieval/top_k")
        );
        assert_eq!(check(&bot, json!({ "limits": { "a": 1, "b": null } })), []);
        assert_eq!(
            check(&bot, json!({ "limits": { "a": 1 } })),
            refused("/limits")
        );
    }

    #[test]
    fn an_empty_list_closes_everything_and_says_so() {
        let bot = agent(json!({ "overridable": {} }));
        let patch = json!({ "temperature": 0 });
        let found = check_patch(&bot, patch.as_object().unwrap());
        expect_test::expect!["/temperature: agent `bot@1.0.0` does not let overrides set `temperature` [OVERRIDE_REFUSED]; publish a version whose `metadata.overridable` lists it"]
            .assert_eq(&found[0].to_string());
    }
}
