//! Signals to processes that are named by a descriptor, and how such a process has ended.
#![expect(
    unsafe_code,
    reason = "no safe form knows the flag for a group, or tells how a process has ended"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends a signal to a process; `is_group`: to the process group that it has founded, where the kernel can
/// name it so (Linux 6.9), otherwise to the process alone.
///
/// # Errors
///
/// `ESRCH` when nobody is there; otherwise what the system says.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32, is_group: bool) -> io::Result<()> {
    const PROCESS_GROUP: u32 = 1 << 2;
    if is_group && send(pidfd, signal, PROCESS_GROUP).is_ok() {
        return Ok(());
    }
    send(pidfd, signal, 0)
}

/// What `wait` would tell of a process that has ended and was reaped, whoever its parent is; nothing where the
/// kernel does not say (before Linux 6.15).
pub fn wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const EXIT: u64 = 1 << 3;
    // `_IOWR(0xFF, 11, struct pidfd_info)` with the size of its first form.
    const GET_INFO: u64 = 0xC000_0000 | ((size_of::<PidfdInfo>() as u64) << 16) | 0xFF0B;
    let mut info = PidfdInfo {
        mask: EXIT,
        ..PidfdInfo::default()
    };
    let request = GET_INFO as libc::Ioctl;
    // SAFETY: the descriptor is open as long as it is borrowed, and the request's number carries the size of
    // the structure that the pointer leads to.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), request, &raw mut info) };
    (answer == 0 && info.mask & EXIT != 0).then_some(info.exit_code)
}

/// The kernel's `struct pidfd_info` in its first form.
#[derive(Default)]
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed, the null pointer asks for the usual
    // information, and the call keeps neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
