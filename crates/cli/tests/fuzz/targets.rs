//! What must hold for any bytes: one function for each thing that is read from outside.
//!
//! A function panics if a law is broken, and returns whatever else the bytes are. The workspace's
//! tests call them on the corpus and on mutations of it; `fuzz/` hands them to libFuzzer.

use std::fmt::Write as _;
use std::sync::Arc;

use plane_api::{ChangeEvent, Problem, ViewReply};
use plane_client::EventDecoder;
use plane_eval::{Context, View};
use plane_model::documents::{Flag, FlagType, Targeting};
use plane_model::json::{self, Limits};
use plane_model::{
    ArtifactKind, Digest, Document, DocumentKey, EnvironmentName, Expr, Kind, Pointer, Timestamp,
    Violation, canonical, limits, parse_strict, yaml,
};
use plane_registry::{Envelope, Lock, Manifest, PublicKey, Signature, SigningKey};
use plane_state::delivery::{At, Delivered, HEAD_PAYLOAD_TYPE, HeadStatement, Holding, Name};
use plane_state::tree::{self, File, Locks};
use plane_state::{Bodies, BodyRef, Record, State, checkpoint};
use serde_json::Value;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a corpus of its name.
pub const TARGETS: &[Target] = &[
    ("text", text),
    ("document", document),
    ("expression", expression),
    ("targeting", targeting),
    ("context", context),
    ("manifest", manifest),
    ("signature", signature),
    ("lock", lock),
    ("tree", tree),
    ("record", record),
    ("journal", journal),
    ("checkpoint", checkpoint),
    ("view", view),
    ("head", head),
    ("page", page),
    ("events", events),
    ("problem", problem),
];

const LIMITS: Limits = Limits {
    bytes_max: limits::MANIFEST_BYTES_MAX,
    depth_max: limits::TEXT_DEPTH_MAX,
};
const NOW: Timestamp = Timestamp(1_767_225_600_000);

fn read(bytes: &[u8]) -> Option<Value> {
    json::parse(bytes, LIMITS).ok()
}

/// Counts a value and all that is in it.
fn parts(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(parts).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(parts).sum::<usize>(),
        _ => 1,
    }
}

/// A report is never empty, never longer than its limit, and each finding says all it has to.
fn check_findings(found: &[Violation]) {
    assert!(!found.is_empty(), "refused without a finding");
    for finding in found {
        assert!(!finding.detail.is_empty(), "{finding:?}");
        assert!(!finding.next.is_empty(), "{finding:?}");
        assert!(finding.pointer.parse::<Pointer>().is_ok(), "{finding:?}");
    }
}

/// What JSON reads has one canonical form, which reads as the same; nothing is larger than its text.
pub fn text(bytes: &[u8]) {
    let refused = |error: &json::TextError| {
        assert!(error.line >= 1 && error.column >= 1, "{error:?}");
        assert!(
            !error.detail.is_empty() && !error.next().is_empty(),
            "{error:?}"
        );
        assert!(error.detail.len() < 1_024, "{error:?}");
    };
    match json::parse(bytes, LIMITS) {
        Ok(value) => {
            assert!(parts(&value) <= bytes.len());
            let written = canonical::to_canonical(&value).expect("what is read can be written");
            assert!(canonical::is_canonical(&written));
            assert_eq!(json::parse(&written, LIMITS).as_ref(), Ok(&value));
        }
        Err(error) => refused(&error),
    }
    match yaml::parse(bytes, LIMITS) {
        Ok((value, _)) => {
            assert!(parts(&value) <= bytes.len() + 1);
            assert!(canonical::to_canonical(&value).is_ok());
        }
        Err(error) => refused(&error),
    }
}

/// A document that is accepted is written as it was read, and read back as it was stored.
pub fn document(bytes: &[u8]) {
    let value = read(bytes);
    for kind in Kind::ALL {
        let key = a_key(*kind);
        // Stored bytes are read without checks, whatever they are; no more are ever stored.
        if bytes.len() <= limits::COMMIT_BYTES_MAX / 16 {
            drop(Document::decode(*kind, bytes));
        }
        let Some(value) = &value else { continue };
        match Document::parse(&key, value) {
            Ok(document) => {
                let written = document.to_value();
                assert_eq!(Document::parse(&key, &written).as_ref(), Ok(&document));
                let stored = canonical::to_canonical(&written).expect("a document can be written");
                assert_eq!(Document::decode(*kind, &stored).as_ref(), Ok(&document));
            }
            Err(found) => check_findings(&found),
        }
    }
}

