//! Makes a large installation: the same one every time, as commits in a log.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use plane_log::{Appended, ChangeLog, LogId, SqliteLog};
use plane_model::{
    Digest, Document, DocumentKey, Kind, PrincipalId, Timestamp, canonical,
};
use plane_node::Sealing;
use plane_state::{Action, Change, Command, Expect, Op, Prepared, PreparedOp, ReadSet, State, prepare};
use serde_json::{Value, json};

use crate::platform::TOKEN;

/// How large an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub flags: usize,
    pub tenants: usize,
    pub agents: usize,
    pub tools: usize,
    pub commits: u64,
}

impl Size {
    /// What the design promises to carry.
    pub const FULL: Self =
        Self { flags: 10_000, tenants: 100_000, agents: 1_000, tools: 200, commits: 1_000_000 };
    /// A tenth of it, to tell what grows with the size from what does not.
    pub const TENTH: Self =
        Self { flags: 1_000, tenants: 10_000, agents: 100, tools: 20, commits: 100_000 };
}

pub const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];

/// The file that says which installation a directory holds.
const MADE: &str = "made-by-bench";
/// Counts up whenever other documents are made.
const EDITION: u32 = 1;
/// Commits that are stored in one transaction.
const RUN: usize = 4_000;
/// Documents of one commit while the installation is filled.
const FILL: usize = 1_000;
/// One commit of a thousand changes many documents.
const BATCH_EVERY: u64 = 1_000;
const BATCH: usize = 50;

/// Makes the installation in `dir`, unless it is there; says whether it was made.
pub async fn make(dir: &Path, size: Size) -> Result<bool> {
    let made = dir.join(MADE);
    let label = format!("{EDITION} {size:?}");
    if std::fs::read_to_string(&made).is_ok_and(|it| it == label) {
        return Ok(false);
    }
    anyhow::ensure!(
        !dir.exists() || std::fs::read_dir(dir)?.next().is_none(),
        "{} holds something else: remove it, or name another directory",
        dir.display()
    );
    let mut maker = Maker::new(dir, size)?;
    maker.fill().await?;
    maker.live().await?;
    maker.flush().await?;
    drop(maker);
    std::fs::write(made, label)?;
    Ok(true)
}

/// Opens the log of an installation.
pub fn open(dir: &Path) -> Result<Arc<SqliteLog>> {
    Ok(Arc::new(SqliteLog::open(dir, &LogId::new("size")?)?))
}

struct Maker {
    size: Size,
    log: Arc<SqliteLog>,
    state: State,
    stored: plane_log::Head,
    waiting: Vec<plane_log::Entry>,
    chance: Chance,
}

/// A sequence that is the same in every run.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((it ^ (it >> 31)) % limit.max(1) as u64) as usize
    }
}

impl Maker {
    fn new(dir: &Path, size: Size) -> Result<Self> {
        Ok(Self {
            size,
            log: open(dir)?,
            state: State::genesis("size"),
            stored: plane_log::Head::GENESIS,
            waiting: Vec::new(),
            chance: Chance::new(1),
        })
    }

    /// Puts every document once.
    async fn fill(&mut self) -> Result<()> {
        let Size { flags, tenants, agents, tools, .. } = self.size;
        let names = ENVIRONMENTS.iter().enumerate();
        self.decided(
            Action::Access,
            vec![put(Kind::Token, "", "bench", token())?],
        )
        .await?;
        self.decided(
            Action::Write,
            names.map(|(at, name)| put(Kind::Environment, "", name, json!({ "order": at }))).collect::<Result<_>>()?,
        )
        .await?;
        let trust = json!({ "signing": "optional" });
        self.decided(Action::Write, vec![put(Kind::Trust, "", "default", trust)?]).await?;
        for at in 0..20 {
            self.one(Kind::Segment, "", &format!("segment-{at}"), segment(&mut self.chance.clone(), at)).await?;
        }
        let mut schema: Vec<_> = vec![put(Kind::Schema, "", "ai", config_schema())?];
        for (scope, body) in config_layers() {
            schema.push(put(Kind::Config, &scope, "ai", body)?);
        }
        self.decided(Action::Write, schema).await?;
        let all: Vec<_> = (0..tenants)
            .map(|at| (Kind::Tenant, String::new(), tenant_name(at), tenant(at)))
            .collect();
        self.many(all).await?;
        let all: Vec<_> = (0..flags)
            .map(|at| (Kind::Flag, String::new(), flag_name(at), flag(at)))
            .collect();
        self.many(all).await?;
        let mut all = Vec::new();
        for at in 0..flags {
            for environment in ENVIRONMENTS {
                let body = targeting(&mut self.chance, at);
                all.push((Kind::Targeting, environment.to_owned(), flag_name(at), body));
            }
        }
        self.many(all).await?;
        let tools: Vec<_> = (0..tools)
            .map(|at| put(Kind::Tool, "", &format!("tool-{at:03}@1.0.0"), tool(at)))
            .collect::<Result<_>>()?;
        self.decided(Action::Write, tools).await?;
        for from in (0..agents).step_by(FILL) {
            let ops: Vec<_> = (from..agents.min(from + FILL))
                .map(|at| put(Kind::Agent, "", &format!("{}@1.0.0", agent_name(at)), agent(at, self.size.tools)))
                .collect::<Result<_>>()?;
            self.decided(Action::Write, ops).await?;
            for environment in ENVIRONMENTS {
                let ops: Vec<_> = (from..agents.min(from + FILL))
                    .map(|at| {
                        let body = json!({ "default": { "version": "1.0.0" } });
                        put(Kind::Channel, environment, &agent_name(at), body)
                    })
                    .collect::<Result<_>>()?;
                self.decided(Action::Write, ops).await?;
            }
        }
        let mut all = Vec::new();
        for at in 0..tenants {
            all.push(self.pin(at));
        }
        self.many(all).await?;
        let all: Vec<_> = (0..tenants).map(|at| layer(at, at)).collect();
        self.many(all).await
    }

