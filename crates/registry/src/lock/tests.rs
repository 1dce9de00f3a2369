#![expect(
    clippy::needless_pass_by_value,
    reason = "the cases hand over literals"
)]

use expect_test::{Expect, expect};
use plane_model::Verified;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn agent(tools: Value) -> Manifest {
    let value =
        json!({ "name": "support-bot", "version": "2.1.0", "metadata": { "tools": tools } });
    Manifest::parse(ArtifactKind::Agent, &value).unwrap()
}

fn candidate(version: &str, status: StatusState) -> Candidate {
    let digest = Digest::of(version.as_bytes());
    Candidate {
        version: version.parse().unwrap(),
        digest,
        status,
    }
}

/// The published versions of every tool but `missing`.
fn published(name: &ArtifactName) -> Vec<Candidate> {
    use StatusState::{Active, Deprecated, Quarantined, Revoked, Yanked};
    if name.as_str() == "missing" {
        return Vec::new();
    }
    vec![
        candidate("1.3.0", Active),
        candidate("2.1.0", Yanked),
        candidate("1.4.1", Deprecated),
        candidate("2.2.0", Revoked),
        candidate("2.0.0", Active),
        candidate("2.3.0", Quarantined),
        candidate("3.0.0-rc.1", Active),
    ]
}

fn chosen(requirement: &str) -> String {
    let lock = resolve_lock(&agent(json!([requirement])), published).unwrap();
    lock.tools[0].version.to_string()
}

