//! Exclusion groups: the flags that they name must be there, and compete in one group at most.

use plane_model::documents::ExclusionGroup;
use plane_model::{Code, Document, DocumentKey, Kind, Pointer, Violation, Violations};

use super::missing;
use crate::draft::Draft;

/// Checks the flags that a touched group names.
pub(super) fn check(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    group: &ExclusionGroup,
    pointer: &str,
    found: &mut Violations,
) {
    let shares = group.percent.keys();
    let shares = shares.map(|flag| (flag, Pointer::root().key("percent").key(flag.as_str())));
    let held = group.held.iter();
    let held = held.map(|flag| (flag, Pointer::root().key("held")));
    for (name, place) in shares.chain(held) {
        let pointer = format!("{pointer}{place}");
        let flag = DocumentKey::flag(name);
        match draft.get(&flag).as_deref() {
            Some(Document::Flag(flag)) if flag.archived => found.push(
                Violation::new(
                    Code::ReferenceMissing,
                    pointer,
                    format!("`{name}` is archived, so it reaches nobody"),
                )
                .next("leave it out, or bring it back: set `archived` to false"),
            ),
            Some(_) => {}
            None => found.push(missing(pointer, &flag, "create the flag first")),
        }
    }
    let others = draft.select(Kind::ExclusionGroup, |document| match document {
        Document::ExclusionGroup(other) => shares_a_flag(group, other),
        _ => false,
    });
    for (other, document) in &others {
        let Document::ExclusionGroup(rival) = &**document else {
            continue;
        };
        if other == key {
            continue;
        }
        for flag in rival
            .percent
            .keys()
            .filter(|it| group.percent.contains_key(*it))
        {
            let place = Pointer::root().key("percent").key(flag.as_str());
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    format!("{pointer}{place}"),
                    format!("`{flag}` has a share of {other} too"),
                )
                .next("let each flag compete in one group, and leave it out of the other"),
            );
        }
    }
}

fn shares_a_flag(group: &ExclusionGroup, other: &ExclusionGroup) -> bool {
    other
        .percent
        .keys()
        .any(|flag| group.percent.contains_key(flag))
}
