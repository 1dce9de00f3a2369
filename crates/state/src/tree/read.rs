//! Reads the files of a tree into documents.

use std::collections::{BTreeMap, BTreeSet};

use plane_model::documents::Flag;
use plane_model::text::{Limits, SourceMap, TextError, TextProblem};
use plane_model::{
    ArtifactKind, Code, Document, DocumentKey, Kind, Pointer, Violation, Violations, json, limits,
    yaml,
};
use plane_registry::Manifest;
use serde_json::{Map, Value};

use super::include::Includer;
use super::layout::{self, Holds, Placement};
use super::{File, Note, Source, Tree, TreeDocument, TreeError, error};

const LIMITS: Limits = Limits {
    bytes_max: limits::COMMIT_BYTES_MAX,
    depth_max: limits::TEXT_DEPTH_MAX,
};

/// Reads the files of a tree, whatever their order.
///
/// Every document is checked as far as it can be without the others that are in force; whoever
/// applies the tree checks again. All mistakes are reported at once.
pub fn read(files: &[File]) -> Tree {
    let contents: BTreeMap<&str, &[u8]> = files
        .iter()
        .map(|file| {
            let path = file.path.strip_prefix("./").unwrap_or(&file.path);
            (path, file.bytes.as_slice())
        })
        .collect();
    let mut reader = Reader {
        contents: &contents,
        used: BTreeSet::new(),
        tree: Tree::default(),
    };
    let mut strangers = Vec::new();
    for (path, bytes) in &contents {
        match layout::place(path) {
            Placement::Documents(holds) => reader.file(path, bytes, holds),
            Placement::Stranger(reason) => strangers.push((*path, reason)),
            Placement::Wrong(violation) => {
                let source = Source {
                    path: (*path).to_owned(),
                    map: SourceMap::default(),
                };
                reader.tree.errors.push(source.error(violation));
            }
        }
    }
    strangers.retain(|(path, _)| !reader.used.contains(*path));
    let mut tree = reader.tree;
    tree.notes = notes(&strangers, &contents);
    finish(&mut tree);
    tree
}

/// One note for each file that was passed over, or for the whole of a folder that is none of ours.
fn notes(strangers: &[(&str, &'static str)], contents: &BTreeMap<&str, &[u8]>) -> Vec<Note> {
    let mut notes = BTreeMap::new();
    let mut note = |path: &str, detail: String, meant| {
        let note = notes.entry(path.to_owned()).or_insert(Note {
            path: path.to_owned(),
            detail,
            meant: None,
        });
        note.meant = note.meant.or(meant);
    };
    for (path, reason) in strangers {
        let has_key = contents.get(path).is_some_and(|bytes| {
            let needle = b"PRIVATE KEY-----";
            bytes.windows(needle.len()).any(|window| window == needle)
        });
        if has_key {
            let detail = "passed over; it looks like a private key, which must never be in a tree: \
                          move it out, and replace the key if the tree was shared";
            note(path, detail.to_owned(), None);
            continue;
        }
        let hidden = path.split('/').position(|part| part.starts_with('.'));
        let outside = (*reason == layout::OUTSIDE).then_some(0);
        let folder = hidden.or(outside).and_then(|depth| {
            let (end, _) = path.match_indices('/').nth(depth)?;
            path.get(..=end)
        });
        let meant = outside.and_then(|_| layout::meant(path));
        let detail = format!("passed over: {reason}");
        note(folder.unwrap_or(path), detail, meant);
    }
    notes.into_values().collect()
}

struct Reader<'t> {
    contents: &'t BTreeMap<&'t str, &'t [u8]>,
    used: BTreeSet<String>,
    tree: Tree,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, bytes: &[u8], holds: Holds) {
        let is_json = path.rsplit('.').next() == Some("json");
        let parsed = if is_json {
            json::parse_with_source(bytes, LIMITS)
        } else {
            yaml::parse(bytes, LIMITS)
        };
        let (mut value, map) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.tree.errors.push(text_error(path, &error));
                return;
            }
        };
        let source = Source {
            path: path.to_owned(),
            map,
        };
        let is_schema = matches!(&holds, Holds::One(key) if key.kind() == Kind::Schema);
        // A tool says what it takes in schemas of its own.
        let is_tool = matches!(&holds, Holds::Manifest(ArtifactKind::Tool));
        let mut found = Violations::new();
        Includer {
            files: self.contents,
            used: &mut self.used,
            bytes_left: limits::COMMIT_BYTES_MAX,
            may_be_a_name: is_schema || is_tool,
        }
        .expand(&mut value, &mut Pointer::root(), &mut found);
        let members = match value {
            Value::Object(mut members) => {
                if !is_schema {
                    members.remove("$schema");
                }
                Some(members)
            }
            // A file that is empty, or all comments, leaves every field out.
            Value::Null => Some(Map::new()),
            _ => {
                let violation = Violation::new(
                    Code::FieldInvalid,
                    "",
                    "the file holds no mapping of fields to values",
                );
                found.push(violation.next("write `field: value` lines"));
                None
            }
        };
        let mut parts = Parts {
            file: self.tree.sources.len(),
            documents: &mut self.tree.documents,
            found,
        };
        if let Some(members) = members {
            parts.split(holds, members);
        }
        let found = parts.found;
        let errors = found.into_iter().map(|violation| source.error(violation));
        self.tree.errors.extend(errors);
        self.tree.sources.push(source);
    }
}

