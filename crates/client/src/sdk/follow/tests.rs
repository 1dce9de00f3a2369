//! A client whose server follows a script.

mod breaker;
mod demand;
mod double;
mod verifying;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use plane_api::Problem;
use plane_eval::Context;
use plane_model::{Digest, EnvironmentName};
use serde_json::{Value, json};

use self::double::{Reads, Scripted, key};
use super::super::builder::Builder;
use super::super::clock::test::TestClock;
use super::super::event::Event;
use super::super::status::{Source, Status};
use super::*;
use crate::sse::ServerEvent;

struct Test {
    core: Arc<Core>,
    process: Arc<Process>,
    follower: Follower,
    script: Scripted,
    clock: Arc<TestClock>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Test {
    fn new() -> Self {
        Self::of("http://one")
    }

    fn of(urls: &str) -> Self {
        let clock = Arc::new(TestClock::default());
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let mut settings = Builder::default()
            .url(urls)
            .clock(clock.clone())
            .on_event(move |event| seen.lock().unwrap().push(event.clone()));
        settings.told_key = Some(key(1).public());
        let core = Core::new(
            EnvironmentName::new("production").unwrap(),
            Arc::new(settings),
        );
        let script = Scripted::at(&clock);
        let follower = Follower::new(Box::new(script.clone()), &core);
        let process = core.own_process();
        Self {
            core,
            process,
            follower,
            script,
            clock,
            events,
        }
    }

    fn view(&self, view: &Value) -> &Self {
        let etag = Some(format!("\"{}\"", view["revision"]));
        let bytes = view.to_string().into_bytes();
        let head = None;
        self.answer(Ok(Answer::View { bytes, etag, head }))
    }

    fn answer(&self, answer: Result<Answer, Failure>) -> &Self {
        self.script.0.lock().unwrap().views.push_back(answer);
        self
    }

    fn stream(&self, events: Reads) -> &Self {
        self.script.0.lock().unwrap().streams.push_back(Ok(events));
        self
    }

    fn no_stream(&self, failure: Failure) -> &Self {
        self.script
            .0
            .lock()
            .unwrap()
            .streams
            .push_back(Err(failure));
        self
    }

    fn step(&mut self) -> Next {
        self.follower.step(&self.core, &self.process)
    }

    #[track_caller]
    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.step(), Next::Now);
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.script.0.lock().unwrap().asked)
    }

    fn is_on(&self) -> Option<bool> {
        let held = self.core.peek()?;
        held.view
            .evaluate_key("f", &Context::new(), self.core.now())
            .as_bool()
    }

    fn status(&self) -> Status {
        self.core.status()
    }

    fn revision(&self) -> u64 {
        self.status().revision.unwrap()
    }

    fn error(&self) -> String {
        self.status()
            .last_error
            .map_or_else(String::new, |(_, error)| error.code_text().to_owned())
    }
}

fn hash(revision: u64) -> Digest {
    Digest::of(revision.to_string().as_bytes())
}

fn targeting(revision: u64, variant: &str) -> Value {
    json!({
        "kind": "targeting", "scope": "production", "name": "f", "revision": revision,
        "body": { "default": variant, "state": "enabled" },
    })
}

fn view(revision: u64, variant: &str) -> Value {
    json!({
        "audience": "all", "blobs": {}, "environment": "production", "epoch": 0, "format": 1,
        "head": hash(revision), "log": "log", "revision": revision,
        "documents": [
            { "kind": "flag", "scope": "", "name": "f", "revision": 1, "body": { "type": "boolean" } },
            targeting(revision, variant),
        ],
    })
}

fn with(mut view: Value, field: &str, value: impl Into<Value>) -> Value {
    view[field] = value.into();
    view
}

fn id(revision: u64) -> String {
    format!("{revision}.{}", &hash(revision).hex()[..8])
}

fn event(name: &str, revision: u64, data: &Value) -> ServerEvent {
    ServerEvent {
        name: name.to_owned(),
        data: data.to_string(),
        id: id(revision),
    }
}

