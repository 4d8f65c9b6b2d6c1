//! Waiting in the runtime for a descriptor that no library type of the runtime stands for.
#![expect(
    unsafe_code,
    reason = "the runtime asks for a promise that only the caller can give"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime watch a descriptor, which must be in non-blocking mode, for one kind of readiness:
/// it is woken for that alone. Inside a runtime only.
///
/// # Errors
///
/// What the system says to a descriptor that cannot be watched.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay open, and the same, until it is deregistered. An `OwnedFd`
    // always gives the one descriptor that it owns and closes it only when it is dropped; the
    // `AsyncFd` owns it and deregisters before it drops it or gives it back.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}
