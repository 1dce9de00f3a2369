//! Keys, signatures and what they prove.

use std::fs;
use std::path::Path;

use crate::support::{Ran, binary, run};

const MANIFEST: &str = "\
# The CRM of the platform.
name: crm
version: 1.0.0
checksum_sha256: \"to be filled\"   # by `sign`
owner: platform-team

metadata:
  description: Customers   # shown to agents
  inputs_schema: { type: object }
  outputs_schema: { type: object }
";

fn at(dir: &Path, arguments: &[&str]) -> Ran {
    run(binary().args(arguments).current_dir(dir))
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let made = at(dir.path(), &["keygen", "--out", "k.pem"]).ok();
    assert!(made.contains("ed25519:"), "{made}");
    let pem = fs::read_to_string(dir.path().join("k.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(!made.contains(pem.lines().nth(1).unwrap()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(dir.path().join("k.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = at(dir.path(), &["keygen", "--out", "k.pem"]).failed();
    assert!(again.contains("never overwritten"), "{again}");
    assert_eq!(fs::read_to_string(dir.path().join("k.pem")).unwrap(), pem);
}

#[test]
fn signing_keeps_comments_and_what_is_signed_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let tools = dir.path().join("registries/tools");
    fs::create_dir_all(&tools).unwrap();
    let file = tools.join("crm.yaml");
    fs::write(&file, MANIFEST).unwrap();
    let key = at(
        dir.path(),
        &["keygen", "--out", "k.pem", "--output", "json"],
    )
    .ok();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let public = key["public_key"].as_str().unwrap();
    let sign = ["sign", "registries/tools/crm.yaml", "--key", "k.pem"];

    let printed = at(dir.path(), &sign).ok();
    assert!(printed.contains("signature: \"ed25519:"), "{printed}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        MANIFEST,
        "without --write nothing changes"
    );

    at(dir.path(), &[&sign[..], &["--write"]].concat()).ok();
    let signed = fs::read_to_string(&file).unwrap();
    let mut kept = signed.lines().filter(|line| {
        !["checksum_sha256", "created_at", "signature"]
            .iter()
            .any(|it| line.starts_with(it))
    });
    assert!(
        MANIFEST
            .lines()
            .filter(|line| !line.starts_with("checksum"))
            .all(|line| kept.next() == Some(line))
    );
    assert!(signed.contains("# by `sign`"), "{signed}");
    at(dir.path(), &[&sign[..], &["--write"]].concat()).ok();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        signed,
        "signing again changes nothing"
    );

    let verify = |more: &[&str]| {
        at(
            dir.path(),
            &[&["verify", "registries/tools/crm.yaml"], more].concat(),
        )
    };
    assert!(verify(&["--key", public]).ok().contains("verified"));
    let missing = verify(&[]).failed();
    assert!(missing.contains("[TRUST_MISSING]"), "{missing}");
    fs::create_dir_all(dir.path().join("registries/trust")).unwrap();
    let trust = format!("keys:\n  - public_key: {public}\n    description: Release key\n");
    fs::write(dir.path().join("registries/trust/default.yaml"), trust).unwrap();
    assert!(verify(&[]).ok().contains("Release key"));
    assert!(verify(&["--trust", "."]).ok().contains("verified"));

    at(dir.path(), &["keygen", "--out", "other.pem"]).ok();
    let second = [
        "sign",
        "registries/tools/crm.yaml",
        "--key",
        "other.pem",
        "--write",
    ];
    at(dir.path(), &second).ok();
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("signature:\n  - "),
        "both signatures stay"
    );
    assert!(verify(&[]).ok().contains("verified"));

    fs::write(&file, signed.replace("Customers", "Everybody")).unwrap();
    let tampered = verify(&[]).failed();
    assert!(
        tampered.contains("registries/tools/crm.yaml:4:1"),
        "{tampered}"
    );
    assert!(tampered.contains("[CHECKSUM_MISMATCH]"), "{tampered}");
    at(dir.path(), &[&sign[..], &["--write"]].concat()).ok();
    assert!(verify(&[]).ok().contains("verified"));
}

#[test]
fn a_manifest_that_no_key_was_checked_for_is_not_verified() {
    let dir = tempfile::tempdir().unwrap();
    let plain = MANIFEST.replace("checksum_sha256: \"to be filled\"   # by `sign`\n", "");
    fs::write(dir.path().join("crm.yaml"), plain).unwrap();
    let verify = ["verify", "crm.yaml", "--kind", "tool"];
    let unsigned = at(dir.path(), &verify).failed();
    assert!(unsigned.contains("it has no signature"), "{unsigned}");
    for part in ["crm.yaml: ", "[TRUST_MISSING]", "--trust TREE", "--key KEY"] {
        assert!(unsigned.contains(part), "{unsigned}");
    }
    at(dir.path(), &["keygen", "--out", "k.pem"]).ok();
    let sign = [
        "sign", "crm.yaml", "--kind", "tool", "--key", "k.pem", "--write",
    ];
    at(dir.path(), &sign).ok();
    let unchecked = at(dir.path(), &verify).failed();
    let told = "its signature is not checked: nothing says which keys count";
    assert!(unchecked.contains(told), "{unchecked}");
}

