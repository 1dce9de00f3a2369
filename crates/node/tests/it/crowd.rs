//! Many writers at once: what others overtake is decided anew, nothing invalid gets in, and nobody waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use plane_log::{ChangeLog, ReadLimit};
use plane_model::{Code, DocumentKey, Kind};
use plane_node::{CommitError, Node};
use plane_state::{Action, Expect, Op, Record};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{admin, clock, command, key, memory, put, write};

const WRITERS: usize = 64;

/// Starts another node on the log, which has to come to the same state without the help of a checkpoint.
async fn assert_replays(log: &Arc<dyn ChangeLog>, node: &Node) {
    assert_eq!(log.checkpoints().await.unwrap().len(), 0);
    let replayed = crate::node(log.clone(), clock()).await;
    let (ours, theirs) = (node.snapshot(), replayed.snapshot());
    assert_eq!(ours.state().head(), theirs.state().head());
    assert_eq!(ours.state().digest(), theirs.state().digest());
    assert_eq!(theirs.state().anomalies(), 0);
}

/// Has every writer give its commands one after the other; says how many were taken, and how many refused.
async fn write_side_by_side(
    node: &Node,
    ops: impl Fn(usize, usize) -> Op,
    rounds: usize,
) -> (usize, usize) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let node = node.clone();
        let ops: Vec<_> = (0..rounds).map(|round| ops(writer, round)).collect();
        writers.spawn(async move {
            let mut refused = 0;
            for op in ops {
                match node.commit(&admin(), write(vec![op])).await {
                    Ok(_) => {}
                    Err(CommitError::Rejected(_)) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            refused
        });
    }
    let refused: usize = writers.join_all().await.into_iter().sum();
    (WRITERS * rounds - refused, refused)
}

