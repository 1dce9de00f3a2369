//! Agents and tools: publishing, locks, channels, overrides.

use plane_eval::{Signature, Source};
use plane_model::{ArtifactKind, Digest, Kind};
use serde_json::json;

use crate::world::{World, put};

fn published() -> World {
    let mut world = World::platform();
    let ops = vec![
        world.tool("crm_tool", "1.2.0"),
        world.agent("support", "1.0.0", &["crm_tool"]),
        put(
            Kind::Channel,
            "production",
            "support",
            json!({"default": {"version": "1.0.0"}}),
        ),
    ];
    world.write(ops).unwrap();
    world
}

fn lock_of(world: &World, digest: &serde_json::Value) -> serde_json::Value {
    let digest: Digest = digest.as_str().unwrap().parse().unwrap();
    serde_json::from_slice(world.state.blob(&digest).unwrap()).unwrap()
}

#[test]
fn an_agent_is_published_with_the_tools_of_its_own_commit() {
    let world = published();
    let channel = world.body(Kind::Channel, "production", "support").unwrap();
    let lock = lock_of(&world, &channel["default"]["lock"]);
    assert_eq!(lock["tools"][0]["version"], "1.2.0");
    let version = "support@1.0.0".parse().unwrap();
    assert!(matches!(
        world.state.signature(ArtifactKind::Agent, &version),
        Signature::Verified { .. }
    ));
}

#[test]
fn publishing_again_changes_nothing_and_other_bytes_are_refused() {
    let mut world = published();
    assert_eq!(
        world.write(vec![world.tool("crm_tool", "1.2.0")]).unwrap(),
        0
    );
    let mut other = world.tool("crm_tool", "1.2.0");
    if let plane_state::Change::Put(body) = &mut other.change {
        body["metadata"]["timeout_ms"] = json!(1);
        let map = body.as_object_mut().unwrap();
        map.remove("checksum_sha256");
        map.remove("signature");
        other = world.signed(Kind::Tool, body);
    }
    assert!(world.refused(vec![other]).contains("VERSION_EXISTS"));
}

#[test]
fn a_new_tool_version_reaches_a_channel_only_by_promotion() {
    let mut world = published();
    world.write(vec![world.tool("crm_tool", "1.3.0")]).unwrap();
    let same = put(
        Kind::Channel,
        "production",
        "support",
        json!({"default": {"version": "1.0.0"}}),
    );
    assert_eq!(world.write(vec![same]).unwrap(), 0);
    world
        .write(vec![world.agent("support", "1.1.0", &["crm_tool"])])
        .unwrap();
    let next = put(
        Kind::Channel,
        "production",
        "support",
        json!({"default": {"version": "1.1.0"}}),
    );
    world.write(vec![next]).unwrap();
    let channel = world.body(Kind::Channel, "production", "support").unwrap();
    assert_eq!(
        lock_of(&world, &channel["default"]["lock"])["tools"][0]["version"],
        "1.3.0"
    );
}

#[test]
fn a_channel_gives_only_versions_that_are_published_and_usable() {
    let mut world = published();
    let channel = |version: &str| {
        put(
            Kind::Channel,
            "staging",
            "support",
            json!({"default": {"version": version}}),
        )
    };
    assert!(
        world
            .refused(vec![channel("9.9.9")])
            .contains("VERSION_NOT_FOUND")
    );
    let revoke = put(
        Kind::Status,
        "",
        "agent:support@1.0.0",
        json!({"status": "revoked", "message": "leaks", "replacement": "support@1.0.0"}),
    );
    world.write(vec![revoke]).unwrap();
    assert!(
        world
            .refused(vec![channel("1.0.0")])
            .contains("VERSION_REVOKED")
    );
}

#[test]
fn a_manifest_without_trust_or_signature_is_refused() {
    let mut world = World::platform();
    let mut op = world.tool("crm_tool", "1.0.0");
    if let plane_state::Change::Put(body) = &mut op.change {
        body.as_object_mut().unwrap().remove("signature");
    }
    assert!(world.refused(vec![op]).contains("SIGNATURE_MISSING"));
    let foreign = world.tool("acme/crm_tool", "1.0.0");
    assert!(world.refused(vec![foreign]).contains("TRUST_MISSING"));
}

#[test]
fn a_revoked_key_breaks_what_it_signed() {
    let mut world = published();
    let public = world.key.public().to_string();
    let trust = put(
        Kind::Trust,
        "",
        "default",
        json!({"keys": [{"public_key": public, "revoked_at": "2026-06-01"}]}),
    );
    world.write(vec![trust]).unwrap();
    let version = "support@1.0.0".parse().unwrap();
    assert!(matches!(
        world.state.signature(ArtifactKind::Agent, &version),
        Signature::Invalid { .. }
    ));
}

fn overriding(key: &str, patch: &serde_json::Value, priority: i32) -> plane_state::Op {
    put(
        Kind::Flag,
        "",
        key,
        json!({"type": "boolean", "overrides": {"agents": ["support"], "priority": priority, "patches": {"on": patch}}}),
    )
}

#[test]
fn patches_stay_within_what_the_manifest_lets_be_overridden() {
    let mut world = published();
    let report = world.refused(vec![overriding("a", &json!({"system_prompt": "x"}), 0)]);
    assert!(
        report.contains("/ops/0/body/overrides/patches/on/system_prompt"),
        "{report}"
    );
    assert!(report.contains("OVERRIDE_REFUSED"), "{report}");
    world
        .write(vec![overriding("a", &json!({"temperature": 0.3}), 0)])
        .unwrap();
    let report = world.refused(vec![overriding("b", &json!({"temperature": 0.1}), 0)]);
    assert!(report.contains("OVERRIDE_CONFLICT"), "{report}");
    world
        .write(vec![overriding("b", &json!({"temperature": 0.1}), 5)])
        .unwrap();
}

#[test]
fn a_flag_that_overrides_an_unknown_agent_is_refused() {
    let mut world = published();
    let flag = put(
        Kind::Flag,
        "",
        "a",
        json!({"type": "boolean", "overrides": {"agents": ["suport"], "patches": {"on": {"temperature": 0.1}}}}),
    );
    assert!(
        world
            .refused(vec![flag])
            .contains("there is no agent `suport`")
    );
}

#[test]
fn a_manifest_that_is_born_deprecated_gets_that_status() {
    let mut world = World::platform();
    let mut op = world.tool("old_tool", "1.0.0");
    if let plane_state::Change::Put(body) = &mut op.change {
        body["deprecated"] = json!(true);
        let map = body.as_object_mut().unwrap();
        map.remove("checksum_sha256");
        map.remove("signature");
        op = world.signed(Kind::Tool, body);
    }
    world.write(vec![op]).unwrap();
    let status = world.body(Kind::Status, "", "tool:old_tool@1.0.0").unwrap();
    assert_eq!(status["status"], "deprecated");
}
