//! The binary `control-plane`: the server, and every command of people and pipelines.
//!
//! It must never decide what is valid: the server and the crates below it do. A command parses its
//! arguments, asks, and shows the answer.
//!
//! Start reading at [`arguments::Cli`] (every command in one enum), then `session.rs` (how a command
//! reaches the server and shows what it found), `failure.rs` (how it says what went wrong), and the
//! command of your interest in `commands/`.
//!
//! INVARIANT: standard output holds the answer and nothing else, and with `--output json` it is JSON.

#[expect(
    clippy::doc_markdown,
    reason = "the comments of arguments are shown as help"
)]
mod arguments;
mod commands;
mod failure;
mod output;
mod parse;
mod progress;
mod session;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Cli;

/// Says that the command did what it was asked.
const EXIT_OK: u8 = 0;
/// Says that the command was refused or failed.
const EXIT_FAILED: u8 = 1;
/// Says that the command line is wrong, or with `plan --exit-code` that there are changes.
const EXIT_USAGE: u8 = 2;

/// Whether a command line that cannot be read asks for JSON.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.collect();
    let is_pair =
        |pair: &[OsString]| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json";
    arguments.windows(2).any(is_pair)
        || arguments
            .iter()
            .any(|it| it == "-ojson" || it == "--output=json")
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json(std::env::args_os()) => {
            return ExitCode::from(failure::misused(&error));
        }
        Err(error) => error.exit(),
    };
    let format = cli.global.output;
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(failure::report(&error, format)),
    }
}
