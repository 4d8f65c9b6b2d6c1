//! What the keeper holds of one run: a process, its streams, and how it ended.
//!
//! Only data and what follows from it. Who reads the streams, who is told what, and when something is
//! signalled is decided elsewhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rsv_keeper::message::{Channel, Exited, Held, Run, StopRule};

use crate::drain::Draining;
use crate::os::{Ended, Status};
use crate::rest::{Leftovers, Rest};

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
    /// Only its process group ends with it.
    pub(crate) leaves_daemons: bool,
    /// What becomes of what it leaves when it ends.
    pub(crate) leftovers: Leftovers,
}

/// The read end of an output stream.
#[derive(Debug)]
pub(crate) struct Output {
    /// The pipe.
    pub(crate) pipe: OwnedFd,
    /// Where it is drained to when no agent is there.
    pub(crate) file: Option<OwnedFd>,
    /// It stays in its pipe for the next agent, who has to look at it.
    pub(crate) keeps: bool,
    /// It was too much for that, until the next agent comes.
    pub(crate) is_raw: bool,
    /// How far draining has come.
    pub(crate) draining: Draining,
    /// It has been said that the file takes nothing.
    pub(crate) is_refusal_known: bool,
}

impl Output {
    /// A stream that nobody drains yet.
    pub(crate) fn new(pipe: OwnedFd, file: Option<OwnedFd>, keeps: bool) -> Self {
        Self {
            pipe,
            file,
            keeps,
            is_raw: false,
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
    /// It has ended and is reaped; what it has started is being ended before that is told.
    Parting {
        /// How it ended.
        exit: Exited,
        /// How far the end of the rest has come.
        rest: Rest,
    },
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

    /// Whether it has not been told as ended: it, or what it has started, may be there.
    pub(crate) fn is_present(&self) -> bool {
        !matches!(self.life, Life::Ended { .. })
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

    /// Every descriptor of it.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let outputs = [&self.stdout, &self.stderr].into_iter().flatten();
        let fds = [Some(&self.pidfd), self.stdin.as_ref()].into_iter();
        fds.chain(outputs.flat_map(|output| [Some(&output.pipe), output.file.as_ref()]))
            .flatten()
            .map(AsFd::as_fd)
    }

    /// What an agent is told of it, with the descriptors in the order of the message.
    pub(crate) fn describe(&self) -> (Held, Vec<BorrowedFd<'_>>) {
        let exit = match &self.life {
            Life::Ended {
                exit,
                is_acked: false,
                ..
            } => Some(exit.clone()),
            Life::Ended { .. } | Life::Parting { .. } | Life::Alive(_) => None,
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
            cgroup: self.cgroup.clone(),
            leaves_daemons: self.leaves_daemons,
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

/// How a process that nobody has reaped has ended; `None` when it has been, when it is not the one that
/// began then, or when we may not know.
pub(crate) fn unreaped_status(pid: u32, start: u64) -> Option<Status> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let code = exit_code(&String::from_utf8_lossy(&stat), start)?;
    // To whoever may not know, the code is shown as 0. The same right is needed for this file.
    std::fs::read(format!("/proc/{pid}/io")).ok()?;
    (read_start_ticks(pid) == Some(start)).then_some(Status::of_wait(code))
}

fn exit_code(stat: &str, start: u64) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let has_ended = fields.first() == Some(&"Z") && start_ticks(stat) == Some(start);
    has_ended.then(|| fields.get(49)?.parse().ok()).flatten()
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
    fn the_end_of_a_process_is_read_only_of_the_one_that_is_meant() {
        let fields = (3..=51).map(|field| if field == 22 { 4711 } else { field });
        let fields: Vec<String> = fields.skip(1).map(|field| field.to_string()).collect();
        let stat = |state| format!("42 (a) b) {state} {} 1792", fields.join(" "));
        assert_eq!(exit_code(&stat("Z"), 4711), Some(1792));
        assert_eq!(Status::of_wait(1792), Status::Code(7));
        assert_eq!(exit_code(&stat("S"), 4711), None);
        assert_eq!(exit_code(&stat("Z"), 4712), None);
        assert_eq!(exit_code("42 (x) Z 1", 4711), None);
    }

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
