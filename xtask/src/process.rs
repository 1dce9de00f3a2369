//! Starts other programs from the root of the repository, and counts the tests that cargo reports.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that started this program, in the root of the repository.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Announces `command`, runs it with this program's own streams, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if status.success() {
        return Ok(());
    }
    bail!("`{}` failed ({status})", shown(command))
}

/// Runs `command` with its standard output collected; progress and errors go to the terminal.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shown(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("the output of `{}` is not UTF-8", shown(command)))
}

/// Runs a `cargo test` command, passes on all that it prints, and counts its tests.
///
/// Fails if the command fails, if a test was ignored, and if no test ran at all: each of them would
/// otherwise look like success.
pub(crate) fn run_tests(command: &mut Command) -> Result<TestCount> {
    announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut count = TestCount::default();
    if let Some(stdout) = child.stdout.take() {
        let mut out = std::io::stdout().lock();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read what the tests print")?;
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            count.read_line(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().context("cannot wait for the tests")?;
    if !status.success() {
        bail!("`{}` failed ({status}): {count}", shown(command));
    }
    if count.ignored > 0 {
        bail!(
            "{} tests are ignored; a test runs or is deleted",
            count.ignored
        );
    }
    if count.passed == 0 {
        bail!("`{}` ran no test", shown(command));
    }
    Ok(count)
}

/// What a test counted, in a line that it writes to standard output past cargo's harness.
const FIGURE: &str = "figure: ";

fn announce(command: &Command) {
    eprintln!("$ {}", shown(command));
}

/// `command` as a person would type it: without the directory of the program, and without tokens.
fn shown(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if name.to_string_lossy().contains("TOKEN") {
            let _ = write!(text, "{}=… ", name.display());
        } else if let Some(value) = value {
            let _ = write!(text, "{}={:?} ", name.display(), value.to_string_lossy());
        }
    }
    let program = Path::new(command.get_program());
    text.push_str(
        &program
            .file_stem()
            .unwrap_or(program.as_os_str())
            .to_string_lossy(),
    );
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.display());
    }
    text
}

/// How many tests ran, added up over the lines `test result: …` of `cargo test`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TestCount {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// What the tests counted themselves, such as the faults that they tried.
    pub(crate) figures: Vec<String>,
}

impl TestCount {
    /// Both counts added up.
    pub(crate) fn plus(self, other: TestCount) -> TestCount {
        TestCount {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            figures: [self.figures, other.figures].concat(),
        }
    }

    fn read_line(&mut self, line: &str) {
        // Not at the beginning where tests run one by one: the name of the test stands there.
        if let Some((_, figure)) = line.split_once(FIGURE) {
            self.figures.push(figure.to_owned());
            return;
        }
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|result| result.split_once(". "))
        else {
            return;
        };
        for part in counts.split(';') {
            let Some((number, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for TestCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(output: &str) -> TestCount {
        let mut count = TestCount::default();
        output.lines().for_each(|line| count.read_line(line));
        count
    }

    #[test]
    fn the_results_of_all_suites_are_added_up() {
        let output = "\
running 2 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 3 passed; 1 failed; 4 ignored; 0 measured; 5 filtered out; finished in 1.20s
";
        assert_eq!(
            count(output),
            TestCount {
                passed: 5,
                failed: 1,
                ignored: 4,
                figures: Vec::new(),
            }
        );
    }

    #[test]
    fn what_tests_counted_is_kept_in_its_order() {
        let output = "\
figure: 200 kills, 0 lost
test a ... ok
test b ... figure: 3 files
ok
";
        assert_eq!(count(output).figures, ["200 kills, 0 lost", "3 files"]);
    }

    #[test]
    fn what_a_test_prints_is_not_a_result() {
        assert_eq!(
            count("see test result: ok. 9 passed; 0 failed"),
            TestCount::default()
        );
    }

    #[test]
    fn a_command_is_shown_as_a_person_would_type_it() {
        let mut command = Command::new("toolchains/bin/cargo");
        command
            .args(["doc", "--no-deps"])
            .env("A_TOKEN", "secret")
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            shown(&command),
            "A_TOKEN=… RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps"
        );
    }

    #[test]
    fn a_test_command_that_runs_no_test_fails() {
        let error = run_tests(&mut cargo(&["--version"])).expect_err("no test ran");
        assert!(error.to_string().contains("ran no test"), "{error}");
    }
}
