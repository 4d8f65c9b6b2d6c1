//! The system calls that no library used here wraps safely, each as it is.
//!
//! Nothing is decided here, and nothing is kept: `os` says what the answers mean. They are a parent's
//! calls: what a child inherits, how it is signalled, how it ends, and the descriptors that outlive the
//! parent's own image.
#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What `waitid` tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// The child; 0: there is none.
    pub(crate) pid: i32,
    /// How its state has changed (`CLD_*`).
    pub(crate) code: i32,
    /// The exit code or the signal.
    pub(crate) status: i32,
    /// What it used.
    pub(crate) usage: libc::rusage,
}

/// The first published form of the kernel's answer about a pidfd.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PidfdInfo {
    pub(crate) mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    pub(crate) exit_code: i32,
}

/// Gives a signal its default disposition.
pub(crate) fn default_disposition(signal: i32) {
    // Everywhere the kernel's form of an action is at most this long, and zeroes are the default one.
    // The library's own call would not touch the two signals that it keeps for its threads.
    let action = [0_u64; 4];
    let none = std::ptr::null_mut::<u64>();
    let call = libc::SYS_rt_sigaction;
    // SAFETY: the action is read during the call, and it runs no code of ours. A signal whose
    // disposition cannot be changed is refused.
    unsafe { libc::syscall(call, signal, action.as_ptr(), none, size_of::<u64>()) };
}

/// Closes every descriptor from 3 on. Only at the very start of the process.
pub(crate) fn close_inherited() {
    // SAFETY: nothing owns a descriptor above 2 yet. On kernels without the call nothing is closed, and
    // the programs close what they inherit.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Takes over a descriptor whose number a former image of this process wrote down, or `None` when it is
/// not open.
pub(crate) fn take_over(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: asking for the flags of a number has no effect, whatever the number is.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and the former image kept it for exactly this one owner.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    Some(fd)
}

/// Sends a signal of any number, also 0 and those of real time, to whom the flags say.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    let call = libc::SYS_pidfd_send_signal;
    // SAFETY: no memory is passed, and the descriptor is open for the duration of the call.
    checked(unsafe { libc::syscall(call, pidfd.as_raw_fd(), signal, no_info, flags) })
}

/// Sends a signal of any number to a process or, by a negative number, to a group.
pub(crate) fn kill(whom: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::kill(whom, signal) }.into())
}

/// Waits for a child, with the resource usage that the library's function of the same name leaves out.
pub(crate) fn waitid(kind: libc::idtype_t, id: u32, options: i32) -> io::Result<Waited> {
    // SAFETY: both are plain data for which zero is a valid value.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let (out, used) = (&raw mut info, &raw mut usage);
    // SAFETY: the two pointers are valid for writing for the duration of the call.
    checked(unsafe { libc::syscall(libc::SYS_waitid, kind, id, out, options, used) })?;
    // SAFETY: the kernel fills in the fields of a child's change of state, or leaves zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(Waited {
        pid,
        code: info.si_code,
        status,
        usage,
    })
}

/// Asks for what the mask says about the process of a pidfd.
pub(crate) fn pidfd_info(pidfd: BorrowedFd<'_>, mask: u64) -> io::Result<PidfdInfo> {
    // `_IOWR(0xFF, 11, struct pidfd_info)` with the size above.
    const GET_INFO: u64 = 0xC000_0000 | ((size_of::<PidfdInfo>() as u64) << 16) | 0xFF0B;
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    let request = GET_INFO as libc::Ioctl;
    // SAFETY: the request's number carries the size of the structure that the pointer leads to.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), request, &raw mut info) };
    checked(answer.into())?;
    Ok(info)
}

fn checked(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
