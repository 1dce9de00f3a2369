//! A disk that is full, read-only or broken stops writes and nothing else, and only for as long as it lasts.

use crate::faulty::Faulty;
use crate::support::{figure, offline};

#[test]
fn writes_stop_while_the_disk_fails_and_resume_by_themselves() {
    let mut faulty = Faulty::start();
    assert_eq!(faulty.commit().status, 200);
    let (mut refused, mut acknowledged) = (0, 1);
    for (fault, status, code) in [
        ("full", 507, "STORE_FULL"),
        ("readonly", 503, "STORE_UNAVAILABLE"),
        ("broken", 503, "STORE_UNAVAILABLE"),
        ("unsynced", 503, "STORE_UNAVAILABLE"),
    ] {
        let before = faulty.held();
        faulty.fault(fault);
        for _ in 0..3 {
            let reply = faulty.commit();
            assert_eq!(
                (reply.status, reply.body["code"].as_str()),
                (status, Some(code)),
                "{fault}: {reply:?}"
            );
            assert!(reply.body["next"].is_string(), "{fault}: {reply:?}");
            let says_when = reply.headers.to_ascii_lowercase().contains("retry-after:");
            assert_eq!(says_when, status == 503, "{fault}: {reply:?}");
            faulty.reads_go_on();
            refused += 1;
        }
        assert_eq!(
            faulty.held(),
            before,
            "{fault}: what was refused is not there"
        );
        faulty.fault("");
        let reply = faulty.commit();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(faulty.held(), faulty.commits.to_string());
        // What was refused can be sent again, with its key.
        let number = (faulty.commits - 1).to_string();
        let reply = faulty
            .connection()
            .commit(&format!("key-{number}"), "counter", &number)
            .unwrap();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(faulty.held(), number);
        acknowledged += 2;
    }
    let token = faulty.held();
    assert_eq!(faulty.server.stop(), Some(0));
    let data = faulty.server.path("data");
    offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    faulty.server.restart_stopped(false);
    assert_eq!(faulty.held(), token);
    figure(&format!(
        "4 faults of the disk: {refused} commits refused, {acknowledged} acknowledged before and after, 0 lost"
    ));
}

#[test]
fn a_kill_while_the_disk_fails_leaves_a_log_that_starts() {
    let mut faulty = Faulty::start();
    for fault in ["full", "broken", "unsynced"] {
        let reply = faulty.commit();
        assert_eq!(reply.status, 200, "{reply:?}");
        let before = faulty.held();
        faulty.fault(fault);
        assert_ne!(faulty.commit().status, 200);
        faulty.server.kill();
        faulty.fault("");
        faulty.server.restart_stopped(false);
        // What was not flushed may have reached the disk all the same: then it is there once, under its key.
        let attempted = faulty.commits.to_string();
        let held = faulty.held();
        assert!(
            held == before || (fault == "unsynced" && held == attempted),
            "{fault}: {held}"
        );
        let key = format!("key-{attempted}");
        let reply = faulty
            .connection()
            .commit(&key, "counter", &attempted)
            .unwrap();
        assert_eq!(reply.status, 200, "{fault}: {reply:?}");
        assert_eq!(faulty.held(), attempted, "{fault}");
    }
}