fn check(tools: Value, expected: Expect) {
    let found = resolve_lock(&agent(tools), published).unwrap_err();
    let lines: Vec<_> = found
        .iter()
        .map(|violation| format!("{violation}\n"))
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn the_highest_version_that_may_be_used_is_chosen() {
    assert_eq!(chosen("crm"), "2.0.0");
    assert_eq!(chosen("crm@^1"), "1.4.1");
    assert_eq!(chosen("crm@~1.3"), "1.3.0");
    assert_eq!(chosen("crm@>=1, <3"), "2.0.0");
    assert_eq!(chosen("crm@^3.0.0-rc.1"), "3.0.0-rc.1");
    assert_eq!(chosen(&format!("crm@{}", Digest::of(b"1.3.0"))), "1.3.0");
}

#[test]
fn an_optional_tool_may_be_missing_and_an_alias_is_kept() {
    let tools = json!([
        { "name": "missing", "optional": true },
        { "name": "crm", "version": "^1", "as": "old" },
        { "name": "crm", "version": "^2", "as": "new" },
    ]);
    let lock = resolve_lock(&agent(tools), published).unwrap();
    let names: Vec<_> = lock.tools.iter().map(LockedTool::visible_name).collect();
    assert_eq!(names, ["new", "old"]);
    assert_eq!(lock.tools[1].requirement, "^1");
}

#[test]
fn a_tool_without_a_fitting_version_is_explained() {
    check(
        json!([
            "missing",
            "crm@^4",
            "crm2@=2.1.0",
            "crm3@^3",
            "crm4@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        ]),
        expect![[r"
            /metadata/tools/0: agent `support-bot@2.1.0` requires tool `missing`, which is not published [DEPENDENCY_UNSATISFIED]; publish `missing` first or in the same commit, correct the name, or mark it `optional: true`
            /metadata/tools/1: no version of tool `crm` satisfies agent `support-bot@2.1.0`, because it requires ^4; published: 3.0.0-rc.1, 2.3.0 (quarantined), 2.2.0 (revoked), 2.1.0 (yanked), 2.0.0, 1.4.1 (deprecated), 1.3.0 [DEPENDENCY_UNSATISFIED]; require `^2.0.0`, or publish a version that matches ^4
            /metadata/tools/2: no version of tool `crm2` satisfies agent `support-bot@2.1.0`, because it requires =2.1.0; published: 3.0.0-rc.1, 2.3.0 (quarantined), 2.2.0 (revoked), 2.1.0 (yanked), 2.0.0, 1.4.1 (deprecated), 1.3.0 [DEPENDENCY_UNSATISFIED]; 2.1.0 matches but is yanked: publish a newer version that matches, or set its status back to active
            /metadata/tools/3: no version of tool `crm3` satisfies agent `support-bot@2.1.0`, because it requires ^3; published: 3.0.0-rc.1, 2.3.0 (quarantined), 2.2.0 (revoked), 2.1.0 (yanked), 2.0.0, 1.4.1 (deprecated), 1.3.0 [DEPENDENCY_UNSATISFIED]; 3.0.0-rc.1 is a prerelease, which ^3 leaves out: publish its release, or require `^3.0.0-rc.1`
            /metadata/tools/4: no version of tool `crm4` satisfies agent `support-bot@2.1.0`, because it requires sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad; published: 3.0.0-rc.1, 2.3.0 (quarantined), 2.2.0 (revoked), 2.1.0 (yanked), 2.0.0, 1.4.1 (deprecated), 1.3.0 [DEPENDENCY_UNSATISFIED]; require `^2.0.0`, or publish a version that matches sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
        "]],
    );
}

#[test]
fn a_long_list_of_versions_is_cut() {
    let many = |_: &ArtifactName| {
        (0..40)
            .map(|patch| candidate(&format!("1.0.{patch}"), StatusState::Active))
            .collect()
    };
    let found = resolve_lock(&agent(json!(["crm@^2"])), many).unwrap_err();
    assert!(
        found[0].detail.ends_with("1.0.28, and 28 older ones"),
        "{}",
        found[0].detail
    );
}

#[test]
fn a_tool_has_no_lock() {
    let value = json!({ "name": "crm", "version": "1.0.0", "metadata": { "inputs_schema": {} } });
    let tool = Manifest::parse(ArtifactKind::Tool, &value).unwrap();
    assert!(resolve_lock(&tool, published).is_err());
}

#[test]
fn a_lock_is_read_back_from_its_verified_blob() {
    let lock = resolve_lock(&agent(json!(["crm", "acme/crm@^1"])), published).unwrap();
    let bytes = lock.to_bytes().unwrap();
    let verified = Verified::check(&bytes, lock.digest().unwrap(), Lock::read).unwrap();
    assert_eq!(verified.get(), &lock);
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"format":2,"agent":"a@1.0.0","manifest":"sha256:00","tools":[]}"#,
    ] {
        assert!(Lock::read(bad.as_bytes()).is_err(), "{bad}");
    }
    let newer = String::from_utf8(bytes)
        .unwrap()
        .replace("\"format\":1", "\"format\":2");
    assert!(
        Lock::read(newer.as_bytes())
            .unwrap_err()
            .detail
            .contains("format 2")
    );
}

proptest! {
    #[test]
    fn a_lock_does_not_depend_on_the_order_of_versions_or_tools(
        order in Just((0..7).collect::<Vec<usize>>()).prop_shuffle(),
        tools in Just(vec!["crm", "acme/a@^1", "b@<2", "c@^3.0.0-rc.1"]).prop_shuffle(),
    ) {
        let shuffled = |name: &ArtifactName| {
            let listed = published(name);
            order.iter().map(|index| listed[*index].clone()).collect()
        };
        let manifest = agent(json!(tools));
        let lock = resolve_lock(&manifest, shuffled).unwrap();
        prop_assert_eq!(&lock, &resolve_lock(&manifest, published).unwrap());
        let sorted = resolve_lock(&agent(json!(["acme/a@^1", "b@<2", "c@^3.0.0-rc.1", "crm"])), published);
        prop_assert_eq!(lock.tools, sorted.unwrap().tools);
    }

    #[test]
    fn what_is_chosen_satisfies_and_nothing_higher_does(
        versions in prop::collection::vec((0_u64..4, 0_u64..4, 0_u64..3, 0..3), 1..12),
        range in prop::sample::select(vec!["*", "^1", "^0.2", "~1.1", ">=1, <3", "=2.0.0", ">0.1"]),
    ) {
        use StatusState::{Active, Deprecated, Yanked};
        let listed: Vec<_> = versions
            .iter()
            .map(|(major, minor, patch, status)| {
                let status = [Active, Deprecated, Yanked][usize::try_from(*status).unwrap()];
                candidate(&format!("{major}.{minor}.{patch}"), status)
            })
            .collect();
        let requirement = crate::parse_requirement(range).unwrap();
        let good = |it: &&Candidate| it.status != Yanked && requirement.matches(&it.version);
        let best = listed.iter().filter(good).map(|it| it.version.clone()).max();
        let lock = resolve_lock(&agent(json!([format!("crm@{range}")])), |_| listed.clone());
        prop_assert_eq!(lock.ok().map(|lock| lock.tools[0].version.clone()), best);
    }
}
