//! Changes that are filed today and made later, through the binary.

use std::time::Duration;

use plane_client::sdk::Update;
use plane_model::Timestamp;
use plane_node::{Clock as _, SystemClock};
use serde_json::Value;

use crate::faulty::Faulty;
use crate::sdk::{SURE, big, client, telling};
use crate::support::Server;

/// Switches a flag off; whether it is off already makes no difference.
const OFF: &str = "flag set beta -e production --off --reason over";

/// A time that comes so many seconds from now.
pub(crate) fn seconds_from_now(seconds: i64) -> String {
    Timestamp(SystemClock.now().0 + seconds * 1_000).to_string()
}

/// Waits until `is_there` holds of what the server says.
fn until(server: &Server, line: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let value = server.json(line);
        if is_there(&value) {
            return value;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it never came: {}", server.json(line));
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_some_and(Vec::is_empty)
}

fn runs(server: &Server) -> Vec<Value> {
    let log = server.json("log --kind schedule");
    let mut runs = log.as_array().unwrap().clone();
    runs.retain(|it| it["action"] == "run");
    runs
}

/// Waits for a moment, up to a millisecond.
fn wait_for(at: Timestamp) {
    while SystemClock.now() < at {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_due_while_the_server_was_down_is_done_when_it_is_back() {
    let mut server = Server::with_platform();
    let at = seconds_from_now(3);
    server.ok(&format!("{OFF} --schedule {at} --schedule-name end"));
    server.kill();
    wait_for(at.parse().unwrap());
    server.restart_where_it_was();
    until(&server, "schedule list", is_empty);
    let flag = server.ok("flag show beta -e production");
    assert!(flag.contains("disabled"), "{flag}");
    let [run] = runs(&server).try_into().unwrap();
    assert_eq!(run["actor"], "admin");
}

/// Kills the server around the moment when a schedule is due, each time at another one.
#[test]
fn a_kill_when_a_schedule_is_due_neither_loses_nor_repeats_it() {
    let mut server = Server::with_platform();
    for (round, after_ms) in [-1, 0, 1, 2, 3, 5, 8, 12, 20].into_iter().enumerate() {
        let at = seconds_from_now(2);
        let name = format!("round{round}");
        server.ok(&format!("{OFF} --schedule {at} --schedule-name {name}"));
        let at: Timestamp = at.parse().unwrap();
        wait_for(Timestamp(at.0 + after_ms));
        server.kill();
        server.restart_where_it_was();
        until(&server, "schedule list", is_empty);
        let runs = runs(&server);
        assert_eq!(runs.len(), round + 1, "{after_ms} ms after it was due");
        let why = runs[0]["reason"].as_str().unwrap();
        assert!(why.contains(&format!("`{name}`")), "{why}");
    }
}

#[test]
fn a_schedule_is_shown_where_it_matters_and_cancelled() {
    let server = Server::with_platform();
    let at = seconds_from_now(3_600);
    let set = format!("{OFF} --schedule {at} --schedule-name end");
    let dry = server.ok(&format!("{set} --dry-run"));
    assert!(dry.contains("If it were done now"), "{dry}");
    assert!(dry.contains("~ targeting production/beta"), "{dry}");
    assert_eq!(server.ok("schedule list"), "nothing is scheduled\n");
    server.ok(&set);
    for line in [
        "flag show beta -e production",
        "flag explain beta -e production --tenant big",
    ] {
        let shown = server.ok(line);
        assert!(
            shown.contains("end: patch targeting production/beta by admin"),
            "{shown}"
        );
    }
    let shown = server.json("schedule show end -e production");
    assert_eq!(
        shown["body"]["ops"][0]["body"],
        serde_json::json!({"state": "disabled"})
    );
    let uses = server.ok("uses flag beta -e production");
    assert!(uses.contains("schedule"), "{uses}");
    let cancelled = server.ok("schedule cancel end -e production --reason mistaken");
    assert!(
        cancelled.contains("- schedule production/end"),
        "{cancelled}"
    );
    assert_eq!(server.ok("schedule list"), "nothing is scheduled\n");
    let past = server.run(&[
        "flag",
        "set",
        "beta",
        "-e",
        "production",
        "--off",
        "--schedule",
        "2020-01-01",
        "--reason",
        "late",
    ]);
    let past = past.failed();
    assert!(past.contains("has passed already"), "{past}");
}

#[test]
fn what_fails_says_why_and_stays() {
    let server = Server::with_platform();
    let whole = server.path("targeting.yaml");
    std::fs::write(&whole, "state: enabled\ndefault: \"on\"\n").unwrap();
    let at = seconds_from_now(2);
    let whole = whole.to_str().unwrap();
    server.ok(&format!(
        "flag set beta -e production --file {whole} --schedule {at} --schedule-name whole --reason launch"
    ));
    server.ok("flag set beta -e production --off --reason meanwhile");
    let failed = until(&server, "schedule show whole -e production", |it| {
        !it["body"]["failed"].is_null()
    });
    assert_eq!(
        failed["body"]["failed"]["code"], "REVISION_CONFLICT",
        "{failed}"
    );
    let flag = server.ok("flag show beta -e production");
    assert!(flag.contains("disabled"), "{flag}");
    assert!(flag.contains("failed at"), "{flag}");
    let listed = server.ok("schedule list");
    assert!(listed.contains("failed REVISION_CONFLICT"), "{listed}");
    let log = server.log();
    assert!(log.contains("schedule-failed"), "{log}");
    server.ok("schedule cancel whole -e production");
    assert_eq!(server.ok("schedule list"), "nothing is scheduled\n");
}

#[test]
fn a_client_follows_over_a_schedule_that_fails_and_fetches_nothing_anew() {
    let server = Server::with_platform();
    let (plane, _events) = telling(client(&server, &server.url));
    plane.wait_ready(SURE).unwrap();
    let (told, updates) = std::sync::mpsc::channel();
    let tell = move |update: &Update| told.send(update.new.clone()).unwrap_or_default();
    let environment = plane.default_environment().unwrap();
    let _watch = environment.watch_flag("reasoning", &big(), tell).unwrap();
    let views = || server.log().matches("operation=\"getView\"").count();
    let before = views();
    assert!(before > 0);
    let whole = server.path("targeting.yaml");
    std::fs::write(&whole, "state: enabled\n").unwrap();
    let (at, whole) = (seconds_from_now(1), whole.to_str().unwrap());
    server.ok(&format!(
        "flag set beta -e production --file {whole} --schedule {at} --schedule-name whole --reason launch"
    ));
    server.ok("flag set beta -e production --off --reason meanwhile");
    until(&server, "schedule show whole -e production", |it| {
        !it["body"]["failed"].is_null()
    });
    let at = seconds_from_now(1);
    server.ok(&format!(
        "flag set reasoning -e production --off --schedule {at} --reason over"
    ));
    assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(false.into()));
    assert_eq!(views(), before);
}

#[test]
fn what_cannot_be_written_when_it_is_due_is_written_when_the_disk_has_room_again() {
    let faulty = Faulty::start();
    let server = &faulty.server;
    let at = seconds_from_now(2);
    server.ok(&format!("{OFF} --schedule {at} --schedule-name end"));
    faulty.fault("full");
    let told = "what is scheduled cannot be written now";
    let is_told = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        server.log().contains(told)
    });
    assert!(is_told, "{}", server.log());
    let waits = server.json("schedule show end -e production");
    assert!(waits["body"]["failed"].is_null(), "{waits}");
    faulty.fault("");
    until(server, "schedule list", is_empty);
    assert_eq!(runs(server).len(), 1);
}

#[test]
fn operations_of_any_kind_are_added_from_a_file() {
    let server = Server::with_platform();
    let ops = server.path("ops.yaml");
    std::fs::write(
        &ops,
        "- { op: put, kind: tenant, name: late, body: { plan: free } }\n\
         - { op: patch, kind: targeting, scope: production, name: beta, body: { state: disabled } }\n",
    )
    .unwrap();
    let at = seconds_from_now(2);
    let ops = ops.to_str().unwrap();
    server.ok(&format!(
        "schedule add both -e production --at {at} --file {ops} --reason launch"
    ));
    until(&server, "schedule list", is_empty);
    let [run] = runs(&server).try_into().unwrap();
    assert_eq!(run["ops"].as_array().unwrap().len(), 3, "{run}");
    server.ok("tenant show late");
}
