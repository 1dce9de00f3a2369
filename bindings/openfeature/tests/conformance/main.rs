//! `OpenFeature`'s own scenarios, through its Rust SDK and our provider. Run by `cargo xtask conformance`.

mod gherkin;
mod steps;
mod suite_tree;

use std::path::PathBuf;

use plane_client::sdk::InMemory;

use self::steps::World;

const GHERKIN: &str = "suites/flags/openfeature-spec-gherkin/specification/assets/gherkin";
/// The features whose subject the Rust SDK has; `hooks` and `contextMerging` are about the SDK alone.
const FEATURES: [&str; 2] = ["evaluation_v2.feature", "metadata.feature"];

/// What cannot hold of us or of this SDK, by the scenario's name, and why.
const EXCUSED: &[(&str, &str)] = &[
    (
        "CACHED reason",
        "the second of two equal questions is to be answered from a cache; ours is evaluated anew, \
         and to say it was not would be untrue",
    ),
    (
        "DISABLED reason",
        "a provider of this SDK (0.3) is told of no default, so it can give none back; our own \
         tests find the reason in the error",
    ),
    (
        "Provider in fatal state error",
        "the SDK's `ProviderStatus` and its error codes have no fatal one",
    ),
    (
        "Provider status accessibility",
        "the SDK's client does not say it; our own tests ask the provider",
    ),
    (
        "Evaluation context immutability",
        "contexts are borrowed and details owned: the compiler sees to the one, and the other is \
         the caller's to change",
    ),
];

/// Asked of a provider that is told to say nothing of its own in a flag's metadata, for by default it
/// says the revision.
const ONLY_FLAG_METADATA: &str = "Returns no metadata";

#[tokio::test]
async fn the_scenarios_of_openfeature_hold() {
    let suites =
        std::env::var_os("CONTROL_PLANE_SUITES").expect("`cargo xtask conformance` sets it");
    let directory = PathBuf::from(suites).join(GHERKIN);
    let tree = tempfile::tempdir().unwrap();
    suite_tree::write(&directory.join("test-flags.json"), tree.path());
    let memory = InMemory::from_tree(tree.path()).unwrap();
    let (mut ran, mut failed, mut excused) = (0, Vec::new(), Vec::new());
    for feature in FEATURES {
        let path = directory.join(feature);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|it| panic!("{path:?}: {it}"));
        for scenario in gherkin::scenarios(&text) {
            if let Some((name, _)) = EXCUSED.iter().find(|(name, _)| *name == scenario.name) {
                excused.push(*name);
                continue;
            }
            let mut world = World::new(&memory, scenario.name == ONLY_FLAG_METADATA);
            for step in &scenario.steps {
                if let Err(detail) = world.take(step).await {
                    failed.push(format!("{}: {}: {detail}", scenario.name, step.text));
                    break;
                }
            }
            ran += 1;
        }
    }
    let unused: Vec<_> = EXCUSED
        .iter()
        .filter(|(name, _)| !excused.contains(name))
        .collect();
    assert!(
        unused.is_empty(),
        "excuses that name no scenario: {unused:?}"
    );
    assert!(ran > 50, "only {ran} scenarios were found");
    assert!(
        failed.is_empty(),
        "{} of {ran} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
