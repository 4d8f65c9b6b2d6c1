//! Booleans, integers, sizes, file modes, ports and durations.

use std::fmt;
use std::time::Duration;

use crate::error::{ValueError, repr};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// Permission bits, or a umask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

pub(crate) fn boolean(text: &str) -> Result<bool, ValueError> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(ValueError::new(
            format!("not a valid boolean value: {}", repr(text)),
            "yes, true, on, 1 or no, false, off, 0",
        )),
    }
}

/// A Python integer literal in base 10: sign, `_` between digits, blanks around it.
pub(crate) fn integer(text: &str) -> Result<i64, ValueError> {
    digits(text, 10)
        .and_then(|literal| literal.parse().ok())
        .ok_or_else(|| {
            ValueError::new(
                format!("invalid literal for int() with base 10: {}", repr(text)),
                "a whole number",
            )
        })
}

/// An integer below zero counts as zero; above `u32` it is refused.
pub(crate) fn count(text: &str) -> Result<u32, ValueError> {
    let number = integer(text)?.max(0);
    u32::try_from(number).map_err(|_| {
        ValueError::new(
            format!("{number} is above upper bound ({})", u32::MAX),
            "a whole number",
        )
    })
}

/// Whole seconds; below zero acts as zero, as it does in Supervisor.
pub(crate) fn seconds(text: &str) -> Result<Duration, ValueError> {
    count(text).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

pub(crate) fn byte_size(text: &str) -> Result<ByteSize, ValueError> {
    let lower = text.to_lowercase();
    let suffixes = [("kb", 1u64 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];
    let (number, factor) = suffixes
        .iter()
        .find_map(|(suffix, factor)| Some((lower.strip_suffix(suffix)?, *factor)))
        .unwrap_or((&lower, 1));
    let number = integer(number).map_err(|error| ValueError {
        accepted: "a whole number of bytes, or one with KB, MB or GB behind it",
        ..error
    })?;
    // A size below zero means no limit, as zero does.
    let number = u64::try_from(number).unwrap_or(0);
    Ok(ByteSize(number.saturating_mul(factor)))
}

pub(crate) fn octal(text: &str) -> Result<Mode, ValueError> {
    digits(text, 8)
        .and_then(|literal| u32::from_str_radix(&literal, 8).ok())
        .map(Mode)
        .ok_or_else(|| {
            ValueError::new(
                format!("{text} can not be converted to an octal type"),
                "octal digits, such as 022",
            )
        })
}

pub(crate) fn port(text: &str) -> Result<u16, ValueError> {
    let number = integer(text)?;
    let accepted = "a port from 1 to 65535";
    if number < 1 {
        return Err(ValueError::new(
            format!("{number} is below lower bound (1)"),
            accepted,
        ));
    }
    u16::try_from(number)
        .map_err(|_| ValueError::new(format!("{number} is above upper bound (65535)"), accepted))
}

/// A duration: whole seconds, or a number with `ms`, `s`, `m`, `h` or `d` behind it.
pub(crate) fn duration(text: &str) -> Result<Duration, ValueError> {
    let refused = || {
        ValueError::new(
            format!("not a valid duration: {}", repr(text)),
            "seconds, or a number with ms, s, m, h or d behind it",
        )
    };
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(refused)
}

/// The digits of a Python integer literal with its sign, without underscores and base prefix.
fn digits(text: &str, radix: u32) -> Option<String> {
    let trimmed = text.trim();
    let (sign, unsigned) = match trimmed.strip_prefix(['+', '-']) {
        Some(rest) if trimmed.starts_with('-') => ("-", rest),
        Some(rest) => ("", rest),
        None => ("", trimmed),
    };
    let mut body = unsigned;
    let prefixed = body.strip_prefix("0o").or_else(|| body.strip_prefix("0O"));
    if let (8, Some(rest)) = (radix, prefixed) {
        // One underscore may stand between the prefix and the digits.
        body = rest.strip_prefix('_').unwrap_or(rest);
    }
    let grouped = body
        .split('_')
        .all(|group| !group.is_empty() && group.chars().all(|c| c.is_digit(radix)));
    grouped.then(|| format!("{sign}{}", body.replace('_', "")))
}
