//! The built command against servers that are made of fixed data: what it prints, byte for byte,
//! and what it exits with.

#![expect(
    clippy::unwrap_used,
    reason = "a test's own preparations that fail are a failed test"
)]

mod agent;
mod completion;
mod configuration;
mod contexts;
mod controller;
mod ending;
mod fake;
mod fleet;
mod foreground;
mod import;
mod local;
mod operations;
mod remote;
mod run;
mod scripts;
mod shell;
mod tail;
mod terminal;
mod xmlrpc;
