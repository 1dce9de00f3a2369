//! A source in memory, for unit tests of those who use the SDK.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use plane_model::documents::{Flag, FlagType, Metadata, Variants};
use plane_model::merge::merge_patch;
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, ConfigName, Document, DocumentKey,
    EnvironmentName, FlagKey, Kind, Selector, TenantId, Timestamp, VariantName, Violation,
    Violations,
};
use plane_state::{Action, Change, Expect, Op, State};
use serde_json::{Map, Value, json};

use super::builder::{Builder, Kind as SourceKind};
use super::core::Core;
use super::error::Error;
use super::local::{Local, Revisions};
use super::plane::ControlPlane;
use super::tree;

/// The environment that a client in memory has unless it is told another.
const ENVIRONMENT: &str = "test";
/// The variant that holds a value which no variant of the flag has.
const VARIANT: &str = "override";

/// A control plane in memory, whose content a test says.
///
/// Cloning gives another handle on the same content. Everything said goes through the validation
/// that a server runs, so a test cannot hold what a platform never could. Each change is seen at once
/// by the clients that [`control_plane`](Self::control_plane) gave.
#[derive(Debug, Clone)]
pub struct InMemory {
    shared: Arc<Memory>,
}

#[derive(Debug)]
pub(crate) struct Memory {
    content: Mutex<Content>,
    /// Who is told of changes.
    cores: Mutex<Vec<Weak<Core>>>,
}

#[derive(Debug, Clone)]
struct Content {
    base: Local,
    said: Said,
    whole: Local,
    revisions: Revisions,
}

/// What a test said, over what the tree says.
#[derive(Debug, Clone, Default)]
struct Said {
    environments: Vec<EnvironmentName>,
    flags: BTreeMap<FlagKey, Value>,
    configs: BTreeMap<ConfigName, Vec<(Vec<String>, Value)>>,
    agents: BTreeMap<ArtifactName, Value>,
    tools: BTreeMap<ArtifactName, Value>,
    tenants: BTreeMap<TenantId, Value>,
}

impl Default for InMemory {
    fn default() -> Self {
        Self::over(Local::new())
    }
}

impl Memory {
    /// Everything that it holds now.
    pub(crate) fn local(&self) -> Local {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.whole.clone()
    }
}

