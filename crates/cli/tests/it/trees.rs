//! Trees: planned, applied, exported, refused.

use std::fs;

use crate::support::{Server, normalised};

#[test]
fn a_tree_is_planned_applied_and_applied_again() {
    let server = Server::empty();
    crate::platform::write(&server.path("tree"));
    fs::write(server.path("tree/README.md"), "About it.\n").unwrap();
    let planned = server.run(&["plan", "tree", "--exit-code"]);
    assert_eq!(planned.status, 2);
    assert!(!planned.err.contains("README"), "{}", planned.err);
    insta::assert_snapshot!("plan_new", normalised(&planned.out));
    assert_eq!(
        server.json("log").as_array().unwrap().len(),
        1,
        "a plan writes nothing"
    );

    let applied = server.run(&["apply", "tree", "--reason", "first"]).ok();
    assert!(applied.contains("\nrevision 2, "), "{applied}");
    assert_eq!(
        server.ok("apply tree"),
        "nothing to do: everything is so at revision 2\n"
    );
    assert_eq!(server.run(&["plan", "tree", "--exit-code"]).status, 0);

    let flag = server.path("tree/feature_flags/beta.yaml");
    let text = fs::read_to_string(&flag).unwrap().replace("25", "50");
    fs::write(flag, text).unwrap();
    fs::remove_file(server.path("tree/tenants/small.yaml")).unwrap();
    insta::assert_snapshot!("plan_changed", normalised(&server.ok("plan tree --prune")));
    insta::assert_snapshot!("apply_left", normalised(&server.ok("apply tree")));
    server.ok("apply tree --prune");
    assert!(!server.ok("tenant list").contains("small"));
}

#[test]
fn what_a_person_changed_is_kept_unless_it_is_taken_over() {
    let server = Server::with_platform();
    server.ok("tenant set small --plan pro");
    insta::assert_snapshot!("apply_kept", normalised(&server.ok("apply tree")));
    assert!(server.ok("tenant show small").contains("pro"));
    server.ok("apply tree --take-over");
    assert!(server.ok("tenant show small").contains("free"));
}

#[test]
fn an_export_is_a_tree_that_changes_nothing() {
    let server = Server::with_platform();
    server.ok("pin set flag:beta on -e production --tenant small");
    server.ok("export out");
    assert!(
        server
            .path("out/registries/agents")
            .read_dir()
            .unwrap()
            .count()
            == 2
    );
    let planned = server.json("plan out");
    let changes = planned["plan"]["changes"].as_array().unwrap();
    assert!(
        changes
            .iter()
            .all(|it| it["diff"].as_array().unwrap().is_empty()),
        "{changes:#?}"
    );
    server.ok("export before --at 2");
    assert!(
        !fs::read_to_string(server.path("before/tenants/small.yaml"))
            .unwrap()
            .contains("pins")
    );
    let twice = server.run(&["export", "out"]).failed();
    assert!(twice.contains("`out` is not empty"), "{twice}");
}

#[test]
fn all_mistakes_of_a_tree_are_told_with_file_and_line_before_the_server_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    crate::platform::write(&dir.path().join("tree"));
    for (path, content) in [
        (
            "tree/tenants/big.yaml",
            "plan: enterprise\nregoin: eu-west\n",
        ),
        ("tree/tenants/bad name!.yaml", "plan: free\n"),
        (
            "tree/environments/staging.yaml",
            "order: 1\nprotected: true\n",
        ),
        ("tree/feature_flags/beta.yaml", "key: beta\ntype: bolean\n"),
        ("tree/configs/ai/base.yaml", "temperature: [\n"),
    ] {
        fs::write(dir.path().join(path), content).unwrap();
    }
    let ran = crate::support::run(
        crate::support::binary()
            .args(["plan", "tree"])
            .current_dir(dir.path()),
    );
    insta::assert_snapshot!("tree_with_five_mistakes", ran.failed());
}

