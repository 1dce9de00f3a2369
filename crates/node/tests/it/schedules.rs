//! What is scheduled happens once, by the authority of who filed it, or it says why not.

use plane_log::observations;
use plane_model::documents::Schedule;
use plane_model::{Digest, Document};
use plane_node::ScheduleCounts;

use super::*;

const HOUR: i64 = 3_600_000;

/// A node with an environment, a flag that is off, and tokens of two editors and a viewer.
async fn platform(log: Arc<dyn ChangeLog>, clock: &Arc<StillClock>) -> Node {
    let node = node(log, clock.clone()).await;
    let documents = vec![
        put(Kind::Environment, "", "production", json!({})),
        put(Kind::Environment, "", "staging", json!({})),
        put(Kind::Flag, "", "f", json!({"type": "boolean"})),
        targeting("f", json!({"state": "disabled", "default": "on"})),
    ];
    node.commit(&admin(), write(documents)).await.unwrap();
    for (name, role) in [("ana", "editor"), ("ben", "editor"), ("vic", "viewer")] {
        let hash = Digest::of(name.as_bytes());
        let body = json!({"kind": "person", "principal": name, "role": role, "hash": hash});
        let token = vec![put(Kind::Token, "", name, body)];
        let command = command(Action::Access, token);
        node.commit(&admin(), command).await.unwrap();
    }
    node.run_schedules();
    node
}

fn targeting(flag: &str, body: Value) -> Op {
    put(Kind::Targeting, "production", flag, body)
}

fn scope(node: &Node, name: &str) -> Scope {
    let hash = Digest::of(name.as_bytes());
    Scope::authorise(node.snapshot().state(), &hash, node.now()).unwrap()
}

/// Gives operations in somebody's name.
async fn by(node: &Node, name: &str, ops: Vec<Op>) -> Result<u64, CommitError> {
    let actor = PrincipalId::new(name).unwrap();
    let command = Command {
        actor,
        ..write(ops)
    };
    Ok(node.commit(&scope(node, name), command).await?.revision)
}

fn schedule(node: &Node, name: &str, hours: i64, ops: Value) -> Op {
    let at = Timestamp(node.now().0 + hours * HOUR);
    let mut body = json!({"at": at, "reason": "launch"});
    body["ops"] = ops;
    put(Kind::Schedule, "production", name, body)
}

/// An operation that sets the flag's state.
fn set(state: &str) -> Value {
    let body = json!({"state": state});
    json!([{"op": "patch", "kind": "targeting", "scope": "production", "name": "f", "body": body}])
}

fn document(node: &Node, key: &DocumentKey) -> Option<Value> {
    let snapshot = node.snapshot();
    Some(snapshot.state().document(key)?.to_value())
}

fn state_of(node: &Node) -> Value {
    let key = key(Kind::Targeting, "production", "f");
    document(node, &key).unwrap()["state"].clone()
}

fn scheduled(node: &Node, name: &str) -> Option<Schedule> {
    let key = key(Kind::Schedule, "production", name);
    match &**node.snapshot().state().document(&key)? {
        Document::Schedule(it) => Some(Schedule::clone(it)),
        _ => None,
    }
}

/// Lets time pass, and waits for the commits of what is due.
async fn pass(node: &Node, clock: &StillClock, hours: i64, commits: u64) {
    let head = node.snapshot().revision();
    clock.0.fetch_add(hours * HOUR, Ordering::Relaxed);
    let mut revisions = node.revisions();
    let done = revisions.wait_for(|it| *it >= head + commits).await;
    assert_eq!(*done.unwrap(), head + commits);
}

async fn records(node: &Node, after: u64) -> Vec<plane_state::Record> {
    let query = HistoryQuery {
        limit: 100,
        ..HistoryQuery::default()
    };
    let all = node.history(&query).await.unwrap();
    let mut records: Vec<_> = all.into_iter().map(|(_, record)| record).collect();
    records.retain(|it| it.revision > after);
    records.reverse();
    records
}

