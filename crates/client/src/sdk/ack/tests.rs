//! What is told, when and how often, to a server that follows a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use plane_api::{AckReply, Contract, Problem, UsageReply, UsageRequest};
use plane_model::documents::FlagType;
use plane_model::{Code, Digest, EnvironmentName};
use plane_state::delivery::{At, Holding};

use super::super::builder::Builder;
use super::super::clock::test::TestClock;
use super::super::held::Held;
use super::super::status::HeldBack;
use super::*;

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    replies: VecDeque<Result<AckReply, Failure>>,
    heard: Vec<(String, AckRequest)>,
}

impl Tells for Scripted {
    fn tell(
        &self,
        target: &Target,
        request: &AckRequest,
        _: Duration,
    ) -> Result<AckReply, Failure> {
        let mut script = self.0.lock().unwrap();
        script.heard.push((target.url.clone(), request.clone()));
        script.replies.pop_front().unwrap_or(Ok(heard(false)))
    }

    fn count(&self, _: &Target, _: &UsageRequest, _: Duration) -> Result<UsageReply, Failure> {
        unreachable!("nothing is evaluated")
    }
}

fn heard(wants_contract: bool) -> AckReply {
    AckReply {
        revision: 9,
        again_seconds: 30,
        wants_contract,
    }
}

struct Test {
    core: Arc<Core>,
    process: Arc<Process>,
    reporter: Reporter,
    script: Scripted,
    clock: Arc<TestClock>,
}

impl Test {
    fn new(set: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = Arc::new(TestClock::default());
        let settings = Builder::default()
            .url("http://one,http://two")
            .clock(clock.clone());
        let name = EnvironmentName::new("production").unwrap();
        let core = Core::new(name, Arc::new(set(settings)));
        let script = Scripted::default();
        Self {
            process: core.own_process(),
            reporter: Reporter::new(Arc::new(script.clone())),
            core,
            script,
            clock,
        }
    }

    fn serve(&self, revision: u64) {
        let at = At {
            log: "log".into(),
            epoch: 0,
            revision,
            head: Digest::of(b""),
        };
        let holding = Holding::build(self.core.name.clone(), at, [], []);
        let held = Held {
            view: holding.view().clone(),
            origin: Origin::Server,
            place: holding.at().clone(),
            cause: "a test".into(),
            on_demand: None,
        };
        self.core.serve(&self.process, held);
    }

    fn step(&mut self) -> Duration {
        self.reporter.step(&self.core)
    }

    fn heard(&self) -> Vec<(String, AckRequest)> {
        std::mem::take(&mut self.script.0.lock().unwrap().heard)
    }

