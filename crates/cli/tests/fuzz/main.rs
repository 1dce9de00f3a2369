//! The fuzz targets over their corpus and over mutations of it: the same ones in every run.

mod mutate;
#[expect(
    unreachable_pub,
    reason = "`fuzz/` takes them from outside of this crate"
)]
mod targets;

use std::fs;
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use mutate::Random;
use targets::TARGETS;

/// How many mutations of each target's corpus are tried; libFuzzer tries more.
const MUTATIONS: usize = 4_000;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The inputs that people wrote for a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = repository().join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn try_input(name: &str, target: fn(&[u8]), input: &[u8]) {
    let tried = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    // Enough to know a large input again: each is made from a fixed seed.
    let shown = input.get(..4_096).unwrap_or(input);
    // What was broken has been told already, by the panic itself.
    assert!(
        tried.is_ok(),
        "`{name}` broke a law on this input of {} bytes:\n{}",
        input.len(),
        shown.escape_ascii()
    );
}

fn run(name: &str) {
    let (_, target) = *TARGETS.iter().find(|(it, _)| *it == name).unwrap();
    let corpus = corpus(name);
    for input in &corpus {
        try_input(name, target, input);
    }
    let mut random = Random::new(name);
    for _ in 0..MUTATIONS {
        let input = random.mutated(&corpus);
        try_input(name, target, &input);
    }
    let inputs = corpus.len() + MUTATIONS;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "figure: {inputs} inputs to the fuzz target `{name}`, no law broken"
    )
    .unwrap();
}

macro_rules! laws {
    ($($fact:ident: $target:literal,)*) => {
        $(
            #[test]
            fn $fact() {
                run($target);
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$($target),*];
            assert!(TARGETS.iter().map(|(name, _)| name).eq(tested.iter()));
        }
    };
}

laws! {
    any_text_is_read_in_one_way_or_refused_with_its_place: "text",
    any_document_is_stored_as_it_was_read_or_refused: "document",
    any_expression_has_a_verdict_or_is_refused: "expression",
    any_targeting_is_evaluated_as_it_is_explained_at_any_time: "targeting",
    any_context_evaluates_or_is_refused: "context",
    any_manifest_keeps_its_digest_or_is_refused: "manifest",
    no_text_passes_for_a_signature: "signature",
    any_lock_is_written_as_it_was_read_or_refused: "lock",
    any_tree_says_the_same_when_written_again_or_is_refused: "tree",
    any_record_is_applied: "record",
    any_row_of_the_journal_is_the_same_run_when_written_again_or_is_refused: "journal",
    any_checkpoint_is_read_or_refused: "checkpoint",
    any_view_is_held: "view",
    any_signed_head_is_what_was_signed_or_no_head: "head",
    any_query_asks_for_a_page_or_is_refused: "page",
    any_stream_gives_the_same_events_wherever_it_is_split: "events",
    any_problem_is_read_or_refused: "problem",
}

/// The example platform is a tree like any other.
#[test]
fn mutations_of_the_example_keep_the_laws() {
    fn files(directory: &Path, root: &Path, into: &mut Vec<u8>) {
        let mut entries: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                files(&path, root, into);
            } else {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                into.extend(format!("=== {name}\n").bytes());
                into.extend(fs::read(&path).unwrap());
            }
        }
    }
    let root = repository().join("examples/aiaas");
    let mut example = Vec::new();
    files(&root, &root, &mut example);
    targets::tree(&example);
    let mut random = Random::new("example");
    for _ in 0..50 {
        let input = random.mutated(std::slice::from_ref(&example));
        try_input("tree", targets::tree, &input);
    }
}

/// No reader takes more than time in proportion, nor any stack, however much an attacker sends.
#[test]
fn ten_mebibytes_of_anything_break_no_law() {
    for unit in ["[", "{\"a\":", "a: ", "\"", "9"] {
        let input = unit.repeat((10 << 20) / unit.len());
        for (name, target) in TARGETS {
            try_input(name, *target, input.as_bytes());
        }
    }
}
