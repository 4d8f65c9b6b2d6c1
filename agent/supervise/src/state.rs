//! Supervisor's eight states, with its codes, names and sets.
//!
//! A state is what clients are shown. It carries no data: that lives in [`crate::Phase`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// The lifecycle state of a process, as Supervisor's clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Never started, or stopped on request.
    Stopped,
    /// Being spawned, or spawned and not yet up for `startsecs`.
    Starting,
    /// Up for longer than `startsecs`.
    Running,
    /// Waiting for the next attempt.
    Backoff,
    /// Told to stop, not yet gone.
    Stopping,
    /// Ended by itself after it had been up.
    Exited,
    /// Given up.
    Fatal,
    /// The system refused to signal it.
    Unknown,
}

impl State {
    /// Every state, in the order of the codes.
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Backoff,
        Self::Stopping,
        Self::Exited,
        Self::Fatal,
        Self::Unknown,
    ];

    /// Supervisor's number for the state.
    pub const fn code(self) -> u16 {
        match self {
            Self::Stopped => 0,
            Self::Starting => 10,
            Self::Running => 20,
            Self::Backoff => 30,
            Self::Stopping => 40,
            Self::Exited => 100,
            Self::Fatal => 200,
            Self::Unknown => 1000,
        }
    }

    /// Supervisor's name for the state.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Backoff => "BACKOFF",
            Self::Stopping => "STOPPING",
            Self::Exited => "EXITED",
            Self::Fatal => "FATAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The process is up or on its way up: a start has nothing to do, a stop has.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Backoff | Self::Starting)
    }

    /// The machine is at rest: a stop has nothing to do, and `status` counts it as not running.
    pub const fn is_stopped(self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::Exited | Self::Fatal | Self::Unknown
        )
    }

    /// There is a process that an operator may send signals to.
    pub const fn is_signallable(self) -> bool {
        matches!(self, Self::Running | Self::Starting | Self::Stopping)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
