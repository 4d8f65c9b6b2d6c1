//! `rsv-keeper`: the small parent of every supervised program.
//!
//! One thread, one loop, no configuration. The agent says what to start; the keeper starts it, holds
//! its pipes, reaps it, and remembers how it ended, so that an agent may die and nobody notices.
//!
//! * `args`, `startup`, `log`: from the command line to a keeper
//! * `keeper`: the owner of everything, and the loop; `slow`: what held it up
//! * `connection`, `requests`, `exits`, `rest`, `absence`, `stopping`, `reexec`, `saved`: what it does when something happens
//! * `process`, `table`, `program`: what it holds
//! * `ending`, `drain`: what it decides
//! * `agent`, `door`, `poll`: connections, and waiting
//! * `spawn`, `target`, `cgroup`, `kin`, `os`: programs, what they start, and system calls

mod absence;
mod agent;
mod args;
mod cgroup;
mod connection;
mod door;
mod drain;
mod ending;
mod exits;
mod keeper;
mod kin;
mod log;
mod os;
mod poll;
mod process;
mod program;
mod reexec;
mod remainder;
mod requests;
mod rest;
mod saved;
mod slow;
mod spawn;
mod startup;
mod stopping;
mod table;
mod target;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::args::Command;

/// The command line makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(args::HELP),
        Ok(Command::Version) => print(concat!("rsv-keeper ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Keep {
            socket,
            has_cgroups,
        }) => keep(&socket, has_cgroups),
        Ok(Command::Restore(number)) => restore(number),
        Ok(Command::Probe) if reexec::can_restore() => ExitCode::SUCCESS,
        Ok(Command::Probe) => ExitCode::FAILURE,
        Err(text) => {
            log::say(format_args!("{text}; try `rsv-keeper --help`"));
            ExitCode::from(USAGE)
        }
    }
}

fn print(text: &str) -> ExitCode {
    let printed = std::io::stdout().write_all(text.as_bytes());
    if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn keep(socket: &Path, has_cgroups: bool) -> ExitCode {
    match startup::start(socket, has_cgroups) {
        Ok(mut keeper) => {
            startup::notify_ready();
            run(&mut keeper)
        }
        Err(error) => {
            log::say(format_args!("{}", log::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn restore(number: i32) -> ExitCode {
    match reexec::restore(number) {
        Ok(mut keeper) => run(&mut keeper),
        Err(error) => {
            log::say(format_args!("{}", log::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(keeper: &mut keeper::Keeper) -> ExitCode {
    match keeper.run() {
        Ok(code) => code,
        Err(error) => {
            log::say(format_args!("cannot wait for events: {error}"));
            ExitCode::FAILURE
        }
    }
}
