//! Where a machine stands, with the data that belongs to that place and no other.
//!
//! A phase is the whole memory of a machine: it is kept as a small note outside the driver, so
//! that the next driver goes on from it. A field added later takes a serde default, so that the
//! notes of an older agent can still be read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Exit, Failure, State, Strain, Tick};

/// The number of an attempt to run the process: one higher for each spawn, for as long as the
/// machine exists.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(u64);

impl Attempt {
    /// No attempt yet.
    pub const NONE: Self = Self(0);

    /// The attempt with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The attempt after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a machine stands. `attempt` is always the latest attempt, live or past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// At rest: never started, or stopped on request.
    Stopped {
        /// The latest attempt; [`Attempt::NONE`] if it was never started.
        attempt: Attempt,
    },
    /// The spawn was asked for and is not yet answered.
    Spawning {
        /// The attempt asked for.
        attempt: Attempt,
        /// What has gone wrong so far.
        #[serde(default)]
        strain: Strain,
    },
    /// A stop was asked for while the spawn was not yet answered.
    Aborting {
        /// The attempt whose answer is awaited.
        attempt: Attempt,
        /// What comes after the stop.
        then: After,
    },
    /// The process exists, and has not yet been up for `startsecs`.
    Starting {
        /// The live attempt.
        attempt: Attempt,
        /// The process.
        pid: u32,
        /// When it came to be.
        started: Tick,
        /// When it counts as up.
        until: Tick,
        /// What has gone wrong so far.
        #[serde(default)]
        strain: Strain,
    },
    /// The process is up.
    Running {
        /// The live attempt.
        attempt: Attempt,
        /// The process.
        pid: u32,
        /// When it came to be.
        started: Tick,
        /// What has gone wrong so far.
        #[serde(default)]
        strain: Strain,
    },
    /// There is no process; the next attempt has its time.
    Backoff {
        /// The latest attempt.
        attempt: Attempt,
        /// When the latest attempt failed.
        since: Tick,
        /// When the next attempt is due.
        until: Tick,
        /// What was wrong with the latest attempt.
        cause: Failure,
        /// What has gone wrong so far.
        #[serde(default)]
        strain: Strain,
    },
    /// The process was told to stop, and has not gone yet.
    Stopping {
        /// The live attempt.
        attempt: Attempt,
        /// The process.
        pid: u32,
        /// When it was last signalled.
        signalled: Tick,
        /// When SIGKILL is due (again).
        until: Tick,
        /// The signal was SIGKILL already, sent because the stop signal did not help.
        #[serde(default)]
        killing: bool,
        /// What comes after the stop.
        then: After,
    },
    /// At rest: ended by itself after it had been up.
    Exited {
        /// The latest attempt.
        attempt: Attempt,
        /// How it ended.
        exit: Exit,
    },
    /// At rest: given up.
    Fatal {
        /// The latest attempt.
        attempt: Attempt,
        /// What was wrong with the latest attempt.
        cause: Failure,
    },
    /// The process could not be signalled; it is left alone until it ends or is told to stop.
    Unknown {
        /// The live attempt.
        attempt: Attempt,
        /// The process.
        pid: u32,
    },
}

/// What comes after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// Nothing: the machine rests.
    Rest,
    /// A start, asked for while the stop went on.
    Start,
    /// A start, the second half of a restart.
    Restart,
}

impl Default for Phase {
    /// A machine of which nothing was ever asked.
    fn default() -> Self {
        Self::Stopped {
            attempt: Attempt::NONE,
        }
    }
}

impl Phase {
    /// The state that clients are shown.
    pub const fn state(&self) -> State {
        match self {
            Self::Stopped { .. } => State::Stopped,
            Self::Spawning { .. } | Self::Starting { .. } => State::Starting,
            Self::Running { .. } => State::Running,
            Self::Backoff { .. } => State::Backoff,
            Self::Aborting { .. } | Self::Stopping { .. } => State::Stopping,
            Self::Exited { .. } => State::Exited,
            Self::Fatal { .. } => State::Fatal,
            Self::Unknown { .. } => State::Unknown,
        }
    }

    /// The moment at which `Event::Elapsed` is due, if the phase waits for one. It may lie in the
    /// past, after an adoption or a late driver: then it is due now.
    pub const fn deadline(&self) -> Option<Tick> {
        match self {
            Self::Starting { until, .. }
            | Self::Backoff { until, .. }
            | Self::Stopping { until, .. } => Some(*until),
            Self::Stopped { .. }
            | Self::Spawning { .. }
            | Self::Aborting { .. }
            | Self::Running { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. }
            | Self::Unknown { .. } => None,
        }
    }

    /// The latest attempt, live or past.
    pub const fn attempt(&self) -> Attempt {
        match self {
            Self::Stopped { attempt }
            | Self::Spawning { attempt, .. }
            | Self::Aborting { attempt, .. }
            | Self::Starting { attempt, .. }
            | Self::Running { attempt, .. }
            | Self::Backoff { attempt, .. }
            | Self::Stopping { attempt, .. }
            | Self::Exited { attempt, .. }
            | Self::Fatal { attempt, .. }
            | Self::Unknown { attempt, .. } => *attempt,
        }
    }

    /// The process, where there is one.
    pub const fn pid(&self) -> Option<u32> {
        match self {
            Self::Starting { pid, .. }
            | Self::Running { pid, .. }
            | Self::Stopping { pid, .. }
            | Self::Unknown { pid, .. } => Some(*pid),
            Self::Stopped { .. }
            | Self::Spawning { .. }
            | Self::Aborting { .. }
            | Self::Backoff { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. } => None,
        }
    }

    /// An answer to a spawn is awaited.
    pub const fn awaits_spawn(&self) -> bool {
        matches!(self, Self::Spawning { .. } | Self::Aborting { .. })
    }

    /// There is no process, and none comes to be unless one is asked for.
    pub const fn is_at_rest(&self) -> bool {
        matches!(
            self,
            Self::Stopped { .. } | Self::Exited { .. } | Self::Fatal { .. }
        )
    }

    /// Failed starts in a row.
    pub const fn tries(&self) -> u32 {
        match self {
            Self::Spawning { strain, .. }
            | Self::Starting { strain, .. }
            | Self::Running { strain, .. }
            | Self::Backoff { strain, .. } => strain.tries(),
            Self::Stopped { .. }
            | Self::Aborting { .. }
            | Self::Stopping { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. }
            | Self::Unknown { .. } => 0,
        }
    }

    /// What was wrong with the latest attempt, while that is why the machine stands here.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Backoff { cause, .. } | Self::Fatal { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
