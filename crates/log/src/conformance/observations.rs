//! What every observation store does.

use std::collections::BTreeMap;

use crate::conformance::ObservationFixture;
use crate::observations::{BATCH_MAX, Filter, GroupBy, Observation, Retention};

fn seen(kind: &str, subject: &str, labels: &[(&str, &str)], count: u64, at_ms: i64) -> Observation {
    Observation {
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        labels: labelled(labels),
        count,
        at_ms,
        dedupe: None,
    }
}

fn labelled(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect()
}

fn keyed(kind: &str, key: &str) -> Observation {
    Observation {
        dedupe: Some(key.to_owned()),
        ..seen(kind, "s", &[], 1, 1)
    }
}

fn of_kind(kind: &str) -> Filter {
    Filter {
        kind: Some(kind.to_owned()),
        ..Filter::default()
    }
}

/// Counts add up within kind and the groups asked for, and other labels are counted together.
pub async fn counts_add_up_by_the_groups_asked_for(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let batch = [
        seen("usage", "flag-a", &[("env", "prod"), ("node", "1")], 2, 10),
        seen("usage", "flag-a", &[("env", "prod"), ("node", "2")], 3, 30),
        seen("usage", "flag-a", &[("env", "dev")], 5, 20),
        seen("usage", "flag-b", &[], 7, 20),
        seen("ack", "flag-a", &[("env", "prod")], 11, 20),
    ];
    assert_eq!(store.append(&batch).await.unwrap(), 5);

    let by = GroupBy {
        subject: true,
        labels: vec!["env".to_owned()],
    };
    let rows = store.aggregate(&of_kind("usage"), &by).await.unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|r| {
            let env = r.labels.get("env").map(String::as_str);
            (
                r.subject.as_deref().unwrap(),
                env,
                r.count,
                r.first_at_ms,
                r.last_at_ms,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("flag-a", Some("dev"), 5, 20, 20),
            ("flag-a", Some("prod"), 5, 10, 30),
            ("flag-b", None, 7, 20, 20),
        ]
    );

    let total = store
        .aggregate(&Filter::default(), &GroupBy::default())
        .await
        .unwrap();
    let total: Vec<_> = total
        .iter()
        .map(|r| (r.kind.as_str(), &r.subject, r.count))
        .collect();
    assert_eq!(total, [("ack", &None, 11), ("usage", &None, 17)]);
}

/// A window includes its start and leaves out its end.
pub async fn a_window_includes_its_start_and_leaves_out_its_end(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let batch: Vec<_> = (0..5).map(|at| seen("usage", "s", &[], 1, at)).collect();
    store.append(&batch).await.unwrap();
    let window = Filter {
        from_ms: Some(1),
        until_ms: Some(3),
        ..of_kind("usage")
    };
    let rows = store.aggregate(&window, &GroupBy::default()).await.unwrap();
    assert_eq!(
        (rows[0].count, rows[0].first_at_ms, rows[0].last_at_ms),
        (2, 1, 2)
    );
}

/// A key counts once within its kind, in one batch and over several; another kind may use it too.
pub async fn a_key_counts_once_within_its_kind(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let batch = [keyed("ack", "a"), keyed("ack", "a"), keyed("ack", "b")];
    assert_eq!(store.append(&batch).await.unwrap(), 2);
    assert_eq!(store.append(&batch).await.unwrap(), 0);
    assert_eq!(
        store
            .append(&[keyed("usage", "a"), keyed("ack", "c")])
            .await
            .unwrap(),
        2
    );
    let rows = store
        .aggregate(&of_kind("ack"), &GroupBy::default())
        .await
        .unwrap();
    assert_eq!(rows[0].count, 3);
}

