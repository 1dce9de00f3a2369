//! What may stand on the command line.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use plane_model::EnvironmentName;

use crate::commands::{
    completions, config, environment, exclusion_group, explain, flag, log, registry, resolve, rev,
    revert, schedule, serve, server_key, sign, tenant, token, tree, uses,
};

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    // No doc comments: they would make every help page a screen longer.
    #[default]
    Human,
    Json,
}

/// The options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The address of the control plane
    #[arg(
        long,
        global = true,
        env = "CONTROL_PLANE_URL",
        default_value = "http://127.0.0.1:7400",
        value_name = "URL",
        help_heading = "Options of every command"
    )]
    pub(crate) url: String,
    /// A file with the token; without it CONTROL_PLANE_TOKEN, else the file named by
    /// CONTROL_PLANE_TOKEN_FILE
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Options of every command"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The environment, such as production
    #[arg(
        long,
        short,
        global = true,
        env = "CONTROL_PLANE_ENVIRONMENT",
        value_name = "NAME",
        help_heading = "Options of every command"
    )]
    pub(crate) environment: Option<EnvironmentName>,
    /// How to write the answer: human, for people, or json, for programs
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "FORMAT",
        help_heading = "Options of every command"
    )]
    pub(crate) output: Format,
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "control-plane",
    version,
    about = "Governs what agents, tools, flags and configuration a platform runs on",
    help_template = "{about}\n\n{usage-heading} {usage}{after-help}\n\nOptions of every command:\n{options}",
    after_help = OVERVIEW,
    styles = styles(),
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands in groups, as `--help` shows them. A test holds it and [`Command`] together.
const OVERVIEW: &str = "\
Run:
  serve            Run the control plane on a data directory
  resolve          Show what agent a tenant gets: version, tools, prompt and parameters

Flags and configuration:
  flag             List, create, set, kill, evaluate, explain and archive flags
  config           Read, set and explain configuration
  segment          List, show, set and delete segments
  exclusion-group  Set flags that exclude each other, and holdouts

Registry:
  agent            List, show, publish, search, retire, kill and revive agents
  tool             The same for tools
  channel          Choose which version of an agent an environment gets
  trust            Say whose signatures count
  keygen           Make a key pair for signing
  sign             Sign a manifest file
  verify           Check the checksum and the signatures of a manifest file

Platform:
  tenant           List, show, set and delete tenants
  environment      List, show, set and delete environments
  pin              Give one tenant a variant or a version of its own
  uses             Show which documents refer to one, and where
  schedule         List, show, add and cancel what is to be done later
  token            Create, list, revoke and recover tokens
  whoami           Show who you are and what your token covers
  server-key       Show and rotate the key that the server signs with

Whole trees of files:
  plan             Show what applying a tree would change
  apply            Make the control plane be what a tree says
  export           Write everything as a tree

History:
  log              List, show, export and verify the commits
  rev              Show what became of a revision
  revert           Take commits back

Help:
  explain          Explain an error code
  openapi          Print the OpenAPI document of the HTTP API
  completions      Print a completion script for your shell

