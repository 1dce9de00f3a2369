//! A server that is killed while many write loses nothing that it acknowledged, and takes nothing twice.

use std::sync::Mutex;
use std::time::Duration;

use crate::http::Connection;
use crate::support::{Server, figure, offline};

/// How often the server is killed.
const BURSTS: u64 = 200;
/// How often it is asked to stop.
const STOPS: u64 = 5;
const WRITERS: usize = 4;

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Knuth's MMIX generator; its low bits are weak and not used.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What one writer sent: the last number that was acknowledged, and the one that may be under way.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    acknowledged: u64,
    begun: u64,
}

/// Sends what was under way when the server was killed, then more, until it is killed.
fn write(url: &str, token: &str, writer: usize, sent: &Mutex<Sent>) -> std::io::Result<()> {
    let mut connection = Connection::open(url, token)?;
    loop {
        let number = {
            let mut sent = sent.lock().unwrap();
            if sent.begun == sent.acknowledged {
                sent.begun += 1;
            }
            sent.begun
        };
        let reply = connection.commit(
            &format!("w{writer}-{number}"),
            &format!("w{writer}"),
            &number.to_string(),
        )?;
        assert_eq!(reply.status, 200, "{reply:?}");
        sent.lock().unwrap().acknowledged = number;
    }
}

fn token(server: &Server) -> String {
    std::fs::read_to_string(server.path("data/admin-token"))
        .unwrap()
        .trim()
        .to_owned()
}

/// What the server holds for a writer; 0 if nothing yet.
fn held(connection: &mut Connection, writer: usize) -> u64 {
    let reply = connection.get(&format!("/v1/segments/w{writer}")).unwrap();
    reply.body["body"]["include"][0]
        .as_str()
        .map_or(0, |text| text.parse().unwrap())
}

#[test]
fn two_hundred_kills_under_writes_lose_nothing_and_repeat_nothing() {
    let seed = u64::from(std::process::id());
    let mut dice = Dice(seed);
    let mut server = Server::empty();
    let token = token(&server);
    let first = held_revision(&server, &token);
    let sent: Vec<Mutex<Sent>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    for burst in 0..BURSTS {
        let pause = Duration::from_millis(5 + dice.roll(120));
        std::thread::scope(|scope| {
            for (writer, sent) in sent.iter().enumerate() {
                let (url, token) = (server.url.clone(), token.as_str());
                scope.spawn(move || {
                    let ended = write(&url, token, writer, sent).unwrap_err();
                    drop(ended);
                });
            }
            // The kill is meant to come at any moment: there is nothing to wait for.
            std::thread::sleep(pause);
            server.kill();
        });
        server.restart_stopped(false);
        let mut connection = Connection::open(&server.url, &token).unwrap();
        for (writer, sent) in sent.iter().enumerate() {
            let sent = *sent.lock().unwrap();
            let held = held(&mut connection, writer);
            assert!(
                (sent.acknowledged..=sent.begun).contains(&held),
                "seed {seed}, burst {burst}, writer {writer}: {sent:?}, but the server holds {held}"
            );
        }
    }
    let mut connection = Connection::open(&server.url, &token).unwrap();
    let mut total = 0;
    for (writer, sent) in sent.iter().enumerate() {
        let Sent {
            acknowledged,
            begun,
        } = *sent.lock().unwrap();
        if begun > acknowledged {
            let reply = connection.commit(
                &format!("w{writer}-{begun}"),
                &format!("w{writer}"),
                &begun.to_string(),
            );
            assert_eq!(reply.unwrap().status, 200);
        }
        assert_eq!(held(&mut connection, writer), begun);
        total += begun;
    }
    assert_eq!(
        held_revision(&server, &token) - first,
        total,
        "seed {seed}: every number is one commit"
    );
    assert_eq!(server.stop(), Some(0));
    let data = server.path("data");
    offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    figure(&format!(
        "{BURSTS} kills under writes: {total} commits acknowledged, 0 lost, 0 twice (seed {seed})"
    ));
}

fn held_revision(server: &Server, token: &str) -> u64 {
    let mut connection = Connection::open(&server.url, token).unwrap();
    connection.get("/readyz").unwrap().body["revision"]
        .as_u64()
        .unwrap()
}

#[test]
fn stopping_under_load_keeps_what_was_acknowledged() {
    let mut server = Server::empty();
    let token = token(&server);
    let sent: Vec<Mutex<Sent>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    for _ in 0..STOPS {
        std::thread::scope(|scope| {
            for (writer, sent) in sent.iter().enumerate() {
                let (url, token) = (server.url.clone(), token.as_str());
                scope.spawn(move || until_stopped(&url, token, writer, sent));
            }
            while sent
                .iter()
                .any(|it| it.lock().unwrap().acknowledged % 20 < 10)
            {
                std::thread::yield_now();
            }
            assert_eq!(server.stop(), Some(0));
        });
        server.restart_stopped(false);
        let mut connection = Connection::open(&server.url, &token).unwrap();
        for (writer, sent) in sent.iter().enumerate() {
            let sent = *sent.lock().unwrap();
            let held = held(&mut connection, writer);
            assert!(
                (sent.acknowledged..=sent.begun).contains(&held),
                "{sent:?}, {held}"
            );
        }
    }
    let sent = sent.iter().map(|it| it.lock().unwrap().acknowledged);
    let acknowledged: u64 = sent.sum();
    figure(&format!(
        "{STOPS} stops under writes: {acknowledged} commits acknowledged, 0 lost"
    ));
}

/// Writes until the connection ends or the server says that it stops.
fn until_stopped(url: &str, token: &str, writer: usize, sent: &Mutex<Sent>) {
    let Ok(mut connection) = Connection::open(url, token) else {
        return;
    };
    loop {
        let number = {
            let mut sent = sent.lock().unwrap();
            sent.begun = sent.acknowledged + 1;
            sent.begun
        };
        let key = format!("w{writer}-{number}");
        let reply = connection.commit(&key, &format!("w{writer}"), &number.to_string());
        match reply {
            Ok(reply) if reply.status == 200 => sent.lock().unwrap().acknowledged = number,
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{reply:?}");
                return;
            }
            Err(_) => return,
        }
    }
}
