//! How a process ended, and the words for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself with this value.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// The number of the signal.
        signal: i32,
        /// The kernel wrote a core file.
        #[serde(default)]
        core: bool,
    },
    /// It is gone and nobody can say how; this is never an expected end.
    Unknown,
}

impl Exit {
    /// The `exitstatus` that Supervisor's clients see: the value, or -1 when there is none.
    pub const fn supervisor_code(self) -> i32 {
        match self {
            Self::Code(code) => code as i32,
            Self::Signal { .. } | Self::Unknown => -1,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal { signal, core } => {
                match signal_name(signal) {
                    Some(name) => write!(f, "terminated by {name}")?,
                    None => write!(f, "terminated by signal {signal}")?,
                }
                f.write_str(if core { " (core dumped)" } else { "" })
            }
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// The name of a Linux signal such as `SIGTERM`; `None` for real-time signals and for numbers
/// that are no signal.
pub const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        17 => "SIGCHLD",
        18 => "SIGCONT",
        19 => "SIGSTOP",
        20 => "SIGTSTP",
        21 => "SIGTTIN",
        22 => "SIGTTOU",
        23 => "SIGURG",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        28 => "SIGWINCH",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        _ => return None,
    })
}