fn text_error(path: &str, error: &TextError) -> TreeError {
    let code = match error.code {
        TextProblem::Size | TextProblem::Depth => Code::TextTooLarge,
        _ => Code::TextInvalid,
    };
    let pointer = error.pointer.clone().unwrap_or_default();
    TreeError {
        file: path.to_owned(),
        line: error.line,
        column: error.column,
        violation: Violation::new(code, pointer, &error.detail).next(error.next()),
    }
}

/// Takes a file apart into its documents.
struct Parts<'t> {
    file: usize,
    documents: &'t mut Vec<TreeDocument>,
    found: Violations,
}

impl Parts<'_> {
    fn split(&mut self, holds: Holds, members: Map<String, Value>) {
        match holds {
            Holds::One(key) => self.add(key, Value::Object(members), Pointer::root()),
            Holds::Tenant(key) => self.tenant(key, members),
            Holds::Flag(key) => self.flag(key, members),
            Holds::Manifest(kind) => self.manifest(kind, members),
            Holds::Channels(environment) => {
                for (agent, channel) in members {
                    let at = Pointer::root().key(&agent);
                    if let Some(key) = self.key(Kind::Channel, &environment, &agent, &at) {
                        self.channel(key, channel, at);
                    }
                }
            }
            Holds::Statuses => {
                for (version, status) in members {
                    let at = Pointer::root().key(&version);
                    if let Some(key) = self.key(Kind::Status, "", &version, &at) {
                        self.add(key, status, at);
                    }
                }
            }
        }
    }

    fn add(&mut self, key: DocumentKey, body: Value, pointer: Pointer) {
        self.documents.push(TreeDocument {
            key,
            body,
            file: self.file,
            pointer,
            is_short: false,
        });
    }

    fn key(&mut self, kind: Kind, scope: &str, name: &str, at: &Pointer) -> Option<DocumentKey> {
        match DocumentKey::new(kind, scope, name) {
            Ok(key) => Some(key),
            Err(violation) => {
                self.found.push(violation.below(at.as_str()));
                None
            }
        }
    }

    /// Takes the object that is called `field` out of `members`.
    fn take(
        &mut self,
        members: &mut Map<String, Value>,
        field: &str,
        at: &Pointer,
        next: &str,
    ) -> Map<String, Value> {
        match members.remove(field) {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(_) => {
                let detail = format!("`{field}` is not an object");
                let at = at.key(field);
                let violation = Violation::new(Code::FieldInvalid, at.as_str(), detail);
                self.found.push(violation.next(next));
                Map::new()
            }
        }
    }

    /// Takes out what only a command can write.
    fn refuse_commands(&mut self, members: &mut Map<String, Value>, at: &Pointer) {
        for field in ["kill", "killed", "kills"] {
            if members.remove(field).is_some() {
                let violation = layout::by_command(field, at.key(field).as_str());
                self.found.extend(violation);
            }
        }
    }

    fn flag(&mut self, flag: DocumentKey, mut members: Map<String, Value>) {
        let root = Pointer::root();
        self.refuse_commands(&mut members, &root);
        if let Some(key) = members.remove("key")
            && key.as_str() != Some(flag.name())
        {
            let name = flag.name();
            let (detail, next) = match key.as_str() {
                Some(key) => (
                    format!("the flag's key is `{key}`, but the file is called `{name}`"),
                    format!("write `key: {name}`, or rename the file to `{key}`"),
                ),
                None => (
                    "the flag's key is not a string".to_owned(),
                    format!("write `key: {name}`"),
                ),
            };
            self.found
                .push(Violation::new(Code::FieldInvalid, "/key", detail).next(next));
        }
        let next = "write `environments: {ENVIRONMENT: {state: enabled, …}}`";
        let environments = self.take(&mut members, "environments", &root, next);
        let at = root.key("environments");
        for (environment, mut targeting) in environments {
            let at = at.key(&environment);
            if let Value::Object(members) = &mut targeting {
                self.refuse_commands(members, &at);
            }
            if let Some(key) = self.key(Kind::Targeting, &environment, flag.name(), &at) {
                self.add(key, targeting, at);
            }
        }
        self.add(flag, Value::Object(members), root);
    }

    fn tenant(&mut self, tenant: DocumentKey, mut members: Map<String, Value>) {
        let root = Pointer::root();
        self.refuse_commands(&mut members, &root);
        let next = "write `pins: {ENVIRONMENT: {\"flag:KEY\": {variant: …}}}`";
        let mut pins = self.take(&mut members, "pins", &root, next);
        let at = root.key("pins");
        let environments: Vec<String> = pins.keys().cloned().collect();
        for environment in environments {
            let subjects = self.take(&mut pins, &environment, &at, next);
            let at = at.key(&environment);
            let scope = format!("{environment}/{}", tenant.name());
            for (subject, pin) in subjects {
                let at = at.key(&subject);
                if let Some(key) = self.key(Kind::Pin, &scope, &subject, &at) {
                    self.add(key, pin, at);
                }
            }
        }
        self.add(tenant, Value::Object(members), root);
    }

    fn manifest(&mut self, kind: ArtifactKind, members: Map<String, Value>) {
        let body = Value::Object(members);
        match Manifest::parse(kind, &body) {
            Ok(manifest) => {
                let key = DocumentKey::artifact(kind, manifest.id());
                self.add(key, body, Pointer::root());
            }
            Err(found) => self.found.extend(found),
        }
    }

    /// Reads a version, `{version, lock, split, locks}` or the whole form with `default`.
    fn channel(&mut self, key: DocumentKey, channel: Value, pointer: Pointer) {
        let mut release = Map::new();
        let mut body = match channel {
            Value::String(version) => {
                release.insert("version".to_owned(), version.into());
                Map::new()
            }
            Value::Object(mut members) => {
                for field in ["version", "lock"] {
                    release.extend(members.remove_entry(field));
                }
                members
            }
            _ => {
                let violation = Violation::new(
                    Code::FieldInvalid,
                    pointer.as_str(),
                    "a channel is a version or an object",
                );
                self.found
                    .push(violation.next("write a version as MAJOR.MINOR.PATCH, in quotes"));
                return;
            }
        };
        let is_short = !release.is_empty();
        if is_short && body.contains_key("default") {
            let violation = Violation::new(
                Code::FieldInvalid,
                pointer.as_str(),
                "a channel has `default`, or `version` and `lock` of its own, not both",
            );
            self.found.push(violation.next("keep one of the two"));
            return;
        }
        if is_short {
            body.insert("default".to_owned(), Value::Object(release));
        }
        self.documents.push(TreeDocument {
            key,
            body: Value::Object(body),
            file: self.file,
            pointer,
            is_short,
        });
    }
}

