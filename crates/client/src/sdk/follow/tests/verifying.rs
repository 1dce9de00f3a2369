//! What is believed of a server, or of what stands between, that tells something else than it should.

use plane_api::{AckState, Signed};
use plane_model::Timestamp;
use plane_registry::SigningKey;
use plane_state::delivery::{Endorsement, HeadStatement, KeyRing};

use super::super::super::ack;
use super::super::super::event::Level;
use super::double::{read, signed};
use super::*;

/// What stands for no head at all.
const NONE: &str = "";

/// What is given, the code that it leads to, and how it is made.
type Case<'c, T> = (&'c str, &'c str, &'c dyn Fn(&Test) -> T);
const HOUR_MS: i64 = 3_600_000;

/// What a server says of a view.
fn statement(test: &Test, view: &Value) -> HeadStatement {
    let holding = read(view.to_string().as_bytes()).unwrap();
    test.script.0.lock().unwrap().statement(&holding)
}

fn head(test: &Test, view: &Value) -> String {
    signed(statement(test, view), &key(1))
}

/// A view with what is said of it.
fn answer(view: &Value, head: &str) -> Answer {
    Answer::View {
        bytes: view.to_string().into_bytes(),
        etag: Some(format!("\"{}\"", view["revision"])),
        head: Some(head.to_owned()),
    }
}

/// A test that holds revision 5 and is told to fetch another view.
fn told_to_fetch() -> Test {
    following(vec![Ok(vec![simple("refetch", 5)])])
}

/// Says what is wrong, as servers are told of it.
fn acknowledged(test: &Test) -> (AckState, u64, Vec<String>) {
    let word = ack::acknowledgement(&test.core).unwrap();
    let revision = word.revision;
    let details = word.problems.into_iter().map(|it| it.detail);
    (word.state, revision, details.collect())
}

/// Checks that what was held is served, that everybody is told why, and that it is over once all is well.
#[track_caller]
fn serves_the_last_good_and_tells(test: &mut Test, what: &str, code: &str, told_of: u64) {
    assert!(matches!(test.step(), Next::After(_)), "{what}");
    assert_eq!((test.is_on(), test.revision()), (Some(false), 5), "{what}");
    assert_eq!(test.error(), code, "{what}");
    let (state, revision, details) = acknowledged(test);
    assert_eq!(state, AckState::Rejected, "{what}");
    // An older one is no revision that is missing, and a forked one is another at the same place.
    let told_of = if told_of < 5 { 5 } else { told_of };
    assert_eq!(revision, told_of, "{what}");
    assert!(details[0].starts_with(code), "{details:?}");
    let events = test.events.lock().unwrap().clone();
    let event = events.last().unwrap();
    assert_eq!(event.code.map(Code::as_str), Some(code), "{event:?}");
    let is_alarm = code != "VIEW_INVALID";
    assert_eq!(event.level == Level::Error, is_alarm, "{event:?}");
    let counters = test.status().counters;
    let is_unverified = ["VIEW_UNVERIFIED", "SERVER_KEY_UNTRUSTED"].contains(&code);
    assert_eq!(counters.unverified, u64::from(is_unverified));

    test.view(&view(9, "on"))
        .stream(vec![Ok(vec![simple("bookmark", 9)])]);
    test.steps(2);
    assert_eq!((test.is_on(), test.error().as_str()), (Some(true), ""));
    assert_eq!(acknowledged(test), (AckState::Applied, 9, Vec::new()));
    assert_eq!(test.status().source, Source::Live);
}

