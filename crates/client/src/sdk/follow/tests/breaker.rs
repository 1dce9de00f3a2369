//! Processes that die of what they are served, or are only stopped.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const ACT: &str = "CONTROL_PLANE_TEST_ACT";
const DIR: &str = "CONTROL_PLANE_TEST_DIR";
const MINUTE: Duration = Duration::from_mins(1);

/// What this process is to do, and in which directory, if it is one of those that a test has started.
fn part() -> Option<(String, std::path::PathBuf)> {
    let act = std::env::var_os(ACT)?.into_string().ok()?;
    Some((act, std::env::var_os(DIR)?.into()))
}

/// Has a process of its own do something of a test's.
fn run(test: &str, act: &str, dir: &Path) -> Ended {
    let name = format!("sdk::follow::tests::breaker::{test}");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .envs([(ACT, act.as_ref()), (DIR, dir.as_os_str())])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stderr).into_owned();
    (child.status.success(), child.status.code().is_none(), text)
}

/// Ends this process as whoever stops a service does, and it does nothing about it.
fn is_stopped() -> ! {
    let id = std::process::id().to_string();
    let mut kill = Command::new("kill");
    let kill = kill.args(["-TERM", &id]).stdin(Stdio::null());
    assert!(kill.status().unwrap().success());
    loop {
        std::thread::park();
    }
}

fn later(dir: &Path, minutes: u32) -> Test {
    starting_at(dir, MINUTE * minutes, |settings| settings)
}

/// The view in which the flag is on, as it was in the commit.
fn whole(revision: u64) -> Value {
    let mut whole = view(revision, "on");
    whole["documents"][1]["revision"] = json!(7);
    whole
}

/// Serves the flag as it is off for a minute.
fn is_healthy(test: &mut Test) {
    test.view(&view(5, "off"));
    test.stream(vec![
        Ok(vec![simple("bookmark", 5)]),
        Ok(vec![simple("bookmark", 6)]),
    ]);
    test.steps(2);
    test.clock.advance(MINUTE);
    test.steps(1);
}

fn meets_the_commit(test: &mut Test) {
    test.stream(vec![
        Ok(vec![simple("bookmark", 6)]),
        Ok(vec![change(7, "on")]),
    ]);
    test.steps(3);
}

/// What a process does in the test of the breaker, by its name.
fn breaker_process(act: &str, dir: &Path) {
    let minutes = match act {
        "tries it again" => 9,
        "holds it back longer" => 40,
        _ => 0,
    };
    let mut test = later(dir, minutes);
    // This is how the process uses what it is served: it dies of a flag that is on.
    let evaluate = |test: &Test| {
        if act != "survives" && test.is_on() == Some(true) {
            std::process::abort();
        }
    };
    evaluate(&test);
    match act {
        "healthy" => {
            is_healthy(&mut test);
            evaluate(&test);
        }
        "meets the commit" => {
            meets_the_commit(&mut test);
            evaluate(&test);
        }
        "starts again" => {}
        "holds it back" => {
            assert_eq!(test.is_on(), Some(false));
            let held_back = test.status().held_back;
            assert_eq!(held_back.len(), 1);
            assert_eq!(held_back[0].document, "targeting `f` in `production`");
            assert_eq!(held_back[0].unclean_starts, 2);
            let told = test.events.lock().unwrap().clone();
            assert!(
                told.iter().any(|event| event.message.contains("held back")),
                "{told:?}"
            );
            // The same content again, in a whole view, is still held back; what else there is, is not.
            let mut whole = whole(8);
            let on = json!({
                "kind": "targeting", "scope": "production", "name": "g", "revision": 8,
                "body": { "default": "on", "state": "enabled" },
            });
            let flag = json!({ "kind": "flag", "scope": "", "name": "g", "revision": 8, "body": { "type": "boolean" } });
            whole["documents"]
                .as_array_mut()
                .unwrap()
                .extend([flag, on]);
            test.stream(vec![Ok(vec![simple("refetch", 8)])])
                .view(&whole);
            test.steps(2);
            assert_eq!((test.is_on(), test.revision()), (Some(false), 8));
            let held = test.core.peek().unwrap();
            let ctx = Context::new();
            assert_eq!(
                held.view.evaluate_key("g", &ctx, test.core.now()).as_bool(),
                Some(true)
            );
            // A minute of good health makes nothing good of what is held back.
            test.clock.advance(MINUTE);
            test.stream(vec![]);
        }
        "is told to stop" => {
            let kill = json!({
                "kind": "kill", "scope": "production", "name": "flag:g", "revision": 9,
                "body": { "reason": "test" },
            });
            let data = json!({ "revision": 9, "documents": [kill] });
            test.stream(vec![Ok(vec![event("change", 9, &data)])]);
            test.steps(2);
            let held = test.core.peek().unwrap();
            let ctx = Context::new();
            assert_eq!(
                held.view.evaluate_key("g", &ctx, test.core.now()).as_bool(),
                Some(false)
            );
            assert_eq!(
                (test.is_on(), test.status().held_back.len()),
                (Some(false), 1)
            );
        }
        "tries it again" => {
            test.stream(vec![Ok(vec![simple("bookmark", 9)]), Ok(vec![])]);
            test.steps(2);
            assert_eq!(test.is_on(), Some(false));
            test.clock.advance(MINUTE);
            test.view(&whole(9)).stream(vec![Ok(vec![])]);
            test.steps(1);
            evaluate(&test);
        }
        "holds it back longer" => {
            assert_eq!(test.is_on(), Some(false));
            assert_eq!(test.status().held_back[0].unclean_starts, 3);
        }
        "survives" => {
            let body = json!({ "default": "on", "off": "off", "state": "enabled" });
            let mut another = targeting(10, "on");
            another["body"] = body;
            let data = json!({ "revision": 10, "documents": [another] });
            test.stream(vec![Ok(vec![event("change", 10, &data)])]);
            test.steps(2);
            assert_eq!(
                (test.is_on(), test.status().held_back.len()),
                (Some(true), 0)
            );
        }
        other => panic!("`{other}` is not something that a process does"),
    }
    test.core.close();
}

