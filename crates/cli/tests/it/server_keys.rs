//! The key that a server signs with: made once, kept private, rotated while it serves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::http::Connection;
use crate::support::{Server, offline, try_start};

const STREAM: &str = "/v1/environments/production/stream";

fn connection(server: &Server) -> Connection {
    let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
    Connection::open(&server.url, token.trim()).unwrap()
}

/// The public keys that a server lists, the oldest first.
fn listed(server: &Server) -> Vec<String> {
    let reply = connection(server).get("/v1/keys").unwrap();
    let keys = reply.body["keys"].as_array().unwrap();
    let key = |it: &Value| it["key"].as_str().unwrap().to_owned();
    keys.iter().map(key).collect()
}

fn show(server: &Server) -> Value {
    server.json("server-key show --data data")
}

fn hang_up(server: &Server) {
    let pid = server.pid().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(sent.success());
}

/// Reads a stream until a head comes that a key has signed.
#[track_caller]
fn wait_for_key(stream: &mut Connection, key_id: &str) {
    let wanted = format!("\"signature\":\"ed25519:{key_id}:");
    while !stream.line().unwrap().contains(&wanted) {}
}

#[test]
fn the_first_start_makes_a_private_key_and_later_ones_sign_with_it() {
    let mut server = Server::with_platform();
    let file = server.path("data/server-key.pem");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!server.log().contains(text.lines().nth(1).unwrap()));
    let shown = show(&server);
    assert_eq!(shown["earlier"], Value::Array(Vec::new()));
    let first = vec![shown["public_key"].as_str().unwrap().to_owned()];
    assert_eq!(listed(&server), first);

    server.kill();
    server.restart_stopped(false);
    assert_eq!(listed(&server), first);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let reply = connection(&server)
        .get("/v1/environments/production/view")
        .unwrap();
    let key_id = shown["key_id"].as_str().unwrap();
    assert!(reply.headers.contains(key_id), "{}", reply.headers);
}

#[test]
fn a_key_that_is_torn_foreign_or_open_to_others_is_refused_and_kept_as_it_is() {
    let mut server = Server::empty();
    server.stop();
    let (data, file) = (server.path("data"), server.path("data/server-key.pem"));
    let text = fs::read_to_string(&file).unwrap();
    let torn = &text[..text.len() / 2];
    for (content, mode, says) in [
        (torn, 0o600, "is not a server's key"),
        ("", 0o600, "is not a server's key"),
        (
            "-----BEGIN CERTIFICATE-----\n",
            0o600,
            "is not a server's key",
        ),
        (&text, 0o644, "run `chmod 600"),
        (&text, 0o660, "others can read or write"),
    ] {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let said = try_start(&data).unwrap_err();
        assert!(said.contains(says), "{said}");
        assert!(!said.contains(text.lines().nth(1).unwrap()), "{said}");
        let show = offline(&["server-key", "show", "--data", data.to_str().unwrap()]).failed();
        assert!(show.contains(says), "{show}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    fs::write(&file, &text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    server.restart_stopped(false);
    assert_eq!(listed(&server).len(), 1);
}

#[test]
fn a_rotated_key_is_taken_into_use_by_a_signal_without_losing_a_stream() {
    let server = Server::with_platform();
    let mut stream = connection(&server);
    stream.follow(STREAM).unwrap();
    let first = show(&server);
    wait_for_key(&mut stream, first["key_id"].as_str().unwrap());

    let second = server.json("server-key rotate --data data");
    assert_eq!(second["earlier"][0], first["public_key"]);
    let mode = fs::metadata(server.path("data/server-key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(listed(&server), [first["public_key"].as_str().unwrap()]);
    hang_up(&server);
    while listed(&server).len() == 1 {}
    server.ok("tenant set new --plan free");
    wait_for_key(&mut stream, second["key_id"].as_str().unwrap());
    let keys = [&first, &second].map(|it| it["public_key"].as_str().unwrap());
    assert_eq!(listed(&server), keys);
    let text = server.ok("server-key show --data data");
    assert!(text.contains(&format!("before it: {}", keys[0])), "{text}");
}

#[test]
fn a_running_server_takes_no_key_that_its_own_does_not_vouch_for() {
    let server = Server::empty();
    let file = server.path("data/server-key.pem");
    let before = listed(&server);
    for (content, says) in [
        (None, "is not endorsed by the one in use"),
        (Some("torn"), "is not a server's key"),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
            server.ok("keygen --out data/server-key.pem");
        }
        hang_up(&server);
        while !server.log().contains(says) {}
        assert_eq!(listed(&server), before);
    }
}

#[test]
fn a_rotation_that_was_cut_off_is_told_and_changes_nothing() {
    let server = Server::empty();
    let beside = server.path("data/server-key.pem.new");
    let before = show(&server);
    fs::write(&beside, "half").unwrap();
    let refused = server
        .run(&["server-key", "rotate", "--data", "data"])
        .failed();
    assert!(
        refused.contains("another rotation is under way"),
        "{refused}"
    );
    assert_eq!(show(&server), before);
    fs::remove_file(&beside).unwrap();
    server.ok("server-key rotate --data data");
    assert_ne!(show(&server), before);
}

#[test]
fn a_directory_whose_key_was_lost_gets_another_one_with_a_warning() {
    let mut server = Server::with_platform();
    server.ok("tenant set new --plan free");
    assert!(!server.log().contains("as there was none"));
    let before = listed(&server);
    server.stop();
    fs::remove_file(server.path("data/server-key.pem")).unwrap();
    server.restart_stopped(false);
    assert_ne!(listed(&server), before);
    assert!(
        server.log().contains("as there was none"),
        "{}",
        server.log()
    );
}