#[test]
fn a_view_that_is_not_what_a_trusted_key_signed_for_this_holder_is_not_served() {
    let next = view(6, "on");
    let with_statement = |change: fn(&mut HeadStatement)| {
        move |test: &Test| {
            let mut statement = statement(test, &view(6, "on"));
            change(&mut statement);
            (view(6, "on"), signed(statement, &key(1)))
        }
    };
    let altered = |change: fn(&mut Vec<Value>)| {
        let mut other = next.clone();
        change(other["documents"].as_array_mut().unwrap());
        move |test: &Test| (other.clone(), head(test, &view(6, "on")))
    };
    let with_head = |head: &'static str| move |_: &Test| (view(6, "on"), head.to_owned());
    let other_key = |test: &Test| {
        let statement = statement(test, &view(6, "on"));
        (view(6, "on"), signed(statement, &key(9)))
    };
    let wrong_signature = |test: &Test| {
        let good = head(test, &view(6, "on"));
        let other = head(test, &view(7, "on"));
        let [good, other] = [good, other].map(|it| serde_json::from_str::<Signed>(&it).unwrap());
        let signature = other.signature;
        let mixed = Signed { signature, ..good };
        (view(6, "on"), serde_json::to_string(&mixed).unwrap())
    };
    let replayed = |test: &Test| (view(6, "on"), head(test, &view(5, "off")));
    let forked = |test: &Test| {
        let other = with(view(5, "on"), "head", json!(hash(99)));
        let head = head(test, &other);
        (other, head)
    };
    let older = |test: &Test| (view(4, "on"), head(test, &view(4, "on")));
    let other_log = |test: &Test| {
        let other = with(view(6, "on"), "log", "another");
        let head = head(test, &other);
        (other, head)
    };
    let cases: [Case<'_, (Value, String)>; 18] = [
        ("wrong signature", "VIEW_UNVERIFIED", &wrong_signature),
        ("no head", "VIEW_UNVERIFIED", &with_head(NONE)),
        (
            "no head that can be read",
            "VIEW_UNVERIFIED",
            &with_head("x"),
        ),
        ("a replayed head", "VIEW_UNVERIFIED", &replayed),
        ("another key", "SERVER_KEY_UNTRUSTED", &other_key),
        (
            "an altered document",
            "VIEW_UNVERIFIED",
            &altered(|it| it[1]["body"]["state"] = "disabled".into()),
        ),
        (
            "an altered revision of a document",
            "VIEW_UNVERIFIED",
            &altered(|it| it[1]["revision"] = 5.into()),
        ),
        (
            "a document less",
            "VIEW_UNVERIFIED",
            &altered(|it| drop(it.pop())),
        ),
        (
            "a document more",
            "VIEW_UNVERIFIED",
            &altered(|it| {
                let mut more = it[0].clone();
                more["name"] = "g".into();
                it.push(more);
            }),
        ),
        (
            "another environment",
            "VIEW_UNVERIFIED",
            &with_statement(|it| it.environment = EnvironmentName::new("staging").unwrap()),
        ),
        (
            "another audience",
            "VIEW_UNVERIFIED",
            &with_statement(|it| it.audience = "token:t:0123456789abcdef".to_owned()),
        ),
        (
            "another log in the head",
            "VIEW_UNVERIFIED",
            &with_statement(|it| it.log = "another".to_owned()),
        ),
        (
            "another epoch",
            "VIEW_UNVERIFIED",
            &with_statement(|it| it.epoch = 1),
        ),
        (
            "another record",
            "VIEW_UNVERIFIED",
            &with_statement(|it| it.head = hash(99)),
        ),
        (
            "another revision",
            "VIEW_UNVERIFIED",
            &with_statement(|it| it.revision = 7),
        ),
        ("an older revision", "VIEW_INVALID", &older),
        ("a forked history", "LOG_FORKED", &forked),
        ("another log", "LOG_FORKED", &other_log),
    ];
    for (what, code, given) in cases {
        let mut test = told_to_fetch();
        let (view, head) = given(&test);
        test.answer(Ok(answer(&view, &head)));
        let told_of = view["revision"].as_u64().unwrap();
        serves_the_last_good_and_tells(&mut test, what, code, told_of);
    }
}

#[test]
fn nothing_is_served_at_a_first_start_that_is_not_vouched_for() {
    for (by, told, code) in [
        (Some(9), Some(1), "SERVER_KEY_UNTRUSTED"),
        (None, Some(1), "VIEW_UNVERIFIED"),
        (None, None, "VIEW_UNVERIFIED"),
    ] {
        let mut test = telling(told);
        let statement = statement(&test, &view(5, "on"));
        let head = by.map_or_else(String::new, |seed| signed(statement, &key(seed)));
        test.answer(Ok(answer(&view(5, "on"), &head)));
        assert!(matches!(test.step(), Next::After(_)));
        assert_eq!((test.is_on(), test.error().as_str()), (None, code));
    }
}

/// A test of a client that was told a key, or none.
fn telling(told: Option<u8>) -> Test {
    let mut test = Test::new();
    let mut settings = Builder::clone(&test.core.settings);
    settings.told_key = told.map(|seed| key(seed).public());
    test.core = Core::new(test.core.name.clone(), Arc::new(settings));
    test.process = test.core.own_process();
    test
}

