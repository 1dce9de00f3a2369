//! Flags that need each other: what they name must be there, and none may come back to itself.

use std::collections::BTreeMap;

use plane_model::documents::{Flag, Targeting};
use plane_model::{Code, Document, DocumentKey, FlagKey, Kind, Violation, Violations, limits};

use super::graph::{self, Needs};
use super::{in_use, missing};
use crate::draft::Draft;
use crate::prepare::Touched;

/// Checks what a touched targeting needs.
pub(super) fn check_targeting(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    targeting: &Targeting,
    pointer: &str,
    found: &mut Violations,
) {
    for (index, needed) in targeting.prerequisites.iter().enumerate() {
        let pointer = format!("{pointer}/prerequisites/{index}");
        let flag = DocumentKey::flag(&needed.flag);
        let Some(document) = draft.get(&flag) else {
            found.push(missing(
                format!("{pointer}/flag"),
                &flag,
                "create the flag first",
            ));
            continue;
        };
        let Document::Flag(flag) = &*document else {
            continue;
        };
        if flag.archived {
            found.push(
                Violation::new(
                    Code::ReferenceMissing,
                    format!("{pointer}/flag"),
                    format!(
                        "`{}` is archived, so it never gives what is needed",
                        needed.flag
                    ),
                )
                .next("need another flag, or bring this one back: set `archived` to false"),
            );
        }
        for (at, variant) in needed.variants.iter().enumerate() {
            let variants = flag.all_variants();
            if !variants.contains_key(variant) {
                let known: Vec<_> = variants.keys().map(|it| format!("`{it}`")).collect();
                found.push(
                    Violation::new(
                        Code::VariantUnknown,
                        format!("{pointer}/variants/{at}"),
                        format!("the flag `{}` has no variant `{variant}`", needed.flag),
                    )
                    .next(format!("use one of {}", known.join(", "))),
                );
            }
        }
    }
    check_circle(draft, key, targeting, pointer, found);
}

/// Refuses to archive a flag on which another one rests, or to take the variants away that it needs.
pub(super) fn check_flag(
    draft: &mut Draft<'_>,
    touched: &Touched,
    key: &DocumentKey,
    flag: &Flag,
    pointer: &str,
    found: &mut Violations,
) {
    let before = match draft.base().document(key).map(|it| &**it) {
        Some(Document::Flag(before)) => before.all_variants(),
        _ => return,
    };
    let variants = if flag.archived {
        BTreeMap::new()
    } else {
        flag.all_variants()
    };
    if before.keys().all(|it| variants.contains_key(it)) {
        return;
    }
    let user = draft.any(Kind::Targeting, |other, document| {
        let Document::Targeting(targeting) = document else {
            return false;
        };
        !touched.has(other)
            && targeting.prerequisites.iter().any(|it| {
                it.flag.as_str() == key.name()
                    && it.variants.iter().any(|it| !variants.contains_key(it))
            })
    });
    found.extend(user.map(|user| in_use(pointer.to_owned(), key, &user)));
}

/// Refuses a circle, and a chain that is longer than the limit.
fn check_circle(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    targeting: &Targeting,
    pointer: &str,
    found: &mut Violations,
) {
    let before = match draft.base().document(key).map(|it| &**it) {
        Some(Document::Targeting(before)) => before.prerequisites.as_slice(),
        _ => &[],
    };
    let Ok(flag) = FlagKey::new(key.name()) else {
        return;
    };
    // Most targetings need nothing, and most changes leave what is needed as it is.
    if targeting.prerequisites.is_empty() || targeting.prerequisites == before {
        return;
    }
    let all = draft.select(
        Kind::Targeting,
        |document| matches!(document, Document::Targeting(it) if !it.prerequisites.is_empty()),
    );
    let mut needs = Needs::<FlagKey>::default();
    for (other, document) in all.iter().filter(|(other, _)| other.scope() == key.scope()) {
        if let (Ok(name), Document::Targeting(it)) = (FlagKey::new(other.name()), &**document) {
            let flags = it.prerequisites.iter().map(|it| it.flag.clone()).collect();
            needs.insert(name, flags);
        }
    }
    let pointer = format!("{pointer}/prerequisites");
    found.extend(graph::check(
        &needs,
        &flag,
        limits::PREREQUISITE_DEPTH_MAX,
        pointer,
    ));
}
