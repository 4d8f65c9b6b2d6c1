//! What the keeper asks the kernel about processes and descriptors, and what the answers mean.
//!
//! Starting a program is elsewhere (`spawn`), and so are the few calls that have no safe wrapper.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;

pub(crate) use crate::spawn::calls::close_inherited;
use crate::spawn::calls::{self, Waited};

/// The highest signal number of Linux.
pub(crate) const LAST_SIGNAL: i32 = 64;

/// How a process ended and what it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its process id.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) status: Status,
    /// Processor time of its own, in microseconds.
    pub(crate) user_us: u64,
    /// Processor time of the system for it, in microseconds.
    pub(crate) system_us: u64,
    /// The largest resident set, in KiB.
    pub(crate) max_rss_kib: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether it left a core file.
        core_dumped: bool,
    },
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Status {
    /// Reads what the kernel keeps, in the form of `wait`.
    pub(crate) fn of_wait(code: i32) -> Self {
        match code & 0x7f {
            0 => Self::Code((code >> 8) & 0xff),
            number => Self::Signal {
                number,
                core_dumped: code & 0x80 != 0,
            },
        }
    }
}

/// Whom to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom<'a> {
    /// The child of this pidfd.
    Pidfd(BorrowedFd<'a>),
    /// The child with this process id.
    Child(u32),
    /// Any child.
    Any,
}

/// What a pidfd tells of a process that is not our child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// It has been reaped by its parent, and this is how it ended.
    Reaped(Status),
    /// It has not been reaped.
    NotReaped,
    /// The kernel does not say.
    Unknown,
}

/// Gives every signal its default disposition. What this process ignores its programs would ignore too.
pub(crate) fn default_dispositions() {
    (1..=LAST_SIGNAL).for_each(calls::default_disposition);
}

/// Takes over a descriptor whose number a former image of this process wrote down, or `None` when it is
/// not open. The next image is not to find it by accident.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    let fd = calls::take_over(number)?;
    set_cloexec(&fd, true).ok();
    Some(fd)
}

/// Says whether a descriptor is closed when this process executes another file.
pub(crate) fn set_cloexec(fd: impl AsFd, is_closed: bool) -> io::Result<()> {
    let flags = if is_closed {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// Whether anything can be written to standard error right now without waiting.
pub(crate) fn stderr_has_room() -> bool {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    let ready = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    ready.is_ok() && polled[0].revents().contains(PollFlags::OUT)
}

/// Sends a signal through a pidfd to its process.
pub(crate) fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    calls::pidfd_send_signal(pidfd, signal, 0)
}

/// Sends a signal through a pidfd to the process group that its process founded, even when that process
/// has ended. `EINVAL` before Linux 6.9.
pub(crate) fn signal_group_of(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PROCESS_GROUP: u32 = 1 << 2;
    calls::pidfd_send_signal(pidfd, signal, PROCESS_GROUP)
}

/// Sends a signal to a process group by number. Only right while the number cannot be anybody else's.
pub(crate) fn signal_group(group: u32, signal: i32) -> io::Result<()> {
    let Ok(group @ 2..) = i32::try_from(group) else {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    };
    calls::kill(-group, signal)
}

/// Reaps a child that has ended; `None` when there is none.
pub(crate) fn reap(whom: Whom<'_>) -> io::Result<Option<Ended>> {
    wait(whom, libc::WNOHANG)
}

/// Tells which child has ended, without reaping it.
pub(crate) fn peek() -> io::Result<Option<u32>> {
    Ok(wait(Whom::Any, libc::WNOHANG | libc::WNOWAIT)?.map(|ended| ended.pid))
}

/// Whether a process ends in this time, which is waited for.
pub(crate) fn ends_within(pidfd: BorrowedFd<'_>, time: Duration) -> bool {
    let time = Timespec::try_from(time).ok();
    let mut waited = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut waited, time.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Reaps a child that is about to end, waiting for that.
pub(crate) fn reap_now(whom: Whom<'_>) -> io::Result<Option<Ended>> {
    loop {
        match wait(whom, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn wait(whom: Whom<'_>, options: i32) -> io::Result<Option<Ended>> {
    let (kind, id) = match whom {
        Whom::Pidfd(pidfd) => (
            libc::P_PIDFD,
            u32::try_from(pidfd.as_raw_fd()).unwrap_or(u32::MAX),
        ),
        Whom::Child(pid) => (libc::P_PID, pid),
        Whom::Any => (libc::P_ALL, 0),
    };
    let options = options | libc::WEXITED | libc::__WALL;
    let Waited {
        pid,
        code,
        status: number,
        usage,
    } = calls::waitid(kind, id, options)?;
    let status = match code {
        libc::CLD_EXITED => Status::Code(number),
        libc::CLD_KILLED => Status::Signal {
            number,
            core_dumped: false,
        },
        libc::CLD_DUMPED => Status::Signal {
            number,
            core_dumped: true,
        },
        _ => Status::Unknown,
    };
    let pid = u32::try_from(pid).unwrap_or(0);
    Ok((pid != 0).then(|| Ended {
        pid,
        status,
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }))
}

fn microseconds(time: libc::timeval) -> u64 {
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
    seconds
        .unwrap_or(0)
        .saturating_mul(1_000_000)
        .saturating_add(rest.unwrap_or(0))
}

/// How the process of a pidfd ended, whoever its parent is. The kernel knows since Linux 6.15.
pub(crate) fn remains(pidfd: BorrowedFd<'_>) -> Remains {
    const EXIT: u64 = 1 << 3;
    match calls::pidfd_info(pidfd, EXIT) {
        Err(_) => Remains::Unknown,
        Ok(info) if info.mask & EXIT == 0 => Remains::NotReaped,
        Ok(info) => Remains::Reaped(Status::of_wait(info.exit_code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::os::fd::AsFd;

    #[test]
    fn the_end_of_a_process_is_told_whole() {
        let cases = [
            ("exit 7", Status::Code(7)),
            (
                "kill -TERM $$",
                Status::Signal {
                    number: libc::SIGTERM,
                    core_dumped: false,
                },
            ),
        ];
        for (script, status) in cases {
            let mut child = std::process::Command::new("/bin/sh")
                .args(["-c", script])
                .spawn()
                .unwrap();
            let pid = Pid::from_child(&child);
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            assert_eq!(remains(pidfd.as_fd()), Remains::NotReaped);
            let ended = reap_now(Whom::Pidfd(pidfd.as_fd())).unwrap().unwrap();
            assert_eq!((ended.pid, ended.status), (child.id(), status));
            assert!(ended.max_rss_kib > 0);
            assert!(matches!(
                remains(pidfd.as_fd()),
                Remains::Unknown | Remains::Reaped(_)
            ));
            if let Remains::Reaped(told) = remains(pidfd.as_fd()) {
                assert_eq!(told, status);
            }
            let gone = signal_process(pidfd.as_fd(), 0).unwrap_err();
            assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
            assert!(child.wait().is_err());
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_not_taken_over() {
        assert!(inherited(-1).is_none());
        assert!(inherited(1).is_none());
        assert!(inherited(1_000_000).is_none());
    }
}
