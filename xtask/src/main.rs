//! The commands of a developer: run, test, check and release the project, with nothing to install but Rust.
//!
//! It must never be needed at run time, and it depends on none of the product's crates: it drives
//! cargo and reads what cargo and git report.
//!
//! Start reading at [`main`]; each command is a module. The checks of `tidy` are pure functions
//! over text and over [`workspace::Workspace`], so that each is shown to fail on a bad example.
//!
//! INVARIANT: a command that did not do what its name says ends with a status other than 0 and says
//! why on standard error; nothing is skipped in silence.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool for developers speaks on its standard streams"
)]

mod bench;
mod ci;
mod conformance;
mod interop;
mod openapi;
mod process;
mod python;
mod run;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
The commands of this repository. Start with `cargo xtask run`.

Usage: cargo xtask COMMAND [OPTIONS]

To see it work
  run            builds the server, starts it with examples/aiaas loaded, and prints three commands to try
    --listen ADDR    another address (default 127.0.0.1:7400; port 0 takes any free one)
    --data DIR       another data directory (default .data/run, kept between runs)
    --fresh          empties the data directory first, and loads the example again
    --release        an optimised build: much slower to build, as fast as it gets to run

While you change it
  test           every test of the workspace, doc tests included, and then interop
  interop        programs of others against the API: a linter of its document and OpenFeature's
                 clients from npm and PyPI, and schemathesis; all are installed under target/
  tidy           what the compiler cannot see: edges between crates, purity, licences, duplicate
                 versions, error pages, orphan files
  openapi        writes openapi/control-plane-v1.json from the code
    --check          fails if the file is not what the code gives

Before you hand it in
  ci             all that CI runs, in CI's order: formatting, tidy, clippy, each pure crate alone, docs,
                 openapi --check, tests, conformance
  conformance    suites that others wrote, from the directory CONTROL_PLANE_SUITES (default ../shared)
  bench ARGS     the benchmarks of bench/, in release; ARGS go to them (try `cargo xtask bench --help`)
  bench python   the Python package beside the SDKs of others, which are installed under target/
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match dispatch(command.as_deref(), &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Option<&str>, rest: &[String]) -> Result<()> {
    let wants_help = rest
        .iter()
        .any(|argument| argument == "--help" || argument == "-h");
    match command {
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some("bench") => bench::bench(rest),
        Some(_) if wants_help => {
            print!("{HELP}");
            Ok(())
        }
        Some("run") => run::run(&run::Options::parse(rest)?),
        Some("test") => no_options("test", rest).and_then(|()| test::test().map(drop)),
        Some("interop") => no_options("interop", rest).and_then(|()| interop::interop()),
        Some("tidy") => no_options("tidy", rest).and_then(|()| tidy::tidy()),
        Some("conformance") => {
            no_options("conformance", rest).and_then(|()| conformance::conformance().map(drop))
        }
        Some("ci") => no_options("ci", rest).and_then(|()| ci::ci()),
        Some("openapi") => match rest {
            [] => openapi::write(),
            [option] if option == "--check" => openapi::check(),
            _ => bail!("`openapi` takes only `--check`; see `cargo xtask help`"),
        },
        // Not for people: the other end of the pipe that `run` opens.
        Some(run::ANNOUNCE) => run::announce(rest),
        Some(other) => bail!("there is no command `{other}`; `cargo xtask help` lists them"),
    }
}

fn no_options(command: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(first) => bail!("`{command}` takes no options, got `{first}`; see `cargo xtask help`"),
    }
}