fn rotated(seeds: &[u8], at: Timestamp) -> KeyRing {
    let (first, rest) = seeds.split_first().unwrap();
    rest.iter().fold(KeyRing::new(key(*first)), |ring, seed| {
        ring.rotate(key(*seed), at).unwrap()
    })
}

#[test]
fn what_is_told_is_served_once_it_is_vouched_for() {
    let unsigned = |event: ServerEvent| ServerEvent {
        data: event.data.replacen('{', "{\"signed\":null,", 1),
        ..event
    };
    let mut test = following(vec![
        Ok(vec![unsigned(change(6, "on"))]),
        Ok(vec![unsigned(change(7, "off"))]),
        Ok(vec![unsigned(change(8, "on")), simple("bookmark", 8)]),
    ]);
    for _ in 0..2 {
        test.steps(1);
        assert_eq!((test.is_on(), test.revision()), (Some(false), 5));
    }
    test.steps(1);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 8));
    // Also if the stream is lost in between.
    let mut test = following(vec![Ok(vec![unsigned(change(6, "on"))]), Err(lost())]);
    test.steps(1);
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(test.is_on(), Some(false));
    test.stream(vec![Ok(vec![simple("bookmark", 6)])]);
    test.steps(2);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 6));
    assert_eq!(test.asked(), [format!("http://one stream {}", id(6))]);
}

#[test]
fn an_event_that_does_not_fit_its_head_is_not_served_and_the_whole_view_makes_it_good() {
    let with_head = |mut event: ServerEvent, head: String| {
        event.data.pop();
        event.data = [&event.data, ",\"signed\":", &head, "}"].concat();
        event
    };
    let cases: [Case<'_, ServerEvent>; 6] = [
        ("altered", "VIEW_UNVERIFIED", &|test| {
            with_head(change(6, "on"), head(test, &view(6, "off")))
        }),
        ("replayed", "VIEW_UNVERIFIED", &|test| {
            with_head(change(6, "on"), head(test, &view(5, "off")))
        }),
        ("another key", "SERVER_KEY_UNTRUSTED", &|test| {
            let statement = statement(test, &view(6, "on"));
            with_head(change(6, "on"), signed(statement, &key(9)))
        }),
        ("kept back", "VIEW_UNVERIFIED", &|test| {
            with_head(simple("bookmark", 6), head(test, &view(6, "on")))
        }),
        ("forked", "LOG_FORKED", &|test| {
            let other = with(view(5, "off"), "head", json!(hash(99)));
            with_head(simple("bookmark", 5), head(test, &other))
        }),
        ("another audience", "VIEW_UNVERIFIED", &|test| {
            let mut statement = statement(test, &view(6, "on"));
            statement.audience = "token:t:0123456789abcdef".to_owned();
            with_head(change(6, "on"), signed(statement, &key(1)))
        }),
    ];
    for (what, code, given) in cases {
        let event = given(&following(Vec::new()));
        let told_of = crate::sdk::wire::revision_in(&event.id).unwrap();
        let mut test = following(vec![Ok(vec![event])]);
        serves_the_last_good_and_tells(&mut test, what, code, told_of);
    }
}

#[test]
fn changes_that_nobody_vouches_for_are_given_up_after_a_minute() {
    let unsigned = |revision| {
        let data = json!({ "revision": revision, "documents": [targeting(revision, "on")], "signed": null });
        event("change", revision, &data)
    };
    let mut test = following(vec![Ok(vec![unsigned(6)]), Ok(vec![unsigned(7)])]);
    test.steps(1);
    test.clock.ms.fetch_add(60_000, Ordering::SeqCst);
    serves_the_last_good_and_tells(&mut test, "nobody vouches", "VIEW_UNVERIFIED", 7);
}

#[test]
fn the_first_key_that_is_met_is_trusted_and_remembered_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let of = |dir: &std::path::Path| {
        starting_with(dir, |mut settings| {
            settings.told_key = None;
            settings
        })
    };
    let mut first = of(dir.path());
    first.view(&view(5, "off")).stream(vec![]);
    first.steps(1);
    assert_eq!((first.is_on(), first.revision()), (Some(false), 5));
    let known = key(1).public().to_string();
    assert_eq!(first.status().server_key.as_ref(), Some(&known));
    assert!(first.events.lock().unwrap()[0].message.contains(&known));
    drop(first);

    let mut second = of(dir.path());
    assert_eq!(second.status().server_key, Some(known));
    second.script.0.lock().unwrap().ring = KeyRing::new(key(9));
    second.stream(vec![Ok(vec![change(6, "on")])]);
    second.steps(1);
    assert!(matches!(second.step(), Next::After(_)));
    assert_eq!(
        (second.is_on(), second.error().as_str()),
        (Some(false), "SERVER_KEY_UNTRUSTED")
    );
}

