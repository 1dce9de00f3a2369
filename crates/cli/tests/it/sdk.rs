//! The SDK against the server, with a relay between that can be cut and turned to another server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plane_client::ControlPlane;
use plane_client::sdk::{Builder, Context, Event, Source, Update};
use serde_json::{Value, json};

use crate::http::Connection;
use crate::support::Server;

/// How long a test waits for something that is certain to happen.
pub(crate) const SURE: Duration = Duration::from_mins(1);

/// A relay with an address that stays, whatever server is behind it.
pub(crate) struct Relay {
    pub(crate) url: String,
    target: Arc<Mutex<SocketAddr>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub(crate) fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            target: Arc::new(Mutex::new(address(server))),
            open: Arc::default(),
        };
        let (target, open) = (relay.target.clone(), relay.open.clone());
        // Ends with the process, as the listener does.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let target = *target.lock().unwrap();
                let Ok(server) = TcpStream::connect(target) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    open.lock().unwrap().push(from.try_clone().unwrap());
                    std::thread::spawn(move || carry(&from, &to));
                }
            }
        });
        relay
    }

    /// Leads new connections to another server, and cuts those that are open.
    pub(crate) fn turn(&self, server: &Server) {
        *self.target.lock().unwrap() = address(server);
        for stream in self.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Relay {
    /// Cuts what is open, and leads nowhere from now on.
    fn cut(&self) {
        let nowhere = TcpListener::bind("127.0.0.1:0").unwrap();
        *self.target.lock().unwrap() = nowhere.local_addr().unwrap();
        drop(nowhere);
        for stream in self.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}

fn address(server: &Server) -> SocketAddr {
    server.url.trim_start_matches("http://").parse().unwrap()
}

pub(crate) fn client(server: &Server, url: &str) -> Builder {
    ControlPlane::builder()
        .url(url)
        .token_file(server.path("data/admin-token"))
        .environment("production")
}

/// A client, and what it tells of.
pub(crate) fn telling(builder: Builder) -> (ControlPlane, Receiver<Event>) {
    let (told, events) = mpsc::channel();
    let builder = builder.on_event(move |event| told.send(event.clone()).unwrap_or_default());
    (builder.build().unwrap(), events)
}

#[track_caller]
pub(crate) fn wait_for(events: &Receiver<Event>, code: Option<&str>) -> Event {
    loop {
        let event = events.recv_timeout(SURE).unwrap();
        if event.code.map(plane_model::Code::as_str) == code {
            return event;
        }
    }
}

/// Waits for an event that is none of trouble, by what it says.
#[track_caller]
fn wait_for_words(events: &Receiver<Event>, words: &str) {
    while !wait_for(events, None).message.contains(words) {}
}

pub(crate) fn big() -> Context {
    Context::new().with_tenant("big")
}

#[test]
fn a_service_answers_from_its_server_follows_it_and_outlives_it() {
    let mut server = Server::with_platform();
    let relay = Relay::to(&server);
    let (plane, events) = telling(client(&server, &relay.url));
    plane.wait_ready(SURE).unwrap();
    let ctx = big();
    assert!(plane.is_enabled("reasoning", &ctx, false));
    assert_eq!(plane.config("ai.temperature", &ctx).unwrap(), json!(0.7));
    let agent = plane.resolve("support", &ctx).unwrap();
    assert_eq!(agent.manifest()["metadata"]["temperature"], json!(0.3));
    assert_eq!(plane.status()[0].source, Source::Live);
    wait_for_words(&events, "is served");

    let (told, updates) = mpsc::channel();
    let tell = move |update: &Update| told.send(update.new.clone()).unwrap_or_default();
    let environment = plane.default_environment().unwrap();
    let _watch = environment.watch_flag("reasoning", &ctx, tell).unwrap();
    server.ok("flag kill reasoning --environment production --reason test");
    assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(false)));
    let revision = plane.snapshot().unwrap().revision();

    server.kill();
    wait_for(&events, Some("SERVER_UNREACHABLE"));
    assert_eq!(plane.status()[0].source, Source::Stale);
    assert!(!plane.is_enabled("reasoning", &ctx, true));
    assert_eq!(plane.resolve("support", &ctx).unwrap().revision(), revision);

    server.restart_stopped(false);
    relay.turn(&server);
    wait_for_words(&events, "is followed again");
    server.ok("flag revive reasoning --environment production");
    assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(true)));
    assert_eq!(plane.status()[0].source, Source::Live);
}

#[test]
fn a_server_with_another_past_is_an_alarm_and_not_followed() {
    let (server, other) = (Server::with_platform(), Server::with_platform());
    other.ok("flag kill reasoning --environment production --reason test");
    let relay = Relay::to(&server);
    let (plane, events) = telling(client(&server, &relay.url));
    plane.wait_ready(SURE).unwrap();
    // The token is the other server's, or it would be refused for that.
    let token = std::fs::read(other.path("data/admin-token")).unwrap();
    std::fs::write(server.path("data/admin-token"), token).unwrap();
    relay.turn(&other);
    wait_for(&events, Some("LOG_FORKED"));
    assert!(plane.is_enabled("reasoning", &big(), false));
    let status = &plane.status()[0];
    assert_eq!(
        (status.source, status.counters.forks > 0),
        (Source::Stale, true)
    );
}

