//! What a change changes for known tenants: counted as asking every tenant before and after would.

use plane_eval::{Change, Context, Impact, Inquiry, View, impact};
use plane_model::{DocumentKey, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Held, Written, settled};

const NOW: Timestamp = Timestamp(1_780_000_000_000);

fn written(kind: &str, scope: &str, name: &str, body: &Value) -> Written {
    let written = json!({"kind": kind, "scope": scope, "name": name, "body": body});
    serde_json::from_value(written).unwrap()
}

/// Forty tenants on two plans, three flags of which one needs another, and a config document.
fn platform() -> View {
    let mut documents = Vec::new();
    for index in 0..40 {
        let plan = if index % 4 == 0 { "enterprise" } else { "free" };
        let tenant = written("tenant", "", &format!("t{index}"), &json!({"plan": plan}));
        documents.push(tenant);
    }
    for flag in ["a", "b", "c"] {
        documents.push(written("flag", "", flag, &json!({"type": "boolean"})));
    }
    let rule = json!([{"name": "big", "if": {"attribute": "tenant.plan", "equals": "enterprise"}, "serve": "on"}]);
    let by_plan = json!({"state": "enabled", "rules": rule, "default": "off"});
    documents.push(written("targeting", "production", "a", &by_plan));
    let needing = json!({"state": "enabled", "prerequisites": [{"flag": "a", "variants": ["on"]}], "default": "on"});
    documents.push(written("targeting", "production", "b", &needing));
    documents.push(written(
        "targeting",
        "production",
        "c",
        &json!({"state": "enabled", "default": {"percent": {"on": 50}}}),
    ));
    documents.push(written(
        "config",
        "base",
        "ai",
        &json!({"model": "small", "limits": {"rpm": 10}}),
    ));
    documents.push(written(
        "config",
        "plan=enterprise",
        "ai",
        &json!({"limits": {"rpm": 99}}),
    ));
    let empty = View::build("production".parse().unwrap(), 0, [], &Held::default());
    empty.update(1, &settled(&documents), &Held::default())
}

fn after(before: &View, documents: &[Written]) -> View {
    let mut changes = settled(documents);
    for change in &mut changes {
        change.revision += 1_000;
    }
    before.update(2_000, &changes, &Held::default())
}

fn ask(before: &View, after: &View) -> Impact {
    let inquiry = Inquiry {
        now: NOW,
        covers: &|_| true,
        named: 2,
    };
    impact(before, after, &inquiry)
}

fn counts(found: &Impact) -> Vec<(String, usize)> {
    let flags = found
        .flags
        .iter()
        .map(|it| (it.flag.to_string(), it.tenants));
    let configs = found
        .configs
        .iter()
        .map(|it| (it.document.to_string(), it.tenants));
    flags.chain(configs).collect()
}

#[test]
fn a_rule_that_goes_changes_the_flag_and_those_that_need_it_for_the_tenants_it_matched() {
    let before = platform();
    let open = written(
        "targeting",
        "production",
        "a",
        &json!({"state": "enabled", "default": "off"}),
    );
    let found = ask(&before, &after(&before, &[open]));
    assert_eq!((found.tenants, found.asked), (40, 40));
    assert_eq!(counts(&found), [("a".to_owned(), 10), ("b".to_owned(), 10)]);
    let shift = &found.flags[0].shifts[0];
    assert_eq!(shift.before.variant.as_ref().unwrap().as_str(), "on");
    assert_eq!(shift.after.value, Some(json!(false)));
    let named: Vec<_> = shift.named.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["t0", "t12"]);
}

#[test]
fn each_shift_names_tenants_of_its_own() {
    let before = platform();
    let rule =
        json!([{"name": "t1", "if": {"attribute": "tenant.id", "equals": "t1"}, "serve": "on"}]);
    let swapped = json!({"state": "enabled", "rules": rule, "default": "off"});
    let found = ask(&before, &after(&before, &[targeting("a", &swapped)]));
    let shifts: Vec<_> = found.flags[0]
        .shifts
        .iter()
        .map(|it| {
            let named: Vec<_> = it.named.iter().map(ToString::to_string).collect();
            (it.after.value.clone().unwrap(), it.tenants, named)
        })
        .collect();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shifts,
        [
            (json!(false), 10, names(&["t0", "t12"])),
            (json!(true), 1, names(&["t1"])),
        ]
    );
}

