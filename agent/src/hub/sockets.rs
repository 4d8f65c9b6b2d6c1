//! The listening sockets of FastCGI programs: made before the first process of a group, shared by all of
//! them, and closed when none is left that could want it.
//!
//! The keeper holds a copy with each process, so that the next agent finds the same socket, with whoever waits in it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::handle::Key;
use crate::mainlog::SUPERVISOR;
use crate::spec::{SocketAddress, SocketSpec, SpawnError};

/// Sockets by the group that shares each, and its URL.
type ByName = BTreeMap<(String, String), Shared>;

/// Every socket that is open.
#[derive(Debug, Default)]
pub(super) struct Sockets(ByName);

#[derive(Debug)]
struct Shared {
    socket: Arc<OwnedFd>,
    users: BTreeSet<Key>,
}

impl Sockets {
    /// The socket for a process that is about to start; made when there is none.
    pub(super) fn obtain(
        &mut self,
        key: &Key,
        spec: &SocketSpec,
    ) -> Result<Arc<OwnedFd>, SpawnError> {
        let shared = match self.0.entry((key.group.clone(), spec.url.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                tracing::info!(target: SUPERVISOR, "Creating socket {}", spec.url);
                let socket = open(spec).map_err(|error| SpawnError::Socket {
                    url: spec.url.clone(),
                    why: error.to_string(),
                })?;
                new.insert(Shared {
                    socket: Arc::new(socket),
                    users: BTreeSet::new(),
                })
            }
        };
        shared.users.insert(key.clone());
        Ok(Arc::clone(&shared.socket))
    }

    /// A process of a former agent has this one.
    pub(super) fn adopt(&mut self, key: &Key, spec: &SocketSpec, socket: &OwnedFd) {
        let shared = match self.0.entry((key.group.clone(), spec.url.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match socket.try_clone() {
                Ok(socket) => new.insert(Shared {
                    socket: Arc::new(socket),
                    users: BTreeSet::new(),
                }),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(program = %key, error, "its socket cannot be kept");
                    return;
                }
            },
        };
        shared.users.insert(key.clone());
    }

    /// A process is at rest; a socket that nobody is left for is closed.
    pub(super) fn release(&mut self, key: &Key) {
        self.0.retain(|(_, url), shared| {
            let is_last = shared.users.remove(key) && shared.users.is_empty();
            if is_last {
                tracing::info!(target: SUPERVISOR, "Closing socket {url}");
            }
            !is_last
        });
    }
}

fn open(spec: &SocketSpec) -> io::Result<OwnedFd> {
    let socket = match &spec.address {
        SocketAddress::Unix { path, owner, mode } => {
            make_way(path)?;
            let address = SocketAddrUnix::new(path)?;
            let socket = stream(AddressFamily::UNIX)?;
            net::bind(&socket, &address)?;
            if let Some((user, group)) = owner {
                chown(path, Some(*user), Some(*group))?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
            socket
        }
        SocketAddress::Tcp(address) => {
            let address = address.clone().map_err(io::Error::other)?;
            let family = match address {
                SocketAddr::V4(_) => AddressFamily::INET,
                SocketAddr::V6(_) => AddressFamily::INET6,
            };
            let socket = stream(family)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            net::bind(&socket, &address)?;
            socket
        }
    };
    // Nobody can connect before this, whatever the permissions were meanwhile.
    net::listen(socket.as_fd(), spec.backlog)?;
    Ok(socket)
}

fn stream(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Removes a socket that nobody listens on any more. Anything else stays, and says so.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is not a socket",
        )),
        Ok(_) if is_listened_on(path)? => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "somebody else listens there",
        )),
        Ok(_) => fs::remove_file(path),
    }
}

/// Whether somebody takes connections there. Does not wait for one who has too many.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match net::connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Ok(()) | Err(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn key(name: &str) -> Key {
        Key {
            group: "g".into(),
            name: name.into(),
        }
    }

    fn unix(path: &Path) -> SocketSpec {
        SocketSpec {
            url: format!("unix://{}", path.display()),
            address: SocketAddress::Unix {
                path: path.to_owned(),
                owner: None,
                mode: 0o640,
            },
            backlog: 8,
        }
    }

    #[test]
    fn a_socket_is_shared_until_its_last_user_rests_and_then_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let spec = unix(&directory.path().join("s"));
        let SocketAddress::Unix { path, .. } = &spec.address else {
            unreachable!()
        };
        let mut sockets = Sockets::default();
        let first = sockets.obtain(&key("a"), &spec).unwrap();
        let second = sockets.obtain(&key("b"), &spec).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        drop((first, second));
        sockets.release(&key("a"));
        assert!(UnixStream::connect(path).is_ok());
        sockets.release(&key("b"));
        sockets.release(&key("b"));
        let refused = UnixStream::connect(path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        sockets.obtain(&key("a"), &spec).unwrap();
        assert!(UnixStream::connect(path).is_ok());
    }

    #[test]
    fn what_others_have_is_left_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let why = |sockets: &mut Sockets, spec: &SocketSpec| {
            sockets.obtain(&key("a"), spec).unwrap_err().to_string()
        };
        let mut sockets = Sockets::default();
        fs::write(&path, "data").unwrap();
        let said = why(&mut sockets, &unix(&path));
        assert!(
            said.starts_with("Could not create FastCGI socket unix:///"),
            "{said}"
        );
        assert!(said.contains("not a socket"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(why(&mut sockets, &unix(&path)).contains("somebody else listens there"));
    }

    #[test]
    fn a_port_is_listened_on_and_one_in_use_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let spec = |address| SocketSpec {
            url: "tcp://x:1".to_owned(),
            address: SocketAddress::Tcp(address),
            backlog: 8,
        };
        let mut sockets = Sockets::default();
        let address = taken.local_addr().unwrap();
        let said = sockets.obtain(&key("a"), &spec(Ok(address))).unwrap_err();
        assert!(said.to_string().contains("in use"), "{said}");
        drop(taken);
        sockets.obtain(&key("a"), &spec(Ok(address))).unwrap();
        assert!(TcpStream::connect(address).is_ok());
        let said = sockets.obtain(
            &key("b"),
            &SocketSpec {
                url: "tcp://nowhere:1".to_owned(),
                ..spec(Err("unknown host".to_owned()))
            },
        );
        assert!(
            said.unwrap_err()
                .to_string()
                .ends_with("tcp://nowhere:1: unknown host")
        );
    }
}
