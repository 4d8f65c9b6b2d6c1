//! What a machine wants done, and what it tells.
//!
//! Effects come in the order in which they are to be told. The driver may carry out `Spawn` and
//! `Signal` before it publishes the rest of the same step: nothing in a step depends on it.

use serde::{Deserialize, Serialize};

use crate::{Attempt, Exit, Reason, Scope, State, Tick};

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Spawn the process. Answered by `Spawned` or `SpawnRefused` of the same attempt. After an
    /// adoption it may come a second time with the same number: whoever spawns does it once.
    Spawn {
        /// The number of the attempt.
        attempt: Attempt,
        /// Why now.
        reason: Reason,
    },
    /// Signal the process of this attempt, and nothing else should it be gone.
    Signal {
        /// The attempt whose process it is.
        attempt: Attempt,
        /// The number of the signal.
        signal: i32,
        /// Who gets it.
        scope: Scope,
        /// Why now.
        reason: Reason,
    },
    /// Tell that the process of this attempt exists. Its state did not change by that.
    Spawned {
        /// The attempt.
        attempt: Attempt,
        /// The process.
        pid: u32,
        /// When it came to be.
        at: Tick,
    },
    /// Tell that the state changed.
    Transition(Change),
}

/// A change of state, with what is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The latest attempt at that moment; [`Attempt::NONE`] if there was none yet.
    pub attempt: Attempt,
    /// The state before.
    pub from: State,
    /// The state after, with its data.
    pub to: Entered,
    /// When it changed: for an end, when the process ended.
    pub at: Tick,
    /// Why it changed.
    pub reason: Reason,
}

/// The state that was entered, with what Supervisor's events and log lines tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entered {
    /// At rest on request.
    Stopped {
        /// The process that ended; absent when there was none, as after BACKOFF.
        ended: Option<Ended>,
    },
    /// A spawn was asked for.
    Starting {
        /// Failed starts in a row before this one.
        tries: u32,
    },
    /// It has been up long enough.
    Running {
        /// The process.
        pid: u32,
    },
    /// Waits for the next attempt.
    Backoff {
        /// Failed starts in a row; zero when it waits after having been up.
        tries: u32,
    },
    /// Told to stop.
    Stopping {
        /// The process; absent while its spawn is not yet answered.
        pid: Option<u32>,
    },
    /// Ended by itself after it had been up.
    Exited(Ended),
    /// Given up.
    Fatal,
    /// Could not be signalled.
    Unknown {
        /// The process.
        pid: u32,
    },
}

/// A process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The process that was.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
    /// Whether the policy expects such an end.
    pub expected: bool,
}

impl Entered {
    /// The state without its data.
    pub const fn state(&self) -> State {
        match self {
            Self::Stopped { .. } => State::Stopped,
            Self::Starting { .. } => State::Starting,
            Self::Running { .. } => State::Running,
            Self::Backoff { .. } => State::Backoff,
            Self::Stopping { .. } => State::Stopping,
            Self::Exited(_) => State::Exited,
            Self::Fatal => State::Fatal,
            Self::Unknown { .. } => State::Unknown,
        }
    }
}