/// The latest observation is found for each subject, by time and then by order of arrival.
pub async fn the_latest_of_each_subject_is_found(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let batch = [
        seen("ack", "b", &[("rev", "1")], 1, 10),
        seen("ack", "a", &[("rev", "9")], 1, 30),
        seen("ack", "a", &[("rev", "2")], 1, 20),
        seen("ack", "b", &[("rev", "3")], 1, 10),
        seen("usage", "c", &[], 1, 99),
    ];
    store.append(&batch).await.unwrap();
    let latest = store.latest("ack", None).await.unwrap();
    assert_eq!(latest, [batch[1].clone(), batch[3].clone()]);
    assert_eq!(
        store.latest("ack", Some("b")).await.unwrap(),
        [batch[3].clone()]
    );
    assert_eq!(store.latest("ack", Some("nobody")).await.unwrap(), []);
}

/// A list is newest first, and its pages join without gap or overlap, equal times included.
pub async fn a_list_is_newest_first_and_its_pages_join(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let batch: Vec<_> = (0..10)
        .map(|n| seen("read_audit", &format!("s{n}"), &[], 1, n / 4))
        .collect();
    store.append(&batch).await.unwrap();
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let page = store.list(&of_kind("read_audit"), before, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some((cursor, _)) = page.last() else {
            break;
        };
        before = Some(*cursor);
        listed.extend(page.into_iter().map(|(_, observation)| observation));
    }
    let newest_first: Vec<_> = batch.into_iter().rev().collect();
    assert_eq!(listed, newest_first);
}

/// Labels select every observation that has them, whatever else it has; odd characters are no syntax.
pub async fn labels_select_whatever_they_contain(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let odd = ("a.\"b'%", "x\"y");
    let batch = [
        seen("usage", "1", &[odd, ("env", "prod")], 1, 1),
        seen("usage", "2", &[("env", "prod")], 1, 2),
        seen("usage", "3", &[odd], 1, 3),
    ];
    store.append(&batch).await.unwrap();
    for (labels, subjects) in [
        (labelled(&[odd]), vec!["3", "1"]),
        (labelled(&[("env", "prod")]), vec!["2", "1"]),
        (labelled(&[odd, ("env", "prod")]), vec!["1"]),
        (labelled(&[("env", "dev")]), vec![]),
    ] {
        let filter = Filter {
            labels,
            ..Filter::default()
        };
        let listed = store.list(&filter, None, 10).await.unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|(_, seen)| seen.subject.as_str())
            .collect();
        assert_eq!(listed, subjects, "{filter:?}");
        let rows = store.aggregate(&filter, &GroupBy::default()).await.unwrap();
        assert_eq!(
            rows.iter().map(|r| r.count).sum::<u64>(),
            subjects.len() as u64
        );
    }
}

/// Retention drops what is too old, then the oldest beyond the number kept; a dropped key may come again.
pub async fn retention_drops_by_age_and_by_number(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let mut batch: Vec<_> = (0..10).map(|at| seen("usage", "s", &[], 1, at)).collect();
    batch[0].dedupe = Some("old".to_owned());
    store.append(&batch).await.unwrap();

    let by_age = Retention {
        from_ms: 4,
        rows_max: 100,
    };
    assert_eq!(store.retain(&by_age).await.unwrap(), 4);
    let by_number = Retention {
        from_ms: 0,
        rows_max: 2,
    };
    assert_eq!(store.retain(&by_number).await.unwrap(), 4);
    assert_eq!(store.retain(&by_number).await.unwrap(), 0);

    let rows = store
        .aggregate(&of_kind("usage"), &GroupBy::default())
        .await
        .unwrap();
    assert_eq!(
        (rows[0].count, rows[0].first_at_ms, rows[0].last_at_ms),
        (2, 8, 9)
    );
    assert_eq!(store.append(&batch[..1]).await.unwrap(), 1);
}

/// A batch has an upper bound, and one above it stores nothing.
pub async fn a_batch_is_bounded(fixture: &dyn ObservationFixture) {
    let store = fixture.open();
    let batch = vec![seen("usage", "s", &[], 1, 1); BATCH_MAX + 1];
    assert!(store.append(&batch).await.is_err());
    assert_eq!(
        store
            .aggregate(&Filter::default(), &GroupBy::default())
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.append(&batch[1..]).await.unwrap(), BATCH_MAX as u64);
    assert_eq!(store.append(&[]).await.unwrap(), 0);
}
