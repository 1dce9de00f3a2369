//! What every change log does.

use std::collections::BTreeMap;
use std::sync::Barrier;

use crate::conformance::{
    Draft, Fault, FaultyLog, Fixture, append_all, block_on, fake_body, fake_hash,
};
use crate::{
    AppendError, Appended, BLOB_BYTES_MAX, BODY_BYTES_MAX, Blob, ChangeLog, Checkpoint, DigestRef,
    DocumentKey, Entry, Hash, Head, Order, Point, Query, RECORD_BYTES_MAX, ReadLimit, Settled,
    SnapshotRow, WriteError, append_settled, settle,
};

/// Appends `count` entries one after another and returns them.
async fn fill(log: &dyn ChangeLog, count: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut head = log.head().await.unwrap();
    for _ in 0..count {
        let entry = Draft::after(head).build();
        head = append_all(log, head, std::slice::from_ref(&entry)).await;
        entries.push(entry);
    }
    entries
}

async fn revisions(log: &dyn ChangeLog, query: Query) -> Vec<u64> {
    log.query(&query)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.revision)
        .collect()
}

fn flag(name: &str) -> DocumentKey {
    DocumentKey::new("flag", "prod", name)
}

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
    assert_eq!(log.snapshot_at(u64::MAX).await.unwrap(), []);
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
    assert_eq!(log.snapshot_at(9).await.unwrap(), []);
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

/// A read stops at its limits, by records and by bytes, and never before one record.
pub async fn a_read_stops_at_its_limits_and_never_before_one_record(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut head = Head::GENESIS;
    for _ in 0..5 {
        head = append_all(
            &*log,
            head,
            &[Draft::after(head).record(vec![1; 100]).build()],
        )
        .await;
    }
    for (records, bytes, read) in [
        (3, 1_000, 3),
        (9, 300, 3),
        (9, 299, 2),
        (9, 1, 1),
        (9, 0, 1),
        (0, 1_000, 1),
        (9, 999, 5),
    ] {
        let limit = ReadLimit { records, bytes };
        let found = log.read(0, limit).await.unwrap();
        assert_eq!(found.len(), read, "{limit:?}");
        let found = log
            .query(&Query {
                limit,
                ..Query::default()
            })
            .await
            .unwrap();
        assert_eq!(found.len(), read, "{limit:?}");
    }
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
        .build();
    append_all(&*log, Head::GENESIS, &[largest]).await;
}

/// Bodies come back in the order asked, with gaps for those that are not there.
pub async fn bodies_come_back_in_the_order_asked(fixture: &dyn Fixture) {
    let log = fixture.open();
    let draft = Draft::after(Head::GENESIS)
        .put(&flag("a"), b"1")
        .put(&flag("b"), b"");
    append_all(&*log, Head::GENESIS, &[draft.build()]).await;
    let (one, none) = (fake_body(b"1"), fake_body(b""));
    let asked = [none.digest, fake_hash(b"?"), one.digest, none.digest];
    let found = log.bodies(&asked).await.unwrap();
    assert_eq!(found, [Some(none.clone()), None, Some(one), Some(none)]);
}

/// An erased body leaves its place, and the chain and everything else as they were.
pub async fn an_erased_body_leaves_its_place_and_the_chain(fixture: &dyn Fixture) {
    let log = fixture.open();
    let draft = Draft::after(Head::GENESIS)
        .put(&flag("a"), b"personal")
        .put(&flag("b"), b"2");
    let entry = draft.build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;
    let before = (
        log.read(0, ReadLimit::default()).await,
        log.snapshot_at(1).await,
    );
    let (erased, kept) = (entry.bodies[0].clone(), entry.bodies[1].clone());

    assert!(log.erase(&erased.digest).await.unwrap());
    assert!(!log.erase(&erased.digest).await.unwrap());
    assert!(!log.erase(&fake_hash(b"?")).await.unwrap());
    let found = log.bodies(&[erased.digest, kept.digest]).await.unwrap();
    assert_eq!(found, [None, Some(kept.clone())]);
    let page = log.bodies_page(None, ReadLimit::default()).await.unwrap();
    let mut places: Vec<_> = page
        .into_iter()
        .map(|body| (body.digest, body.body))
        .collect();
    places.sort_by_key(|(digest, _)| *digest != erased.digest);
    assert_eq!(places, [(erased.digest, None), (kept.digest, Some(kept))]);
    let after = (
        log.read(0, ReadLimit::default()).await,
        log.snapshot_at(1).await,
    );
    assert_eq!(after, before);
    append_all(&*log, entry.head(), &[Draft::after(entry.head()).build()]).await;
}

