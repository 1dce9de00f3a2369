//! The platform from a service's and an operator's side.

use serde_json::json;

use crate::support::{Server, normalised};

#[test]
fn two_tenants_get_different_agents_and_see_why() {
    let server = Server::with_platform();
    let big = server.ok("resolve support -e production --tenant big");
    insta::assert_snapshot!("resolve_big", normalised(&big));
    let small = server.ok("resolve support -e production --tenant small");
    insta::assert_snapshot!("resolve_small", normalised(&small));

    let temperature = |tenant: &str| {
        let resolved = server.json(&format!("resolve support -e production -t {tenant}"));
        resolved["manifest"]["metadata"]["temperature"].clone()
    };
    assert_eq!(
        (temperature("big"), temperature("small")),
        (json!(0.3), json!(0.7))
    );
}

#[test]
fn a_kill_holds_until_it_is_revived_and_the_past_stays_readable() {
    let server = Server::with_platform();
    let temperature = |at: &str| {
        let line = format!("resolve support -e production --tenant big {at}");
        server.json(&line)["manifest"]["metadata"]["temperature"].clone()
    };
    let killed = server.run(&[
        "flag",
        "kill",
        "reasoning",
        "-e",
        "production",
        "--reason",
        "it lies",
    ]);
    insta::assert_snapshot!("flag_kill", normalised(&killed.ok()));
    assert_eq!(temperature(""), json!(0.7));
    assert_eq!(temperature("--at 2"), json!(0.3));
    insta::assert_snapshot!("flag_list_killed", server.ok("flag list"));
    insta::assert_snapshot!(
        "flag_show_killed",
        server.ok("flag show reasoning -e production")
    );
    server.ok("flag revive reasoning -e production");
    assert_eq!(temperature(""), json!(0.3));
    server
        .run(&[
            "agent",
            "kill",
            "support",
            "-e",
            "production",
            "--reason",
            "loops",
        ])
        .ok();
    let timeline = normalised(&server.ok("log --kind kill"));
    let lines: Vec<_> = timeline.lines().skip(1).collect();
    for (line, words) in lines.iter().zip([
        ["kill", "agent:support", "loops"],
        ["revive", "flag:reasoning", ""],
        ["kill", "flag:reasoning", "it lies"],
    ]) {
        assert!(words.iter().all(|it| line.contains(it)), "{timeline}");
    }
    let refused = server
        .run(&["resolve", "support", "-e", "production"])
        .failed();
    assert!(refused.contains("[AGENT_KILLED]"), "{refused}");
}

#[test]
fn flags_are_set_evaluated_and_explained() {
    let server = Server::with_platform();
    let set = server.ok("flag set beta -e production --percent on=50");
    assert!(set.contains("~ targeting production/beta"), "{set}");
    let shown = server.ok("flag show beta -e production");
    assert!(
        shown.contains("on 50 % by user.id"),
        "the attribute stays: {shown}"
    );
    let again = server.ok("flag set beta -e production --percent on=50");
    assert!(again.contains("nothing to do"), "{again}");

    server.ok("flag set beta -e production --off");
    assert!(
        server
            .ok("flag list -e production")
            .contains("beta       boolean  off")
    );
    server.ok("flag set beta -e staging --on");
    assert!(
        server
            .ok("flag show beta -e staging")
            .contains("default   on")
    );

    let explained = server.ok("flag explain reasoning -e production --tenant small");
    insta::assert_snapshot!("flag_explain", explained);
    let evaluated = server.ok("flag evaluate -e production --tenant big --user u1");
    insta::assert_snapshot!("flag_evaluate", evaluated);
    let refused = server.run(&[
        "flag",
        "set",
        "beta",
        "-e",
        "production",
        "--default",
        "blue",
    ]);
    insta::assert_snapshot!("flag_set_refused", refused.failed());
}

