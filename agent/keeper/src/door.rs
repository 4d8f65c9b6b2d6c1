//! The socket at which agents knock.
//!
//! One keeper per path: whoever finds a live one there gives way, what a dead one left is replaced.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rsv_keeper::packet;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// How long another keeper that is just starting in the same directory is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    /// Somebody answers there.
    #[error("another keeper answers on `{0}`")]
    InUse(PathBuf),
    /// Something is there that is no socket.
    #[error("`{0}` exists and is not a socket")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on `{path}`")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A listening socket and the name that leads to it.
#[derive(Debug)]
pub(crate) struct Door {
    /// The socket.
    pub(crate) socket: OwnedFd,
    /// Its path, absolute.
    pub(crate) path: PathBuf,
    /// Which file that is, so that nobody else's is ever removed: device and inode.
    pub(crate) file: (u64, u64),
}

impl Door {
    /// Opens the door at a path.
    ///
    /// # Errors
    ///
    /// A live keeper is there, or what the system says.
    pub(crate) fn open(path: &Path) -> Result<Self, DoorError> {
        let failed = |source: io::Error| DoorError::Io {
            path: path.to_owned(),
            source,
        };
        let path = std::path::absolute(path).map_err(failed)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        // Two keepers that start at once must not each take the other's new socket for a stale one.
        let _lock = lock(directory).map_err(failed)?;
        let socket = match packet::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                make_way(&path)?;
                packet::bind(&path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let file = identity(&path).map_err(failed)?;
        Ok(Self { socket, path, file })
    }

    /// Whether nobody who comes later finds this door: its name is gone, or leads elsewhere.
    pub(crate) fn is_lost(&self) -> bool {
        match identity(&self.path) {
            Ok(file) => file != self.file,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the path, if it still leads here.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::lstat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn lock(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty())?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(5));
            }
            // Somebody may lock this directory for purposes of their own: then go on without.
            Ok(()) | Err(Errno::WOULDBLOCK) => return Ok(fd),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Removes a socket on which nobody listens any more.
fn make_way(path: &Path) -> Result<(), DoorError> {
    use std::os::unix::fs::FileTypeExt;
    let failed = |source: io::Error| DoorError::Io {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.file_type().is_socket() {
        return Err(DoorError::NotASocket(path.to_owned()));
    }
    match packet::connect(path) {
        Ok(_) => Err(DoorError::InUse(path.to_owned())),
        // More wait there than may, so somebody is expected to let them in.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(DoorError::InUse(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(source) => Err(DoorError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Accepts one connection from a process of this user or of root; anybody else is turned away.
pub(crate) fn accept(door: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::accept_with(door, flags)?;
    let peer = rustix::net::sockopt::socket_peercred(&socket)?;
    let is_welcome = peer.uid.is_root() || peer.uid == rustix::process::geteuid();
    Ok(is_welcome.then_some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_respected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keeper.sock");
        let first = Door::open(&path).unwrap();
        assert!(matches!(Door::open(&path), Err(DoorError::InUse(_))));
        // Nobody has let in those who wait there.
        let mut waiting = Vec::new();
        while let Ok(socket) = packet::connect(&path) {
            waiting.push(socket);
        }
        assert!(matches!(Door::open(&path), Err(DoorError::InUse(_))));
        drop(first.socket);
        let second = Door::open(&path).unwrap();
        packet::connect(&path).unwrap();
        second.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_ours_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keeper.sock");
        let first = Door::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        first.remove();
        assert!(path.exists());
        assert!(matches!(Door::open(&path), Err(DoorError::NotASocket(_))));
        assert!(path.exists());
        let missing = directory.path().join("missing/keeper.sock");
        assert!(matches!(Door::open(&missing), Err(DoorError::Io { .. })));
    }
}
