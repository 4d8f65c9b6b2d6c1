//! The whole system, with real binaries: what the system tests share.
//!
//! * [`binaries`]: where the binaries under test are
//! * [`eventually`]: waiting for something to become true, with one patience for all
//! * [`browser`]: a real browser that does what a person would
//! * [`command`]: a program run to its end
//! * [`daemon`]: a program that runs until it is told to stop
//! * [`host`]: one keeper and one agent with a configuration of their own
//! * [`fleet`]: a controller and hosts that have joined it
//! * [`network`]: hosts in network namespaces, and what goes wrong between them
//! * [`simulation`]: a fleet of pure machines, without a process
//! * [`lines`]: numbered lines, and the log that must hold them
//! * [`site`]: a daemon, ours or Supervisor's, with a configuration
//! * [`collector`]: an OTLP receiver made of the official stubs

pub mod binaries;
pub mod browser;
pub mod collector;
pub mod command;
pub mod daemon;
pub mod eventually;
pub mod fleet;
pub mod host;
pub mod lines;
pub mod network;
pub mod prometheus;
pub mod python;
pub mod simulation;
pub mod site;
