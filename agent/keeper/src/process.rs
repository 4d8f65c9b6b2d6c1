//! What the keeper holds of one run: a process, its streams, and how it ended.
//!
//! Only data and what follows from it. Who reads the streams, who is told what, and when something is
//! signalled is decided elsewhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rsv_keeper::message::{Channel, Exited, Held, Run, StopRule};

use crate::drain::Draining;
use crate::os::{Ended, Status};

/// One run.
#[derive(Debug)]
pub(crate) struct Process {
    /// Which run it is.
    pub(crate) run: Run,
    /// Its process id.
    pub(crate) pid: u32,
    /// When it was started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
    /// When it was started, by the monotonic clock.
    pub(crate) spawned_at_ns: u64,
    /// The one name of the process that never becomes another's.
    pub(crate) pidfd: OwnedFd,
    /// Whether it is our child.
    pub(crate) parentage: Parentage,
    /// Whether it is alive.
    pub(crate) life: Life,
    /// The write end of its standard input.
    pub(crate) stdin: Option<OwnedFd>,
    /// Its standard output.
    pub(crate) stdout: Option<Output>,
    /// Its standard error, where that is a stream of its own.
    pub(crate) stderr: Option<Output>,
    /// How to stop it.
    pub(crate) stop_rule: StopRule,
    /// The directory of its cgroup.
    pub(crate) cgroup: Option<Vec<u8>>,
}

/// The read end of an output stream.
#[derive(Debug)]
pub(crate) struct Output {
    /// The pipe.
    pub(crate) pipe: OwnedFd,
    /// Where it is drained to when no agent is there.
    pub(crate) file: Option<OwnedFd>,
    /// How far draining has come.
    pub(crate) draining: Draining,
    /// It has been said that the file takes nothing.
    pub(crate) is_refusal_known: bool,
}

impl Output {
    /// A stream that nobody drains yet.
    pub(crate) fn new(pipe: OwnedFd, file: Option<OwnedFd>) -> Self {
        Self {
            pipe,
            file,
            draining: Draining::Idle,
            is_refusal_known: false,
        }
    }
}

/// Who waits for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parentage {
    /// We do.
    Own,
    /// Somebody else: it was started by a keeper that is no more.
    Stranger {
        /// It has ended, but how is not known yet: when to look again, and when to give that up.
        look: Option<(Instant, Instant)>,
    },
}

/// Whether a process is alive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Life {
    /// It is, as far as we know.
    Alive(Stop),
    /// It has ended and is reaped.
    Ended {
        /// How.
        exit: Exited,
        /// An agent has taken it into account.
        is_acked: bool,
        /// The present agent has been told.
        is_told: bool,
    },
}

/// How far the keeper has gone in stopping a process by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It has not.
    No,
    /// It was asked to end and has until then.
    Asked {
        /// When it is killed.
        kill_at: Instant,
    },
    /// It was killed.
    Killed,
}

impl Process {
    /// Whether it has not been reaped.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.life, Life::Alive(_))
    }

    /// One of its outputs.
    pub(crate) fn output(&self, channel: Channel) -> Option<&Output> {
        match channel {
            Channel::Stdin => None,
            Channel::Stdout => self.stdout.as_ref(),
            Channel::Stderr => self.stderr.as_ref(),
        }
    }

    /// One of its outputs, to be changed.
    pub(crate) fn output_mut(&mut self, channel: Channel) -> Option<&mut Output> {
        match channel {
            Channel::Stdin => None,
            Channel::Stdout => self.stdout.as_mut(),
            Channel::Stderr => self.stderr.as_mut(),
        }
    }

    /// Whether nothing of it is of interest to anybody any more.
    pub(crate) fn is_over(&self) -> bool {
        let is_acked = matches!(self.life, Life::Ended { is_acked: true, .. });
        is_acked && self.stdout.is_none() && self.stderr.is_none()
    }

    /// Notes an acknowledgement. Standard input goes with it: nobody is left to write for.
    pub(crate) fn ack(&mut self) {
        if let Life::Ended { is_acked, .. } = &mut self.life {
            *is_acked = true;
            self.stdin = None;
        }
    }

    /// What an agent is told of it, with the descriptors in the order of the message.
    pub(crate) fn describe(&self) -> (Held, Vec<BorrowedFd<'_>>) {
        let exit = match &self.life {
            Life::Ended {
                exit,
                is_acked: false,
                ..
            } => Some(exit.clone()),
            Life::Ended { .. } | Life::Alive(_) => None,
        };
        let held = Held {
            run: self.run.clone(),
            pid: self.pid,
            start_ticks: self.start_ticks,
            spawned_at_ns: self.spawned_at_ns,
            has_pidfd: true,
            has_stdin: self.stdin.is_some(),
            has_stdout: self.stdout.is_some(),
            has_stderr: self.stderr.is_some(),
            exit,
        };
        let outputs = [&self.stdout, &self.stderr].into_iter().flatten();
        let mut fds = vec![self.pidfd.as_fd()];
        fds.extend(self.stdin.as_ref().map(AsFd::as_fd));
        fds.extend(outputs.map(|output| output.pipe.as_fd()));
        (held, fds)
    }
}

/// The report of an end.
pub(crate) fn exited(run: Run, ended: &Ended, at_ns: u64) -> Exited {
    let (code, signal, core_dumped) = match ended.status {
        Status::Code(code) => (Some(code), None, false),
        Status::Signal {
            number,
            core_dumped,
        } => (None, Some(number), core_dumped),
        Status::Unknown => (None, None, false),
    };
    Exited {
        run,
        code,
        signal,
        core_dumped,
        at_ns,
        user_us: ended.user_us,
        system_us: ended.system_us,
        max_rss_kib: ended.max_rss_kib,
    }
}

/// Finds a process's start (field 22) in its `stat` file. The second field is the program's name, which
/// may have blanks and brackets in it, so fields are counted from the last closing bracket.
pub(crate) fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Reads a process's start; `None` when there is no such process.
pub(crate) fn read_start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    start_ticks(&String::from_utf8_lossy(&stat))
}

/// The monotonic clock in nanoseconds, as messages have it.
pub(crate) fn monotonic_ns() -> u64 {
    let now = nix::time::ClockId::CLOCK_MONOTONIC.now();
    now.map_or(0, |now| {
        u64::try_from(std::time::Duration::from(now).as_nanos()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_program_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["sh", "a b", ") S 1 2 (", "x)"] {
            assert_eq!(start_ticks(&format!("42 ({name}) {fields}")), Some(4711));
        }
        assert_eq!(start_ticks("42 (sh) S 1"), None);
        assert_eq!(start_ticks(""), None);
        assert!(read_start_ticks(std::process::id()).is_some());
    }
}
