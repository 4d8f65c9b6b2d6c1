//! What happens once, before the keeper keeps anything.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cgroup::Cgroups;
use crate::door::{Door, DoorError};
use crate::keeper::{Keeper, heard};
use crate::spawn::{Inherit, Spawner};
use crate::{log, os};

/// The kernel takes another process first, whatever happens.
const SPARED: i32 = -1000;

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The socket.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// What the kernel gives a process.
    #[error("cannot set up the process")]
    Process(#[source] io::Error),
}

/// Makes this process fit to be a parent and opens the door.
///
/// # Errors
///
/// There is another keeper, or the system refuses.
pub(crate) fn start(socket: &Path, has_cgroups: bool) -> Result<Keeper, StartError> {
    os::close_inherited();
    let signals = hear_signals().map_err(StartError::Process)?;
    let inherit = Inherit {
        nofile: raise_descriptor_limit(),
        oom_score_adj: spare_from_oom(),
    };
    let spawner = Spawner::new(inherit).map_err(StartError::Process)?;
    become_subreaper();
    let executable = std::env::current_exe().map_err(StartError::Process)?;
    let door = Door::open(socket)?;
    let cgroups = if has_cgroups {
        Cgroups::found(&door.path)
    } else {
        Cgroups::none()
    };
    Keeper::new(door, signals, spawner, cgroups, executable).map_err(StartError::Process)
}

/// Blocks every signal for good, hears those that matter through a descriptor, and undoes what this
/// process was told to ignore, as that would pass on to the programs.
pub(crate) fn hear_signals() -> io::Result<SignalFd> {
    SigSet::all().thread_block()?;
    os::default_dispositions();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&heard(), flags)?)
}

/// Processes whose parent dies become children of this one.
pub(crate) fn become_subreaper() {
    let this = rustix::process::getpid();
    if let Err(error) = rustix::process::set_child_subreaper(Some(this)) {
        log::say(format_args!("orphans will not be reaped here: {error}"));
    }
}

/// Raises the soft limit of descriptors as far as it may be. Tells what it was, if that is another.
fn raise_descriptor_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    setrlimit(Resource::Nofile, raised).ok()?;
    before.current.filter(|_| before.current != before.maximum)
}

/// Tells what the adjustment was, if it could be changed.
fn spare_from_oom() -> Option<i32> {
    let before = std::fs::read_to_string(OOM_SCORE_ADJ)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    std::fs::write(OOM_SCORE_ADJ, SPARED.to_string()).ok()?;
    (before != SPARED).then_some(before)
}

/// Tells the service manager, if there is one, that agents can connect.
pub(crate) fn notify_ready() {
    if let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|text| !text.is_empty())
        && let Err(error) = notify(address.as_bytes())
    {
        log::say(format_args!("cannot notify the service manager: {error}"));
    }
}

fn notify(address: &[u8]) -> io::Result<()> {
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(address)?,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::sendto(&socket, b"READY=1\n", SendFlags::NOSIGNAL, &address)?;
    Ok(())
}
