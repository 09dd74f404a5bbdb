//! `rowcast completions`: what a shell needs to complete the command line.

use clap_complete::Shell;

use super::{Failure, print};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rowcast", &mut script);
    print(&String::from_utf8_lossy(&script))
}

const EXAMPLES: &str = "\
Examples:
  rowcast completions bash > /etc/bash_completion.d/rowcast
  rowcast completions zsh > /usr/local/share/zsh/site-functions/_rowcast
  rowcast completions fish > ~/.config/fish/completions/rowcast.fish";