#[test]
fn a_tenant_that_moves_to_another_plan_is_the_only_one_asked_for_what_reads_it() {
    let before = platform();
    let moved = written("tenant", "", "t1", &json!({"plan": "enterprise"}));
    let found = ask(&before, &after(&before, &[moved]));
    let expected = [("a", 1), ("b", 1), ("ai", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts(&found), expected);
    assert_eq!(
        found.configs[0].pointers.iter().next().unwrap(),
        "/limits/rpm"
    );
}

#[test]
fn a_layer_changes_the_document_only_where_it_applies_and_says_something_new() {
    let before = platform();
    let layer = written(
        "config",
        "plan=enterprise",
        "ai",
        &json!({"limits": {"rpm": 10}}),
    );
    let found = ask(&before, &after(&before, &[layer]));
    assert_eq!(counts(&found), [("ai".to_owned(), 10)]);
    let same = written("config", "plan=free", "ai", &json!({"model": "small"}));
    assert!(ask(&before, &after(&before, &[same])).is_empty());
}

fn targeting(flag: &str, body: &Value) -> Written {
    written("targeting", "production", flag, body)
}

#[test]
fn a_rollout_by_user_shows_the_share_of_users_that_get_something_else() {
    let by_user = |percent: u32| {
        let default = json!({"percent": {"on": percent}, "by": "user.id"});
        targeting("c", &json!({"state": "enabled", "default": default}))
    };
    let before = after(&platform(), &[by_user(25)]);
    let found = ask(&before, &after(&before, &[by_user(75)]));
    assert_eq!(counts(&found), [], "no tenant has a user of its own");
    let [flag] = found.units.as_slice() else {
        panic!("{:?}", found.units)
    };
    assert_eq!(flag.by.iter().collect::<Vec<_>>(), ["user.id"]);
    // The share is of invented units: the hash spreads them as evenly as any others.
    let share = flag.units * 100 / flag.asked;
    assert!((48..=52).contains(&share), "{share} % of {}", flag.asked);
    let [shift] = flag.shifts.as_slice() else {
        panic!("{:?}", flag.shifts)
    };
    assert_eq!(shift.before.value, Some(json!(false)));
    assert_eq!(shift.after.value, Some(json!(true)));
}

#[test]
fn a_rollout_within_a_rule_is_foreseen_for_the_tenants_that_it_matches() {
    let within = |percent: u32| {
        let serve = json!({"percent": {"on": percent}, "by": "conversation"});
        let when = json!({"attribute": "tenant.plan", "equals": "enterprise"});
        let rule = json!([{"name": "big", "if": when, "serve": serve}]);
        targeting(
            "c",
            &json!({"state": "enabled", "rules": rule, "default": "off"}),
        )
    };
    let before = after(&platform(), &[within(0)]);
    let found = ask(&before, &after(&before, &[within(100)]));
    let flag = &found.units[0];
    assert_eq!(
        flag.units * 4,
        flag.asked,
        "a quarter of the tenants is on that plan"
    );
}

#[test]
fn what_a_rule_asks_of_a_request_is_named_and_not_guessed() {
    let country = |operand: &str| {
        let when = json!({"attribute": "country", "equals": operand});
        let rule = json!([{"name": "there", "if": when, "serve": "on"}]);
        targeting(
            "c",
            &json!({"state": "enabled", "rules": rule, "default": "off"}),
        )
    };
    let before = after(&platform(), &[country("DE")]);
    let found = ask(&before, &after(&before, &[country("FR")]));
    assert_eq!(
        found.units[0].unforeseen.iter().collect::<Vec<_>>(),
        ["country"]
    );
    assert_eq!((found.units[0].asked, found.units[0].units), (0, 0));
    let same = after(&before, &[country("DE")]);
    assert!(ask(&before, &same).is_empty());
    let described = json!({"type": "boolean", "description": "says more"});
    let described = written("flag", "", "c", &described);
    assert!(ask(&before, &after(&before, &[described])).is_empty());
}

#[test]
fn another_bucketing_shows_how_many_tenants_move() {
    let before = platform();
    let moved = written(
        "environment",
        "",
        "production",
        &json!({"bucketing": "flagd-v2"}),
    );
    let after = after(&before, &[moved]);
    let found = ask(&before, &after);
    let differs = |id: usize| {
        let ctx = Context::new().with_tenant(&format!("t{id}"));
        before.evaluate_key("c", &ctx, NOW).as_bool()
            != after.evaluate_key("c", &ctx, NOW).as_bool()
    };
    let moving = (0..40).filter(|id| differs(*id)).count();
    assert!(moving > 0);
    assert_eq!(counts(&found), [("c".to_owned(), moving)]);
}

#[test]
fn another_bucketing_moves_tenants_to_other_versions_of_an_agent_that_is_split() {
    let vectors: crate::resolution::Vectors = crate::support::read("resolution.json");
    let split = json!({
        "default": {"version": "1.0.0"},
        "split": {"percent": {"2.0.0": 50}, "by": "tenant.id"},
    });
    let mut documents = vectors.base_documents();
    documents.push(written("channel", "production", "support", &split));
    for index in 0..40 {
        documents.push(written("tenant", "", &format!("t{index}"), &json!({})));
    }
    let held = vectors.held();
    let empty = View::build("production".parse().unwrap(), 0, [], &held);
    let before = empty.update(1, &settled(&documents), &held);
    let bucketing = json!({"bucketing": "flagd-v2"});
    let moved = written("environment", "", "production", &bucketing);
    let after = before.update(2, &settled(&[moved]), &held);
    let version = |view: &View, id: &str| {
        let ctx = Context::new().with_tenant(id);
        let found = view.resolve(&"support".parse().unwrap(), &ctx, NOW);
        found.unwrap().agent().version.to_string()
    };
    let stored = ["acme", "bare"].map(str::to_owned);
    let ids = (0..40).map(|index| format!("t{index}")).chain(stored);
    let ids: Vec<_> = ids.collect();
    let moving = ids
        .iter()
        .filter(|id| version(&before, id) != version(&after, id));
    let moving = moving.count();
    assert!(moving > 0);
    let found = ask(&before, &after);
    let agent = found
        .agents
        .iter()
        .find(|it| it.agent.as_str() == "support");
    let agent = agent.unwrap();
    assert_eq!(agent.tenants, moving);
    for shift in &agent.shifts {
        assert_eq!(shift.named.len(), shift.tenants.min(2));
        for id in &shift.named {
            assert_eq!(
                version(&after, id.as_str()),
                shift.after.version.as_ref().unwrap().to_string()
            );
        }
    }
}

#[test]
fn tenants_that_the_caller_may_not_know_of_are_neither_counted_nor_named() {
    let before = platform();
    let open = written(
        "targeting",
        "production",
        "a",
        &json!({"state": "enabled", "default": "on"}),
    );
    let inquiry = Inquiry {
        now: NOW,
        covers: &|id| id.as_str() == "t1",
        named: 5,
    };
    let found = impact(&before, &after(&before, &[open]), &inquiry);
    assert_eq!((found.tenants, found.flags[0].tenants), (1, 1));
    assert_eq!(found.flags[0].shifts[0].named[0].as_str(), "t1");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_counts_are_those_of_asking_every_tenant(
        share in 0..=100_u32,
        plan in prop::sample::select(&["free", "enterprise", "none"][..]),
        pins in prop::collection::btree_map(0..40_usize, any::<bool>(), 0..4),
        gone in 0..80_usize,
    ) {
        let before = platform();
        let rule = json!([{"name": "r", "if": {"attribute": "tenant.plan", "equals": plan}, "serve": {"percent": {"on": share}}}]);
        let targeting = json!({"state": "enabled", "rules": rule, "default": "off"});
        let mut documents = vec![written("targeting", "production", "a", &targeting)];
        for (tenant, on) in &pins {
            let variant = if *on { "on" } else { "off" };
            let scope = format!("production/t{tenant}");
            documents.push(written("pin", &scope, "flag:c", &json!({"variant": variant})));
        }
        let mut after = after(&before, &documents);
        if gone < 40 {
            let key = DocumentKey::tenant(&format!("t{gone}").parse().unwrap());
            let change = Change { key, revision: 3_000, document: None };
            after = after.update(3_000, &[change], &Held::default());
        }
        let found = ask(&before, &after);
        let mut expected = Vec::new();
        for flag in ["a", "b", "c"] {
            let differs = |id: &usize| {
                let ctx = Context::new().with_tenant(&format!("t{id}"));
                let of = |view: &View| {
                    let found = view.evaluate_key(flag, &ctx, NOW);
                    (found.value().cloned(), found.error())
                };
                of(&before) != of(&after)
            };
            let count = (0..40).filter(differs).count();
            if count > 0 {
                expected.push((flag.to_owned(), count));
            }
        }
        let flags: Vec<_> = counts(&found).into_iter().filter(|(name, _)| name != "ai").collect();
        prop_assert_eq!(flags, expected);
    }
}