/// The same blob is stored once however many commits bring it, and comes back if one brings it after an erasure.
pub async fn the_same_blob_is_stored_once_and_comes_back_after_an_erasure(fixture: &dyn Fixture) {
    let log = fixture.open();
    let agent = |name: &str| DocumentKey::new("agent", "", name);
    let digest = fake_hash(b"manifest");
    let draft = Draft::after(Head::GENESIS).put_blob(&agent("a"), b"manifest");
    let first = draft.put_blob(&agent("b"), b"manifest").build();
    let second = Draft::after(first.head())
        .put_blob(&agent("c"), b"manifest")
        .build();
    let head = append_all(&*log, Head::GENESIS, &[first, second]).await;
    let page = log.blobs_page(None, ReadLimit::default()).await.unwrap();
    assert_eq!(
        page.iter().map(|blob| blob.digest).collect::<Vec<_>>(),
        [digest]
    );

    assert!(log.erase(&digest).await.unwrap());
    assert_eq!(log.blobs(&[digest]).await.unwrap(), [None]);
    let page = log.blobs_page(None, ReadLimit::default()).await.unwrap();
    assert_eq!(
        page.iter()
            .map(|b| (b.digest, b.bytes.is_none()))
            .collect::<Vec<_>>(),
        [(digest, true)]
    );
    let again = Draft::after(head)
        .put_blob(&agent("a"), b"manifest")
        .build();
    append_all(&*log, head, &[again]).await;
    let found = log.blobs(&[digest]).await.unwrap();
    assert_eq!(found[0].as_deref(), Some(b"manifest".as_slice()));
}

/// Pages visit every body and every blob once, in the order of their digests.
pub async fn pages_visit_every_body_and_blob_once(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut draft = Draft::after(Head::GENESIS);
    for n in 0..25_u8 {
        draft = draft
            .put(&flag(&n.to_string()), &[n])
            .put_blob(&flag(&n.to_string()), &[n, n]);
    }
    let entry = draft.build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;

    let mut digests: Vec<_> = entry.bodies.iter().map(|body| body.digest).collect();
    digests.sort_unstable();
    let (mut visited, mut after) = (Vec::new(), None);
    loop {
        let page = log.bodies_page(after, ReadLimit::records(4)).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        visited.extend(page.iter().map(|body| body.digest));
    }
    assert_eq!(visited, digests);

    let mut digests: Vec<_> = entry.blobs.iter().map(|blob| blob.digest).collect();
    digests.sort_unstable();
    let (mut visited, mut after) = (Vec::new(), None);
    loop {
        let page = log
            .blobs_page(
                after,
                ReadLimit {
                    records: 9,
                    bytes: 5,
                },
            )
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.digest);
        visited.extend(page.iter().map(|blob| blob.digest));
    }
    assert_eq!(visited, digests);
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

/// A snapshot is the fold of the changes up to it, deletes left out, at every revision.
pub async fn a_snapshot_is_the_fold_of_the_changes_up_to_it(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut fold = BTreeMap::<DocumentKey, (u64, DigestRef)>::new();
    let mut folds = vec![fold.clone()];
    let mut head = Head::GENESIS;
    let mut random = 7_u64;
    for revision in 1..=60 {
        let mut draft = Draft::after(head);
        for _ in 0..=revision % 3 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695);
            let pick = |shift: u32, of: u64| (random >> shift) % of;
            let kind = ["agent", "flag", "flag-2"][usize::try_from(pick(33, 3)).unwrap()];
            let scope = ["", "prod"][usize::try_from(pick(41, 2)).unwrap()];
            let key = DocumentKey::new(kind, scope, format!("n{}", pick(48, 4)));
            let bytes = format!("{revision} {random}");
            draft = match pick(55, 4) {
                0 => {
                    fold.remove(&key);
                    draft.delete(&key)
                }
                1 => {
                    let digest = DigestRef::Blob(fake_hash(bytes.as_bytes()));
                    fold.insert(key.clone(), (revision, digest));
                    draft.put_blob(&key, bytes.as_bytes())
                }
                _ => {
                    let digest = DigestRef::Body(fake_body(bytes.as_bytes()).digest);
                    fold.insert(key.clone(), (revision, digest));
                    draft.put(&key, bytes.as_bytes())
                }
            };
        }
        head = append_all(&*log, head, &[draft.build()]).await;
        folds.push(fold.clone());
    }
    folds.push(fold);
    for (revision, fold) in folds.into_iter().enumerate() {
        let expected: Vec<_> = fold
            .into_iter()
            .map(|(key, (revision, digest))| SnapshotRow {
                key,
                revision,
                digest,
            })
            .collect();
        assert_eq!(
            log.snapshot_at(revision as u64).await.unwrap(),
            expected,
            "at {revision}"
        );
    }
}

