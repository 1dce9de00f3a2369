//! Who refers to what, and which flags should be gone, as people are told.

use crate::support::Server;

#[test]
fn uses_are_listed_with_their_places() {
    let server = Server::with_platform();
    let tool = server.ok("uses tool crm -e production");
    insta::assert_snapshot!("uses_tool", tool);
    let none = server.ok("uses flag beta -e staging");
    assert!(
        none.contains("nothing refers to flag beta in staging"),
        "{none}"
    );
    let agent = server.json("uses agent support@1.0.0 -e production");
    assert_eq!(
        agent["uses"][0]["pointer"], "/overrides/agents/0",
        "{agent}"
    );
    let missing = server.run(&["uses", "segment", "nobody", "-e", "production"]);
    assert!(missing.failed().contains("[NOT_FOUND]"));
}

#[test]
fn stale_flags_are_listed_with_what_to_do() {
    let server = Server::with_platform();
    let none = server.ok("flag stale -e production");
    assert!(
        none.contains("no flag is stale, looking back 30 days"),
        "{none}"
    );
    let file = server.path("tree/feature_flags/beta.yaml");
    let flag = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("expires: 2020-01-01\nowner: team-ml\n{flag}"),
    )
    .unwrap();
    let tree = server.path("tree");
    server.run(&["apply", tree.to_str().unwrap()]).ok();
    insta::assert_snapshot!("stale", server.ok("flag stale -e production"));
    let json = server.json("flag stale --days 7");
    assert_eq!(
        json[0]["flags"][0]["findings"][0]["rule"], "expired",
        "{json}"
    );
}