    /// Changes one document after the other until there are as many commits as asked for.
    async fn live(&mut self) -> Result<()> {
        while self.state.head().revision < self.size.commits {
            let revision = self.state.head().revision;
            let batch = if revision % BATCH_EVERY == 0 { BATCH } else { 1 };
            let mut ops = Vec::new();
            for _ in 0..batch {
                let (kind, scope, name, body) = self.change(revision);
                ops.push(self.document(kind, &scope, &name, &body)?);
            }
            ops.sort_by(|a, b| a.key.cmp(&b.key));
            ops.dedup_by(|a, b| a.key == b.key);
            self.seal(Action::Write, ops).await?;
        }
        Ok(())
    }

    /// What people change, about as often as they do.
    fn change(&mut self, revision: u64) -> Wanted {
        let (flags, tenants) = (self.size.flags, self.size.tenants);
        match self.chance.below(100) {
            0..40 => {
                let at = self.chance.below(flags);
                let environment = ENVIRONMENTS[self.chance.below(3)];
                let body = targeting(&mut self.chance, at);
                (Kind::Targeting, environment.to_owned(), flag_name(at), body)
            }
            40..60 => {
                let at = self.chance.below(tenants);
                self.pin(at)
            }
            60..85 => {
                let at = self.chance.below(tenants);
                layer(at, revision as usize)
            }
            85..95 => {
                let at = self.chance.below(tenants);
                let mut body = tenant(at);
                body["labels"]["seats"] = json!(self.chance.below(1_000).to_string());
                (Kind::Tenant, String::new(), tenant_name(at), body)
            }
            _ => {
                let at = self.chance.below(flags);
                let mut body = flag(at);
                body["description"] = json!(format!("What flag {at} does, as told at {revision}"));
                (Kind::Flag, String::new(), flag_name(at), body)
            }
        }
    }

    /// The one pin of a tenant: of a flag, or of an agent.
    fn pin(&mut self, at: usize) -> Wanted {
        let scope = format!("production/{}", tenant_name(at));
        if at % 10 == 0 {
            let name = format!("agent:{}", agent_name(at % self.size.agents));
            return (Kind::Pin, scope, name, json!({ "version": "1.0.0", "reason": "asked to stay" }));
        }
        // Boolean flags have the variants `on` and `off`.
        let flag = (at * 7) % self.size.flags / 5 * 5;
        let variant = if self.chance.below(2) == 0 { "on" } else { "off" };
        (Kind::Pin, scope, format!("flag:{}", flag_name(flag)), json!({ "variant": variant, "reason": "beta customer" }))
    }

    async fn one(&mut self, kind: Kind, scope: &str, name: &str, body: Value) -> Result<()> {
        let op = self.document(kind, scope, name, &body)?;
        self.seal(Action::Write, vec![op]).await
    }

    /// Puts documents that are known to be good, many in a commit.
    async fn many(&mut self, wanted: Vec<Wanted>) -> Result<()> {
        for part in wanted.chunks(FILL) {
            let ops = part
                .iter()
                .map(|(kind, scope, name, body)| self.document(*kind, scope, name, body))
                .collect::<Result<Vec<_>>>()?;
            self.seal(Action::Apply, ops).await?;
        }
        Ok(())
    }