fn change(revision: u64, variant: &str) -> ServerEvent {
    let data = json!({ "revision": revision, "documents": [targeting(revision, variant)] });
    event("change", revision, &data)
}

fn simple(name: &str, revision: u64) -> ServerEvent {
    event(name, revision, &json!({ "revision": revision }))
}

fn lost() -> Failure {
    Why::Lost("gone".to_owned()).into()
}

fn problem(code: Code) -> Failure {
    Why::Refused(Box::new(Problem::new(code, "no"))).into()
}

/// A test that has fetched the view at revision 5 and follows its changes.
fn following(events: Reads) -> Test {
    let mut test = Test::new();
    test.view(&view(5, "off")).stream(events);
    test.steps(1);
    test.asked();
    test
}

#[test]
fn the_view_is_fetched_once_and_then_followed() {
    let mut test = Test::new();
    test.view(&view(5, "off"));
    test.stream(vec![
        Ok(vec![simple("bookmark", 5)]),
        Ok(vec![
            change(6, "on"),
            change(7, "off"),
            simple("bookmark", 9),
        ]),
        Ok(vec![change(10, "on")]),
    ]);
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(false), 5));
    test.steps(2);
    assert_eq!((test.is_on(), test.revision()), (Some(false), 9));
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 10));
    let expected = [
        "http://one view - 0".to_owned(),
        format!("http://one stream {}", id(5)),
    ];
    assert_eq!(test.asked(), expected);
    assert_eq!(test.status().source, Source::Live);
    assert_eq!(test.events.lock().unwrap().len(), 1);
}

#[test]
fn after_a_lost_stream_it_goes_on_where_it_was() {
    let mut test = following(vec![Ok(vec![change(6, "on")]), Err(lost())]);
    test.steps(1);
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(true), Source::Stale)
    );
    assert_eq!(test.error(), "SERVER_UNREACHABLE");
    test.stream(vec![Ok(vec![change(6, "on"), change(7, "off")])]);
    test.steps(2);
    assert_eq!(test.asked(), [format!("http://one stream {}", id(6))]);
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(false), Source::Live)
    );
    assert_eq!(test.error(), "");
}

#[test]
fn a_refetch_takes_the_whole_view_and_passes_over_what_it_has() {
    let mut test = following(vec![
        Ok(vec![
            simple("refetch", 7),
            change(8, "on"),
            change(9, "off"),
        ]),
        Err(lost()),
    ]);
    test.view(&view(8, "on"));
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(false), 9));
    assert!(matches!(test.step(), Next::After(_)));
    test.stream(vec![]);
    test.steps(1);
    let expected = [
        "http://one view \"5\" 0".to_owned(),
        format!("http://one stream {}", id(9)),
    ];
    assert_eq!(test.asked(), expected);
}

#[test]
fn a_view_that_is_behind_what_was_told_of_is_not_taken() {
    let mut test = following(vec![Ok(vec![simple("refetch", 7)])]);
    test.view(&view(6, "on"));
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(
        (test.is_on(), test.revision(), test.error().as_str()),
        (Some(false), 5, "VIEW_INVALID")
    );
    test.view(&view(7, "on"))
        .stream(vec![Ok(vec![simple("bookmark", 7)])]);
    test.steps(2);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 7));
}

#[test]
fn going_away_is_as_long_as_the_server_asks_and_to_the_next_server() {
    let mut test = Test::of("http://one, http://two");
    let goaway = json!({ "reason": "shutting down", "retry_ms": 1_234 });
    test.view(&view(5, "off"))
        .stream(vec![Ok(vec![event("goaway", 5, &goaway)])]);
    test.steps(1);
    assert_eq!(test.step(), Next::After(Duration::from_millis(1_234)));
    assert_eq!(test.error(), "");
    test.stream(vec![]);
    test.steps(1);
    assert_eq!(
        test.asked().pop().unwrap(),
        format!("http://two stream {}", id(5))
    );
}

