//! The fuzz targets of the workspace, for libFuzzer.
//!
//! The functions, and the laws that they hold, stand in `crates/cli/tests/fuzz/targets.rs`, where
//! `cargo test` runs them over `corpus/` and over mutations of it. With a nightly compiler and
//! cargo-fuzz, `cargo +nightly fuzz run TARGET` tries inputs for as long as it is let. An input that
//! breaks a law goes into `corpus/TARGET` together with the fix.

#[path = "../../crates/cli/tests/fuzz/targets.rs"]
mod targets;

pub use targets::*;
