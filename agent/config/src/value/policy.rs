//! When a program is started again: autorestart, exit codes, retries and the restart window.

use std::time::Duration;

use super::number::{duration, integer};
use crate::error::{ValueError, repr};

/// Whether a program that has exited is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoRestart {
    /// `false`.
    Never,
    /// `unexpected`: after an exit code that is not among the expected ones, or a signal.
    Unexpected,
    /// `true`.
    Always,
}

pub(crate) fn auto_restart(text: &str) -> Result<AutoRestart, ValueError> {
    let lower = text.to_lowercase();
    match lower.as_str() {
        "yes" | "true" | "on" | "1" => Ok(AutoRestart::Always),
        "no" | "false" | "off" | "0" => Ok(AutoRestart::Never),
        "unexpected" => Ok(AutoRestart::Unexpected),
        _ => Err(ValueError::new(
            format!("invalid 'autorestart' value {}", repr(&lower)),
            "true, false or unexpected",
        )),
    }
}

/// The exit codes that count as a good end, in the order written. Empty: every exit is unexpected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitCodes(Vec<u8>);

impl ExitCodes {
    /// Makes a set of codes.
    pub fn new(codes: impl IntoIterator<Item = u8>) -> Self {
        Self(codes.into_iter().collect())
    }

    /// Whether `code` is expected.
    pub fn contains(&self, code: u8) -> bool {
        self.0.contains(&code)
    }

    /// The codes in the order written.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().copied()
    }
}

pub(crate) fn exit_codes(text: &str) -> Result<ExitCodes, ValueError> {
    if text.is_empty() {
        return Ok(ExitCodes::default());
    }
    text.split(',')
        .map(|code| integer(code).ok().and_then(|code| u8::try_from(code).ok()))
        .collect::<Option<Vec<_>>>()
        .map(ExitCodes)
        .ok_or_else(|| {
            ValueError::new(
                format!("not a valid list of exit codes: {}", repr(text)),
                "numbers from 0 to 255 with commas between them",
            )
        })
}

/// How often a start that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRetries {
    /// So many times after the first attempt, then FATAL.
    Times(u32),
    /// Without end: `startretries=-1`, which Supervisor does not have.
    Forever,
}

pub(crate) fn start_retries(text: &str) -> Result<StartRetries, ValueError> {
    match integer(text)? {
        -1 => Ok(StartRetries::Forever),
        number if number < 0 => Ok(StartRetries::Times(0)),
        number => Ok(StartRetries::Times(
            u32::try_from(number).unwrap_or(u32::MAX),
        )),
    }
}

/// The most restarts that a window counts: each is remembered in what outlives the agent, which is to
/// stay small.
const MOST_RESTARTS: u32 = 100;

/// More than `count` automatic restarts within `within` end in FATAL, however long each run lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartWindow {
    /// Restarts allowed in the window; from 1 to 100.
    pub count: u32,
    /// The length of the window; above zero.
    pub within: Duration,
}

/// `COUNT/DURATION`, such as `5/10m`.
pub(crate) fn restart_window(text: &str) -> Result<RestartWindow, ValueError> {
    let parsed = text.split_once('/').and_then(|(count, within)| {
        let count = u32::try_from(integer(count).ok()?).ok()?;
        let within = duration(within).ok()?;
        (count > 0 && !within.is_zero()).then_some(RestartWindow { count, within })
    });
    match parsed {
        Some(window) if window.count > MOST_RESTARTS => Err(ValueError::new(
            format!(
                "{} restarts are above upper bound ({MOST_RESTARTS}) of a restart window",
                window.count
            ),
            "COUNT/DURATION with a count from 1 to 100, such as 5/10m",
        )),
        Some(window) => Ok(window),
        None => Err(ValueError::new(
            format!("not a valid restart window: {}", repr(text)),
            "COUNT/DURATION, such as 5/10m: at most 5 restarts in 10 minutes",
        )),
    }
}
