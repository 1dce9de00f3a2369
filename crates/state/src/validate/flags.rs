//! Flags, targeting, segments, kills and pins: what they name must be there.

use std::sync::Arc;

use plane_model::documents::{Flag, Pin, Targeting};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, Document, DocumentKey, FlagKey, Kind,
    Timestamp, Violation, Violations,
};

use super::{groups, in_use, missing, prerequisites, segments};
use crate::command::{Action, Command};
use crate::draft::{Draft, environments};
use crate::prepare::Touched;
use crate::uses;

/// The kinds whose documents keep a flag from being deleted.
const USERS: [Kind; 5] = [
    Kind::Targeting,
    Kind::Pin,
    Kind::Kill,
    Kind::ExclusionGroup,
    Kind::Schedule,
];

pub(crate) fn check(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    for key in touched.keys() {
        let pointer = touched.pointer(key);
        match (key.kind(), draft.get(key).as_deref()) {
            (Kind::Flag, Some(Document::Flag(flag))) => {
                check_flag(draft, touched, key, flag, &pointer, found);
                prerequisites::check_flag(draft, touched, key, flag, &pointer, found);
                check_archived(draft, key, flag, &pointer, found);
            }
            (Kind::Flag, None) => {
                if let Some(user) = uses::user_of(draft, &USERS, key) {
                    found.push(in_use(pointer, key, &user));
                }
            }
            (Kind::Targeting, Some(Document::Targeting(targeting))) => {
                check_targeting(draft, key, targeting, &pointer, found);
            }
            (Kind::Segment, Some(Document::Segment(segment))) => {
                segments::check(draft, key, segment, &pointer, found);
            }
            (Kind::Segment, None) => segments::check_unused(draft, key, pointer, found),
            (Kind::ExclusionGroup, Some(Document::ExclusionGroup(group))) => {
                groups::check(draft, key, group, &pointer, found);
            }
            (Kind::Kill, Some(Document::Kill(kill))) => {
                check_subject(draft, key, &pointer, found);
                if let (Some(("agent", name)), Some(version)) = (key.subject(), &kill.fallback) {
                    let pointer = format!("{pointer}/fallback");
                    check_version(draft, name, version, pointer, found);
                }
            }
            (Kind::Pin, Some(Document::Pin(pin))) => check_pin(draft, key, pin, &pointer, found),
            _ => {}
        }
    }
}

/// Refuses to archive a flag that an exclusion group, a tenant's pin or a schedule still uses.
fn check_archived(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    flag: &Flag,
    pointer: &str,
    found: &mut Violations,
) {
    let was_archived = match draft.base().document(key).map(|it| &**it) {
        Some(Document::Flag(before)) => before.archived,
        _ => false,
    };
    if !flag.archived || was_archived {
        return;
    }
    let pointer = format!("{pointer}/archived");
    for kind in [Kind::ExclusionGroup, Kind::Pin, Kind::Schedule] {
        let user = uses::user_of(draft, &[kind], key);
        found.extend(user.map(|user| in_use(pointer.clone(), key, &user)));
    }
}

fn check_flag(
    draft: &mut Draft<'_>,
    touched: &Touched,
    key: &DocumentKey,
    flag: &Flag,
    pointer: &str,
    found: &mut Violations,
) {
    let Ok(name) = FlagKey::new(key.name()) else {
        return;
    };
    for environment in environments(draft) {
        let targeting_key = DocumentKey::targeting(&environment, &name);
        if touched.has(&targeting_key) {
            continue;
        }
        if let Some(Document::Targeting(targeting)) = draft.get(&targeting_key).as_deref() {
            for violation in targeting.check_variants(flag) {
                let detail = format!(
                    "in {environment}, {}: {}",
                    violation.pointer, violation.detail
                );
                found.push(Violation {
                    pointer: format!("{pointer}/variants"),
                    detail,
                    ..violation
                });
            }
        }
    }
    let variants = flag.all_variants();
    // Only a flag that loses a variant can break a pin: all others need no look at every pin.
    let loses_variant = match draft.base().document(key).map(|it| &**it) {
        Some(Document::Flag(old)) => old
            .all_variants()
            .keys()
            .any(|it| !variants.contains_key(it)),
        _ => false,
    };
    if !loses_variant {
        return;
    }
    let subject = format!("flag:{name}");
    let broken = draft.any(Kind::Pin, |other, pin| {
        let Document::Pin(pin) = pin else {
            return false;
        };
        let lost = |variant| !variants.contains_key(variant);
        other.name() == subject && !touched.has(other) && pin.variant.as_ref().is_some_and(lost)
    });
    if let Some(pin) = broken {
        found.push(in_use(format!("{pointer}/variants"), key, &pin));
    }
}

