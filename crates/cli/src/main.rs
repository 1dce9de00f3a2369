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
use clap::error::{ContextKind, ContextValue};

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

/// Takes out of the usage what every command takes: from the environment or by default, none is required.
fn without_global_options(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let mut usage = usage.to_string();
        let all = [
            "url <URL>",
            "token-file <FILE>",
            "environment <NAME>",
            "output <FORMAT>",
        ];
        for option in all {
            usage = usage.replace(&format!(" --{option}"), "");
        }
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage.into()));
    }
    error
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json(std::env::args_os()) => {
            return ExitCode::from(failure::misused(&error));
        }
        Err(error) => without_global_options(error).exit(),
    };
    let format = cli.global.output;
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(failure::report(&error, format)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_asks_for_nothing_that_the_environment_has_said() {
        let line = "control-plane --url http://x -e production flag show";
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        let said = without_global_options(error).to_string();
        assert!(
            said.contains("Usage: control-plane flag show <KEY>\n"),
            "{said}"
        );
    }
}