/// The last change of a document in an entry stands, in the snapshot and in the history.
pub async fn the_last_change_of_a_document_in_an_entry_stands(fixture: &dyn Fixture) {
    let log = fixture.open();
    let draft = Draft::after(Head::GENESIS)
        .put(&flag("a"), b"1")
        .delete(&flag("a"));
    let entry = draft.delete(&flag("b")).put(&flag("b"), b"2").build();
    append_all(&*log, Head::GENESIS, &[entry]).await;
    let digest = DigestRef::Body(fake_body(b"2").digest);
    let row = SnapshotRow {
        key: flag("b"),
        revision: 1,
        digest,
    };
    assert_eq!(log.snapshot_at(1).await.unwrap(), [row]);
    assert_eq!(log.history(&flag("a"), None, 9).await.unwrap().len(), 1);
    assert_eq!(
        log.history(&flag("b"), None, 9).await.unwrap()[0].digest,
        Some(digest)
    );
}

/// History lists the changes of one document and of no other, newest first, page by page.
pub async fn history_lists_the_changes_of_one_document_newest_first(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut head = Head::GENESIS;
    for n in 0..6_u8 {
        let draft = Draft::after(head).put(&DocumentKey::new("flag", "dev", "f"), &[n, n]);
        let draft = match n {
            4 => draft.delete(&flag("f")),
            n if n % 2 == 0 => draft.put(&flag("f"), &[n]),
            _ => draft,
        };
        head = append_all(&*log, head, &[draft.build()]).await;
    }
    let rows = log.history(&flag("f"), None, 10).await.unwrap();
    let body = |n: u8| Some(DigestRef::Body(fake_body(&[n]).digest));
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.revision, row.at_ms, row.digest))
        .collect();
    assert_eq!(
        rows,
        [(5, 5_000, None), (3, 3_000, body(2)), (1, 1_000, body(0))]
    );
    let page = |before, limit| {
        let log = &log;
        async move {
            let rows = log.history(&flag("f"), before, limit).await.unwrap();
            rows.iter().map(|row| row.revision).collect::<Vec<_>>()
        }
    };
    assert_eq!(page(None, 2).await, [5, 3]);
    assert_eq!(page(Some(3), 2).await, [1]);
    assert_eq!(page(Some(1), 2).await, [0_u64; 0]);
}

