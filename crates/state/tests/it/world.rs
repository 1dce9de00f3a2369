//! A log in memory, and a platform to commit to.

use std::collections::HashMap;
use std::sync::Arc;

use plane_model::{Digest, DocumentKey, Kind, PrincipalId, Timestamp, Violations};
use plane_registry::{Manifest, SigningKey};
use plane_state::{
    Action, Bodies, BodyRef, Change, Command, Expect, Op, Rejection, Sealed, State, prepare, seal,
};
use serde_json::{Value, json};

pub(crate) const NOW: Timestamp = Timestamp(1_767_225_600_000);

/// The bytes that records name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) bodies: HashMap<BodyRef, Arc<[u8]>>,
    pub(crate) blobs: HashMap<Digest, Arc<[u8]>>,
}

impl Bodies for Store {
    fn body(&self, body: &BodyRef) -> Option<Arc<[u8]>> {
        match body {
            BodyRef::Salted(_) => self.bodies.get(body).cloned(),
            BodyRef::Blob(digest) => self.blobs.get(digest).cloned(),
        }
    }

    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.blobs.get(digest).cloned()
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) records: Vec<Sealed>,
    pub(crate) store: Store,
    pub(crate) key: SigningKey,
    salts: u8,
}

pub(crate) fn put(kind: Kind, scope: &str, name: &str, body: Value) -> Op {
    let key = DocumentKey::new(kind, scope, name).unwrap();
    Op {
        key,
        change: Change::Put(body),
        expect: Expect::Any,
    }
}

pub(crate) fn delete(kind: Kind, scope: &str, name: &str) -> Op {
    let key = DocumentKey::new(kind, scope, name).unwrap();
    Op {
        key,
        change: Change::Delete,
        expect: Expect::Any,
    }
}

impl World {
    /// A log with nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            state: State::genesis("test"),
            records: Vec::new(),
            store: Store::default(),
            key: SigningKey::from_seed(&[7; 32]),
            salts: 0,
        }
    }

    /// A log with two environments, two tenants and trust in one key.
    pub(crate) fn platform() -> Self {
        let mut world = Self::empty();
        let public = world.key.public().to_string();
        world
            .write(vec![
                put(Kind::Environment, "", "staging", json!({"order": 1})),
                put(Kind::Environment, "", "production", json!({"order": 2})),
                put(
                    Kind::Tenant,
                    "",
                    "tenant123",
                    json!({"plan": "enterprise", "region": "eu-west"}),
                ),
                put(Kind::Tenant, "", "tenant456", json!({"plan": "free"})),
                put(
                    Kind::Trust,
                    "",
                    "default",
                    json!({"keys": [{"public_key": public}]}),
                ),
            ])
            .unwrap();
        world
    }

    pub(crate) fn command(&self, action: Action, ops: Vec<Op>) -> Command {
        Command {
            id: format!("request-{}", self.records.len()),
            actor: PrincipalId::new("tester").unwrap(),
            action,
            reason: "a test".to_owned(),
            source: "test".to_owned(),
            ops,
        }
    }

    pub(crate) fn give(&mut self, action: Action, ops: Vec<Op>) -> Result<usize, Rejection> {
        let prepared = prepare(&self.state, &self.command(action, ops).into(), NOW)?;
        let count = prepared.ops.len();
        if count > 0 {
            let salts = &mut self.salts;
            let mut salt = || {
                *salts = salts.wrapping_add(1);
                [*salts; 16]
            };
            let sealed = seal(&self.state, &prepared, NOW, &mut salt);
            self.append(sealed);
        }
        Ok(count)
    }

    fn append(&mut self, sealed: Sealed) {
        for body in &sealed.bodies {
            self.store
                .bodies
                .insert(BodyRef::Salted(body.digest), body.bytes.clone());
        }
        self.store.blobs.extend(sealed.blobs.iter().cloned());
        let revision = sealed.record.revision;
        let (next, applied) = self
            .state
            .apply(revision, sealed.hash, &sealed.bytes, &self.store);
        assert_eq!(applied.anomalies, []);
        // Whoever wrote a record need not read it to have the same state.
        let followed = self.state.follow(&sealed, &self.store);
        assert_eq!(format!("{followed:?}"), format!("{applied:?}"));
        assert_eq!(self.state.digest(), next.digest());
        assert!(self.state.entries().eq(next.entries()));
        self.state = next;
        self.records.push(sealed);
    }

    pub(crate) fn write(&mut self, ops: Vec<Op>) -> Result<usize, Rejection> {
        self.give(Action::Write, ops)
    }

    /// The findings of a write that is refused, a line each.
    pub(crate) fn refused(&mut self, ops: Vec<Op>) -> String {
        self.refused_as(Action::Write, ops)
    }

    pub(crate) fn refused_as(&mut self, action: Action, ops: Vec<Op>) -> String {
        lines(
            &self
                .give(action, ops)
                .expect_err("the commit should be refused")
                .violations,
        )
    }

    pub(crate) fn body(&self, kind: Kind, scope: &str, name: &str) -> Option<Value> {
        let key = DocumentKey::new(kind, scope, name).unwrap();
        self.state
            .document(&key)
            .map(|document| document.to_value())
    }

    /// A signed manifest of a tool.
    pub(crate) fn tool(&self, name: &str, version: &str) -> Op {
        let manifest = json!({
            "name": name, "version": version, "created_at": "2026-01-01T00:00:00Z",
            "owner": "team", "changelog": "first", "deprecated": false,
            "metadata": {
                "description": "Looks things up", "category": "data",
                "inputs_schema": {"type": "object"}, "outputs_schema": {"type": "object"},
                "timeout_ms": 5000, "retry_attempts": 3, "circuit_breaker_threshold": 5
            }
        });
        self.signed(Kind::Tool, &manifest)
    }

    /// A signed manifest of an agent with these tools.
    pub(crate) fn agent(&self, name: &str, version: &str, tools: &[&str]) -> Op {
        let manifest = json!({
            "name": name, "version": version, "created_at": "2026-01-01T00:00:00Z",
            "owner": "team", "changelog": "first", "deprecated": false,
            "metadata": {
                "description": "Helps", "capabilities": ["faq_handling"], "max_tokens": 4000,
                "temperature": 0.7, "tools": tools, "system_prompt": "You help."
            }
        });
        self.signed(Kind::Agent, &manifest)
    }

    pub(crate) fn signed(&self, kind: Kind, manifest: &Value) -> Op {
        let artifact = match kind {
            Kind::Agent => plane_model::ArtifactKind::Agent,
            _ => plane_model::ArtifactKind::Tool,
        };
        let manifest = Manifest::parse(artifact, manifest)
            .unwrap()
            .signed(&self.key);
        put(kind, "", &manifest.id().to_string(), manifest.to_value())
    }
}

pub(crate) fn lines(violations: &Violations) -> String {
    let mut lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    lines.push(String::new());
    lines.join("\n")
}