/// Orders and checks what was read.
fn finish(tree: &mut Tree) {
    tree.documents
        .sort_by(|left, right| left.key.cmp(&right.key));
    let mut errors = refuse_repetitions(tree);
    errors.extend(refuse_collisions(tree));
    let mut flags: BTreeMap<&str, Box<Flag>> = BTreeMap::new();
    for document in &tree.documents {
        let key = &document.key;
        if matches!(key.kind(), Kind::Agent | Kind::Tool) {
            continue;
        }
        let found = match Document::parse(key, &document.body) {
            Ok(Document::Flag(flag)) => {
                flags.insert(key.name(), flag);
                Violations::new()
            }
            // Flags come before their targeting in the order of keys.
            Ok(Document::Targeting(targeting)) => flags
                .get(key.name())
                .map(|flag| targeting.check_variants(flag))
                .unwrap_or_default(),
            Ok(_) => Violations::new(),
            Err(found) => found,
        };
        let found = found
            .into_iter()
            .map(|violation| error(&tree.sources, document, violation));
        errors.extend(found);
    }
    tree.errors.append(&mut errors);
    tree.errors.sort_by(|left, right| {
        let place = |it: &TreeError| (it.line, it.column);
        left.file
            .cmp(&right.file)
            .then_with(|| place(left).cmp(&place(right)))
            .then_with(|| left.violation.pointer.cmp(&right.violation.pointer))
            .then_with(|| left.violation.detail.cmp(&right.violation.detail))
    });
}