#[test]
fn what_a_server_refuses_is_said_at_once_and_with_help() {
    let server = Server::with_platform();
    let code = |builder: Builder| {
        let plane = builder.build().unwrap();
        let error = plane.wait_ready(SURE).unwrap_err();
        assert_ne!(error.next(), "", "{error}");
        error.code_text().to_owned()
    };
    let known = client(&server, &server.url);
    assert_eq!(code(known.clone().token("cp_wrong")), "UNAUTHENTICATED");
    assert_eq!(
        code(known.clone().environment("nowhere")),
        "ENVIRONMENT_NOT_FOUND"
    );
    let foreign = server.path("no-such-file");
    assert_eq!(code(known.token_file(foreign)), "SDK_SETTINGS_INVALID");
}

#[test]
fn a_client_that_is_closed_ends_at_once_and_many_share_a_server() {
    let server = Server::with_platform();
    let planes: Vec<_> = (0..20)
        .map(|_| client(&server, &server.url).build().unwrap())
        .collect();
    for plane in &planes {
        plane.wait_ready(SURE).unwrap();
    }
    let (told, updates) = mpsc::channel::<Option<Value>>();
    for plane in &planes {
        let told = told.clone();
        let tell = move |update: &Update| told.send(update.new.clone()).unwrap_or_default();
        let environment = plane.default_environment().unwrap();
        environment
            .watch_flag("reasoning", &big(), tell)
            .unwrap()
            .keep();
    }
    server.ok("flag kill reasoning --environment production --reason test");
    for _ in &planes {
        assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(false)));
    }
    for plane in planes {
        plane.close();
        assert_eq!(plane.status()[0].source, Source::None);
    }
}

#[test]
fn a_service_that_starts_while_its_server_is_down_answers_as_before() {
    let mut server = Server::with_platform();
    let state = server.path("state");
    let settings = client(&server, &server.url).state_dir(&state);
    let first = settings.clone().build().unwrap();
    let revision = first.wait_ready(SURE).unwrap();
    server.ok("flag kill reasoning --environment production --reason test");
    let environment = first.default_environment().unwrap();
    let (told, updates) = mpsc::channel();
    let tell = move |update: &Update| told.send(update.new.clone()).unwrap_or_default();
    // Registered before or after the kill has arrived: either way a later revision shows.
    environment.watch_revision(tell).unwrap().keep();
    if first.snapshot().unwrap().revision() == revision {
        updates.recv_timeout(SURE).unwrap();
    }
    first.close();
    server.kill();

    let (second, events) = telling(settings);
    second.wait_ready(SURE).unwrap();
    assert!(!second.is_enabled("reasoning", &big(), true));
    let agent = second.resolve("support", &big()).unwrap();
    assert_eq!(agent.manifest()["metadata"]["temperature"], json!(0.7));
    wait_for(&events, Some("SERVER_UNREACHABLE"));
    let status = &second.status()[0];
    assert_eq!(status.source, Source::LastKnownGood);
    assert_eq!(status.revision, Some(revision + 1));
}

/// Asks until the answer is as it will certainly be.
#[track_caller]
pub(crate) fn told(server: &Server, revision: u64, is_told: impl Fn(&Value) -> bool) -> Value {
    let mut status = Value::Null;
    for _ in 0..5_000 {
        status = server.json(&format!("rev {revision} status"));
        if is_told(&status) {
            return status;
        }
    }
    panic!("it is never told: {status:#}");
}

#[test]
fn a_server_is_told_which_instances_serve_a_revision_and_which_do_not() {
    let server = Server::with_platform();
    let start = |instance: &str, url: &str| {
        let builder = client(&server, url).service("orders");
        let builder = builder.service_version("1.9").instance(instance);
        let plane = builder.build().unwrap();
        plane.wait_ready(SURE).unwrap();
        plane
    };
    let relay = Relay::to(&server);
    let (one, two) = (start("one", &server.url), start("two", &relay.url));
    let revision = one.snapshot().unwrap().revision();
    let status = told(&server, revision, |it| it["instances"]["applied"] == 2);
    let services = status["services"].as_array().unwrap();
    assert_eq!(services.len(), 1);
    assert_eq!(
        (&services[0]["service"], &services[0]["service_version"]),
        (&json!("orders"), &json!("1.9"))
    );

    // The second one loses its server, to nothing that answers.
    relay.cut();
    server.ok("flag kill reasoning --environment production --reason test");
    let next = revision + 1;
    let status = told(&server, next, |it| it["instances"]["applied"] == 1);
    assert_eq!(status["instances"]["lagging"], 1);
    assert_eq!(status["behind"][0]["instance"], "two");
    assert_eq!(status["behind"][0]["serves"], revision);
    let text = server.ok(&format!("rev {next} status"));
    assert!(text.contains("orders/two in production: behind"), "{text}");
    let token = std::fs::read_to_string(server.path("data/admin-token")).unwrap();
    let mut http = Connection::open(&server.url, token.trim()).unwrap();
    let path = format!("/v1/revisions/{next}/status");
    let reply = http.ask("GET", &path, "", "").unwrap();
    assert_eq!(reply.body["instances"], status["instances"]);
    drop(two);
}

