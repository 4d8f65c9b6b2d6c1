//! What can happen to a machine, grouped by where it comes from.
//!
//! Sending an arbitrary signal is not here: it changes no decision, so the driver does it alone.

use serde::{Deserialize, Serialize};

use crate::{Attempt, Exit, Tick};

/// One thing that happens to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The machine is new: nobody has ever asked anything of it. Starts it if it is to autostart.
    Created,
    /// Somebody wants something.
    Asked(Ask),
    /// Something was seen.
    Observed(Observation),
    /// The policy given with this event differs from the one before. Deadlines already set are
    /// moved to what they would be under the new one; nothing is started, stopped or signalled.
    PolicyChanged,
    /// The moment of [`crate::Phase::deadline`] may have come. Sent too early it does nothing.
    Elapsed,
}

/// What can be asked of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Be running.
    Start,
    /// Be at rest.
    Stop,
    /// Stop if running, then start.
    Restart,
}

/// What can be seen of one attempt. What is seen of any attempt but the latest is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The process exists. Comes before every other observation of its attempt.
    Spawned {
        /// The attempt that was answered.
        attempt: Attempt,
        /// The process.
        pid: u32,
        /// When it came to be.
        at: Tick,
    },
    /// There is no process, and there never was one in this attempt.
    SpawnRefused {
        /// The attempt that was answered.
        attempt: Attempt,
        /// The spawn error, in the words shown to people.
        why: String,
    },
    /// The process has ended.
    Exited {
        /// The attempt it was.
        attempt: Attempt,
        /// How it ended.
        exit: Exit,
        /// When it ended, which may be long before it is told.
        at: Tick,
    },
    /// The system refused to signal the process. That there is no such process is not this, but
    /// an exit about to be seen.
    SignalFailed {
        /// The attempt that was to be signalled.
        attempt: Attempt,
        /// What the system said.
        why: String,
    },
}

impl Observation {
    /// The attempt that was observed.
    pub const fn attempt(&self) -> Attempt {
        match self {
            Self::Spawned { attempt, .. }
            | Self::SpawnRefused { attempt, .. }
            | Self::Exited { attempt, .. }
            | Self::SignalFailed { attempt, .. } => *attempt,
        }
    }
}
