//! What every change log does with an append.

use std::sync::Barrier;

use crate::conformance::{
    Draft, Fault, FaultyLog, Fixture, append_all, block_on, fake_hash, fill, flag,
};
use crate::{
    AppendError, Appended, BLOB_BYTES_MAX, BODY_BYTES_MAX, Blob, ChangeLog, Hash, Head, Query,
    RECORD_BYTES_MAX, ReadLimit, Settled, append_settled, settle,
};

/// An empty log has the genesis head, and every read of it answers.
pub async fn an_empty_log_has_the_genesis_head_and_answers_every_read(fixture: &dyn Fixture) {
    let log = fixture.open();
    assert_eq!(log.head().await.unwrap(), Head::GENESIS);
    assert_eq!(log.read(0, ReadLimit::default()).await.unwrap(), []);
    assert_eq!(log.read(u64::MAX, ReadLimit::default()).await.unwrap(), []);
    assert_eq!(log.find("id-1").await.unwrap(), None);
    assert_eq!(log.bodies(&[Hash::GENESIS]).await.unwrap(), [None]);
    assert_eq!(log.blobs(&[Hash::GENESIS]).await.unwrap(), [None]);
    assert_eq!(log.bodies(&[]).await.unwrap(), []);
    assert_eq!(log.query(&Query::default()).await.unwrap(), []);
    assert_eq!(log.snapshot_at(u64::MAX, None).await.unwrap(), []);
    assert_eq!(log.revision_at(i64::MAX).await.unwrap(), 0);
    assert_eq!(log.history(&flag("f"), None, 10).await.unwrap(), []);
    assert_eq!(log.checkpoints().await.unwrap(), []);
    assert_eq!(log.checkpoint(0).await.unwrap(), None);
    assert_eq!(log.meta_get("epoch").await.unwrap(), None);
    assert!(!log.erase(&Hash::GENESIS).await.unwrap());
    assert_eq!(log.watch().revision(), 0);
}

/// What was appended is read back byte for byte, by revision and by id.
pub async fn what_was_appended_is_read_back_byte_for_byte(fixture: &dyn Fixture) {
    let log = fixture.open();
    let first = Draft::after(Head::GENESIS)
        .record(vec![0, 255, 10, 0])
        .at_ms(-5)
        .build();
    let second = Draft::after(first.head())
        .at_ms(-5)
        .id("z\u{e9}\0 '\"")
        .build();
    let run = [first, second];
    assert_eq!(append_all(&*log, Head::GENESIS, &run).await, run[1].head());
    let stored = log.read(0, ReadLimit::default()).await.unwrap();
    assert_eq!(stored.len(), 2);
    for (stored, entry) in stored.iter().zip(&run) {
        assert_eq!(stored.head(), entry.head());
        assert_eq!(stored.parent, entry.parent);
        assert_eq!(stored.id, entry.id);
        assert_eq!(stored.request, entry.request);
        assert_eq!(stored.at_ms, entry.at_ms);
        assert_eq!(stored.record, entry.record);
        assert_eq!(log.find(&entry.id).await.unwrap().as_ref(), Some(stored));
    }
    assert_eq!(
        log.read(1, ReadLimit::default()).await.unwrap(),
        stored[1..]
    );
    assert_eq!(log.find("id-9").await.unwrap(), None);
}

/// An append on an old head conflicts, names the head, and stores nothing.
pub async fn an_append_on_an_old_head_conflicts_and_stores_nothing(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entries = fill(&*log, 2).await;
    let head = entries[1].head();
    let late = Draft::after(entries[0].head())
        .id("late")
        .put(&flag("f"), b"late")
        .build();
    let ahead = Head {
        revision: 9,
        hash: head.hash,
    };
    for (expected, entry) in [
        (entries[0].head(), late.clone()),
        (
            Head::GENESIS,
            Draft::after(Head::GENESIS).id("late").build(),
        ),
        (ahead, Draft::after(ahead).id("late").build()),
    ] {
        assert_eq!(
            log.append(expected, &[entry]).await,
            Ok(Appended::Conflict { head })
        );
    }
    assert_eq!(log.head().await.unwrap(), head);
    assert_eq!(log.find("late").await.unwrap(), None);
    assert_eq!(log.bodies(&[late.bodies[0].digest]).await.unwrap(), [None]);
    assert_eq!(log.history(&flag("f"), None, 1).await.unwrap(), []);
}