#[test]
fn pauses_are_drawn_below_a_bound_that_doubles_up_to_half_a_minute() {
    let mut test = Test::of("http://one,http://two");
    test.clock.chance.store(249, Ordering::SeqCst);
    let mut bounds = Vec::new();
    for attempt in 0..10 {
        test.answer(Err(
            Why::Unreachable("nothing listens there".to_owned()).into()
        ));
        // The largest number that can be drawn below the bound.
        let bound = (250_u64 << attempt).min(30_000);
        test.clock.chance.store(bound - 1, Ordering::SeqCst);
        let Next::After(pause) = test.step() else {
            panic!("expected a pause");
        };
        bounds.push(u64::try_from(pause.as_millis()).unwrap() + 1);
    }
    assert_eq!(
        bounds,
        [
            250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000
        ]
    );
    test.clock.chance.store(0, Ordering::SeqCst);
    test.answer(Err(lost()));
    assert_eq!(test.step(), Next::After(Duration::ZERO));
    // Said once, however often it fails.
    assert_eq!(test.events.lock().unwrap().len(), 1);
    let asked = test.asked();
    assert_eq!(
        (asked[0].as_str(), asked[1].as_str()),
        ("http://one view - 0", "http://two view - 0")
    );
    test.view(&view(5, "on"));
    test.stream(vec![]);
    test.steps(1);
    test.answer(Err(lost()));
    assert_eq!(test.step(), Next::Now, "a stream that never said anything");
}

#[test]
fn a_server_that_asks_to_wait_is_not_asked_earlier() {
    let mut test = Test::new();
    let asked = Duration::from_secs(7);
    test.answer(Err(Failure {
        retry_after: Some(asked),
        ..problem(Code::Overloaded)
    }));
    assert_eq!(test.step(), Next::After(asked));
    let never = Duration::from_secs(1_000_000);
    test.answer(Err(Failure {
        retry_after: Some(never),
        ..problem(Code::Overloaded)
    }));
    assert_eq!(test.step(), Next::After(RETRY_AFTER_MAX));
}

#[test]
fn a_token_that_is_refused_ends_the_waiting_and_is_tried_again_seldom() {
    let mut test = Test::new();
    test.answer(Err(problem(Code::Unauthenticated)));
    assert_eq!(test.step(), Next::After(REFUSED_PAUSE));
    assert_eq!(test.error(), "UNAUTHENTICATED");
    test.view(&view(5, "on")).stream(vec![]);
    test.steps(1);
    assert_eq!((test.is_on(), test.error().as_str()), (Some(true), ""));
}

#[test]
fn where_streams_are_refused_long_polls_bring_the_news_until_streams_are_tried_again() {
    for failure in [
        problem(Code::RouteNotFound),
        problem(Code::Overloaded),
        Why::Foreign("status 502".to_owned()).into(),
    ] {
        let mut test = Test::new();
        test.view(&view(5, "off")).no_stream(failure);
        test.steps(1);
        test.answer(Ok(Answer::Unchanged { head: None }))
            .view(&view(6, "on"));
        test.steps(2);
        assert_eq!(
            (test.is_on(), test.status().source),
            (Some(true), Source::Live)
        );
        test.clock.ms.fetch_add(60_000, Ordering::SeqCst);
        test.stream(vec![Ok(vec![simple("bookmark", 6)])]);
        test.steps(2);
        let expected = [
            "http://one view - 0".to_owned(),
            format!("http://one stream {}", id(5)),
            "http://one view \"5\" 50".to_owned(),
            "http://one view \"5\" 50".to_owned(),
            format!("http://one stream {}", id(6)),
        ];
        assert_eq!(test.asked(), expected);
    }
}

#[test]
fn a_stream_in_which_nothing_comes_is_given_up_for_long_polls() {
    let mut test = following(vec![Err(lost())]);
    test.steps(1);
    test.view(&view(6, "on"));
    test.steps(1);
    assert_eq!(test.asked().pop().unwrap(), "http://one view \"5\" 50");
    assert_eq!(test.is_on(), Some(true));
}

