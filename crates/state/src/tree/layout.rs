//! Which file of a tree is what, by its path alone.

use plane_model::{ArtifactKind, Code, DocumentKey, Kind, Violation};

use super::percent;

/// What a file of a tree is.
#[derive(Debug)]
pub(super) enum Placement {
    /// It holds one or more documents.
    Documents(Holds),
    /// It is no part of the tree; why, for the note.
    Stranger(&'static str),
    /// It stands where no such file may stand.
    Wrong(Violation),
}

/// Which documents a file holds.
#[derive(Debug)]
pub(super) enum Holds {
    /// The document, as the whole content.
    One(DocumentKey),
    /// The tenant, and its pins.
    Tenant(DocumentKey),
    /// The flag, and its targeting in each environment.
    Flag(DocumentKey),
    /// A version of an agent or a tool; the content says which.
    Manifest(ArtifactKind),
    /// The channels of the environment with this name.
    Channels(String),
    /// The status of each version that has one.
    Statuses,
}

/// The folders that a tree may have at its root.
pub const FOLDERS: [&str; 7] = [
    "environments",
    "tenants",
    "segments",
    "feature_flags",
    "exclusion_groups",
    "configs",
    "registries",
];

/// Folders for what is written by commands alone, and those commands.
const COMMANDS: [(&str, &str, &str); 3] = [
    (
        "kills",
        "a kill",
        "run `control-plane flag kill KEY`, `control-plane agent kill NAME` or `control-plane tool kill NAME`",
    ),
    ("tokens", "a token", "run `control-plane token create`"),
    (
        "role_bindings",
        "a role binding",
        "run `control-plane token create`",
    ),
];

/// Why a file outside of the tree's folders is passed over.
pub(super) const OUTSIDE: &str = "not a folder of the tree";

/// The folder of a tree that the one of this file is nearly called, if the file could hold documents.
pub(super) fn meant(path: &str) -> Option<&'static str> {
    let is_text = [".yaml", ".yml", ".json"]
        .iter()
        .any(|it| path.ends_with(it));
    let (folder, _) = path.split_once('/').filter(|_| is_text)?;
    let letters = |name: &str| -> Vec<char> {
        let letters = name.chars().filter(|it| it.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let written = letters(folder);
    let is_near = |known: &&&str| {
        let known = letters(known);
        let is_part = written.len() > 3 && known.ends_with(&written);
        is_part || distance(&written, &known) <= 2
    };
    FOLDERS.iter().find(is_near).copied()
}

/// How many letters must be put in, left out or changed to make one word of another.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut next = vec![index + 1];
        let costs = row.iter().zip(row.iter().skip(1)).zip(other);
        for ((before, above), against) in costs {
            let left = next.last().copied().unwrap_or_default();
            let changed = before + usize::from(letter != against);
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// How to make what a tree cannot hold, for a field or folder called `name`.
pub(super) fn by_command(name: &str, pointer: &str) -> Option<Violation> {
    let name = if name == "kill" || name == "killed" {
        "kills"
    } else {
        name
    };
    COMMANDS
        .iter()
        .find(|(folder, ..)| *folder == name)
        .map(|(_, what, next)| {
            Violation::new(
                Code::CommandRequired,
                pointer,
                format!("{what} cannot stand in a tree"),
            )
            .next(*next)
        })
}

/// Says what the file at `path` is.
pub(super) fn place(path: &str) -> Placement {
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| part.starts_with('.')) {
        return Placement::Stranger("hidden");
    }
    let Some((folder, rest)) = parts.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Placement::Stranger("at the root of the tree there are only folders");
    };
    let stem = rest.last().and_then(|name| {
        [".yaml", ".yml", ".json"]
            .iter()
            .find_map(|extension| name.strip_suffix(extension))
    });
    if let (Some(violation), Some(_)) = (by_command(folder, ""), stem) {
        return Placement::Wrong(violation);
    }
    if !FOLDERS.contains(folder) {
        return Placement::Stranger(OUTSIDE);
    }
    let Some(stem) = stem else {
        return Placement::Stranger("not a YAML or JSON file");
    };
    let folders = rest.split_last().map_or(&[][..], |(_, folders)| folders);
    let placement = match (*folder, folders) {
        ("environments", []) => whole(Kind::Environment, "", stem),
        ("tenants", []) => {
            decoded(stem).and_then(|id| key(Kind::Tenant, "", &id).map(Holds::Tenant))
        }
        ("segments", []) => whole(Kind::Segment, "", stem),
        ("exclusion_groups", []) => whole(Kind::ExclusionGroup, "", stem),
        ("feature_flags", []) => key(Kind::Flag, "", stem).map(Holds::Flag),
        ("configs", []) => match stem.strip_suffix(".schema") {
            Some(document) => whole(Kind::Schema, "", document),
            None => Err(misplaced(
                "configs/DOCUMENT.schema.yaml or configs/DOCUMENT/SELECTOR.yaml",
            )),
        },
        ("configs", [document]) => {
            decoded(stem).and_then(|selector| whole(Kind::Config, &selector, document))
        }
        ("registries", []) if stem == "status" => Ok(Holds::Statuses),
        ("registries", ["agents", ..]) => Ok(Holds::Manifest(ArtifactKind::Agent)),
        ("registries", ["tools", ..]) => Ok(Holds::Manifest(ArtifactKind::Tool)),
        ("registries", ["channels"]) => key(Kind::Environment, "", stem)
            .map(|environment| Holds::Channels(environment.name().to_owned())),
        ("registries", ["trust"]) => whole(Kind::Trust, "", stem),
        ("environments", _) => Err(misplaced("environments/NAME.yaml")),
        ("tenants", _) => Err(misplaced("tenants/ID.yaml")),
        ("segments", _) => Err(misplaced("segments/NAME.yaml")),
        ("exclusion_groups", _) => Err(misplaced("exclusion_groups/NAME.yaml")),
        ("feature_flags", _) => Err(misplaced("feature_flags/KEY.yaml")),
        ("configs", _) => Err(misplaced("configs/DOCUMENT/SELECTOR.yaml")),
        ("registries", ["channels", ..]) => Err(misplaced("registries/channels/ENVIRONMENT.yaml")),
        ("registries", ["trust", ..]) => Err(misplaced("registries/trust/NAMESPACE.yaml")),
        _ => Err(misplaced(
            "registries/agents/, registries/tools/, registries/channels/, registries/trust/ or \
             registries/status.yaml",
        )),
    };
    match placement {
        Ok(holds) => Placement::Documents(holds),
        Err(violation) => Placement::Wrong(violation),
    }
}

fn whole(kind: Kind, scope: &str, name: &str) -> Result<Holds, Violation> {
    key(kind, scope, name).map(Holds::One)
}

fn key(kind: Kind, scope: &str, name: &str) -> Result<DocumentKey, Violation> {
    DocumentKey::new(kind, scope, name).map_err(|violation| Violation {
        next: "rename the file".to_owned(),
        ..violation
    })
}

fn decoded(stem: &str) -> Result<String, Violation> {
    percent::decode(stem).ok_or_else(|| {
        let detail = format!("`{stem}` has a `%` that encodes no character");
        Violation::new(Code::NameInvalid, "", detail)
            .next("rename the file: `%` and two hex digits stand for a byte, such as `%3A` for `:`")
    })
}

fn misplaced(expected: &str) -> Violation {
    let detail = "no such file may stand here";
    Violation::new(Code::NameInvalid, "", detail)
        .next(format!("move it to {expected}, or out of the tree"))
}