fn a_key(kind: Kind) -> DocumentKey {
    let (scope, name) = match kind {
        Kind::Targeting => ("production", "f"),
        Kind::Schedule => ("production", "a"),
        Kind::Kill => ("production", "agent:support"),
        Kind::Pin => ("production/acme", "flag:f"),
        Kind::Config => ("production.plan=free", "ai"),
        Kind::Channel => ("production", "support"),
        Kind::Status => ("", "tool:crm@1.0.0"),
        Kind::Tool => ("", "crm@1.0.0"),
        Kind::Agent => ("", "support@1.0.0"),
        _ => ("", "a"),
    };
    DocumentKey::new(kind, scope, name).expect("the key is valid")
}

/// An expression is written as it was read, and has a verdict for every context.
pub fn expression(bytes: &[u8]) {
    let Some(value) = read(bytes) else { return };
    let expr: Expr = match parse_strict(&value) {
        Ok(expr) => expr,
        Err(found) => return check_findings(&found),
    };
    let written = serde_json::to_value(&expr).expect("an expression can be written");
    assert_eq!(parse_strict::<Expr>(&written).as_ref(), Ok(&expr));
    let targeting = serde_json::json!({
        "state": "enabled", "rules": [{"name": "r", "if": written, "serve": "on"}]
    });
    let Ok(targeting) = parse_strict::<Targeting>(&targeting) else {
        panic!("an expression that is read alone is read in a rule")
    };
    let view = flagged(targeting);
    for context in CONTEXTS {
        let value = read(context.as_bytes()).expect("the context is JSON");
        evaluate(
            &view,
            &Context::parse(&value).expect("the context is valid"),
        );
    }
}

const CONTEXTS: &[&str] = &[
    "{}",
    r#"{"tenant":"acme","user":{"id":"u","country":"de"}}"#,
    r#"{"attributes":{"a":{"b":[1,true,"x",null]},"n":-1.5,"s":"","t":"text"}}"#,
];

fn flagged(targeting: Targeting) -> View {
    let flag: Flag = parse_strict(&serde_json::json!({"type": "boolean"})).expect("a flag");
    assert_eq!(flag.kind, FlagType::Boolean);
    let documents = [
        (
            a_key(Kind::Targeting),
            Arc::new(Document::Targeting(Box::new(targeting))),
        ),
        (
            DocumentKey::new(Kind::Flag, "", "f").expect("a key"),
            Arc::new(Document::Flag(Box::new(flag))),
        ),
    ];
    let documents = documents.iter().map(|(key, document)| (key, 1, document));
    View::build(production(), 1, documents, &Nothing)
}

fn production() -> EnvironmentName {
    EnvironmentName::new("production").expect("a name")
}

/// A targeting answers at any time, before, within and after its windows and ramps, and as it is explained.
pub fn targeting(bytes: &[u8]) {
    let Some(value) = read(bytes) else { return };
    let Ok(Document::Targeting(targeting)) = Document::parse(&a_key(Kind::Targeting), &value)
    else {
        return;
    };
    let settled = targeting.settled(None);
    assert_eq!(
        settled.clone().settled(Some(&settled)),
        settled,
        "settling is not settled"
    );
    let view = flagged(settled);
    for context in CONTEXTS {
        let value = read(context.as_bytes()).expect("the context is JSON");
        let ctx = Context::parse(&value).expect("the context is valid");
        for at in [i64::MIN, 0, NOW.0 - 1, NOW.0, NOW.0 + 86_400_000, i64::MAX] {
            evaluate_at(&view, &ctx, Timestamp(at));
        }
    }
}

/// Every flag has one answer, which its explanation gives too; every agent and config document too.
fn evaluate(view: &View, ctx: &Context) {
    evaluate_at(view, ctx, NOW);
}

fn evaluate_at(view: &View, ctx: &Context, now: Timestamp) {
    for (key, evaluation) in view.evaluate_all(ctx, now) {
        let alone = view.evaluate_key(key.as_str(), ctx, now);
        assert_eq!(evaluation.value(), alone.value(), "{key}");
        let explained = view.explain(key.as_str(), ctx, now).result;
        assert_eq!(explained.value.as_ref(), evaluation.value(), "{key}");
    }
    for document in view.configs() {
        drop(view.config(document, ctx));
    }
    for agent in view.agents() {
        drop(view.resolve(agent, ctx, now));
    }
}

