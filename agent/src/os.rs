//! The only home of `unsafe` in the agent: what no safe library offers.
//!
//! * [`session`]: starting a process outside our session

pub mod session;