/// A head of the right revision and another hash is another history: it conflicts.
pub async fn a_head_of_the_right_revision_and_another_hash_conflicts(fixture: &dyn Fixture) {
    let log = fixture.open();
    let head = fill(&*log, 1).await[0].head();
    let forked = Head {
        revision: 1,
        hash: fake_hash(b"another history"),
    };
    let entry = Draft::after(forked).build();
    assert_eq!(
        log.append(forked, &[entry]).await,
        Ok(Appended::Conflict { head })
    );
    assert_eq!(log.head().await.unwrap(), head);
}

/// Of many writers on one head exactly one wins, round after round, and the chain stays dense.
pub async fn of_many_writers_on_one_head_one_wins(fixture: &dyn Fixture) {
    const WRITERS: usize = 4;
    let log = fixture.open();
    for round in 0..10_u64 {
        let head = log.head().await.unwrap();
        assert_eq!(head.revision, round);
        let start = Barrier::new(WRITERS);
        let outcomes: Vec<Appended> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (log, start) = (&log, &start);
                    scope.spawn(move || {
                        let entry = Draft::after(head).id(&format!("{round}-{writer}")).build();
                        start.wait();
                        block_on(log.append(head, &[entry])).unwrap()
                    })
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        let after = log.head().await.unwrap();
        let won = outcomes
            .iter()
            .filter(|o| **o == Appended::Committed { head: after })
            .count();
        let lost = outcomes
            .iter()
            .filter(|o| **o == Appended::Conflict { head: after })
            .count();
        assert_eq!((won, lost), (1, WRITERS - 1), "{outcomes:?}");
    }
    let mut head = Head::GENESIS;
    for entry in log.read(0, ReadLimit::default()).await.unwrap() {
        assert_eq!(
            (entry.revision, entry.parent),
            (head.revision + 1, head.hash)
        );
        head = entry.head();
    }
}

/// A lost acknowledgement and a resend make one record: the same hashes after the expected head are a commit.
pub async fn a_lost_acknowledgement_and_a_resend_make_one_record(fixture: &dyn Fixture) {
    let log = fixture.open();
    let first = Draft::after(Head::GENESIS).build();
    let run = [first.clone(), Draft::after(first.head()).build()];
    let head = run[1].head();
    assert_eq!(
        settle(&*log, Head::GENESIS, &run).await,
        Ok(Settled::Absent)
    );
    append_all(&*log, Head::GENESIS, &run).await;

    assert_eq!(
        settle(&*log, Head::GENESIS, &run).await,
        Ok(Settled::Committed { head })
    );
    assert_eq!(
        log.append(Head::GENESIS, &run).await,
        Ok(Appended::Conflict { head })
    );
    let resent = append_settled(&*log, Head::GENESIS, &run, 0).await;
    assert_eq!(resent, Ok(Appended::Committed { head }));
    assert_eq!(log.head().await.unwrap(), head);

    // It stays true when others have written since, and it is no excuse for another run.
    let newer = append_all(&*log, head, &[Draft::after(head).build()]).await;
    assert_eq!(
        settle(&*log, Head::GENESIS, &run).await,
        Ok(Settled::Committed { head })
    );
    let other = [
        first.clone(),
        Draft::after(first.head()).id("other").build(),
    ];
    let conflict = Settled::Conflict { head: newer };
    assert_eq!(settle(&*log, Head::GENESIS, &other).await, Ok(conflict));
    let appended = append_settled(&*log, Head::GENESIS, &other, 3).await;
    assert_eq!(appended, Ok(Appended::Conflict { head: newer }));
}