/// Each query filter selects, and all of them combine.
pub async fn each_query_filter_selects_and_all_of_them_combine(fixture: &dyn Fixture) {
    let log = fixture.open();
    let (key_f, key_g) = (flag("f"), flag("g"));
    let agent = DocumentKey::new("agent", "", "f");
    let one = Draft::after(Head::GENESIS)
        .by("ana", "commit")
        .tenant("t1")
        .put(&key_f, b"1");
    let one = one.build();
    let two = Draft::after(one.head())
        .by("bo", "kill")
        .tenant("t2")
        .tenant("t1")
        .tenant("t1");
    let two = two.delete(&key_f).put(&key_g, b"2").build();
    let three = Draft::after(two.head())
        .by("bo", "commit")
        .put(&agent, b"3")
        .build();
    let four = Draft::after(three.head())
        .by("ana", "revert")
        .tenant("t2")
        .put(&key_f, b"4");
    let four = four.put(&agent, b"4").build();
    append_all(&*log, Head::GENESIS, &[one, two, three, four]).await;

    let some = |text: &str| Some(text.to_owned());
    let all = Query::default;
    for (query, expected) in [
        (all(), vec![4, 3, 2, 1]),
        (
            Query {
                order: Order::OldestFirst,
                ..all()
            },
            vec![1, 2, 3, 4],
        ),
        (
            Query {
                actor: some("bo"),
                ..all()
            },
            vec![3, 2],
        ),
        (
            Query {
                actor: some("b"),
                ..all()
            },
            vec![],
        ),
        (
            Query {
                action: some("commit"),
                ..all()
            },
            vec![3, 1],
        ),
        (
            Query {
                tenant: some("t1"),
                ..all()
            },
            vec![2, 1],
        ),
        (
            Query {
                tenant: some("t2"),
                order: Order::OldestFirst,
                ..all()
            },
            vec![2, 4],
        ),
        (
            Query {
                kind: some("agent"),
                ..all()
            },
            vec![4, 3],
        ),
        (
            Query {
                kind: some("flag"),
                ..all()
            },
            vec![4, 2, 1],
        ),
        (
            Query {
                document: Some(key_f.clone()),
                ..all()
            },
            vec![4, 2, 1],
        ),
        (
            Query {
                document: Some(key_g.clone()),
                ..all()
            },
            vec![2],
        ),
        (
            Query {
                since: Some(Point::Revision(2)),
                ..all()
            },
            vec![4, 3, 2],
        ),
        (
            Query {
                since: Some(Point::Revision(u64::MAX)),
                ..all()
            },
            vec![],
        ),
        (
            Query {
                until: Some(Point::Revision(2)),
                ..all()
            },
            vec![2, 1],
        ),
        (
            Query {
                since: Some(Point::AtMs(2_000)),
                ..all()
            },
            vec![4, 3, 2],
        ),
        (
            Query {
                since: Some(Point::AtMs(2_001)),
                ..all()
            },
            vec![4, 3],
        ),
        (
            Query {
                until: Some(Point::AtMs(2_999)),
                ..all()
            },
            vec![2, 1],
        ),
        (
            Query {
                until: Some(Point::AtMs(i64::MIN)),
                ..all()
            },
            vec![],
        ),
        (
            Query {
                since: Some(Point::AtMs(i64::MIN)),
                ..all()
            },
            vec![4, 3, 2, 1],
        ),
        (
            Query {
                cursor: Some(3),
                ..all()
            },
            vec![2, 1],
        ),
        (
            Query {
                cursor: Some(3),
                order: Order::OldestFirst,
                ..all()
            },
            vec![4],
        ),
        (
            Query {
                since: Some(Point::Revision(2)),
                until: Some(Point::AtMs(9_000)),
                actor: some("ana"),
                action: some("revert"),
                tenant: some("t2"),
                kind: some("agent"),
                document: Some(key_f),
                ..all()
            },
            vec![4],
        ),
        (
            Query {
                actor: some("ana"),
                tenant: some("t2"),
                kind: some("tool"),
                ..all()
            },
            vec![],
        ),
        (
            Query {
                tenant: some("t1"),
                actor: some("bo"),
                ..all()
            },
            vec![2],
        ),
    ] {
        assert_eq!(revisions(&*log, query.clone()).await, expected, "{query:?}");
    }
}

/// Pages of a query join without gap or overlap, in either order.
pub async fn query_pages_join_without_gap_or_overlap(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut head = Head::GENESIS;
    for n in 0..20 {
        let tenant = if n % 3 == 0 { "other" } else { "t1" };
        head = append_all(&*log, head, &[Draft::after(head).tenant(tenant).build()]).await;
    }
    let mut oldest_first: Vec<_> = (1..=20).filter(|revision| revision % 3 != 1).collect();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut joined, mut cursor) = (Vec::new(), None);
        loop {
            let limit = ReadLimit::records(3);
            let tenant = Some("t1".to_owned());
            let query = Query {
                tenant,
                order,
                cursor,
                limit,
                ..Query::default()
            };
            let page = revisions(&*log, query).await;
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 3);
            cursor = Some(*last);
            joined.extend(page);
        }
        assert_eq!(joined, oldest_first, "{order:?}");
        oldest_first.reverse();
    }
}

/// A time names the last revision that was committed at or before it.
pub async fn a_time_names_the_last_revision_at_or_before_it(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut head = Head::GENESIS;
    for at_ms in [10, 20, 20, 20, 30] {
        head = append_all(&*log, head, &[Draft::after(head).at_ms(at_ms).build()]).await;
    }
    for (at_ms, revision) in [
        (i64::MIN, 0),
        (9, 0),
        (10, 1),
        (19, 1),
        (20, 4),
        (29, 4),
        (30, 5),
        (i64::MAX, 5),
    ] {
        assert_eq!(
            log.revision_at(at_ms).await.unwrap(),
            revision,
            "at {at_ms}"
        );
    }
}

