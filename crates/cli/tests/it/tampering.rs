//! The SDK against a real server with something between that alters what is told, and against other keys.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};

use plane_client::sdk::{Source, Update};
use serde_json::json;

use crate::sdk::{Relay, SURE, big, client, telling, told, wait_for};
use crate::support::Server;

/// What is put in the place of what, of the same length.
type Rules = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

/// A relay that alters what passes.
struct Meddler {
    url: String,
    rules: Rules,
}

impl Meddler {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let meddler = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            rules: Rules::default(),
        };
        let address = server.url.trim_start_matches("http://").to_owned();
        let rules = meddler.rules.clone();
        // Ends with the process, as the listener does.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&address) else {
                    continue;
                };
                // Nothing is compressed, so that it can be altered.
                let plain = Rules::new(Mutex::new(vec![("zstd\r\n", "none\r\n")]));
                let ways = [(&client, &server, plain), (&server, &client, rules.clone())];
                for (from, to, rules) in ways {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        drop(carry(&from, &to, &rules));
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        meddler
    }

    fn alters(&self, rules: &[(&'static str, &'static str)]) {
        assert!(rules.iter().all(|(from, to)| from.len() == to.len()));
        *self.rules.lock().unwrap() = rules.to_vec();
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, rules: &Rules) -> io::Result<()> {
    let (mut held, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.write_all(&held);
        }
        held.extend_from_slice(&buffer[..count]);
        let mut begun = 0;
        for (pattern, replacement) in &*rules.lock().unwrap() {
            let (pattern, replacement) = (pattern.as_bytes(), replacement.as_bytes());
            for at in 0..(held.len() + 1).saturating_sub(pattern.len()) {
                if held[at..].starts_with(pattern) {
                    held[at..at + pattern.len()].copy_from_slice(replacement);
                }
            }
            // What has only begun is looked at again with what follows.
            let is_begun = |length: &usize| held.ends_with(&pattern[..*length]);
            begun = begun.max((1..pattern.len()).rev().find(is_begun).unwrap_or(0));
        }
        let rest = held.split_off(held.len() - begun);
        to.write_all(&held)?;
        held = rest;
    }
}

#[test]
fn what_is_altered_on_its_way_is_not_served_and_servers_are_told_so() {
    let server = Server::with_platform();
    let meddler = Meddler::before(&server);
    let settings = client(&server, &meddler.url)
        .service("orders")
        .instance("one");
    let (plane, events) = telling(settings);
    plane.wait_ready(SURE).unwrap();
    let (sent, updates) = mpsc::channel();
    let tell = move |update: &Update| sent.send(update.new.clone()).unwrap_or_default();
    let environment = plane.default_environment().unwrap();
    let _watch = environment.watch_flag("reasoning", &big(), tell).unwrap();
    for rules in [
        // A document, its signature taken away, what was signed.
        &[("first-reason", "other-reason")][..],
        &[
            ("control-plane-head:", "control-plane-hxxd:"),
            ("data: {", "data: ["),
        ],
        &[(r#"\"audience\":\"all\""#, r#"\"audience\":\"alL\""#)],
    ] {
        meddler.alters(rules);
        server.ok("flag kill reasoning --environment production --reason first-reason");
        // Whatever way it comes by news, the whole view comes next.
        wait_for(&events, Some("VIEW_UNVERIFIED"));
        assert!(plane.is_enabled("reasoning", &big(), false));
        let status = plane.status().remove(0);
        assert!(status.counters.unverified > 0, "{status:?}");
        let revision = server.json("log --limit 1")[0]["revision"]
            .as_u64()
            .unwrap();
        // What came by the stream may have been told of before the whole view was.
        let is_rejected = |it: &serde_json::Value| {
            it["instances"]["rejected"] == 1 && it.to_string().contains("VIEW_UNVERIFIED")
        };
        told(&server, revision, is_rejected);
        let text = server.ok(&format!("rev {revision} status"));
        assert!(
            text.contains("orders/one in production: rejected"),
            "{text}"
        );
        assert!(text.contains("VIEW_UNVERIFIED"), "{text}");

        meddler.alters(&[]);
        assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(false)));
        told(&server, revision, |it| it["instances"]["applied"] == 1);
        server.ok("flag revive reasoning --environment production");
        assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(true)));
    }
}