#[tokio::test(start_paused = true)]
async fn what_is_due_happens_in_one_commit_by_its_author() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    let op = schedule(&node, "launch", 2, set("enabled"));
    let filed = by(&node, "ana", vec![op]).await.unwrap();
    let author = scheduled(&node, "launch").unwrap().author.unwrap();
    assert_eq!(
        (author.principal.as_str(), author.token.as_str()),
        ("ana", "ana")
    );
    clock.0.fetch_add(HOUR, Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    assert_eq!(state_of(&node), "disabled");
    pass(&node, &clock, 1, 1).await;
    assert_eq!(state_of(&node), "enabled");
    assert_eq!(scheduled(&node, "launch"), None);
    let records = records(&node, filed).await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (
            record.actor.as_str(),
            record.action.as_str(),
            record.source.as_str(),
            record.reason.as_str(),
            record.ops.len()
        ),
        ("ana", "run", "schedule", "launch (schedule `launch`)", 2)
    );
    let counts = ScheduleCounts { ran: 1, failed: 0 };
    assert_eq!(node.schedule_counts(), counts);
    node.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_left_overdue_happens_at_the_next_start_in_its_order() {
    let (clock, log) = (clock(), memory());
    let node = platform(log.clone(), &clock).await;
    // By their times they come in the order c, a, b.
    for (name, hours, state) in [
        ("b", 2, "enabled"),
        ("c", 1, "enabled"),
        ("a", 2, "disabled"),
    ] {
        let op = schedule(&node, name, hours, set(state));
        by(&node, "ana", vec![op]).await.unwrap();
    }
    let filed = node.snapshot().revision();
    node.shutdown().await;
    clock.0.fetch_add(9 * HOUR, Ordering::Relaxed);
    let again = super::node(log, clock.clone()).await;
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    assert_eq!(again.snapshot().revision(), filed, "nobody serves yet");
    again.run_schedules();
    pass(&again, &clock, 0, 3).await;
    let ran = records(&again, filed).await;
    let ran: Vec<_> = ran.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(
        ran,
        [
            "launch (schedule `c`)",
            "launch (schedule `a`)",
            "launch (schedule `b`)"
        ]
    );
    assert_eq!(state_of(&again), "enabled");
    again.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_schedule_does_not_happen_and_one_filed_anew_happens_at_its_new_time() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    for name in ["gone", "moved"] {
        let op = schedule(&node, name, 1, set("enabled"));
        by(&node, "ana", vec![op]).await.unwrap();
    }
    let cancel = Op {
        key: key(Kind::Schedule, "production", "gone"),
        change: Change::Delete,
        expect: Expect::Any,
    };
    let moved = schedule(&node, "moved", 3, set("enabled"));
    by(&node, "ben", vec![cancel, moved]).await.unwrap();
    clock.0.fetch_add(2 * HOUR, Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    assert_eq!(state_of(&node), "disabled");
    pass(&node, &clock, 1, 1).await;
    assert_eq!(state_of(&node), "enabled");
    let last = records(&node, node.snapshot().revision() - 1).await;
    assert_eq!(
        last[0].actor.as_str(),
        "ben",
        "who files it anew is its author"
    );
}

#[tokio::test(start_paused = true)]
async fn a_patch_changes_what_is_there_then_and_a_put_undoes_nobodys_work() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    let whole = json!([{
        "op": "put", "kind": "targeting", "scope": "production", "name": "f",
        "body": {"state": "enabled"},
    }]);
    let ops = vec![
        schedule(&node, "patch", 1, set("enabled")),
        schedule(&node, "whole", 2, whole),
    ];
    by(&node, "ana", ops).await.unwrap();
    let meanwhile = json!({"state": "disabled", "default": "off"});
    let changed = by(&node, "ben", vec![targeting("f", meanwhile)])
        .await
        .unwrap();
    pass(&node, &clock, 1, 1).await;
    let targeting = key(Kind::Targeting, "production", "f");
    let now = document(&node, &targeting).unwrap();
    assert_eq!(now, json!({"state": "enabled", "default": "off"}));
    pass(&node, &clock, 1, 1).await;
    assert_eq!(document(&node, &targeting).unwrap(), now);
    let failed = scheduled(&node, "whole").unwrap().failed.unwrap();
    assert_eq!(
        (failed.code, failed.at),
        (Code::RevisionConflict, node.now())
    );
    let detail = format!(
        "you sent revision 1, it was last changed at {}",
        changed + 1
    );
    assert!(failed.detail.contains(&detail), "{}", failed.detail);
    assert!(failed.detail.starts_with("/ops/0: "), "{}", failed.detail);
}

