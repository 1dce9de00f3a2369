//! `completions`: scripts for shells.

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::arguments::Cli;
use crate::session::print;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane completions bash \\
      > ~/.local/share/bash-completion/completions/control-plane
  control-plane completions zsh > \"${fpath[1]}/_control-plane\"
  control-plane completions fish \\
      > ~/.config/fish/completions/control-plane.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Cli::command(),
            "control-plane",
            &mut script,
        );
        print(&String::from_utf8_lossy(&script))
    }
}
