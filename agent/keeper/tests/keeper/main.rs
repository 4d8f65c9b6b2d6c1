//! The keeper with real processes: what it promises to an agent.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod absence;
mod agents;
mod ending;
mod executable;
mod holding;
mod hostile;
mod leftovers;
mod rig;
mod signals;
mod sockets;
mod spawning;
mod upgrade;