#[test]
fn a_rotated_key_is_followed_and_remembered_and_the_one_before_counts_for_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let mut test = starting(dir.path());
    test.view(&view(5, "off"));
    test.stream(vec![Ok(vec![change(6, "on")]), Ok(vec![change(7, "off")])]);
    test.steps(1);
    let now = Timestamp(1_772_366_400_000);
    let ring = rotated(&[1, 2], now);
    test.script.0.lock().unwrap().ring = ring;
    test.steps(1);
    assert_eq!((test.is_on(), test.error().as_str()), (Some(true), ""));
    let second = key(2).public().to_string();
    assert_eq!(test.status().server_key.as_ref(), Some(&second));
    // A server that has not been told yet, and one that never will.
    let one = KeyRing::new(key(1));
    test.script.0.lock().unwrap().ring = one;
    test.clock.ms.fetch_add(HOUR_MS, Ordering::SeqCst);
    test.steps(1);
    assert_eq!(test.is_on(), Some(false));
    test.clock.ms.fetch_add(1, Ordering::SeqCst);
    test.stream(vec![Ok(vec![change(8, "on")])]);
    assert!(matches!(test.step(), Next::After(_)));
    test.steps(1);
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(
        (test.is_on(), test.error().as_str()),
        (Some(false), "SERVER_KEY_UNTRUSTED")
    );
    assert_eq!(test.script.0.lock().unwrap().keys_asked, 1);
    drop(test);

    let mut later = starting(dir.path());
    assert_eq!((later.is_on(), later.revision()), (Some(false), 7));
    assert_eq!(later.status().server_key, Some(second));
    later.script.0.lock().unwrap().ring = rotated(&[1, 2, 3], now);
    later.stream(vec![Ok(vec![change(8, "on")])]);
    later.steps(2);
    assert_eq!((later.is_on(), later.error().as_str()), (Some(true), ""));
}

#[test]
fn a_key_that_is_told_leads_to_those_after_it_and_no_other_key_to_a_first_view() {
    for (told, is_on) in [(1, Some(true)), (2, Some(true)), (3, None), (9, None)] {
        let mut test = telling(Some(told));
        test.script.0.lock().unwrap().ring = rotated(&[1, 2], Timestamp(0));
        test.view(&view(5, "on")).stream(vec![]);
        test.step();
        let code = if is_on.is_some() {
            ""
        } else {
            "SERVER_KEY_UNTRUSTED"
        };
        assert_eq!(
            (test.is_on(), test.error().as_str()),
            (is_on, code),
            "{told}"
        );
    }
}

#[test]
fn an_endorsement_by_another_key_leads_nowhere() {
    let mut test = following(vec![Ok(vec![change(6, "on")])]);
    let foreign = rotated(&[8, 2], Timestamp(0));
    let (_, endorsement) = foreign.keys().nth(1).unwrap();
    let Endorsement { payload, .. } = endorsement.unwrap();
    assert!(payload.contains(&key(8).public().to_string()));
    test.script.0.lock().unwrap().ring = foreign;
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(
        (test.is_on(), test.error().as_str()),
        (Some(false), "SERVER_KEY_UNTRUSTED")
    );
}

#[test]
fn what_was_kept_is_verified_before_it_is_served() {
    let right = |test: &Test| head(test, &view(5, "on"));
    let by = |test: &Test, key: &SigningKey| signed(statement(test, &view(5, "on")), key);
    let cases: [(Case<'_, String>, Value); 5] = [
        (("what was signed", "", &right), view(5, "on")),
        (("altered", "VIEW_UNVERIFIED", &right), view(5, "off")),
        (
            ("another revision", "VIEW_UNVERIFIED", &right),
            with(view(5, "on"), "revision", 6),
        ),
        (
            ("no head", "VIEW_UNVERIFIED", &|_| "x".to_owned()),
            view(5, "on"),
        ),
        (
            ("another key", "SERVER_KEY_UNTRUSTED", &|test| {
                by(test, &key(9))
            }),
            view(5, "on"),
        ),
    ];
    for ((what, code, head), view) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = starting(dir.path());
        let head = head(&writer);
        let mut keeper = writer.follower.keeper.take().unwrap();
        keeper.replace(view.to_string().as_bytes(), &head).unwrap();
        drop((keeper, writer));
        let test = starting(dir.path());
        let is_on = code.is_empty().then_some(true);
        assert_eq!(
            (test.is_on(), test.error().as_str()),
            (is_on, code),
            "{what}"
        );
        assert!(test.status().vouched_until.is_some() == code.is_empty());
    }
}

