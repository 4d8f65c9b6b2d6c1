//! The pure core of supervision: one process as a state machine.
//!
//! [`step`] is the only place where a lifecycle decision is made. It reads no clock, starts no
//! timer and touches no process: a driver feeds events in, carries effects out, and sleeps until
//! [`Phase::deadline`]. [`adopt`] puts a machine back where it stood after the driver's death,
//! and [`Wait`] tells when something that was asked for is done.
//!
//! - `tick`: time as an argument
//! - `state`: Supervisor's eight states and their sets
//! - `exit`: how a process ended
//! - `policy`: what the configuration says of one process
//! - `event`: what can happen to a machine
//! - `effect`: what a machine wants done and told
//! - `reason`: why, in a closed enum with words for people
//! - `phase`: where a machine stands, with the data of that place
//! - `strain`: failures and restarts on record, and the delays they cost
//! - `machine`: the decisions
//! - `adopt`: resuming from a note and what is found alive
//! - `wait`: the fate of an ask

mod adopt;
mod effect;
mod event;
mod exit;
mod machine;
mod phase;
mod policy;
mod reason;
mod state;
mod strain;
mod tick;
mod wait;

pub use adopt::{Found, adopt};
pub use effect::{Change, Effect, Ended, Entered};
pub use event::{Ask, Event, Observation};
pub use exit::{Exit, signal_name};
pub use machine::step;
pub use phase::{After, Attempt, Phase};
pub use policy::{Autorestart, Policy, RestartWindow, Retries, Scope};
pub use reason::{Failure, GaveUp, Reason};
pub use state::State;
pub use strain::{SHORT_LIFE, SHORT_LIFE_DELAY_MAX, Strain, retry_delay};
pub use tick::Tick;
pub use wait::{Opened, Refusal, Step, Verdict, Wait};
