//! A node on its stores: what is committed is durable, visible, and never taken back.

mod behind;
mod crowd;
mod schedules;
mod telling;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use plane_log::observations::MemoryObservations;
use plane_log::{ChangeLog, LogId, MemoryLog, SqliteLog};
use plane_model::{Code, DocumentKey, Kind, PrincipalId, Timestamp};
use plane_node::{At, AtError, Clock, CommitError, HistoryQuery, Node, Options, RevertRequest};
use plane_state::revert::Filter;
use plane_state::{Action, Change, Command, Expect, Op, Scope};
use serde_json::{Value, json};

/// A clock that moves only when it is told to.
#[derive(Debug)]
struct StillClock(AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

fn clock() -> Arc<StillClock> {
    Arc::new(StillClock(AtomicI64::new(1_767_225_600_000)))
}

async fn node(log: Arc<dyn ChangeLog>, clock: Arc<StillClock>) -> Node {
    let observations = Arc::new(MemoryObservations::new());
    Node::start(Options {
        log,
        observations,
        clock,
    })
    .await
    .unwrap()
}

fn memory() -> Arc<dyn ChangeLog> {
    Arc::new(MemoryLog::new(LogId::new("test").unwrap()))
}

fn admin() -> Scope {
    Scope::system(PrincipalId::new("admin").unwrap())
}

fn key(kind: Kind, scope: &str, name: &str) -> DocumentKey {
    DocumentKey::new(kind, scope, name).unwrap()
}

fn put(kind: Kind, scope: &str, name: &str, body: Value) -> Op {
    Op {
        key: key(kind, scope, name),
        change: Change::Put(body),
        expect: Expect::Any,
    }
}

fn command(action: Action, ops: Vec<Op>) -> Command {
    Command {
        id: String::new(),
        actor: PrincipalId::new("admin").unwrap(),
        action,
        reason: "because".to_owned(),
        source: "test".to_owned(),
        ops,
    }
}

fn write(ops: Vec<Op>) -> Command {
    command(Action::Write, ops)
}

fn tenant(id: &str, plan: &str) -> Op {
    put(Kind::Tenant, "", id, json!({ "plan": plan }))
}

fn plan_of(node: &Node, id: &str) -> Option<Value> {
    let snapshot = node.snapshot();
    let document = snapshot
        .state()
        .document(&key(Kind::Tenant, "", id))?
        .to_value();
    document.get("plan").cloned()
}

#[tokio::test]
async fn a_commit_is_visible_and_told_when_it_returns() {
    let node = node(memory(), clock()).await;
    let mut events = node.events();
    let done = node
        .commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    assert_eq!(
        (done.revision, done.changed, done.plan.changes.len()),
        (1, true, 1)
    );
    assert_eq!(plan_of(&node, "t1"), Some(json!("free")));
    assert_eq!(events.recv().await.unwrap().revision, 1);
    let again = node
        .commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    assert_eq!((again.revision, again.changed), (1, false));
    node.shutdown().await;
}

#[tokio::test]
async fn a_repeated_request_is_one_commit_and_another_with_its_key_is_refused() {
    let node = node(memory(), clock()).await;
    let mut first = write(vec![tenant("t1", "free")]);
    first.id = "01J00000000000000000000001".to_owned();
    let done = node.commit(&admin(), first.clone()).await.unwrap();
    let again = node.commit(&admin(), first.clone()).await.unwrap();
    assert_eq!(
        (again.revision, again.repeated, again.hash),
        (done.revision, true, done.hash)
    );
    let mut other = first;
    other.ops = vec![tenant("t2", "free")];
    let refused = node.commit(&admin(), other).await.unwrap_err();
    assert_eq!(refused.code(), Code::IdempotencyKeyReused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_different_documents_all_get_through_and_of_one_document_one_wins() {
    let node = node(memory(), clock()).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let node = node.clone();
        writers.spawn(async move {
            let own = write(vec![tenant(&format!("t{writer}"), "free")]);
            let own = node.commit(&admin(), own).await;
            let mut shared = tenant("shared", &format!("p{writer}"));
            shared.expect = Expect::Absent;
            (
                own.is_ok(),
                node.commit(&admin(), write(vec![shared])).await,
            )
        });
    }
    let (mut own, mut won) = (0, 0);
    while let Some(result) = writers.join_next().await {
        let (written, shared) = result.unwrap();
        own += usize::from(written);
        match shared {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.code(), Code::RevisionConflict),
        }
    }
    assert_eq!((own, won), (64, 1));
    assert_eq!(node.snapshot().revision(), 65);
}

#[tokio::test]
async fn a_command_outside_the_scope_is_refused_before_anything_else() {
    let node = node(memory(), clock()).await;
    let token = json!({
        "kind": "service", "principal": "svc", "role": "editor", "environments": "all",
        "tenants": ["t1"], "hash": format!("sha256:{}", "0".repeat(64))
    });
    node.commit(
        &admin(),
        write(vec![tenant("t1", "free"), tenant("t2", "free")]),
    )
    .await
    .unwrap();
    let grant = command(Action::Access, vec![put(Kind::Token, "", "one", token)]);
    node.commit(&admin(), grant).await.unwrap();
    let hash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let scope = Scope::authorise(node.snapshot().state(), &hash, node.now()).unwrap();
    node.commit(&scope, write(vec![tenant("t1", "pro")]))
        .await
        .unwrap();
    let refused = node
        .commit(&scope, write(vec![tenant("t2", "pro")]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let flag = put(Kind::Flag, "", "f", json!({"type": "boolean"}));
    let refused = node.commit(&scope, write(vec![flag])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);
}

#[tokio::test]
async fn the_past_is_as_it_was_by_revision_and_by_time() {
    let clock = clock();
    let node = node(memory(), clock.clone()).await;
    let began = clock.now();
    for plan in ["free", "pro", "enterprise"] {
        clock.0.fetch_add(1_000, Ordering::Relaxed);
        node.commit(&admin(), write(vec![tenant("t1", plan)]))
            .await
            .unwrap();
    }
    let plan = |snapshot: &plane_node::Snapshot| {
        snapshot
            .state()
            .document(&key(Kind::Tenant, "", "t1"))
            .map(|it| it.to_value()["plan"].clone())
    };
    assert_eq!(plan(&node.at(At::Revision(0)).await.unwrap()), None);
    assert_eq!(
        plan(&node.at(At::Revision(2)).await.unwrap()),
        Some(json!("pro"))
    );
    let time = Timestamp(began.as_ms() + 1_500);
    assert_eq!(
        plan(&node.at(At::Time(time)).await.unwrap()),
        Some(json!("free"))
    );
    assert!(matches!(
        node.at(At::Revision(9)).await,
        Err(AtError::Ahead { head: 3, .. })
    ));
    let tomorrow = Timestamp(began.as_ms() + 86_400_000);
    assert!(matches!(
        node.at(At::Time(tomorrow)).await,
        Err(AtError::Future(_))
    ));
}

#[tokio::test]
async fn the_past_of_one_kind_is_what_the_whole_past_has_of_it() {
    let node = node(memory(), clock()).await;
    for owner in ["a", "b", "c"] {
        let flag = put(
            Kind::Flag,
            "",
            "f",
            json!({"type": "boolean", "owner": owner}),
        );
        let ops = vec![flag, tenant("t1", "free"), tenant(owner, "pro")];
        node.commit(&admin(), write(ops)).await.unwrap();
    }
    let of_kind = |snapshot: &plane_node::Snapshot, kind| {
        let documents = snapshot.state().of_kind(kind);
        let told = documents.map(|(key, it)| (key.clone(), it.revision, it.content_digest()));
        told.collect::<Vec<_>>()
    };
    let kinds = [Kind::Flag, Kind::Tenant, Kind::Flag];
    let mut parts = Vec::new();
    for kind in kinds {
        // One kind that is kept must not answer for another.
        let part = node.kind_at(At::Revision(2), kind).await.unwrap();
        parts.push((kind, of_kind(&part, kind)));
    }
    let whole = node.at(At::Revision(2)).await.unwrap();
    for (kind, part) in parts {
        assert_eq!(part, of_kind(&whole, kind), "{kind}");
        let again = node.kind_at(At::Revision(2), kind).await.unwrap();
        assert_eq!(of_kind(&again, kind), part, "{kind}");
    }
    assert_eq!(of_kind(&whole, Kind::Tenant).len(), 3);
}

#[tokio::test]
async fn a_clock_set_back_does_not_turn_the_log_back() {
    let clock = clock();
    let node = node(memory(), clock.clone()).await;
    let first = node
        .commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    clock.0.fetch_sub(3_600_000, Ordering::Relaxed);
    let second = node
        .commit(&admin(), write(vec![tenant("t2", "free")]))
        .await
        .unwrap();
    assert_eq!(second.at, first.at);
}

#[tokio::test]
async fn a_revert_takes_a_commit_back_and_says_what_it_leaves() {
    let node = node(memory(), clock()).await;
    node.commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    let both = vec![tenant("t1", "pro"), tenant("t2", "pro")];
    let done = node.commit(&admin(), write(both)).await.unwrap();
    let request = RevertRequest {
        id: String::new(),
        from: done.revision,
        to: done.revision,
        filter: Filter::default(),
        reason: "it broke".to_owned(),
        source: "test".to_owned(),
        dry_run: true,
    };
    let planned = node.revert(&admin(), request.clone()).await.unwrap();
    assert_eq!((planned.committed, planned.plan.changes.len()), (None, 2));
    node.revert(
        &admin(),
        RevertRequest {
            dry_run: false,
            ..request.clone()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (plan_of(&node, "t1"), plan_of(&node, "t2")),
        (Some(json!("free")), None)
    );
    let again = node.revert(&admin(), request).await.unwrap_err();
    assert_eq!(again.code(), Code::NotRevertible);
}

#[tokio::test]
async fn the_history_tells_who_changed_what() {
    let node = node(memory(), clock()).await;
    node.commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    node.commit(&admin(), write(vec![tenant("t2", "free")]))
        .await
        .unwrap();
    node.commit(&admin(), write(vec![tenant("t1", "pro")]))
        .await
        .unwrap();
    let query = HistoryQuery {
        tenant: Some("t1".parse().unwrap()),
        limit: 10,
        ..HistoryQuery::default()
    };
    let listed = node.history(&query).await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|(_, record)| record.revision)
            .collect::<Vec<_>>(),
        [3, 1]
    );
    let detail = node.commit_detail(3).await.unwrap().unwrap();
    assert_eq!(detail.record.reason, "because");
    let change = &detail.changes[0];
    assert_eq!(
        change.before.as_ref().map(|it| it["plan"].clone()),
        Some(json!("free"))
    );
    assert_eq!(
        change.after.as_ref().map(|it| it["plan"].clone()),
        Some(json!("pro"))
    );
    assert!(node.commit_detail(4).await.unwrap().is_none());
}

fn sqlite(dir: &std::path::Path) -> Arc<dyn ChangeLog> {
    Arc::new(SqliteLog::open(dir, &LogId::new("test").unwrap()).unwrap())
}

#[tokio::test]
async fn a_restart_finds_everything_with_and_without_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let digest = {
        let node = node(sqlite(dir.path()), clock()).await;
        for index in 0..50 {
            let op = tenant(&format!("t{index}"), "free");
            node.commit(&admin(), write(vec![op])).await.unwrap();
        }
        node.checkpoint().await.unwrap();
        node.commit(&admin(), write(vec![tenant("t1", "pro")]))
            .await
            .unwrap();
        let digest = node.snapshot().state().digest();
        node.shutdown().await;
        digest
    };
    let log = sqlite(dir.path());
    assert_eq!(log.checkpoints().await.unwrap().len(), 2);
    let again = node(log.clone(), clock()).await;
    assert_eq!(again.snapshot().state().digest(), digest);
    again.shutdown().await;
    // An erasure drops the checkpoints: the next start reads the whole log.
    let record = again.commit_detail(3).await.unwrap().unwrap().record;
    let body = record.ops[0].digest.unwrap().digest();
    assert!(log.erase(&plane_log::Hash(*body.as_bytes())).await.unwrap());
    drop(again);
    let replayed = node(log, clock()).await;
    assert_eq!(replayed.snapshot().state().digest(), digest);
    assert_eq!(replayed.status().anomalies, 1);
}

#[tokio::test]
async fn a_log_that_was_altered_is_not_served() {
    let log = MemoryLog::new(LogId::new("test").unwrap());
    let log: Arc<dyn ChangeLog> = Arc::new(log);
    let first = node(log.clone(), clock()).await;
    first
        .commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    first.shutdown().await;
    let entry = log
        .read(0, plane_log::ReadLimit::records(1))
        .await
        .unwrap()
        .remove(0);
    let forged: Arc<dyn ChangeLog> = Arc::new(MemoryLog::new(LogId::new("test").unwrap()));
    let mut record = entry.record.to_vec();
    record[20] ^= 1;
    let altered = plane_log::Entry {
        revision: 1,
        parent: entry.parent,
        hash: entry.hash,
        id: entry.id,
        request: entry.request,
        at_ms: entry.at_ms,
        record: record.into(),
        bodies: Vec::new(),
        blobs: Vec::new(),
        changes: Vec::new(),
        actor: "admin".to_owned(),
        action: "write".to_owned(),
        tenants: Vec::new(),
    };
    forged
        .append(plane_log::Head::GENESIS, &[altered])
        .await
        .unwrap();
    let observations = Arc::new(MemoryObservations::new());
    let options = Options {
        log: forged,
        observations,
        clock: clock(),
    };
    let error = Node::start(options).await.unwrap_err();
    assert!(error.to_string().contains("revision 1"), "{error}");
}

#[tokio::test]
async fn after_a_shutdown_commits_are_refused_and_reads_go_on() {
    let node = node(memory(), clock()).await;
    node.commit(&admin(), write(vec![tenant("t1", "free")]))
        .await
        .unwrap();
    node.shutdown().await;
    let refused = node
        .commit(&admin(), write(vec![tenant("t2", "free")]))
        .await
        .unwrap_err();
    assert!(matches!(refused, CommitError::Halted(_)));
    assert_eq!(plan_of(&node, "t1"), Some(json!("free")));
}

#[tokio::test]
async fn a_revert_says_nothing_about_what_the_scope_may_not_know_of() {
    let node = node(memory(), clock()).await;
    node.commit(
        &admin(),
        write(vec![tenant("t1", "free"), tenant("t2", "free")]),
    )
    .await
    .unwrap();
    let done = node
        .commit(&admin(), write(vec![tenant("t2", "pro")]))
        .await
        .unwrap();
    let token = json!({
        "kind": "service", "principal": "svc", "role": "editor", "tenants": ["t1"],
        "hash": format!("sha256:{}", "0".repeat(64))
    });
    let grant = command(Action::Access, vec![put(Kind::Token, "", "one", token)]);
    node.commit(&admin(), grant).await.unwrap();
    let hash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let scope = Scope::authorise(node.snapshot().state(), &hash, node.now()).unwrap();
    let request = RevertRequest {
        id: String::new(),
        from: done.revision,
        to: done.revision,
        filter: Filter::default(),
        reason: "curious".to_owned(),
        source: "test".to_owned(),
        dry_run: true,
    };
    let refused = node.revert(&scope, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::RevisionNotFound);
}

#[tokio::test]
async fn a_checkpoint_that_contradicts_the_log_is_named() {
    let log = memory();
    let node = node(log.clone(), clock()).await;
    node.commit(&admin(), write(vec![tenant("t1", "enterprise")]))
        .await
        .unwrap();
    node.checkpoint().await.unwrap();
    node.shutdown().await;
    let sound = plane_node::verify(&*log, &mut |_| {}).await.unwrap();
    assert_eq!(sound.damages, []);
    let mut stored = log.checkpoint(1).await.unwrap().unwrap();
    let mut forged = stored.bytes.to_vec();
    let plan = b"enterprise";
    let at = forged.windows(plan.len()).position(|it| it == plan);
    forged[at.unwrap()] ^= 0x20;
    stored.digest = plane_log::Hash(*plane_model::Digest::of(&forged).as_bytes());
    stored.bytes = forged.into();
    log.put_checkpoint(stored).await.unwrap();
    let found = plane_node::verify(&*log, &mut |_| {}).await.unwrap();
    assert!(
        found
            .damages
            .iter()
            .any(|it| it.what.starts_with("checkpoint")),
        "{found:?}"
    );
}