#[test]
fn of_kept_changes_those_count_that_are_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = starting(dir.path());
    first
        .view(&view(5, "off"))
        .stream(vec![Ok(vec![change(6, "on")])]);
    first.steps(2);
    let mut keeper = first.follower.keeper.take().unwrap();
    keeper.append(&change(7, "off")).unwrap();
    drop((keeper, first));
    let test = starting(dir.path());
    assert_eq!((test.is_on(), test.revision()), (Some(true), 6));
}

#[test]
fn a_server_that_vouches_for_nothing_recent_is_an_alarm_and_what_is_held_is_served() {
    let quiet = |revision| {
        event(
            "bookmark",
            revision,
            &json!({ "revision": revision, "signed": null }),
        )
    };
    let minute = |test: &Test, minutes: i64| {
        test.clock.ms.fetch_add(minutes * 60_000, Ordering::SeqCst);
    };
    let mut test = following(vec![
        Ok(vec![quiet(5)]),
        Ok(vec![quiet(5)]),
        Ok(vec![quiet(5)]),
        Ok(vec![simple("bookmark", 5)]),
    ]);
    test.steps(1);
    minute(&test, 5);
    test.steps(1);
    assert_eq!(test.error(), "", "until the moment that it was vouched for");
    minute(&test, 1);
    test.steps(1);
    let status = test.status();
    assert_eq!(
        (test.is_on(), test.error().as_str()),
        (Some(false), "HEAD_EXPIRED")
    );
    assert_eq!(status.source, Source::Live);
    let (state, _, details) = acknowledged(&test);
    assert_eq!(state, AckState::Applied);
    assert!(details[0].starts_with("HEAD_EXPIRED"), "{details:?}");
    test.steps(1);
    assert_eq!(test.error(), "");
    assert_eq!(acknowledged(&test).2, [""; 0]);
    let told = test.events.lock().unwrap().clone();
    let codes: Vec<_> = told.iter().map(|it| it.code.map(Code::as_str)).collect();
    assert_eq!(codes, [None, Some("HEAD_EXPIRED"), None]);
}

#[test]
fn an_old_word_that_nothing_changed_is_an_alarm_and_counts_as_no_news() {
    let mut test = Test::new();
    test.view(&view(5, "off"))
        .no_stream(problem(Code::RouteNotFound));
    test.steps(1);
    let mut old = statement(&test, &view(5, "off"));
    old.expires = Timestamp(test.core.now().0 - 1);
    let old = signed(old, &key(1));
    test.answer(Ok(Answer::Unchanged { head: Some(old) }));
    test.steps(1);
    assert_eq!(
        (test.is_on(), test.error().as_str()),
        (Some(false), "HEAD_EXPIRED")
    );
    test.answer(Ok(Answer::Unchanged { head: None }));
    test.steps(1);
    assert_eq!(test.error(), "");
    test.answer(Ok(Answer::Unchanged {
        head: Some(String::new()),
    }));
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(
        (test.is_on(), test.error().as_str()),
        (Some(false), "VIEW_UNVERIFIED")
    );
}

#[test]
fn another_token_in_the_same_process_gets_its_own_view() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "cp_one").unwrap();
    let mut test = Test::new();
    let settings = Builder::clone(&test.core.settings).token_file(&file);
    test.core = Core::new(test.core.name.clone(), Arc::new(settings));
    test.process = test.core.own_process();
    let meant_for = |test: &Test, view: &Value, token: &str| {
        let mut statement = statement(test, view);
        let digest = Digest::of(token.as_bytes()).hex();
        statement.audience = format!("token:t:{}", &digest[..16]);
        answer(view, &signed(statement, &key(1)))
    };
    test.answer(Ok(meant_for(&test, &view(5, "off"), "cp_one")));
    test.stream(vec![]);
    test.steps(1);
    assert_eq!(test.is_on(), Some(false));
    std::fs::write(&file, "cp_two").unwrap();
    test.answer(Ok(meant_for(&test, &view(5, "on"), "cp_two")));
    test.stream(vec![]);
    test.steps(1);
    assert_eq!((test.is_on(), test.error().as_str()), (Some(true), ""));
}
