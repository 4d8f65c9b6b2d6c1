//! Why something happened: a closed enum, with words for people.
//!
//! The words are short clauses in lower case, fit for a log field and for `status`. Texts that
//! Supervisor's clients match on are kept apart, in [`Failure::spawn_error`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Exit;

/// Why a state was entered or an effect is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The configuration says that it starts by itself.
    Autostart,
    /// A start was asked for.
    AskedToStart,
    /// A stop was asked for.
    AskedToStop,
    /// A restart was asked for; stands on both of its halves.
    AskedToRestart,
    /// It was up for longer than this.
    StayedUp {
        /// The `startsecs` of the moment.
        startsecs: Duration,
    },
    /// It ended by itself after it had been up.
    Ended {
        /// How it ended.
        exit: Exit,
        /// Whether the policy expects such an end.
        expected: bool,
    },
    /// It ended after it was told to.
    Stopped {
        /// How it ended; absent when it had not come to be.
        exit: Option<Exit>,
    },
    /// It is started again after it ended.
    Restarted,
    /// It is started again after a delay.
    Retried {
        /// Failed starts in a row.
        tries: u32,
    },
    /// An attempt came to nothing, and the next one has to wait.
    Failed(Failure),
    /// There will be no further attempt.
    GaveUp(GaveUp),
    /// The stop signal did not end it within this time.
    StopTimedOut {
        /// The `stopwaitsecs` of the moment.
        stopwaitsecs: Duration,
    },
    /// The system refused to signal it.
    SignalFailed {
        /// What the system said.
        why: String,
    },
    /// The configuration no longer wants the restart it was waiting for.
    RestartNotWanted,
    /// The machine goes on after its driver was gone.
    Resumed,
}

/// What was wrong with an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It could not be spawned.
    NotSpawned {
        /// The spawn error, in the words shown to people.
        why: String,
    },
    /// It ended before it was up for `startsecs`.
    ExitedTooQuickly {
        /// How it ended.
        exit: Exit,
    },
    /// It was up and ended.
    Ended {
        /// How it ended.
        exit: Exit,
        /// Whether the policy expected such an end.
        expected: bool,
    },
}

/// Why there will be no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaveUp {
    /// More failed starts in a row than there are retries.
    Retries {
        /// Failed starts in a row.
        tries: u32,
    },
    /// One restart more than the window allows.
    Window {
        /// The restarts allowed.
        count: u32,
        /// The time in which they are.
        window: Duration,
    },
}

impl Failure {
    /// The `spawnerr` that Supervisor's clients are shown; empty when it has none.
    pub fn spawn_error(&self) -> String {
        match self {
            Self::NotSpawned { why } => why.clone(),
            Self::ExitedTooQuickly { .. } => {
                "Exited too quickly (process log may have details)".to_owned()
            }
            Self::Ended { expected: true, .. } => String::new(),
            Self::Ended { exit, .. } => format!("Bad exit code {}", exit.supervisor_code()),
        }
    }
}

impl GaveUp {
    /// What is shown beside the failure itself; empty: that says enough.
    pub fn spawn_error(&self) -> String {
        match self {
            Self::Retries { .. } => String::new(),
            Self::Window { count, window } => format!("more than {count} restarts in {window:?}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSpawned { why } => f.write_str(why),
            Self::ExitedTooQuickly { exit } => write!(f, "exited too quickly ({exit})"),
            Self::Ended { exit, expected } => write_end(f, *exit, *expected),
        }
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retries { tries } => write!(f, "gave up after {tries} failed starts in a row"),
            Self::Window { .. } => write!(f, "gave up: {}", self.spawn_error()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Autostart => f.write_str("started by the configuration"),
            Self::AskedToStart => f.write_str("asked to start"),
            Self::AskedToStop => f.write_str("asked to stop"),
            Self::AskedToRestart => f.write_str("asked to restart"),
            Self::StayedUp { startsecs } if startsecs.is_zero() => f.write_str("spawned"),
            Self::StayedUp { startsecs } => write!(f, "stayed up for more than {startsecs:?}"),
            Self::Ended { exit, expected } => write_end(f, *exit, *expected),
            Self::Stopped { exit: Some(exit) } => write!(f, "stopped ({exit})"),
            Self::Stopped { exit: None } => f.write_str("stopped before it came to be"),
            Self::Restarted => f.write_str("restarted after it ended"),
            Self::Retried { tries: 0 } => f.write_str("restarted after a delay"),
            Self::Retried { tries } => write!(f, "retry {tries}"),
            Self::Failed(failure) => failure.fmt(f),
            Self::GaveUp(why) => why.fmt(f),
            Self::StopTimedOut { stopwaitsecs } => {
                write!(f, "did not stop within {stopwaitsecs:?}")
            }
            Self::SignalFailed { why } => write!(f, "cannot be signalled: {why}"),
            Self::Resumed => f.write_str("taken over"),
            Self::RestartNotWanted => f.write_str("the configuration no longer restarts it"),
        }
    }
}

fn write_end(f: &mut fmt::Formatter<'_>, exit: Exit, expected: bool) -> fmt::Result {
    write!(
        f,
        "{exit}; {}",
        if expected { "expected" } else { "not expected" }
    )
}
