//! The keeper with real processes: what it promises to an agent.

mod absence;
mod ending;
mod holding;
mod hostile;
mod rig;
mod signals;
mod spawning;
mod upgrade;
