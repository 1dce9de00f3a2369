//! The example platform of the repository, signed with a key of the test's own.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Server, offline};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_example_platform_serves_its_tenants_what_their_plans_say() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aiaas"),
        &tree,
    );
    let key = dir.path().join("k.pem");
    let key = key.to_str().unwrap();
    let made = offline(&["keygen", "--out", key, "--output", "json"]).ok();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let trust = format!(
        "keys:\n  - public_key: {}\n",
        made["public_key"].as_str().unwrap()
    );
    fs::write(tree.join("registries/trust/default.yaml"), trust).unwrap();
    for folder in ["agents", "tools"] {
        for entry in fs::read_dir(tree.join("registries").join(folder)).unwrap() {
            let file = entry.unwrap().path();
            offline(&["sign", file.to_str().unwrap(), "--key", key, "--write"]).ok();
            offline(&["verify", file.to_str().unwrap()]).ok();
        }
    }

    let server = Server::start_in(dir, true);
    let resolve = |tenant: &str| {
        server.json(&format!(
            "resolve customer_support_agent -e production --tenant {tenant}"
        ))
    };
    let (enterprise, free) = (resolve("tenant123"), resolve("tenant456"));
    assert_eq!(
        enterprise["manifest"]["metadata"]["temperature"],
        json!(0.3)
    );
    assert_eq!(free["manifest"]["metadata"]["temperature"], json!(0.7));
    assert_ne!(enterprise["effective_digest"], free["effective_digest"]);
    assert_eq!(free["warnings"], json!([]));
    let shown = server.ok("flag show beta_features -e production");
    assert!(shown.contains("on 25 % by user.id"), "{shown}");
    for tenant in server.json("tenant list --plan free").as_array().unwrap() {
        let tenant = tenant["name"].as_str().unwrap();
        let flags = server.json(&format!("flag evaluate -e production --tenant {tenant}"));
        for flag in ["enhanced_reasoning", "new_ai_model"] {
            assert_eq!(
                flags["flags"][flag]["value"],
                json!(false),
                "{flag} for {tenant}"
            );
        }
    }
    assert_eq!(
        server.ok("apply tree"),
        "nothing to do: everything is so at revision 2\n"
    );
}
