//! Binding the local socket: private from the first moment, in place of one that nobody serves.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::probe;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody serves it.
    #[error("another program already serves the socket `{}`", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("`{}` is in the way: it is not a socket", .0.display())]
    InTheWay(PathBuf),
    /// The kernel's limit.
    #[error("the socket path `{}` is too long", .0.display())]
    TooLong(PathBuf),
    /// Anything else.
    #[error("cannot make the socket `{}`", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl SocketError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InUse(_) => "stop the agent that serves it, or name another socket in [agent]",
            Self::InTheWay(_) => "move it away, or name another socket in [agent]",
            Self::TooLong(_) => "name a socket with a path of at most 107 bytes in [agent]",
            Self::Io { .. } => "see that its directory exists and can be written to",
        }
    }
}

/// Binds the socket. One that is there and that nobody serves is replaced.
///
/// # Errors
///
/// [`SocketError`]; nothing was changed then.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    match listen(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            clear(path)?;
            listen(path).map_err(|source| refused(path, source))
        }
        other => other.map_err(|source| refused(path, source)),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The mode of the unbound socket is the one its name gets: there is no moment to slip in.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Removes a socket that nobody serves.
fn clear(path: &Path) -> Result<(), SocketError> {
    use std::os::unix::fs::FileTypeExt;
    let io = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    if !std::fs::symlink_metadata(path)
        .map_err(io)?
        .file_type()
        .is_socket()
    {
        return Err(SocketError::InTheWay(path.to_owned()));
    }
    match probe::is_served(path).map_err(|error| io(error.into()))? {
        false => std::fs::remove_file(path).map_err(io),
        true => Err(SocketError::InUse(path.to_owned())),
    }
}

fn refused(path: &Path, source: io::Error) -> SocketError {
    match source.raw_os_error() {
        Some(libc::ENAMETOOLONG) => SocketError::TooLong(path.to_owned()),
        _ => SocketError::Io {
            path: path.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_socket_is_private_and_a_served_one_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
        drop(listener);
        bind(&path).unwrap();
    }

    #[test]
    fn one_whose_owner_is_stopped_is_in_use_and_nobody_waits_for_him() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _stopped = probe::full(&path);
        let bound = probe::in_time(move || bind(&path).map(drop));
        assert!(matches!(bound, Err(SocketError::InUse(_))), "{bound:?}");
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::InTheWay(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_cannot_be_is_named() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(matches!(bind(&long), Err(SocketError::TooLong(_))));
        let error = bind(Path::new("/nonexistent/a.sock")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot make the socket `/nonexistent/a.sock`"
        );
    }
}
