//! Kills are told first: other commits wait for that a moment, and no longer.

use std::sync::Arc;

use plane_log::observations::MemoryObservations;
use plane_model::Kind;
use plane_node::{Node, Options};
use plane_state::{Action, Command};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{admin, clock, command, memory, node, plan_of, put, tenant, write};

fn kill(name: &str) -> Command {
    let subject = format!("flag:{name}");
    let body = json!({ "reason": "broken" });
    let op = put(Kind::Kill, "production", &subject, body);
    command(Action::Kill, vec![op])
}

async fn with_flags(node: &Node) {
    let flag = |name| put(Kind::Flag, "", name, json!({ "type": "boolean" }));
    let environment = put(Kind::Environment, "", "production", json!({}));
    let setup = write(vec![environment, flag("f1"), flag("f2")]);
    node.commit(&admin(), setup).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_while_a_kill_is_told_and_another_kill_does_not() {
    let node = node(memory(), clock()).await;
    with_flags(&node).await;
    let mut events = node.events();
    let first = node.commit(&admin(), kill("f1")).await.unwrap();
    let told = events.recv().await.unwrap();
    let telling = told.telling();
    assert_eq!((told.revision, telling.is_some()), (first.revision, true));
    let writer = node.clone();
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        let commit = write(vec![tenant("t1", "free")]);
        writer.commit(&admin(), commit).await.unwrap().revision
    });
    // While something is ready to run the clock stands, so the moment does not pass.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.snapshot().revision(), first.revision);
    let second = node.commit(&admin(), kill("f2")).await.unwrap();
    assert_eq!(second.revision, first.revision + 1);
    drop(telling);
    assert_eq!(writing.join_all().await, [second.revision + 1]);
    node.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_made_though_somebody_is_never_told_of_a_kill() {
    let node = node(memory(), clock()).await;
    with_flags(&node).await;
    let mut events = node.events();
    node.commit(&admin(), kill("f1")).await.unwrap();
    let told = events.recv().await.unwrap();
    let held = told.telling();
    assert!(held.is_some() && told.telling().is_none());
    let commit = write(vec![tenant("t1", "free")]);
    let made = node.commit(&admin(), commit).await.unwrap();
    assert_eq!(made.revision, 3);
    drop(held);
    node.shutdown().await;
}

#[tokio::test]
async fn a_node_on_threads_of_its_own_commits_and_ends_with_the_last_handle() {
    let options = Options {
        log: memory(),
        observations: Arc::new(MemoryObservations::new()),
        clock: clock(),
    };
    let node = Node::start_apart(options).await.unwrap();
    assert!(node.is_apart());
    with_flags(&node).await;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let node = node.clone();
        writers.spawn(async move {
            let tenant = tenant(&format!("t{writer}"), "free");
            node.commit(&admin(), write(vec![tenant])).await.unwrap();
        });
    }
    writers.join_all().await;
    assert_eq!(node.snapshot().revision(), 9);
    assert_eq!(plan_of(&node, "t7"), Some(json!("free")));
    node.shutdown().await;
    drop(node);
}
