//! Many instances of a service that lose their server at once and find it again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use plane_client::ControlPlane;
use plane_client::sdk::{Context, Event, Update};

use crate::support::Server;

/// How many clients there are, each with the threads and connections that every client has.
const CLIENTS: usize = 200;
/// How long a test waits for something that is certain to happen.
const SURE: Duration = Duration::from_mins(2);

/// Waits until every client has told of something.
#[track_caller]
fn all_told<T>(told: &Receiver<(usize, T)>, is_it: impl Fn(&T) -> bool) {
    let mut clients = BTreeSet::new();
    while clients.len() < CLIENTS {
        let (client, said) = told.recv_timeout(SURE).unwrap();
        if is_it(&said) {
            clients.insert(client);
        }
    }
}

/// Ends the requests.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn clients_that_lose_their_server_at_once_fail_no_request_and_are_current_again() {
    let mut server = Server::with_platform();
    let (tell, events) = mpsc::channel();
    let (tell_revision, revisions) = mpsc::channel();
    let start = |number: usize| {
        let (tell, tell_revision) = (tell.clone(), tell_revision.clone());
        let listen = move |event: &Event| tell.send((number, event.clone())).unwrap_or_default();
        let plane = ControlPlane::builder()
            .url(&server.url)
            .token_file(server.path("data/admin-token"))
            .environment("production")
            .service("herd")
            .instance(&number.to_string())
            .on_event(listen)
            .build()
            .unwrap();
        plane.wait_ready(SURE).unwrap();
        let tell = move |update: &Update| {
            tell_revision
                .send((number, update.revision))
                .unwrap_or_default();
        };
        let environment = plane.default_environment().unwrap();
        environment.watch_revision(tell).unwrap().keep();
        plane
    };
    let planes: Vec<_> = (0..CLIENTS).map(start).collect();
    all_told(&events, |it| it.message.contains("is served"));

    let is_over = AtomicBool::new(false);
    let ctx = Context::new().with_tenant("big");
    let requests = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut requests = 0_u64;
            for plane in planes.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let detail = plane.evaluate("reasoning", &ctx, false);
                assert_eq!(detail.error, None);
                plane.config("ai.temperature", &ctx).unwrap();
                requests += 1;
            }
            requests
        });
        // Also if what follows fails: the scope waits for the thread.
        let over = Over(&is_over);
        server.kill();
        let is_lost = |it: &Event| {
            it.code
                .is_some_and(|it| it.as_str() == "SERVER_UNREACHABLE")
        };
        all_told(&events, is_lost);
        server.restart_where_it_was();
        all_told(&events, |it| it.code.is_none());
        let killed = server.json("flag kill reasoning --environment production --reason test");
        let revision = killed["revision"].as_u64().unwrap();
        all_told(&revisions, |it| *it >= revision);
        drop(over);
        asking.join().unwrap()
    });
    assert!(requests > 0);
    for plane in &planes {
        assert!(!plane.is_enabled("reasoning", &ctx, true));
    }
}