    /// What a commit would store of a document, without asking every validator.
    fn document(&self, kind: Kind, scope: &str, name: &str, body: &Value) -> Result<PreparedOp> {
        let key = key(kind, scope, name)?;
        let document = Document::parse(&key, body).map_err(|it| anyhow!("{key}: {it:?}"))?;
        let document = match (document, self.state.document(&key).map(|it| &**it)) {
            (Document::Targeting(new), Some(Document::Targeting(old))) => Document::Targeting(new.settled(Some(old)).into()),
            (Document::Targeting(new), _) => Document::Targeting(new.settled(None).into()),
            (document, _) => document,
        };
        let bytes = canonical::to_canonical(&document.to_value()).map_err(|it| anyhow!("{it}"))?;
        Ok(PreparedOp { key, document: Some(Arc::new(document)), bytes: bytes.into(), blobs: Vec::new() })
    }

    /// Puts documents as a user would, through every validator.
    async fn decided(&mut self, action: Action, ops: Vec<Op>) -> Result<()> {
        let command = self.command(action, ops)?;
        let prepared = prepare(&self.state, &command.into(), self.now())
            .map_err(|it| anyhow!("{:?}", it.violations.first()))?;
        self.append(prepared).await
    }

    async fn seal(&mut self, action: Action, ops: Vec<PreparedOp>) -> Result<()> {
        let command = self.command(action, Vec::new())?;
        let request = Digest::of(command.id.as_bytes());
        let prepared = Prepared {
            command: Arc::new(command),
            request,
            ops,
            blobs: Vec::new(),
            reads: ReadSet::default(),
        };
        self.append(prepared).await
    }

