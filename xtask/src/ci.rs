//! `cargo xtask ci`: all that CI runs, in CI's order, stopping at the first failure.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::{TestCount, cargo, run};
use crate::tidy::policy::PURE;
use crate::workspace::Workspace;
use crate::{conformance, openapi, test, tidy};

/// Runs every step, and ends with a table of how long each took and with the count of the tests.
pub(crate) fn ci() -> Result<()> {
    let mut steps = Steps::default();
    steps.step("fmt", || {
        run(&mut cargo(&["fmt", "--all", "--", "--check"]))
    })?;
    steps.step("tidy", tidy::tidy)?;
    steps.step("clippy", || run(&mut clippy()))?;
    steps.step("pure crates alone", pure_crates_alone)?;
    steps.step("docs", || run(&mut docs()))?;
    steps.step("openapi", openapi::check)?;
    let tests = steps.step("test", test::test)?;
    let suites = steps.step("conformance", conformance::conformance)?;
    steps.print();
    print_count(&tests.plus(suites));
    Ok(())
}

fn clippy() -> Command {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
}

fn docs() -> Command {
    let mut command = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Checks each pure crate by itself: one that builds only with the features that another crate turns
/// on would fail for whoever uses it alone.
fn pure_crates_alone() -> Result<()> {
    for package in Workspace::of_members()?
        .members()
        .filter(|package| is_pure(&package.name))
    {
        run(&mut cargo(&["check", "--package", &package.name]))?;
    }
    Ok(())
}

fn is_pure(name: &str) -> bool {
    PURE.contains(&name)
}

/// The last line of all, in the form that a reader of logs looks for.
fn print_count(tests: &TestCount) {
    println!("\ntests: {tests}");
}

/// The steps that ran, with how long each took.
#[derive(Debug, Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    #[expect(
        clippy::disallowed_methods,
        reason = "a step's duration is what is measured here"
    )]
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n==> {name}");
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        match result {
            Ok(value) => {
                eprintln!("<== {name}: passed in {:.1} s", took.as_secs_f64());
                self.done.push((name, took));
                Ok(value)
            }
            Err(error) => {
                self.print();
                Err(error).with_context(|| {
                    format!(
                        "ci failed at step `{name}` after {:.1} s",
                        took.as_secs_f64()
                    )
                })
            }
        }
    }

    fn print(&self) {
        println!("\n{}", self.table());
    }

    fn table(&self) -> String {
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        self.done
            .iter()
            .map(|&(name, took)| (name, took))
            .chain([("total", total)])
            .map(|(name, took)| format!("{name:<20}{:>8.1} s", took.as_secs_f64()))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_step_that_fails_is_named() {
        let mut steps = Steps::default();
        steps.step("fmt", || Ok(())).expect("it passes");
        let error = steps.step("tidy", || -> Result<()> { bail!("two checks failed") });
        let error = format!("{:#}", error.expect_err("it fails"));
        assert!(error.starts_with("ci failed at step `tidy`"), "{error}");
        assert!(error.ends_with("two checks failed"), "{error}");
        assert_eq!(steps.done.len(), 1, "only what passed is in the table");
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let steps = Steps {
            done: vec![
                ("fmt", Duration::from_millis(500)),
                ("test", Duration::from_mins(1)),
            ],
        };
        assert_eq!(
            steps.table(),
            "fmt                      0.5 s\ntest                    60.0 s\ntotal                   60.5 s"
        );
    }
}
