//! Signals by name and number.

use std::fmt;

use super::number::integer;
use crate::error::{ValueError, repr};

/// A signal, by its number on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// Names that can be written; a number's first name is the one shown.
const NAMES: [(&str, i32); 37] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", FIRST_REALTIME),
    ("RTMAX", LAST_REALTIME),
    ("UNUSED", 31),
];

// The C library keeps 32 and 33 for itself.
const FIRST_REALTIME: i32 = 34;
const LAST_REALTIME: i32 = 64;

impl Signal {
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// The signal with that number, if a program can be sent it.
    pub fn from_number(number: i32) -> Option<Self> {
        let known =
            (1..=31).contains(&number) || (FIRST_REALTIME..=LAST_REALTIME).contains(&number);
        known.then_some(Self(number))
    }

    /// The signal with that name, in any case, with or without `SIG`.
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.trim().to_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        NAMES
            .iter()
            .find(|(known, _)| *known == bare)
            .map(|(_, number)| Self(*number))
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

pub(crate) fn signal(text: &str) -> Result<Signal, ValueError> {
    let (found, noun) = match integer(text) {
        Ok(number) => (
            i32::try_from(number).ok().and_then(Signal::from_number),
            "number",
        ),
        Err(_) => (Signal::from_name(text), "name"),
    };
    found.ok_or_else(|| {
        ValueError::new(
            format!("value {} is not a valid signal {noun}", repr(text)),
            "a signal's name, with or without SIG, or its number",
        )
    })
}
