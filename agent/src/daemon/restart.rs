//! A full restart in the same process, which is what SIGHUP asks for.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::failure::Failure;

/// Becomes a new agent with the same command line; comes back only if that fails. The new one is in
/// the background already when this one was, and must keep its process id.
pub(super) fn exec(foreground: bool) -> Failure {
    let executable = match std::env::current_exe() {
        Ok(executable) => executable,
        Err(error) => return Failure::failed(format!("cannot find my own executable: {error}")),
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new(&executable);
    command.arg0(name).args(arguments);
    if !foreground {
        command.arg("--nodaemon");
    }
    let error = command.exec();
    Failure::failed(format!(
        "cannot restart as `{}`: {error}",
        executable.display()
    ))
}
