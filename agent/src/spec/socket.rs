//! The socket of a FastCGI program, with its names looked up.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use rsv_config::{FcgiAddress, FcgiSocket};

/// A listening socket that a program finds as its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// As it is configured, for people.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddress,
    /// How many connections may wait.
    pub backlog: i32,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAddress {
    /// In the file system.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its user and group; absent: those it has when it is made.
        owner: Option<(u32, Option<u32>)>,
        /// Its permission bits.
        mode: u32,
    },
    /// On the network, or why the host has no address.
    Tcp(Result<SocketAddr, String>),
}

impl SocketSpec {
    /// Looks up the host, which may ask a server: for a blocking thread.
    pub(super) fn of(socket: &FcgiSocket) -> Self {
        let address = match &socket.address {
            FcgiAddress::Unix { path, owner, mode } => SocketAddress::Unix {
                path: path.clone(),
                owner: owner.as_ref().map(|owner| (owner.uid, owner.gid)),
                mode: mode.0,
            },
            FcgiAddress::Tcp { host, port } => SocketAddress::Tcp(look_up(host, *port)),
        };
        let most = i32::MAX.unsigned_abs();
        let backlog = socket
            .backlog
            .map(|backlog| backlog.min(most).cast_signed());
        Self {
            url: socket.url(),
            address,
            backlog: backlog.unwrap_or(libc::SOMAXCONN),
        }
    }
}

/// The first address of the older kind, as Supervisor has it; else the first there is.
fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    first
        .copied()
        .ok_or_else(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_looked_up_once() {
        assert_eq!(look_up("127.0.0.1", 5), Ok(([127, 0, 0, 1], 5).into()));
        assert_eq!(look_up("::1", 5), Ok("[::1]:5".parse().unwrap()));
        assert_eq!(look_up("localhost", 5).map(|address| address.port()), Ok(5));
        assert!(look_up("no such host", 5).is_err());
    }
}