#[test]
fn a_stream_that_only_ever_is_silent_is_given_up_for_long_polls_whatever_went_before() {
    let silent = || Failure::from(Why::Silent("timeout".to_owned()));
    for opens in [false, true] {
        let mut test = following(vec![Err(lost())]);
        // Heard of before: it is the connection that was lost, and not streams that do not work.
        test.follower.has_heard = true;
        assert!(matches!(test.step(), Next::After(_)));
        if opens {
            test.stream(vec![Err(silent())]);
            test.steps(2);
        } else {
            test.no_stream(silent());
            test.steps(1);
        }
        test.view(&view(6, "on"));
        test.steps(1);
        assert_eq!(test.asked().pop().unwrap(), "http://one view \"5\" 50");
        assert_eq!(test.is_on(), Some(true));
    }
}

#[test]
fn long_polls_that_are_cut_off_give_way_to_asking_now_and_then() {
    let mut test = Test::new();
    test.view(&view(5, "off"))
        .no_stream(problem(Code::RouteNotFound));
    test.steps(1);
    for _ in 0..CUT_OFF_MAX {
        test.answer(Err(Why::Foreign("status 504".to_owned()).into()));
        assert!(matches!(test.step(), Next::After(_)));
    }
    test.asked();
    test.answer(Ok(Answer::Unchanged { head: None }));
    assert_eq!(test.step(), Next::After(Duration::from_secs(15)));
    assert_eq!(test.asked(), ["http://one view \"5\" 0"]);
    assert_eq!(test.status().source, Source::Live);
}

#[test]
fn what_is_older_or_of_another_place_is_not_taken() {
    for (bad, code) in [
        (view(4, "on"), "VIEW_INVALID"),
        (
            with(view(6, "on"), "environment", "staging"),
            "VIEW_INVALID",
        ),
        (with(view(6, "on"), "format", 99), "VIEW_INVALID"),
        (with(view(6, "on"), "documents", 7), "VIEW_INVALID"),
        (with(view(6, "on"), "log", "another"), "LOG_FORKED"),
        (with(view(5, "on"), "head", json!(hash(99))), "LOG_FORKED"),
    ] {
        let mut test = following(vec![Ok(vec![simple("refetch", 5)])]);
        test.view(&bad);
        assert!(matches!(test.step(), Next::After(_)), "{bad}");
        assert_eq!(
            (test.is_on(), test.revision(), test.error().as_str()),
            (Some(false), 5, code),
            "{bad}"
        );
        let counters = test.status().counters;
        assert_eq!(
            (counters.rejected, counters.unverified, counters.forks),
            (1, 0, u64::from(code == "LOG_FORKED"))
        );
        assert_eq!(test.status().source, Source::Stale);
    }
}

#[test]
fn a_torn_view_is_not_taken() {
    let text = view(6, "on").to_string();
    for length in 0..text.len() {
        let mut test = following(vec![Ok(vec![simple("refetch", 5)])]);
        let bytes = text.as_bytes()[..length].to_vec();
        test.answer(Ok(Answer::View {
            bytes,
            etag: None,
            head: None,
        }));
        assert!(matches!(test.step(), Next::After(_)), "{length}");
        assert_eq!(
            (test.is_on(), test.error().as_str()),
            (Some(false), "VIEW_INVALID")
        );
    }
}

