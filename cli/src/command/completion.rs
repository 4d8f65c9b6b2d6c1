//! `completion`: a script that completes the words of this command line.

use crate::{
    args::Arguments,
    error::{Exit, Failure},
    invocation::Invocation,
};

/// Prints the script for a shell.
pub(super) fn run(
    invocation: &mut Invocation,
    shell: clap_complete::Shell,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::grammar(), "rsv", &mut script);
    invocation.ui.bytes(&script)?;
    Ok(Exit::Done)
}
