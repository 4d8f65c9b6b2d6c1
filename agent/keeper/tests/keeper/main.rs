//! The keeper with real processes: what it promises to an agent.

mod rig;
mod spawning;
