//! Making, changing and closing a shared socket: what touches the system.
//!
//! All calls are local and short, so the hub makes them itself: a program that crashed waits for its
//! socket.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::probe;
use crate::spec::{SocketAddress, SocketSpec};

/// What tells a file from every other one, whatever its name.
type Identity = (u64, u64);

/// A socket that listens.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    /// The descriptor that programs are given.
    pub(super) fd: Arc<OwnedFd>,
    /// The file at its path, for a Unix socket.
    file: Option<(PathBuf, Identity)>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// The system says so; in the words of Python, which Supervisor shows.
    #[error("[Errno {}] {}", .0.raw_os_error(), describe(*.0))]
    System(Errno),
    /// Another file has the name.
    #[error("`{}` is in the way: it is not a socket", .0.display())]
    InTheWay(PathBuf),
    /// The host has no address.
    #[error("{0}")]
    NoAddress(String),
}

impl ListenError {
    /// Whether somebody else has the address.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::System(Errno::ADDRINUSE))
    }
}

fn describe(errno: Errno) -> &'static str {
    nix::errno::Errno::from_raw(errno.raw_os_error()).desc()
}

impl From<io::Error> for ListenError {
    fn from(error: io::Error) -> Self {
        Self::System(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl From<Errno> for ListenError {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl Listening {
    /// Makes a socket that listens as it should. Nobody can connect before its file's owner and mode are
    /// right.
    pub(super) fn make(spec: &SocketSpec) -> Result<Self, ListenError> {
        match &spec.address {
            SocketAddress::Unix { path, .. } => unix(path, spec),
            SocketAddress::Tcp(address) => {
                let address = address.clone().map_err(ListenError::NoAddress)?;
                let family = if address.is_ipv4() {
                    AddressFamily::INET
                } else {
                    AddressFamily::INET6
                };
                let fd = stream(family)?;
                rustix::net::sockopt::set_socket_reuseaddr(&fd, true)?;
                rustix::net::bind(&fd, &address)?;
                rustix::net::listen(&fd, spec.backlog)?;
                Ok(Self {
                    fd: Arc::new(fd),
                    file: None,
                })
            }
        }
    }

    /// A copy of a socket that is there, with its URL; `None` when it is another kind of descriptor. The
    /// file that is at its path by now counts as its own.
    pub(super) fn take_up(
        fd: BorrowedFd<'_>,
        configured: Option<&SocketSpec>,
    ) -> Result<Option<(Self, String)>, ListenError> {
        let mode = rustix::fs::fstat(fd)?.st_mode;
        if !rustix::fs::FileType::from_raw_mode(mode).is_socket() {
            return Ok(None);
        }
        let bound = bound_to(fd)?;
        let known = configured.filter(|spec| bound.is_of(spec));
        let url = known.map_or_else(|| bound.url(), |spec| spec.url.clone());
        let file = match bound {
            Bound::Unix(path) => identity(&path).ok().map(|identity| (path, identity)),
            Bound::Tcp(_) => None,
        };
        let fd = Arc::new(fd.try_clone_to_owned()?);
        Ok(Some((Self { fd, file }, url)))
    }

    /// Makes a socket that listens already as it should be by now.
    pub(super) fn adjust(&self, spec: &SocketSpec) -> Result<(), ListenError> {
        if let (Some((path, known)), SocketAddress::Unix { owner, mode, .. }) =
            (&self.file, &spec.address)
            && identity(path).is_ok_and(|now| now == *known)
        {
            give(path, *owner, *mode)?;
        }
        Ok(rustix::net::listen(&*self.fd, spec.backlog)?)
    }

    /// Whether nobody can reach it by the name it should have: its file was removed.
    pub(super) fn is_lost(&self, spec: &SocketSpec) -> bool {
        match &spec.address {
            SocketAddress::Unix { path, .. } => {
                identity(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            }
            SocketAddress::Tcp(_) => false,
        }
    }

    /// Removes its file, unless that is another's by now. The socket itself is closed when the last
    /// copy is.
    pub(super) fn close(self) {
        let Some((path, known)) = self.file else {
            return;
        };
        let is_own = identity(&path).is_ok_and(|now| now == known);
        if is_own && let Err(error) = fs::remove_file(&path) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(path = %path.display(), error, "the file of a socket is not removed");
        }
    }
}

fn stream(family: AddressFamily) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn unix(path: &Path, spec: &SocketSpec) -> Result<Listening, ListenError> {
    let address = SocketAddrUnix::new(path)?;
    let fd = stream(AddressFamily::UNIX)?;
    match rustix::net::bind(&fd, &address) {
        Err(Errno::ADDRINUSE) => {
            clear(path)?;
            rustix::net::bind(&fd, &address)?;
        }
        other => other?,
    }
    let listening = Listening {
        fd: Arc::new(fd),
        file: Some((path.to_owned(), identity(path)?)),
    };
    match listening.adjust(spec) {
        Ok(()) => Ok(listening),
        Err(error) => {
            listening.close();
            Err(error)
        }
    }
}

/// Gives the file its owner, then its mode, which a change of the owner would cut down.
fn give(path: &Path, owner: Option<(u32, Option<u32>)>, mode: u32) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::lchown(path, Some(uid), gid)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a socket that nobody listens on any more. Anything else stays, and says so.
fn clear(path: &Path) -> Result<(), ListenError> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        return Err(ListenError::InTheWay(path.to_owned()));
    }
    match probe::is_served(path)? {
        false => Ok(fs::remove_file(path)?),
        true => Err(Errno::ADDRINUSE.into()),
    }
}

/// Where a socket really listens.
enum Bound {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Bound {
    fn is_of(&self, spec: &SocketSpec) -> bool {
        match (self, &spec.address) {
            (Self::Unix(bound), SocketAddress::Unix { path, .. }) => bound == path,
            (Self::Tcp(bound), SocketAddress::Tcp(address)) => Ok(bound) == address.as_ref(),
            (Self::Unix(_), SocketAddress::Tcp(_)) | (Self::Tcp(_), SocketAddress::Unix { .. }) => {
                false
            }
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Tcp(address) => format!("tcp://{address}"),
        }
    }
}

fn bound_to(fd: BorrowedFd<'_>) -> Result<Bound, Errno> {
    let address = rustix::net::getsockname(fd)?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Ok(Bound::Tcp(address));
    }
    let unix = SocketAddrUnix::try_from(address)?;
    let path = unix.path_bytes().ok_or(Errno::AFNOSUPPORT)?;
    Ok(Bound::Unix(PathBuf::from(OsStr::from_bytes(path))))
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn at(path: &Path, mode: u32) -> SocketSpec {
        SocketSpec {
            url: format!("unix://{}", path.display()),
            address: SocketAddress::Unix {
                path: path.to_owned(),
                owner: None,
                mode,
            },
            backlog: 5,
        }
    }

    fn at_port(address: Result<SocketAddr, String>) -> SocketSpec {
        SocketSpec {
            url: "tcp://localhost:1".to_owned(),
            address: SocketAddress::Tcp(address),
            backlog: 8,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_its_file_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listening = Listening::make(&at(&path, 0o620)).unwrap();
        assert_eq!(mode(&path), 0o620);
        listening.adjust(&at(&path, 0o660)).unwrap();
        assert_eq!(mode(&path), 0o660);
        UnixStream::connect(&path).unwrap();
        listening.close();
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_what_others_have_is_left_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listening = Listening::make(&at(&path, 0o600)).unwrap();
        let second = Listening::make(&at(&path, 0o600)).unwrap_err();
        assert_eq!(second.to_string(), "[Errno 98] Address already in use");
        UnixStream::connect(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        let in_the_way = Listening::make(&at(&path, 0o600)).unwrap_err();
        assert!(in_the_way.to_string().ends_with("it is not a socket"));
        // What has taken its name is not removed with it.
        listening.close();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[test]
    fn a_port_is_listened_on_and_one_in_use_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = Listening::make(&at_port(Ok(address))).unwrap_err();
        assert_eq!(refused.to_string(), "[Errno 98] Address already in use");
        drop(taken);
        let _listening = Listening::make(&at_port(Ok(address))).unwrap();
        TcpStream::connect(address).unwrap();
        let nowhere = Listening::make(&at_port(Err("unknown host".into()))).unwrap_err();
        assert_eq!(nowhere.to_string(), "unknown host");
    }

    #[test]
    fn a_socket_that_is_taken_up_is_known_by_where_it_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let made = Listening::make(&at(&path, 0o600)).unwrap();
        let url = |made: &Listening, configured: Option<&SocketSpec>| {
            let taken = Listening::take_up(made.fd.as_fd(), configured).unwrap();
            taken.unwrap().1
        };
        let here = format!("unix://{}", path.display());
        assert_eq!(url(&made, Some(&at(&path, 0o777))), here);
        assert_eq!(url(&made, Some(&at(Path::new("/elsewhere"), 0o600))), here);
        assert_eq!(url(&made, None), here);
        let taken = Listening::take_up(made.fd.as_fd(), None).unwrap().unwrap();
        taken.0.close();
        assert!(!path.exists());

        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let made = Listening::make(&at_port(Ok(address))).unwrap();
        let port = match bound_to(made.fd.as_fd()).unwrap() {
            Bound::Tcp(address) => address,
            Bound::Unix(path) => panic!("{}", path.display()),
        };
        assert_eq!(url(&made, Some(&at_port(Ok(port)))), "tcp://localhost:1");
        assert_eq!(
            url(&made, Some(&at_port(Ok(address)))),
            format!("tcp://{port}")
        );
    }

    #[test]
    fn a_pipe_is_no_socket() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(Listening::take_up(reader.as_fd(), None).unwrap().is_none());
    }
}