#[test]
fn each_kind_of_trouble_is_said_once_until_all_is_well_again() {
    let mut test = following(vec![Ok(vec![simple("refetch", 6)])]);
    let torn = |test: &Test| {
        let bytes = b"{".to_vec();
        let (etag, head) = (None, None);
        test.answer(Ok(Answer::View { bytes, etag, head }));
    };
    let said = |test: &Test| {
        let events = std::mem::take(&mut *test.events.lock().unwrap());
        let codes = events.into_iter().filter_map(|it| it.code);
        codes.map(Code::as_str).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        for _ in 0..3 {
            test.answer(Err(lost()));
            assert!(matches!(test.step(), Next::After(_)));
            torn(&test);
            assert!(matches!(test.step(), Next::After(_)));
        }
        assert_eq!(said(&test), ["SERVER_UNREACHABLE", "VIEW_INVALID"]);
        let revision = test.revision() + 1;
        test.view(&view(revision, "on"))
            .stream(vec![Ok(vec![simple("refetch", revision + 1)])]);
        test.steps(1);
        assert_eq!(said(&test), [""; 0]);
    }
}

#[test]
fn a_higher_epoch_goes_before_a_higher_revision_and_a_lower_one_is_old() {
    let mut test = following(vec![Ok(vec![simple("refetch", 2)])]);
    test.view(&with(view(2, "on"), "epoch", 1));
    test.steps(1);
    assert_eq!(
        (test.is_on(), test.revision(), test.status().epoch),
        (Some(true), 2, Some(1))
    );
    let mut test = following(vec![Ok(vec![simple("refetch", 2)])]);
    test.follower.holding.as_ref().unwrap();
    test.view(&with(view(2, "on"), "epoch", 1));
    test.steps(1);
    test.stream(vec![Ok(vec![simple("refetch", 9)])]);
    test.follower.stream = None;
    test.steps(1);
    test.view(&view(9, "off"));
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!((test.is_on(), test.status().epoch), (Some(true), Some(1)));
}

#[test]
fn an_event_that_cannot_be_read_is_made_good_by_the_whole_view() {
    let torn = ServerEvent {
        data: "{\"revision\":".to_owned(),
        ..change(6, "on")
    };
    let mut test = following(vec![Ok(vec![torn])]);
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(test.is_on(), Some(false));
    test.view(&view(6, "on")).stream(vec![]);
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 6));
}

#[test]
fn events_of_kinds_that_are_not_known_are_passed_over() {
    let strange = event("hologram", 6, &json!([1]));
    let mut test = following(vec![Ok(vec![strange, change(7, "on")])]);
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 7));
}

#[test]
fn a_view_without_what_its_channels_name_is_not_taken() {
    let manifest = Digest::of(b"not here");
    let agent = json!({
        "kind": "agent", "scope": "", "name": "a@1.0.0", "revision": 1,
        "body": { "manifest": manifest, "lock": manifest, "published_at": "2026-01-01T00:00:00Z",
                  "published_by": "x", "signatures": [], "unsigned": true },
    });
    let channel = json!({
        "kind": "channel", "scope": "production", "name": "a", "revision": 2,
        "body": { "default": { "version": "1.0.0" } },
    });
    let mut without_agent = view(6, "on");
    without_agent["documents"]
        .as_array_mut()
        .unwrap()
        .push(channel.clone());
    let mut test = following(vec![Ok(vec![simple("refetch", 5)])]);
    test.view(&without_agent);
    assert!(matches!(test.step(), Next::After(_)));
    let (_, error) = test.status().last_error.unwrap();
    assert!(error.to_string().contains("names version 1.0.0"), "{error}");
    assert_eq!(test.is_on(), Some(false));

    let mut without_bytes = without_agent;
    without_bytes["documents"]
        .as_array_mut()
        .unwrap()
        .push(agent);
    test.view(&without_bytes);
    assert!(matches!(test.step(), Next::After(_)));
    let (_, error) = test.status().last_error.unwrap();
    assert!(error.to_string().contains(&manifest.hex()), "{error}");
    assert_eq!(test.is_on(), Some(false));
}