/// An append that nobody answered is settled and sent again, as often as allowed and stored once.
pub async fn an_unanswered_append_is_settled_and_sent_again(fixture: &dyn Fixture) {
    let inner = fixture.open();
    let log = FaultyLog::new(inner.clone());
    let mut head = Head::GENESIS;
    for faults in [
        vec![Fault::LoseAcknowledgement],
        vec![Fault::LoseRequest],
        vec![
            Fault::LoseRequest,
            Fault::LoseRequest,
            Fault::LoseAcknowledgement,
        ],
    ] {
        let run = [Draft::after(head).build()];
        for fault in faults {
            log.plan(fault);
        }
        let appended = append_settled(&log, head, &run, 2).await;
        head = run[0].head();
        assert_eq!(appended, Ok(Appended::Committed { head }));
        assert_eq!(inner.head().await.unwrap(), head);
    }
    let run = [Draft::after(head).build()];
    for _ in 0..3 {
        log.plan(Fault::LoseRequest);
    }
    assert_eq!(
        append_settled(&log, head, &run, 2).await,
        Err(AppendError::Unknown)
    );
    log.plan(Fault::Refuse(AppendError::NoSpace));
    assert_eq!(
        append_settled(&log, head, &run, 2).await,
        Err(AppendError::NoSpace)
    );
    assert_eq!(inner.head().await.unwrap(), head);
}

/// An id is taken once: an entry that brings it again is refused with its own error.
pub async fn an_id_is_taken_once(fixture: &dyn Fixture) {
    let log = fixture.open();
    let head = fill(&*log, 2).await[1].head();
    let again = Draft::after(head).id("id-1").build();
    let taken = AppendError::DuplicateId {
        id: "id-1".to_owned(),
        revision: Some(1),
    };
    assert_eq!(log.append(head, &[again]).await, Err(taken));

    let first = Draft::after(head).id("twice").build();
    let run = [
        first.clone(),
        Draft::after(first.head()).id("twice").build(),
    ];
    let twice = AppendError::DuplicateId {
        id: "twice".to_owned(),
        revision: None,
    };
    assert_eq!(log.append(head, &run).await, Err(twice));
    assert_eq!(log.head().await.unwrap(), head);
}

/// A run is stored whole or not at all, bodies and indexes included.
pub async fn a_run_is_stored_whole_or_not_at_all(fixture: &dyn Fixture) {
    let log = fixture.open();
    let head = fill(&*log, 1).await[0].head();
    let good = Draft::after(head).id("good").put(&flag("f"), b"1").build();
    let bad = Draft::after(good.head()).id("id-1").build();
    let digest = good.bodies[0].digest;
    assert!(log.append(head, &[good.clone(), bad]).await.is_err());
    assert_eq!(log.head().await.unwrap(), head);
    assert_eq!(log.find("good").await.unwrap(), None);
    assert_eq!(log.bodies(&[digest]).await.unwrap(), [None]);
    assert_eq!(log.snapshot_at(9, None).await.unwrap(), []);
    assert_eq!(log.watch().revision(), 1);
    assert_eq!(append_all(&*log, head, &[good]).await.revision, 2);
}

/// A run that does not follow its head is malformed, whatever is wrong with it.
pub async fn a_run_that_does_not_follow_its_head_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open();
    let head = fill(&*log, 1).await[0].head();
    let next = Draft::after(head).build();
    let gap = Head {
        revision: 2,
        hash: next.hash,
    };
    let wrong = [
        vec![Draft::after(gap).build()],
        vec![
            Draft::after(Head {
                revision: 1,
                hash: fake_hash(b"?"),
            })
            .build(),
        ],
        vec![next.clone(), Draft::after(head).id("same").build()],
        vec![Draft::after(head).at_ms(999).build()],
        vec![next.clone(), Draft::after(next.head()).at_ms(1_999).build()],
        vec![Draft::after(head).id("").build()],
    ];
    for run in wrong {
        let refused = log.append(head, &run).await;
        assert!(
            matches!(refused, Err(AppendError::Malformed { .. })),
            "{refused:?} for {run:?}"
        );
    }
    assert_eq!(log.head().await.unwrap(), head);
}