impl InMemory {
    /// Makes a control plane in which there is nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one that holds what a tree says, to be overridden by the test.
    ///
    /// # Errors
    /// [`Error::Tree`] with all that is wrong with the tree.
    pub fn from_tree(root: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self::over(tree::load(&root.into(), Timestamp(0))?))
    }

    fn over(base: Local) -> Self {
        let content = Content {
            whole: base.clone(),
            base,
            said: Said::default(),
            revisions: Revisions::default(),
        };
        let shared = Memory {
            content: Mutex::new(content),
            cores: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes a client of it, for the environment `test`.
    pub fn control_plane(&self) -> ControlPlane {
        let name = EnvironmentName::new(ENVIRONMENT).ok();
        ControlPlane::of(self.settings(name))
    }

    /// Makes a client of it for an environment, which is there from then on.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no environment can be called so.
    pub fn control_plane_of(&self, environment: &str) -> Result<ControlPlane, Error> {
        self.builder_of(environment)?.build()
    }

    /// The settings of such a client, such as what it relies on, to be changed before it is made.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no environment can be called so.
    pub fn builder_of(&self, environment: &str) -> Result<Builder, Error> {
        let name = EnvironmentName::new(environment).map_err(|error| invalid(&error))?;
        Ok(self.settings(Some(name)))
    }

    fn settings(&self, environment: Option<EnvironmentName>) -> Builder {
        Builder::of(SourceKind::Memory(self.shared.clone()), environment)
    }

    /// Gives a flag one value for everybody in every environment: before rules, targets and pins.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no flag can be called so, or have such a value. Nothing changes then.
    pub fn flag(&self, key: &str, value: impl Into<Value>) -> Result<&Self, Error> {
        let key = FlagKey::new(key).map_err(|error| invalid(&error))?;
        let value = value.into();
        self.change(|said| {
            said.flags.insert(key, value);
        })
    }

    /// Takes back what was said of a flag.
    ///
    /// # Errors
    /// None that a test has to expect.
    pub fn forget_flag(&self, key: &str) -> Result<&Self, Error> {
        self.change(|said| {
            said.flags.remove(key);
        })
    }

    /// Sets the configuration at `document` or `document.key.key` for everybody: over every layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the path is none, or the document's schema refuses the value. Nothing
    /// changes then.
    pub fn config(&self, path: &str, value: impl Into<Value>) -> Result<&Self, Error> {
        let mut keys = path.split('.').map(str::to_owned);
        let document = keys.next().unwrap_or_default();
        let document = ConfigName::new(&document).map_err(|error| invalid(&error))?;
        let (keys, value) = (keys.collect::<Vec<_>>(), value.into());
        self.change(|said| {
            let all = said.configs.entry(document).or_default();
            all.retain(|(known, _)| !known.starts_with(&keys));
            all.push((keys, value));
        })
    }

    /// Publishes an agent with this metadata and gives it to everybody; over a tree's agent, what is
    /// given is merged into the metadata of its newest version.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the registry would refuse it, such as for a tool that is not known.
    pub fn agent(&self, name: &str, metadata: Value) -> Result<&Self, Error> {
        let name: ArtifactName = name.parse().map_err(|error| invalid(&error))?;
        self.change(|said| {
            said.agents.insert(name, metadata);
        })
    }

    /// Publishes a tool with this metadata; over a tree's tool, as [`agent`](Self::agent) does.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the registry would refuse it.
    pub fn tool(&self, name: &str, metadata: Value) -> Result<&Self, Error> {
        let name: ArtifactName = name.parse().map_err(|error| invalid(&error))?;
        self.change(|said| {
            said.tools.insert(name, metadata);
        })
    }

    /// Adds a tenant, such as `("acme", json!({"plan": "free"}))`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no tenant can be like this.
    pub fn tenant(&self, id: &str, tenant: Value) -> Result<&Self, Error> {
        let id = TenantId::new(id).map_err(|error| invalid(&error))?;
        self.change(|said| {
            said.tenants.insert(id, tenant);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Said)) -> Result<&Self, Error> {
        self.shared.change(change)?;
        Ok(self)
    }
}

impl Memory {
    /// What there is to evaluate in an environment, which is made if it is not there.
    pub(crate) fn load(&self, environment: &EnvironmentName) -> Result<(Local, Revisions), Error> {
        let is_there = {
            let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            let key = DocumentKey::environment(environment);
            content.whole.state().entry(&key).is_some() && content.revisions.newest() > 0
        };
        if !is_there {
            self.change(|said| {
                if !said.environments.contains(environment) {
                    said.environments.push(environment.clone());
                }
            })?;
        }
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((content.whole.clone(), content.revisions.clone()))
    }

    /// Lets a core know of all that changes from now on.
    pub(crate) fn follow(&self, core: &Arc<Core>) {
        let mut cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        cores.retain(|core| core.strong_count() > 0);
        cores.push(Arc::downgrade(core));
    }

    fn change(&self, change: impl FnOnce(&mut Said)) -> Result<(), Error> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = content.said.clone();
        change(&mut said);
        let mut whole = content.base.clone();
        let ops = said.ops(whole.state());
        if !ops.is_empty() {
            // The time is of no consequence: nothing in memory is older than the test.
            whole
                .commit(Action::Apply, ops, Timestamp(0))
                .map_err(of_values)?;
        }
        content.said = said;
        content.revisions.advance(whole.state());
        content.whole = whole.clone();
        let revisions = content.revisions.clone();
        // Told while the content is held, so that two changes are seen in their order.
        let cores = self
            .cores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for core in cores.iter().filter_map(Weak::upgrade) {
            core.serve_memory(&whole, &revisions);
        }
        drop(content);
        Ok(())
    }
}

impl Said {
    /// The operations that make what was said hold over `base`.
    fn ops(&self, base: &State) -> Vec<Op> {
        let mut ops = Ops::default();
        let environments: Vec<_> = base
            .environments()
            .into_iter()
            .chain(self.environments.iter().cloned())
            .collect();
        for name in &self.environments {
            let key = DocumentKey::environment(name);
            if base.entry(&key).is_none() {
                ops.put(key, json!({}));
            }
        }
        for (id, tenant) in &self.tenants {
            ops.put(DocumentKey::tenant(id), tenant.clone());
        }
        for (key, value) in &self.flags {
            flag(base, &environments, key, value, &mut ops);
        }
        for (name, paths) in &self.configs {
            config(base, name, paths, &mut ops);
        }
        for (name, metadata) in &self.tools {
            publish(base, ArtifactKind::Tool, name, metadata, &mut ops);
        }
        for (name, metadata) in &self.agents {
            let version = publish(base, ArtifactKind::Agent, name, metadata, &mut ops);
            for environment in &environments {
                let body = json!({ "default": { "version": version.version } });
                ops.put(DocumentKey::channel(environment, name), body);
            }
            unpin(base, "agent", name.as_str(), &mut ops);
        }
        ops.0
            .into_iter()
            .map(|(key, change)| Op {
                key,
                change,
                expect: Expect::Any,
            })
            .collect()
    }
}

/// What is done, once for each document.
#[derive(Debug, Default)]
struct Ops(BTreeMap<DocumentKey, Change>);

impl Ops {
    fn put(&mut self, key: DocumentKey, body: Value) {
        self.0.insert(key, Change::Put(body));
    }
}

/// Makes a flag give one value to everybody.
fn flag(
    base: &State,
    environments: &[EnvironmentName],
    key: &FlagKey,
    value: &Value,
    ops: &mut Ops,
) {
    let known = match base.document(&DocumentKey::flag(key)).map(|it| &**it) {
        Some(Document::Flag(flag)) => Flag::clone(flag),
        _ => Flag {
            kind: type_of(value),
            variants: Variants::new(),
            owner: None,
            description: None,
            tags: Vec::new(),
            lifecycle: None,
            expires: None,
            archived: false,
            metadata: Metadata::new(),
            overrides: None,
        },
    };
    let mut variants = known.all_variants();
    let variant = variants.iter().find(|(_, it)| *it == value);
    let variant = match variant {
        Some((name, _)) => Some(name.clone()),
        None => VariantName::new(VARIANT).ok(),
    };
    if let Some(name) = &variant {
        variants.insert(name.clone(), value.clone());
    }
    let flag = Flag {
        variants,
        archived: false,
        ..known
    };
    ops.put(
        DocumentKey::flag(key),
        Document::Flag(flag.into()).to_value(),
    );
    for environment in environments {
        let body = json!({ "state": "enabled", "default": variant });
        ops.put(DocumentKey::targeting(environment, key), body);
    }
    unpin(base, "flag", key.as_str(), ops);
}

/// Takes away what tenants are pinned to: it would go before what a test says.
fn unpin(base: &State, what: &str, name: &str, ops: &mut Ops) {
    let pins = base.of_kind(Kind::Pin).map(|(key, _)| key);
    for key in pins.filter(|key| key.subject() == Some((what, name))) {
        ops.0.insert(key.clone(), Change::Delete);
    }
}

/// Sets paths of a config document in its base layer, and in every layer that would hide them.
fn config(base: &State, name: &ConfigName, paths: &[(Vec<String>, Value)], ops: &mut Ops) {
    let lowest = DocumentKey::config(&Selector::default(), name);
    let mut layers: BTreeMap<DocumentKey, Map<String, Value>> = base
        .of_kind(Kind::Config)
        .filter(|(key, _)| key.name() == name.as_str())
        .filter_map(|(key, entry)| match &**entry.document()? {
            Document::Config(values) => Some((key.clone(), values.to_map())),
            _ => None,
        })
        .collect();
    layers.entry(lowest.clone()).or_default();
    for (key, mut layer) in layers {
        let before = layer.clone();
        for (path, value) in paths {
            if key == lowest || hides(&layer, path) {
                set(&mut layer, path, value);
            }
        }
        if layer != before || key == lowest {
            ops.put(key, Value::Object(layer));
        }
    }
}

/// Says whether a layer has something at a path, or something else than an object on the way there.
fn hides(layer: &Map<String, Value>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    match layer.get(first) {
        None => false,
        Some(Value::Object(inner)) => hides(inner, rest),
        Some(_) => true,
    }
}

fn set(layer: &mut Map<String, Value>, path: &[String], value: &Value) {
    let Some((first, rest)) = path.split_first() else {
        // The whole document; of anything but an object the schema says what is wrong.
        if let Value::Object(value) = value {
            layer.clone_from(value);
        }
        return;
    };
    if rest.is_empty() {
        layer.insert(first.clone(), value.clone());
        return;
    }
    let inner = layer.entry(first.clone()).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Value::Object(inner) = inner {
        set(inner, rest, value);
    }
}

/// Publishes a version after the newest one that there is.
fn publish(
    base: &State,
    kind: ArtifactKind,
    name: &ArtifactName,
    metadata: &Value,
    ops: &mut Ops,
) -> ArtifactVersion {
    let newest = base
        .versions(kind, name)
        .max_by(|(one, _), (two, _)| one.version.cmp(&two.version));
    let mut version = ArtifactVersion {
        name: name.clone(),
        version: semver::Version::new(1, 0, 0),
    };
    let mut before = defaults(kind, name);
    if let Some((known, entry)) = newest {
        // A major one: whatever a test says of it is then no break of a promise.
        version.version = semver::Version::new(known.version.major + 1, 0, 0);
        let published = entry.document().and_then(|it| match &**it {
            Document::Agent(it) | Document::Tool(it) => base.blob(&it.manifest),
            _ => None,
        });
        let manifest = published.and_then(|it| serde_json::from_slice::<Value>(it).ok());
        if let Some(known) = manifest.and_then(|mut it| it.get_mut("metadata").map(Value::take)) {
            before = known;
        }
    }
    let manifest = json!({
        "name": name,
        "version": version.version,
        "created_at": Timestamp(0),
        "owner": "test",
        "metadata": merge_patch(before, metadata),
    });
    ops.put(DocumentKey::artifact(kind, &version), manifest);
    let trust = DocumentKey::trust(&name.namespace());
    let mut body = base
        .document(&trust)
        .map_or_else(|| json!({}), |it| it.to_value());
    if let Some(members) = body.as_object_mut() {
        members.insert("signing".to_owned(), json!("optional"));
    }
    ops.put(trust, body);
    version
}

/// What a manifest has to say, where a test does not care.
fn defaults(kind: ArtifactKind, name: &ArtifactName) -> Value {
    match kind {
        ArtifactKind::Agent => json!({ "description": name, "capabilities": [] }),
        ArtifactKind::Tool => json!({
            "description": name,
            "category": "test",
            "inputs_schema": { "type": "object" },
        }),
    }
}

fn type_of(value: &Value) -> FlagType {
    match value {
        Value::Bool(_) => FlagType::Boolean,
        Value::String(_) => FlagType::String,
        Value::Number(number) if number.is_f64() => FlagType::Float,
        Value::Number(_) => FlagType::Integer,
        // Of a list and of null, validation says that they are no objects.
        _ => FlagType::Object,
    }
}

/// Findings about operations, as findings about what was said.
fn of_values(found: Violations) -> Error {
    let of_value = |violation: Violation| {
        let inner = violation
            .pointer
            .split_once("/body")
            .map(|(_, rest)| rest.to_owned());
        Violation {
            pointer: inner.unwrap_or_default(),
            ..violation
        }
    };
    Error::Invalid(found.into_iter().map(of_value).collect())
}

fn invalid(error: &impl ToString) -> Error {
    Error::Invalid(vec![
        Violation::new(Code::NameInvalid, "", error.to_string()).next("correct the name"),
    ])
}
