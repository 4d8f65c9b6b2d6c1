//! Binding the sockets of the configuration: all, or none and a clear word.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rsv_config::host::Owner;
use rsv_config::{Credentials, HttpAddress, HttpServer};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::probe;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// After this time without a byte the system asks whether a peer is still there.
const QUIET: Duration = Duration::from_secs(60);

/// Why the servers cannot be bound. Each text but the last two is Supervisor's.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody serves it.
    #[error(
        "Another program is already listening on a port that one of our HTTP servers is configured \
         to use.  Shut this program down first before starting supervisord."
    )]
    InUse,
    /// The owner cannot be given away.
    #[error(
        "Not permitted to chown {} to uid/gid ({uid}, {gid}); adjust \"sockchown\" value in config \
         file or on command line to values that the current user ({user}) can successfully chown",
        .path.display()
    )]
    Chown {
        /// The socket.
        path: PathBuf,
        /// The configured user.
        uid: u32,
        /// The configured group; -1 without one.
        gid: i64,
        /// Who runs.
        user: String,
    },
    /// Anything else that the system says.
    #[error("Cannot open an HTTP server: socket.error reported errno.{name} ({number})")]
    System {
        /// The name of the error.
        name: String,
        /// Its number.
        number: i32,
    },
    /// A name that is no address of this host.
    #[error("[{section}] port: the host `{host}` has no address")]
    NoAddress {
        /// The section.
        section: String,
        /// The host.
        host: String,
    },
    /// The network could do everything.
    #[error(
        "[{section}] would let anybody on the network control every program: it has no password and \
         listens on more than this host"
    )]
    Insecure {
        /// The section.
        section: String,
    },
    /// Something else is there.
    #[error("`{}` is in the way of the socket of [unix_http_server]: it is not a socket", .0.display())]
    InTheWay(PathBuf),
}

impl BindError {
    /// What a person can do about it, where the text does not say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Insecure { .. } => Some(
                "set username and password, or port=127.0.0.1:PORT, or rsv_insecure=true to have it so",
            ),
            Self::NoAddress { .. } => {
                Some("write an address, such as 127.0.0.1:9001 or [::1]:9001")
            }
            Self::InTheWay(_) => Some("move it away, or name another file"),
            Self::InUse | Self::Chown { .. } | Self::System { .. } => None,
        }
    }
}

/// A server that is bound and not yet served. Dropped, it leaves no socket behind.
#[derive(Debug)]
pub struct Bound {
    pub(super) section: String,
    pub(super) credentials: Option<Credentials>,
    /// The name under which it is configured; `None`: all addresses, or a Unix socket.
    pub(super) host: Option<String>,
    sockets: Socket,
}

/// The name of a bound Unix socket, removed when dropped, unless it is another's by then.
#[derive(Debug)]
pub(super) struct Name {
    path: PathBuf,
    identity: (u64, u64),
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener, Name),
    Inet(TcpListener),
}

/// A socket inside the runtime.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(tokio::net::UnixListener),
    Inet(tokio::net::TcpListener),
}

/// What a connection is made of.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A connection.
pub(super) type Accepted = Box<dyn Wire>;

/// Binds all servers.
///
/// # Errors
///
/// [`BindError`]; no socket is left then.
pub fn bind(servers: &[HttpServer]) -> Result<Vec<Bound>, BindError> {
    servers.iter().map(one).collect()
}

/// Why a server is not bound, whatever else is there: it is open to the network, or its host has no
/// address. Nothing is bound to find out.
pub fn refusal(server: &HttpServer) -> Option<BindError> {
    let HttpAddress::Inet { host, port } = &server.address else {
        return None;
    };
    let section = server.section.clone();
    let is_local = match host.as_deref() {
        None => false,
        Some(host) => match first_address(host, *port) {
            Some(address) => address.ip().to_canonical().is_loopback(),
            None => {
                let host = host.to_owned();
                return Some(BindError::NoAddress { section, host });
            }
        },
    };
    let is_guarded = has_password(server) || server.insecure;
    (!is_local && !is_guarded).then_some(BindError::Insecure { section })
}

/// An empty password keeps nobody out.
fn has_password(server: &HttpServer) -> bool {
    let credentials = server.credentials.as_ref();
    credentials.is_some_and(|credentials| !credentials.password.is_empty())
}

