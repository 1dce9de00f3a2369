use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use plane_api::{AckReply, AckRequest, UsageReply, UsageRequest};
use plane_eval::{Context, View};
use plane_model::{EnvironmentName, Timestamp};
use serde_json::json;

use super::super::builder::Builder;
use super::super::clock::test::TestClock;
use super::super::core::Core;
use super::super::http::{Failure, Target, Tells, Why};
use super::super::memory::InMemory;
use super::super::process::Process;
use super::table::Table;
use super::*;

fn flag(key: &str) -> FlagKey {
    FlagKey::new(key).unwrap()
}

fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

/// Tables and the names under which threads count in them.
struct Test {
    usage: Usage,
    counted: Arc<Counted>,
}

impl Test {
    fn new() -> Self {
        let usage = Usage::default();
        usage.renew();
        Self {
            usage,
            counted: Arc::default(),
        }
    }

    fn count(&self, flag: &FlagKey, variant: &VariantName) -> Result<(), Dropped> {
        let counted = || self.counted.clone();
        (self.usage).count(flag, Some(variant), Reason::Split, counted)
    }

    fn taken(&self) -> BTreeMap<String, u64> {
        let mut taken = BTreeMap::new();
        self.counted.take(|subject, count| {
            let name = format!("{} {} {}", subject.flag, subject.variant, subject.reason);
            *taken.entry(name).or_default() += count;
        });
        taken
    }

