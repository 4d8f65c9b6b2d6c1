//! A whole fleet in one thread and without a clock: the product's own machines under a scheduler that
//! follows from a seed.
//!
//! The controller is its [hub](rsv_controller::hub::Hub) with the fleet, the operations and what waits for
//! the store; a host has the agent's [session](rsv_agent::link::session), its
//! [desk of commands](rsv_agent::link::commands::desk), its [journal](rsv_agent::journal) and the decisions
//! of its hub over [machines](rsv_supervise::step). Between them are a network, disks, keepers and
//! processes that are only as good as real ones: what is sent may be late, torn off or lost with its
//! connection, and anything may be killed at any moment. After each step the laws are checked; in the end
//! the faults cease, and all must agree.
//!
//! * `dice`, `schedule`: randomness and time
//! * `network`: connections, each in order, and no two alike
//! * `controller`: the hub and its store
//! * `host`, `agent`, `desk`, `programs`, `keeper`: a host, from its disk to its processes
//! * `file`, `roster`: what is configured there, and how that changes while everything runs
//! * `ending`: how an agent stops everything and ends, or begins anew, at the word of the fleet
//! * `flaw`: mistakes that hosts can be made to have, for the laws to find
//! * `operator`, `errand`: somebody who has much done and does not always wait
//! * `meaning`: which programs of which hosts an errand is about
//! * `witness`: what really happened, and the laws
//! * `world`: all of it, step by step

mod agent;
mod controller;
mod desk;
mod dice;
mod ending;
mod errand;
mod file;
mod flaw;
mod host;
mod keeper;
mod meaning;
mod network;
mod operator;
mod programs;
mod roster;
mod schedule;
mod witness;
mod world;

pub use flaw::Flaw;
pub use world::{Figures, simulate, simulate_with};
