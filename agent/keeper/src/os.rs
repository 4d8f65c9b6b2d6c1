//! The system calls that the libraries used here do not wrap, each behind a safe function.
//!
//! Starting a program is elsewhere (`spawn`). Nothing here decides anything; every function says what
//! the kernel answered.
#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    // Everywhere the kernel's form of an action is at most this long, and zeroes are the default one.
    // The library's own call would not touch the two signals that it keeps for its threads.
    let action = [0_u64; 4];
    let none = std::ptr::null_mut::<u64>();
    let call = libc::SYS_rt_sigaction;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the action is read during the call, and it runs no code of ours. The two signals
        // whose disposition cannot be changed (KILL, STOP) are refused, which is what is wanted.
        unsafe { libc::syscall(call, signal, action.as_ptr(), none, size_of::<u64>()) };
    }
}

/// Closes every descriptor from 3 on.
pub(crate) fn close_inherited() {
    // SAFETY: called at the very start of the process, before anything owns a descriptor above 2. On
    // kernels without the call nothing is closed, and the programs close what they inherit.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Takes over a descriptor whose number a former image of this process wrote down, or `None` when it is
/// not open.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: asking for the flags of a number has no effect, whatever the number is.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and the former image kept it for exactly this one owner.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    Some(fd)
}

/// Says whether a descriptor is closed when this process executes another file.
pub(crate) fn set_cloexec(number: RawFd, is_closed: bool) -> io::Result<()> {
    let flags = if is_closed { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: changes a flag that matters to nobody in this image.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, flags) }.into())
}

/// Whether anything can be written to standard error right now without waiting.
pub(crate) fn stderr_has_room() -> bool {
    let mut entry = libc::pollfd {
        fd: 2,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one valid entry, and no waiting.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
    ready == 1 && entry.revents & libc::POLLOUT != 0
}

/// Sends a signal through a pidfd to its process.
pub(crate) fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    pidfd_send_signal(pidfd, signal, 0)
}

/// Sends a signal through a pidfd to the process group that its process founded, even when that process
/// has ended. `EINVAL` before Linux 6.9.
pub(crate) fn signal_group_of(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PROCESS_GROUP: u32 = 1 << 2;
    pidfd_send_signal(pidfd, signal, PROCESS_GROUP)
}

fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    let call = libc::SYS_pidfd_send_signal;
    // SAFETY: no memory is passed, and the descriptor is open for the duration of the call.
    checked(unsafe { libc::syscall(call, pidfd.as_raw_fd(), signal, no_info, flags) })
}

/// Sends a signal to a process group by number. Only right while the number cannot be anybody else's.
pub(crate) fn signal_group(group: u32, signal: i32) -> io::Result<()> {
    let Ok(group @ 2..) = i32::try_from(group) else {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    };
    // SAFETY: no memory is passed.
    checked(unsafe { libc::kill(-group, signal) }.into())
}

/// Reaps a child that has ended; `None` when there is none.
pub(crate) fn reap(whom: Whom<'_>) -> io::Result<Option<Ended>> {
    wait(whom, libc::WNOHANG)
}

/// Tells which child has ended, without reaping it.
pub(crate) fn peek() -> io::Result<Option<u32>> {
    Ok(wait(Whom::Any, libc::WNOHANG | libc::WNOWAIT)?.map(|ended| ended.pid))
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
    // SAFETY: both are plain data for which zero is a valid value.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let (out, used) = (&raw mut info, &raw mut usage);
    // SAFETY: the two pointers are valid for writing for the duration of the call. The system call has
    // the resource usage that the library's function of the same name leaves out.
    checked(unsafe { libc::syscall(libc::SYS_waitid, kind, id, out, options, used) })?;
    // SAFETY: the kernel fills in the fields of a child's change of state, or leaves zeroes.
    let (pid, number) = unsafe { (info.si_pid(), info.si_status()) };
    let status = match info.si_code {
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

/// The first published form of the kernel's answer about a pidfd.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// How the process of a pidfd ended, whoever its parent is. The kernel knows since Linux 6.15.
pub(crate) fn remains(pidfd: BorrowedFd<'_>) -> Remains {
    const EXIT: u64 = 1 << 3;
    // `_IOWR(0xFF, 11, struct pidfd_info)` with the size above.
    const GET_INFO: u64 = 0xC000_0000 | ((size_of::<PidfdInfo>() as u64) << 16) | 0xFF0B;
    let mut info = PidfdInfo {
        mask: EXIT,
        ..PidfdInfo::default()
    };
    let request = GET_INFO as libc::Ioctl;
    // SAFETY: the request's number carries the size of the structure that the pointer leads to.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), request, &raw mut info) };
    if answer < 0 {
        return Remains::Unknown;
    }
    if info.mask & EXIT == 0 {
        return Remains::NotReaped;
    }
    Remains::Reaped(Status::of_wait(info.exit_code))
}

/// Whether this process's memory may be looked at by others of its user (`PR_GET_DUMPABLE`).
pub(crate) fn dumpable() -> i32 {
    // SAFETY: the call takes no memory.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

/// Sets what [`dumpable`] tells.
pub(crate) fn set_dumpable(value: i32) {
    // SAFETY: the call takes no memory. It only fails for values that `dumpable` does not give.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, value) };
}

fn checked(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
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
