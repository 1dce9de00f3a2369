//! The product's limits, each from both sides: what is just allowed passes, one more is refused.

use plane_model::{DocumentKey, Kind, limits};
use plane_state::{BodyRef, Head, Op, State};
use serde_json::{Value, json};

use crate::world::{Store, World, put};

/// Writes what `make` gives for the limit, and has what it gives for one more refused.
#[track_caller]
fn check(pointer: &str, limit: usize, make: impl Fn(usize) -> Op) {
    let mut world = World::platform();
    world
        .write(vec![put(
            Kind::Flag,
            "",
            "known",
            json!({"type": "boolean"}),
        )])
        .unwrap();
    world.write(vec![make(limit)]).unwrap();
    let report = world.refused(vec![make(limit + 1)]);
    let place = format!("/ops/0/body{pointer}:");
    assert!(report.starts_with(&place), "{report}");
    assert!(report.contains("[LIMIT_EXCEEDED]; "), "{report}");
    assert!(report.contains(&limit.to_string()), "{report}");
}

fn numbered(count: usize, value: impl Fn(usize) -> Value) -> Value {
    (0..count)
        .map(|index| (format!("n{index}"), value(index)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn a_flag_has_at_most_so_many_variants_and_tags() {
    check("/variants", limits::FLAG_VARIANTS_MAX, |count| {
        let variants = numbered(count, |index| json!(index));
        let body = json!({"type": "integer", "variants": variants});
        put(Kind::Flag, "", "many", body)
    });
    check("/tags", limits::LABELS_MAX, |count| {
        let tags: Vec<_> = (0..count).map(|index| format!("t{index}")).collect();
        put(
            Kind::Flag,
            "",
            "many",
            json!({"type": "boolean", "tags": tags}),
        )
    });
}

#[test]
fn a_flag_s_metadata_say_at_most_so_much() {
    let flag = |metadata: Value| {
        let body = json!({"type": "boolean", "metadata": metadata});
        put(Kind::Flag, "", "many", body)
    };
    check("/metadata", limits::FLAG_METADATA_MAX, |count| {
        flag(numbered(count, |index| json!(index)))
    });
    // Counted are bytes, and the name with its text.
    check("/metadata", limits::FLAG_METADATA_BYTES_MAX, |bytes| {
        flag(json!({"a": "ä".repeat(bytes / 2 - 1) + "b".repeat(1 + bytes % 2).as_str()}))
    });
}

#[test]
fn targeting_has_at_most_so_many_rules_and_so_deep_expressions() {
    let targeting = |rules: Value| {
        put(
            Kind::Targeting,
            "production",
            "known",
            json!({"state": "enabled", "rules": rules}),
        )
    };
    check("/rules", limits::FLAG_RULES_MAX, |count| {
        let rule = |index| json!({"name": format!("r{index}"), "if": {"attribute": "user.id", "exists": true}, "serve": "on"});
        targeting((0..count).map(rule).collect())
    });
    check("/rules/0/if", limits::EXPRESSION_DEPTH_MAX, |depth| {
        let mut expression = json!({"attribute": "user.id", "exists": true});
        for _ in 1..depth {
            expression = json!({ "not": expression });
        }
        targeting(json!([{"name": "deep", "if": expression, "serve": "on"}]))
    });
}

#[test]
fn a_flag_needs_at_most_so_many_others() {
    let mut world = World::platform();
    let flag = |index| {
        put(
            Kind::Flag,
            "",
            &format!("f{index}"),
            json!({"type": "boolean"}),
        )
    };
    world
        .write((0..=limits::FLAG_PREREQUISITES_MAX + 1).map(flag).collect())
        .unwrap();
    let needing = |count: usize| {
        let needed = |index| json!({"flag": format!("f{index}"), "variants": ["on"]});
        let prerequisites: Vec<_> = (1..=count).map(needed).collect();
        let body = json!({"state": "enabled", "prerequisites": prerequisites});
        put(Kind::Targeting, "production", "f0", body)
    };
    world
        .write(vec![needing(limits::FLAG_PREREQUISITES_MAX)])
        .unwrap();
    let report = world.refused(vec![needing(limits::FLAG_PREREQUISITES_MAX + 1)]);
    assert!(
        report.starts_with("/ops/0/body/prerequisites: ") && report.contains("[LIMIT_EXCEEDED]"),
        "{report}"
    );
    assert!(
        report.contains(&limits::FLAG_PREREQUISITES_MAX.to_string()),
        "{report}"
    );
}

#[test]
fn a_segment_has_at_most_so_many_ids() {
    check("/include", limits::SEGMENT_IDS_MAX, |count| {
        let ids: Vec<_> = (0..count).map(|index| format!("u{index}")).collect();
        put(Kind::Segment, "", "large", json!({ "include": ids }))
    });
}

#[test]
fn a_config_document_nests_at_most_so_deep() {
    check("", limits::CONFIG_DEPTH_MAX, |depth| {
        let mut value = json!(1);
        for _ in 0..depth {
            value = json!({ "deeper": value });
        }
        put(Kind::Config, "base", "deep", value)
    });
}

#[test]
fn a_commit_has_at_most_so_many_bytes_of_documents() {
    let frame = json!({"text": ""}).to_string().len();
    let layer = |name: &str, bytes: usize| {
        put(
            Kind::Config,
            "base",
            name,
            json!({ "text": "x".repeat(bytes - frame) }),
        )
    };
    let count = limits::COMMIT_BYTES_MAX / limits::DOCUMENT_BYTES_MAX;
    let layers = |more: usize| -> Vec<Op> {
        let mut ops: Vec<_> = (1..count)
            .map(|index| layer(&format!("c{index}"), limits::DOCUMENT_BYTES_MAX))
            .collect();
        let rest = limits::COMMIT_BYTES_MAX - (count - 1) * limits::DOCUMENT_BYTES_MAX;
        // Two documents, so that one byte more is not too much for either.
        ops.push(layer("d1", rest / 2));
        ops.push(layer("d2", rest / 2 + more));
        ops
    };
    let mut world = World::platform();
    assert_eq!(world.write(layers(0)).unwrap(), count + 1);
    let mut world = World::platform();
    let report = world.refused(layers(1));
    assert!(
        report.contains("/ops: 16777217 bytes of documents"),
        "{report}"
    );
}

#[test]
fn labels_and_prose_are_bounded() {
    check("/labels", limits::LABELS_MAX, |count| {
        let labels = numbered(count, |index| json!(format!("v{index}")));
        put(Kind::Tenant, "", "labelled", json!({ "labels": labels }))
    });
    check("/description", limits::PROSE_CHARS_MAX, |count| {
        let text = "ä".repeat(count);
        put(
            Kind::Flag,
            "",
            "told",
            json!({"type": "boolean", "description": text}),
        )
    });
}

/// A state with so many documents of a kind, none of which can be read: they count all the same.
fn crowd(kind: Kind, count: usize) -> World {
    let documents = (0..count).map(|index| {
        let key = DocumentKey::new(kind, "", &format!("n{index}")).unwrap();
        (key, 1, BodyRef::Salted(plane_model::Digest::of(b"erased")))
    });
    let mut world = World::empty();
    world.state = State::assemble(
        Head::genesis(),
        documents,
        &State::genesis("test"),
        &Store::default(),
    );
    world
}

#[test]
fn an_installation_has_at_most_so_many_flags_and_tenants() {
    for (kind, limit, body) in [
        (Kind::Flag, limits::FLAGS_MAX, json!({"type": "boolean"})),
        (Kind::Tenant, limits::TENANTS_MAX, json!({})),
    ] {
        let mut world = crowd(kind, limit - 1);
        let report = world.refused(vec![
            put(kind, "", "last", body.clone()),
            put(kind, "", "beyond", body.clone()),
        ]);
        let wanted = format!(
            "/ops: there would be {} {kind}s, more than the {limit}",
            limit + 1
        );
        assert!(report.starts_with(&wanted), "{report}");
        assert_eq!(
            world
                .write(vec![put(kind, "", "last", body.clone())])
                .unwrap(),
            1
        );
        // Who makes room in the same commit gets in.
        let swap = vec![
            crate::world::delete(kind, "", "last"),
            put(kind, "", "other", body),
        ];
        assert_eq!(world.write(swap).unwrap(), 2);
    }
}