fn checkpoint(head: Head, bytes: &[u8]) -> Checkpoint {
    Checkpoint {
        revision: head.revision,
        head: head.hash,
        digest: fake_hash(bytes),
        bytes: bytes.into(),
    }
}

/// The three newest checkpoints are kept; one at the same revision takes the other's place.
pub async fn the_three_newest_checkpoints_are_kept(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entries = fill(&*log, 5).await;
    let large: Vec<u8> = (0..(2 << 20) + 17_u32)
        .map(|i| i.to_le_bytes()[1])
        .collect();
    for (position, bytes) in [
        (0, b"one".as_slice()),
        (1, &large),
        (1, b"two"),
        (2, b""),
        (3, &large),
    ] {
        let head = entries[position].head();
        log.put_checkpoint(checkpoint(head, bytes)).await.unwrap();
        assert_eq!(
            log.checkpoint(head.revision).await.unwrap(),
            Some(checkpoint(head, bytes))
        );
    }
    let kept = log.checkpoints().await.unwrap();
    let described: Vec<_> = kept
        .iter()
        .map(|meta| (meta.revision, meta.bytes_len))
        .collect();
    assert_eq!(described, [(4, large.len() as u64), (3, 0), (2, 3)]);
    assert_eq!(kept[2].head, entries[1].hash);
    assert_eq!(kept[2].digest, fake_hash(b"two"));
    assert_eq!(log.checkpoint(1).await.unwrap(), None);
}

/// A checkpoint of an entry that the log does not hold is refused.
pub async fn a_checkpoint_of_an_unknown_entry_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open();
    fill(&*log, 1).await;
    for head in [
        Head {
            revision: 1,
            hash: fake_hash(b"another history"),
        },
        Head {
            revision: 2,
            hash: fake_hash(b"the future"),
        },
    ] {
        let refused = log.put_checkpoint(checkpoint(head, b"state")).await;
        assert!(
            matches!(refused, Err(WriteError::Refused { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(log.checkpoints().await.unwrap(), []);
    log.put_checkpoint(checkpoint(Head::GENESIS, b"nothing yet"))
        .await
        .unwrap();
    assert_eq!(log.checkpoints().await.unwrap().len(), 1);
}

/// An erasure drops every checkpoint, for each may hold the bytes.
pub async fn an_erasure_drops_every_checkpoint(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entry = Draft::after(Head::GENESIS)
        .put(&flag("f"), b"personal")
        .build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;
    log.put_checkpoint(checkpoint(entry.head(), b"personal"))
        .await
        .unwrap();
    assert!(log.erase(&entry.bodies[0].digest).await.unwrap());
    assert_eq!(log.checkpoints().await.unwrap(), []);
    assert_eq!(log.checkpoint(1).await.unwrap(), None);
    log.put_checkpoint(checkpoint(entry.head(), b"without"))
        .await
        .unwrap();
    assert_eq!(log.checkpoints().await.unwrap().len(), 1);
}

/// Small values are replaced, kept apart by key, and bounded.
pub async fn small_values_are_replaced_and_bounded(fixture: &dyn Fixture) {
    let log = fixture.open();
    log.meta_put("epoch", b"1").await.unwrap();
    log.meta_put("epoch", b"2").await.unwrap();
    log.meta_put("salt", &vec![0; 64 << 10]).await.unwrap();
    assert_eq!(
        log.meta_get("epoch").await.unwrap().as_deref(),
        Some(b"2".as_slice())
    );
    assert_eq!(
        log.meta_get("salt").await.unwrap().map(|value| value.len()),
        Some(64 << 10)
    );
    let refused = log.meta_put("epoch", &vec![0; (64 << 10) + 1]).await;
    assert!(
        matches!(refused, Err(WriteError::TooLarge(_))),
        "{refused:?}"
    );
    assert_eq!(
        log.meta_get("epoch").await.unwrap().as_deref(),
        Some(b"2".as_slice())
    );
}

/// A sound store has nothing to report.
pub async fn a_sound_store_has_nothing_to_report(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entry = Draft::after(Head::GENESIS)
        .put(&flag("f"), b"1")
        .put_blob(&flag("g"), b"2");
    append_all(&*log, Head::GENESIS, &[entry.build()]).await;
    assert_eq!(log.check().await.unwrap(), [""; 0]);
}