/// Looks at the documents as each commit left them.
fn after_each_commit(node: &Node, check: impl Fn(&BTreeMap<DocumentKey, Value>)) {
    let mut documents = BTreeMap::new();
    let commits = node.events_after(0).unwrap();
    for (commit, revision) in commits.iter().zip(1..) {
        assert_eq!(commit.revision, revision);
        for change in &commit.changes {
            match &change.document {
                Some(document) => documents.insert(change.key.clone(), document.to_value()),
                None => documents.remove(&change.key),
            };
        }
        check(&documents);
    }
    assert_eq!(node.snapshot().revision(), commits.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targeting_never_names_a_variant_that_64_writers_take_from_its_flag() {
    let log = memory();
    let node = crate::node(log.clone(), clock()).await;
    let flag = |has_extra| {
        let variants = if has_extra {
            json!({ "plain": "p", "extra": "e" })
        } else {
            json!({ "plain": "p" })
        };
        let body = json!({ "type": "string", "variants": variants });
        put(Kind::Flag, "", "shared", body)
    };
    let environments = (0..16).map(|it| put(Kind::Environment, "", &format!("env{it}"), json!({})));
    let setup = environments.chain([flag(true)]).collect();
    node.commit(&admin(), write(setup)).await.unwrap();
    // Four writers change the flag; the others write one targeting of sixteen, four of them the same.
    let (taken, refused) = write_side_by_side(
        &node,
        |writer, round| {
            let is_odd = (writer / 16 + round) % 2 == 1;
            if writer % 16 == 0 {
                return flag(is_odd);
            }
            let served = if is_odd { "extra" } else { "plain" };
            let body = json!({ "state": "enabled", "default": served });
            put(
                Kind::Targeting,
                &format!("env{}", writer % 16),
                "shared",
                body,
            )
        },
        8,
    )
    .await;
    assert!(taken > 0 && refused > 0, "{taken} {refused}");
    let flag = key(Kind::Flag, "", "shared");
    after_each_commit(&node, |documents| {
        let variants = documents.get(&flag).map(|it| &it["variants"]);
        for (key, targeting) in documents
            .iter()
            .filter(|(key, _)| key.kind() == Kind::Targeting)
        {
            let served = targeting["default"].as_str().unwrap();
            assert!(
                variants.unwrap().get(served).is_some(),
                "{key} serves {served}"
            );
        }
    });
    assert_replays(&log, &node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_that_64_writers_change_with_its_schema_matches_it_at_every_revision() {
    let log = memory();
    let node = crate::node(log.clone(), clock()).await;
    let mut setup = vec![
        put(Kind::Environment, "", "production", json!({})),
        schema(100),
        put(Kind::Config, "base", "limits", json!({ "tokens": 1 })),
    ];
    for tenant in 0..WRITERS {
        setup.push(crate::tenant(&format!("t{tenant}"), "free"));
    }
    node.commit(&admin(), write(setup)).await.unwrap();
    // Four writers change the schema, a quarter one layer of all, and the others a layer each.
    let (taken, refused) = write_side_by_side(
        &node,
        |writer, round| {
            let tokens = if (writer / 16 + round) % 2 == 1 {
                50
            } else {
                5
            };
            match writer % 16 {
                0 => schema(tokens * 2),
                1..=4 => put(
                    Kind::Config,
                    "production",
                    "limits",
                    json!({ "tokens": tokens }),
                ),
                _ => layer(writer, tokens),
            }
        },
        4,
    )
    .await;
    assert!(taken > 0 && refused > 0, "{taken} {refused}");
    let schema = key(Kind::Schema, "", "limits");
    after_each_commit(&node, |documents| {
        let most = documents
            .get(&schema)
            .map(|it| it["properties"]["tokens"]["maximum"].as_u64());
        for (key, layer) in documents
            .iter()
            .filter(|(key, _)| key.kind() == Kind::Config)
        {
            assert!(layer["tokens"].as_u64() <= most.unwrap(), "{key}");
        }
    });
    assert_replays(&log, &node).await;
}

fn schema(tokens_max: usize) -> Op {
    let tokens = json!({
        "type": "integer", "maximum": tokens_max, "x-override": ["environment", "plan", "tenant"]
    });
    let body = json!({ "type": "object", "properties": { "tokens": tokens } });
    put(Kind::Schema, "", "limits", body)
}

fn layer(tenant: usize, tokens: usize) -> Op {
    let layer = format!("production.tenant=t{tenant}");
    put(Kind::Config, &layer, "limits", json!({ "tokens": tokens }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_writers_who_replace_the_same_revision_one_wins() {
    let log = memory();
    let node = crate::node(log.clone(), clock()).await;
    node.commit(&admin(), write(vec![crate::tenant("shared", "p")]))
        .await
        .unwrap();
    let shared = key(Kind::Tenant, "", "shared");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (node, shared) = (node.clone(), shared.clone());
        writers.spawn(async move {
            let mut replaced = Vec::new();
            for round in 0..8 {
                let revision = node.snapshot().state().entry(&shared).unwrap().revision;
                let mut op = crate::tenant("shared", &format!("p{writer}-{round}"));
                op.expect = Expect::Revision(revision);
                match node.commit(&admin(), write(vec![op])).await {
                    Ok(_) => replaced.push(revision),
                    Err(error) => assert_eq!(error.code(), Code::RevisionConflict),
                }
            }
            replaced
        });
    }
    let replaced: Vec<u64> = writers.join_all().await.concat();
    let each_once: BTreeSet<u64> = replaced.iter().copied().collect();
    assert_eq!(each_once.len(), replaced.len());
    // Each commit replaced the one before it.
    assert_eq!(each_once, (1..node.snapshot().revision()).collect());
    assert_replays(&log, &node).await;
}

/// Gives commands one after the other until `done`, or until it has given far more than should be needed.
async fn give_until(
    done: &AtomicBool,
    node: &Node,
    action: Action,
    op: impl Fn(usize) -> Op,
) -> usize {
    const MANY: usize = 20_000;
    let mut given = 0;
    while !done.load(Ordering::Relaxed) && given < MANY {
        node.commit(&admin(), command(action, vec![op(given)]))
            .await
            .unwrap();
        given += 1;
    }
    assert!(given < MANY, "it did not get through in time");
    given
}

fn kill(round: usize) -> Op {
    put(
        Kind::Kill,
        "production",
        "flag:f",
        json!({ "reason": format!("round {round}") }),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heavy_commit_that_is_overtaken_again_and_again_gets_through_and_kills_go_on() {
    const LAYERS: usize = 1_000;
    let log = memory();
    let node = crate::node(log.clone(), clock()).await;
    let mut setup = vec![
        put(Kind::Environment, "", "production", json!({})),
        put(Kind::Flag, "", "f", json!({ "type": "boolean" })),
        schema(LAYERS),
        put(Kind::Config, "base", "limits", json!({ "tokens": 1 })),
    ];
    for tenant in 0..LAYERS {
        setup.extend([
            crate::tenant(&format!("t{tenant}"), "free"),
            layer(tenant, 2),
        ]);
    }
    node.commit(&admin(), write(setup)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    // A layer takes no time to validate, all of them together take much: there is always a new one.
    let (overtaker, killer) = (node.clone(), node.clone());
    let (until, until_then) = (done.clone(), done.clone());
    let mut others = JoinSet::new();
    others.spawn(async move {
        give_until(&until, &overtaker, Action::Write, |round| {
            layer(0, round % 2 + 3)
        })
        .await
    });
    others.spawn(async move { give_until(&until_then, &killer, Action::Kill, kill).await });
    let begun = node.snapshot().revision();
    let heavy = node.commit(&admin(), write(vec![schema(LAYERS + 1)])).await;
    done.store(true, Ordering::Relaxed);
    let heavy = heavy.unwrap();
    assert!(others.join_all().await.iter().all(|given| *given > 0));
    let actions = actions_between(&*log, begun, heavy.revision - 1).await;
    let last_write = actions.iter().rposition(|action| action == "write");
    let overtaken = actions.iter().filter(|action| *action == "write").count();
    assert!(overtaken > 1, "it was never overtaken: {actions:?}");
    assert!(
        last_write < Some(actions.len() - 1),
        "no kill was made while the writers waited for it: {actions:?}"
    );
    assert_replays(&log, &node).await;
}

/// What was done in the commits after a revision and up to another.
async fn actions_between(log: &dyn ChangeLog, mut after: u64, last: u64) -> Vec<String> {
    let mut actions = Vec::new();
    while after < last {
        for entry in log.read(after, ReadLimit::default()).await.unwrap() {
            if entry.revision <= last {
                actions.push(Record::decode(&entry.record).unwrap().action);
            }
            after = entry.revision;
        }
    }
    actions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_gets_through_while_kills_never_cease() {
    let node = crate::node(memory(), clock()).await;
    let setup = vec![
        put(Kind::Environment, "", "production", json!({})),
        put(Kind::Flag, "", "f", json!({ "type": "boolean" })),
    ];
    node.commit(&admin(), write(setup)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let killing = Arc::new(AtomicUsize::new(0));
    let mut killers = JoinSet::new();
    for killer in 0..32 {
        let (node, done, killing) = (node.clone(), done.clone(), killing.clone());
        killers.spawn(async move {
            killing.fetch_add(1, Ordering::Relaxed);
            give_until(&done, &node, Action::Kill, |round| {
                kill(round * 32 + killer)
            })
            .await
        });
    }
    while killing.load(Ordering::Relaxed) < 32 {
        tokio::task::yield_now().await;
    }
    for round in 0..100 {
        let plan = format!("p{round}");
        node.commit(&admin(), write(vec![crate::tenant("t1", &plan)]))
            .await
            .unwrap();
    }
    done.store(true, Ordering::Relaxed);
    killers.join_all().await;
}