#[tokio::test(start_paused = true)]
async fn without_the_authors_token_nothing_happens_and_it_is_told_once() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    let op = schedule(&node, "launch", 1, set("enabled"));
    by(&node, "ana", vec![op]).await.unwrap();
    let withdraw = Op {
        key: key(Kind::Token, "", "ana"),
        change: Change::Delete,
        expect: Expect::Any,
    };
    let withdraw = command(Action::Access, vec![withdraw]);
    node.commit(&admin(), withdraw).await.unwrap();
    pass(&node, &clock, 1, 1).await;
    assert_eq!(state_of(&node), "disabled");
    let schedule = scheduled(&node, "launch").unwrap();
    let failed = schedule.failed.unwrap();
    assert_eq!(failed.code, Code::Unauthenticated);
    assert_eq!(failed.detail, "the token of ana: the token is not known");
    assert_eq!(schedule.author.unwrap().principal.as_str(), "ana");
    let head = node.snapshot().revision();
    clock.0.fetch_add(9 * HOUR, Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    assert_eq!(node.snapshot().revision(), head, "it is not tried again");
    assert_eq!(node.schedule_counts(), ScheduleCounts { ran: 0, failed: 1 });
    let store = node.observations().clone();
    node.shutdown().await;
    let filter = observations::Filter {
        kind: Some("alert".to_owned()),
        ..observations::Filter::default()
    };
    let by = observations::GroupBy {
        subject: true,
        labels: vec!["rule".to_owned()],
    };
    let told = store.aggregate(&filter, &by).await.unwrap();
    let told: Vec<_> = told
        .into_iter()
        .map(|it| (it.subject.unwrap(), it.labels["rule"].clone(), it.count))
        .collect();
    let expected = ("schedule:launch", "schedule-failed", 1);
    assert_eq!(
        told,
        [(expected.0.to_owned(), expected.1.to_owned(), expected.2)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_that_no_longer_reaches_so_far_fails_it() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    let token = json!({"kind": "person", "principal": "eve", "hash": Digest::of(b"eve")});
    let binding = |environment: &str| {
        let environments = json!([environment]);
        let body = json!({"principal": "eve", "role": "editor", "environments": environments});
        put(Kind::RoleBinding, "", "eve", body)
    };
    let given = vec![put(Kind::Token, "", "eve", token), binding("production")];
    let given = command(Action::Access, given);
    node.commit(&admin(), given).await.unwrap();
    let op = schedule(&node, "launch", 1, set("enabled"));
    by(&node, "eve", vec![op]).await.unwrap();
    let moved = command(Action::Access, vec![binding("staging")]);
    node.commit(&admin(), moved).await.unwrap();
    pass(&node, &clock, 1, 1).await;
    let failed = scheduled(&node, "launch").unwrap().failed.unwrap();
    assert_eq!(failed.code, Code::NotFound);
    assert_eq!(state_of(&node), "disabled");
}

#[tokio::test(start_paused = true)]
async fn filing_needs_the_right_to_make_the_changes_and_a_token() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    let file = |ops| vec![schedule(&node, "s", 1, ops)];
    let refused = by(&node, "vic", file(set("enabled"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);
    // Only admins change environments, now or later.
    let environment = json!([{
        "op": "put", "kind": "environment", "name": "production", "body": {"order": 7}
    }]);
    let Err(CommitError::Rejected(refused)) = by(&node, "ana", file(environment)).await else {
        panic!("an editor scheduled an admin's change")
    };
    let found = &refused.violations[0];
    assert_eq!(
        (found.code, found.pointer.as_str()),
        (Code::Forbidden, "/ops/0/body/ops/0")
    );
    // The control plane itself has no token, so that nothing of it can be scheduled.
    let Err(CommitError::Rejected(refused)) =
        node.commit(&admin(), write(file(set("enabled")))).await
    else {
        panic!("filed without a token")
    };
    assert_eq!(refused.violations[0].pointer, "/ops/0/body/author");
    let mut forged = schedule(&node, "s", 1, set("enabled"));
    let Change::Put(body) = &mut forged.change else {
        panic!("it is a put")
    };
    body["author"] = json!({"principal": "ben", "token": "ben"});
    let Err(CommitError::Rejected(refused)) = by(&node, "ana", vec![forged]).await else {
        panic!("filed in another's name")
    };
    assert_eq!(refused.violations[0].pointer, "/ops/0/body/author");
    assert_eq!(scheduled(&node, "s"), None);
}

#[tokio::test(start_paused = true)]
async fn a_revert_cancels_what_a_commit_filed_and_files_nothing() {
    let clock = clock();
    let node = platform(memory(), &clock).await;
    let op = schedule(&node, "launch", 1, set("enabled"));
    let filed = by(&node, "ana", vec![op.clone()]).await.unwrap();
    let revert = |revision| RevertRequest {
        id: String::new(),
        from: revision,
        to: revision,
        filter: Filter::default(),
        reason: "a mistake".to_owned(),
        source: "test".to_owned(),
        dry_run: false,
    };
    let cancelled = node.revert(&admin(), revert(filed)).await.unwrap();
    assert_eq!(scheduled(&node, "launch"), None);
    let cancelled = cancelled.committed.unwrap().revision;
    let refused = node.revert(&admin(), revert(cancelled)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotRevertible);
    by(&node, "ana", vec![op]).await.unwrap();
    pass(&node, &clock, 1, 1).await;
    let ran = node.snapshot().revision();
    let done = node.revert(&admin(), revert(ran)).await.unwrap();
    assert_eq!(done.excluded, [key(Kind::Schedule, "production", "launch")]);
    assert_eq!(state_of(&node), "disabled");
    assert_eq!(scheduled(&node, "launch"), None);
}