#[test]
fn the_last_word_of_a_client_that_closes_is_heard() {
    let server = Server::with_platform();
    let plane = client(&server, &server.url).instance("short");
    let plane = plane.build().unwrap();
    let revision = plane.wait_ready(SURE).unwrap();
    plane.close();
    let status = server.json(&format!("rev {revision} status"));
    assert_eq!(status["instances"]["applied"], 1, "{status:#}");
    assert_eq!(status["services"][0]["service"], "unknown_service");
}

#[test]
fn a_plan_warns_of_the_live_instances_that_would_reject_it() {
    let server = Server::with_platform();
    let contract = json!({
        "configs": { "ai": { "properties": { "temperature": { "maximum": 0.8 } } } },
        "agents": { "support": { "version": "^1" } },
    });
    let start = |instance: &str, contract: Value| {
        let builder = client(&server, &server.url).service("orders");
        let builder = builder.service_version("1.9").instance(instance);
        let contract = serde_json::from_value(contract).unwrap();
        let plane = builder.contract(contract).build().unwrap();
        plane.wait_ready(SURE).unwrap();
        plane
    };
    let planes = [
        start("one", contract.clone()),
        start("two", contract),
        start("three", json!({})),
    ];
    let revision = planes[0].snapshot().unwrap().revision();
    told(&server, revision, |it| it["instances"]["applied"] == 3);

    std::fs::write(
        server.path("tree/configs/ai/production.yaml"),
        "temperature: 0.9\n",
    )
    .unwrap();
    let tree = server.path("tree");
    let plan = format!("plan {}", tree.display());
    let mut reply = Value::Null;
    for _ in 0..5_000 {
        reply = server.json(&plan)["plan"]["instances"].clone();
        if reply["unknown"] == 0 {
            break;
        }
    }
    assert_eq!(reply["live"], 3, "{reply:#}");
    let text = server.ok(&plan);
    let warning = "2 of 3 live instances of orders 1.9 in production would reject this";
    assert!(text.contains(warning), "{text}");
    assert!(text.contains("config:ai/temperature: "), "{text}");

    // It is a warning: whoever applies it all the same is told of what came of it.
    server.ok(&format!("apply {} --yes", tree.display()));
    told(&server, revision + 1, |it| {
        it["instances"]["rejected"] == 2 && it["instances"]["applied"] == 1
    });
    for plane in &planes[..2] {
        let temperature = plane.config("ai.temperature", &Context::new()).unwrap();
        assert_eq!(temperature, json!(0.7), "the last good one serves");
    }
}

#[test]
fn a_server_knows_which_services_evaluate_a_flag_also_after_a_restart() {
    let mut server = Server::with_platform();
    let plane = client(&server, &server.url).service("orders");
    let plane = plane.service_version("1.9").build().unwrap();
    plane.wait_ready(SURE).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(plane.is_enabled("reasoning", &big(), false));
                }
            });
        }
    });
    plane.evaluate("reasoning", &Context::new().with_tenant("small"), false);
    plane.is_enabled("no_such_flag", &big(), false);
    // Its override is decided by the flag.
    plane.resolve("support", &big()).unwrap();
    plane.close();

    let told = server.json("flag usage reasoning --environment production");
    let rows: Vec<_> = (told["usage"].as_array().unwrap().iter())
        .map(|it| (&it["service"], &it["variant"], &it["reason"], &it["count"]))
        .collect();
    let row = |variant: &str, reason: &str, count: u32| {
        (json!("orders"), json!(variant), json!(reason), json!(count))
    };
    let expected = [row("off", "DEFAULT", 1), row("on", "TARGETING_MATCH", 21)];
    let expected: Vec<_> = expected.iter().map(|(a, b, c, d)| (a, b, c, d)).collect();
    assert_eq!(rows, expected, "{told:#}");
    let unknown = server.json("flag usage no_such_flag");
    assert_eq!(unknown["usage"][0]["count"], 1);
    let text = server.ok("flag usage reasoning");
    assert!(text.contains("TARGETING_MATCH"), "{text}");

    server.stop();
    server.restart_stopped(false);
    let after = server.json("flag usage reasoning --environment production");
    assert_eq!(after["usage"], told["usage"]);
}