    async fn append(&mut self, prepared: Prepared) -> Result<()> {
        let chance = &mut self.chance;
        let mut salt = || {
            let mut salt = [0; 16];
            for byte in &mut salt {
                *byte = chance.below(256) as u8;
            }
            salt
        };
        let now = Timestamp(1_700_000_000_000 + 30_000 * self.state.head().revision as i64);
        let sealing = Sealing::of(&self.state, &prepared, now, &mut salt);
        anyhow::ensure!(sealing.anomalies.is_empty(), "{:?}", sealing.anomalies);
        self.state = sealing.state;
        self.waiting.push(sealing.entry);
        if self.waiting.len() >= RUN || prepared.ops.len() > 100 {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let Some(last) = self.waiting.last() else { return Ok(()) };
        let head = last.head();
        match self.log.append(self.stored, &self.waiting).await? {
            Appended::Committed { .. } => {}
            Appended::Conflict { .. } => anyhow::bail!("somebody else writes to this log"),
        }
        self.stored = head;
        self.waiting.clear();
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }

    fn command(&self, action: Action, ops: Vec<Op>) -> Result<Command> {
        let next = self.state.head().revision + 1;
        Ok(Command {
            id: format!("size-{next:08}"),
            actor: PrincipalId::new(&format!("person-{}", next % 40))?,
            action,
            reason: format!("ticket {}", next / 3),
            source: "bench".to_owned(),
            ops,
        })
    }
}

/// A document that should be there: kind, scope, name, body.
type Wanted = (Kind, String, String, Value);

pub fn key(kind: Kind, scope: &str, name: &str) -> Result<DocumentKey> {
    DocumentKey::new(kind, scope, name).map_err(|it| anyhow!("{}", it.detail))
}

pub fn put(kind: Kind, scope: &str, name: &str, body: Value) -> Result<Op> {
    let key = key(kind, scope, name).with_context(|| format!("{kind} {scope} {name}"))?;
    Ok(Op { key, change: Change::Put(body), expect: Expect::Any })
}

pub fn tenant_name(at: usize) -> String {
    format!("tenant-{at:06}")
}

pub fn flag_name(at: usize) -> String {
    format!("team-{}.flag-{at:05}", at % 37)
}

pub fn agent_name(at: usize) -> String {
    format!("agent-{at:04}")
}

fn token() -> Value {
    json!({
        "kind": "service", "principal": "bench", "role": "admin",
        "hash": Digest::of(TOKEN.as_bytes()).to_string()
    })
}

fn segment(chance: &mut Chance, at: usize) -> Value {
    let ids: std::collections::BTreeSet<_> = (0..500).map(|it| tenant_name(it * 200 + at + chance.below(100))).collect();
    json!({ "description": format!("Segment {at}"), "include": ids })
}

const PLANS: [&str; 3] = ["free", "team", "enterprise"];
const REGIONS: [&str; 4] = ["eu-west", "us-east", "ap-south", "eu-north"];

fn tenant(at: usize) -> Value {
    json!({
        "plan": PLANS[at % 3],
        "region": REGIONS[at / 3 % 4],
        "labels": { "industry": format!("industry-{}", at % 12) }
    })
}

fn flag(at: usize) -> Value {
    let (kind, variants) = match at % 5 {
        3 => ("string", json!({ "a": "chat-small", "b": "chat-standard", "c": "chat-advanced" })),
        4 => ("object", json!({ "old": { "limit": 10, "mode": "strict" }, "new": { "limit": 20, "mode": "lenient" } })),
        _ => ("boolean", json!({})),
    };
    json!({
        "type": kind, "variants": variants,
        "owner": format!("team-{}", at % 37),
        "description": format!("What flag {at} does"),
        "tags": ["generated", format!("area-{}", at % 11)]
    })
}

/// None to three rules, and a default that is one variant or a percentage.
pub fn targeting(chance: &mut Chance, flag: usize) -> Value {
    let (one, other) = match flag % 5 {
        3 => ("a", "b"),
        4 => ("new", "old"),
        _ => ("on", "off"),
    };
    let mut rules = Vec::new();
    for rule in 0..chance.below(4) {
        let clause = match (rule + flag) % 3 {
            0 => json!({ "attribute": "tenant.plan", "in": ["enterprise", "team"] }),
            1 => json!({ "attribute": "tenant.region", "starts_with": "eu" }),
            _ => json!({ "attribute": "tenant.id", "segment": format!("segment-{}", flag % 20) }),
        };
        let when = json!({ "all": [clause, { "attribute": "user.beta", "equals": true }] });
        rules.push(json!({ "name": format!("rule-{rule}"), "if": when, "serve": one }));
    }
    let share = chance.below(100_000) as f64 / 1_000.0;
    let default = if chance.below(2) == 0 {
        json!({ "percent": { one: share }, "by": "tenant.id" })
    } else {
        json!(other)
    };
    json!({ "state": "enabled", "off": other, "rules": rules, "default": default })
}

fn config_schema() -> Value {
    let layers = ["environment", "region", "plan", "tenant"];
    json!({
        "type": "object",
        "required": ["limits", "model"],
        "properties": {
            "model": { "type": "string", "x-override": layers },
            "timeout_ms": { "type": "integer", "minimum": 1, "maximum": 60000, "default": 3000, "x-override": layers },
            "limits": {
                "type": "object", "x-override": layers,
                "properties": {
                    "requests_per_minute": { "type": "integer", "minimum": 1 },
                    "conversations_per_day": { "type": "integer", "minimum": 1 }
                }
            }
        }
    })
}

fn config_layers() -> Vec<(String, Value)> {
    let limits = |rate: u32| json!({ "limits": { "requests_per_minute": rate } });
    let mut layers = vec![(
        "base".to_owned(),
        json!({ "model": "chat-standard", "limits": { "requests_per_minute": 60, "conversations_per_day": 1000 } }),
    )];
    for (rate, environment) in (100..).zip(ENVIRONMENTS) {
        layers.push((environment.to_owned(), limits(rate)));
        for (more, plan) in (10..).zip(PLANS) {
            layers.push((format!("{environment}.plan={plan}"), limits(rate * more)));
        }
    }
    layers
}

/// The config layer of a tenant.
pub fn layer(at: usize, value: usize) -> (Kind, String, String, Value) {
    let scope = format!("production.tenant={}", tenant_name(at));
    let body = json!({ "limits": { "requests_per_minute": 50 + value % 1_000 } });
    (Kind::Config, scope, "ai".to_owned(), body)
}

pub fn tool(at: usize) -> Value {
    json!({
        "name": format!("tool-{at:03}"), "version": "1.0.0", "owner": "platform-team",
        "changelog": "first", "deprecated": false,
        "metadata": {
            "description": format!("Does the {at}th useful thing for an agent"),
            "category": format!("category-{}", at % 9),
            "inputs_schema": {
                "type": "object", "required": ["id"],
                "properties": {
                    "id": { "type": "string", "maxLength": 40 },
                    "action": { "type": "string", "enum": ["get", "list", "update"] },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 100 }
                }
            },
            "outputs_schema": { "type": "object", "properties": { "status": { "type": "string" } } },
            "timeout_ms": 4000, "retry_attempts": 2, "circuit_breaker_threshold": 5
        }
    })
}

pub fn agent(at: usize, tools: usize) -> Value {
    let tools: Vec<_> = (0..3).map(|it| format!("tool-{:03}", (at + it * 17) % tools)).collect();
    json!({
        "name": agent_name(at), "version": "1.0.0", "owner": "platform-team",
        "changelog": "first", "deprecated": false,
        "metadata": {
            "description": format!("Answers questions of kind {at}"),
            "capabilities": ["faq_handling", "escalation"],
            "model": "chat-standard-2", "max_tokens": 4000, "temperature": 0.7,
            "tools": tools,
            "system_prompt": format!("You are assistant {at}.\nAnswer in the language of the customer, from the knowledge base, and say so when it has no answer.\nEscalate complaints about people, safety or law to a colleague.\n")
        }
    })
}