/// A context is read the same each time, within its limits, and everything evaluates with it.
pub fn context(bytes: &[u8]) {
    let Some(value) = read(bytes) else { return };
    let clause = serde_json::json!({
        "state": "enabled",
        "rules": [{
            "name": "r", "serve": "on",
            "if": {"any": [
                {"attribute": "a", "equals": "x"}, {"attribute": "a.b", "contains": "x"},
                {"attribute": "n", "gt": 1}, {"attribute": "user.country", "starts_with": "d"},
                {"not": {"attribute": "t", "exists": true}}
            ]}
        }],
        "default": {"percent": {"on": 50}}
    });
    let view = flagged(parse_strict(&clause).expect("a targeting"));
    for parsed in [Context::parse(&value), Context::parse_flat(&value)] {
        match parsed {
            Ok(ctx) => evaluate(&view, &ctx),
            Err(found) => check_findings(&found),
        }
    }
}

/// What is published is what was verified: the payload reads back under the same digest.
pub fn manifest(bytes: &[u8]) {
    let values = [
        read(bytes),
        yaml::parse(bytes, LIMITS).ok().map(|(value, _)| value),
    ];
    for value in values.iter().flatten() {
        for kind in [ArtifactKind::Agent, ArtifactKind::Tool] {
            let manifest = match Manifest::parse(kind, value) {
                Ok(manifest) => manifest,
                Err(found) => {
                    check_findings(&found);
                    continue;
                }
            };
            assert_eq!(manifest.digest(), Digest::of(manifest.payload()));
            let stored = Manifest::read(kind, manifest.payload()).expect("a payload reads back");
            assert_eq!(stored.digest(), manifest.digest());
            // One without a date gets it when it is published, and its checksum then.
            if manifest.created_at().is_some() {
                let written = Manifest::parse(kind, &manifest.to_value());
                let written = written.expect("a manifest reads back");
                assert_eq!(written.digest(), manifest.digest());
                assert!(manifest.is_republish_of(&written));
            }
            assert!(parts(value) <= bytes.len() + 1);
        }
    }
}

