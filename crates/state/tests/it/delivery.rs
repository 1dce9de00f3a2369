//! What a server projects and what a holder computes are the same.

use std::sync::Arc;

use plane_model::{Digest, DocumentKey, EnvironmentName, Kind, PrincipalId, TenantId};
use plane_state::delivery::{
    At, Changed, Delivered, Followed, Holding, Name, Projection, part, tenant_documents,
};
use plane_state::{Action, Scope, State};
use serde_json::json;

use crate::world::{World, delete, put};

fn production() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

fn scope() -> Scope {
    Scope::system(PrincipalId::new("tester").unwrap())
}

fn at(state: &State) -> At {
    At {
        log: state.log().into(),
        epoch: state.epoch(),
        revision: state.head().revision,
        head: state.head().hash,
    }
}

fn delivered<'a>(key: &'a DocumentKey, revision: u64, body: Option<&'a [u8]>) -> Delivered<'a> {
    Delivered {
        tenant: part(key),
        name: Name {
            kind: key.kind().as_str(),
            scope: key.scope(),
            name: key.name(),
        },
        revision,
        body,
    }
}

fn hold(projection: &Projection, state: &State) -> Holding {
    let scope = scope();
    let documents = projection
        .documents(state, &scope)
        .map(|(key, entry)| delivered(key, entry.revision, Some(&entry.bytes)));
    let blobs = projection
        .blobs()
        .filter_map(|digest| Some((*digest, Arc::clone(state.blob(digest)?))));
    Holding::build(production(), at(state), documents, blobs)
}

/// What the last record changed.
fn changes(world: &World) -> Vec<Changed> {
    let record = &world.records.last().unwrap().record;
    record
        .ops
        .iter()
        .filter_map(|op| {
            let key = op.key()?;
            let entry = world.state.entry(&key);
            Some(Changed {
                revision: record.revision,
                bytes: entry.map(|it| it.bytes.clone()),
                document: entry.and_then(|it| it.document()).cloned(),
                key,
            })
        })
        .collect()
}

/// Follows the last record on both sides; says whether the view had to be made anew.
fn follow(world: &World, projection: &mut Projection, holding: &mut Holding) -> bool {
    let changes = changes(world);
    let mine = match projection.follow(&scope(), &changes) {
        Followed::Changes(mine) => mine,
        Followed::Anew => {
            *projection = Projection::of(&world.state, &scope(), &production());
            *holding = hold(projection, &world.state);
            return true;
        }
    };
    let documents = mine
        .iter()
        .map(|it| delivered(&it.key, it.revision, it.bytes.as_deref()));
    *holding = holding.after(at(&world.state), documents);
    false
}

#[test]
fn a_holder_that_follows_computes_the_root_of_the_server() {
    let mut world = World::platform();
    let mut projection = Projection::of(&world.state, &scope(), &production());
    let mut holding = hold(&projection, &world.state);
    assert_eq!(holding.root(), projection.root());
    let steps = [
        vec![put(Kind::Flag, "", "f", json!({"type": "boolean"}))],
        vec![
            put(
                Kind::Targeting,
                "production",
                "f",
                json!({"state": "enabled", "default": "on"}),
            ),
            put(
                Kind::Targeting,
                "staging",
                "f",
                json!({"state": "enabled", "default": "on"}),
            ),
        ],
        vec![put(
            Kind::Pin,
            "production/tenant123",
            "flag:f",
            json!({"variant": "off"}),
        )],
        vec![put(Kind::Tenant, "", "tenant456", json!({"plan": "pro"}))],
        vec![delete(Kind::Pin, "production/tenant123", "flag:f")],
        vec![put(Kind::Config, "production", "ai", json!({"a": 1}))],
    ];
    for step in steps {
        world.write(step).unwrap();
        assert!(!follow(&world, &mut projection, &mut holding));
        assert_eq!(holding.root(), projection.root());
        let anew = Projection::of(&world.state, &scope(), &production());
        assert_eq!(projection.root(), anew.root());
        assert_eq!(holding.at().revision, world.state.head().revision);
    }
    assert!(
        holding
            .view()
            .evaluate_key("f", &plane_eval::Context::new(), crate::world::NOW)
            .as_bool()
            .unwrap()
    );
}

#[test]
fn a_channel_brings_its_manifests_and_only_those() {
    let mut world = World::platform();
    let mut projection = Projection::of(&world.state, &scope(), &production());
    let mut holding = hold(&projection, &world.state);
    let ops = vec![
        world.tool("crm", "1.0.0"),
        world.agent("support", "1.0.0", &["crm"]),
    ];
    world.write(ops).unwrap();
    assert!(
        !follow(&world, &mut projection, &mut holding),
        "nothing leads to them yet"
    );
    assert_eq!(projection.blobs().count(), 0);
    let channel = put(
        Kind::Channel,
        "production",
        "support",
        json!({"default": {"version": "1.0.0"}}),
    );
    world.write(vec![channel]).unwrap();
    assert!(follow(&world, &mut projection, &mut holding));
    assert_eq!(projection.blobs().count(), 3, "two manifests and a lock");
    assert_eq!(holding.root(), projection.root());
    assert_eq!(holding.missing().count(), 0);
    let agent = "support".parse().unwrap();
    let found = holding
        .view()
        .resolve(&agent, &plane_eval::Context::new(), crate::world::NOW);
    assert_eq!(found.unwrap().agent().to_string(), "support@1.0.0");
}

