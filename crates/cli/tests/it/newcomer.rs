//! What a person meets on the first day: what is looked at, what is misspelt, what is missing.

use std::fs;

use crate::support::Server;

#[track_caller]
fn refused(server: &Server, arguments: &[&str], says: &[&str]) {
    let said = server.run(arguments).failed();
    for text in says {
        assert!(said.contains(text), "{arguments:?} says\n{said}");
    }
}

#[test]
fn who_looks_is_neither_an_instance_nor_a_user() {
    let server = Server::with_platform();
    server.ok("flag export --format flagd -e production");
    server.ok("flag explain reasoning -e production --tenant big");
    server.ok("flag evaluate reasoning -e production --tenant big");
    server.ok("resolve support -e production --tenant big");
    let heard = server.ok("rev 2 status");
    assert!(heard.contains("no instance of any service"), "{heard}");
    let used = server.ok("flag usage reasoning");
    assert!(used.contains("no service has evaluated it"), "{used}");
}

#[test]
fn a_status_asks_for_the_message_by_its_option() {
    let server = Server::with_platform();
    let status = ["tool", "status", "crm@1.0.0", "yanked", "--reason", "old"];
    refused(
        &server,
        &status,
        &["`yanked` needs a message", "--message TEXT"],
    );
    server
        .run(&["tool", "status", "crm@1.0.0", "yanked", "--message", "bad"])
        .ok();
    let told = server.ok("resolve support -e production --tenant big");
    assert!(told.contains("tool:crm@1.0.0 is yanked: bad"), "{told}");
}