#[test]
fn the_age_is_the_time_since_a_server_confirmed_what_is_served() {
    let mut test = following(vec![Ok(vec![simple("bookmark", 5)]), Err(lost())]);
    test.clock.ms.fetch_add(7_000, Ordering::SeqCst);
    assert_eq!(test.status().age, Some(Duration::from_secs(7)));
    test.steps(1);
    assert_eq!(test.status().age, Some(Duration::ZERO));
    assert!(matches!(test.step(), Next::After(_)));
    test.clock.ms.fetch_add(86_400_000, Ordering::SeqCst);
    assert_eq!(test.status().age, Some(Duration::from_hours(24)));
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(false), Source::Stale)
    );
}

#[test]
fn where_no_server_answers_at_first_the_bundled_tree_does() {
    let tree = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/aiaas");
    let settings = Builder::default().url("http://one").bundled_tree(tree);
    let core = Core::new(
        EnvironmentName::new("production").unwrap(),
        Arc::new(settings),
    );
    let process = core.own_process();
    let script = Scripted::at(&Arc::default());
    let mut follower = Follower::new(Box::new(script.clone()), &core);
    script.0.lock().unwrap().views.push_back(Err(lost()));
    assert!(matches!(follower.step(&core, &process), Next::After(_)));
    assert_eq!(core.status().source, Source::Bundled);
    let bytes = view(1, "on").to_string().into_bytes();
    script.0.lock().unwrap().views.push_back(Ok(Answer::View {
        bytes,
        etag: None,
        head: None,
    }));
    script.0.lock().unwrap().streams.push_back(Ok(Vec::new()));
    assert_eq!(follower.step(&core, &process), Next::Now);
    assert_eq!(core.status().source, Source::Live);
}

/// A follower that begins as one of a process that was just started.
fn starting(dir: &std::path::Path) -> Test {
    starting_with(dir, |settings| settings)
}

fn starting_with(dir: &std::path::Path, set: impl FnOnce(Builder) -> Builder) -> Test {
    starting_at(dir, Duration::ZERO, set)
}

fn starting_at(
    dir: &std::path::Path,
    time: Duration,
    set: impl FnOnce(Builder) -> Builder,
) -> Test {
    let mut test = Test::new();
    test.clock.advance(time);
    let settings = set(Builder::clone(&test.core.settings).state_dir(dir));
    test.core = Core::new(test.core.name.clone(), Arc::new(settings));
    test.process = test.core.own_process();
    test.follower = Follower::new(Box::new(test.script.clone()), &test.core);
    test.follower.restore(&test.core, &test.process);
    test.script.knows(test.follower.holding.clone());
    test
}

#[test]
fn a_start_without_a_server_serves_what_was_held_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = starting(dir.path());
    first.view(&view(5, "off"));
    first.stream(vec![Ok(vec![
        change(6, "off"),
        simple("bookmark", 8),
        change(9, "on"),
    ])]);
    first.steps(2);
    drop(first);
    for _ in 0..2 {
        let mut test = starting(dir.path());
        assert_eq!((test.is_on(), test.revision()), (Some(true), 9));
        assert_eq!(test.status().source, Source::LastKnownGood);
        assert!(test.status().age.is_some());
        test.no_stream(Why::Unreachable("nothing listens there".to_owned()).into());
        assert!(matches!(test.step(), Next::After(_)));
        assert_eq!(
            (test.is_on(), test.error().as_str()),
            (Some(true), "SERVER_UNREACHABLE")
        );
    }
}

#[test]
fn a_start_with_a_server_goes_on_from_what_was_held_last_without_fetching_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = starting(dir.path());
    first
        .view(&view(5, "off"))
        .stream(vec![Ok(vec![change(6, "on")])]);
    first.steps(2);
    drop(first);
    let mut test = starting(dir.path());
    test.stream(vec![
        Ok(vec![simple("bookmark", 6)]),
        Ok(vec![change(7, "off")]),
    ]);
    test.steps(2);
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(true), Source::Live)
    );
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(false), 7));
    assert_eq!(test.asked(), [format!("http://one stream {}", id(6))]);
}