#[test]
fn what_the_server_refuses_is_told_with_file_and_line() {
    let server = Server::with_platform();
    fs::write(
        server.path("tree/configs/ai/production.yaml"),
        "temperature: 7\n",
    )
    .unwrap();
    fs::write(
        server.path("tree/registries/channels/staging.yaml"),
        "support: 3.0.0\n",
    )
    .unwrap();
    insta::assert_snapshot!("tree_refused", server.run(&["apply", "tree"]).failed());
    let json = server.run(&["plan", "tree", "--output", "json"]).failed();
    let error: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(error["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn a_directory_that_is_no_tree_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let refused = crate::support::offline(&["plan", path]).failed();
    assert!(refused.contains("holds no documents"), "{refused}");
    let refused = crate::support::offline(&["plan", &format!("{path}/nope")]).failed();
    assert!(refused.contains("is not a directory"), "{refused}");
}

#[test]
fn what_the_server_refuses_of_a_manifest_stands_at_its_line() {
    let server = Server::with_platform();
    let agent = "\
name: other
version: 1.0.0
owner: platform-team
metadata:
  description: Helps customers
  system_prompt: You help customers.
  model: chat-1
  temperature: 0.7
  max_tokens: 1000
  tools:
    - crm
    - nowhere
";
    std::fs::write(server.path("agent.yaml"), agent).unwrap();
    let said = server.run(&["agent", "publish", "agent.yaml"]).failed();
    assert!(
        said.starts_with(
            "error: nothing was published: 1 finding [DEPENDENCY_UNSATISFIED]\n  agent.yaml:12:7: "
        ),
        "{said}"
    );
    assert!(said.contains("next: publish `nowhere` first"), "{said}");
}

#[test]
fn a_file_of_documents_that_is_too_large_is_refused_lest_they_be_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    std::fs::create_dir(dir.path().join("segments")).unwrap();
    let large = |name: &str| {
        let file = std::fs::File::create(dir.path().join("segments").join(name)).unwrap();
        file.set_len(65 << 20).unwrap();
    };
    large("notes.bin");
    let plan = || crate::support::offline(&["plan", path]).failed();
    assert!(plan().contains("holds no documents"), "{}", plan());
    large("staff.yaml");
    assert!(
        plan().contains("error: `segments/staff.yaml` is larger than "),
        "{}",
        plan()
    );
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_as_documents_is_refused_lest_they_be_pruned() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("tenants")).unwrap();
    std::fs::write(at("tenants/a.yaml"), "{}").unwrap();
    symlink("nowhere", at("notes")).unwrap();
    let refused = |what: &str| {
        let said = crate::support::offline(&["plan", path]).failed();
        assert!(
            said.contains(what) && said.contains("next: put a file"),
            "{said}"
        );
    };
    refused("notes`: No such file");
    std::fs::remove_file(at("notes")).unwrap();
    for (name, target, what) in [
        ("tenants/b.yaml", "nowhere", "b.yaml`: No such file"),
        ("tenants/b.yaml", "/dev/null", "`tenants/b.yaml` is no file"),
        (
            "feature_flags",
            "tenants",
            "`feature_flags` is a link to a directory",
        ),
    ] {
        symlink(target, at(name)).unwrap();
        refused(what);
        std::fs::remove_file(at(name)).unwrap();
    }
    let odd = dir
        .path()
        .join("tenants")
        .join(std::ffi::OsStr::from_bytes(b"\xff.yaml"));
    std::fs::write(&odd, "{}").unwrap();
    refused("is not UTF-8");
    std::fs::remove_file(&odd).unwrap();
    // Outside of the tree's folders nothing is missed.
    symlink("tenants", at("latest")).unwrap();
    let said = crate::support::offline(&["plan", path]).failed();
    assert!(said.contains("passed over latest"), "{said}");
}

/// The files that a guide shows, by their paths in the first line of each.
fn shown_in(guide: &str) -> Vec<(String, String)> {
    let blocks = guide.split("```yaml\n# ").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks
        .map(|block| block.split_once('\n').unwrap())
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
}

#[test]
fn the_guide_to_trees_shows_one_that_applies() {
    let server = Server::empty();
    let guide = include_str!("../../../../docs/guide/trees.md");
    let files = shown_in(guide);
    assert!(files.len() > 15);
    for (path, text) in &files {
        let path = server.path("tree").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    server.ok("apply tree --yes");
    let plan = server.ok("plan tree --prune");
    assert!(plan.contains("nothing to do"), "{plan}");
    let stop = "config get ai.stop -e production --tenant acme --output json";
    assert_eq!(server.ok(stop), "[\n  \"END\",\n  \"BYE\"\n]\n");
    // Every field of a flag, as the export knows them.
    for field in [
        "key",
        "type",
        "owner",
        "description",
        "tags",
        "lifecycle",
        "expires",
        "archived",
        "metadata",
        "variants",
        "overrides",
        "agents",
        "tools",
        "priority",
        "patches",
        "environments",
        "state",
        "off",
        "prerequisites",
        "targets",
        "rules",
        "default",
        "window",
        "percent",
        "ranges",
        "ramp",
        "by",
        "salt",
        "caller_default",
    ] {
        assert!(guide.contains(&format!("{field}:")), "{field}");
    }
}

#[test]
fn a_misspelt_folder_stops_a_pruning() {
    let server = Server::with_platform();
    fs::rename(
        server.path("tree/feature_flags"),
        server.path("tree/feature-flags"),
    )
    .unwrap();
    let said = server.run(&["plan", "tree", "--prune"]).failed();
    assert!(said.contains("rename it to `feature_flags/`"), "{said}");
    let plan = server.ok("plan tree");
    assert!(
        plan.contains("Not in this tree, and left as it is: 4 documents"),
        "{plan}"
    );
}