/// What reads as a key or a signature is written as one, and none of it says that anything is signed.
pub fn signature(bytes: &[u8]) {
    drop(Envelope::parse(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let key = SigningKey::from_seed(&[7; 32]).public();
    if let Ok(signature) = text.parse::<Signature>() {
        assert_eq!(
            signature.to_string().parse::<Signature>().as_ref(),
            Ok(&signature)
        );
        assert!(!key.verify("type", bytes, &signature.bytes));
        assert!(HeadStatement::verify(text, &signature, &[key]).is_err());
    }
    if let Ok(public) = text.parse::<PublicKey>() {
        assert_eq!(
            public.to_string().parse::<PublicKey>().as_ref(),
            Ok(&public)
        );
        assert!(!public.verify("type", bytes, &[0; 64]));
    }
    drop(SigningKey::from_pem(text));
}

/// A lock that is read is written as canonical bytes that are the same lock.
pub fn lock(bytes: &[u8]) {
    match Lock::read(bytes) {
        Ok(lock) => {
            let written = lock.to_bytes().expect("a lock can be written");
            assert_eq!(Lock::read(&written).as_ref(), Ok(&lock));
            assert_eq!(lock.digest().ok(), Some(Digest::of(&written)));
        }
        Err(finding) => check_findings(&[finding]),
    }
}

/// Begins a file of a tree in the input of [`tree`].
const FILE: &str = "=== ";

/// Every mistake has a place in a file; a tree without any is written as one that says the same.
pub fn tree(bytes: &[u8]) {
    let mut files: Vec<File> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match (line.strip_prefix(FILE.as_bytes()), files.last_mut()) {
            (Some(path), _) => files.push(File {
                path: String::from_utf8_lossy(path).trim_end().to_owned(),
                bytes: Vec::new(),
            }),
            (None, Some(file)) => file.bytes.extend_from_slice(line),
            (None, None) => {}
        }
    }
    let read = tree::read(&files);
    for error in &read.errors {
        check_findings(std::slice::from_ref(&error.violation));
        assert!(error.line >= 1 && error.column >= 1, "{error:?}");
    }
    if !read.errors.is_empty() {
        return;
    }
    let documents = |read: &tree::Tree| -> Vec<_> {
        let documents = read.documents.iter();
        documents
            .map(|it| (it.key.clone(), it.body.clone()))
            .collect()
    };
    let write = |documents: &[(DocumentKey, Value)]| {
        let documents = documents.iter().map(|(key, body)| (key, body.clone()));
        tree::write(documents, Locks::Keep)
    };
    // A document may hold what no tree can say, such as a field that trees keep for themselves.
    let Ok(written) = write(&documents(&read)) else {
        return;
    };
    let again = tree::read(&written);
    let keys = |read: &tree::Tree| {
        let mut keys: Vec<_> = read.documents.iter().map(|it| it.key.clone()).collect();
        keys.sort();
        keys
    };
    assert!(again.errors.is_empty(), "{:?}", again.errors);
    assert_eq!(keys(&again), keys(&read));
    assert_eq!(
        write(&documents(&again)).as_ref(),
        Ok(&written),
        "writing is not settled"
    );
}

/// The same bytes for whatever a record names.
struct All(Arc<[u8]>);

impl Bodies for All {
    fn body(&self, _: &BodyRef) -> Option<Arc<[u8]>> {
        Some(self.0.clone())
    }

    fn blob(&self, _: &Digest) -> Option<Arc<[u8]>> {
        Some(self.0.clone())
    }
}

/// Nothing is there.
struct Nothing;

impl Bodies for Nothing {
    fn body(&self, _: &BodyRef) -> Option<Arc<[u8]>> {
        None
    }

    fn blob(&self, _: &Digest) -> Option<Arc<[u8]>> {
        None
    }
}

impl plane_eval::Source for Nothing {
    fn blob(&self, _: &Digest) -> Option<Arc<[u8]>> {
        None
    }

    fn signature(
        &self,
        _: ArtifactKind,
        _: &plane_model::ArtifactVersion,
    ) -> plane_eval::Signature {
        plane_eval::Signature::Unsigned
    }
}

/// Applying is total and depends on its arguments only, and a checkpoint gives the same state back.
///
/// What follows the first NUL is the body of every document that the record names.
pub fn record(bytes: &[u8]) {
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    let (record, body) = (
        halves.next().unwrap_or_default(),
        halves.next().unwrap_or_default(),
    );
    if let Ok(read) = Record::decode(record) {
        assert_eq!(Record::decode(&read.encode()).as_ref(), Ok(&read));
    }
    let genesis = State::genesis("log");
    for bodies in [&Nothing as &dyn Bodies, &All(body.into())] {
        let apply = |state: &State, revision: u64| {
            state.apply(revision, Digest::of(record), record, bodies).0
        };
        let once = apply(&genesis, 1);
        assert_eq!(once.head().revision, 1);
        assert_eq!(once.digest(), apply(&genesis, 1).digest());
        let state = apply(&once, 2);
        let written = checkpoint::encode(&state);
        let read = checkpoint::decode(&written, &|digest| state.blob(digest).cloned());
        let read = read.expect("a checkpoint that was written is read");
        assert_eq!(read.digest(), state.digest());
        assert_eq!(read.head(), state.head());
        assert_eq!(checkpoint::encode(&read), written);
    }
}

/// What a row of the journal holds is read as a run, and written as a row that holds the same.
pub fn journal(bytes: &[u8]) {
    let Ok((run, written)) = plane_log::fuzz::journal_row(bytes) else {
        return;
    };
    assert!(!run.is_empty());
    let again = plane_log::fuzz::journal_row(&written).expect("what was written is read");
    assert_eq!(again, (run, written));
}

/// What is read as a checkpoint is written as one, and names no more blobs than it has bytes.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(opened) = checkpoint::open(bytes) {
        assert!(opened.blobs().len() <= bytes.len());
        assert!(opened.parts().len() <= bytes.len());
    }
    if let Ok(state) = checkpoint::decode(bytes, &|_| None) {
        let written = checkpoint::encode(&state);
        let read = checkpoint::decode(&written, &|_| None).expect("it reads back");
        assert_eq!(read.digest(), state.digest());
    }
}