#[test]
fn a_start_with_another_token_serves_what_was_kept_and_fetches_what_that_token_sees() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = starting(dir.path());
    first.view(&view(5, "on")).stream(vec![]);
    first.steps(1);
    drop(first);
    let mut test = starting_with(dir.path(), |settings| settings.token("cp_rotated"));
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(true), Source::LastKnownGood)
    );
    test.view(&view(5, "off")).stream(vec![]);
    test.steps(1);
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(false), Source::Live)
    );
    assert_eq!(test.asked()[0], "http://one view - 0");
}

#[test]
fn what_was_kept_is_never_gone_back_from_either() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = starting(dir.path());
    first.view(&view(5, "on")).stream(vec![]);
    first.steps(1);
    drop(first);
    for (bad, code) in [
        (view(4, "off"), "VIEW_INVALID"),
        (with(view(6, "off"), "log", "another"), "LOG_FORKED"),
    ] {
        let mut test = starting(dir.path());
        test.stream(vec![Ok(vec![simple("refetch", 1)])]).view(&bad);
        test.steps(1);
        assert!(matches!(test.step(), Next::After(_)));
        assert_eq!((test.is_on(), test.error().as_str()), (Some(true), code));
        assert_eq!(test.status().source, Source::LastKnownGood);
    }
}

#[test]
fn a_kept_file_that_is_damaged_is_reported_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = starting(dir.path());
    first.view(&with(view(5, "on"), "environment", "staging"));
    let mut keeper = first.follower.keeper.take().unwrap();
    keeper.replace(b"{}", "{}").unwrap();
    drop((keeper, first));
    let mut test = starting(dir.path());
    assert_eq!(
        (test.is_on(), test.error().as_str()),
        (None, "VIEW_INVALID")
    );
    test.view(&view(5, "on")).stream(vec![]);
    test.steps(1);
    drop(test);
    assert_eq!(starting(dir.path()).is_on(), Some(true));
}

#[test]
fn a_directory_that_cannot_be_written_costs_the_keeping_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut test = starting(&file);
    assert_eq!(test.events.lock().unwrap().len(), 1);
    test.view(&view(5, "on")).stream(vec![]);
    test.steps(1);
    assert_eq!(test.is_on(), Some(true));
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| {
        if path.is_dir() {
            walk(&path)
        } else {
            vec![path]
        }
    };
    entries.flat_map(below).collect()
}

#[test]
fn a_forked_process_serves_what_it_inherited_and_touches_no_lock_of_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut test = starting(dir.path());
    test.view(&view(5, "off"))
        .stream(vec![Ok(vec![change(7, "on")])]);
    test.steps(1);
    // What is kept is older than what the child will inherit.
    test.follower.keeper = None;
    test.steps(1);
    let parent = test.process.clone();
    // As a fork finds it whose parent was just writing: nobody will ever open this lock again.
    let _held = parent.progress();
    test.clock.forks.store(1, Ordering::SeqCst);
    assert_eq!(
        (test.is_on(), test.status().source),
        (Some(true), Source::Stale)
    );
    let child = test.core.own_process();
    assert!(!Arc::ptr_eq(&parent, &child));
    assert!(Arc::ptr_eq(&child, &test.core.own_process()));

    let script = Scripted::at(&test.clock);
    let mut follower = Follower::new(Box::new(script.clone()), &test.core);
    follower.restore(&test.core, &child);
    script.knows(follower.holding.clone());
    assert_eq!((test.is_on(), test.revision()), (Some(true), 7));
    let reads = [change(6, "off"), change(7, "on"), change(8, "off")].map(|it| Ok(vec![it]));
    script.0.lock().unwrap().streams.push_back(Ok(reads.into()));
    for (revision, is_on) in [(7, true), (7, true), (7, true), (8, false)] {
        assert_eq!(follower.step(&test.core, &child), Next::Now);
        assert_eq!((test.is_on(), test.revision()), (Some(is_on), revision));
    }
    assert_eq!(test.status().source, Source::Live);
    test.core.close();
    assert_eq!(test.core.snapshot().unwrap_err(), Error::Closed);
}