#[test]
fn an_emergency_stop_of_an_agent_is_followed_without_making_the_view_anew() {
    let mut world = World::platform();
    let ops = vec![
        world.tool("crm", "1.0.0"),
        world.agent("support", "1.0.0", &["crm"]),
    ];
    world.write(ops).unwrap();
    let channel = put(
        Kind::Channel,
        "production",
        "support",
        json!({"default": {"version": "1.0.0"}}),
    );
    world.write(vec![channel]).unwrap();
    let mut projection = Projection::of(&world.state, &scope(), &production());
    let mut holding = hold(&projection, &world.state);
    let kill = put(
        Kind::Kill,
        "production",
        "agent:support",
        json!({"reason": "incident"}),
    );
    world.give(Action::Kill, vec![kill]).unwrap();
    assert!(!follow(&world, &mut projection, &mut holding));
    assert_eq!(holding.root(), projection.root());
    let agent = "support".parse().unwrap();
    let found = holding
        .view()
        .resolve(&agent, &plane_eval::Context::new(), crate::world::NOW);
    assert_eq!(found.unwrap_err().code().as_str(), "AGENT_KILLED");
}

#[test]
fn a_holder_that_missed_a_change_finds_out_at_the_next_head() {
    let mut world = World::platform();
    let mut projection = Projection::of(&world.state, &scope(), &production());
    let mut holding = hold(&projection, &world.state);
    world
        .write(vec![put(Kind::Flag, "", "f", json!({"type": "boolean"}))])
        .unwrap();
    projection.follow(&scope(), &changes(&world));
    world
        .write(vec![put(Kind::Flag, "", "g", json!({"type": "boolean"}))])
        .unwrap();
    follow(&world, &mut projection, &mut holding);
    assert_ne!(holding.root(), projection.root());
    assert_ne!(holding.root(), Digest::from_bytes([0; 32]));
}

#[test]
fn a_version_that_nothing_leads_to_any_more_is_not_in_the_view() {
    let mut world = World::platform();
    let ops = vec![
        world.tool("crm", "1.0.0"),
        world.agent("support", "1.0.0", &["crm"]),
        world.agent("support", "1.1.0", &["crm"]),
        put(
            Kind::Channel,
            "production",
            "support",
            json!({"default": {"version": "1.0.0"}}),
        ),
    ];
    world.write(ops).unwrap();
    let mut projection = Projection::of(&world.state, &scope(), &production());
    let mut holding = hold(&projection, &world.state);
    let scope_of_pin = "production/tenant123";
    let pin = put(
        Kind::Pin,
        scope_of_pin,
        "agent:support",
        json!({"version": "1.1.0"}),
    );
    world.write(vec![pin]).unwrap();
    assert!(follow(&world, &mut projection, &mut holding));
    assert_eq!(
        projection.blobs().count(),
        5,
        "three manifests and two locks"
    );
    world
        .write(vec![delete(Kind::Pin, scope_of_pin, "agent:support")])
        .unwrap();
    assert!(follow(&world, &mut projection, &mut holding));
    assert_eq!(projection.blobs().count(), 3);
    // What is said of the version that is gone is nobody's business here.
    let status = put(
        Kind::Status,
        "",
        "agent:support@1.1.0",
        json!({"status": "deprecated", "message": "old"}),
    );
    world.write(vec![status]).unwrap();
    assert!(!follow(&world, &mut projection, &mut holding));
    assert_eq!(holding.root(), projection.root());
    let anew = Projection::of(&world.state, &scope(), &production());
    assert_eq!(projection.root(), anew.root());
}

#[test]
fn a_tenants_part_is_what_the_whole_view_has_of_it() {
    let mut world = World::platform();
    let layer = |scope: &str| put(Kind::Config, scope, "ai", json!({"a": 1}));
    let places = [
        "base",
        "production",
        "production.plan=free",
        "region=eu",
        "staging.tenant=ID",
        "tenant=ID",
        "plan=free.tenant=ID",
        "production.tenant=ID",
        "production.region=eu.service=chat.plan=free.tenant=ID",
    ];
    let ids = ["tenant1", "tenant123", "tenant456", "a.tenant=tenant123"];
    let a = json!({"x-override": ["environment", "region", "service", "plan", "tenant"]});
    let schema = json!({"type": "object", "properties": {"a": a}});
    let mut ops = vec![
        put(Kind::Schema, "", "ai", schema),
        put(Kind::Flag, "", "f", json!({"type": "boolean"})),
    ];
    let mut kills = Vec::new();
    for id in ids {
        ops.push(put(Kind::Tenant, "", id, json!({"plan": "free"})));
        ops.extend(
            places
                .iter()
                .filter(|it| it.ends_with("ID"))
                .map(|it| layer(&it.replace("ID", id))),
        );
        for environment in ["production", "staging"] {
            let of = format!("{environment}/{id}");
            ops.push(put(Kind::Pin, &of, "flag:f", json!({"variant": "on"})));
            kills.push(put(Kind::Kill, &of, "flag:f", json!({"reason": "test"})));
        }
    }
    ops.extend(
        places
            .iter()
            .filter(|it| !it.ends_with("ID"))
            .map(|it| layer(it)),
    );
    world.write(ops).unwrap();
    world.give(Action::Kill, kills).unwrap();
    let (state, scope) = (&world.state, scope());
    let projection = Projection::of(state, &scope, &production());
    for id in ids {
        let tenant = TenantId::new(id).unwrap();
        let whole = projection.documents(state, &scope);
        let mut own: Vec<_> = whole
            .filter(|(key, _)| part(key).as_ref() == Some(&tenant))
            .collect();
        let mut found = tenant_documents(state, &scope, &production(), &tenant);
        own.sort_by_key(|it| it.0);
        found.sort_by_key(|it| it.0);
        assert_eq!(found, own);
        assert_eq!(found.len(), 7, "{id}: {found:?}");
    }
}