#[test]
fn configuration_is_read_set_and_explained() {
    let server = Server::with_platform();
    let get = |line: &str| server.ok(&format!("config get {line} -e production"));
    assert_eq!(get("ai.url"), "https://ai.example\n");
    assert_eq!(get("ai.temperature --tenant big"), "0.7\n");
    assert_eq!(get("ai.temperature --tenant small"), "0.5\n");
    server.ok("config set ai.temperature 0.2 --layer production.tenant=big");
    assert_eq!(get("ai.temperature --tenant big"), "0.2\n");
    assert_eq!(get("ai.temperature --tenant big --at 2"), "0.7\n");
    let explained = server.ok("config explain ai.temperature -e production --tenant big");
    insta::assert_snapshot!("config_explain", explained);
    insta::assert_snapshot!("config_list", server.ok("config list ai"));
    server.ok("config unset ai.temperature --layer production.tenant=big");
    assert_eq!(get("ai.temperature --tenant big"), "0.7\n");

    let refused = server.run(&[
        "config",
        "set",
        "ai.temperature",
        "9",
        "--layer",
        "production",
    ]);
    assert!(refused.failed().contains("[CONFIG_INVALID]"));
    let refused = server.run(&[
        "config",
        "set",
        "ai.url",
        "x",
        "--layer",
        "production.plan=free",
    ]);
    assert!(refused.failed().contains("[LAYER_NOT_ALLOWED]"));
    let missing = server
        .run(&["config", "get", "ai.nope", "-e", "production"])
        .failed();
    assert!(missing.contains("it has `temperature`, `url`"), "{missing}");
}

#[test]
fn the_registry_is_listed_searched_and_governed() {
    let server = Server::with_platform();
    insta::assert_snapshot!("agent_list", normalised(&server.ok("agent list")));
    insta::assert_snapshot!(
        "agent_show",
        normalised(&server.ok("agent show support@1.1.0"))
    );
    assert!(server.ok("tool search --category data").contains("crm"));
    assert!(server.ok("tool search nothing").contains("no tool matches"));
    let line = [
        "tool",
        "status",
        "crm@1.0.0",
        "deprecated",
        "--message",
        "too old",
    ];
    server.run(&line).ok();
    assert!(server.ok("tool list").contains("1.0.0 (deprecated)"));
    let resolved = server.ok("resolve support -e production --tenant big");
    assert!(
        resolved.contains("tool:crm@1.0.0"),
        "the warning is shown: {resolved}"
    );

    server.ok("channel set support 1.0.0 -e production --percent 1.1.0=10 --by tenant.id");
    insta::assert_snapshot!("channel_list", server.ok("channel list -e production"));
    server.ok("pin set agent:support 1.1.0 -e production --tenant small");
    let pinned = server.json("resolve support -e production --tenant small");
    assert_eq!(
        (&pinned["version"], &pinned["chosen_by"]),
        (&json!("1.1.0"), &json!("pin"))
    );
    server.ok("pin remove agent:support -e production --tenant small");
    assert!(
        server
            .ok("pin list -e production --tenant small")
            .contains("no pins")
    );
    let unknown = server
        .run(&["resolve", "nobody", "-e", "production"])
        .failed();
    insta::assert_snapshot!("resolve_unknown", unknown);
}

#[test]
fn several_manifests_are_published_together_or_not_at_all() {
    let server = Server::with_platform();
    let tool = |name: &str, schema: &str| {
        let text = format!(
            "name: {name}\nversion: 1.0.0\nmetadata:\n  description: d\n  inputs_schema: {schema}\n  outputs_schema: {{ type: object }}\n"
        );
        std::fs::write(server.path(&format!("{name}.yaml")), text).unwrap();
    };
    tool("first", "{ type: object }");
    tool("second", "7");
    let refused = server
        .run(&["tool", "publish", "first.yaml", "second.yaml"])
        .failed();
    assert!(refused.contains("second.yaml:5:3"), "{refused}");
    assert!(!server.ok("tool list").contains("first"));
    tool("second", "{ type: object }");
    let published = server.ok("tool publish first.yaml second.yaml");
    assert!(
        published.contains("+ tool first@1.0.0\n+ tool second@1.0.0"),
        "{published}"
    );
    assert!(
        server
            .ok("tool publish first.yaml second.yaml")
            .contains("nothing to do")
    );
}

