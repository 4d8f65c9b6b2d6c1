//! How `tail` shows what it reads, and where it goes on.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of `tail` about many sources and long reading.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TailLook {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// With -f: begin each line with the time at which it came; `-` for what was there before
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Go on where FILE says, and keep in FILE what has been shown
    #[arg(long, value_name = "FILE")]
    pub(crate) cursor: Option<PathBuf>,
    /// With -f: end when the programs are down and all that they wrote is shown
    #[arg(long)]
    pub(crate) exit_on_stop: bool,
}

/// Flags about what comes from many sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Sources {
    /// What stands before each line; full: host and program [default: full, none for one source]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) prefix: Option<Prefix>,
    /// Append the output to DIR/HOST/PROGRAM.log instead of showing it
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,
}

/// What stands before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prefix {
    /// The host
    Host,
    /// The host and the program
    Full,
    /// Nothing
    None,
}

impl Prefix {
    /// Whether nothing stands there.
    pub(crate) fn is_none(self) -> bool {
        self == Self::None
    }
}