/// Keeps the first of several documents with one key, and reports the others.
fn refuse_repetitions(tree: &mut Tree) -> Vec<TreeError> {
    let mut errors = Vec::new();
    let mut kept: Vec<TreeDocument> = Vec::with_capacity(tree.documents.len());
    for document in std::mem::take(&mut tree.documents) {
        match kept.last() {
            Some(first) if first.key == document.key => {
                let place = super::locate(&tree.sources, first, "").1;
                let detail = format!(
                    "the {} stands in the tree twice: also in {}, line {}",
                    document.key, place.file, place.line
                );
                let violation = Violation::new(Code::DocumentRepeated, "", detail);
                let violation = violation.next("keep one of the two");
                errors.push(error(&tree.sources, &document, violation));
            }
            _ => kept.push(document),
        }
    }
    tree.documents = kept;
    errors
}

/// Reports names that differ only in case from another of their kind.
fn refuse_collisions(tree: &Tree) -> Vec<TreeError> {
    let mut errors = Vec::new();
    let mut seen: BTreeMap<(&str, String), BTreeMap<&str, &TreeDocument>> = BTreeMap::new();
    for document in &tree.documents {
        let name = document.key.name();
        let (what, name) = match document.key.kind() {
            Kind::Flag => ("flag", name),
            Kind::Segment => ("segment", name),
            Kind::ExclusionGroup => ("exclusion group", name),
            Kind::Agent => ("agent", version_name(name)),
            Kind::Tool => ("tool", version_name(name)),
            Kind::Schema | Kind::Config => ("config document", name),
            _ => continue,
        };
        let alike = seen.entry((what, name.to_ascii_lowercase())).or_default();
        if alike.contains_key(name) {
            continue;
        }
        if let Some((other, first)) = alike.first_key_value() {
            let place = super::locate(&tree.sources, first, "").1;
            let detail = format!(
                "the {what} `{name}` differs only in case from `{other}` in {}",
                place.file
            );
            let violation = Violation::new(Code::NameCollision, "", detail);
            let violation = violation.next("rename one of them, or write both alike");
            errors.push(error(&tree.sources, document, violation));
        }
        alike.insert(name, document);
    }
    errors
}

/// The name in `NAME@VERSION`.
fn version_name(version: &str) -> &str {
    version.split('@').next().unwrap_or_default()
}
