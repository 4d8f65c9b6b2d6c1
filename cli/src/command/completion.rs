//! `completion`: a script that completes the words of this command line.

use clap_complete::Shell;

use crate::{
    args::Arguments,
    error::{Exit, Failure},
    invocation::Invocation,
};

const BASH: &str = include_str!("completion/rsv.bash");
const ZSH: &str = include_str!("completion/rsv.zsh");
const FISH: &str = include_str!("completion/rsv.fish");

/// Prints the script for a shell. Those of the first three ask this program for what is there.
pub(super) fn run(invocation: &mut Invocation, shell: Shell) -> Result<Exit, Failure> {
    let script = match shell {
        Shell::Bash => BASH.into(),
        Shell::Zsh => ZSH.into(),
        Shell::Fish => FISH.into(),
        other => {
            let mut script = Vec::new();
            clap_complete::generate(other, &mut Arguments::grammar(), "rsv", &mut script);
            script
        }
    };
    invocation.ui.bytes(&script)?;
    Ok(Exit::Done)
}
