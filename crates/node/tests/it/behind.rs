//! What is sealed while a run before it is being stored: it counts only once that is durable.

use std::sync::Arc;

use plane_log::AppendError;
use plane_log::conformance::{Fault, FaultyLog};
use plane_model::Kind;
use plane_node::{CommitError, Node};
use plane_state::{Action, Command, Op};
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet, yield_now};

use crate::{admin, clock, command, memory, node, put, write};

/// A document that is decided about at once.
fn segment(name: &str, unit: &str) -> Op {
    put(Kind::Segment, "", name, json!({ "include": [unit] }))
}

/// A commit on its way.
struct Committing {
    task: JoinSet<Result<(u64, bool), CommitError>>,
    handle: AbortHandle,
}

impl Committing {
    fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Its revision, and whether it changed anything.
    async fn outcome(mut self) -> Result<(u64, bool), CommitError> {
        self.task.join_next().await.unwrap().unwrap()
    }
}

fn begin(node: &Node, command: Command) -> Committing {
    let node = node.clone();
    let mut task = JoinSet::new();
    let handle = task.spawn(async move {
        let done = node.commit(&admin(), command).await?;
        Ok((done.revision, done.changed))
    });
    Committing { task, handle }
}

/// A log and a node on it whose first run is being stored for as long as the log is held.
async fn storing(log: &Arc<FaultyLog>) -> (Node, Committing) {
    let node = node(log.clone(), clock()).await;
    let first = begin(&node, write(vec![segment("s1", "u1")]));
    while log.waiting() == 0 {
        yield_now().await;
    }
    (node, first)
}

/// Lets everything come as far as it gets.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn commits_behind_a_run_that_is_being_stored_follow_it_in_one_run() {
    let log = Arc::new(FaultyLog::new(memory()));
    let held = log.hold().await;
    let (node, first) = storing(&log).await;
    let behind: Vec<_> = (2..6)
        .map(|it| begin(&node, write(vec![segment(&format!("s{it}"), "u1")])))
        .collect();
    settle().await;
    assert_eq!(node.snapshot().revision(), 0);
    assert!(!first.is_finished() && behind.iter().all(|it| !it.is_finished()));
    // One run is being stored, and the other may not be before it.
    assert_eq!(log.waiting(), 1);
    drop(held);
    assert_eq!(first.outcome().await.unwrap(), (1, true));
    for (revision, it) in (2..).zip(behind) {
        assert_eq!(it.outcome().await.unwrap(), (revision, true));
    }
    node.shutdown().await;
}

#[tokio::test]
async fn what_rests_on_a_run_that_is_not_stored_is_decided_anew() {
    let log = Arc::new(FaultyLog::new(memory()));
    let held = log.hold().await;
    log.plan(Fault::Refuse(AppendError::Unavailable {
        detail: "for a test".to_owned(),
    }));
    let (node, first) = storing(&log).await;
    // Upon the first it would change nothing, and name the revision of the first.
    let same = begin(&node, write(vec![segment("s1", "u1")]));
    let other = begin(&node, write(vec![segment("s1", "u2")]));
    settle().await;
    assert!(!same.is_finished() && !other.is_finished());
    drop(held);
    assert!(matches!(
        first.outcome().await,
        Err(CommitError::StoreUnavailable(_))
    ));
    let mut made = [
        same.outcome().await.unwrap(),
        other.outcome().await.unwrap(),
    ];
    made.sort_unstable();
    assert_eq!(made, [(1, true), (2, true)]);
    assert_eq!(node.snapshot().state().anomalies(), 0);
    node.shutdown().await;
}

#[tokio::test]
async fn a_kill_goes_before_what_is_sealed_and_not_sent() {
    let log = Arc::new(FaultyLog::new(memory()));
    let node = node(log.clone(), clock()).await;
    let environment = put(Kind::Environment, "", "production", json!({}));
    let flag = put(Kind::Flag, "", "f1", json!({ "type": "boolean" }));
    let setup = write(vec![environment, flag]);
    node.commit(&admin(), setup).await.unwrap();
    let held = log.hold().await;
    let first = begin(&node, write(vec![segment("s1", "u1")]));
    while log.waiting() == 0 {
        yield_now().await;
    }
    let behind = begin(&node, write(vec![segment("s1", "u2")]));
    settle().await;
    let body = json!({ "reason": "broken" });
    let kill = put(Kind::Kill, "production", "flag:f1", body);
    let kill = begin(&node, command(Action::Kill, vec![kill]));
    settle().await;
    drop(held);
    assert_eq!(first.outcome().await.unwrap(), (2, true));
    assert_eq!(kill.outcome().await.unwrap(), (3, true));
    assert_eq!(behind.outcome().await.unwrap(), (4, true));
    node.shutdown().await;
}

#[tokio::test]
async fn a_request_sent_twice_while_it_is_being_stored_is_one_commit() {
    let log = Arc::new(FaultyLog::new(memory()));
    let held = log.hold().await;
    let node = node(log.clone(), clock()).await;
    let mut request = write(vec![segment("s1", "u1")]);
    request.id = "01J00000000000000000000001".to_owned();
    let first = begin(&node, request.clone());
    while log.waiting() == 0 {
        yield_now().await;
    }
    let again = begin(&node, request.clone());
    request.ops = vec![segment("s1", "u2")];
    let other = begin(&node, request);
    settle().await;
    assert!(!again.is_finished() && !other.is_finished());
    drop(held);
    assert_eq!(first.outcome().await.unwrap().0, 1);
    assert_eq!(again.outcome().await.unwrap().0, 1);
    assert!(matches!(
        other.outcome().await,
        Err(CommitError::IdReused { revision: 1, .. })
    ));
    assert_eq!(node.snapshot().revision(), 1);
    node.shutdown().await;
}
