//! How every change log reads its order and its past.

use std::collections::{BTreeMap, BTreeSet};

use crate::conformance::{Draft, Fixture, append_all, fake_body, fake_hash, flag};
use crate::{
    ChangeLog, DigestRef, DocumentKey, Facet, Head, Order, Point, Query, ReadLimit, SnapshotRow,
    StoredFacet,
};

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

async fn revisions(log: &dyn ChangeLog, query: Query) -> Vec<u64> {
    log.query(&query)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.revision)
        .collect()
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
            log.snapshot_at(revision as u64, None).await.unwrap(),
            expected,
            "at {revision}"
        );
        let kinds: BTreeSet<&str> = expected.iter().map(|it| it.key.kind.as_str()).collect();
        for kind in kinds.into_iter().chain(["no such kind"]) {
            let of_kind = expected.iter().filter(|it| it.key.kind == kind);
            let of_kind: Vec<_> = of_kind.cloned().collect();
            let found = log.snapshot_at(revision as u64, Some(kind)).await.unwrap();
            assert_eq!(found, of_kind, "{kind} at {revision}");
        }
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
    assert_eq!(log.snapshot_at(1, None).await.unwrap(), [row]);
    assert_eq!(log.history(&flag("a"), None, 9).await.unwrap().len(), 1);
    assert_eq!(
        log.history(&flag("b"), None, 9).await.unwrap()[0].digest,
        Some(digest)
    );
}

/// Pages of changes name every change once, in the order of documents and then of revisions, however small they are.
pub async fn pages_of_changes_join_without_gap_or_overlap(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut head = Head::GENESIS;
    let mut expected = Vec::new();
    for n in 0..12_u8 {
        let mut draft = Draft::after(head);
        for key in [
            flag("a"),
            DocumentKey::new("flag", "dev", format!("f{}", n % 5)),
        ] {
            let digest = if n % 4 == 3 {
                draft = draft.delete(&key);
                None
            } else {
                draft = draft.put(&key, &[n]);
                Some(DigestRef::Body(fake_body(&[n]).digest))
            };
            expected.push((key, u64::from(n) + 1, digest));
        }
        head = append_all(&*log, head, &[draft.build()]).await;
    }
    expected.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    for records in [0, 1, 2, 7, 100] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = log.changes_page(after, records).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= records.max(1));
            after = Some((last.key.clone(), last.revision));
            found.extend(page.into_iter().map(|it| (it.key, it.revision, it.digest)));
        }
        assert_eq!(found, expected, "{records} at a time");
    }
}

/// Each commit is listed once under its actor, its action, each of its tenants and each kind that it changes.
pub async fn pages_of_facets_join_and_say_by_what_each_commit_is_found(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut head = Head::GENESIS;
    let mut expected = Vec::new();
    for n in 0..6_u8 {
        let (actor, action) = [("ana", "commit"), ("bo", "kill")][usize::from(n % 2)];
        let draft = Draft::after(head).by(actor, action).tenant("t1");
        let draft = draft.tenant(&format!("t{}", n + 1));
        let draft = draft.put(&flag("f"), &[n]).put(&flag("g"), &[n]);
        let mut entry = draft.delete(&DocumentKey::new("pin", "prod", "f")).build();
        entry.tenants.dedup();
        head = append_all(&*log, head, std::slice::from_ref(&entry)).await;
        let mut found = vec![(Facet::Actor, actor), (Facet::Action, action)];
        found.extend(entry.tenants.iter().map(|it| (Facet::Tenant, it.as_str())));
        found.extend([(Facet::Kind, "flag"), (Facet::Kind, "pin")]);
        expected.extend(found.into_iter().map(|(facet, value)| StoredFacet {
            facet,
            value: value.to_owned(),
            revision: head.revision,
        }));
    }
    expected.sort();
    for records in [0, 1, 2, 7, 100] {
        let mut found: Vec<StoredFacet> = Vec::new();
        loop {
            let page = log.facets_page(found.last().cloned(), records);
            let page = page.await.unwrap();
            assert!(page.len() <= records.max(1));
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, expected, "{records} at a time");
    }
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
