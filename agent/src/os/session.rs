//! Starting a process that does not belong to our session, so that a signal to our terminal or
//! process group does not reach it.
#![expect(
    unsafe_code,
    reason = "the standard library has no safe way to call setsid in a child"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts the command as the leader of a new session.
///
/// # Errors
///
/// What [`Command::spawn`] says.
pub fn spawn_in_own_session(command: &mut Command) -> io::Result<Child> {
    // SAFETY: the closure runs in the child between fork and exec. It makes one system call, which
    // is async-signal-safe, allocates nothing and touches no memory that a lock could guard.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    command.spawn()
}
