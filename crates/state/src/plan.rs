//! What a command would change, for people to read before they decide.

use plane_model::{DocumentKey, Kind, Pointer, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prepare::Prepared;
use crate::state::State;

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

/// What a command would do to one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlannedChange {
    /// The kind.
    pub kind: Kind,
    /// The scope.
    pub scope: String,
    /// The name.
    pub name: String,
    /// What becomes of it.
    pub effect: Effect,
    /// Where it differs: one entry for every value that is added, changed or removed.
    pub diff: Vec<Difference>,
}

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Difference {
    /// Where.
    pub pointer: String,
    /// What is there now; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What would be there; absent if nothing would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What a command would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Plan {
    /// The revision that it was made against.
    pub revision: u64,
    /// The changes, in the order of the documents' keys; empty if there is nothing to do.
    pub changes: Vec<PlannedChange>,
    /// The environments that are touched; all of them where a document holds in every one.
    pub environments: Vec<String>,
    /// The tenants that a changed document is bound to.
    pub tenants: Vec<TenantId>,
}

/// Makes the plan of a prepared command.
pub fn plan(state: &State, prepared: &Prepared) -> Plan {
    let mut changes: Vec<PlannedChange> = prepared
        .ops
        .iter()
        .map(|op| {
            let before = stored(state, &op.key);
            let after = op.document.as_ref().map(|document| document.to_value());
            let effect = match (&before, &after) {
                (_, None) => Effect::Delete,
                (None, _) => Effect::Create,
                _ => Effect::Update,
            };
            PlannedChange {
                kind: op.key.kind(),
                scope: op.key.scope().to_owned(),
                name: op.key.name().to_owned(),
                effect,
                diff: differences(before.as_ref(), after.as_ref()),
            }
        })
        .collect();
    changes.sort_by(|a, b| (a.kind, &a.scope, &a.name).cmp(&(b.kind, &b.scope, &b.name)));
    let mut environments: Vec<String> = Vec::new();
    let mut tenants: Vec<TenantId> = Vec::new();
    for op in &prepared.ops {
        match op.key.environment_name() {
            Some(name) => environments.push(name.to_string()),
            None => environments.extend(state.environments().iter().map(ToString::to_string)),
        }
        tenants.extend(op.key.tenant_id());
    }
    environments.sort();
    environments.dedup();
    tenants.sort();
    tenants.dedup();
    Plan {
        revision: state.head().revision,
        changes,
        environments,
        tenants,
    }
}

/// A document as the state has it.
pub(crate) fn stored(state: &State, key: &DocumentKey) -> Option<Value> {
    state.document(key).map(|document| document.to_value())
}

/// Lists where two values differ, down to the smallest part that differs as a whole.
pub fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&Pointer::root(), before, after, &mut found);
    found
}

fn compare(
    pointer: &Pointer,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for (key, value) in before {
                compare(&pointer.key(key), Some(value), after.get(key), found);
            }
            for (key, value) in after {
                if !before.contains_key(key) {
                    compare(&pointer.key(key), None, Some(value), found);
                }
            }
        }
        (None, Some(Value::Object(map))) if !map.is_empty() => {
            for (key, value) in map {
                compare(&pointer.key(key), None, Some(value), found);
            }
        }
        (Some(Value::Object(map)), None) if !map.is_empty() => {
            for (key, value) in map {
                compare(&pointer.key(key), Some(value), None, found);
            }
        }
        // The ranges of a split mean something only together.
        (Some(Value::Array(before)), Some(Value::Array(after)))
            if before.len() == after.len() && !pointer.as_str().ends_with("/ranges") =>
        {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(&pointer.index(index), Some(before), Some(after), found);
            }
        }
        (before, after) => found.push(Difference {
            pointer: pointer.to_string(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_names_only_what_differs() {
        let before = json!({"a": 1, "b": {"c": [1, 2], "d": 3}, "e": 4});
        let after = json!({"a": 1, "b": {"c": [1, 5], "f": 6}, "e": 4});
        let found: Vec<_> = differences(Some(&before), Some(&after))
            .into_iter()
            .map(|it| (it.pointer, it.before, it.after))
            .collect();
        assert_eq!(
            found,
            [
                ("/b/c/1".to_owned(), Some(json!(2)), Some(json!(5))),
                ("/b/d".to_owned(), Some(json!(3)), None),
                ("/b/f".to_owned(), None, Some(json!(6))),
            ]
        );
    }
}
