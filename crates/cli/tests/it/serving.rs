//! The server as a process: its directory, its address, its end; and commands without it.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;

use crate::http::{Connection, Reply};
use crate::support::{Server, binary, offline, run};

#[test]
fn one_directory_has_one_server() {
    let server = Server::empty();
    let second = server
        .run(&["serve", "--listen", "127.0.0.1:0", "--data", "data"])
        .failed();
    assert!(
        second.contains(&format!("in use by process {}", server.pid())),
        "{second}"
    );
    let verify = server.run(&["log", "verify", "--data", "data"]).failed();
    assert!(verify.contains("copy the directory"), "{verify}");
}

#[test]
fn a_port_that_is_taken_is_found_before_anything_is_created() {
    let server = Server::empty();
    let address = server.url.strip_prefix("http://").unwrap();
    let second = server
        .run(&["serve", "--listen", address, "--data", "other"])
        .failed();
    assert!(second.contains("is taken by another program"), "{second}");
    assert!(!server.path("other").exists());
}

#[test]
fn only_loopback_is_served_without_tls() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = offline(&[
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--data",
        data.to_str().unwrap(),
    ])
    .failed();
    assert!(refused.contains("--plaintext-behind-proxy"), "{refused}");
    assert!(!data.exists());
}

#[test]
fn the_first_start_leaves_a_private_token_and_the_second_keeps_everything() {
    let mut server = Server::with_platform();
    let file = server.path("data/admin-token");
    let token = fs::read_to_string(&file).unwrap();
    assert!(token.starts_with("cp_") && token.trim().len() > 40);
    #[cfg(unix)]
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        !server.log().contains(token.trim()),
        "the token is not in the log"
    );

    server.ok("tenant set new --plan free");
    assert_eq!(server.stop(), Some(0), "SIGTERM is a clean end");
    server.restart_stopped(true);
    assert!(server.ok("tenant list").contains("new"));
    assert_eq!(fs::read_to_string(&file).unwrap(), token);
    assert!(
        server.log().contains("the tree is not loaded"),
        "{}",
        server.log()
    );
}

#[test]
fn a_tree_that_is_refused_leaves_a_directory_that_can_be_loaded() {
    let dir = tempfile::tempdir().unwrap();
    crate::platform::write(&dir.path().join("tree"));
    let channel = dir.path().join("tree/registries/channels/production.yaml");
    fs::write(&channel, "support: 9.0.0\n").unwrap();
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "data",
        "--load",
        "tree",
    ];
    let refused = run(binary().args(serve).current_dir(dir.path())).failed();
    assert!(refused.contains("production.yaml:1:1"), "{refused}");
    fs::write(&channel, "support: 1.0.0\n").unwrap();
    let server = Server::start_in(dir, true);
    assert!(server.ok("channel list -e production").contains("1.0.0"));
}

#[test]
fn who_cannot_reach_a_server_or_has_no_token_is_told_what_to_do() {
    let whoami = |token: &str, url: &str| {
        let mut command = binary();
        command.args(["whoami", "--url", url]);
        if !token.is_empty() {
            command.env("CONTROL_PLANE_TOKEN", token);
        }
        run(&mut command).failed()
    };
    insta::assert_snapshot!("no_server", whoami("cp_x", "http://127.0.0.1:1"));
    insta::assert_snapshot!("no_token", whoami("", "http://127.0.0.1:1"));
    insta::assert_snapshot!("no_url", whoami("cp_x", "127.0.0.1:1"));
    let server = Server::empty();
    insta::assert_snapshot!("wrong_token", whoami("cp_wrong", &server.url));
}

#[test]
fn codes_are_explained_and_unknown_ones_get_a_hint() {
    let page = offline(&["explain", "revision-conflict"]).ok();
    assert!(page.starts_with("# REVISION_CONFLICT"), "{page}");
    assert!(offline(&["explain"]).ok().contains("AGENT_KILLED"));
    let near = offline(&["explain", "FLAG_MISSING"]).failed();
    assert!(near.contains("FLAG_NOT_FOUND"), "{near}");
    for code in plane_model::Code::ALL {
        let explained = offline(&["explain", code.as_str(), "--output", "json"]).ok();
        let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
        assert!(explained["page"].is_string(), "no page about {code}");
    }
}

#[test]
fn the_api_and_completions_are_printed() {
    let document: serde_json::Value = serde_json::from_str(&offline(&["openapi"]).ok()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            offline(&["completions", shell])
                .ok()
                .contains("control-plane")
        );
    }
    assert_eq!(offline(&["flag", "set", "x", "-e", "production"]).status, 2);
    insta::assert_snapshot!("help", offline(&["--help"]).ok());
}

/// Asks until too much was asked, and gives that answer; before it comes `status`.
fn until_limited(connection: &mut Connection, status: u16) -> Reply {
    for _ in 0..10_000 {
        let reply = connection.get("/v1/whoami").unwrap();
        if reply.status == 429 {
            return reply;
        }
        assert_eq!(reply.status, status, "{reply:?}");
    }
    panic!("no rate holds anybody up");
}

#[test]
fn a_token_and_an_address_have_the_rates_that_were_asked_for_and_a_kill_has_none() {
    let server = Server::with_arguments(&["--token-rate", "2", "--stranger-rate", "2"]);
    let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
    let mut admin = Connection::open(&server.url, token.trim()).unwrap();
    let request = r#"{"principal":"svc","kind":"service","role":"viewer"}"#;
    let made = admin.ask("POST", "/v1/tokens", "", request).unwrap();
    assert_eq!(made.status, 200, "{made:?}");
    let mut service = Connection::open(&server.url, made.body["token"].as_str().unwrap()).unwrap();
    let mut stranger = Connection::open(&server.url, "cp_nobody").unwrap();
    for (who, status) in [(&mut admin, 200), (&mut stranger, 401)] {
        let refused = until_limited(who, status);
        assert_eq!(refused.body["code"], "RATE_LIMITED", "{refused:?}");
        assert!(refused.body["next"].is_string(), "{refused:?}");
        let headers = refused.headers.to_ascii_lowercase();
        assert!(headers.contains("retry-after: 1\r\n"), "{headers}");
    }
    // Neither holds up another token at the same address, nor a probe.
    assert_eq!(service.get("/v1/whoami").unwrap().status, 200);
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(stranger.get(probe).unwrap().status, 200, "{probe}");
    }
    // More kills at once than any rate here lets through, by a token that is held up.
    until_limited(&mut admin, 200);
    for tenant in ["", "/tenants/big", "/tenants/small"] {
        for subject in ["flag:reasoning", "flag:beta", "agent:support", "tool:crm"] {
            let path = format!("/v1/environments/production{tenant}/kills/{subject}");
            let reply = admin.ask("PUT", &path, "", r#"{"reason":"fire"}"#).unwrap();
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
        }
    }
}
