//! The only home of `unsafe` in the agent: what no safe library offers.
//!
//! * [`daemon`]: going into the background
//! * [`memory`]: how the allocator keeps memory
//! * [`pidfd`]: signalling a process by its descriptor, and how it has ended
//! * [`readiness`]: waiting in the runtime for a descriptor
//! * [`session`]: starting a process outside our session

pub mod daemon;
pub mod memory;
pub mod pidfd;
pub mod readiness;
pub mod session;