#[test]
fn a_rotated_key_is_followed_live_and_after_a_start_without_a_server() {
    let mut server = Server::with_platform();
    let relay = Relay::to(&server);
    let key = |server: &Server| {
        let shown = server.json("server-key show --data data");
        shown["public_key"].as_str().unwrap().to_owned()
    };
    let first = key(&server);
    let settings = client(&server, &relay.url).state_dir(server.path("state"));
    let (plane, _events) = telling(settings.clone());
    plane.wait_ready(SURE).unwrap();
    assert_eq!(plane.status()[0].server_key.as_ref(), Some(&first));
    let (sent, updates) = mpsc::channel();
    let tell = move |update: &Update| sent.send(update.new.clone()).unwrap_or_default();
    let environment = plane.default_environment().unwrap();
    environment
        .watch_flag("reasoning", &big(), tell)
        .unwrap()
        .keep();

    server.ok("server-key rotate --data data");
    let hung_up = Command::new("kill")
        .args(["-HUP", &server.pid().to_string()])
        .status();
    assert!(hung_up.unwrap().success());
    while !server.log().contains("signing with the key in") {}
    server.ok("flag kill reasoning --environment production --reason test");
    assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(false)));
    let second = key(&server);
    assert_eq!(plane.status()[0].server_key.as_ref(), Some(&second));
    plane.close();

    // The server is gone, and comes back with a key that has nothing to do with these.
    server.stop();
    let (plane, events) = telling(settings.clone());
    plane.wait_ready(SURE).unwrap();
    assert!(!plane.is_enabled("reasoning", &big(), true));
    let status = plane.status().remove(0);
    assert_eq!(status.source, Source::LastKnownGood);
    assert_eq!(status.server_key.as_ref(), Some(&second));
    fs::remove_file(server.path("data/server-key.pem")).unwrap();
    server.restart_stopped(false);
    relay.turn(&server);
    wait_for(&events, Some("SERVER_KEY_UNTRUSTED"));
    assert!(!plane.is_enabled("reasoning", &big(), true));
    assert_eq!(plane.status()[0].source, Source::LastKnownGood);
    plane.close();

    // Until somebody says that it is the right one.
    let third = key(&server);
    let plane = settings.server_key(&third).build().unwrap();
    let environment = plane.default_environment().unwrap();
    let (sent, updates) = mpsc::channel();
    let tell = move |update: &Update| sent.send(update.new.clone()).unwrap_or_default();
    environment
        .watch_flag("reasoning", &big(), tell)
        .unwrap()
        .keep();
    plane.wait_ready(SURE).unwrap();
    server.ok("flag revive reasoning --environment production");
    while updates.recv_timeout(SURE).unwrap() != Some(json!(true)) {}
    let status = plane.status().remove(0);
    assert_eq!(
        (status.source, status.server_key),
        (Source::Live, Some(third))
    );
}

#[test]
fn a_key_that_is_no_key_is_refused_before_anything_is_asked() {
    let server = Server::with_platform();
    let refused = client(&server, &server.url)
        .server_key("ed25519:none")
        .build()
        .unwrap_err();
    assert_eq!(refused.code_text(), "SDK_SETTINGS_INVALID");
    assert!(
        refused.to_string().contains("CONTROL_PLANE_SERVER_KEY"),
        "{refused}"
    );
    let other = server.json("keygen --out other.pem");
    let other = other["public_key"].as_str().unwrap();
    let plane = client(&server, &server.url)
        .server_key(other)
        .build()
        .unwrap();
    let error = plane.wait_ready(SURE).unwrap_err();
    assert_eq!(error.code_text(), "SERVER_KEY_UNTRUSTED");
}
