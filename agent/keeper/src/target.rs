//! Whom a signal reaches: a process, its group, or everything in its cgroup.
//!
//! Nothing here signals a number that could have become somebody else's. A process is named by its
//! pidfd; a group by the pidfd of its founder, or by number while the founder is not reaped; the members
//! of a cgroup by pidfds that are opened before it is looked up that they (still) are members.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rsv_keeper::message::Scope;
use rustix::process::{Pid, PidfdFlags};

use crate::os;
use crate::process::Process;

/// How deep cgroups below a program's own are followed; the kernel's own kill has no such limit.
const DEPTH: u32 = 8;

/// How often a cgroup is looked through for members that are new. Those that go on forking are for the
/// kernel's own kill.
const ROUNDS: u32 = 16;

/// Sends a signal. `is_cgroup_shared`: another run that is alive has the same cgroup, so that the
/// cgroup does not stand for this run.
///
/// # Errors
///
/// `ESRCH` when nobody is there; otherwise what the system says.
pub(crate) fn signal(
    process: &Process,
    signal: i32,
    scope: Scope,
    is_cgroup_shared: bool,
) -> io::Result<()> {
    if !(0..=os::LAST_SIGNAL).contains(&signal) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    match (scope, &process.cgroup) {
        (Scope::Process, _) if process.is_alive() => {
            os::signal_process(process.pidfd.as_fd(), signal)
        }
        (Scope::Process, _) => Err(nobody()),
        (Scope::Tree, Some(_)) if is_cgroup_shared && !process.is_alive() => Err(nobody()),
        (Scope::Tree, Some(cgroup)) => tree(Path::new(OsStr::from_bytes(cgroup)), signal),
        (Scope::Group, _) | (Scope::Tree, None) => group(process, signal),
    }
}

fn group(process: &Process, signal: i32) -> io::Result<()> {
    let pidfd = process.pidfd.as_fd();
    match os::signal_group_of(pidfd, signal) {
        // Its process may have left the group it founded and be its last member.
        Err(error) if is(&error, libc::ESRCH) && process.is_alive() => {
            os::signal_process(pidfd, signal)
        }
        Err(error) if is(&error, libc::EINVAL) && process.is_alive() => {
            os::signal_group(process.pid, signal)
        }
        Err(error) if is(&error, libc::EINVAL) => Err(nobody()),
        other => other,
    }
}

/// Sends a signal to everything in a cgroup and below.
///
/// # Errors
///
/// `ESRCH` when nobody is there; otherwise what the system says.
pub(crate) fn tree(cgroup: &Path, signal: i32) -> io::Result<()> {
    if signal == libc::SIGKILL && has_members(cgroup, DEPTH)? {
        // Older kernels have no such file.
        if std::fs::write(cgroup.join("cgroup.kill"), "1").is_ok() {
            return Ok(());
        }
    }
    let mut reached = BTreeSet::new();
    // A member that forks just before the signal leaves a child that was not listed.
    for _ in 0..ROUNDS {
        let before = reached.len();
        members(cgroup, DEPTH, &mut |pid, pidfd| {
            let pid = pid.as_raw_nonzero();
            if !reached.contains(&pid) && os::signal_process(pidfd.as_fd(), signal).is_ok() {
                reached.insert(pid);
            }
        })?;
        if reached.len() == before {
            break;
        }
    }
    if reached.is_empty() {
        Err(nobody())
    } else {
        Ok(())
    }
}

fn has_members(cgroup: &Path, depth: u32) -> io::Result<bool> {
    let mut found = false;
    members(cgroup, depth, &mut |_, _| found = true)?;
    Ok(found)
}

/// Visits every process in a cgroup and below.
fn members(cgroup: &Path, depth: u32, visit: &mut dyn FnMut(Pid, OwnedFd)) -> io::Result<()> {
    let open = |pid: Pid| {
        Some((
            pid,
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?,
        ))
    };
    let opened: Vec<_> = listed(cgroup)?.into_iter().filter_map(open).collect();
    // Who is still listed after the pidfd was opened is who the pidfd names.
    let still = listed(cgroup)?;
    opened
        .into_iter()
        .filter(|(pid, _)| still.contains(pid))
        .for_each(|(pid, pidfd)| visit(pid, pidfd));
    if depth > 0 {
        for entry in std::fs::read_dir(cgroup)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // It may have been removed since it was listed.
                members(&entry.path(), depth - 1, visit).ok();
            }
        }
    }
    Ok(())
}

fn listed(cgroup: &Path) -> io::Result<Vec<Pid>> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs"))?;
    Ok(text
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        .collect())
}

fn nobody() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

fn is(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}
