//! Both backends answer every question alike.

use std::sync::LazyLock;

use plane_log::conformance::{Draft, append_all, block_on};
use plane_log::{
    ChangeLog, DocumentKey, Head, MemoryLog, Order, Point, Query, ReadLimit, SqliteLog,
};
use proptest::option;
use proptest::prelude::*;
use tempfile::TempDir;

const ENTRIES: u64 = 60;

struct Pair {
    memory: MemoryLog,
    sqlite: SqliteLog,
    _dir: TempDir,
}

/// The same sixty entries in both backends: few names, so that conditions meet.
static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryLog::new(super::log_id());
    let sqlite = SqliteLog::open(dir.path(), &super::log_id()).unwrap();
    let mut run = Vec::new();
    let mut head = Head::GENESIS;
    for n in 0..ENTRIES {
        let pick = |of: u64, salt: u64| ((n + 1) * (2 * salt + 7919) / 13 % of).to_string();
        let mut draft = Draft::after(head)
            .at_ms(i64::try_from(n / 3 * 10).unwrap())
            .by(&pick(3, 1), &pick(2, 2))
            .record(vec![0; usize::try_from(n).unwrap() * 7 + 1]);
        for m in 0..n % 3 {
            let key = DocumentKey::new(pick(2, m), pick(2, m + 5), pick(3, m + 9));
            draft = if n % 7 == 3 {
                draft.delete(&key)
            } else {
                draft.put(&key, &[1])
            };
            draft = draft.tenant(&pick(4, m + 3));
        }
        let entry = draft.build();
        head = entry.head();
        run.push(entry);
    }
    block_on(append_all(&memory, Head::GENESIS, &run));
    block_on(append_all(&sqlite, Head::GENESIS, &run));
    Pair {
        memory,
        sqlite,
        _dir: dir,
    }
});

fn point() -> impl Strategy<Value = Point> {
    prop_oneof![
        (0..ENTRIES + 3).prop_map(Point::Revision),
        (-20_i64..230).prop_map(Point::AtMs),
        prop_oneof![Just(i64::MIN), Just(i64::MAX)].prop_map(Point::AtMs),
        Just(Point::Revision(u64::MAX)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[0-3]"
}

fn query() -> impl Strategy<Value = Query> {
    let ends = (
        option::weighted(0.3, point()),
        option::weighted(0.3, point()),
    );
    let who = (option::weighted(0.3, name()), option::weighted(0.2, name()));
    let what = (option::weighted(0.3, name()), option::weighted(0.3, name()));
    let key = (name(), name(), name()).prop_map(|(k, s, n)| DocumentKey::new(k, s, n));
    let page = (
        option::weighted(0.3, 0..ENTRIES + 3),
        0..70_usize,
        0..4_000_usize,
    );
    (
        ends,
        who,
        what,
        option::weighted(0.2, key),
        any::<bool>(),
        page,
    )
        .prop_map(
            |((since, until), (actor, action), (tenant, kind), document, newest, page)| Query {
                since,
                until,
                actor,
                action,
                tenant,
                kind,
                document,
                order: if newest {
                    Order::NewestFirst
                } else {
                    Order::OldestFirst
                },
                cursor: page.0,
                limit: ReadLimit {
                    records: page.1,
                    bytes: page.2,
                },
            },
        )
}

proptest! {
    #[test]
    fn every_query_has_one_answer(query in query()) {
        let memory = block_on(PAIR.memory.query(&query));
        prop_assert_eq!(block_on(PAIR.sqlite.query(&query)), memory);
    }

    #[test]
    fn every_point_in_the_past_has_one_state(at_ms in -20_i64..230, revision in 0..ENTRIES + 3) {
        let memory = block_on(PAIR.memory.revision_at(at_ms));
        prop_assert_eq!(block_on(PAIR.sqlite.revision_at(at_ms)), memory);
        let memory = block_on(PAIR.memory.snapshot_at(revision, None));
        prop_assert_eq!(block_on(PAIR.sqlite.snapshot_at(revision, None)), memory);
    }
}
