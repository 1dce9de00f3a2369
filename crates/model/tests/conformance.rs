//! Runs the canonical form against the test data of the authors of RFC 8785.
//!
//! The suites live outside the repository: `CONTROL_PLANE_SUITES` names the folder that holds
//! `suites/` (default `../shared` beside the repository). A missing suite fails, it never skips.

use std::fs;
use std::path::{Path, PathBuf};

use plane_model::canonical::{is_canonical, to_canonical};
use plane_model::json::{Limits, parse};
use plane_model::yaml;
use serde_json::Value;

const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    depth_max: 64,
};

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no binary that reads configuration"
)]
fn suite(path: &str) -> PathBuf {
    let root = std::env::var("CONTROL_PLANE_SUITES").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let suite = root.join("suites").join(path);
    assert!(
        suite.exists(),
        "the suite {} is missing: set CONTROL_PLANE_SUITES to the folder that holds `suites/`",
        suite.display()
    );
    suite
}

#[test]
fn the_test_data_of_rfc_8785_gives_exactly_the_expected_bytes() {
    let folder = suite("registry/jcs/testdata");
    let mut files: Vec<_> = fs::read_dir(folder.join("input"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files.len(), 6, "{files:?}");
    for file in files {
        let input = fs::read(folder.join("input").join(&file)).unwrap();
        let output = fs::read(folder.join("output").join(&file)).unwrap();
        let hex = fs::read_to_string(folder.join("outhex").join(file.replace(".json", ".txt")));
        let value = parse(&input, LIMITS).unwrap();
        let bytes = to_canonical(&value).unwrap();
        assert_eq!(bytes, output, "{file}");
        let expected: String = hex.unwrap().split_whitespace().collect();
        assert_eq!(hex::encode(&bytes), expected, "{file}");
        assert!(is_canonical(&bytes), "{file}");
        assert_eq!(parse(&bytes, LIMITS).unwrap(), value, "{file}");
        // The same text is YAML too, where it has no raw control characters.
        if let Ok((from_yaml, _)) = yaml::parse(&output, LIMITS) {
            assert_eq!(from_yaml, value, "{file}");
        }
    }
}

#[test]
fn every_sampled_double_is_written_as_ecmascript_writes_it() {
    for (file, count) in [
        ("es6-numbers-1000.txt", 1000),
        ("es6-numbers-10000.txt", 10_000),
    ] {
        let text = fs::read_to_string(suite("registry/jcs").join(file)).unwrap();
        assert_eq!(text.lines().count(), count, "{file}");
        for line in text.lines() {
            let (bits, expected) = line.split_once(',').unwrap();
            let number = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
            let bytes = to_canonical(&Value::from(number)).unwrap();
            assert_eq!(
                String::from_utf8(bytes).unwrap(),
                expected,
                "{file}: {bits}"
            );
            // What our reader accepts of them, it reads as the very same double.
            if let Ok(read) = parse(expected.as_bytes(), LIMITS) {
                assert_eq!(read.as_f64(), Some(number), "{file}: {bits}");
            }
        }
    }
}