/// How a process ended: cleanly or not, by a signal or not, and what it wrote.
type Ended = (bool, bool, String);

#[track_caller]
fn lives((is_clean, _, text): Ended) {
    assert!(is_clean, "{text}");
}

#[track_caller]
fn dies((_, by_signal, text): Ended) {
    assert!(by_signal, "{text}");
}

#[test]
fn content_that_two_processes_died_of_is_held_back_until_it_changes() {
    if let Some((act, dir)) = part() {
        return breaker_process(&act, &dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "content_that_two_processes_died_of_is_held_back_until_it_changes";
    let run = |act: &str| run(test, act, dir.path());
    lives(run("healthy"));
    dies(run("meets the commit"));
    dies(run("starts again"));
    lives(run("holds it back"));
    lives(run("is told to stop"));
    dies(run("tries it again"));
    lives(run("holds it back longer"));
    lives(run("survives"));
}

/// What a process does in the test of stops, by its name. It is in good health all along.
fn stopped_process(act: &str, dir: &Path) {
    let mut test = later(dir, if act == "goes on" { 30 } else { 0 });
    match act {
        "begins" => is_healthy(&mut test),
        "meets the commit" => {
            meets_the_commit(&mut test);
            assert_eq!(test.is_on(), Some(true));
            is_stopped();
        }
        "starts again" => {
            assert_eq!(test.is_on(), Some(true));
            is_stopped();
        }
        "is suspicious for a while" => {
            test.stream(vec![Ok(vec![simple("bookmark", 7)]), Ok(vec![])]);
            test.steps(2);
            assert_eq!(test.is_on(), Some(false));
            let [held_back] = &test.status().held_back[..] else {
                panic!("it holds one document back");
            };
            test.clock.advance(Duration::from_millis(
                u64::try_from(held_back.retry_at.0 - test.core.now().0).unwrap(),
            ));
            test.view(&whole(7)).stream(vec![Ok(vec![]), Ok(vec![])]);
            test.steps(1);
            assert_eq!(
                (test.is_on(), &test.status().held_back[..]),
                (Some(true), &[][..])
            );
            test.clock.advance(MINUTE);
            test.steps(1);
            is_stopped();
        }
        "goes on" => {
            assert_eq!(
                (test.is_on(), &test.status().held_back[..]),
                (Some(true), &[][..])
            );
        }
        other => panic!("`{other}` is not something that a process does"),
    }
    test.core.close();
}

#[test]
fn two_quick_stops_of_a_process_in_good_health_hold_nothing_back_for_ever() {
    if let Some((act, dir)) = part() {
        return stopped_process(&act, &dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "two_quick_stops_of_a_process_in_good_health_hold_nothing_back_for_ever";
    let run = |act: &str| run(test, act, dir.path());
    lives(run("begins"));
    dies(run("meets the commit"));
    dies(run("starts again"));
    dies(run("is suspicious for a while"));
    lives(run("goes on"));
}

#[test]
fn a_process_that_ends_cleanly_or_lives_on_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let suspects = || {
        let found = walk(dir.path())
            .into_iter()
            .find(|path| path.ends_with("unclean.json"));
        found.map_or_else(String::new, |path| std::fs::read_to_string(path).unwrap())
    };
    let mut first = starting(dir.path());
    first
        .view(&view(5, "off"))
        .stream(vec![Ok(vec![simple("bookmark", 5)])]);
    first.steps(1);
    first.clock.ms.fetch_add(61_000, Ordering::SeqCst);
    first.steps(1);
    first.core.close();
    drop(first);
    for revision in 6..12 {
        let mut living = starting(dir.path());
        let variant = if revision % 2 == 0 { "on" } else { "off" };
        living.stream(vec![Ok(vec![change(revision, variant)])]);
        living.steps(2);
        // Another process starts while this one lives, with what it applied in its marker.
        let other = starting(dir.path());
        assert_eq!(other.status().held_back, []);
        other.core.close();
        living.core.close();
    }
    assert_eq!(suspects(), "");
    assert_eq!(starting(dir.path()).status().held_back, []);
}
