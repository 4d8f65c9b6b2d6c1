//! The task that owns every machine.
//!
//! Everything that happens to a program comes here as a closed set of inputs: asks (local API,
//! controller), observations (keeper) and elapsed deadlines. Each goes through
//! `rsv_supervise::step`, whose effects are carried out at once: spawn, signal, publish. The hub
//! never opens a log and never waits for a program; whoever asks is answered when the machine has
//! settled. It sleeps until the earliest deadline of any machine, so that idle programs cost nothing.

mod handle;

pub use handle::{ActOn, HubGone, HubHandle, Key, Resolved, Shutdown, Snapshot};