#[test]
fn what_is_not_there_is_said_with_where_to_look() {
    let server = Server::with_platform();
    for (line, says) in [
        (
            "flag explain resoning -e production",
            ["there is no flag `resoning`", "flag list"],
        ),
        (
            "config list nope",
            ["there is no config document `nope`", "config list"],
        ),
        (
            "flag evaluate reasoning -e production --at 0",
            ["nothing was there yet", "control-plane log"],
        ),
        (
            "flag evaluate reasoning -e production --at 1",
            [
                "there was no environment `production` at revision 1",
                "control-plane log",
            ],
        ),
        ("flag list --at 99", ["revision 99", "control-plane log"]),
        (
            "log show 999",
            ["there is no commit 999", "control-plane log"],
        ),
        (
            "flag revive beta -e production",
            ["there is no kill", "nothing left to do"],
        ),
    ] {
        refused(&server, &line.split(' ').collect::<Vec<_>>(), &says);
    }
    for line in [
        "exclusion-group list",
        "tenant list --plan nope",
        "flag list --tag zzz",
        "trust list --at 1",
    ] {
        assert_eq!(server.ok(line), "nothing to list\n", "{line}");
    }
    let exported = server.run(&words(
        "flag export --format flagd -e production --tenant nope",
    ));
    assert!(
        exported
            .err
            .contains("there is no tenant `nope` in production"),
        "{}",
        exported.err
    );
    exported.ok();
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn findings_about_what_no_file_says_name_the_document() {
    let server = Server::with_platform();
    fs::write(
        server.path("tree/feature_flags/needs.yaml"),
        "key: needs\ntype: boolean\nenvironments:\n  production:\n    state: enabled\n    prerequisites:\n      - { flag: beta, variants: [\"on\"] }\n",
    )
    .unwrap();
    server.ok("apply tree");
    fs::remove_file(server.path("tree/feature_flags/beta.yaml")).unwrap();
    let said = server.run(&words("plan tree --prune")).failed();
    assert!(said.contains("flag `beta`"), "{said}");
    assert!(!said.contains("/ops/"), "{said}");
}

#[test]
fn why_a_tenant_gets_something_else_is_told_with_the_reason() {
    let server = Server::with_platform();
    server.ok("pin set flag:beta on -e production --tenant big --reason trial");
    let pinned = server.ok("flag explain beta -e production --tenant big --user u1");
    assert!(
        pinned.contains("big has it pinned to on: trial"),
        "{pinned}"
    );
    server
        .run(&words(
            "flag kill beta -e production --tenant small --reason unhappy",
        ))
        .ok();
    let killed = server.ok("flag explain beta -e production --tenant small --user u1");
    assert!(
        killed.contains("it is killed for small: unhappy"),
        "{killed}"
    );
}

#[test]
fn a_tool_is_not_published_as_an_agent() {
    let server = Server::with_platform();
    let file = "tree/registries/tools/crm.yaml";
    refused(
        &server,
        &["agent", "publish", file],
        &["this looks like a tool", "control-plane tool publish"],
    );
}

#[test]
fn the_last_admin_stays_and_a_lost_one_is_made_anew_offline() {
    let mut server = Server::with_platform();
    refused(
        &server,
        &["token", "revoke", "admin"],
        &["[LAST_ADMIN]", "control-plane token create --role admin"],
    );
    let short = "token create --principal ana --kind person --role admin --environments production";
    server.ok(short);
    refused(&server, &["token", "revoke", "admin"], &["[LAST_ADMIN]"]);
    let next = server.ok("token create --principal ana --kind person --role admin");
    server.ok("token revoke admin");
    fs::write(server.path("next"), next).unwrap();
    let list = server.json("token list --token-file next");
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");

    let recover = [
        "token",
        "recover",
        "--data",
        "data",
        "--reason",
        "all are lost",
    ];
    assert!(server.run(&recover).failed().contains("in use"));
    server.stop();
    let made = server.run(&recover).ok();
    assert!(made.contains("data/admin-token"), "{made}");
    server.restart_stopped(false);
    let log = server.json("log --limit 1");
    assert_eq!(log[0]["source"], "token recover", "{log}");
    assert_eq!(log[0]["reason"], "all are lost");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(server.path("data/admin-token")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_flag_lives_its_whole_life_from_the_command_line() {
    let server = Server::with_platform();
    let new = ["flag", "set", "fresh", "--on", "-e", "production"];
    refused(
        &server,
        &new,
        &[
            "there is no flag `fresh`",
            "control-plane flag create fresh",
        ],
    );
    server.ok(
        "flag create fresh --owner team-x --tag search --metadata team=ml --metadata weight=0.5",
    );
    let shown = server.ok("flag show fresh");
    assert!(shown.contains("team = ml, weight = 0.5"), "{shown}");
    for (option, name) in [("--metadata", "w"), ("--variant", "off")] {
        let (first, second) = (format!("{name}=3"), format!("{name}=4"));
        let twice = ["flag", "create", "n", option, &first, option, &second];
        refused(
            &server,
            &twice,
            &[&format!("`{option} {name}=…` is given twice")],
        );
    }
    let wrong = server.run(&["rev", "abc", "status"]);
    assert!(wrong.err.contains("write a whole number"), "{wrong:?}");
    let reserved = ["flag", "create", "n", "--metadata", "revision=7"];
    let told = [
        "/metadata/revision",
        "[FIELD_INVALID]",
        "choose a name other than",
    ];
    refused(&server, &reserved, &told);
    server.ok("flag set fresh --on -e production");
    let value = |flag: &str| {
        let all = server.json(&format!("flag evaluate {flag} -e production --tenant big"));
        all["flags"][flag]["value"].clone()
    };
    assert_eq!(value("fresh"), true);
    let told = ["exists already", "next: choose another name"];
    refused(&server, &["flag", "create", "fresh"], &told);
    refused(
        &server,
        &["config", "get", "nope", "-e", "production"],
        &["`control-plane config list`"],
    );
    let capped = "flag explain fresh -e production --tenant big --rollout-percentage";
    let explained = server.ok(&format!("{capped} 0"));
    assert!(
        explained.contains("capped by the caller, whose 0 % do not reach the unit"),
        "{explained}"
    );
    for part in [
        "variant          none: the caller's share decided",
        "the flag itself gives the unit true; a share of more than",
    ] {
        assert!(explained.contains(part), "{explained}");
    }
    let explained = server.ok(&format!("{capped} 100"));
    assert!(
        explained.contains("the caller's 100 % reach the unit"),
        "{explained}"
    );
    let forged = "fine\nrevision 99\n  who  ceo";
    let kill = [
        "flag",
        "kill",
        "fresh",
        "-e",
        "production",
        "--reason",
        forged,
    ];
    server.run(&kill).ok();
    let shown = server.ok("flag show fresh");
    assert!(
        shown.contains("fine\\nrevision 99\\n  who  ceo\n"),
        "{shown}"
    );
    server.ok("flag revive fresh -e production");
    let at = crate::schedules::seconds_from_now(3_600);
    let later = format!("--schedule {at} --schedule-name later --reason r");
    server.ok(&format!("flag set fresh --off -e production {later}"));
    let told = [
        "in use by schedule",
        "`control-plane schedule cancel later -e production`",
    ];
    refused(&server, &["flag", "archive", "fresh"], &told);
    server.ok("schedule cancel later -e production");
    server.ok("flag archive fresh");
    assert!(value("fresh").is_null());
    let explained = server.ok("flag explain fresh -e production --tenant big");
    assert!(explained.contains("the flag is archived"), "{explained}");
    server.ok("flag unarchive fresh");
    assert_eq!(value("fresh"), true);
    server.ok("flag delete fresh");
    refused(&server, &["flag", "show", "fresh"], &["[NOT_FOUND]"]);

    server.ok("flag create theme --type string --variant off=1 --variant dark=dark");
    let theme = server.json("flag show theme");
    assert_eq!(theme["flag"]["variants"]["off"], "1");
    refused(
        &server,
        &["flag", "create", "n", "--type", "integer"],
        &["needs its variants"],
    );
    fs::write(
        server.path("whole.yaml"),
        "type: boolean\nenvironments:\n  staging: { state: enabled, default: \"on\" }\n",
    )
    .unwrap();
    server.ok("flag create whole --file whole.yaml");
    let whole = server.json("flag evaluate whole -e staging");
    assert_eq!(whole["flags"]["whole"]["value"], true);
    fs::write(server.path("wrong.yaml"), "type: boolean\nowners: me\n").unwrap();
    let wrong = ["flag", "create", "wrong", "--file", "wrong.yaml"];
    refused(&server, &wrong, &["wrong.yaml:2:1", "[FIELD_UNKNOWN]"]);
}

#[test]
fn what_holds_a_flag_back_is_shown_with_it() {
    let server = Server::with_platform();
    fs::write(
        server.path("checkout.yaml"),
        "by: tenant.id\nholdout: 10\npercent: { beta: 30 }\n",
    )
    .unwrap();
    server.ok("exclusion-group set checkout --file checkout.yaml");
    let shown = server.ok("flag show beta");
    assert!(
        shown.contains("checkout by tenant.id: may reach 30 %"),
        "{shown}"
    );
    let listed = server.ok("flag list -e production");
    assert!(listed.contains("within checkout"), "{listed}");
    server.ok("exclusion-group delete checkout");
    fs::write(
        server.path("needs.yaml"),
        "type: boolean\nenvironments:\n  production:\n    state: enabled\n    prerequisites: [{ flag: beta, variants: [\"on\"] }]\n    default: \"on\"\n",
    )
    .unwrap();
    server.ok("flag create needs --file needs.yaml");
    let listed = server.ok("flag list -e production");
    assert!(listed.contains("on, needs beta"), "{listed}");
    server.ok("flag kill beta -e production --reason test");
    let listed = server.ok("flag list -e production");
    assert!(listed.contains("withheld: beta is off"), "{listed}");
}

#[test]
fn everything_else_is_made_and_deleted_from_the_command_line() {
    let server = Server::with_platform();
    fs::write(server.path("s.yaml"), "include: [big, small]\n").unwrap();
    server.ok("segment set early --file s.yaml");
    assert!(server.ok("segment show early").contains("2 ids"));
    server.ok("segment delete early");
    server.ok("tenant delete small");
    server.ok("channel delete support -e production");
    server.ok("config delete ai --layer production.plan=free");
    let schema = server.ok("config schema ai");
    assert!(schema.contains("x-override"), "{schema}");
    fs::write(
        server.path("billing.yaml"),
        "type: object\nrequired: [url]\nproperties: { url: { type: string, x-override: [environment] } }\n",
    )
    .unwrap();
    server.ok("config set billing.url https://a --layer production");
    server.ok("config set billing.url https://b --layer staging");
    server.ok("config schema billing --file billing.yaml");
    let qa = ["environment", "set", "qa", "--order", "4"];
    refused(
        &server,
        &qa,
        &["[CONFIG_INVALID]", "environment set qa --like NAME"],
    );
    server.ok("environment set qa --order 4 --like staging");
    assert_eq!(server.ok("config get billing.url -e qa"), "https://b\n");
    refused(
        &server,
        &[
            "config",
            "set",
            "fresh.x",
            "1",
            "--layer",
            "production.tenant=big",
        ],
        &["`fresh` has no schema", "config schema fresh --file FILE"],
    );
    server.ok("config schema billing --delete");
    server.ok("config delete billing --layer qa");
    server.ok("environment delete qa");
    refused(&server, &["environment", "delete", "qa"], &["[NOT_FOUND]"]);

    server.ok("keygen --out key.pem");
    let made = server.json("keygen --out other.pem");
    let key = made["public_key"].as_str().unwrap();
    server.ok(&format!("trust add lab --key {key}"));
    refused(
        &server,
        &["trust", "remove", "default", "--key", key],
        &["`default` does not trust", "trust list"],
    );
    server.ok("trust add lab --signing optional");
    server.ok(&format!("trust remove lab --key {key}"));
    server.ok("trust delete lab");
}

#[test]
fn small_things_mean_what_they_say() {
    let server = Server::with_platform();
    server
        .run(&["config", "set", "ai.note", "", "--layer", "staging"])
        .ok();
    assert_eq!(server.ok("config get ai.note -e staging"), "\n");
    let kinds = server.run(&["uses", "segmnt", "x", "-e", "production"]);
    assert!(
        kinds
            .err
            .contains("environment, tenant, segment, flag, agent, tool"),
        "{}",
        kinds.err
    );
    let misused = server.run(&["flag", "nonsense", "-o", "json"]);
    assert_eq!(misused.status, 2);
    let said: serde_json::Value = serde_json::from_str(&misused.err).unwrap();
    assert!(
        said["detail"].as_str().unwrap().contains("nonsense"),
        "{said}"
    );
}