fn check_targeting(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    targeting: &Targeting,
    pointer: &str,
    found: &mut Violations,
) {
    let Ok(name) = FlagKey::new(key.name()) else {
        return;
    };
    let flag = DocumentKey::flag(&name);
    match draft.get(&flag).as_deref() {
        Some(Document::Flag(flag)) => {
            found.extend(
                targeting
                    .check_variants(flag)
                    .into_iter()
                    .map(|it| it.below(pointer)),
            );
        }
        _ => found.push(missing(pointer.to_owned(), &flag, "create the flag first")),
    }
    prerequisites::check_targeting(draft, key, targeting, pointer, found);
    for (index, rule) in targeting.rules.iter().enumerate() {
        let pointer = format!("{pointer}/rules/{index}/if");
        segments::check_named(draft, &segments::named(&rule.when), &pointer, found);
    }
    segments::check_count(targeting, pointer, found);
}

/// What a kill or a pin names must be there.
fn check_subject(draft: &mut Draft<'_>, key: &DocumentKey, pointer: &str, found: &mut Violations) {
    let Some((what, name)) = key.subject() else {
        return;
    };
    let known = if what == "flag" {
        FlagKey::new(name).is_ok_and(|name| draft.has(&DocumentKey::flag(&name)))
    } else {
        let kind = if what == "agent" {
            ArtifactKind::Agent
        } else {
            ArtifactKind::Tool
        };
        ArtifactName::new(name).is_ok_and(|name| !draft.versions(kind, &name).is_empty())
    };
    if !known {
        found.push(
            Violation::new(
                Code::ReferenceMissing,
                pointer,
                format!("there is no {what} `{name}`"),
            )
            .next(format!("`control-plane {what} list` shows those there are")),
        );
    }
}

fn check_pin(
    draft: &mut Draft<'_>,
    key: &DocumentKey,
    pin: &Pin,
    pointer: &str,
    found: &mut Violations,
) {
    let Some((what, name)) = key.subject() else {
        return;
    };
    match (what, &pin.variant, &pin.version) {
        ("flag", Some(variant), _) => {
            check_subject(draft, key, pointer, found);
            let flag = FlagKey::new(name).ok().map(|name| DocumentKey::flag(&name));
            let flag: Option<Arc<Document>> = flag.and_then(|key| draft.get(&key));
            if let Some(Document::Flag(flag)) = flag.as_deref()
                && !flag.all_variants().contains_key(variant)
            {
                found.push(
                    Violation::new(
                        Code::VariantUnknown,
                        format!("{pointer}/variant"),
                        format!("the flag `{name}` has no variant `{variant}`"),
                    )
                    .next(format!(
                        "`control-plane flag show {name}` lists its variants"
                    )),
                );
            }
        }
        ("agent", _, Some(version)) => {
            check_version(draft, name, version, format!("{pointer}/version"), found);
        }
        _ => {}
    }
}

/// A pin that is over before it begins does nothing, so it is a mistake.
///
/// One that stays as it was may be over, and so may one that a revert puts back.
pub(crate) fn check_ends(
    draft: &Draft<'_>,
    command: &Command,
    touched: &Touched,
    now: Timestamp,
    found: &mut Violations,
) {
    if command.action == Action::Revert {
        return;
    }
    for (key, document) in draft.changed() {
        let Some(Document::Pin(pin)) = document.as_deref() else {
            continue;
        };
        let Some(until) = pin.until else {
            continue;
        };
        let before = match draft.base().document(key).map(|it| &**it) {
            Some(Document::Pin(before)) => before.until,
            _ => None,
        };
        if until <= now && before != Some(until) {
            let pointer = format!("{}/until", touched.pointer(key));
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    pointer,
                    format!("the pin ends at {until}, which is past"),
                )
                .next("choose a time that is to come, or leave the pin out"),
            );
        }
    }
}

/// The version of an agent must be published and not withdrawn.
pub(crate) fn check_version(
    draft: &mut Draft<'_>,
    agent: &str,
    version: &semver::Version,
    pointer: String,
    found: &mut Violations,
) {
    let Ok(name) = ArtifactName::new(agent) else {
        return;
    };
    let version = ArtifactVersion {
        name: name.clone(),
        version: version.clone(),
    };
    let known = draft.versions(ArtifactKind::Agent, &name);
    if known.iter().any(|(it, _)| *it == version) {
        super::registry::check_usable(draft, ArtifactKind::Agent, &version, pointer, found);
        return;
    }
    let known: Vec<_> = known.iter().map(|(it, _)| it.version.to_string()).collect();
    found.push(
        Violation::new(
            Code::VersionNotFound,
            pointer,
            format!(
                "version {} of agent `{name}` is not published",
                version.version
            ),
        )
        .next(match known.as_slice() {
            [] => format!("publish it first: there is no version of `{name}`"),
            known => format!("publish it first, or use one of {}", known.join(", ")),
        }),
    );
}