#[test]
fn a_range_of_commits_to_a_flag_a_config_value_and_a_channel_is_taken_back_at_once() {
    let server = Server::with_platform();
    server.ok("flag set beta -e production --off");
    server.ok("config set ai.temperature 0.1 --layer production");
    server.ok("channel set support 1.1.0 -e production");
    let before = server.json("resolve support -e production --tenant big");
    assert_eq!(before["version"], json!("1.1.0"));
    let planned = server
        .run(&["revert", "3", "--to", "5", "--reason", "see", "--dry-run"])
        .ok();
    insta::assert_snapshot!("revert_dry_run", normalised(&planned));
    assert_eq!(server.json("log").as_array().unwrap().len(), 5);
    server
        .run(&["revert", "3", "--to", "5", "--reason", "too early"])
        .ok();
    let after = server.json("resolve support -e production --tenant big");
    assert_eq!(after["version"], json!("1.0.0"));
    assert_eq!(
        server.ok("config get ai.temperature -e production"),
        "0.7\n"
    );
    assert!(
        server
            .ok("flag show beta -e production")
            .contains("on 25 % by user.id")
    );
    insta::assert_snapshot!("log", normalised(&server.ok("log")));
    insta::assert_snapshot!("log_show", normalised(&server.ok("log show 4")));
    let only = server.json("log --kind channel --limit 1");
    assert_eq!(
        (only[0]["revision"].clone(), only.as_array().unwrap().len()),
        (json!(6), 1)
    );
}

#[test]
fn tokens_do_what_they_are_for_and_no_more() {
    let server = Server::with_platform();
    let create = [
        "token",
        "create",
        "--principal",
        "chat",
        "--kind",
        "service",
        "--role",
        "viewer",
        "--environments",
        "production",
        "--tenants",
        "small",
    ];
    let created = server.run(&create).ok();
    let token = created.trim();
    assert!(
        token.starts_with("cp_"),
        "only the token is on standard output: {created}"
    );
    let with_token = |arguments: &[&str]| {
        let mut command = server.command(arguments);
        crate::support::run(command.env("CONTROL_PLANE_TOKEN", token))
    };
    let whoami = with_token(&["whoami"]).ok();
    insta::assert_snapshot!("whoami", normalised(&whoami));
    with_token(&[
        "resolve",
        "support",
        "-e",
        "production",
        "--tenant",
        "small",
    ])
    .ok();
    let hidden = with_token(&["tenant", "show", "big"]).failed();
    assert!(hidden.contains("[NOT_FOUND]"), "{hidden}");
    let refused = with_token(&["flag", "set", "beta", "-e", "production", "--off"]).failed();
    assert!(refused.contains("[FORBIDDEN]"), "{refused}");

    let tokens = server.json("token list");
    let of_chat = tokens
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["body"]["principal"] == "chat");
    let id = of_chat.unwrap()["name"].as_str().unwrap();
    server.ok(&format!("token revoke {id}"));
    insta::assert_snapshot!("token_revoked", with_token(&["whoami"]).failed());
}

#[test]
fn tenants_environments_and_trust_are_listed_and_set() {
    let server = Server::with_platform();
    server.ok("tenant set mid --plan pro --label industry=travel");
    server.ok("tenant set mid --region eu-west --suspend");
    insta::assert_snapshot!("tenant_list", server.ok("tenant list"));
    server.ok("environment set preview --order 3");
    insta::assert_snapshot!("environment_list", server.ok("environment list"));
    let key = server.json("keygen --out k.pem");
    let public = key["public_key"].as_str().unwrap();
    server.ok(&format!("trust add acme --key {public}"));
    assert!(server.ok("trust list").contains(public));
    let twice = server
        .run(&["trust", "add", "acme", "--key", public])
        .failed();
    assert!(twice.contains("trusts"), "{twice}");
}
