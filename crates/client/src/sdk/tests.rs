//! The SDK without a network: trees, memory, evaluation, errors.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::json;

use super::builder::Builder;
use super::*;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/aiaas");
/// How long a test waits for something that is certain to happen.
const SURE: Duration = Duration::from_mins(1);

fn example() -> ControlPlane {
    ControlPlane::builder()
        .tree(EXAMPLE)
        .environment("production")
        .build()
        .unwrap()
}

fn enterprise() -> Context {
    Context::new().with_tenant("tenant123").with_user("u1")
}

fn check_error(error: &Error, expected: &Expect) {
    let text = error.to_string().replace(EXAMPLE, "TREE");
    expected.assert_eq(&format!(
        "{} [{}]\n{}\n",
        text,
        error.code_text(),
        error.next()
    ));
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A tree with one flag that is on or off for everybody.
fn small_tree(root: &Path, variant: &str) {
    write(root, "environments/production.yaml", "{}\n");
    let flag = format!(
        "key: checkout\ntype: boolean\nenvironments:\n  production: {{ state: enabled, default: \"{variant}\" }}\n"
    );
    write(root, "feature_flags/checkout.yaml", &flag);
}

#[test]
fn a_tree_answers_as_a_server_would() {
    let plane = example();
    let ctx = enterprise();
    assert!(plane.is_enabled("enhanced_reasoning", &ctx, false));
    let agent = plane.resolve("customer_support_agent", &ctx).unwrap();
    assert_eq!(agent.agent().to_string(), "customer_support_agent@1.0.0");
    assert!(!agent.tools().is_empty());
    assert!(plane.config("database.url", &ctx).unwrap().is_string());
    let size: u32 = plane.config_as("database.pool_size_max", &ctx).unwrap();
    assert!(size > 0);
    let status = plane.status().remove(0);
    assert_eq!((status.source, status.revision), (Source::Tree, Some(1)));
}

#[test]
fn environments_are_loaded_when_they_are_used_and_each_is_its_own() {
    let plane = example();
    assert_eq!(plane.status()[0].source, Source::None);
    let staging = plane.environment("staging").unwrap();
    staging.wait_ready(SURE).unwrap();
    let ctx = Context::new();
    assert_ne!(
        staging.config("database.url", &ctx),
        plane.config("database.url", &ctx)
    );
    assert_eq!(
        plane.environment("staging").unwrap().status().source,
        Source::Tree
    );
    let error = plane
        .environment("nowhere")
        .unwrap()
        .wait_ready(SURE)
        .unwrap_err();
    check_error(
        &error,
        &expect![[r"
            the environment `nowhere` does not exist [ENVIRONMENT_NOT_FOUND]
            correct the name (there is: development, staging, production), or create the environment
        "]],
    );
}

#[test]
fn a_tree_with_mistakes_is_one_error_that_names_each() {
    let dir = tempfile::tempdir().unwrap();
    small_tree(dir.path(), "maybe");
    write(dir.path(), "tenants/acme.yaml", "plan: free\ncolour: red\n");
    let plane = ControlPlane::builder()
        .tree(dir.path())
        .environment("production")
        .build()
        .unwrap();
    let Error::Tree { findings, .. } = plane.wait_ready(SURE).unwrap_err() else {
        panic!("expected the tree to be refused");
    };
    let found: Vec<_> = findings
        .iter()
        .map(|it| (it.file.as_str(), it.line))
        .collect();
    assert_eq!(
        found,
        [("feature_flags/checkout.yaml", 4), ("tenants/acme.yaml", 2)]
    );

    // What a single file cannot show is found by the validation of the whole.
    small_tree(dir.path(), "on");
    let pins =
        "plan: free\npins:\n  production:\n    flag:nothing: { variant: \"on\", reason: x }\n";
    write(dir.path(), "tenants/acme.yaml", pins);
    let plane = ControlPlane::builder()
        .tree(dir.path())
        .environment("production")
        .build()
        .unwrap();
    let error = plane.wait_ready(SURE).unwrap_err();
    let Error::Tree { findings, .. } = &error else {
        panic!("expected the tree to be refused: {error}");
    };
    let found: Vec<_> = findings
        .iter()
        .map(|it| (it.file.as_str(), it.line))
        .collect();
    assert_eq!(found, [("tenants/acme.yaml", 4)], "{error}");
    assert_eq!(error.code_text(), "TREE_INVALID");
    // Nothing to answer from is no reason to fail a caller who has a default.
    assert!(plane.is_enabled("checkout", &Context::new(), true));
}

#[test]
fn a_tree_that_changes_is_read_again_and_a_mistake_keeps_what_was_good() {
    let dir = tempfile::tempdir().unwrap();
    small_tree(dir.path(), "off");
    let (seen, events) = mpsc::channel();
    let plane = ControlPlane::builder()
        .tree(dir.path())
        .environment("production")
        .on_event(move |event| seen.send(event.clone()).unwrap_or_default())
        .build()
        .unwrap();
    let is_on = || plane.is_enabled("checkout", &Context::new(), false);
    assert!(!is_on());
    assert_eq!(events.recv_timeout(SURE).unwrap().revision, Some(1));

    small_tree(dir.path(), "sideways");
    let event = events.recv_timeout(SURE).unwrap();
    assert_eq!(
        (event.level, event.code.unwrap().as_str()),
        (Level::Warning, "TREE_INVALID")
    );
    assert!(
        event.message.contains("feature_flags/checkout.yaml:4"),
        "{}",
        event.message
    );
    assert_eq!(event.revision, Some(1));
    assert!(plane.status()[0].last_error.is_some());

    small_tree(dir.path(), "on");
    assert_eq!(events.recv_timeout(SURE).unwrap().revision, Some(2));
    assert!(is_on());
    assert!(plane.status()[0].last_error.is_none());
}

#[test]
fn settings_come_from_variables_and_mistakes_in_them_name_the_variable() {
    let of = |variables: &[(&str, &str)]| {
        let known: HashMap<_, _> = variables.iter().copied().collect();
        Builder::from_variables(|name| known.get(name).map(OsString::from)).and_then(Builder::build)
    };
    check_error(
        &of(&[]).unwrap_err(),
        &expect![[r"
            no control plane is named [SDK_URL_MISSING]
            set CONTROL_PLANE_URL to a server such as `http://127.0.0.1:7400`, or to a tree such as `file:platform/`
        "]],
    );
    check_error(
        &of(&[("CONTROL_PLANE_URL", "plane.example")]).unwrap_err(),
        &expect![[r"
            the setting CONTROL_PLANE_URL cannot be used: `plane.example` is not the address of a control plane: it does not begin with `http://` or `https://`; write it as `http://127.0.0.1:7400` [SDK_SETTINGS_INVALID]
            correct CONTROL_PLANE_URL
        "]],
    );
    let url = ("CONTROL_PLANE_URL", "http://127.0.0.1:1");
    let token = of(&[url, ("CONTROL_PLANE_TOKEN", "a b")]).unwrap_err();
    assert!(token.to_string().contains("CONTROL_PLANE_TOKEN"), "{token}");
    let name = of(&[url, ("CONTROL_PLANE_ENVIRONMENT", "a b")]).unwrap_err();
    assert!(
        name.to_string().contains("CONTROL_PLANE_ENVIRONMENT"),
        "{name}"
    );
    let unnamed = of(&[url]).unwrap().wait_ready(SURE).unwrap_err();
    check_error(
        &unnamed,
        &expect![[r"
            no environment is named [SDK_ENVIRONMENT_MISSING]
            set CONTROL_PLANE_ENVIRONMENT, or name the environment in the call
        "]],
    );
    let tree = format!("file:{EXAMPLE}");
    let plane = of(&[
        ("CONTROL_PLANE_URL", &tree),
        ("CONTROL_PLANE_ENVIRONMENT", "production"),
    ])
    .unwrap();
    plane.wait_ready(SURE).unwrap();
}

#[test]
fn what_is_asked_wrongly_is_answered_with_help() {
    let plane = example();
    let ctx = enterprise();
    let agent = plane.resolve("custmer_support_agent", &ctx).unwrap_err();
    check_error(
        &agent,
        &expect![[r"
            no version of the agent `custmer_support_agent` is published [AGENT_NOT_FOUND]
            correct the name, or publish a version of `custmer_support_agent`
        "]],
    );
    check_error(
        &plane.resolve("no agent", &ctx).unwrap_err(),
        &expect![[r"
            `no agent` is not a valid agent or tool name: `name` or `namespace/name`, each 1 to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-` [NAME_INVALID]
            correct the name by that rule
        "]],
    );
    check_error(
        &plane.config("database.nothing", &ctx).unwrap_err(),
        &expect![[r"
            there is no configuration at `database.nothing` [CONFIG_NOT_FOUND]
            correct the path (`document.key.key`), add the value, or give a default
        "]],
    );
    let typed = plane.config_as::<u32>("database.url", &ctx).unwrap_err();
    assert_eq!(typed.code_text(), "CONFIG_INVALID");
    let unknown = plane.evaluate("nothing", &ctx, true);
    assert_eq!(
        (unknown.value, unknown.reason),
        (json!(true), Reason::Error)
    );
    assert_eq!(unknown.error.unwrap().as_str(), "FLAG_NOT_FOUND");
    let mistyped = plane.evaluate("enhanced_reasoning", &ctx, "text");
    assert_eq!(mistyped.error, Some(FlagError::TypeMismatch));
    assert_eq!(mistyped.value, json!("text"));
    assert_eq!(
        plane
            .evaluate("enhanced_reasoning", &ctx, json!(null))
            .error,
        None
    );
    assert_eq!(plane.status()[0].counters.evaluation_errors, 2);
}

#[test]
fn a_closed_client_says_so_and_snapshots_go_on() {
    let plane = example();
    let ctx = enterprise();
    let snapshot = plane.snapshot().unwrap();
    plane.close();
    assert_eq!(
        plane.resolve("sales_assistant", &ctx).unwrap_err(),
        Error::Closed
    );
    assert_eq!(plane.wait_ready(SURE).unwrap_err(), Error::Closed);
    assert!(plane.is_enabled("enhanced_reasoning", &ctx, true));
    let detail = plane.evaluate("enhanced_reasoning", &ctx, false);
    assert_eq!(detail.error, Some(FlagError::Closed));
    assert!(snapshot.is_enabled("enhanced_reasoning", &ctx, false));
}

#[test]
fn the_last_handle_closes_the_client() {
    let plane = example();
    let environment = plane.environment("production").unwrap();
    let snapshot = plane.snapshot().unwrap();
    drop(plane);
    assert_eq!(environment.status().source, Source::Tree);
    let core = snapshot.core.clone();
    drop(environment);
    assert_eq!(core.why_not(), Error::Closed);
}

#[test]
fn a_test_says_what_there_is_and_changes_it() {
    let memory = ControlPlane::in_memory();
    memory
        .flag("checkout", true)
        .unwrap()
        .flag("colour", "red")
        .unwrap();
    memory.config("database.pool.size", 5).unwrap();
    memory
        .agent("support", json!({ "temperature": 0.5 }))
        .unwrap();
    let plane = memory.control_plane();
    let ctx = Context::new();
    assert!(plane.is_enabled("checkout", &ctx, false));
    assert_eq!(plane.evaluate("colour", &ctx, "blue").value, json!("red"));
    assert_eq!(
        plane.config("database", &ctx).unwrap(),
        json!({"pool": {"size": 5}})
    );
    let agent = plane.resolve("support", &ctx).unwrap();
    assert_eq!(agent.manifest()["metadata"]["temperature"], json!(0.5));

    let before = plane.snapshot().unwrap();
    memory
        .flag("checkout", false)
        .unwrap()
        .config("database.pool.size", 6)
        .unwrap();
    memory
        .agent("support", json!({ "temperature": 0.1 }))
        .unwrap();
    assert!(!plane.is_enabled("checkout", &ctx, true));
    assert_eq!(plane.config("database.pool.size", &ctx).unwrap(), json!(6));
    let agent = plane.resolve("support", &ctx).unwrap();
    assert_eq!(agent.manifest()["metadata"]["temperature"], json!(0.1));
    assert!(before.is_enabled("checkout", &ctx, false));
    assert!(plane.snapshot().unwrap().revision() > before.revision());

    memory.forget_flag("checkout").unwrap();
    assert_eq!(
        plane
            .evaluate("checkout", &ctx, true)
            .error
            .unwrap()
            .as_str(),
        "FLAG_NOT_FOUND"
    );
}

#[test]
fn what_a_test_says_holds_over_rules_pins_and_layers_of_a_tree() {
    let memory = InMemory::from_tree(EXAMPLE).unwrap();
    let plane = memory.control_plane_of("production").unwrap();
    let ctx = enterprise();
    assert!(plane.is_enabled("enhanced_reasoning", &ctx, false));
    memory.flag("enhanced_reasoning", false).unwrap();
    assert!(!plane.is_enabled("enhanced_reasoning", &ctx, true));
    memory.config("database.pool_size_max", 7).unwrap();
    assert_eq!(
        plane.config("database.pool_size_max", &ctx).unwrap(),
        json!(7)
    );
    let before = plane.resolve("customer_support_agent", &ctx).unwrap();
    memory
        .agent("customer_support_agent", json!({ "temperature": 0.11 }))
        .unwrap();
    let after = plane.resolve("customer_support_agent", &ctx).unwrap();
    assert_eq!(after.manifest()["metadata"]["temperature"], json!(0.11));
    assert_ne!(before.agent().version, after.agent().version);
}

#[test]
fn a_test_cannot_say_what_a_platform_could_not_hold() {
    let memory = InMemory::from_tree(EXAMPLE).unwrap();
    let plane = memory.control_plane_of("production").unwrap();
    let refused = |said: Result<&InMemory, Error>| said.err().map(|it| it.code_text().to_owned());
    assert_eq!(
        refused(memory.flag("no flag", true)).unwrap(),
        "NAME_INVALID"
    );
    assert_eq!(
        refused(memory.flag("list", json!([1]))).unwrap(),
        "VARIANT_TYPE_MISMATCH"
    );
    assert_eq!(
        refused(memory.config("database.pool_size_max", "many")).unwrap(),
        "CONFIG_INVALID"
    );
    assert_eq!(
        refused(memory.agent("a", json!({ "tools": ["nothing"] }))).unwrap(),
        "DEPENDENCY_UNSATISFIED"
    );
    // What was refused left no trace.
    memory.flag("fine", true).unwrap();
    assert!(plane.is_enabled("fine", &Context::new(), false));
}

#[test]
fn a_share_of_units_caps_what_rules_give() {
    let memory = ControlPlane::in_memory();
    memory.flag("checkout", true).unwrap();
    let plane = memory.control_plane();
    let share = |percent: f64| {
        let options = Options {
            default: false,
            rollout_percent_max: Some(percent),
        };
        let on = (0..1_000).filter(|unit| {
            let ctx = Context::new().with_user(&format!("u{unit}"));
            plane.is_enabled("checkout", &ctx, options)
        });
        on.count()
    };
    assert_eq!((share(0.0), share(100.0)), (0, 1_000));
    assert!((200..300).contains(&share(25.0)), "{}", share(25.0));
}

#[test]
fn the_service_of_the_client_selects_layers() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "environments/production.yaml", "{}\n");
    write(dir.path(), "configs/http/base.yaml", "port: 80\n");
    write(dir.path(), "configs/http/service=chat.yaml", "port: 81\n");
    let builder = ControlPlane::builder()
        .tree(dir.path())
        .environment("production");
    let port = |plane: &ControlPlane, ctx: &Context| plane.config("http.port", ctx).unwrap();
    let chat = builder.clone().service("chat").build().unwrap();
    assert_eq!(port(&builder.build().unwrap(), &Context::new()), json!(80));
    assert_eq!(port(&chat, &Context::new()), json!(81));
    assert_eq!(
        port(&chat, &Context::new().with("service", "mail")),
        json!(80)
    );
}

#[test]
fn an_evaluation_that_waits_for_a_first_view_is_answered_when_it_comes() {
    let seen = Arc::new(Mutex::new(0));
    let plane = example();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                if plane.is_enabled("enhanced_reasoning", &enterprise(), false) {
                    *seen.lock().unwrap() += 1;
                }
            });
        }
    });
    assert_eq!(*seen.lock().unwrap(), 8);
}

#[test]
fn who_watches_is_told_of_each_other_value_with_the_one_before() {
    let memory = ControlPlane::in_memory();
    memory.config("database.pool", json!({"size": 1})).unwrap();
    memory.flag("checkout", false).unwrap();
    let plane = memory.control_plane();
    let ctx = Context::new();
    let (told, updates) = mpsc::channel();
    let environment = plane.default_environment().unwrap();
    let tell = {
        let told = told.clone();
        move |update: &Update| told.send(update.clone()).unwrap_or_default()
    };
    let _size = plane
        .watch("database.pool.size", &ctx, tell.clone())
        .unwrap();
    let _flag = environment
        .watch_flag("checkout", &ctx, tell.clone())
        .unwrap();
    let whole = plane.watch("database", &ctx, tell).unwrap();

    memory.config("database.pool.size", 2).unwrap();
    let first = updates.recv_timeout(SURE).unwrap();
    assert_eq!(
        (first.subject.as_str(), first.old, first.new),
        ("database.pool.size", Some(json!(1)), Some(json!(2)))
    );
    let second = updates.recv_timeout(SURE).unwrap();
    assert_eq!(
        (second.subject.as_str(), second.new),
        ("database", Some(json!({"pool": {"size": 2}})))
    );
    assert_eq!(Some(second.revision), plane.status()[0].revision);
    whole.end();

    memory.flag("checkout", true).unwrap();
    let third = updates.recv_timeout(SURE).unwrap();
    assert_eq!(
        (third.subject.as_str(), third.old, third.new),
        ("checkout", Some(json!(false)), Some(json!(true)))
    );
    memory.config("database.pool.size", 3).unwrap();
    assert_eq!(updates.recv_timeout(SURE).unwrap().new, Some(json!(3)));
    // Nothing else was told, and nothing is once the client is closed.
    plane.close();
    assert_eq!(
        plane.watch("database", &ctx, |_| {}).err(),
        Some(Error::Closed)
    );
    drop((told, environment));
    memory.config("database.pool.size", 4).unwrap();
    assert!(updates.try_recv().is_err());
}

#[test]
fn a_slow_callback_gets_the_latest_value_and_holds_nothing_up() {
    let memory = ControlPlane::in_memory();
    memory.config("x.n", 0).unwrap();
    let plane = memory.control_plane();
    let ctx = Context::new();
    let (told, updates) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let _watch = plane
        .watch("x.n", &ctx, move |update| {
            told.send((update.old.clone(), update.new.clone()))
                .unwrap_or_default();
            gate.lock().unwrap().recv().unwrap_or_default();
        })
        .unwrap();
    memory.config("x.n", 1).unwrap();
    assert_eq!(
        updates.recv_timeout(SURE).unwrap(),
        (Some(json!(0)), Some(json!(1)))
    );
    for n in 2..=50 {
        memory.config("x.n", n).unwrap();
        assert_eq!(plane.config("x.n", &ctx).unwrap(), json!(n));
    }
    go.send(()).unwrap();
    assert_eq!(
        updates.recv_timeout(SURE).unwrap(),
        (Some(json!(1)), Some(json!(50)))
    );
    drop(go);
}

#[test]
fn a_callback_that_panics_is_counted_and_called_again_and_others_are_told() {
    let memory = ControlPlane::in_memory();
    memory.config("x.n", 0).unwrap();
    let plane = memory.control_plane();
    let ctx = Context::new();
    let (told, updates) = mpsc::channel();
    plane
        .watch("x.n", &ctx, |_| panic!("the caller's mistake"))
        .unwrap()
        .keep();
    let tell = move |update: &Update| told.send(update.new.clone()).unwrap_or_default();
    plane.watch("x.n", &ctx, tell).unwrap().keep();
    for n in 1..=2 {
        memory.config("x.n", n).unwrap();
        assert_eq!(updates.recv_timeout(SURE).unwrap(), Some(json!(n)));
        assert_eq!(plane.status()[0].counters.callback_panics, n);
    }
}

#[test]
fn what_breaks_what_a_service_relies_on_is_not_served_and_the_last_good_is() {
    let dir = tempfile::tempdir().unwrap();
    let tree = |variant: &str, size: u32| {
        small_tree(dir.path(), variant);
        write(
            dir.path(),
            "configs/pool/base.yaml",
            &format!("size: {size}\n"),
        );
    };
    tree("off", 5);
    let (seen, events) = mpsc::channel();
    let contract = json!({
        "configs": { "pool": { "properties": { "size": { "maximum": 10 } } } },
        "flags": { "checkout": "boolean", "missing": "string" },
    });
    let plane = ControlPlane::builder()
        .tree(dir.path())
        .environment("production")
        .contract(serde_json::from_value(contract).unwrap())
        .on_event(move |event| seen.send(event.clone()).unwrap_or_default())
        .build()
        .unwrap();
    let now = || {
        let ctx = Context::new();
        let is_on = plane.is_enabled("checkout", &ctx, false);
        (is_on, plane.config("pool.size", &ctx).unwrap())
    };
    assert_eq!(now(), (false, json!(5)));
    let said = |found: &str| {
        let event = events.recv_timeout(SURE).unwrap();
        assert!(event.message.contains(found), "{}", event.message);
    };
    said("flag:missing");
    said("revision 1 is served");
    tree("on", 50);
    said("config:pool, whose last good content serves: /size: ");
    said("revision 2 is served");
    assert_eq!(now(), (true, json!(5)));
    tree("on", 7);
    said("revision 3 is served");
    assert_eq!(now(), (true, json!(7)));
}

#[test]
fn an_agent_that_a_service_cannot_use_stays_as_it_was_until_it_can() {
    let contract = |text: &str| {
        let contract = json!({ "agents": { "customer_support_agent": { "version": text } } });
        ControlPlane::builder()
            .tree(EXAMPLE)
            .environment("production")
            .contract(serde_json::from_value(contract).unwrap())
            .build()
            .unwrap()
    };
    let resolve = |plane: ControlPlane| {
        plane
            .resolve("customer_support_agent", &enterprise())
            .map(|it| it.agent().to_string())
    };
    let expected = "customer_support_agent@1.0.0".to_owned();
    assert_eq!(resolve(contract("^1")), Ok(expected));
    assert!(resolve(contract("^2")).is_err(), "there is nothing before");
}

#[test]
fn a_contract_whose_schema_is_none_is_refused() {
    let contract = json!({ "configs": { "pool": { "type": "number-ish" } } });
    let error = ControlPlane::builder()
        .tree(EXAMPLE)
        .contract(serde_json::from_value(contract).unwrap())
        .build()
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
