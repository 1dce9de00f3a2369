//! Writes documents as the files of a tree.

use std::collections::BTreeMap;

use plane_model::{Code, DocumentKey, Kind, Pointer, Violation};
use serde_json::{Map, Value};

use super::include::FILE;
use super::shape::{self, Shape};
use super::{File, emit, percent, split};

/// What happens to the locks of channels and pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// They are written: applying the tree gives exactly these locks, where it knows them.
    Keep,
    /// They are left out: applying the tree keeps the locks in force, and resolves new ones where
    /// there are none.
    LeaveOut,
}

/// Why documents cannot be written as a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A tree reads this field as something else than the document means.
    #[error("the {key} has a field `{field}`, which means something else in a tree")]
    Reserved {
        /// The document.
        key: Box<DocumentKey>,
        /// The field's name.
        field: &'static str,
        /// Where it stands.
        pointer: String,
    },
    /// A document is a part of another's file, and that one is missing.
    #[error("the {key} has no {holder} to stand in the file of")]
    Orphan {
        /// The document.
        key: Box<DocumentKey>,
        /// The kind that is missing.
        holder: Kind,
    },
    /// A body is not an object.
    #[error("the {key} is not an object")]
    NotAnObject {
        /// The document.
        key: Box<DocumentKey>,
    },
}

impl WriteError {
    /// The error as a finding, with what to do next.
    pub fn violation(&self) -> Violation {
        let (pointer, next) = match self {
            Self::Reserved { pointer, field, .. } => (
                pointer.as_str(),
                format!("rename the field: `{field}` is reserved in trees"),
            ),
            Self::Orphan { holder, .. } => ("", format!("export it together with its {holder}")),
            Self::NotAnObject { .. } => ("", "write the document again as an object".to_owned()),
        };
        Violation::new(Code::FieldInvalid, pointer, self.to_string()).next(next)
    }
}

/// Writes documents as files, in the order of their paths.
///
/// The body of an agent or a tool is its manifest. Kills, tokens and role bindings are not in
/// trees and are passed over. The inverse of [`super::read()`], but for splits: where percentages
/// give the same slots again, they stand in the place of ranges.
///
/// # Errors
/// [`WriteError`] for the first document that a tree cannot hold.
pub fn write<'k>(
    documents: impl IntoIterator<Item = (&'k DocumentKey, Value)>,
    locks: Locks,
) -> Result<Vec<File>, WriteError> {
    let mut writer = Writer::default();
    let mut documents: Vec<_> = documents.into_iter().collect();
    // Holders come before what stands in their files: tenants and flags before pins and targeting.
    documents.sort_by_key(|(key, _)| *key);
    for (key, body) in documents {
        writer.add(key, body, locks)?;
    }
    let files = writer.files.into_iter().map(|(path, content)| {
        let shape = content.shape;
        File {
            path,
            bytes: emit::document(&content.into_members(), shape).into_bytes(),
        }
    });
    Ok(files.collect())
}

#[derive(Default)]
struct Writer {
    files: BTreeMap<String, Content>,
}

struct Content {
    shape: &'static Shape,
    members: Map<String, Value>,
    /// The targeting of a flag, by environment.
    environments: Map<String, Value>,
    /// The pins of a tenant, by environment and subject.
    pins: BTreeMap<String, Map<String, Value>>,
}

impl Content {
    fn new(shape: &'static Shape, members: Map<String, Value>) -> Self {
        Self {
            shape,
            members,
            environments: Map::new(),
            pins: BTreeMap::new(),
        }
    }

    fn into_members(mut self) -> Map<String, Value> {
        let pins: Map<_, _> = self
            .pins
            .into_iter()
            .map(|(environment, pins)| (environment, Value::Object(pins)))
            .collect();
        for (field, part) in [("environments", self.environments), ("pins", pins)] {
            if !part.is_empty() {
                self.members.insert(field.to_owned(), Value::Object(part));
            }
        }
        self.members
    }
}

impl Writer {
    fn add(&mut self, key: &DocumentKey, mut body: Value, locks: Locks) -> Result<(), WriteError> {
        let name = key.name();
        let (path, shape) = match key.kind() {
            Kind::Environment => (format!("environments/{name}.yaml"), &shape::ENVIRONMENT),
            Kind::Tenant => (tenant_path(name), &shape::TENANT),
            Kind::Segment => (format!("segments/{name}.yaml"), &shape::SEGMENT),
            Kind::ExclusionGroup => {
                split::for_people(key, &mut body);
                (
                    format!("exclusion_groups/{name}.yaml"),
                    &shape::EXCLUSION_GROUP,
                )
            }
            Kind::Flag => (flag_path(name), &shape::FLAG),
            Kind::Schema => (format!("configs/{name}.schema.yaml"), &shape::SCHEMA),
            Kind::Config => {
                let selector = selector_file(key.scope());
                (format!("configs/{name}/{selector}.yaml"), &shape::ANY)
            }
            Kind::Trust => (format!("registries/trust/{name}.yaml"), &shape::TRUST),
            Kind::Tool => (format!("registries/tools/{name}.yaml"), &shape::MANIFEST),
            Kind::Agent => (format!("registries/agents/{name}.yaml"), &shape::MANIFEST),
            Kind::Targeting | Kind::Pin | Kind::Status | Kind::Channel => {
                return self.add_part(key, body, locks);
            }
            Kind::Kill | Kind::Token | Kind::RoleBinding | Kind::Schedule => return Ok(()),
        };
        refuse_reserved(key, &body)?;
        if let (Kind::Flag, Value::Object(members)) = (key.kind(), &mut body) {
            members.insert("key".to_owned(), name.into());
        }
        let members = object(key, body)?;
        self.files.insert(path, Content::new(shape, members));
        Ok(())
    }