    fn tables(&self) -> usize {
        self.counted.0.lock().unwrap().tables.len()
    }
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let counts = counts.iter();
    counts
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn evaluations_of_all_threads_add_up_and_each_is_told_once() {
    let test = Test::new();
    let (key, on, off) = (flag("checkout"), variant("on"), variant("off"));
    std::thread::scope(|scope| {
        let count = || {
            // While another thread is let in, this one is not waited for: what was dropped is tried again.
            let count = |variant| while test.count(&key, variant).is_err() {};
            (0..1_000).for_each(|_| count(&on));
            count(&off);
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        for thread in threads {
            // Waits for the end of the thread, with all that is its own.
            thread.join().unwrap();
        }
    });
    let expected = counts(&[("checkout off SPLIT", 4), ("checkout on SPLIT", 4_000)]);
    assert_eq!(test.taken(), expected);
    assert_eq!(test.tables(), 0, "the threads are gone");
    test.count(&key, &on).unwrap();
    assert_eq!(test.taken(), counts(&[("checkout on SPLIT", 1)]));
    assert_eq!(test.taken(), BTreeMap::new());
    test.count(&key, &on).unwrap();
    assert_eq!(test.taken(), counts(&[("checkout on SPLIT", 1)]));
}

#[test]
fn what_was_counted_before_other_content_was_served_is_told_too() {
    let test = Test::new();
    let (key, on) = (flag("checkout"), variant("on"));
    test.count(&key, &on).unwrap();
    test.usage.renew();
    // The same flag, with names at other addresses.
    let (key, on) = (flag("checkout"), variant("on"));
    test.count(&key, &on).unwrap();
    assert_eq!(test.taken(), counts(&[("checkout on SPLIT", 2)]));
}

#[test]
fn a_thread_counts_no_more_different_things_than_its_tables_may_hold() {
    let test = Test::new();
    let on = variant("on");
    let keys: Vec<_> = (0..5_000).map(|it| flag(&format!("flag-{it}"))).collect();
    let is_counted = |key: &FlagKey| test.count(key, &on).is_ok();
    let counted = keys.iter().filter(|key| is_counted(key)).count();
    // Half of the places of each table, the largest and those that were outgrown.
    assert_eq!(counted, 4_064);
    assert_eq!(test.tables(), 7);
    assert_eq!(test.taken().values().sum::<u64>(), 4_064);
    assert_eq!(test.tables(), 1, "the smaller ones are let go");
    assert!(
        is_counted(&keys[4_000]),
        "what is in it goes on being counted"
    );
    assert!(!is_counted(&keys[4_999]));
    test.usage.renew();
    assert!(is_counted(&keys[4_999]), "there is room again");
}

#[test]
fn a_caller_never_waits_for_a_count() {
    let test = Test::new();
    let (key, on) = (flag("checkout"), variant("on"));
    let held = test.counted.0.lock().unwrap();
    assert_eq!(test.count(&key, &on), Err(Dropped));
    assert_eq!(test.counted.count_unknown("x"), Err(Dropped));
    drop(held);
    test.count(&key, &on).unwrap();
    let held = test.counted.0.lock().unwrap();
    test.count(&key, &on).unwrap();
    drop(held);
    assert_eq!(test.taken(), counts(&[("checkout on SPLIT", 2)]));
}

#[test]
fn nothing_is_counted_where_nobody_is_told() {
    let usage = Usage::default();
    let counted = || panic!("nothing is made");
    let (key, on) = (flag("checkout"), variant("on"));
    assert_eq!(usage.count(&key, Some(&on), Reason::Split, counted), Ok(()));
    assert!(!usage.is_counting());
}

#[test]
fn flags_that_do_not_exist_are_counted_by_name_up_to_a_bound() {
    let counted = Counted::default();
    for number in 0..UNKNOWN_MAX {
        counted.count_unknown(&format!("flag-{number}")).unwrap();
    }
    assert_eq!(counted.count_unknown("one-more"), Err(Dropped));
    assert_eq!(counted.count_unknown("flag-0"), Ok(()));
    let long = "x".repeat(UNKNOWN_BYTES_MAX + 1);
    let mut all = Vec::new();
    counted.take(|subject, count| all.push((subject.flag, count)));
    assert_eq!(all.len(), UNKNOWN_MAX);
    assert_eq!(counted.count_unknown(&long), Err(Dropped));
}

#[test]
fn a_table_tells_apart_what_differs_in_one_thing() {
    let table = Table::first();
    let (a, b) = (flag("a"), flag("b"));
    let on = variant("on");
    let all = [
        (&a, Some(&on), Reason::Split),
        (&a, Some(&on), Reason::Default),
        (&a, None, Reason::Split),
        (&b, Some(&on), Reason::Split),
    ];
    for (flag, variant, reason) in all {
        assert!(!table.add(flag, variant, reason));
        assert!(matches!(table.enter(flag, variant, reason), Added::Counted));
        assert!(table.add(flag, variant, reason));
    }
    let mut seen = Vec::new();
    let mut given = Vec::new();
    table.take(&mut seen, &mut |_, count| given.push(count));
    assert_eq!(given, [2; 4]);
}

/// A server that notes what it is told.
#[derive(Default)]
struct Scripted {
    fails: Mutex<u32>,
    told: Mutex<Vec<UsageRequest>>,
}

impl Tells for Scripted {
    fn tell(&self, _: &Target, _: &AckRequest, _: Duration) -> Result<AckReply, Failure> {
        unreachable!("only counts are told")
    }

    fn count(
        &self,
        _: &Target,
        request: &UsageRequest,
        _: Duration,
    ) -> Result<UsageReply, Failure> {
        self.told.lock().unwrap().push(request.clone());
        let mut fails = self.fails.lock().unwrap();
        if *fails > 0 {
            *fails -= 1;
            return Err(Why::Lost("gone".to_owned()).into());
        }
        Ok(UsageReply {
            revision: 1,
            again_seconds: 60,
        })
    }
}

struct Telling {
    core: Arc<Core>,
    process: Arc<Process>,
    clock: Arc<TestClock>,
    script: Arc<Scripted>,
    reporter: UsageReporter,
}

impl Telling {
    fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        let settings = Builder::default().url("http://one").clock(clock.clone());
        let name = EnvironmentName::new("production").unwrap();
        let core = Core::new(name, Arc::new(settings.service("orders")));
        core.usage.renew();
        let script = Arc::new(Scripted::default());
        Self {
            process: core.own_process(),
            reporter: UsageReporter::new(script.clone(), &core),
            core,
            clock,
            script,
        }
    }

    fn count(&self, key: &FlagKey, times: u32) {
        for _ in 0..times {
            let counted = || self.process.counted.clone();
            let counted = (self.core.usage).count(key, None, Reason::Default, counted);
            counted.unwrap();
        }
    }

    fn step(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.reporter.step(&self.core, &self.process);
    }

    fn told(&self) -> Vec<UsageRequest> {
        std::mem::take(&mut self.script.told.lock().unwrap())
    }
}

#[test]
fn counts_are_told_in_time_and_what_was_not_heard_is_told_again_as_it_was() {
    let mut test = Telling::new();
    let key = flag("checkout");
    test.count(&key, 3);
    test.step(29);
    assert_eq!(test.told(), [], "it is not time yet");
    *test.script.fails.lock().unwrap() = 1;
    test.step(1);
    let first = test.told();
    assert_eq!(first[0].counts[0].count, 3);
    assert_eq!(first[0].service, "orders");
    test.count(&key, 2);
    test.step(60);
    let again = test.told();
    assert_eq!(
        again[0], first[0],
        "with the same name, so that it counts once"
    );
    assert_eq!(again[1].counts[0].count, 2);
    assert_ne!(again[1].batch, first[0].batch);
    test.step(60);
    assert_eq!(test.told(), [], "there is nothing to tell");
}

#[test]
fn what_waits_for_a_server_is_bounded_and_the_rest_is_counted_as_dropped() {
    let mut test = Telling::new();
    *test.script.fails.lock().unwrap() = u32::MAX;
    for round in 0..6_u32 {
        for number in 0..2_000_u32 {
            test.count(&flag(&format!("flag-{round}-{number}")), 1);
        }
        test.core.usage.renew();
        test.step(600);
    }
    // One batch is on its way.
    let dropped = test.core.status().counters.usage_dropped;
    assert_eq!(dropped, 12_000 - 10_000 - 1_000);
}

#[test]
fn what_was_counted_last_is_told_when_a_client_is_closed() {
    let mut test = Telling::new();
    test.count(&flag("checkout"), 1);
    test.reporter.finish(&test.core, &test.process);
    assert_eq!(test.told()[0].counts[0].count, 1);
}

#[test]
fn the_names_of_one_view_are_the_same_for_every_evaluation() {
    let memory = InMemory::new();
    memory.flag("checkout", json!(true)).unwrap();
    let plane = memory.control_plane();
    let snapshot = plane.snapshot().unwrap();
    let view: &View = snapshot.view();
    let ctx = Context::new();
    let names = || {
        let evaluation = view.evaluate_key("checkout", &ctx, Timestamp(0));
        let flag = evaluation.flag().unwrap().as_str().as_ptr();
        (flag, evaluation.variant().unwrap().as_str().as_ptr())
    };
    assert_eq!(names(), names());
    assert_eq!(
        view.evaluate_key("nowhere", &ctx, Timestamp(0)).flag(),
        None
    );
}