#[test]
fn a_manifest_takes_in_texts_of_its_tree_when_it_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let agents = dir.path().join("registries/agents");
    fs::create_dir_all(&agents).unwrap();
    fs::create_dir_all(dir.path().join("prompts")).unwrap();
    fs::write(dir.path().join("prompts/x.md"), "Be kind.\n").unwrap();
    let text = "name: a\nversion: 1.0.0\nmetadata:\n  description: d\n  model: m\n  tools: []\n  system_prompt: { $file: prompts/x.md }\n";
    fs::write(agents.join("a.yaml"), text).unwrap();
    at(dir.path(), &["keygen", "--out", "k.pem"]).ok();
    at(
        dir.path(),
        &[
            "sign",
            "registries/agents/a.yaml",
            "--key",
            "k.pem",
            "--write",
        ],
    )
    .ok();
    fs::write(dir.path().join("prompts/x.md"), "Be rude.\n").unwrap();
    let key = [
        "verify",
        "registries/agents/a.yaml",
        "--key",
        "ed25519:AAAA",
    ];
    let changed = at(dir.path(), &key).failed();
    assert!(
        changed.contains("[CHECKSUM_MISMATCH]"),
        "the text is signed too: {changed}"
    );
}

#[test]
fn what_cannot_be_signed_says_why() {
    let dir = tempfile::tempdir().unwrap();
    at(dir.path(), &["keygen", "--out", "k.pem"]).ok();
    fs::write(dir.path().join("x.yaml"), "name: x\nversion: 1\n").unwrap();
    let unclear = at(dir.path(), &["sign", "x.yaml", "--key", "k.pem"]).failed();
    assert!(unclear.contains("--kind agent or --kind tool"), "{unclear}");
    let wrong = at(
        dir.path(),
        &["sign", "x.yaml", "--key", "k.pem", "--kind", "tool"],
    )
    .failed();
    assert!(wrong.contains("x.yaml:2:1"), "{wrong}");
    fs::write(dir.path().join("flow.yaml"), "{name: x, version: 1.0.0, metadata: {description: d, inputs_schema: {}, outputs_schema: {}}}\n").unwrap();
    let flow = at(
        dir.path(),
        &["sign", "flow.yaml", "--key", "k.pem", "--kind", "tool"],
    )
    .failed();
    assert!(flow.contains("one field a line"), "{flow}");
    let no_key = at(dir.path(), &["sign", "x.yaml", "--key", "x.yaml"]).failed();
    assert!(no_key.contains("[KEY_INVALID]"), "{no_key}");
}

#[test]
fn a_manifest_without_a_tree_that_takes_in_texts_is_refused_at_each_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let text = MANIFEST.replace("Customers  ", "{ $file: customers.md }");
    fs::write(dir.path().join("crm.yaml"), &text).unwrap();
    let publish = ["tool", "publish", "crm.yaml", "--output", "json"];
    let refused = at(dir.path(), &publish).failed();
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["code"], "FIELD_INVALID");
    let finding = &refused["errors"][0];
    assert_eq!(finding["code"], "FIELD_INVALID");
    assert_eq!(finding["place"], "crm.yaml:8:18");
    let next = finding["next"].as_str().unwrap();
    assert!(next.contains("registries/tools"), "{next}");

    // A property of that name is nothing to take in.
    let property = "{ type: object, properties: { $file: { type: string } } }";
    let text = MANIFEST.replace(
        "inputs_schema: { type: object }",
        &format!("inputs_schema: {property}"),
    );
    fs::write(dir.path().join("crm.yaml"), text).unwrap();
    at(dir.path(), &["keygen", "--out", "k.pem"]).ok();
    let sign = ["sign", "crm.yaml", "--kind", "tool", "--key", "k.pem"];
    let signed = at(dir.path(), &sign).ok();
    assert!(signed.contains(property), "{signed}");
}

#[test]
fn a_manifest_that_is_no_text_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("crm.yaml"), b"name: \xff").unwrap();
    let refused = at(dir.path(), &["tool", "publish", "crm.yaml"]).failed();
    assert!(
        refused.contains("[TEXT_INVALID]") && refused.contains("next:"),
        "{refused}"
    );
}