`control-plane COMMAND --help` shows the options and examples of a command.
Exit status: 0 done, 1 refused or failed, 2 wrong usage (or changes, with `plan --exit-code`).
";

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the control plane on a data directory
    Serve(serve::Serve),
    /// Show what agent a tenant gets: version, tools, prompt and parameters
    Resolve(resolve::Resolve),
    /// List, create, set, kill, evaluate, explain and archive flags
    #[command(subcommand)]
    Flag(flag::Flag),
    /// Read, set and explain configuration
    #[command(subcommand)]
    Config(config::Config),
    /// List, show, set and delete segments
    #[command(subcommand)]
    Segment(tenant::Segment),
    /// Set flags that exclude each other, and holdouts
    #[command(subcommand)]
    ExclusionGroup(exclusion_group::ExclusionGroup),
    /// List, show, publish, search, retire, kill and revive agents
    #[command(subcommand)]
    Agent(registry::Artifact),
    /// List, show, publish, search, retire, kill and revive tools
    #[command(subcommand)]
    Tool(registry::Tool),
    /// Choose which version of an agent an environment gets
    #[command(subcommand)]
    Channel(registry::channel::Channel),
    /// Say whose signatures count
    #[command(subcommand)]
    Trust(registry::trust::Trust),
    /// Make a key pair for signing
    Keygen(sign::Keygen),
    /// Sign a manifest file
    Sign(sign::Sign),
    /// Check the checksum and the signatures of a manifest file
    Verify(sign::Verify),
    /// List, show, set and delete tenants
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    /// List, show, set and delete environments
    #[command(subcommand, name = "environment", alias = "env")]
    Environment(environment::Environment),
    /// Give one tenant a variant or a version of its own
    #[command(subcommand)]
    Pin(tenant::pin::Pin),
    /// Show which documents refer to one, and where
    Uses(uses::Uses),
    /// List, show, add and cancel what is to be done later
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Create, list, revoke and recover tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Show who you are and what your token covers
    Whoami,
    /// Show and rotate the key that the server signs with
    #[command(subcommand)]
    ServerKey(server_key::ServerKey),
    /// Show what applying a tree would change
    Plan(tree::Plan),
    /// Make the control plane be what a tree says
    Apply(tree::Apply),
    /// Write everything as a tree
    Export(tree::Export),
    /// List, show, export and verify the commits
    Log(log::Log),
    /// Show what became of a revision
    Rev(rev::Rev),
    /// Take commits back
    Revert(revert::Revert),
    /// Explain an error code
    Explain(explain::Explain),
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Print a completion script for your shell
    Completions(completions::Completions),
}

fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default())
        .placeholder(AnsiColor::Cyan.on_default())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_overview_names_every_command_in_its_own_words() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let listed = OVERVIEW
                .lines()
                .find(|line| line.trim_start().split(' ').next() == Some(name))
                .unwrap_or_else(|| panic!("`{name}` is not in the overview"));
            let about = command
                .get_about()
                .expect("a command says what it is for")
                .to_string();
            let says = listed.trim_start().trim_start_matches(name).trim();
            assert!(
                says == about || says == "The same for tools",
                "{name}: {says}"
            );
        }
    }

    /// Every command with what its help says at the end.
    fn helps() -> Vec<(String, String)> {
        fn gather(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
            let path = format!("{path} {}", command.get_name());
            if let Some(help) = command.get_after_help().filter(|_| path.contains("plane ")) {
                found.push((path.clone(), help.to_string()));
            }
            let below = command.get_subcommands();
            below.for_each(|it| gather(it, &path, found));
        }
        let mut found = Vec::new();
        gather(&Cli::command(), "", &mut found);
        found
    }

    /// The words of a line as a shell takes it, up to where another command or a file begins.
    fn shell_words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for character in line.chars() {
            match (quote, character) {
                (Some(open), it) if it == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                (None, '>' | '&' | '#' | '|') if word.is_none() => break,
                (_, it) => word.get_or_insert_default().push(it),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn help_wraps_itself_and_its_examples_paste() {
        for (path, help) in helps() {
            let (text, examples) = help.split_once("Examples:\n").unwrap_or((&help, ""));
            let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2) {
                let is_broken = is_prose(pair[0]) && is_prose(pair[1]);
                assert!(!is_broken, "`{path}` breaks a line by hand: {pair:?}");
            }
            for line in examples.lines() {
                assert!(
                    line.len() <= 80,
                    "`{path}` is wider than a terminal: {line}"
                );
            }
            for line in examples.replace("\\\n", "").lines() {
                // An example of a key is none.
                if line.contains('…') || !line.trim_start().starts_with("control-plane") {
                    continue;
                }
                let parsed = Cli::try_parse_from(shell_words(line));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|it| check(it, &path));
            } else if command.get_arguments().next().is_some() {
                let help = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(help.contains("Example"), "`{path}` has no examples");
            }
        }
        Cli::command()
            .get_subcommands()
            .for_each(|it| check(it, ""));
    }
}