    /// Adds a document that stands in a file with others.
    fn add_part(
        &mut self,
        key: &DocumentKey,
        mut body: Value,
        locks: Locks,
    ) -> Result<(), WriteError> {
        refuse_reserved(key, &body)?;
        split::for_people(key, &mut body);
        let orphan = |holder| WriteError::Orphan {
            key: Box::new(key.clone()),
            holder,
        };
        match key.kind() {
            Kind::Targeting => {
                let flag = self.files.get_mut(&flag_path(key.name()));
                let flag = flag.ok_or_else(|| orphan(Kind::Flag))?;
                flag.environments.insert(key.scope().to_owned(), body);
            }
            Kind::Pin => {
                let (environment, tenant) = key.scope().split_once('/').unwrap_or_default();
                let tenant = self.files.get_mut(&tenant_path(tenant));
                let tenant = tenant.ok_or_else(|| orphan(Kind::Tenant))?;
                if let (Locks::LeaveOut, Value::Object(pin)) = (locks, &mut body) {
                    pin.remove("lock");
                }
                let pins = tenant.pins.entry(environment.to_owned()).or_default();
                pins.insert(key.name().to_owned(), body);
            }
            Kind::Channel => {
                let path = format!("registries/channels/{}.yaml", key.scope());
                let body = channel(object(key, body)?, locks);
                let channels = self.shared(path, &shape::CHANNELS);
                channels.insert(key.name().to_owned(), body);
            }
            _ => {
                let statuses = self.shared("registries/status.yaml".to_owned(), &shape::STATUSES);
                statuses.insert(key.name().to_owned(), body);
            }
        }
        Ok(())
    }

    fn shared(&mut self, path: String, shape: &'static Shape) -> &mut Map<String, Value> {
        let content = self.files.entry(path);
        let content = content.or_insert_with(|| Content::new(shape, Map::new()));
        &mut content.members
    }
}

fn flag_path(flag: &str) -> String {
    format!("feature_flags/{flag}.yaml")
}

fn tenant_path(tenant: &str) -> String {
    format!("tenants/{}.yaml", percent::encode(tenant))
}

/// The selector with its tenant percent-encoded; its other parts need no encoding.
fn selector_file(selector: &str) -> String {
    match selector.split_once("tenant=") {
        Some((before, tenant)) => format!("{before}tenant={}", percent::encode(tenant)),
        None => selector.to_owned(),
    }
}

/// A channel in its short form: a version, or `version` and `lock` beside `split` and `locks`.
fn channel(mut members: Map<String, Value>, locks: Locks) -> Value {
    if let Some(Value::Object(mut release)) = members.remove("default") {
        members.append(&mut release);
    }
    if locks == Locks::LeaveOut {
        members.remove("lock");
        members.remove("locks");
    }
    let is_version = members.len() == 1;
    match members.get_mut("version") {
        Some(version @ Value::String(_)) if is_version => version.take(),
        _ => Value::Object(members),
    }
}

fn object(key: &DocumentKey, body: Value) -> Result<Map<String, Value>, WriteError> {
    match body {
        Value::Object(members) => Ok(members),
        _ => Err(WriteError::NotAnObject {
            key: Box::new(key.clone()),
        }),
    }
}

/// Refuses what reading would take for something else.
pub(crate) fn refuse_reserved(key: &DocumentKey, body: &Value) -> Result<(), WriteError> {
    let reserved = |field, pointer: &Pointer| WriteError::Reserved {
        key: Box::new(key.clone()),
        field,
        pointer: pointer.to_string(),
    };
    let is_schema = key.kind() == Kind::Schema;
    if !is_schema && body.get("$schema").is_some() {
        return Err(reserved("$schema", &Pointer::root().key("$schema")));
    }
    let mut found = None;
    let may_be_a_name = is_schema || key.kind() == Kind::Tool;
    find_file(body, may_be_a_name, &mut Pointer::root(), &mut found);
    match found {
        Some(pointer) => Err(reserved(FILE, &pointer)),
        None => Ok(()),
    }
}

/// Finds a field that would be read as the text of a file; recurses as deep as `value`.
fn find_file(
    value: &Value,
    may_be_a_name: bool,
    pointer: &mut Pointer,
    found: &mut Option<Pointer>,
) {
    match value {
        Value::Object(members) => {
            if let Some(file) = members.get(FILE)
                && (file.is_string() || !may_be_a_name)
            {
                *found = Some(pointer.key(FILE));
            }
            for (key, member) in members {
                pointer.push_key(key);
                find_file(member, may_be_a_name, pointer, found);
                pointer.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push_index(index);
                find_file(item, may_be_a_name, pointer, found);
                pointer.pop();
            }
        }
        _ => {}
    }
}