fn first_address(host: &str, port: u16) -> Option<SocketAddr> {
    (bare(host), port).to_socket_addrs().ok()?.next()
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn one(server: &HttpServer) -> Result<Bound, BindError> {
    let section = server.section.clone();
    let (sockets, host) = match &server.address {
        HttpAddress::Unix { path, mode, owner } => (unix(path, mode.0, *owner)?, None),
        HttpAddress::Inet { host, port } => {
            if let Some(refusal) = refusal(server) {
                return Err(refusal);
            }
            let is_guarded = has_password(server) || server.insecure;
            let (socket, is_local) = inet(&section, host.as_deref(), *port)?;
            if !is_local && !is_guarded {
                return Err(BindError::Insecure { section });
            }
            (Socket::Inet(socket), host.clone())
        }
    };
    Ok(Bound {
        section,
        credentials: server.credentials.clone(),
        host,
        sockets,
    })
}

/// The socket, and whether only this host can reach it.
fn inet(section: &str, host: Option<&str>, port: u16) -> Result<(TcpListener, bool), BindError> {
    let socket = match host {
        // One socket for both families, where there are both.
        None => TcpListener::bind(("::", port)).or_else(|error| match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => TcpListener::bind(("0.0.0.0", port)),
            _ => Err(error),
        }),
        Some(host) => TcpListener::bind((bare(host), port)),
    };
    let socket = socket.map_err(|error| match (error.raw_os_error(), host) {
        (None, Some(host)) => BindError::NoAddress {
            section: section.to_owned(),
            host: host.to_owned(),
        },
        _ => system(&error),
    })?;
    let address = socket.local_addr().map_err(|error| system(&error))?;
    Ok((socket, address.ip().to_canonical().is_loopback()))
}

fn unix(path: &Path, mode: u32, owner: Option<Owner>) -> Result<Socket, BindError> {
    let listener = match listen(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            clear(path)?;
            listen(path)
        }
        other => other,
    };
    let listener = listener.map_err(|error| system(&error))?;
    let name = Name::of(path).map_err(|error| system(&error))?;
    if let Some(owner) = owner {
        let changed = std::os::unix::fs::lchown(path, Some(owner.uid), owner.gid);
        changed.map_err(|error| chown_refused(&error, path, owner))?;
    }
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(|error| system(&error))?;
    Ok(Socket::Unix(listener, name))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Nobody but the owner comes in before owner and mode are what they should be.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Removes a socket that nobody serves.
fn clear(path: &Path) -> Result<(), BindError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| system(&error))?;
    if !metadata.file_type().is_socket() {
        return Err(BindError::InTheWay(path.to_owned()));
    }
    if probe::is_served(path).map_err(|error| system(&error.into()))? {
        return Err(BindError::InUse);
    }
    eprintln!("Unlinking stale socket {}", path.display());
    fs::remove_file(path).map_err(|error| system(&error))
}

fn chown_refused(error: &io::Error, path: &Path, owner: Owner) -> BindError {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return system(error);
    }
    let own = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(own).ok().flatten();
    BindError::Chown {
        path: path.to_owned(),
        uid: owner.uid,
        gid: owner.gid.map_or(-1, i64::from),
        user: user.map_or_else(|| own.to_string(), |user| user.name),
    }
}

fn system(error: &io::Error) -> BindError {
    let number = error.raw_os_error().unwrap_or(libc::EINVAL);
    if number == libc::EADDRINUSE {
        return BindError::InUse;
    }
    let name = format!("{:?}", nix::errno::Errno::from_raw(number));
    BindError::System { name, number }
}

