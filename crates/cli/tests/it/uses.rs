//! Who refers to what, as people are told.

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