/// An empty run compares the head and stores nothing.
pub async fn an_empty_run_only_compares(fixture: &dyn Fixture) {
    let log = fixture.open();
    let head = fill(&*log, 1).await[0].head();
    assert_eq!(
        log.append(head, &[]).await,
        Ok(Appended::Committed { head })
    );
    assert_eq!(
        log.append(Head::GENESIS, &[]).await,
        Ok(Appended::Conflict { head })
    );
    let settled = append_settled(&*log, Head::GENESIS, &[], 1).await;
    assert_eq!(settled, Ok(Appended::Conflict { head }));
    assert_eq!(log.head().await.unwrap(), head);
}

/// A record of one mebibyte is stored and read back.
pub async fn a_record_of_one_mebibyte_is_stored(fixture: &dyn Fixture) {
    let log = fixture.open();
    let record: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[0]).collect();
    let entry = Draft::after(Head::GENESIS).record(record).build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;
    let stored = log.read(0, ReadLimit::default()).await.unwrap();
    assert_eq!(stored[0].record, entry.record);
}

/// What is larger than its limit is refused and says so; what is as large as the limit is taken.
pub async fn what_is_larger_than_its_limit_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open();
    let blob = |bytes| {
        let mut entry = Draft::after(Head::GENESIS).build();
        entry.blobs.push(Blob {
            digest: fake_hash(b"blob"),
            bytes: vec![0; bytes].into(),
        });
        entry
    };
    let too_large = [
        Draft::after(Head::GENESIS)
            .record(vec![0; RECORD_BYTES_MAX + 1])
            .build(),
        Draft::after(Head::GENESIS)
            .put(&flag("f"), &vec![0; BODY_BYTES_MAX + 1])
            .build(),
        blob(BLOB_BYTES_MAX + 1),
    ];
    for entry in too_large {
        let refused = log.append(Head::GENESIS, &[entry]).await;
        let Err(AppendError::TooLarge(limit)) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(limit.bytes, limit.bytes_max + 1);
    }
    let largest = Draft::after(Head::GENESIS)
        .record(vec![0; RECORD_BYTES_MAX])
        .put(&flag("f"), &vec![0; BODY_BYTES_MAX])
        .put_blob(&flag("g"), &vec![0; BLOB_BYTES_MAX])
        .build();
    append_all(&*log, Head::GENESIS, &[largest]).await;
}

/// The watch wakes on a commit, and what it says can always be read.
pub async fn the_watch_is_never_ahead_of_the_head(fixture: &dyn Fixture) {
    const COMMITS: u64 = 50;
    let log = fixture.open();
    let mut watch = log.watch();
    assert_eq!(watch.revision(), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| block_on(fill(&*log, COMMITS)));
        scope.spawn(|| block_on(follow(&*log, COMMITS)));
    });
    assert_eq!(watch.past(COMMITS - 1).await, Some(COMMITS));
    drop(log);
    assert_eq!(
        watch.past(COMMITS).await,
        None,
        "a closed log ends the watch"
    );
}

/// Follows the watch of `log` up to `last`, reading the head each time it is told.
async fn follow(log: &dyn ChangeLog, last: u64) {
    let mut watch = log.watch();
    let mut seen = watch.revision();
    while seen < last {
        let told = watch.past(seen).await.expect("the log is open");
        assert!(told > seen, "told {told} after {seen}");
        let head = log.head().await.unwrap();
        assert!(head.revision >= told, "told {told} before {head:?}");
        seen = told;
    }
}
