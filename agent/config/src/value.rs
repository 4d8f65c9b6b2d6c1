//! The value types of Supervisor's options, with its exact error texts.
//!
//! Each parser takes the expanded text and gives a typed value or a [`ValueError`]. Nothing here
//! looks at the machine: users, groups and directories are in `host`.

mod limit;
mod number;
mod policy;
mod signal;

pub use limit::{Rlimit, RlimitResource, RlimitValue};
pub use number::{ByteSize, Mode};
pub use policy::{AutoRestart, ExitCodes, RestartWindow, StartRetries};
pub use signal::Signal;

pub(crate) use limit::rlimit;
pub(crate) use number::{boolean, byte_size, count, duration, integer, octal, port, seconds};
pub(crate) use policy::{auto_restart, exit_codes, restart_window, start_retries};
pub(crate) use signal::signal;

use crate::error::{ValueError, repr};

/// How much is written to a log, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `critical`.
    Critical,
    /// `error`.
    Error,
    /// `warn`.
    Warn,
    /// `info`.
    Info,
    /// `debug`: child output is copied to the main log from here on.
    Debug,
    /// `trace`.
    Trace,
    /// `blather`.
    Blather,
}

impl LogLevel {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Critical, "critical"),
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
        (Self::Blather, "blather"),
    ];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(level, _)| *level == self)
            .map_or("info", |(_, name)| name)
    }
}

pub(crate) fn log_level(text: &str) -> Result<LogLevel, ValueError> {
    let name = text.to_lowercase();
    LogLevel::ALL
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(level, _)| *level)
        .ok_or_else(|| {
            ValueError::new(
                format!("bad logging level name {}", repr(text)),
                "critical, error, warn, info, debug, trace or blather",
            )
        })
}

/// The name of a section or process: trimmed; blanks, colons and slashes would make it ambiguous.
pub(crate) fn name(text: &str) -> Result<String, ValueError> {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace());
    // Supervisor looks for the blank, the colon and the slash in this order.
    let separator = [' ', ':', '/'].into_iter().find(|c| trimmed.contains(*c));
    let bad = separator.or_else(|| trimmed.chars().find(|c| c.is_control()));
    let accepted = "a name without blank, `:`, `/` and control characters";
    match bad {
        Some(bad) => Err(ValueError::new(
            format!(
                "Invalid name: {} because of character: {}",
                repr(text),
                repr(&bad.to_string())
            ),
            accepted,
        )),
        None if trimmed.is_empty() => Err(ValueError::new("Invalid name: ''", accepted)),
        None => Ok(trimmed.to_owned()),
    }
}

/// A list with commas between its items; empty items are dropped.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `host:port`, `*:port`, `:port` or `port`; the host is `None` for all interfaces.
pub(crate) fn inet_address(text: &str) -> Result<(Option<String>, u16), ValueError> {
    let (host, port_text) = match text.rsplit_once(':') {
        Some((_, "")) => {
            return Err(ValueError::new(
                format!("no port number specified in {}", repr(text)),
                ACCEPTED_ADDRESS,
            ));
        }
        Some((host, port_text)) => (host, port_text),
        None => {
            let number = port(text).map_err(|_| {
                ValueError::new(
                    format!("not a valid port number: {} ", repr(text)),
                    ACCEPTED_ADDRESS,
                )
            })?;
            return Ok((None, number));
        }
    };
    let number = port(port_text)?;
    let host = host.to_lowercase();
    let named = !host.is_empty() && host != "*";
    Ok((named.then_some(host), number))
}

const ACCEPTED_ADDRESS: &str = "PORT, *:PORT or HOST:PORT";

#[cfg(test)]
mod tests;
