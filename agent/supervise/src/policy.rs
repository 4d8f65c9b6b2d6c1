//! What the configuration says of the life of one process.
//!
//! A policy is an argument of every step and is never stored in a phase, so that a live change
//! of the configuration is just a different argument (plus [`crate::Event::PolicyChanged`], which
//! moves deadlines already set). It says nothing of what to run or where the output goes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Exit, Tick};

/// The rules by which one process is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Start the process when its machine is created.
    pub autostart: bool,
    /// Whether an end after having been up is followed by a new start.
    pub autorestart: Autorestart,
    /// The exit values that are expected.
    pub exit_codes: BTreeSet<u8>,
    /// A process up for longer than this counts as started; zero: it does as soon as it exists.
    pub startsecs: Duration,
    /// How many failed starts are followed by another one.
    pub startretries: Retries,
    /// The signal that asks the process to stop.
    pub stopsignal: i32,
    /// How long a stop may take before SIGKILL.
    pub stopwaitsecs: Duration,
    /// Who gets the stop signal.
    pub stop_scope: Scope,
    /// Who gets SIGKILL when the stop signal did not help.
    pub kill_scope: Scope,
    /// The longest delay before a retry; absent: the delay grows without a limit of its own.
    pub restart_backoff_max: Option<Duration>,
    /// Give up when there were too many restarts in a time, however long the process was up.
    pub restart_window: Option<RestartWindow>,
}

/// Whether an end after having been up is followed by a new start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Autorestart {
    /// Never.
    Never,
    /// Unless the exit value is an expected one.
    Unexpected,
    /// Always.
    Always,
}

/// How many failed starts are followed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retries {
    /// This many; the failure after the last of them is final.
    Limit(u32),
    /// Every one.
    Unlimited,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The process alone.
    Process,
    /// The process and all that it started: its process group, or its cgroup where it has one.
    Group,
}

/// So many restarts in so long a time, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RestartWindow {
    count: u32,
    window: Duration,
}

impl RestartWindow {
    /// The highest count: each restart in the window is a tick in the note of the machine, and a
    /// note is to stay small.
    pub const MAX_COUNT: u32 = 100;

    /// A window in which `count` restarts are allowed; `None` unless `count` is from 1 to
    /// [`Self::MAX_COUNT`] and `window` is longer than nothing.
    pub fn new(count: u32, window: Duration) -> Option<Self> {
        let is_valid = (1..=Self::MAX_COUNT).contains(&count) && !window.is_zero();
        is_valid.then_some(Self { count, window })
    }

    /// How many restarts are allowed.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// In how long a time.
    pub const fn window(&self) -> Duration {
        self.window
    }
}

impl Default for Policy {
    /// Supervisor's defaults, but that SIGKILL goes to the whole group: what a program that does
    /// not stop has started would otherwise be left behind.
    fn default() -> Self {
        Self {
            autostart: true,
            autorestart: Autorestart::Unexpected,
            exit_codes: BTreeSet::from([0]),
            startsecs: Duration::from_secs(1),
            startretries: Retries::Limit(3),
            stopsignal: 15,
            stopwaitsecs: Duration::from_secs(10),
            stop_scope: Scope::Process,
            kill_scope: Scope::Group,
            restart_backoff_max: None,
            restart_window: None,
        }
    }
}

impl Policy {
    /// The process may end like this. A signal and an unknown end are never expected.
    pub fn expects(&self, exit: Exit) -> bool {
        match exit {
            Exit::Code(code) => self.exit_codes.contains(&code),
            Exit::Signal { .. } | Exit::Unknown => false,
        }
    }

    /// The moment from which a process that came to be at `started` counts as up: the first that
    /// is more than `startsecs` later, because exactly `startsecs` is not yet enough.
    pub(crate) fn up_at(&self, started: Tick) -> Tick {
        match self.startsecs {
            Duration::ZERO => started,
            startsecs => started + startsecs + Duration::from_nanos(1),
        }
    }

    /// A process that was up and ended like this is started again.
    pub fn restarts_after(&self, exit: Exit) -> bool {
        match self.autorestart {
            Autorestart::Never => false,
            Autorestart::Unexpected => !self.expects(exit),
            Autorestart::Always => true,
        }
    }
}
