//! Signals to processes that are named by a descriptor.
#![expect(unsafe_code, reason = "no safe form knows the flag for a group")]

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