    fn fails(&self, why: Why, retry_after: Option<u64>) {
        let retry_after = retry_after.map(Duration::from_secs);
        let failure = Failure { why, retry_after };
        self.script
            .0
            .lock()
            .unwrap()
            .replies
            .push_back(Err(failure));
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_latest_word_is_told_once_and_again_when_the_server_asks_for_it() {
    let mut test = Test::new(|it| {
        it.service("orders")
            .service_version("1.9")
            .instance("pod-1")
    });
    test.step();
    assert_eq!(test.heard(), [], "nothing is held yet");
    test.serve(5);
    test.serve(6);
    assert_eq!(test.step(), seconds(30));
    let (url, word) = test.heard().remove(0);
    assert_eq!(
        (url.as_str(), word.serves, word.revision),
        ("http://one", 6, 6)
    );
    assert_eq!(word.state, AckState::Applied);
    assert_eq!(
        [&*word.service, &*word.service_version, &*word.instance],
        ["orders", "1.9", "pod-1"]
    );
    assert_eq!(test.step(), seconds(30));
    assert_eq!(test.heard(), []);
    test.clock.advance(seconds(30));
    test.step();
    let again = test.heard();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1.contract, None, "it was told before");
}

#[test]
fn who_does_not_say_its_name_is_told_by_host_and_process_and_forks_by_their_own() {
    let name = |set: fn(Builder) -> Builder, forks| {
        let mut test = Test::new(set);
        test.clock.fork(forks);
        test.serve(1);
        test.step();
        let (_, word) = test.heard().remove(0);
        (word.service, word.instance)
    };
    let (service, instance) = name(|it| it, 0);
    assert_eq!(service, "unknown_service");
    assert!(instance.ends_with(":0"), "{instance}");
    assert_eq!(name(|it| it.instance("pod"), 0).1, "pod");
    assert_eq!(name(|it| it.instance("pod"), 7).1, "pod/7");
}

#[test]
fn what_is_not_served_is_told_with_the_reason_and_since_when_until_it_is_served() {
    let mut test = Test::new(|it| it);
    test.serve(5);
    let error = Error::View {
        origin: "http://one".to_owned(),
        detail: "it is\nnot a view".to_owned(),
    };
    test.core.refused(&test.process, Some(7), &error);
    test.step();
    let (_, word) = test.heard().remove(0);
    assert_eq!(
        (word.serves, word.revision, word.state),
        (5, 7, AckState::Rejected)
    );
    let expected = AckProblem {
        subject: "view".to_owned(),
        pointer: String::new(),
        detail: "VIEW_INVALID: what came from http://one cannot be served: it is not a view"
            .to_owned(),
        since: 7,
    };
    assert_eq!(word.problems, [expected]);
    test.serve(8);
    let held_back = HeldBack {
        document: "targeting:f".to_owned(),
        unclean_starts: 2,
        retry_at: test.core.now(),
    };
    test.core.held_back(&test.process, vec![held_back]);
    test.step();
    test.serve(9);
    test.step();
    let told = test.heard();
    let (_, word) = &told[1];
    assert_eq!((word.serves, word.state), (9, AckState::HeldBack));
    assert_eq!(word.problems[0].subject, "targeting:f");
    assert_eq!(word.problems[0].since, 8);
    test.core.held_back(&test.process, Vec::new());
    test.step();
    assert_eq!(test.heard()[0].1.state, AckState::Applied);
}

#[test]
fn what_was_not_heard_is_told_again_later_and_elsewhere_and_the_latest_counts() {
    let mut test = Test::new(|it| it);
    test.serve(5);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        test.fails(Why::Unreachable("nothing listens there".to_owned()), None);
        let pause = test.step();
        assert_eq!(test.step(), pause, "not before the pause is over");
        pauses.push(u64::try_from(pause.as_millis()).unwrap());
        test.clock.advance(pause);
    }
    assert_eq!(
        pauses,
        [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    );
    let told = test.heard();
    assert_eq!(
        (told[0].0.as_str(), told[1].0.as_str()),
        ("http://one", "http://two")
    );
    test.fails(Why::Lost("gone".to_owned()), Some(120));
    assert_eq!(test.step(), seconds(120));
    let problem = Problem::new(Code::Forbidden, "no");
    test.clock.advance(seconds(120));
    test.fails(Why::Refused(Box::new(problem)), None);
    assert_eq!(test.step(), REFUSED_PAUSE);
    test.serve(6);
    test.clock.advance(REFUSED_PAUSE);
    test.heard();
    assert_eq!(test.step(), seconds(30));
    let told = test.heard();
    assert_eq!((told.len(), told[0].1.serves), (1, 6));
}

fn relying(mut settings: Builder) -> Builder {
    let flag = plane_model::FlagKey::new("reasoning").unwrap();
    let contract = Contract {
        flags: [(flag, FlagType::Boolean)].into(),
        ..Contract::default()
    };
    settings.contract_digest = Some(contract.digest().unwrap().0);
    settings.contract(contract)
}

#[test]
fn what_is_relied_on_is_named_always_and_told_when_a_server_asks_for_it() {
    let mut test = Test::new(relying);
    test.serve(5);
    let asks = |test: &Test| {
        let mut script = test.script.0.lock().unwrap();
        script.replies.push_back(Ok(heard(true)));
    };
    asks(&test);
    assert_eq!(test.step(), GATHER);
    test.clock.advance(GATHER);
    test.step();
    test.serve(6);
    test.step();
    let told = test.heard();
    assert!(told.iter().all(|(_, it)| it.contract_digest.is_some()));
    let told: Vec<_> = told.iter().map(|(_, it)| it.contract.is_some()).collect();
    assert_eq!(told, [false, true, false]);
}

#[test]
fn a_service_that_relies_on_nothing_has_nothing_to_tell_of_it() {
    let mut test = Test::new(|it| it.contract(Contract::default()));
    test.serve(5);
    test.step();
    let (_, word) = test.heard().remove(0);
    assert_eq!((word.contract_digest, word.contract), (None, None));
}

#[test]
fn the_last_word_is_told_at_the_end_unless_it_was() {
    let mut test = Test::new(|it| it);
    test.serve(5);
    test.step();
    test.serve(6);
    let word = acknowledgement(&test.core).unwrap();
    test.reporter.finish(&test.core, word.clone());
    test.reporter.finish(&test.core, word);
    let told: Vec<_> = test.heard().iter().map(|(_, it)| it.serves).collect();
    assert_eq!(told, [5, 6]);
}

#[test]
fn texts_are_cut_between_characters() {
    assert_eq!(bounded("aä\tb", 2), "a");
    assert_eq!(bounded("aä\tb", 4), "aä ");
}