/// A view holds whatever a server sends; what is held does not depend on how it came.
pub fn view(bytes: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<ViewReply>(bytes) else {
        return;
    };
    let bodies: Vec<Vec<u8>> = reply
        .documents
        .iter()
        .map(|it| serde_json::to_vec(&it.body).expect("JSON can be written"))
        .collect();
    let delivered: Vec<Delivered<'_>> = reply
        .documents
        .iter()
        .zip(&bodies)
        .map(|(document, body)| Delivered {
            tenant: None,
            name: Name {
                kind: document.kind.as_str(),
                scope: &document.scope,
                name: &document.name,
            },
            revision: document.revision,
            body: Some(body),
        })
        .collect();
    let at = At {
        log: reply.log.as_str().into(),
        epoch: reply.epoch,
        revision: reply.revision,
        head: reply.head,
    };
    let blobs = || {
        let blobs = reply.blobs.iter();
        blobs.map(|(digest, text)| (*digest, Arc::from(text.as_bytes())))
    };
    let environment = &reply.environment;
    let whole = Holding::build(environment.clone(), at.clone(), delivered.clone(), blobs());
    let (first, rest) = delivered.split_at(delivered.len() / 2);
    let step = Holding::build(environment.clone(), at.clone(), first.to_vec(), blobs());
    let stepped = step.after(at, rest.to_vec());
    assert_eq!(stepped.root(), whole.root());
    for context in CONTEXTS {
        let value = read(context.as_bytes()).expect("the context is JSON");
        let ctx = Context::parse(&value).expect("the context is valid");
        evaluate(whole.view(), &ctx);
        for (key, evaluation) in whole.view().evaluate_all(&ctx, NOW) {
            let other = stepped.view().evaluate_key(key.as_str(), &ctx, NOW);
            assert_eq!(evaluation.value(), other.value(), "{key}");
        }
    }
}

/// What a key signed is the head that it says, or no head; it is one only as long as nobody alters it.
pub fn head(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let key = SigningKey::from_seed(&[7; 32]);
    let signature = key.sign(HEAD_PAYLOAD_TYPE, bytes);
    let keys = [key.public()];
    let Ok(head) = HeadStatement::verify(text, &signature, &keys) else {
        return;
    };
    let (written, signature) = head.clone().sign(&key).expect("a head is written");
    let read = HeadStatement::verify(&written, &signature, &keys).expect("a head reads back");
    let key_id = key.public().keyid().to_string();
    assert_eq!(read, HeadStatement { key_id, ..head });
    assert!(HeadStatement::verify(&format!("{written} "), &signature, &keys).is_err());
}

/// A query of anything that lists asks for a page within bounds, whose cursor is read as it was written.
pub fn page(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Long queries never come so far, and each operation reads this one.
    let text = text.get(..text.len().min(8 << 10)).unwrap_or_default();
    let lists = plane_api::operations()
        .iter()
        .filter(|operation| operation.query.iter().any(|it| it.name == "cursor"));
    for operation in lists {
        let page = match plane_server::fuzz::page(operation, text) {
            Ok(page) => page,
            Err(problem) => {
                assert_eq!(problem.code, "REQUEST_INVALID", "{problem:?}");
                assert!(
                    problem.next.is_some_and(|it| !it.is_empty()),
                    "{}",
                    problem.detail
                );
                continue;
            }
        };
        assert!((1..=1_000).contains(&page.limit));
        let Some((scope, name)) = page.after else {
            continue;
        };
        let cursor = plane_server::fuzz::cursor_after(&scope, &name);
        let mut query = "cursor=".to_owned();
        for byte in cursor.bytes() {
            write!(query, "%{byte:02x}").expect("a string takes all");
        }
        let read = plane_server::fuzz::page(operation, &query);
        let read = read.expect("a cursor is read").after;
        assert_eq!(read, Some((scope, name)));
    }
}

/// Events are the same wherever the stream is split, and hold no more than the stream had.
pub fn events(bytes: &[u8]) {
    const BYTES_MAX: usize = 256;
    let whole = EventDecoder::new(BYTES_MAX).push(bytes);
    let mut decoder = EventDecoder::new(BYTES_MAX);
    let mut events = Vec::new();
    // How large the pieces are comes from the bytes too.
    let piece = 1 + usize::from(bytes.first().copied().unwrap_or_default()) % 7;
    let mut failed = false;
    for piece in bytes.chunks(piece) {
        match decoder.push(piece) {
            Ok(more) => events.extend(more),
            Err(_) => failed = true,
        }
    }
    assert_eq!(failed, whole.is_err());
    if let Ok(whole) = whole {
        assert_eq!(events, whole);
    }
    for event in events {
        assert!(event.data.len() <= 3 * BYTES_MAX && event.id.len() <= 3 * BYTES_MAX);
        assert!(!event.name.is_empty() && !event.id.contains('\0'));
        drop(serde_json::from_str::<ChangeEvent>(&event.data));
    }
}

/// A problem of any server is read, and written as it was.
pub fn problem(bytes: &[u8]) {
    let Ok(problem) = serde_json::from_slice::<Problem>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&problem).expect("a problem can be written");
    let read: Problem = serde_json::from_slice(&written).expect("a problem reads back");
    assert_eq!(read, problem);
    let _ = problem.known_code();
}
