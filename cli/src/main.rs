//! `rsv`: one command line for one host or the whole fleet.

mod args;
mod carrier;
mod client;
mod command;
mod complete;
mod context;
mod error;
mod fold;
mod invocation;
mod json;
mod live;
mod local;
mod location;
mod run;
mod shell;
mod table;
mod telemetry;
mod ui;
mod xmlrpc;

use std::process::ExitCode;

fn main() -> ExitCode {
    run::run()
}
