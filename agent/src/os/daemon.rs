//! Going into the background.
#![expect(unsafe_code, reason = "fork has no safe form")]

use std::io;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that was started.
    Parent,
    /// The one that goes on.
    Child,
}

/// Forks. Refused while the process has more than one thread: the child would have only this one,
/// and locks that the others held would stay locked.
///
/// # Errors
///
/// What the system says; `Unsupported` with several threads.
pub fn fork() -> io::Result<Side> {
    if std::fs::read_dir("/proc/self/task")?.count() > 1 {
        let text = "cannot fork with several threads";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    // SAFETY: the process has one thread, as was just seen, so the child is a whole copy: no lock
    // is held by a thread that does not exist there, and all code may run on both sides.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { .. } => Ok(Side::Parent),
        nix::unistd::ForkResult::Child => Ok(Side::Child),
    }
}
