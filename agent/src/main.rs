//! The binary `rsv-agent`.

use std::process::ExitCode;

use clap::Parser as _;
use rsv_agent::args::{Cli, Command};
use rsv_agent::{check, daemon, join};

fn main() -> ExitCode {
    let argv0 = std::env::args()
        .next()
        .unwrap_or_else(|| "rsv-agent".to_owned());
    let cli = Cli::parse();
    if cli.version {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match &cli.command {
        Some(Command::Join(join)) => join::run(join, &argv0),
        Some(Command::Check(check)) => check::run(check, &argv0),
        None => daemon::run(&cli.daemon, &argv0),
    }
}