impl Bound {
    /// The address of a TCP server.
    #[cfg(test)]
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.sockets {
            Socket::Inet(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    pub(super) fn listen(self) -> io::Result<(Listener, Option<Name>)> {
        match self.sockets {
            Socket::Unix(listener, name) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                Ok((Listener::Unix(listener), Some(name)))
            }
            Socket::Inet(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                Ok((Listener::Inet(listener), None))
            }
        }
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Inet(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // A peer that has gone without a word is found out within some minutes.
                rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
                rustix::net::sockopt::set_tcp_keepidle(&stream, QUIET)?;
                rustix::net::sockopt::set_tcp_keepintvl(&stream, QUIET / 4)?;
                rustix::net::sockopt::set_tcp_keepcnt(&stream, 4)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Name {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

/// What tells a file from every other one, whatever its name.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for Name {
    fn drop(&mut self) {
        let is_own = identity(&self.path).is_ok_and(|now| now == self.identity);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::info!(%path, %error, "the socket for clients is not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(host: &str, insecure: bool) -> HttpServer {
        HttpServer {
            section: "inet_http_server".into(),
            address: HttpAddress::Inet {
                host: Some(host.into()).filter(|host: &String| !host.is_empty()),
                port: 0,
            },
            credentials: None,
            insecure,
        }
    }

    fn at(path: &Path) -> HttpServer {
        HttpServer {
            section: "unix_http_server".into(),
            address: HttpAddress::Unix {
                path: path.to_owned(),
                mode: rsv_config::Mode(0o777),
                owner: None,
            },
            credentials: None,
            insecure: false,
        }
    }

    #[test]
    fn the_network_is_let_in_only_with_a_password_or_on_purpose() {
        for (host, insecure, is_bound) in [
            ("127.0.0.1", false, true),
            ("localhost", false, true),
            ("", false, false),
            ("0.0.0.0", false, false),
            ("", true, true),
        ] {
            let bound = bind(&[on(host, insecure)]);
            assert_eq!(bound.is_ok(), is_bound, "{host} {insecure} {bound:?}");
        }
        // A machine without IPv6 has nothing to bind.
        if TcpListener::bind(("::1", 0)).is_ok() {
            bind(&[on("[::1]", false)]).unwrap();
        }
        let mut guarded = on("", false);
        guarded.credentials = Some(Credentials {
            username: "a".into(),
            password: "b".into(),
        });
        bind(std::slice::from_ref(&guarded)).unwrap();
        guarded.credentials.as_mut().unwrap().password.clear();
        let error = bind(&[guarded]).unwrap_err();
        assert!(matches!(error, BindError::Insecure { .. }), "an empty one");
        let error = bind(&[on("", false)]).unwrap_err();
        assert!(error.hint().unwrap().contains("rsv_insecure=true"));
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        let bound = bind(&[at(&path)]).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o777);
        let error = bind(&[at(&path)]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Another program is already listening")
        );
        drop(bound);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&[at(&path)]), Err(BindError::InTheWay(_))));
    }

    #[test]
    fn one_whose_owner_is_stopped_is_in_use_and_nobody_waits_for_him() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let _stopped = probe::full(&path);
        let bound = probe::in_time(move || bind(&[at(&path)]).map(drop));
        assert!(matches!(bound, Err(BindError::InUse)), "{bound:?}");
    }

    #[test]
    fn all_are_bound_with_their_owners_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second, third] = ["1", "2", "3"].map(|name| directory.path().join(name));
        let (uid, gid) = match nix::unistd::geteuid().is_root() {
            true => (65534, 65534),
            // Nobody else can give a file away, but to himself.
            false => (nix::unistd::geteuid().into(), nix::unistd::getegid().into()),
        };
        let of = |path: &Path, gid: Option<u32>| {
            let mut owned = at(path);
            if let HttpAddress::Unix { owner, .. } = &mut owned.address {
                *owner = Some(Owner { uid, gid });
            }
            owned
        };
        let plain = directory.path().join("plain");
        let owned = [of(&second, Some(gid)), of(&plain, None)];
        let servers = [at(&first), on("127.0.0.1", false)]
            .into_iter()
            .chain(owned);
        let bound = bind(&servers.collect::<Vec<_>>()).unwrap();
        let ids = |path: &Path| fs::metadata(path).map(|it| (it.uid(), it.gid())).unwrap();
        assert_eq!(ids(&second), (uid, gid));
        assert_eq!(ids(&plain), (uid, ids(&first).1));
        assert!(first.exists() && bound.len() == 4);
        let unusable = at(Path::new("/nonexistent/s.sock"));
        assert!(bind(&[at(&third), unusable]).is_err());
        assert!(!third.exists());
    }

    #[test]
    fn a_name_that_is_anothers_by_then_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let bound = bind(&[at(&path)]).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn errors_of_the_system_have_supervisors_text() {
        let error = bind(&[at(Path::new("/nonexistent/s.sock"))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Cannot open an HTTP server: socket.error reported errno.ENOENT (2)"
        );
    }
}
