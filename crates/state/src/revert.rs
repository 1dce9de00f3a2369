//! Takes earlier commits back, by a new commit.

use std::collections::BTreeMap;

use plane_model::{Code, DocumentKey, Kind, Violation};
use serde::{Deserialize, Serialize};

use crate::command::{Change, Expect, Op};
use crate::plan::stored;
use crate::prepare::Rejection;
use crate::record::Record;
use crate::state::State;

/// Which documents of the reverted commits are put back; all if nothing is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Filter {
    /// Only this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only this scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Filter {
    fn admits(&self, key: &DocumentKey) -> bool {
        self.kind.is_none_or(|kind| key.kind() == kind)
            && self.name.as_ref().is_none_or(|name| key.name() == name)
            && self.scope.as_ref().is_none_or(|scope| key.scope() == scope)
    }
}

/// The operations that take commits back, and what they leave as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Reversal {
    /// The operations.
    pub ops: Vec<Op>,
    /// What is not reverted: published versions, kills and access; schedules that would be filed again.
    pub excluded: Vec<DocumentKey>,
}

/// Puts the documents that `records` changed back to what they were in `before`.
///
/// `records` are consecutive and `before` is the state just before the first of them.
///
/// # Errors
/// [`Code::NotRevertible`] if nothing is left to put back, or if a later commit changed one of the
/// documents again.
pub fn revert(
    now: &State,
    before: &State,
    records: &[Record],
    filter: &Filter,
) -> Result<Reversal, Rejection> {
    let mut last: BTreeMap<DocumentKey, u64> = BTreeMap::new();
    let mut excluded = Vec::new();
    for record in records {
        for key in record.ops.iter().filter_map(crate::record::RecordOp::key) {
            if !filter.admits(&key) {
                continue;
            }
            if matches!(
                key.kind(),
                Kind::Agent | Kind::Tool | Kind::Kill | Kind::Token | Kind::RoleBinding
            ) {
                excluded.push(key);
            } else {
                last.insert(key, record.revision);
            }
        }
    }
    let mut violations = Vec::new();
    let mut ops = Vec::new();
    for (key, revision) in last {
        // What was cancelled or has run is not to happen by surprise, nor by another's authority.
        if key.kind() == Kind::Schedule && before.entry(&key).is_some() {
            excluded.push(key);
            continue;
        }
        let later = match now.entry(&key) {
            Some(entry) if entry.revision != revision => Some(entry.revision),
            _ => None,
        };
        if let Some(later) = later {
            violations.push(
                Violation::new(
                    Code::NotRevertible,
                    "",
                    format!("{key} was changed again at revision {later}"),
                )
                .next(format!("revert up to revision {later}, or leave {key} out")),
            );
            continue;
        }
        let change = match stored(before, &key) {
            Some(body) => Change::Put(body),
            None if now.entry(&key).is_none() => continue,
            None => Change::Delete,
        };
        let expect = now
            .entry(&key)
            .map_or(Expect::Absent, |it| Expect::Revision(it.revision));
        ops.push(Op {
            key,
            change,
            expect,
        });
    }
    excluded.sort();
    excluded.dedup();
    if ops.is_empty() && violations.is_empty() {
        let next = if excluded.is_empty() {
            "name a commit that changed documents which still differ".to_owned()
        } else {
            let names: Vec<_> = excluded.iter().map(ToString::to_string).collect();
            format!(
                "these are not reverted: {}; set a status, revive, or revoke instead",
                names.join(", ")
            )
        };
        violations.push(
            Violation::new(Code::NotRevertible, "", "nothing is left to put back").next(next),
        );
    }
    if violations.is_empty() {
        Ok(Reversal { ops, excluded })
    } else {
        Err(Rejection { violations })
    }
}
